"""Many runs of one task each that wait: what happens to one of them costs as much as if it were alone."""

from __future__ import annotations

from scheduler_story import Cancel, Cluster, Forget, RunId, kind, many

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
