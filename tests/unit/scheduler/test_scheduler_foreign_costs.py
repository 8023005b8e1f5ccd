"""Costs that no client of ours would send: they end in an error for who sent them, and in nothing else."""

from __future__ import annotations

import pytest
from scheduler_story import Cluster, Flag, Refused, many

from handoff.program import Kind
from handoff.resources import Amounts
from handoff.scheduler.needs import OURS

ONE = 10_000


@pytest.mark.parametrize(("cost", "words"), [
    ((("gpu", ONE), ("gpu:a100", ONE)), "it asks for gpu and gpu:a100"),
    ((("gpu", ONE * 3 // 2),), "gpu=1.5: a part of a GPU never straddles two"),
    ((("cpu", ONE), ("cpu", ONE)), "it names something twice: cpu=1, cpu=1"),
])
@pytest.mark.parametrize("is_alternative", [False, True])
def test_a_cost_that_no_node_can_grant_is_refused(cost: Amounts, words: str, is_alternative: bool) -> None:
    """As the cost, or as another that would do; with what is wrong about it."""
    cluster = Cluster().client().join("n1", offers={"cpu": 4, "gpu": 4, "gpu:a100": 4})
    costs = ((("cpu", ONE),), (cost,)) if is_alternative else (cost, ())
    with pytest.raises(RuntimeError, match=f"ProtocolError: kind 'foreign' has a cost that no node can grant: {words}"):
        cluster.submit(many(1, Kind((b"f",), "foreign", cost=costs[0], alternatives=costs[1], flags=Flag.OUTPUT)))
    assert cluster.told(Refused) and not cluster.scheduler.ledger.runs


@pytest.mark.parametrize("name", OURS)
def test_a_cost_of_what_the_scheduler_counts_by_itself_is_refused(name: str) -> None:
    """Processes, say: what a function takes of them is not for clients to say."""
    cluster = Cluster().client().join("n1")
    with pytest.raises(RuntimeError, match="ProtocolError: kind 'foreign' has a cost without a name or amount"):
        cluster.submit(many(1, Kind((b"f",), "foreign", cost=((name, ONE),), flags=Flag.OUTPUT)))
