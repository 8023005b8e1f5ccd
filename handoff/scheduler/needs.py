"""What a task needs of a node and of the cluster, and what a node has of it: resources that users name, and those of our own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from handoff.program import Flag, Kind, is_side_by_side
from handoff.resources import GPU, SCALE, Amounts, is_gpu, split

COROUTINES_PER_PLACE = 100           # coroutines that cost nothing wait most of the time: so many take the place of one function
FREE_OF_COST: Amounts = (("", COROUTINES_PER_PLACE),)  # a task that costs nothing still takes one of the node's places for such tasks
FREE_COROUTINE: Amounts = (("", 1),)
PROCESSES = "\0"                      # what takes less than a core, or GPU, takes one of the processes that its node has
PROCESSES_PER_DEVICE = 10            # of a node that does not say, for each core and GPU: as `NodeSettings.workers_max_per_cpu`
COROUTINES = "\1"                     # coroutines of that cost run side by side in one process: places for a hundred for each of these
COUNTED = (PROCESSES, COROUTINES)    # of these each task takes one: none waits while smaller ones take what becomes free
OURS = ("", *COUNTED)                # resources of our own: no user's has such a name
NOTHING: tuple[Amounts, ...] = ()
KINDS_KNOWN = 1024   # kinds of which the needs are remembered: a function that is called again and again comes with the same each time


@lru_cache(KINDS_KNOWN)
def needs_of(kind: Kind) -> tuple[Amounts, ...]:
    """What a node has to have for a task of this kind: for its cost, then for each alternative, in the order of preference."""
    if kind.flags & Flag.OBJECT:
        return ((),)
    nothing = FREE_COROUTINE if kind.flags & Flag.ASYNC else FREE_OF_COST
    several = (kind.cost, *kind.alternatives)
    return tuple(_need(split(cost)[0], COROUTINES if is_side_by_side(kind.flags, cost) else PROCESSES) or nothing for cost in several)


@lru_cache(KINDS_KNOWN)
def counted_of(kind: Kind) -> tuple[Amounts, ...]:
    """What the whole cluster counts of its cost, then of each alternative; empty when none takes any of it."""
    counted = tuple(split(cost)[1] for cost in (kind.cost, *kind.alternatives))
    return counted if any(counted) else NOTHING


def _need(cost: Amounts, counted: str) -> Amounts:
    """A cost as nodes are planned with: GPUs of a kind are GPUs, too; and of parts, only so many are counted on as one GPU surely holds.

    So two tasks of 0.6 are not planned on one GPU, and one of 0.6 beside one of 0.4 isn't, either: the node, which sees each GPU, may
    do better. What takes no whole core or GPU takes one of what is `counted` beside, or as many would be planned on one node as its memory
    holds, where most wait for a worker while other nodes stand idle.
    """
    is_small = cost and not any(steps >= SCALE for name, steps in cost if name == "cpu" or is_gpu(name))
    if is_small:
        cost = ((counted, 1), *cost)
    if not any(is_gpu(name) for name, _ in cost):
        return cost
    need = dict(cost)
    for name, steps in cost:
        if is_gpu(name):
            share = steps if steps >= SCALE else SCALE // (SCALE // steps)
            need[name] = need[GPU] = share
    return tuple(sorted(need.items()))


def places_of(capacity: Amounts, zero_cost_per_cpu: int, processes: int = 0) -> dict[str, int]:
    """What a node has of our own resources. `processes`: how many it has, as it says itself; 0: it does not, so as many as is usual."""
    offers = dict(capacity)
    processes = processes or PROCESSES_PER_DEVICE * devices_of(capacity)
    places = max(1, zero_cost_per_cpu * _cpus(offers)) * COROUTINES_PER_PLACE
    return {"": places, PROCESSES: processes, COROUTINES: processes * COROUTINES_PER_PLACE}


def devices_of(capacity: Amounts) -> int:
    """Its cores and GPUs: for each of these a node has so many processes."""
    offers = dict(capacity)
    return _cpus(offers) + offers.get(GPU, 0) // SCALE


def _cpus(offers: Mapping[str, int]) -> int:
    return max(1, -(-offers.get("cpu", 0) // SCALE))
