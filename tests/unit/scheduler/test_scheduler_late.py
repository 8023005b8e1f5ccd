"""Tasks that everything said would be short, and that take long: nothing stays behind them while other cores have nothing to do."""

from __future__ import annotations

import random
from array import array

import pytest
from scheduler_story import Cluster, Forget, many

from handoff.columns import Blobs, ints
from handoff.program import Kind, Program
from handoff.resources import amounts
from handoff.scheduler.simulate.cluster import ClusterSpec, NodeSpec
from handoff.scheduler.simulate.simulator import Simulator, Work


@pytest.mark.parametrize(("seed", "count"), [(2, 30), (10, 24), (49, 24)])
def test_long_tasks_behind_short_ones_find_the_free_cores(seed: int, count: int) -> None:
    """Two hundred items are loaded in milliseconds, then a few models are trained, for which there are cores enough.

    As long as none has ended, nobody knows how long that takes; several of a node's tasks may have been planned for the same core.
    """
    draw = random.Random(seed)
    load, train = (Kind((name.encode(),), name, cost=amounts({"cpu": 1})) for name in ("load", "train"))
    taken = [tuple(sorted(draw.sample(range(200), draw.choice((1, 2))))) for _ in range(count)]
    seconds = [*(draw.uniform(0.0005, 0.0015) for _ in range(200)), *(draw.uniform(7.0, 13.0) for _ in taken)]
    program = Program(
        ((b"load", 0), (b"train", 0)), (load, train), ints([0] * 200 + [1] * count), Blobs.of([b""] * (200 + count)),
        ints([0] * 200 + [len(each) for each in taken]), ints(each for several in taken for each in several))
    nodes = tuple(NodeSpec(f"n{number}", amounts({"cpu": 4, "memory": 8000}), 1.0, (), 0.0, float("inf")) for number in range(8))
    [run] = Simulator(ClusterSpec(nodes, latency=0.0002)).run(Work(program, array("d", seconds), array("Q", [1000] * len(seconds)))).runs

    assert run.makespan < max(seconds) + 1.0


def test_what_is_late_is_looked_for_though_very_many_runs_have_ended_meanwhile() -> None:
    """The timers of these are swept out, and no other."""
    cluster = Cluster().join("n1", cpu=1).client()
    cluster.finish(cluster.submit(many(40)), seconds=1e-4)
    cluster.submit(many(400))
    for _ in range(70):
        cluster.hear("client", Forget(cluster.submit(many(1), timeout=1000.0)))

    assert cluster.scheduler.ledger.is_watching_late
    assert any(what == "late" for _, _, what, *_ in cluster.scheduler.ledger.timers)
