"""What each node did with its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from handoff.client.story.causes import Cause
from handoff.client.story.records import Done, Stay, Story


@dataclass(frozen=True, slots=True)
class NodeUse:
    """Seconds times slots of one node; the four add up to its slots times the seconds that it was there.

    Slots are its cores, or more where more was run at once. Attempts in vain are running, too: those that failed, were beaten, or were
    lost with their node; the coordinator remembers ten thousand of a run. So is what runs now, of a run that is not over.
    A free slot is *moving* while inputs of a task that ran here were on their way, else *waiting* while such a task's inputs were not all
    made, else *idle*: nothing was left to do, or it was not planned or started yet.
    """

    node: str
    slots: float
    tasks: int
    running: float
    waiting: float
    moving: float
    idle: float
    in_vain: float = 0.0     # of `running`
    there: float = 0.0       # seconds of the run in which it was there: all of them, unless it came late or was lost


def usage_of(story: Story, causes: Mapping[int, Cause]) -> list[NodeUse]:
    """Per node, by name."""
    by_node: dict[str, list[Done]] = {node: [] for node in story.nodes}
    for done in story.tasks.values():
        by_node[done.node].append(done)
    return [_use(node, tasks, story, causes) for node, tasks in by_node.items()]


def _use(node: str, tasks: list[Done], story: Story, causes: Mapping[int, Cause]) -> NodeUse:
    until = story.until
    changes: list[tuple[float, int, float]] = []     # (when, 0: running, 1: in vain, 2: moving, 3: waiting, 4: away; by how many slots)
    for done in tasks:
        cause = causes[done.task]
        here = min(done.started, max(cause.fed, done.started - done.waited))
        if done.worker:
            _add(changes, 0, done.started, done.ended, done.slots)
        _add(changes, 2, here - cause.fed_moving if cause.fed_moving else here, here, done.slots)
        _add(changes, 3, 0.0, min(cause.fed, here - cause.fed_moving), done.slots)     # what moves while another is made counts once
    for kind, attempts in ((1, story.vain), (0, story.running)):
        for each in attempts:
            if each.node == node:
                _add(changes, kind, each.started, min(each.started + each.seconds, until), each.slots)
    changes.sort(key=lambda change: (change[0], change[2]))
    peak = level = 0.0
    for _, what, by in changes:
        level += by if what == 0 or (what == 1 and node not in story.cores) else 0.0   # starts of those are known to some milliseconds only
        peak = max(peak, level)
    slots = max(float(ceil(story.cores.get(node, 0.0))), peak if peak > story.cores.get(node, 0.0) + 1e-6 else 0.0)
    away, most = 0.0, story.cores.get(node, 0.0)
    for begin, end in _gaps(story.stays.get(node, ()), until):
        _add(changes, 4, begin, end, slots)
        away += end - begin
    for stay in story.stays.get(node, ()):      # it came back with more, or fewer, cores
        _add(changes, 4, stay.begin, min(stay.end, until), most - stay.cores)
    changes.sort(key=lambda change: (change[0], change[2]))
    spent, levels, last = [0.0] * 6, [0.0] * 5, 0.0
    for when, what, by in [*changes, (until, 0, 0.0)]:
        left = slots
        for kind in (0, 1, 4, 2, 3):
            used = min(left, max(0.0, levels[kind]))
            spent[kind] += used * (when - last)
            left -= used
        spent[5] += left * (when - last)
        levels[what] += by
        last = when
    running, in_vain, moving, waiting, _, idle = spent
    count = sum(1 for done in tasks if done.worker)
    return NodeUse(node, slots, count, running + in_vain, waiting, moving, idle, in_vain, until - away)


def _gaps(stays: Sequence[Stay], until: float) -> list[tuple[float, float]]:
    """When it was not there, up to then; who has no stays was there all the time."""
    found, at = [], 0.0
    for begin, end, _ in sorted(stays):
        if begin > at:
            found.append((at, begin))
        at = max(at, end)
    if stays and at < until:
        found.append((at, until))
    return found


def _add(changes: list[tuple[float, int, float]], what: int, begin: float, end: float, slots: float) -> None:
    if end > begin and slots:
        changes.append((begin, what, slots))
        changes.append((end, what, -slots))
