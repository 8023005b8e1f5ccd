"""Nodes with GPUs are left alone only as long as something needs GPUs, and one that has all names for them no more than another."""

from __future__ import annotations

from dataclasses import replace

from counted import calls_in
from scheduler_story import Cluster, Program, Report, RunId, floats, ints, kind, longs, program

from handoff.machine import Received

GPU_NODE = {"cpu": 1, "gpu": 1, "gpu:a100": 1, "gpu_memory": 16_000}


def told(what: Program, *seconds: float) -> Program:
    """The same, with what the user expects of each task."""
    return replace(what, seconds=floats(seconds), nbytes=floats([0.0] * len(seconds)))


def two_nodes() -> Cluster:
    """One with a GPU, and one without."""
    return Cluster().join("with", **GPU_NODE).join("without", cpu=1).client()


def test_a_gpu_node_is_taken_when_nothing_needs_gpus_any_more_in_the_same_run() -> None:
    """The GPU function is done; what comes after it in its run waited for the other node, for as long as the run lasted."""
    cluster = two_nodes()
    train = kind("train", {"gpu:a100": 1, "gpu_memory": 8000})
    cluster.submit(told(program([(train, ()), *[(kind("count"), (0,))] * 2]), 1.0, 10.0, 10.0))
    cluster.done(0, seconds=1.0)
    assert sorted(cluster.where(task) for task in (1, 2)) == ["with", "without"]


def test_a_gpu_node_is_taken_though_the_result_of_a_gpu_function_is_held() -> None:
    """The run is over, its client has not let go of it."""
    cluster = two_nodes()
    cluster.submit(told(program([(kind("train", {"gpu:a100": 1, "gpu_memory": 8000}), ())]), 1.0))
    cluster.done(0, seconds=1.0)
    cluster.submit(told(program([(kind("count"), ())] * 2), 10.0, 10.0))
    assert sorted(cluster.where(task, run=2) for task in (0, 1)) == ["with", "without"]


def test_a_result_that_is_made_again_needs_its_gpu_again() -> None:
    """A GPU function was done, its node is lost with the result: the other GPU node is left alone as long as it runs."""
    cluster = Cluster().join("first", **GPU_NODE).client()
    cluster.submit(told(program([(kind("train", {"gpu:a100": 1}), ()), (kind("late", node="absent"), (0,))]), 1.0, 1.0))
    cluster.done(0, seconds=1.0)
    assert not cluster.scheduler.ledger.ready.wanted
    cluster.lose("first")
    assert cluster.scheduler.ledger.ready.wanted == {"gpu": 1, "gpu:a100": 1}


def test_a_gpu_of_a_kind_and_its_memory_are_one_thing_left_unused() -> None:
    """While a GPU function runs beside it, a task waits up to half its time for another node: not twice that for three names."""
    cluster = two_nodes()
    cluster.submit(told(program([(kind("train", {"gpu:a100": 1, "gpu_memory": 8000}), ())]), 60.0))
    cluster.submit(told(program([(kind("busy", node="without"), ())]), 8.0))
    cluster.submit(told(program([(kind("count"), ())]), 10.0))
    assert cluster.where(0, run=3) == "with"
    cluster = two_nodes()
    cluster.submit(told(program([(kind("train", {"gpu:a100": 1, "gpu_memory": 8000}), ())]), 60.0))
    cluster.submit(told(program([(kind("busy", node="without"), ())]), 4.0))
    cluster.submit(told(program([(kind("count"), ())]), 10.0))
    assert (3, 0) not in cluster.planned


def test_many_resources_are_not_added_up_for_each_function() -> None:
    """What it costs to leave them unused is known, less what it uses."""
    def calls(count: int) -> int:
        offers = {"cpu": 1, **{f"tool{number}": 2 for number in range(count)}}
        cluster = Cluster().join("n1", offers=offers).join("n2", offers={**offers, "more": 1}).client()
        cluster.submit(program([(kind(f"f{number}", {"cpu": 1, f"tool{number}": 1}), ()) for number in range(60)]))
        cluster.done(0, seconds=1.0)     # from now on one of them is needed no more
        report = Report(RunId(1), ints([1]), ints([1]), longs([1]), floats([1.0]), floats([0.0]))
        return calls_in(lambda: cluster.scheduler.handle(cluster.now, Received(cluster.peers[cluster.where(1)], report)), "resources.py")

    assert calls(120) <= 3 * 120     # once for each node, not for each function, too
