"""What greedy placing sees coming: what is told of tasks, who takes their results, what nobody needs. In simulated time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handoff.resources import amounts
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


# ── what is told ────────────────────────────────────────────────────────────


def test_short_tasks_count_for_as_long_as_was_told() -> None:
    """A chain of short ones of a function never seen: who takes its large result stays there, though a second each was assumed."""
    chain = [task(0.01), *(task(0.01, before) for before in range(2)), task(0.01, 2, nbytes=100 * MB), task(0.04, 3, fn="last")]

    assert makespan(work(*chain), *PAIR) < 0.09


@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_of_independent_tasks_the_longest_begin_first(scale: float) -> None:
    """Told that the last of eleven is ten times as long as the others: it has a core for itself from the start."""
    assert makespan(work(*(task(scale) for _ in range(10)), task(10 * scale)), *PAIR, latency=scale / 1000) < 10.2 * scale


# ── who takes the result ────────────────────────────────────────────────────


def test_tasks_whose_large_results_are_taken_together_share_a_node() -> None:
    """Two nodes with two cores: both are made on one of them, where the third takes them, and nothing moves."""
    nodes = (node("a", {"cpu": 2}), node("b", {"cpu": 2}))
    join = work(task(0.3, nbytes=100 * MB, fn="make"), task(0.3, nbytes=100 * MB, fn="make"), task(0.05, 0, 1))

    assert makespan(join, *nodes, bandwidth=32e6) < 0.4


def test_tasks_whose_small_results_are_taken_together_run_at_once() -> None:
    """One core each: they use both nodes."""
    assert makespan(work(task(0.3, nbytes=MB), task(0.3, nbytes=MB), task(0.05, 0, 1)), *PAIR) < 0.4


@pytest.mark.parametrize("others", [0, 1])
def test_a_large_result_is_made_where_a_gpu_waits_for_it(others: int) -> None:
    """The node with the GPU is left to those who need one, but not by a task whose result it would have to fetch."""
    tasks = [task(0.06, nbytes=10 * MB), task(0.03, 0, fn="gpu"), *(task(0.06, 0) for _ in range(others))]
    nodes = (node("a", {"cpu": 2, "gpu": 1}), node("b", {"cpu": 1}))

    assert makespan(work(*tasks, gpu={"cpu": 1, "gpu": 1}), *nodes, bandwidth=125e6) < 0.13


def test_a_task_is_not_sent_away_from_its_inputs_before_they_exist_because_memory_is_promised() -> None:
    """Results that are still needed fill the quick node by half when its last task is looked at, and are gone when that can begin."""
    memory = (node("a", {"cpu": 4, "memory": 2000}, 2.0), node("b", {"cpu": 1}))
    tasks = [task(0.2 if number == 2 else 0.008, *inputs, nbytes=100 * MB) for number, inputs in enumerate(
        [(), (), (), (), (), (), (0, 1, 2), (6,), (4, 6), (3, 6), (5, 6), (7, 9)])]

    assert makespan(work(*tasks), *memory, latency=0.0001) < 0.2


# ── what nobody needs ───────────────────────────────────────────────────────


@pytest.mark.parametrize(("needs", "waits"), [("cpu", False), ("gpu", True)])
def test_nodes_with_gpus_are_left_alone_only_while_somebody_needs_gpus(needs: str, waits: bool) -> None:
    """A task waits a little for the node without one, if there will be a task that needs one; else it takes what is idle."""
    what = work(task(0.4), task(2.0), task(5.0, 0, fn="later"), later={needs: 1})
    run = Simulator(ClusterSpec((node("plain", {"cpu": 1}), node("gpus", {"cpu": 1, "gpu": 1})))).run(what).runs[0]

    assert (run.started[1] > 0.3, run.nodes[1] == "plain") == (waits, waits)


# ── tasks with a choice ─────────────────────────────────────────────────────


def test_short_tasks_with_a_choice_of_costs_do_not_wait_for_word_of_the_room() -> None:
    """A hundred of a millisecond on one core, a millisecond away: once it is known how long they take, the next ones are there in time."""
    what = work(*(task(0.001) for _ in range(100)), knowledge="learned")
    one = replace(what.program.kinds[0], cost=amounts({"gpu": 1}), alternatives=(amounts({"cpu": 1}),))

    assert makespan(replace(what, program=replace(what.program, kinds=(one,))), node("a", {"cpu": 1})) < 0.16


# ── several runs ────────────────────────────────────────────────────────────


def test_a_run_that_is_refused_on_paper_leaves_others_as_they_are() -> None:
    """The second of three asks for what no node has."""
    first, refused, last = work(task(1.0)), work(task(1.0), work={"gpu": 1}), work(task(2.0), task(2.0))
    runs = Simulator(ClusterSpec(PAIR), Heft()).run(first, refused, last).runs

    assert [run.failure != "" for run in runs] == [False, True, False]
    assert [len(run.nodes) for run in runs] == [1, 1, 2] and all(runs[2].nodes)


def test_what_waits_for_a_licence_keeps_no_node_from_who_has_it_first() -> None:
    """Large and small tasks share one licence on one node, and all have waited long: they run one after the other."""
    costs = {"small": {"cpu": 1, "cluster:lic": 1}, "half": {"cpu": 0.5, "cluster:lic": 1}, "large": {"cpu": 4, "cluster:lic": 1}}
    order = [("small", 20), ("half", 70), ("half", 70), ("a", 1), ("b", 9), ("large", 40), ("c", 4), ("d", 9), ("large", 40), ("small", 20),
             ("half", 70)]
    what = work(*(task(seconds, fn=fn) for fn, seconds in order), **costs)
    run = Simulator(ClusterSpec((node("n", {"cpu": 4}),), shared=amounts({"lic": 1}))).run(what).runs[0]

    assert run.makespan == pytest.approx(330.0, rel=0.01)
