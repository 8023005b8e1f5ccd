"""One node more makes no graph slower: large results are not carried to it because it is there. In simulated time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from handoff.resources import amounts
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Simulator, Work
from handoff.scheduler.simulate.workload import workflow

MB = 1_000_000
WORSE_MAX = 1.10


def task(seconds: float, *inputs: int, mb: int = 0, fn: str = "work") -> dict[str, Any]:
    """One task on one core; its id is its place in the list."""
    return {"fn": fn, "runtime_s": seconds, "cpus": 1, "memory_mb": 0, "inputs": inputs, "output_bytes": mb * MB}


def work(*tasks: dict[str, Any]) -> Work:
    """These tasks, of which durations and sizes are known."""
    return workflow([{**each, "id": number} for number, each in enumerate(tasks)], knowledge="known", memory=False)


def with_kind(what: Work, name: str, **fields: Any) -> Work:
    """The same where this function is asked for with more."""
    kinds = tuple(replace(kind, **fields) if kind.name == name else kind for kind in what.program.kinds)
    return replace(what, program=replace(what.program, kinds=kinds))


def change(what: Work, capacity: dict[str, float], bandwidth: float = 1.25e9, latency: float = 0.001) -> float:
    """The makespan on two such nodes, as a part of that on one."""
    nodes = node("a", capacity), node("b", capacity)
    one, two = (Simulator(ClusterSpec(some, bandwidth, latency)).run(what).runs[0].makespan for some in (nodes[:1], nodes))
    return two / one


def test_a_node_that_is_filled_beyond_its_mark_keeps_what_would_take_more_elsewhere() -> None:
    """The third result takes it above 0.6 of its memory; made on the other node it would take its input there, too."""
    graph = work(task(0.009, mb=500), task(0.009, 0, mb=500), task(0.009, 0, mb=500))

    assert change(graph, {"cpu": 1, "memory": 2000}) <= WORSE_MAX


def test_of_many_inputs_the_large_ones_are_made_on_one_node() -> None:
    """Two large results among 17 that one task takes: to look at all 17 is cheap beside moving one."""
    graph = work(*(task(0.3, mb=2000 if number in (12, 16) else 0) for number in range(17)), task(0.07, *range(17)))

    assert change(graph, {"cpu": 1}, bandwidth=125e6) < 0.7


def test_a_large_result_is_made_where_what_takes_it_is_pinned() -> None:
    """Both nodes are idle, and it is the turn of the other one."""
    graph = with_kind(work(task(0.02), task(0.07, mb=2000, fn="make"), task(0.03, 1, fn="pinned")), "pinned", node="a")

    assert change(graph, {"cpu": 1}) <= WORSE_MAX


def test_a_told_task_with_a_choice_of_costs_stays_with_its_inputs() -> None:
    """All four GPUs are taken as far as is known when its input is made; on the other node one is free, but no input."""
    tasks = [task(0.0001), task(0.0001, 0, fn="either"), task(0.001, fn="either"), task(0.0001, fn="either"), task(0.0004, fn="any"),
             task(0.002, fn="gpu"), task(0.0003, fn="any")]
    graph, gpu = work(*tasks), amounts({"gpu": 1})
    graph = with_kind(graph, "either", cost=gpu, alternatives=(amounts({"cpu": 4}),))
    graph = with_kind(graph, "any", cost=gpu, alternatives=(amounts({"cpu": 0.1}),))
    graph = with_kind(graph, "gpu", cost=amounts({"gpu": 1, "cpu": 1}))

    assert change(graph, {"cpu": 2, "gpu": 4}, latency=0.05) <= WORSE_MAX
