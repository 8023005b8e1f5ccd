"""Short tasks that take small results: each where these are, as long as the nodes stay even."""

from __future__ import annotations

from array import array

import pytest
from scheduler_story import Cluster, kind, many, program

from handoff.columns import Blobs, ints
from handoff.program import Kind, Program
from handoff.resources import amounts
from handoff.scheduler.simulate.cluster import ClusterSpec, NodeSpec
from handoff.scheduler.simulate.simulator import Outcome, Simulator, Work

Edges = list[tuple[int, ...]]


def stencil(width: int, steps: int) -> Edges:
    """Each point takes its own result and its neighbours' of the step before."""
    return [
        tuple((step - 1) * width + each for each in range(max(0, place - 1), min(width, place + 2))) if step else ()
        for step in range(steps) for place in range(width)]


def played(edges: Edges, seconds: float, nodes: int = 2) -> Outcome:
    """How such a run goes on nodes of one core."""
    return all_played([work(edges, seconds)], nodes)[0]


def work(edges: Edges, seconds: float, at: float = 0.0) -> Work:
    """Tasks of a function that nobody knows yet, with results of a few bytes."""
    kind = Kind((b"work",), "work", cost=amounts({"cpu": 1}))
    program = Program(
        ((b"work", 0),), (kind,), ints(0 for _ in edges), Blobs.of([b""] * len(edges)), ints(map(len, edges)),
        ints(each for inputs in edges for each in inputs))
    return Work(program, array("d", [seconds] * len(edges)), array("Q", [8] * len(edges)), at=at)


def all_played(runs: list[Work], nodes: int = 2) -> list[Outcome]:
    """How these go together."""
    specs = tuple(NodeSpec(f"n{number}", amounts({"cpu": 1, "memory": 8000}), 1.0, (), 0.0, float("inf")) for number in range(nodes))
    return Simulator(ClusterSpec(specs, latency=0.0002)).run(*runs).runs


def handed_on(edges: Edges, run: Outcome) -> int:
    """Inputs that came from another node."""
    return sum(run.nodes[each] != run.nodes[task] for task, inputs in enumerate(edges) for each in inputs)


@pytest.mark.parametrize("seconds", [0.00001, 0.0001, 0.002])
def test_neighbours_stay_together(seconds: float) -> None:
    """Of 46 inputs in a step few come from the other node (placed one by one, it is about 22), and neither has more to do."""
    edges = stencil(16, 100)
    run = played(edges, seconds)

    assert handed_on(edges, run) < 11 * 100
    assert abs(run.nodes.count("n0") - 800) < 80
    assert run.makespan < max(1.1 * 800 * seconds, 0.03)


def test_a_narrow_graph_is_cut_once() -> None:
    """Two points on each node: the two inputs that must cross in a step, and hardly any other."""
    edges = stencil(4, 100)
    run = played(edges, 0.0001)

    assert handed_on(edges, run) < 2.7 * 100   # counted: 246, since more cross while nobody knows how long such tasks take
    assert run.nodes.count("n0") == pytest.approx(200, abs=10)


@pytest.mark.parametrize(("nodes", "crossing_max"), [(2, 0.05), (8, 0.15)])    # counted: none, 0.08; placed one by one, 0.44 and 0.87
def test_many_short_chains_stay_where_they_began(nodes: int, crossing_max: float) -> None:
    """Five links each: to move the result of one costs both nodes more than its consumer takes, and all have enough to do."""
    edges: Edges = [(task - 1,) if task % 5 else () for task in range(3000)]
    run = played(edges, 0.002, nodes)

    assert handed_on(edges, run) < crossing_max * 2400
    assert run.makespan < 1.02 * 3000 * 0.002 / nodes


@pytest.mark.parametrize("nodes", [4, 80])
def test_what_one_node_made_is_taken_everywhere(nodes: int) -> None:
    """Pairs of results are where they are; where all of them are on one node, the others get their share."""
    edges: Edges = [(), (), *[(0, 1)] * 800]
    run = played(edges, 0.002, nodes)

    assert max(run.nodes.count(f"n{number}") for number in range(nodes)) < 2.5 * 800 / nodes
    assert run.makespan < 2.5 * 800 * 0.002 / nodes + 0.02


def test_what_many_take_alone_is_taken_everywhere() -> None:
    """As the pieces into which something was split: they are not links that had better stay where it is."""
    run = played([(), *[(0,)] * 300], 0.0002, nodes=8)

    assert max(run.nodes.count(f"n{number}") for number in range(8)) < 60    # counted: 41; as links, 93


def test_runs_of_different_sizes_share_a_function() -> None:
    """What of another run comes up behind a run's own is known by its number in that run: in a smaller one's tables there is none such."""
    runs = all_played([work(stencil(3, 2), 0.001), work(stencil(8, 2), 0.001)], nodes=3)

    assert [len(run.nodes) for run in runs] == [6, 16]
    assert all(all(run.nodes) for run in runs)


def test_what_should_have_ended_is_not_counted_until_it_is_told_of() -> None:
    """Of two nodes with as much to do, the one that has just told of half of it has as much left as the one that will tell soon."""
    cluster = Cluster().client().join("n1").join("n2")
    for _ in range(2):      # what is known of the function: 1 ms
        run = cluster.submit(many(64))
        cluster.finish(run, seconds=0.001)
    cluster.submit(program([(kind(node=name), ()) for name in ("n1", "n2")] * 4))
    first, second = cluster.scheduler.ledger.nodes[2], cluster.scheduler.ledger.nodes[3]
    assert first.backlog == second.backlog == pytest.approx(0.004, rel=0.05)
    until = first.works_until(cluster.now)
    assert until == cluster.now + first.backlog

    cluster.wait(0.002)
    cluster.done(0, 2, run=3, seconds=0.001)
    assert first.works_until(cluster.now) == pytest.approx(until, rel=0.1)
    assert second.works_until(cluster.now) == until

    run = cluster.submit(program([(kind(node=name, flags=0), ()) for name in ("n1", "n2")] + [(kind(), (0, 1))] * 5))
    assert [cluster.where(task, run) for task in range(2, 7)].count("n1") == 3     # by what is told alone, the first gets four
