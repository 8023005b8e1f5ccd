"""Chains of short tasks: many links in one pass, each where the one before is, at a few calls for each."""

from __future__ import annotations

import random
from array import array
from dataclasses import replace

import pytest
from scheduler_story import Cluster, kind, many, program

from handoff.columns import Blobs, ints
from handoff.ids import RunId
from handoff.program import Kind, Program
from handoff.resources import amounts
from handoff.scheduler import chains
from handoff.scheduler.runs import WAITING
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Outcome, Simulator, Work

Edges = list[tuple[int, ...]]


def known(nodes: int = 2, seconds: float = 1e-5) -> Cluster:
    """Nodes of one core, and 40 tasks that took so long."""
    cluster = Cluster()
    for number in range(nodes):
        cluster.join("abcdefgh"[number], cpu=1)
    cluster.client().submit(many(40, kind("link")))
    for number in range(40):
        cluster.done(number, seconds=seconds)
    cluster.planned.clear()
    return cluster


def links(count: int, of: Kind) -> Program:
    """Each takes the result of the one before."""
    return program([(of, [number - 1] if number else []) for number in range(count)])


def test_links_are_planned_together_in_their_order() -> None:
    """One node gets all that it will do within the horizon, before any of it ran."""
    cluster = known()
    cluster.submit(links(200, kind("link")))

    run = cluster.scheduler.ledger.runs[RunId(2)]
    assert [task for number, task in cluster.planned if number == 2] == list(range(200))
    assert len(set(run.node)) == 1
    assert list(run.started) == sorted(run.started)
    assert sum(each.planned for each in cluster.scheduler.ledger.nodes.values()) == 200


def test_no_more_than_the_horizon_is_planned() -> None:
    """Of links of 0.09 ms, as many as run within 40 ms: the rest waits, and comes when these have ended."""
    cluster = known(seconds=0.00008)
    cluster.submit(links(1000, kind("link")))
    run = cluster.scheduler.ledger.runs[RunId(2)]
    first = sum(1 for number, _ in cluster.planned if number == 2)
    assert 250 < first < 600

    for task in range(first):
        cluster.done(task, run=2, seconds=0.00008)
    assert sum(1 for number, _ in cluster.planned if number == 2) > first
    assert run.state[999] == WAITING


@pytest.mark.parametrize("graph", ["fork", "other kind", "two inputs"])
def test_a_block_ends_where_the_chain_does(graph: str) -> None:
    """What follows is planned all the same, by itself."""
    cluster, link = known(), kind("link")
    tasks: list[tuple[Kind, list[int]]] = [(link, []), *[(link, [number]) for number in range(10)]]
    if graph == "fork":
        tasks += [(link, [10]), (link, [10])]
    elif graph == "other kind":
        tasks += [(replace(link, priority=-1), [10])]
    else:
        tasks += [(link, []), (link, [10, 11])]
    cluster.submit(program(tasks))

    run = cluster.scheduler.ledger.runs[RunId(2)]
    assert sorted(task for number, task in cluster.planned if number == 2) == list(range(len(tasks)))
    assert [run.unplanned[task] for task in range(len(tasks))] == [0] * len(tasks)


def test_of_a_higher_priority_goes_first() -> None:
    """Whatever chain was there before."""
    cluster = known(1)
    low, high = kind("link"), kind("link", priority=5)
    cluster.submit(program([*[(low, [number - 1] if number else []) for number in range(50)], *[(high, []) for _ in range(5)]]))

    order = [task for number, task in cluster.planned if number == 2]
    assert set(order[:5]) == set(range(50, 55))


def test_the_longer_of_two_chains_goes_first_until_both_are_as_long() -> None:
    """A block goes on beyond that for a turn at most: to the end of the first chain, the second would not begin before it is over."""
    cluster = known(1)
    cluster.submit(many(40, kind("other")))
    for number in range(40):
        cluster.done(number, run=2, seconds=1e-5)
    first, second = kind("link"), kind("other")
    cluster.submit(program([
        *[(first, [number - 1] if number else []) for number in range(100)],
        *[(second, [number - 1] if number > 100 else []) for number in range(100, 160)]]))

    order = [task for number, task in cluster.planned if number == 3]
    assert len(order) == 160
    assert 100 - 60 <= order.index(100) <= 100 - 60 + 2 * chains.TURN


def forest(seed: int) -> Edges:
    """Chains of all lengths, some of which fork or come together."""
    draw = random.Random(seed)
    edges: Edges = []
    ends: list[int] = []
    for _ in range(draw.randint(4, 12)):
        before = draw.sample(ends, min(len(ends), draw.choice((0, 0, 1, 2))))
        for _ in range(draw.randint(1, 120)):
            edges.append(tuple(before))
            before = [len(edges) - 1]
        ends += before
    return edges


def played(edges: Edges, seconds: float) -> Outcome:
    """How it goes on three nodes of two cores, when the function is known from a run before."""
    of = Kind((b"work",), "work", cost=amounts({"cpu": 1}))
    made = Program(
        ((b"work", 0),), (of,), ints(0 for _ in edges), Blobs.of([b""] * len(edges)), ints(map(len, edges)),
        ints(each for inputs in edges for each in inputs))
    work = Work(made, array("d", [seconds] * len(edges)), array("Q", [8] * len(edges)))
    cluster = ClusterSpec(tuple(node(f"node-{number}", {"cpu": 2}) for number in range(3)), latency=0.0002)
    return Simulator(cluster).run(work, replace(work, at=1e4)).runs[1]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("seconds", [0.00002, 0.0001])
def test_together_they_take_no_longer_than_one_by_one(monkeypatch: pytest.MonkeyPatch, seed: int, seconds: float) -> None:
    """It saves the coordinator's time, and changes nothing else."""
    edges = forest(seed)
    together = played(edges, seconds)
    monkeypatch.setattr(chains, "place", lambda *_: 0)
    alone = played(edges, seconds)

    assert together.makespan <= 1.02 * alone.makespan + 0.001
