"""What each node did with its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from handoff.client.story.causes import Cause
from handoff.client.story.records import Done, Story, Vain


@dataclass(frozen=True, slots=True)
class NodeUse:
    """Seconds times slots of one node; the four add up to the makespan times its slots.

    Slots are its cores, or more where more was run at once. Attempts in vain are running, too: those that failed, or were beaten.
    The coordinator remembers ten thousand such attempts of a run, but none that were lost with their node: these count as idle.
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


def usage_of(story: Story, causes: Mapping[int, Cause]) -> list[NodeUse]:
    """Per node, by name."""
    by_node: dict[str, list[Done]] = {node: [] for node in story.nodes}
    for done in story.tasks.values():
        by_node[done.node].append(done)
    return [_use(node, tasks, [each for each in story.vain if each.node == node], story, causes) for node, tasks in by_node.items()]


def _use(node: str, tasks: list[Done], vain: list[Vain], story: Story, causes: Mapping[int, Cause]) -> NodeUse:
    changes: list[tuple[float, int, float]] = []     # (when, 0: running, 1: in vain, 2: moving, 3: waiting; by how many slots)
    for done in tasks:
        cause = causes[done.task]
        here = min(done.started, max(cause.fed, done.started - done.waited))
        if done.worker:
            _add(changes, 0, done.started, done.ended, done.slots)
        _add(changes, 2, here - cause.fed_moving if cause.fed_moving else here, here, done.slots)
        _add(changes, 3, 0.0, cause.fed, done.slots)
    for each in vain:
        _add(changes, 1, each.started, min(each.started + each.seconds, story.makespan), each.slots)
    changes.sort(key=lambda change: (change[0], change[2]))
    peak = level = 0.0
    for _, what, by in changes:
        level += by if what == 0 or (what == 1 and node not in story.cores) else 0.0   # starts of those are known to some milliseconds only
        peak = max(peak, level)
    slots = max(float(ceil(story.cores.get(node, 0.0))), peak if peak > story.cores.get(node, 0.0) + 1e-6 else 0.0)
    spent, levels, last = [0.0] * 5, [0.0] * 4, 0.0
    for when, what, by in [*changes, (story.makespan, 0, 0.0)]:
        left = slots
        for kind in range(4):
            used = min(left, max(0.0, levels[kind]))
            spent[kind] += used * (when - last)
            left -= used
        spent[4] += left * (when - last)
        levels[what] += by
        last = when
    running, in_vain, moving, waiting, idle = spent
    return NodeUse(node, slots, sum(1 for done in tasks if done.worker), running + in_vain, waiting, moving, idle, in_vain)


def _add(changes: list[tuple[float, int, float]], what: int, begin: float, end: float, slots: float) -> None:
    if end > begin:
        changes.append((begin, what, slots))
        changes.append((end, what, -slots))
