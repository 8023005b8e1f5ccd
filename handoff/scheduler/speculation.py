"""Stragglers: an attempt that takes far longer than its function usually does gets a second one beside it, where a node has nothing to do.

Only functions that say so (`speculate=True`), at most once per task, and never instead of other work. The first attempt to end counts.
"""

from __future__ import annotations

from handoff.program import Flag
from handoff.scheduler import twins
from handoff.scheduler.allocator import Desk
from handoff.scheduler.estimates import Function
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import HELD, Run

RUNS_MIN = 4            # runs of a function before its usual time is known
SPREADS = 3.0           # so many mean distances from it beyond the mean,
LATE_SECONDS_MIN = 0.05 # at least as long again as the mean, and this much more: that is late
PAUSE_SECONDS = 0.05    # between two looks, per thousand tasks that are with nodes: a look goes through all of them
LOOK_SECONDS_MAX = 1.0  # what is planned after a look is not noticed earlier, if it is shorter than all that was there


def watch(ledger: Ledger, now: float, run: Run) -> None:
    """The run has functions that may run twice."""
    if run.may_double:
        run.is_watched = True
        ledger.remind(now + PAUSE_SECONDS, "stragglers", run.run)


def look(ledger: Ledger, now: float, run: Run) -> None:
    """Give late tasks a second attempt, as far as nodes are idle; and come back when the next one may be late.

    Not when all is done: should something have to be made again, the ledger sees to it that it is watched.
    """
    if run.done == run.total:
        run.is_watched = False
        return
    desk: Desk | None = None
    soonest = now + LOOK_SECONDS_MAX
    fronts, run.fronts = run.fronts, {}
    for peer in run.nodes if run.planned else ():
        node = ledger.nodes[peer]
        taken = 0.0      # of the node, by the short tasks that come first: these should be running
        for task in node.tasks_of(run):
            if run.linked and run.missing[task]:
                continue
            shape = run.shapes[run.kind[task]]
            if run.state[task] == HELD:
                since = node.holding[run.run, task][0]
            elif taken < 1.0:
                taken += node.share(shape.need)
                since = run.fronts[task, run.attempt[task]] = fronts.get((task, run.attempt[task]), now)
            else:
                continue
            function = shape.functions[run.choices.get(task, 0)]
            if not _may_double(run, task, shape, function):
                continue
            late_at = since + _late_after(function, node)
            if late_at > now:
                soonest = min(soonest, late_at)
                continue
            desk = desk or Desk(now, ledger)
            other = _idle_node(desk, run, task, node)
            if other is not None:
                ledger.out.note("info", "task.speculated", run=run.run, task=task, slow=node.name, node=other[0].name)
                twins.begin(ledger, now, run, task, *other)
    pause = PAUSE_SECONDS * (1.0 + run.planned / 1000.0)
    ledger.remind(max(soonest, now + pause), "stragglers", run.run)


def _may_double(run: Run, task: int, shape: Shape, function: Function) -> bool:
    """Whether it may have a second attempt, and its usual time, at the cost that it took, is known.

    What needs something that the whole cluster shares gets none, since both would need it.
    """
    kind = run.kinds[run.kind[task]]
    if not kind.flags & Flag.IDEMPOTENT or not kind.max_retries or task in run.doubled or function.count < RUNS_MIN:
        return False
    return not (kind.node or kind.spread or shape.cluster or task in run.group or task in run.promised)


def _late_after(function: Function, node: Node) -> float:
    """After how many seconds an attempt is late there."""
    return (function.seconds + max(function.seconds, SPREADS * function.spread)) / node.speed + LATE_SECONDS_MIN


def _idle_node(desk: Desk, run: Run, task: int, slow: Node) -> tuple[Node, int] | None:
    """The one with the most room of those that have room for it, nothing to catch up with, and nothing else that they could do.

    With it, at which cost; where there is a choice, the node and the cost that it would be done first with. A cost that was never tried is
    taken to be as quick as the quickest that was.
    """
    shape = run.shapes[run.kind[task]]
    shunned = run.avoid.get(task, ())
    able = [
        (node, alternative) for node in desk.nodes_for(shape) if node is not slow and not node.ahead and node.peer not in shunned
        for alternative, need in enumerate(shape.needs) if node.has_room(need) and not _is_wanted(desk, node)
    ]
    quickest = min((function.seconds for function in shape.functions if function.count), default=0.0)

    def order(choice: tuple[Node, int]) -> tuple[float, int, float, int, int]:
        node, alternative = choice
        function = shape.functions[alternative]
        seconds = (function.seconds if function.count else quickest) / node.speed if len(shape.needs) > 1 else 0.0
        return seconds, node.planned, -node.speed, node.peer, alternative

    return min(able, key=order, default=None)


def _is_wanted(desk: Desk, node: Node) -> bool:
    """Whether something else that may be planned has room there."""
    return any(_fits(shape, node) for shape in desk.ledger.ready.offered if len(shape))


def _fits(shape: Shape, node: Node) -> bool:
    return shape.node in ("", node.name) and any(node.has_room(need) for need in shape.needs)
