"""Results that somebody holds take memory: what claims memory goes where they leave enough, or waits; never for ever."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from scheduler_story import Ask, Cluster, Forget, Program, kind, many, program

from handoff.scheduler.first_fit import FirstFit

GB = 1_000_000_000


def holding(*nodes: str, nbytes: int = 3 * GB, flags: int = 1) -> Cluster:
    """n1 and n2 with 4 GB each; on these lies an output that the client holds."""
    cluster = Cluster().client().join("n1", cpu=4, memory=4_000).join("n2", cpu=4, memory=4_000)
    for number, name in enumerate(nodes, 1):
        cluster.submit(many(1, kind("make", node=name, flags=flags)))
        cluster.done(0, run=number, nbytes=nbytes, seconds=1.0)
    return cluster


def claiming(count: int, memory: int, **fields: object) -> Program:
    """Tasks of a second that claim so many MB and make little."""
    made = many(count, kind("claim", {"cpu": 1, "memory": memory}, **fields))
    return replace(made, seconds=array("d", [1.0] * count), nbytes=array("d", [10.0] * count))


def on(cluster: Cluster, run: int) -> list[str]:
    """Where its planned tasks are."""
    table = cluster.scheduler.ledger.runs[run]
    return [cluster.where(task, run) for task in range(table.total) if table.is_planned(task)]


@pytest.mark.parametrize("full", ["n1", "n2"])
def test_a_claim_goes_where_results_leave_enough(full: str) -> None:
    """Not to the node that is full of them, though nothing runs there, and not in turn either."""
    cluster = holding(full)
    for _ in range(3):
        run = cluster.submit(claiming(1, 2_000))
        assert on(cluster, run) == ["n2" if full == "n1" else "n1"]
        cluster.done(0, run=run)


def test_a_claim_waits_for_the_node_that_will_have_enough() -> None:
    """The second goes to the same node when the first has ended: the idle one would be planned beyond its memory."""
    cluster = holding("n1")
    run = cluster.submit(claiming(2, 2_500))
    assert on(cluster, run) == ["n2"]
    cluster.done(0, run=run, seconds=1.0)
    assert on(cluster, run) == ["n2"]


def test_what_is_let_go_of_makes_room_at_once() -> None:
    """The client forgets what it held: what waited goes there in the same turn."""
    cluster = holding("n1")
    run = cluster.submit(claiming(2, 2_500))
    cluster.hear("client", Forget(1))  # type: ignore[arg-type]
    assert sorted(on(cluster, run)) == ["n1", "n2"]


def test_what_no_node_has_memory_for_runs_all_the_same_one_on_each_idle_node() -> None:
    """Nobody knows when the client lets go of its results: a run must not stop for them."""
    cluster = holding("n1", "n2")
    run = cluster.submit(claiming(6, 1_500))
    assert sorted(on(cluster, run)) == ["n1", "n2"]
    cluster.done(0, run=run, seconds=1.0)
    assert sorted(on(cluster, run)) == ["n1", "n2"]
    cluster.finish(run)


def test_what_is_bound_to_a_full_node_has_it_when_that_is_idle() -> None:
    """Others have room, which is of no use to it."""
    cluster = holding("n1")
    first = cluster.submit(claiming(1, 1_000, node="n1"))
    run = cluster.submit(claiming(1, 2_000, node="n1"))
    assert (on(cluster, first), on(cluster, run)) == (["n1"], [])
    cluster.done(0, run=first, seconds=1.0)
    assert on(cluster, run) == ["n1"]


def test_what_is_collocated_with_something_on_a_full_node_has_it_when_that_is_idle() -> None:
    """Its shape alone does not say that it is bound."""
    cluster = holding("n1")
    small, large = kind("small", {"cpu": 1}, node="n1"), kind("large", {"cpu": 1, "memory": 2_000})
    run = cluster.submit(program([(small, ()), (large, (0,))], groups=[[0, 1]]))
    cluster.done(0, run=run, seconds=1.0)
    assert on(cluster, run) == ["n1"]


def test_a_full_node_is_cleared_for_what_has_waited_long() -> None:
    """While small ones come and go it is never idle by itself."""
    cluster = Cluster().client().join("n1", cpu=2, memory=4_000)
    cluster.submit(many(1, kind("make")))
    cluster.done(0, nbytes=3 * GB, seconds=1.0)
    stream = cluster.submit(replace(many(40, kind("small")), seconds=array("d", [0.5] * 40)))
    run = cluster.submit(claiming(1, 2_000))
    table, small = cluster.scheduler.ledger.runs[run], cluster.scheduler.ledger.runs[stream]
    for _ in range(40):
        if table.planned:
            break
        cluster.wait(0.5)
        cluster.done(next(task for task in range(40) if small.is_planned(task)), run=stream, seconds=0.5)
    assert table.planned and not small.is_over


def test_few_results_shut_nobody_out() -> None:
    """Claims that fill a node to the last bit still do so beside a tenth of its memory in results: claims are rounded up."""
    cluster = holding("n1", "n2", nbytes=GB // 3)
    run = cluster.submit(claiming(8, 1_000))
    assert len(on(cluster, run)) == 8


def test_what_goes_with_the_run_is_avoided_but_shuts_nobody_out() -> None:
    """Results that are only on their way take no node from those that claim memory, where there is nothing better."""
    cluster = Cluster().client().join("n1", cpu=4, memory=4_000).join("n2", cpu=4, memory=4_000)
    cluster.submit(program([(kind("make", flags=0, node="n1"), ()), (kind("slow"), ()), (kind("later"), (0, 1))]))
    cluster.done(0, nbytes=3 * GB, seconds=1.0)
    run = cluster.submit(claiming(3, 2_000))
    assert sorted(on(cluster, run)) == ["n1", "n2", "n2"]


def test_first_fit_knows_nothing_of_results() -> None:
    """The simplest allocator, and those of users, place by what is claimed alone, and so are never stuck."""
    cluster = Cluster(FirstFit()).client().join("n1", cpu=4, memory=4_000)
    cluster.submit(many(1, kind("make")))
    cluster.done(0, nbytes=3 * GB, seconds=1.0)
    assert on(cluster, cluster.submit(claiming(2, 2_000))) == ["n1", "n1"]


def test_it_is_said_why_it_waits() -> None:
    """The results that lie there, not what runs."""
    cluster = holding("n1")
    run = cluster.submit(claiming(2, 2_500))
    waiting = next(task for task in range(2) if not cluster.scheduler.ledger.runs[run].is_planned(task))
    cluster.hear("client", Ask(9, "explain", run, waiting))
    (answer,) = [message for name, message in cluster.last if name == "client"]
    ((_, *rows),) = [each for each in answer.data["reasons"] if each[0] == "room"]
    assert {node: what for node, what, _ in rows} == {
        "n1": "memory (results take 3,000 of 4,000 MB, or will)", "n2": "memory (2500 MB needed, 1500 MB free)"}
