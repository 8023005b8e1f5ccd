"""Short tasks that take small results: each where these are, as long as the nodes stay even."""

from __future__ import annotations

from array import array

import pytest

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
    """Tasks of a function that nobody knows yet, with results of a few bytes, on nodes of one core."""
    work = Kind((b"work",), "work", cost=amounts({"cpu": 1}))
    program = Program(
        ((b"work", 0),), (work,), ints(0 for _ in edges), Blobs.of([b""] * len(edges)), ints(map(len, edges)),
        ints(each for inputs in edges for each in inputs))
    specs = tuple(NodeSpec(f"n{number}", amounts({"cpu": 1, "memory": 8000}), 1.0, (), 0.0, float("inf")) for number in range(nodes))
    history = Simulator(ClusterSpec(specs, latency=0.0002)).run(
        Work(program, array("d", [seconds] * len(edges)), array("Q", [8] * len(edges))))
    return history.runs[0]


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


@pytest.mark.parametrize("nodes", [4, 80])
def test_what_one_node_made_is_taken_everywhere(nodes: int) -> None:
    """Pairs of results are where they are; where all of them are on one node, the others get their share."""
    edges: Edges = [(), (), *[(0, 1)] * 800]
    run = played(edges, 0.002, nodes)

    assert max(run.nodes.count(f"n{number}") for number in range(nodes)) < 2.5 * 800 / nodes
    assert run.makespan < 2.5 * 800 * 0.002 / nodes + 0.02
