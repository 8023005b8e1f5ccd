"""Runs of which the client waits for the values alone: word of the run itself is gathered, and said late, but said, and in order."""

from __future__ import annotations

from scheduler_story import Accepted, Cluster, Forget, Plan, RunDone, RunFailed, Submit, kind, many

from handoff.columns import ints
from handoff.ids import RunId
from handoff.messages import Ask, NodeGone, Peers, Placed, Progress
from handoff.scheduler.outbox import LATER_SECONDS

WORD = (Accepted, Placed, RunDone)


def started(token: int = 1) -> Cluster:
    """A client that knows both nodes from an earlier run."""
    cluster = Cluster().join("n1").join("n2").client()
    cluster.submit(many(2))
    cluster.done(0, 1)
    return submit(cluster, token)


def submit(cluster: Cluster, token: int) -> Cluster:
    """One function, its value alone waited for."""
    cluster.hear("client", Submit(token, "single", many(1), values_only=True, body=b"work"))
    return cluster


def test_only_the_plan_goes_out_at_once() -> None:
    """The plan names the client's token, since the node is the one to say which run it is; nothing wakes the client."""
    cluster = started(token=5)
    assert [type(message) for _, message in cluster.last] == [Plan]
    assert cluster.told(Plan)[0].token == 5 and cluster.told(Plan)[0].collector == cluster.peers["client"]


def test_a_run_whose_client_waits_for_word_is_not_named_by_nodes() -> None:
    """Its Accepted comes at once, from the coordinator."""
    cluster = Cluster().join("n1").client()
    cluster.submit(many(1))
    assert cluster.told(Plan)[0].token == 0


def test_word_of_several_runs_comes_together_and_in_order() -> None:
    """Of two runs that are over within the time all is said in one turn, of each in one message, which has its token."""
    cluster = submit(started(1), 2)
    places = {run: ints([cluster.peers[cluster.where(0, run=run)]]) for run in (2, 3)}
    cluster.done(0, run=3)
    cluster.done(0, run=2)
    assert not cluster.told(object, "client")
    said = [message for name, message in cluster.wait(LATER_SECONDS) if name == "client"]
    assert said == [RunDone(RunId(run), places[run], token=run - 1) for run in (2, 3)]
    assert cluster.wait(1.0) == []


def test_what_is_said_of_a_call_that_ends_later_is_said_one_by_one() -> None:
    """The client has heard of its beginning, so it is not said again with its end."""
    cluster = started(5)
    said = [message for name, message in cluster.wait(LATER_SECONDS) if name == "client"]
    cluster.done(0, run=2)
    said += [message for name, message in cluster.wait(LATER_SECONDS) if name == "client"]
    assert [type(message) for message in said] == list(WORD) and [message.token for message in said if hasattr(message, "token")] == [5, 0]


def test_a_call_that_ends_elsewhere_than_where_it_was_placed_is_not_said_in_one_message() -> None:
    """The client hears of both places, and may look at either."""
    cluster = started(5)
    before = cluster.where(0, run=2)
    cluster.drop(before)
    cluster.lose(before)
    cluster.done(0, run=2)
    cluster.wait(LATER_SECONDS)
    order = [type(message) for name, message in cluster.said if name == "client" and getattr(message, "run", 0) == 2]
    assert order == [Accepted, Placed, NodeGone, Placed, RunDone]


def test_calls_are_forgotten_together() -> None:
    """Whoever forgets several names them in one message; what is not his, or not there, is passed over."""
    cluster = submit(submit(started(1), 2), 3).client("other")
    for run in (2, 3, 4):
        cluster.done(0, run=run)
    cluster.hear("other", Forget(RunId(2), ints([3, 4])))
    assert set(cluster.scheduler.ledger.runs) == {1, 2, 3, 4}
    cluster.hear("client", Forget(RunId(2), ints([99, 4])))
    assert set(cluster.scheduler.ledger.runs) == {1, 3}


def test_what_the_client_must_hear_comes_with_the_word_before_it() -> None:
    """A failure is preceded by the acceptance that was held back."""
    cluster = started(5)
    cluster.fail(0, run=2, cause="unpicklable")
    while not cluster.told(RunFailed):
        cluster.wait(1.0)
        cluster.fail(0, run=2, cause="unpicklable")
    told = [type(message) for name, message in cluster.said if name == "client"][-3:]
    assert Accepted not in told[1:] and told[-1] is RunFailed
    order = [type(message) for name, message in cluster.said if name == "client" and getattr(message, "run", 0) == 2]
    assert order[0] is Accepted and order.index(RunFailed) == len(order) - 1


def test_an_answer_flushes_what_was_held_back() -> None:
    """Whatever is said to the client takes along what was to be said before it."""
    cluster = started()
    cluster.hear("client", Ask(9, "runs"))
    assert [type(message).__name__ for message in cluster.told(object, "client")] == ["Accepted", "Placed", "Answer"]


def test_a_node_that_the_client_does_not_know_is_named_at_once() -> None:
    """It has no link there yet, so it has to dial now."""
    cluster = submit(Cluster().join("n1").client(), 1)
    assert [type(message) for message in cluster.told(object, "client")] == [Accepted, Peers, Placed]


def test_a_lost_node_is_told_after_where_the_run_was_placed() -> None:
    """The client hears of the place before it hears that it is gone."""
    cluster = started()
    cluster.lose(cluster.where(0, run=2))
    assert [type(message) for message in cluster.told(object, "client")][:3] == [Accepted, Placed, NodeGone]


def test_nobody_is_told_of_progress() -> None:
    """There is nobody who would look at it, and no timer for it."""
    cluster = started()
    cluster.wait(5.0)
    assert not cluster.told(Progress)


def test_a_call_that_waits_for_what_is_not_there_says_so() -> None:
    """Once, and again when it is there: whoever waits for the value is told what for when his patience ends."""
    cluster = started()
    cluster.hear("client", Submit(7, "pinned", many(1, kind(node="n9")), values_only=True, body=b"work"))
    cluster.wait(1.0)
    cluster.wait(5.0)
    cluster.join("n9")
    cluster.wait(5.0)
    said = [message.waits_for for _, message in cluster.said if isinstance(message, Progress) and message.run == 3]
    assert said == ["work waits for node 'n9', which is not there; present: 'n1', 'n2'", ""]


def test_a_client_that_leaves_before_it_was_told_leaves_nothing_behind() -> None:
    """What was held back for it goes with it, and a run that was over counts as done."""
    cluster = started()
    cluster.done(0, run=2)
    cluster.lose("client")
    assert [line["state"] for line in cluster.scheduler.ledger.past.runs.values()] == ["done", "done"]
    assert cluster.wait(1.0) == []
    assert not cluster.scheduler.ledger.out.held


def test_the_clock_rests_when_all_is_said() -> None:
    """A deadline that has passed does not come back turn after turn."""
    cluster = started()
    cluster.done(0, run=2)
    cluster.wait(LATER_SECONDS)
    cluster.hear("client", Forget(2))
    deadline = cluster.scheduler.deadline
    assert deadline is None or deadline > cluster.now
