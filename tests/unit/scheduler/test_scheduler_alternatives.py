"""Tasks with a choice of costs are placed by the rules that hold for all others: memory, near, spread, turns, and no starvation."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from scheduler_story import Cluster, kind, many, program

from handoff.columns import ints
from handoff.program import Kind, Program
from handoff.resources import amounts
from handoff.scheduler.first_fit import FirstFit
from handoff.scheduler.round_robin import RoundRobin

GB = 1_000_000_000


def choosing(name: str, *costs: dict[str, float], **fields: object) -> Kind:
    """A kind of task with these costs, the first preferred."""
    return kind(name, costs[0], alternatives=tuple(amounts(cost) for cost in costs[1:]), **fields)


def expecting(made: Program, seconds: list[float], nbytes: list[float] | None = None) -> Program:
    """The program, with what is known of its tasks beforehand."""
    return replace(made, seconds=array("d", seconds), nbytes=array("d", nbytes or []))


def turn_of(task: int, cluster: Cluster) -> float:
    """What was planned ends one after the other, until this task is planned: when that is; it must be before all others have ended."""
    running = cluster.plans()
    for _ in range(190):
        if task in running:
            return cluster.now
        cluster.now += 0.02
        cluster.done(running.pop(0), seconds=0.02)
        running += cluster.plans()
    raise AssertionError("it never got its turn")


@pytest.mark.parametrize("costs", [({"cpu": 2},), ({"gpu": 1}, {"cpu": 2}), ({"cpu": 2}, {"cpu": 1.5, "memory": 100})])
def test_a_large_one_does_not_starve_beside_small_ones(costs: tuple[dict[str, float], ...]) -> None:
    """After a second the node is kept for it, whichever of its costs it is that fits there."""
    cluster = Cluster().join("n1", cpu=2, memory=1000).client()
    cluster.submit(expecting(program([*[(kind("small"), ())] * 200, (choosing("large", *costs), ())]), [9.0] * 200 + [0.5]))
    assert turn_of(200, cluster) < 2.5


def test_what_the_cluster_shares_is_kept_for_one_that_waits_long() -> None:
    """At the cost that takes of it: the other one can be had nowhere."""
    cluster = Cluster(shared={"licence": 3}).join("n1", cpu=8).client()
    large = choosing("large", {"gpu": 1}, {"cpu": 1, "cluster:licence": 3})
    cluster.submit(expecting(program([*[(kind("small", {"cpu": 1, "cluster:licence": 1}), ())] * 200, (large, ())]), [9.0] * 200 + [0.5]))
    assert turn_of(200, cluster) < 2.5


def test_their_results_count() -> None:
    """Of ten results of a gigabyte, a node of ten gets six at first, as without a choice."""
    cluster = Cluster().client().join("n1", cpu=10, memory=10_000)
    make = choosing("make", {"gpu": 1}, {"cpu": 1}, flags=0)
    made = program([(make, ())] * 10 + [(kind("use"), (each,)) for each in range(10)])
    cluster.submit(expecting(made, [1.0] * 20, [GB] * 10 + [10] * 10))

    assert cluster.scheduler.ledger.runs[1].planned == 6
    cluster.finish(nbytes=GB)
    assert not cluster.scheduler.ledger.memory.promised


@pytest.mark.parametrize("home", ["n1", "n2", "n3"])
def test_one_runs_near_another(home: str) -> None:
    """Of idle nodes it takes that of the task that it wants to be near."""
    cluster = Cluster().client().join("n1", cpu=2).join("n2", cpu=2).join("n3", cpu=2)
    second = choosing("second", {"gpu": 1}, {"cpu": 1})
    cluster.submit(replace(program([(kind("first", node=home), ()), (second, ())]), near=ints([1, 0])))

    assert cluster.where(1) == home


@pytest.mark.parametrize("allocator", [FirstFit(), RoundRobin()])
def test_other_allocators_spread_too(allocator: object) -> None:
    """What a node may have is the desk's to say, whoever decides."""
    cluster = Cluster(allocator).client().join("n1", cpu=4).join("n2", cpu=4).join("n3", cpu=4)
    run = cluster.submit(many(3, kind("apart", spread="apart")))

    assert {cluster.where(task, run) for task in range(3)} == {"n1", "n2", "n3"}


def test_they_give_way_to_more_urgent_ones() -> None:
    """Two of them and two others, of which one is the most urgent and one the least, on two cores: the two more urgent ones go first."""
    cluster = Cluster().client().join("n1", cpu=2)
    one, other = choosing("one", {"gpu": 1}, {"cpu": 1}), kind("other")
    cluster.submit(expecting(program([(one, ()), (one, ()), (other, ()), (other, ())]), [9.0, 1.0, 8.0, 0.5]))

    assert sorted(cluster.plans()) == [0, 2]


def test_a_node_that_is_kept_for_others_counts_when_tasks_are_spread() -> None:
    """Of two nodes one is kept free for a task that waits long: two that are to be apart do not go to the other for that."""
    cluster = Cluster().client().join("n1", cpu=2).join("n2", cpu=4)
    cluster.submit(expecting(program([(kind("long", node="n1"), ())]), [30.0]))
    cluster.submit(expecting(program([(kind("large", {"cpu": 2}, node="n1", priority=1), ())]), [0.5]))
    cluster.wait(2.0)
    cluster.submit(many(1, kind("other", node="n2")))    # a pass in which n1 is kept
    run = cluster.submit(many(2, kind("apart", spread="apart")))
    table = cluster.scheduler.ledger.runs[run]

    assert [cluster.where(task, run) for task in range(2) if table.is_planned(task)] == ["n2"]


def test_what_one_cost_showed_of_a_result_counts_for_all() -> None:
    """Nothing ever ran at the first cost, since no node has a GPU; how large results are is known all the same."""
    cluster = Cluster().client().join("n1", cpu=10, memory=10_000)
    make = choosing("make", {"gpu": 1}, {"cpu": 1}, flags=0)
    warm = cluster.submit(program([(make, ()), (kind("use"), (0,))]))
    cluster.done(0, run=warm, nbytes=GB)
    cluster.done(1, run=warm)
    small = cluster.submit(many(400, kind("small")))
    cluster.finish(small)        # what is known of functions in general says nothing of it
    cluster.submit(program([(make, ())] * 10 + [(kind("use"), (each,)) for each in range(10)]))

    (promised,) = cluster.scheduler.ledger.memory.promised.values()
    assert [nbytes for _, nbytes, _ in promised.values()] == [GB] * 6
