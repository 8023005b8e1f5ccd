"""Which of several equal nodes a task is given: neighbours go together where all nodes will be full anyway, and apart where not."""

from __future__ import annotations

from array import array

import pytest

from handoff.columns import Blobs, floats, ints
from handoff.program import Kind, Program
from handoff.resources import amounts
from handoff.scheduler.simulate.cluster import ClusterSpec, NodeSpec
from handoff.scheduler.simulate.simulator import Simulator, Work


@pytest.mark.parametrize(("count", "apart"), [(64, 0), (16, 12), (4, 3)])
def test_what_is_taken_together_is_made_together(count: int, apart: int) -> None:
    """So many are mapped, and four neighbours each reduced, on 16 nodes of 4 cores: how many of all results have to move."""
    kinds = tuple(Kind((name.encode(),), name, cost=amounts({"cpu": 1})) for name in ("map", "reduce"))
    program = Program(
        ((b"map", 0), (b"reduce", 0)), kinds, ints([0] * count + [1] * (count // 4)), Blobs.of([b""] * (count + count // 4)),
        ints([0] * count + [4] * (count // 4)), ints(range(count)), seconds=floats([1.0] * (count + count // 4)))
    nodes = tuple(NodeSpec(f"n{number}", amounts({"cpu": 4, "memory": 8000}), 1.0, (), 0.0, float("inf")) for number in range(16))
    work = Work(program, array("d", program.seconds), array("Q", [1000] * len(program.kind)))
    [run] = Simulator(ClusterSpec(nodes, latency=0.0002)).run(work).runs

    places = run.nodes
    assert sum(places[task] != places[count + task // 4] for task in range(count)) == apart
    assert max(map(places[:count].count, places)) == (4 if count == 64 else 1)
