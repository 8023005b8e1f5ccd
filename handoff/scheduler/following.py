"""A run that follows a plan: each task goes to its node, in the order of the plan, until that can't be or would be far too late.

Tasks of one kind that are planned on one node get a shape of their own, which only that node serves; so no other has to look at them. A
task that departs from the plan gets back its usual shape, and is placed like any other from then on.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from handoff.columns import Floats, Ints
from handoff.ids import NOBODY
from handoff.messages import Refused, Submit
from handoff.program import SECONDS_MAX, Flag
from handoff.scheduler.feasible import unfit
from handoff.scheduler.inputs import inputs_of
from handoff.scheduler.ledger import REACHED
from handoff.scheduler.nodes import Node
from handoff.scheduler.queue import LOW
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import AHEAD, DONE, HELD, READY, Run

if TYPE_CHECKING:
    from handoff.scheduler.ledger import Ledger

Columns: TypeAlias = tuple[Ints, tuple[str, ...], Floats]   # as in Submit: where, in which names, how urgent

LATE_SECONDS = 0.1       # a start that is later than planned by no more than this,
LATE_PART = 0.1          # or this part of the planned makespan,
LATE_TIMES = 10.0        # or so many times what the task takes, is no reason to depart from the plan
LOOK_SECONDS = 0.05      # how often it is looked whether something is late; in long plans at every hundredth part
LOOK_PART = 0.01


class Following:
    """The plan of one run."""

    __slots__ = ("end", "home", "lines", "look_at", "names", "of", "pause", "queues", "seen", "waiting", "wake_at", "why")

    def __init__(self, home: Ints, names: dict[int, str], end: float) -> None:
        self.home = home                            # per task: the node of the plan, or NOBODY
        self.names = names                          # of these nodes
        self.end = end                              # the planned makespan
        self.of: dict[int, int] = {}                # kind of tasks with one home -> the program's kind that they are of
        self.queues: list[tuple[Shape, int]] = []   # their shapes, with their homes
        self.why: dict[int, str] = {}               # tasks that departed from the plan
        self.lines: dict[int, list[int]] = {}       # per node: its tasks that were not placed yet, the next one last
        self.waiting: dict[int, float] = {}         # nodes with a task that waits for room, as of this pass: until when
        self.seen: dict[int, None] = {}             # tasks that were looked at in this pass, or before which others stood back
        self.wake_at = inf                          # when one of those that wait may be bound
        self.pause = max(LOOK_SECONDS, LOOK_PART * end)
        self.look_at = 0.0

    def rest(self) -> None:
        """Nothing more is placed by it: what only a run that goes on needs takes no room any more."""
        self.queues, self.lines, self.waiting = [], {}, {}


def refusal(ledger: Ledger, submit: Submit) -> Refused | None:
    """Why this plan can't be followed, if it can't."""
    total = len(submit.program.kind)
    if not len(submit.follow) == len(submit.follow_ranks) == total:
        return Refused("ProtocolError", "the columns of the plan do not fit the tasks of the program", submit.token)
    if any(place != NOBODY and place >= len(submit.follow_names) for place in submit.follow):
        return Refused("ProtocolError", "the plan places a task on a node without a name", submit.token)
    if any(not abs(rank) <= SECONDS_MAX for rank in submit.follow_ranks):   # NaN is none of these either
        text = f"the plan has a time that is above {SECONDS_MAX:.0e} seconds, or no number; plan again, or run without the plan"
        return Refused("ProtocolError", text, submit.token)
    missing = [name for name in submit.follow_names if name not in ledger.by_name]
    if missing:
        present = ", ".join(map(repr, sorted(ledger.by_name))) or "none"
        which = f"{', '.join(map(repr, missing))}, which {'are' if missing[1:] else 'is'} not there"
        text = (f"the plan can't be followed: it places functions on {which} (nodes that are: {present}); "
                "plan again, or run without the plan")
        return Refused("AllocationError", text, submit.token)
    return None


def begin(ledger: Ledger, run: Run, plan: Columns) -> None:
    """Give its tasks their homes, and their shapes. The shapes of the program's kinds are there already."""
    follow, names, ranks = plan
    peers = [ledger.by_name[name].peer for name in names]
    home = array("I", [NOBODY if place == NOBODY else peers[place] for place in follow])
    following = run.following = Following(home, dict(zip(peers, names, strict=True)), max(ranks, default=0.0))
    ledger.following[run.run] = run
    parts: dict[tuple[int, int], int] = {}
    run.kind = array("I", run.kind)        # the program's own column stays as it came
    for task, peer in enumerate(home):
        index = run.kind[task]
        kind = run.kinds[index]
        if peer == NOBODY or kind.flags & Flag.SERIALIZER or kind.node not in ("", following.names[peer]):   # these have no choice
            continue
        if lacks := unfit(run, task, ledger.nodes[peer]):
            following.why[task] = f"it can't be there: {lacks}"
            continue
        run.followed[task] = peer
        part = parts.get((index, peer))
        if part is None:
            part = parts[index, peer] = len(run.kinds)
            shape = ledger.ready.shape(replace(kind, node=following.names[peer]), run)
            shape.is_tried = True     # it waits for its turn in the plan, though it may have much to teach
            run.kinds.append(kind)
            run.shapes.append(shape)
            run.is_output.append(run.is_output[index])
            run.left.append(0)
            following.of[part] = index
            following.queues.append((shape, peer))
        _change_kind(run, task, part)
    run.rank = array("d", ranks)
    for task in sorted(run.followed, key=run.key, reverse=True):
        following.lines.setdefault(run.followed[task], []).append(task)


def correct(now: float, ledger: Ledger) -> None:
    """Let tasks depart from their plans that can't be done there, or would be far too late while another node has nothing to do."""
    for run in ledger.following.values():
        following = run.following
        assert following is not None
        following.waiting.clear()
        following.seen.clear()
        if now >= following.wake_at:
            following.wake_at = inf
        for task, shunned in run.avoid.items() if run.followed else ():
            if run.followed.get(task) in shunned and not run.is_planned(task):
                depart(ledger, run, task, "it could not be done, or handed over, there")
        if now < following.look_at:
            continue
        following.look_at = now + following.pause
        waiting = {peer for shape, peer in following.queues if _head(run, shape) is not None}
        taken: dict[int, None] = {}
        for shape, peer in following.queues:
            while (head := _head(run, shape)) is not None and head in run.followed:
                why = _reason(now, ledger, run, head, shape, peer, waiting, taken)
                if not why:
                    break
                depart(ledger, run, head, why)
        if waiting:
            ledger.remind(following.look_at, "follow", run.run)


def is_in_turn(now: float, ledger: Ledger, run: Run, task: int) -> bool:
    """Whether it may be placed: not before its time while an earlier one of its node was not, nor in the room that such a one waits for."""
    following, peer = run.following, run.followed.get(task, NOBODY)
    assert following is not None
    line = following.lines.get(peer)
    if line is None or peer not in ledger.nodes or run.attempt[task]:   # what is to be done again may be what planned ones wait for
        return True
    _drop_placed(run, line, peer)
    if line and run.rank[task] < run.rank[line[-1]] and run.submitted + following.end - run.rank[task] > now + ledger.foresight.horizon:
        return False
    until = following.waiting.get(peer)
    if until is None:
        return True
    return now + ledger.foresight.seconds(run, task, run.shapes[run.kind[task]]) / ledger.nodes[peer].speed <= until


def stands_back(run: Run, task: int) -> bool:
    """Whether an earlier one of its node comes first, which only now can be placed: its input was planned in this pass."""
    following, peer = run.following, run.followed.get(task, NOBODY)
    assert following is not None
    line = following.lines.get(peer)
    if not line:
        return False
    _drop_placed(run, line, peer)
    if not line or run.state[line[-1]] != READY or line[-1] in following.seen or run.rank[task] >= run.rank[line[-1]]:
        return False
    following.seen[line[-1]] = None     # once: who knows whether it will be looked at
    return True


def wait(now: float, ledger: Ledger, run: Run, task: int) -> None:
    """It was not placed in this pass: what comes after it in the plan of its node must not take the room that it waits for."""
    following, peer = run.following, run.followed.get(task, NOBODY)
    assert following is not None
    following.seen[task] = None
    node, needs = ledger.nodes.get(peer), run.shapes[run.kind[task]].needs
    starts = [run.submitted + following.end - run.rank[task]]
    if node is not None and not any(node.has_room(need) for need in needs):
        until = min([node.room_at(need, now) for need in needs if node.can_hold(need)], default=now)
        starts.append(following.waiting.setdefault(peer, until))
    for start in starts if run.fan_in[task] else ():   # these are to be there when it can begin, or another one would take its place
        early = start - REACHED * ledger.foresight.horizon
        if now < early < following.wake_at:
            following.wake_at = early
            ledger.remind(early, "follow", run.run)


def lose(ledger: Ledger, node: Node) -> None:
    """That node is gone: what was to run there is free. What has been planned elsewhere departs when it has to be planned again."""
    for run in ledger.following.values():
        for task in [task for task, peer in run.followed.items() if peer == node.peer and not run.is_planned(task)]:
            depart(ledger, run, task, f"node {node.name!r} is gone")


def depart(ledger: Ledger, run: Run, task: int, why: str) -> None:
    """This task follows the plan no more. It must not be planned."""
    following = run.following
    assert following is not None
    assert not AHEAD <= run.state[task] <= HELD, f"task {task} of {run} is planned"
    del run.followed[task]
    following.why[task] = why
    _change_kind(run, task, following.of.get(run.kind[task], run.kind[task]))
    if run.state[task] == READY:
        ledger.ready.push(run.shapes[run.kind[task]], run.key(task))
        ledger.is_changed = True


def corrections(ledger: Ledger, run: Run) -> list[list[Any]]:
    """The tasks that are, or ran, elsewhere than planned: task, planned node, node, why. A node that came back is where it was planned."""
    following = run.following
    if following is None:
        return []
    found: list[list[Any]] = []
    for task, (home, place) in enumerate(zip(following.home, run.places(), strict=True)):
        node = ledger.out.names[place][0] if place in ledger.out.names else ""
        if home not in (NOBODY, place) and place != NOBODY and node != following.names[home]:
            pinned = run.kinds[run.kind[task]].node
            why = following.why.get(task) or (
                "a second attempt was sooner" if task in run.doubled else "it has to be beside others" if task in run.group
                else f"it is pinned to {pinned!r}" if pinned else "it went elsewhere")
            found.append([task, following.names[home], node, why])
    return found


def _reason(now: float, ledger: Ledger, run: Run, task: int, shape: Shape, peer: int, waiting: set[int], taken: dict[int, None]) -> str:
    """Why this task, the next one on its node, had better go elsewhere; empty: it had not."""
    following = run.following
    assert following is not None
    if run.kinds[run.kind[task]].node:
        return ""       # it has no choice
    node = ledger.nodes.get(peer)
    if node is None or node.state != "ready":
        how = "" if node is None else "drains" if node.leaves else "can run nothing now" if node.fault else ""
        return f"node {following.names[peer]!r} {how or 'can not be heard'}"
    if node.has_room(shape.need) or ledger.cluster_room(shape) <= 0:
        return ""
    if not run.plain and (task in run.group or task in run.promised):
        return ""
    seconds = ledger.foresight.seconds(run, task, shape)
    late = now - run.submitted - (following.end - run.rank[task])    # so far: what is expected of those that overrun is too rough
    if late <= max(LATE_SECONDS, LATE_PART * following.end, LATE_TIMES * seconds):
        return ""
    start = node.room_at(shape.need, now)
    inputs = inputs_of(ledger, run, task, now) if run.linked and run.fan_in[task] else None
    for other in ledger.nodes.values():
        if (other.state != "ready" or other.peer in waiting or other.peer in taken or not other.can_run(shape)
                or not other.has_room(shape.need)):
            continue
        arrival = inputs.arrival(ledger, other)[0] if inputs is not None else now
        if max(now, arrival) + seconds / other.speed < start + seconds / node.speed:
            taken[other.peer] = None
            return f"node {node.name!r} was {late:.3g} s behind the plan, and {other.name!r} had nothing to do"
    return ""


def _head(run: Run, shape: Shape) -> int | None:
    """The next task of a queue; what is stale is thrown away."""
    while len(shape):
        task = shape.head() & LOW
        if run.state[task] == READY and run.shapes[run.kind[task]] is shape:
            return task
        shape.pop()
    return None


def _drop_placed(run: Run, line: list[int], peer: int) -> None:
    """Let the next one that was not placed yet be the last of the line."""
    while line and (run.state[line[-1]] >= AHEAD or run.followed.get(line[-1]) != peer):
        line.pop()


def _change_kind(run: Run, task: int, kind: int) -> None:
    if run.state[task] < DONE:
        run.left[run.kind[task]] -= 1
        run.left[kind] += 1
    run.kind[task] = kind
