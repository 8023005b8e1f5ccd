"""Planned work is asked back, so that it can be planned anew: where another node has nothing to do, or where it waits for nothing."""

from __future__ import annotations

from handoff.messages import Recalled
from handoff.scheduler import draining, twins
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import OVERHEAD_SECONDS, Node
from handoff.scheduler.runs import AHEAD, Run
from handoff.scheduler.waiting import see_what_is_unmet

WORTH_ROUND_TRIPS = 4.0     # less backlog than this is worked off before the tasks could arrive elsewhere
WORTH_BESIDE_ROUND_TRIPS = 8.0    # the same where all that have free cores wait for inputs, which may come soon
PAUSE_ROUND_TRIPS = 50.0    # between two recalls from one node: what comes back to it must not go to and fro
IDLE_MAX = 8                # idle nodes to which links are looked at
LATE_SECONDS = 0.25         # what is planned ahead is there to be done much sooner than this
LATE_AGAIN = 0.5            # after such a part of the time for which nothing has ended, it is looked at again
TASKS_MAX = 65_536          # in one recall


def recall_for_idle_nodes(now: float, ledger: Ledger) -> None:
    """Ask the busiest node for a fair part of what it has not started, if some node has room, and a core that nothing is planned for."""
    if not ledger.ready.is_ahead(ledger.nodes.values()):
        return    # nothing is planned ahead anywhere
    if not ledger.is_watching_late:
        ledger.is_watching_late = True
        ledger.remind(now + LATE_SECONDS, "late")
    trip = ledger.settings.round_trip_seconds
    donors = [
        node for node in ledger.nodes.values()
        if node.ahead and node.planned > 1 and node.state == "ready" and now - node.recalled_at > PAUSE_ROUND_TRIPS * trip
    ]
    if not donors:
        return
    idle = [node for node in ledger.nodes.values() if node.state == "ready" and node.lanes[0] <= now and node.leaves_a_core()]
    if not idle:
        return
    for node in donors:
        node.work_out(now, ledger.estimates)
    # What waits for a task that takes far longer than it should waits as long, however little it is itself.
    waits = {node: node.waits_for(now) for node in donors}
    worth = WORTH_BESIDE_ROUND_TRIPS if all(node.ahead for node in idle) else WORTH_ROUND_TRIPS
    donors = [node for node in donors if waits[node] > worth * trip]
    if not donors:
        return
    donor = max(donors, key=lambda node: (waits[node], node.peer))
    donor.recalled_at = now
    is_stuck = waits[donor] > donor.backlog
    wanted = donor.backlog if is_stuck else donor.backlog * len(idle) / (len(idle) + 1)
    for number in reversed(donor.sent):
        run = ledger.runs.get(number)
        if run is not None and wanted > 0.0:
            wanted = _recall(ledger, donor, run, idle, wanted, waits[donor])


def recall_from_late(now: float, ledger: Ledger) -> None:
    """Ask for all that waits on nodes where nothing has ended for long, as far as other nodes have cores to which nothing was given.

    There, tasks that were thought to be short run for long, and others were planned that have no room now. Which of them have begun, the
    node knows: it gives back the others.
    """
    ledger.is_watching_late = False
    overdue = {
        node: now - node.moved_at - node.backlog for node in ledger.nodes.values() if node.ahead and node.state == "ready"
        and now - node.moved_at > LATE_SECONDS
    }
    for node in overdue:
        node.work_out(now, ledger.estimates)
    for node in ledger.nodes.values():
        if node.state == "ready" and any(map(ledger.foresight.is_long_by_now, [shape.function for shape in node.ahead])):
            for number in node.sent:      # all that it was given is looked through, of a thousand nodes: only where there is something
                if number in ledger.runs:
                    _recall_too_early(ledger, node, ledger.runs[number])
    idle = [node for node in ledger.nodes.values() if node.state == "ready" and node.lanes[0] <= now]
    for node, late in overdue.items():
        for number in reversed(node.sent):
            run = ledger.runs.get(number)
            if run is not None and idle:
                _recall(ledger, node, run, idle, float("inf"), late, is_late=True)
    if ledger.ready.is_ahead(ledger.nodes.values()):
        ledger.is_watching_late = True
        ledger.remind(now + max(LATE_SECONDS, LATE_AGAIN * max(overdue.values(), default=0.0)), "late")


def _recall(ledger: Ledger, donor: Node, run: Run, idle: list[Node], wanted: float, wait: float, *, is_late: bool = False) -> float:
    """Recall from the end of what was given: that is the least urgent, and the least likely to have started."""
    tasks: list[int] = []
    able: dict[int, bool] = {}
    ready = [task for task in donor.tasks_of(run) if not (run.linked and run.missing[task])]
    if not ready:
        return wanted
    if not is_late and run.quota is not None and run.room() <= 0:
        return wanted     # no other node may run any of it now
    starts_soon = max(1, int(1.0 / (donor.share(run.shapes[run.kind[ready[0]]].need) or 1.0)))
    for task in reversed(ready if is_late and len(ready) > starts_soon else ready[starts_soon:]):
        if wanted <= 0.0 or len(tasks) >= TASKS_MAX:
            break
        if (run.state[task] != AHEAD and not is_late) or ledger.allowed(run, task) is not None:
            continue
        kind = run.kind[task]
        shape = run.shapes[kind]
        if kind not in able:
            able[kind] = any(node.can_run(shape) and (is_late or any(map(node.has_room, shape.needs))) for node in idle)
        if not able[kind] or _moving(ledger, run, task, idle) > wait / 2:
            continue   # it would only come back, or cost more to move than to wait for
        tasks.append(task)
        wanted -= (ledger.estimates.seconds(shape.function) + OVERHEAD_SECONDS) * donor.share(shape.need) / donor.speed
    if tasks:
        tasks.reverse()
        ledger.out.recall(donor.peer, run, tasks)
    return wanted


def _recall_too_early(ledger: Ledger, node: Node, run: Run) -> None:
    """Ask for what waits for inputs there, and was bound so early because it was thought to be short, which it is not by now.

    Where it would be done first is better said when its inputs exist: until then a faster node may be free, and this one busy.
    """
    if not run.linked or run.told or ledger.plans_all:
        return
    tasks = [
        task for task in node.tasks_of(run) if run.state[task] == AHEAD and run.missing[task]
        and ledger.foresight.is_long_by_now(run.shapes[run.kind[task]].function) and ledger.allowed(run, task) is None
    ]
    if tasks:
        ledger.out.recall(node.peer, run, tasks)


def _moving(ledger: Ledger, run: Run, task: int, idle: list[Node]) -> float:
    """Seconds that its inputs would take to one of these nodes, the one to which they come fastest."""
    inputs = run.inputs_of(task)
    total = sum([run.nbytes[each] for each in inputs])
    if total <= ledger.rates.small:
        return 0.0
    parts, rate = [(run.nbytes[each], run.node[each]) for each in inputs], ledger.rates.of
    return min(sum([nbytes / rate(home, node.peer) for nbytes, home in parts if home != node.peer]) for node in idle[:IDLE_MAX])


def take_back(ledger: Ledger, now: float, node: Node, recalled: Recalled) -> None:
    """A node gives these back: they are planned anew."""
    run = ledger.runs.get(recalled.run)
    if run is None:
        return
    back = []
    for task, attempt in zip(recalled.tasks, recalled.attempts, strict=False):
        ledger.lay_ghost(run, node.peer, task)
        if run.twins and twins.ended(ledger, run, node.peer, task, attempt):
            continue
        if run.is_current(node.peer, task, attempt):
            run.note_unbegun(task)
            ledger.unplan(run, task)
            back.append(task)
    for task in back:
        if node.leaves or node.fault:
            draining.unbind(ledger, run, task)
        ledger.consider(run, task)
    if node.fault:
        see_what_is_unmet(ledger, now, run)
    ledger.touch(run)


def recall_stranded(ledger: Ledger) -> None:
    """Ask back what waits for a result that nobody is to make now, and what waits for that: it would fill its node's plan for ever.

    What makes that result may be far behind, and may have to go to that very node.
    """
    wanted, ledger.stranded = list(ledger.stranded), {}
    seen = dict.fromkeys(wanted)
    for number, task in wanted:
        run = ledger.runs.get(number)
        if run is None or not run.is_planned(task) or not run.unplanned[task]:
            continue
        waiting = [task]
        while waiting:
            each = waiting.pop()
            ledger.out.recall(run.node[each], run, (each,))
            for consumer in run.consumers_of(each):
                if run.is_planned(consumer) and (number, consumer) not in seen:
                    seen[number, consumer] = None
                    waiting.append(consumer)
