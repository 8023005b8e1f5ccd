"""Very many short tasks that all take the same small results are placed in blocks, as those that take nothing are."""

from __future__ import annotations

import pytest
from counted import calls_in
from scheduler_story import Cluster, Forget, Received, Report, floats, ints, kind, longs, program

from handoff.program import Program
from handoff.scheduler.blocks import INPUTS_MAX, takes_what_all_take
from handoff.scheduler.runs import AHEAD, DONE


def broadcast(takers: int, sources: int = 1) -> Program:
    """A few results, all of which each of the others takes."""
    made = [(kind("made", flags=0), ()) for _ in range(sources)]
    return program(made + [(kind("take"), tuple(range(sources)))] * takers)


def learned(nodes: int = 2, seconds: float = 0.0001) -> Cluster:
    """A cluster that knows such functions to be short."""
    cluster = Cluster()
    for number in range(nodes):
        cluster.join(f"n{number}", cpu=1)
    cluster.client()
    run = cluster.submit(broadcast(40))
    cluster.finish(run, seconds=seconds)
    cluster.hear("client", Forget(run))
    return cluster


def make(cluster: Cluster, run: int, sources: int = 1, nbytes: int = 100) -> None:
    """The sources are made."""
    for task in range(sources):
        cluster.done(task, run=run, seconds=0.0001, nbytes=nbytes)


@pytest.mark.parametrize("sources", [1, 3])
def test_they_go_to_all_nodes_alike(sources: int) -> None:
    """Where the results lie makes no difference."""
    cluster = learned()
    run = cluster.submit(broadcast(600, sources))
    make(cluster, run, sources)

    table = cluster.scheduler.ledger.runs[run]
    counts = [sum(table.node[task] == cluster.peers[name] for task in table.tasks_in(AHEAD)) for name in ("n0", "n1")]
    assert sum(counts) > 200 and abs(counts[0] - counts[1]) < 0.1 * sum(counts)     # some were bound to one before it existed


@pytest.mark.parametrize("sources", [1, 3])
def test_one_costs_as_little_as_one_without_inputs(sources: int) -> None:
    """Calls in the scheduler, when the last source is made."""
    def calls(takers: int) -> int:
        cluster = learned()
        run = cluster.submit(broadcast(takers, sources))
        make(cluster, run, sources - 1)
        last = sources - 1
        report = Report(run, ints([last]), ints([cluster.attempt(last, run)]), longs([100]), floats([0.0001]), floats([0.0]))
        heard = Received(cluster.peers[cluster.where(last, run)], report)
        return calls_in(lambda: cluster.scheduler.handle(cluster.now, heard), "scheduler")

    assert calls(300) - calls(100) < 200 * 8     # each one becomes ready


def test_every_node_has_a_copy_until_the_last_has_taken_it() -> None:
    """It is fetched once for a block, and released everywhere."""
    cluster = learned(3)
    run = cluster.submit(broadcast(90))
    make(cluster, run)
    table = cluster.scheduler.ledger.runs[run]
    assert {table.node[0], *table.copies[0]} == {cluster.peers[name] for name in ("n0", "n1", "n2")}

    cluster.finish(run, seconds=0.0001)
    assert 0 not in table.copies


def test_a_copy_outlives_its_maker() -> None:
    """The node that made it is lost: the other one has it, and nothing is made again."""
    cluster = learned()
    run = cluster.submit(broadcast(100))
    make(cluster, run)
    table = cluster.scheduler.ledger.runs[run]
    maker = cluster.where(0, run)
    other = "n1" if maker == "n0" else "n0"
    cluster.done(next(task for task in table.tasks_in(AHEAD) if cluster.where(task, run) == other), run=run, seconds=0.0001)
    cluster.lose(maker)

    assert table.state[0] == DONE and table.node[0] == cluster.peers[other]
    cluster.finish(run, seconds=0.0001)


@pytest.mark.parametrize(("takers", "nbytes", "expected"), [(60, 100, True), (4, 100, False), (60, 500_000_000, False)])
def test_what_is_large_or_taken_by_few_is_looked_at_one_by_one(takers: int, nbytes: int, expected: bool) -> None:
    """It is worth something to be where it lies."""
    cluster = learned()
    run = cluster.submit(broadcast(takers))
    ledger = cluster.scheduler.ledger
    table = ledger.runs[run]
    assert not takes_what_all_take(ledger, table, 1, table.shapes[1])     # it does not exist yet
    make(cluster, run, nbytes=nbytes)

    assert takes_what_all_take(ledger, table, 1, table.shapes[1]) is expected


def test_different_inputs_are_no_block() -> None:
    """Two results that many take: each block takes one of them, and both are taken by all that should."""
    made = [(kind("made", flags=0), ()), (kind("made", flags=0), ())]
    cluster = learned(6, seconds=0.002)
    run = cluster.submit(program(made + [(kind("take"), (number % 2,)) for number in range(1000)]))
    make(cluster, run, 2)

    table = cluster.scheduler.ledger.runs[run]
    planned = list(table.tasks_in(AHEAD))
    assert len({table.node[task] for task in planned}) == 6
    for task in planned:
        [taken] = table.inputs_of(task)
        assert table.node[task] in (table.node[taken], *table.copies.get(taken, ()))
    cluster.finish(run, seconds=0.0001)


def test_what_takes_them_for_the_first_time_is_looked_at_one_by_one() -> None:
    """How long it runs is not known, so it is bound as early as such a task may be, not as a block would be."""
    cluster = Cluster().join("n1", cpu=1).client()
    run = cluster.submit(broadcast(60))
    make(cluster, run)
    ledger = cluster.scheduler.ledger
    table = ledger.runs[run]

    assert not takes_what_all_take(ledger, table, 1, table.shapes[1])


def test_what_takes_very_many_is_looked_at_by_itself() -> None:
    """Each pass would go through all of them."""
    cluster = learned()
    run = cluster.submit(broadcast(60, INPUTS_MAX + 1))
    make(cluster, run, INPUTS_MAX + 1)
    ledger = cluster.scheduler.ledger
    table, taker = ledger.runs[run], INPUTS_MAX + 1

    assert table.fan_in[taker] == INPUTS_MAX + 1
    assert not takes_what_all_take(ledger, table, taker, table.shapes[1])
