"""What greedy placing sees coming: what is told of tasks, who takes their results, what nobody needs. In simulated time."""

from __future__ import annotations

from typing import Any


from handoff.scheduler.heft import Heft
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Simulator, Work
from handoff.scheduler.simulate.workload import workflow

MB = 1_000_000
PAIR = (node("a", {"cpu": 1}), node("b", {"cpu": 1}))


def task(seconds: float, *inputs: int, nbytes: int = 0, fn: str = "work") -> dict[str, Any]:
    """One task on one core; its id is its place in the list."""
    return {"fn": fn, "runtime_s": seconds, "cpus": 1, "memory_mb": 0, "inputs": inputs, "output_bytes": nbytes}


def work(*tasks: dict[str, Any], knowledge: str = "known", **costs: dict[str, float]) -> Work:
    """These tasks as one run; functions may have other costs."""
    return workflow([{**each, "id": number} for number, each in enumerate(tasks)], knowledge=knowledge, memory=False, costs=costs)


def makespan(what: Work, *nodes: Any, bandwidth: float = 1.25e9, latency: float = 0.001) -> float:
    """Seconds until all of it has ended."""
    return Simulator(ClusterSpec(nodes, bandwidth, latency)).run(what).runs[0].makespan


# ── several runs ────────────────────────────────────────────────────────────


def test_a_run_that_is_refused_on_paper_leaves_others_as_they_are() -> None:
    """The second of three asks for what no node has."""
    first, refused, last = work(task(1.0)), work(task(1.0), work={"gpu": 1}), work(task(2.0), task(2.0))
    runs = Simulator(ClusterSpec(PAIR), Heft()).run(first, refused, last).runs

    assert [run.failure != "" for run in runs] == [False, True, False]
    assert [len(run.nodes) for run in runs] == [1, 1, 2] and all(runs[2].nodes)
