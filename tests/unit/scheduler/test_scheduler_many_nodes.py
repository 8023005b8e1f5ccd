"""Graphs that wait for many nodes: what one more node costs does not grow with those that are still to come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from counted import calls_in
from scheduler_story import Cluster, kind, many, program

from handoff.resources import amounts
from handoff.scheduler.allocator import Desk
from handoff.scheduler.nodes import Node


def pinned(count: int) -> Cluster:
    """A function for each of so many nodes, of which ten are there."""
    cluster = Cluster().client()
    cluster.submit(program([(kind("probe", node=f"n{number}"), ()) for number in range(count)]), wait_for_nodes=True)
    for number in range(10):
        cluster.join(f"n{number}")
    return cluster


def test_of_many_nodes_that_are_waited_for_one_is_named() -> None:
    """The sentence says who is there, and is made once."""
    def calls(count: int) -> int:
        cluster = pinned(count)
        return calls_in(lambda: cluster.join("n10"), "scheduler/feasible.py")

    assert calls(200) == calls(50)


def test_the_node_of_what_is_pinned_is_not_looked_for_among_all() -> None:
    """It is known by its name."""
    class Walked(list[Node]):
        walks = 0

        def __iter__(self) -> Iterator[Node]:
            self.walks += 1
            return super().__iter__()

    cluster = pinned(20)
    ledger = cluster.scheduler.ledger
    ledger.open_nodes = nodes = Walked(ledger.open_nodes)
    ledger.open_version += 1
    desk = Desk(cluster.now, ledger)
    [run] = ledger.runs.values()
    there, missing = run.shapes[3], run.shapes[15]

    assert [node.name for node in desk.able_for(there)] == [each.group.members[0].name for each in desk.options_for(there)] == ["n3"]
    assert not desk.able_for(missing) and not desk.options_for(missing)
    assert not nodes.walks


def test_one_more_node_is_held_against_those_runs_alone_that_lack_something() -> None:
    """What the others need is there already; the first node, beside which nothing was said of what is lacking, against all."""
    def calls(runs: int) -> int:
        cluster = Cluster().client().join("n1")
        for _ in range(runs):
            cluster.submit(many(1), wait_for_nodes=True)
        cluster.submit(many(1, kind("large", {"cpu": 4})), wait_for_nodes=True)
        table = cluster.scheduler.ledger.runs[runs + 1]
        assert table.unmet
        found = calls_in(lambda: cluster.join("n2", cpu=4), "scheduler/waiting.py")
        assert not table.unmet
        return found

    assert calls(50) == calls(5)
    cluster = Cluster().client()
    run = cluster.submit(many(1, kind("large", {"cpu": 4})), wait_for_nodes=True)
    cluster.join("n1")
    assert cluster.scheduler.ledger.runs[run].unmet


def of_one_make(count: int) -> Cluster:
    """Nodes that differ by some megabytes of memory: n0 has 16000, n1 one more, and so on."""
    cluster = Cluster().client()
    for number in range(count):
        cluster.join(f"n{number}", cpu=4, memory=16_000 + number)
    return cluster


def test_machines_that_differ_by_some_megabytes_are_looked_at_together() -> None:
    """Each would be a group of its own, and every task would be held against each."""
    cluster = of_one_make(20)
    cluster.submit(many(100, kind(cost={"cpu": 1, "memory": 2000})))

    assert len(cluster.scheduler.ledger.groups) == 1
    assert len(cluster.plans()) == 80


@pytest.mark.parametrize("comes_late", [False, True])
@pytest.mark.parametrize("others", [(), ({"cpu": 1, "memory": 17_000},)])
def test_what_some_of_them_can_hold_goes_to_these_alone(others: tuple[dict[str, float], ...], comes_late: bool) -> None:
    """A claim that parts a group: five of ten can hold it, one of which may come later; they have one each, however often they end."""
    cluster = of_one_make(9 if comes_late else 10)
    large = kind("large", {"cpu": 1, "memory": 16_005}, alternatives=tuple(amounts(each) for each in others))
    run = cluster.submit(many(12, large))
    planned = cluster.plans()
    if comes_late:
        cluster.join("n9", cpu=4, memory=16_009)
        planned += cluster.plans()
    able = [f"n{number}" for number in range(5, 10)]
    assert sorted(cluster.where(task, run) for task in planned) == able

    cluster.finish(run)
    assert {cluster.where(task, run) for task in range(12)} == set(able)
