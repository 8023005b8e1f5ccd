"""What the cluster on paper takes time for."""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop
from typing import Any

import pytest

from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Simulator
from handoff.scheduler.simulate.workload import workflow

ONE = ClusterSpec((node("a", {"cpu": 1}),), latency=0.0)
DECIDING = 0.003


def pause(seconds: float, knowledge: str) -> float:
    """How much later a chain of eleven tasks ends where the coordinator takes its time."""
    tasks = [{"id": each, "fn": "link", "runtime_s": seconds, "cpus": 1, "memory_mb": 1, "inputs": [each - 1] if each else [],
              "output_bytes": 1} for each in range(11)]
    work = workflow(tasks, knowledge=knowledge, memory=False)
    quick, slow = (Simulator(cluster).run(work).runs[0].makespan for cluster in (ONE, replace(ONE, deciding=DECIDING)))
    return slow - quick


def test_a_coordinator_that_takes_its_time_delays_what_waits_for_its_word() -> None:
    """Tasks too long to be planned ahead: each but the first is planned when the one before was heard of."""
    assert pause(1.0, "learned") == pytest.approx(10 * DECIDING, rel=0.3)


def test_a_coordinator_that_takes_its_time_delays_nothing_that_was_planned_ahead() -> None:
    """Known and short: the node has the next one when one ends."""
    assert pause(0.01, "known") < 2 * DECIDING


def test_what_a_node_has_in_line_costs_nothing_when_a_task_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equal cost only the first is looked at, however many short ones are planned there (plans of 20,000 took a minute)."""
    looks = 0

    def counted(heap: list[Any]) -> Any:
        nonlocal looks
        looks += 1
        return heappop(heap)

    monkeypatch.setattr("handoff.scheduler.simulate.node.heappop", counted)
    tasks = [{"id": each, "fn": "short", "runtime_s": 0.0001, "cpus": 1, "memory_mb": 1, "inputs": [], "output_bytes": 1}
             for each in range(3000)]
    Simulator(ONE).run(workflow(tasks, knowledge="known", memory=False))

    assert looks <= 4 * len(tasks)     # counted: 3.0 for each; with a look at all that are planned, 242


@pytest.mark.parametrize("limits", [(2, 0), (0, 2), (2, 1)])
def test_runs_with_limits_of_their_own_end_beside_others(limits: tuple[int, int]) -> None:
    """Tasks of equal cost lie in lanes of their own then: a node that is full for one of these forgets none of the others."""
    tasks = [{"id": each, "fn": "short", "runtime_s": 0.0001, "cpus": 1, "memory_mb": 1, "inputs": [], "output_bytes": 1}
             for each in range(200)]
    work = workflow(tasks, knowledge="known", memory=False)
    several = [replace(work, options={**(work.options or {}), "max_concurrency": limit}) for limit in limits]
    result = Simulator(ONE).run(*several, until=5.0)

    assert min(run.makespan for run in result.runs) > 0.01
    assert max(run.makespan for run in result.runs) == pytest.approx(0.04, rel=0.3)
