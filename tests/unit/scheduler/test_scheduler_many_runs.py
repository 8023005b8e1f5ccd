"""Many runs of one task each that wait: what happens to one of them costs as much as if it were alone."""

from __future__ import annotations

import pytest
from counted import calls_in
from scheduler_story import Cancel, Cluster, Forget, Report, RunId, Submit, floats, ints, kind, longs, many, program

from handoff.ids import PeerId
from handoff.machine import Received
from handoff.resources import Amounts
from handoff.scheduler.allocator import Desk
from handoff.scheduler.ready import Shape


def waiting(runs: int) -> tuple[Cluster, Shape]:
    """One runs, the others wait; and the shape that they share."""
    cluster = Cluster().join("n1", cpu=1).client()
    for _ in range(runs):
        cluster.submit(many(1, kind("call")))
    shape = cluster.scheduler.ledger.runs[RunId(1)].shapes[0]
    assert len(shape) == runs - 1
    return cluster, shape


def test_what_waits_is_not_gone_through_when_one_begins_or_ends() -> None:
    """Neither sorted anew nor filtered."""
    cluster, shape = waiting(100)
    stack, heap = shape.stack, shape.heap
    cluster.submit(many(1, kind("call")))
    cluster.done(0, run=1)
    cluster.hear("client", Forget(RunId(1)))

    assert RunId(1) not in cluster.scheduler.ledger.runs
    assert shape.stack is stack and shape.heap is heap and len(shape) >= 90


def test_what_is_left_of_runs_that_are_over_goes_in_the_end() -> None:
    """Of a hundred, ninety are cancelled: not much more than ten keys are left, and these runs go on."""
    cluster, shape = waiting(101)
    for run in range(2, 92):
        cluster.hear("client", Cancel(RunId(run)))
        cluster.hear("client", Forget(RunId(run)))
        assert len(shape) <= 2 * len(cluster.scheduler.ledger.runs) + 1
    assert sorted(cluster.scheduler.ledger.runs) == [1, *range(92, 102)]
    for run in (1, *range(92, 102)):
        cluster.finish(run)
    assert not len(shape)


def test_a_single_call_costs_the_same_on_a_large_cluster() -> None:
    """Which nodes could have it is known from the calls before it; and at its end, when nothing waits, nothing is allocated."""
    def calls(nodes: int) -> tuple[int, int]:
        cluster = Cluster().client()
        for number in range(nodes):
            cluster.join(f"n{number}", cpu=4)
        for _ in range(3):
            run = cluster.submit(many(1))
            cluster.done(0, run=run)
            cluster.hear("client", Forget(run))
        brain, client = cluster.scheduler, cluster.peers["client"]
        begun = calls_in(lambda: brain.handle(cluster.now, Received(client, Submit(7, "call", many(1), body=b"work"))), "scheduler")
        (table,) = brain.ledger.runs.values()
        report = Report(table.run, ints([0]), ints([1]), longs([1]), floats([0.001]), floats([0.0]))
        return begun, calls_in(lambda: brain.handle(cluster.now, Received(PeerId(table.node[0]), report)), "scheduler")

    assert calls(200) == calls(20)
    assert calls(20)[1] <= 45


def test_shares_are_counted_by_need_not_by_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs in which each task has code of its own (closures of a loop): what a pass does for their shares is as with one function."""
    asked: list[tuple[Amounts, ...]] = []
    portion = Desk.portion

    def counted(desk: Desk, needs: tuple[Amounts, ...]) -> float:
        asked.append(needs)
        return portion(desk, needs)

    cluster = Cluster().client("a").client("b").join("n", cpu=4)
    runs = [cluster.submit(program([(kind(f"{client}{number}"), ()) for number in range(50)]), client) for client in "ab"]
    monkeypatch.setattr(Desk, "portion", counted)
    first = next(task for task in range(50) if cluster.scheduler.ledger.runs[runs[0]].is_planned(task))
    cluster.done(first, run=runs[0], seconds=1.0)

    accounts = list(cluster.scheduler.ledger.ready.accounts.open.values())
    assert len(asked) == 2    # one pass, two accounts
    assert [[stake.planned for stake in account.stakes.values()] for account in accounts] == [[3], [1]]
    for run in runs:
        cluster.finish(run)
        cluster.hear("ab"[runs.index(run)], Forget(run))
    assert not cluster.scheduler.ledger.ready.accounts.open


def test_room_that_was_not_found_is_not_looked_for_again_for_each_waiting_run() -> None:
    """All need the same: a report costs some calls for each run that waits, not the whole search."""
    def calls(runs: int) -> int:
        cluster = Cluster().client().join("n", cpu=4)
        for number in range(runs):
            cluster.submit(many(20, kind(f"of run {number}")))
        cluster.wait(1.0)
        brain = cluster.scheduler
        table = next(run for run in brain.ledger.runs.values() if run.planned)
        task = next(task for task in range(20) if table.is_planned(task))
        report = Report(table.run, ints([task]), ints([1]), longs([1]), floats([0.3]), floats([0.0]))
        return calls_in(lambda: brain.handle(cluster.now, Received(PeerId(table.node[task]), report)), "scheduler")

    assert (calls(120) - calls(20)) / 100 <= 36
