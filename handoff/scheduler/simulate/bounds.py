"""How short a makespan can be at best: no schedule beats the longest chain, nor all work divided by all capacity."""

from __future__ import annotations

from collections.abc import Sequence

from handoff.program import Kind
from handoff.resources import Amounts
from handoff.scheduler.needs import PROCESSES, needs_of, places_of
from handoff.scheduler.simulate.cluster import ClusterSpec, NodeSpec
from handoff.scheduler.simulate.simulator import Work


def lower_bound(work: Work, cluster: ClusterSpec) -> float:
    """Seconds that no schedule can beat, however clever; transfers and messages are left out, so that it may be out of reach.

    The largest of: the critical path, each task on the node and at that of its costs with which it is quickest; per resource, work divided
    by capacity; and the same for all tasks behind (or before) which there is still so much to do, plus that.
    """
    program = work.program
    total = len(program.kind)
    if not total:
        return 0.0
    quickest = [_quickest(index, kind, work, cluster) for index, kind in enumerate(program.kinds)]
    seconds = [work.seconds[task] * quickest[program.kind[task]] for task in range(total)]
    head, tail = _ends(program.fan_in, program.inputs, seconds)
    bound = max(head[task] + seconds[task] + tail[task] for task in range(total))
    takes = [{} if kind.alternatives else _takes(kind) for kind in program.kinds]
    for name in {name for each in takes for name in each}:
        offered = sum(_offers(node).get(name, 0) * node.speed for node in cluster.nodes)
        if not offered:
            continue
        area = [work.seconds[task] * takes[program.kind[task]].get(name, 0) / offered for task in range(total)]
        concerned = [task for task in range(total) if area[task] > 0.0]
        for rest, before in ((tail, head), (head, tail)):
            sum_area, least_other = 0.0, float("inf")
            for task in sorted(concerned, key=lambda each: -rest[each]):   # all of which so much is left behind (or lies before)
                sum_area += area[task]
                least_other = min(least_other, before[task])
                bound = max(bound, sum_area + rest[task] + least_other)
    return bound


def _takes(kind: Kind) -> dict[str, int]:
    """What a task takes of its node, the process that it needs beside less than a core included."""
    takes = {name: steps for name, steps in kind.cost if not name.startswith("cluster:")}
    return {**takes, PROCESSES: 1} if PROCESSES in dict(needs_of(kind)[0]) else takes


def _offers(node: NodeSpec) -> dict[str, int]:
    return {**dict(node.capacity), PROCESSES: places_of(node.capacity, 1, node.processes)[PROCESSES]}


def _quickest(index: int, kind: Kind, work: Work, cluster: ClusterSpec) -> float:
    """How long a task of this kind takes at least, for each second that it takes at its first cost on a node of speed 1."""
    factors = (1.0, *(work.factors.get((index, number), 1.0) for number in range(len(kind.alternatives))))
    return min((factor / node.speed for cost, factor in zip((kind.cost, *kind.alternatives), factors, strict=True)
                for node in cluster.nodes if _holds(node.capacity, cost)), default=1.0)


def _ends(fan_in: Sequence[int], inputs: Sequence[int], seconds: Sequence[float]) -> tuple[list[float], list[float]]:
    """Per task: the longest chain before it, and behind it."""
    total = len(seconds)
    head, tail, at = [0.0] * total, [0.0] * total, 0
    for task in range(total):
        for each in inputs[at : at + fan_in[task]]:
            head[task] = max(head[task], head[each] + seconds[each])
        at += fan_in[task]
    for task in range(total - 1, -1, -1):
        at -= fan_in[task]
        for each in inputs[at : at + fan_in[task]]:
            tail[each] = max(tail[each], tail[task] + seconds[task])
    return head, tail


def _holds(capacity: Amounts, cost: Amounts) -> bool:
    has = dict(capacity)
    return all(has.get(name, 0) >= amount for name, amount in cost if not name.startswith("cluster:"))
