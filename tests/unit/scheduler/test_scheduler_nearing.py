"""Large results that are being written: who takes them is placed before they exist."""

from __future__ import annotations

import pytest
from scheduler_story import Cluster, Flag, kind, program

from handoff.ids import RunId
from handoff.messages import Alive, Coming, RunDone

MB = 1_000_000
MAKE, OTHER, TAKE = kind("make"), kind("other"), kind("take")
MANY = 32      # runs after which a function is well known


def known(seconds: float = 10.0) -> Cluster:
    """Two nodes and a client; all three functions are known to take ten seconds, so that nothing is planned ahead of its inputs."""
    cluster = Cluster().client().join("a", cpu=2).join("b", cpu=2)
    run = cluster.submit(program([(each, ()) for each in (MAKE, OTHER, TAKE) for _ in range(MANY)]))
    cluster.finish(run, seconds=seconds)
    return cluster


def test_who_takes_a_large_result_is_planned_while_it_is_written() -> None:
    """Not when the result is begun, and not twice when it is reported."""
    cluster = known()
    run = cluster.submit(program([(MAKE, ()), (TAKE, (0,))]))
    assert cluster.plans() == [0]
    cluster.hear(cluster.where(0, run), Coming(run, 0, 1, 64 * MB))
    assert cluster.plans(cluster.where(0, run)) == [1]
    cluster.done(0, run=run, nbytes=64 * MB)
    assert cluster.plans() == []
    cluster.done(1, run=run)
    assert cluster.told(RunDone, "client")


def test_all_that_is_missing_has_to_be_on_its_way() -> None:
    """One of two inputs is being written: who takes both waits for word of the other one."""
    cluster = known()
    run = cluster.submit(program([(MAKE, ()), (OTHER, ()), (TAKE, (0, 1))]))
    cluster.hear(cluster.where(0, run), Coming(run, 0, 1, 64 * MB))
    assert cluster.plans() == []
    cluster.done(1, run=run)
    cluster.hear(cluster.where(0, run), Coming(run, 0, 1, 64 * MB))
    assert cluster.plans() == [2]


def test_it_is_placed_by_the_bytes_that_were_said() -> None:
    """Nothing is known of the sizes: it goes where the larger one is, though the other one was made first."""
    cluster = known()
    run = cluster.submit(program([(MAKE, ()), (OTHER, ()), (TAKE, (0, 1))]))
    first, second = cluster.where(0, run), cluster.where(1, run)
    assert first != second
    cluster.hear(first, Coming(run, 0, 1, 8 * MB))
    cluster.hear(second, Coming(run, 1, 1, 512 * MB))
    assert cluster.plans(second) == [2]


@pytest.mark.parametrize("what", [
    "another node", "no such task", "no such run", "a task that is done", "an attempt that failed", "an old attempt",
])
def test_word_of_what_is_not_so_changes_nothing(what: str) -> None:
    """Nobody is planned for it, and nothing else is the worse for it."""
    cluster = known()
    run = cluster.submit(program([(kind("make", max_retries=1), ()), (OTHER, (0,)), (TAKE, (1,))]))
    at = cluster.where(0, run)
    said, speaker = Coming(run, 0, 1, 64 * MB), at
    if what == "another node":
        speaker = "a" if at == "b" else "b"
    elif what == "no such task":
        said = Coming(run, 99, 1, 64 * MB)
    elif what == "no such run":
        said = Coming(RunId(99), 0, 1, 64 * MB)
    elif what == "a task that is done":
        cluster.done(0, run=run)
    elif what == "an attempt that failed":
        cluster.fail(0, run=run)            # the next one begins after a pause
    elif what == "an old attempt":
        cluster.lose("a" if at == "b" else "b")     # so that the next one is at the same node
        cluster.fail(0, run=run)
        cluster.wait(2.0)
        assert cluster.where(0, run) == at and cluster.attempt(0, run) == 2
    cluster.hear(speaker, said)
    assert cluster.plans() == [] and not cluster.scheduler.ledger.runs[run].nearly
    cluster.wait(2.0)
    cluster.finish(run, seconds=10.0)
    assert "client" in [name for name, message in cluster.said if isinstance(message, RunDone) and message.run == run]


def test_where_it_fails_after_all_who_was_to_take_it_waits_again() -> None:
    """The first attempt could not be written; the second one is not known to be large before it says so."""
    cluster = known()
    run = cluster.submit(program([(kind("make", max_retries=1), ()), (TAKE, (0,))]))
    cluster.hear(cluster.where(0, run), Coming(run, 0, 1, 64 * MB))
    assert cluster.plans() == [1]
    cluster.fail(0, run=run)
    cluster.wait(2.0)
    assert cluster.attempt(0, run) == 2
    cluster.finish(run, seconds=10.0)
    assert cluster.told(RunDone, "client")


def test_where_its_node_is_lost_meanwhile_both_are_made_elsewhere() -> None:
    """And the run ends."""
    cluster = known()
    run = cluster.submit(program([(MAKE, ()), (TAKE, (0,))]))
    at = cluster.where(0, run)
    cluster.hear(at, Coming(run, 0, 1, 64 * MB))
    assert cluster.where(1, run) == at
    cluster.lose(at)
    assert cluster.where(0, run) != at
    cluster.finish(run, seconds=10.0)
    assert cluster.told(RunDone, "client")


def test_many_inputs_are_not_looked_at_one_by_one() -> None:
    """Of who takes very many, each word would cost a look at all of them: it waits for the last report, as ever."""
    cluster = known()
    run = cluster.submit(program([*((MAKE, ()) for _ in range(100)), (TAKE, tuple(range(100)))]))
    for _ in range(24):
        cluster.done(*cluster.startable(run), run=run, seconds=10.0)
    last = cluster.startable(run)
    assert len(last) == 4
    cluster.join("c", cpu=2)       # which has room for it
    for task in last:
        cluster.hear(cluster.where(task, run), Coming(run, task, 1, 64 * MB))
        assert cluster.plans() == []
    cluster.finish(run, seconds=10.0)


def test_who_takes_it_has_not_begun_before_it_is_there() -> None:
    """Written for 5 s, not for 30 ms: who takes it is not late at once, and gets no second attempt, for which it would move again."""
    cluster = known(seconds=1.0)
    takes = kind("take", flags=Flag.OUTPUT | Flag.IDEMPOTENT, max_retries=2)
    run = cluster.submit(program([(MAKE, ()), (takes, (0,))]))

    def pass_by(seconds: int) -> None:
        for _ in range(seconds):
            cluster.wait(1.0)
            for name in "a", "b":
                cluster.hear(name, Alive())

    cluster.hear(cluster.where(0, run), Coming(run, 0, 1, 64 * MB))
    assert cluster.plans() == [1]
    pass_by(5)
    cluster.done(0, run=run, nbytes=64 * MB, seconds=5.0)
    pass_by(2)
    doubled = cluster.scheduler.ledger.runs[run].doubled
    assert not doubled
    pass_by(3)
    assert list(doubled) == [1]      # now it is late
