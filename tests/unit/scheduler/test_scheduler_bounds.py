"""A coordinator that lives for years: what it remembers does not grow with all that ever was."""

from __future__ import annotations

import pytest
from scheduler_story import Cluster, Forget, floats, ints, kind, longs, many

from handoff.messages import Alive, Ask, Drain
from handoff.scheduler import outbox, rates, room


def test_timers_of_runs_that_are_over_do_not_pile_up() -> None:
    """A limit of a day on a call of a millisecond is forgotten soon after it; that of a run which goes on is not."""
    cluster = Cluster(node_timeout_seconds=50.0).client().join("n1", cpu=2)
    stays = cluster.submit(many(1), timeout=1000.0)
    for _ in range(300):
        run = cluster.submit(many(1), timeout=86400.0)
        cluster.done(0, run=run)
        cluster.hear("client", Forget(run))
    timers = cluster.scheduler.ledger.timers
    assert len(timers) < 100

    cluster.wait(1001.0)

    assert stays not in cluster.scheduler.ledger.runs


def test_timers_of_nodes_that_leave_and_clients_that_are_away_outlive_a_sweep() -> None:
    """Whatever becomes of runs meanwhile."""
    cluster = Cluster(client_grace_seconds=500.0, suspect_seconds=1e6, lost_seconds=1e6).client().client("other").join("n1", cpu=2)
    cluster.submit(many(1), client="other")
    cluster.join("n2", cpu=2)
    cluster.hear("client", Drain("n1", 0, 400.0))
    cluster.drop("other")
    for _ in range(300):
        run = cluster.submit(many(1), timeout=86400.0)
        cluster.done(0, run=run)
        cluster.hear("client", Forget(run))

    cluster.wait(401.0)
    assert "n1" not in cluster.scheduler.ledger.by_name
    cluster.wait(100.0)
    assert cluster.peers["other"] not in cluster.scheduler.ledger.clients


def test_what_costs_mean_for_a_node_is_remembered_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call may ask for another amount of memory."""
    monkeypatch.setattr(room, "COSTS_MAX", 10)
    cluster = Cluster().client().join("n1", cpu=4, memory=1000).join("n2", cpu=4, memory=1000)
    for number in range(100):
        run = cluster.submit(many(1, kind(cost={"cpu": 1, "memory": 1 + number})))
        cluster.done(0, run=run)
        cluster.hear("client", Forget(run))

    for node in cluster.scheduler.ledger.nodes.values():
        assert len(node.shares) <= 10 and len(node.widths) <= 10


def test_names_of_dead_nodes_are_remembered_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes come and go for years; who knows of one that is forgotten knows it no more, so that nothing is kept of it."""
    monkeypatch.setattr(outbox, "GONE_MAX", 10)
    cluster = Cluster(suspect_seconds=1e6, lost_seconds=1e6).client().join("stays")
    run = cluster.submit(many(2, kind("output", max_retries=50)))
    for number in range(40):
        cluster.join(f"n{number}")
        assert cluster.where(1) == f"n{number}"
        cluster.now += 0.01
        cluster.lose(f"n{number}")

    ledger = cluster.scheduler.ledger
    assert len(ledger.out.names) == 11 and len(ledger.client_knows[cluster.peers["client"]]) <= 11
    cluster.hear("client", Ask(5, "timeline", run))   # attempts on nodes whose names are forgotten are told nevertheless
    cluster.hear("client", Ask(5, "explain", run, 1))


def test_rates_are_at_hand_for_so_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go when something is learned, and that may be never."""
    monkeypatch.setattr(rates, "PAIRS_MAX", 10)
    cluster = Cluster().client().join("n1").join("n2")
    cluster.hear("n1", Alive((), 0, 0, sources=ints([cluster.peers["n2"]]), moved_bytes=longs([1 << 30]), moved_seconds=floats([1.0])))
    found = cluster.scheduler.ledger.rates
    for number in range(100):
        found.of(number, number + 1)

    assert len(found._known) <= 10
