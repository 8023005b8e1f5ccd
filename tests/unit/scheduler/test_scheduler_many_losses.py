"""Many results lost at once: who takes them all is looked at once, not once for each, or 50,000 of them take the coordinator minutes."""

from __future__ import annotations

from collections import Counter

import pytest
from scheduler_story import Cluster, Flag, Unreachable, ints, kind, program

from handoff.scheduler.runs import Run

MANY = 30
MADE = range(MANY)


@pytest.fixture
def recounts(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often it was counted again what each task waits for."""
    counted: Counter[int] = Counter()
    recount = Run.recount

    def counting(run: Run, task: int) -> None:
        counted[task] += 1
        recount(run, task)

    monkeypatch.setattr(Run, "recount", counting)
    return counted


def test_what_takes_all_results_of_a_lost_node_is_counted_once(recounts: Counter[int]) -> None:
    """They are made again elsewhere, and then it runs."""
    cluster = Cluster().client().join("n1", cpu=MANY)
    cluster.submit(program([*[(kind("make"), ())] * MANY, (kind("all", node="n2"), MADE)]), wait_for_nodes=True)
    cluster.done(*MADE)
    cluster.join("n2", cpu=MANY)
    cluster.lose("n1")

    assert {cluster.where(task) for task in MADE} == {"n2"}
    assert recounts == Counter([*MADE, MANY])
    cluster.finish()


def test_what_can_not_reach_many_results_is_counted_once(recounts: Counter[int]) -> None:
    """A node says of all of them at once that it can't have them."""
    cluster = Cluster().client().join("n1", cpu=MANY)
    run = cluster.submit(program([*[(kind("make"), ())] * MANY, (kind("all", node="n2"), MADE)]), wait_for_nodes=True)
    cluster.done(*MADE)
    cluster.join("n2", cpu=MANY)
    cluster.hear("n2", Unreachable(run, cluster.peers["n1"], ints(MADE)))

    assert {cluster.where(task) for task in MADE} == {"n2"}
    assert recounts == Counter([*MADE, MANY])
    cluster.finish()


def test_what_takes_many_serializers_and_loses_its_node_is_counted_once(recounts: Counter[int]) -> None:
    """Each of them is done again, for the node that comes."""
    steps, take = range(MANY, 2 * MANY), 2 * MANY
    cluster = Cluster().client().join("n1", cpu=MANY).join("n2")
    makes = [(kind("make", node="n1"), ())] * MANY
    serializers = [(kind("step", {}, flags=Flag.SERIALIZER), (task,)) for task in MADE]
    cluster.submit(program([*makes, *serializers, (kind("take", node="n2"), steps)]), wait_for_nodes=True)
    cluster.done(*MADE)
    cluster.done(*steps)
    assert cluster.where(take) == "n2"
    cluster.lose("n2")

    assert recounts == Counter([*steps, take])
    cluster.join("n2")
    cluster.finish()
