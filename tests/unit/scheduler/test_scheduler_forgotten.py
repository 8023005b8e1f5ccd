"""Runs that a client lets go of are ended after what it waits for, a few at a time, and soon."""

from __future__ import annotations

from scheduler_story import Cluster, Forget, Submit, ints, kind, many

from handoff.ids import RunId
from handoff.machine import Received
from handoff.messages import Ask, Bye, EndRun, Message, Plan
from handoff.scheduler.forgotten import AT_ONCE


def with_runs_that_are_over(count: int) -> tuple[Cluster, list[RunId]]:
    """So many calls, each with its value at the client."""
    cluster = Cluster().join("n1", cpu=4).client()
    runs = []
    for _ in range(count):
        runs.append(cluster.submit(many(1)))
        cluster.finish(runs[-1])
    return cluster, runs


def all_of(runs: list[RunId]) -> Forget:
    """A client is through with these."""
    return Forget(runs[0], ints(runs[1:]))


def call() -> Submit:
    """One more."""
    return Submit(7, "single", many(1, kind("next")), values_only=True, body=b"next")


def in_one_turn(cluster: Cluster, *messages: Message) -> list[type]:
    """What comes together is answered together: what nodes are told then."""
    for message in messages[:-1]:
        cluster.scheduler.take(cluster.now, Received(cluster.peers["client"], message))
    cluster.hear("client", messages[-1])
    return [type(message) for name, message in cluster.last if name != "client"]


def test_a_submission_does_not_wait_for_the_end_of_what_is_forgotten_with_it() -> None:
    """The client says both at once; nobody waits for the end."""
    cluster, runs = with_runs_that_are_over(3)

    assert in_one_turn(cluster, all_of(runs), call()) == [Plan]
    assert cluster.scheduler.deadline == cluster.now
    assert [message.run for _, message in cluster.wait(0.0) if isinstance(message, EndRun)] == runs


def test_submissions_in_each_turn_do_not_put_it_off_for_ever() -> None:
    """It is put off once."""
    cluster, runs = with_runs_that_are_over(3)
    in_one_turn(cluster, all_of(runs), call())

    assert in_one_turn(cluster, call()) == [EndRun] * 3 + [Plan]


def test_many_are_ended_a_few_at_a_time() -> None:
    """Each turn is short, and no moment passes in between."""
    cluster, runs = with_runs_that_are_over(3 * AT_ONCE)
    turns = [len(in_one_turn(cluster, all_of(runs)))]
    while cluster.scheduler.deadline == cluster.now:
        turns.append(len(in_one_turn(cluster, Forget(runs[0]))))

    assert turns == [AT_ONCE] * 3 and not cluster.scheduler.ledger.runs


def test_what_is_forgotten_is_no_answer_any_more() -> None:
    """Who asks in the same turn is not told of it."""
    cluster, runs = with_runs_that_are_over(2)
    in_one_turn(cluster, all_of(runs), call(), Ask(8, "runs"))

    (answer,) = [message.data for name, message in cluster.last if name == "client" and hasattr(message, "data")]
    assert {each["run"]: each["state"] for each in answer} == {**dict.fromkeys(runs, "done"), runs[-1] + 1: "waiting"}
    assert list(cluster.scheduler.ledger.runs) == [runs[-1] + 1]


def test_what_is_not_over_is_ended_at_once() -> None:
    """It has the cores that others wait for."""
    cluster, runs = with_runs_that_are_over(1)
    going_on = cluster.submit(many(1, kind("long")))

    assert in_one_turn(cluster, Forget(going_on), call()) == [EndRun, Plan]
    assert runs[0] in cluster.scheduler.ledger.runs


def test_a_client_that_leaves_leaves_nothing_to_be_made_again_of_what_it_forgot() -> None:
    """Though its runs are detached, their results were lost with a node, and they are too many to be ended in one turn."""
    cluster = Cluster().join("n1", cpu=4).client()
    runs = []
    for _ in range(3 * AT_ONCE):
        runs.append(cluster.submit(many(1), detach=True))
        cluster.finish(runs[-1])
    cluster.lose("n1")
    cluster.join("n2", cpu=4)

    assert in_one_turn(cluster, all_of(runs), Bye("")) == []
    assert not cluster.scheduler.ledger.runs and {line["state"] for line in cluster.scheduler.ledger.past.runs.values()} == {"done"}
