"""Single calls come one by one: what they have in common is not made anew for each, and nothing else is left of them."""

from __future__ import annotations

from scheduler_story import Cluster, Forget, Submit, kind, many

from handoff.ids import RunId
from handoff.messages import Alive
from handoff.scheduler.ready import RESTING_MAX, Shape


def begin(cluster: Cluster, name: str, client: str = "client") -> RunId:
    """A client submits one function."""
    cluster.hear(client, Submit(7, "single", many(1, kind(name)), values_only=True, body=name.encode()))
    return max(cluster.scheduler.ledger.runs)


def call(cluster: Cluster, name: str) -> Shape:
    """One that is over and forgotten; what it was to the allocator."""
    run = begin(cluster, name)
    shape = cluster.scheduler.ledger.runs[run].shapes[0]
    cluster.finish(run)
    cluster.hear("client", Forget(run))
    return shape


def test_the_next_call_of_a_function_has_the_shape_of_the_one_before() -> None:
    """Though none goes on in between."""
    cluster = Cluster().join("n1", cpu=2).client()

    assert call(cluster, "work") is call(cluster, "work") is not call(cluster, "other")


def test_few_shapes_are_kept_that_nobody_uses() -> None:
    """Those that were used last."""
    cluster = Cluster().join("n1", cpu=2).client()
    shapes = [call(cluster, f"work {number}") for number in range(RESTING_MAX + 3)]

    assert list(cluster.scheduler.ledger.ready.shapes.values()) == shapes[3:]


def test_a_call_that_was_let_go_of_while_it_waited_leaves_nothing_to_the_next() -> None:
    """Neither its key in the queue nor that it has waited."""
    cluster = Cluster().join("n1", cpu=1).client()
    first, waiting = begin(cluster, "long"), begin(cluster, "work")
    shape = cluster.scheduler.ledger.runs[waiting].shapes[0]
    cluster.wait(2.0)
    assert len(shape) == 1 and shape.blocked_since is not None
    cluster.hear("client", Forget(waiting))
    assert not len(shape) and shape.blocked_since is None and not shape.is_tried

    again = begin(cluster, "work")
    cluster.finish(first)
    cluster.finish(again)

    assert cluster.scheduler.ledger.runs[again].shapes == [shape] and cluster.scheduler.ledger.runs[again].is_over


def test_a_call_of_a_function_of_which_all_is_forgotten_begins_anew() -> None:
    """Its times would else be learned where nobody looks for them."""
    cluster = Cluster().join("n1", cpu=1).client()
    estimates = cluster.scheduler.ledger.estimates
    before = call(cluster, "work")
    estimates._forget(before.function.key)

    after = call(cluster, "work")

    assert after is not before and estimates.functions[after.function.key] is after.function


def test_graphs_leave_no_shapes() -> None:
    """They do not come one by one."""
    cluster = Cluster().join("n1", cpu=1).client()
    run = cluster.submit(many(3))
    cluster.finish(run)
    cluster.hear("client", Forget(run))

    assert not cluster.scheduler.ledger.ready.shapes


def test_what_a_client_had_minutes_ago_is_not_held_against_it() -> None:
    """The shape of its last call is kept, and with it the account; but since then that has had nothing."""
    cluster = Cluster().join("n1", cpu=1).client("a").client("b")
    calls = {begin(cluster, "work", client): client for client in ("b", "b", "a")}
    for run in (1, 3, 2):      # while that of `a` ran, `b` waited
        cluster.wait(1.0)
        cluster.done(0, run=run, seconds=1.0)
        cluster.hear(calls[RunId(run)], Forget(RunId(run)))
    for _ in range(60):
        cluster.wait(4.0)
        cluster.hear("n1", Alive())
    before, of_a, of_b = (begin(cluster, "work", client) for client in ("b", "a", "b"))
    cluster.hear("b", Forget(before))

    assert [cluster.scheduler.ledger.runs[run].is_planned(0) for run in (of_a, of_b)] == [True, False]
