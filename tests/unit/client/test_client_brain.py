"""What the client's brain decides."""

from __future__ import annotations

from typing import Any

import pytest

from handoff.client import events
from handoff.client.brain import ClientBrain
from handoff.columns import Blobs, ints, longs
from handoff.ids import COORDINATOR, PeerId, RunId
from handoff.machine import Dropped, Joined, Lost, Received, Resumed, Send, Tick
from handoff.messages import (
    Absent,
    Accepted,
    Announce,
    Answer,
    Ask,
    Cancel,
    Chunk,
    Collect,
    Forget,
    Message,
    Missing,
    NodeGone,
    Output,
    Peers,
    Placed,
    Progress,
    Redirect,
    Refused,
    Results,
    RunDone,
    RunFailed,
    Submit,
    Upload,
    Want,
)
from handoff.program import Flag, Kind, Program
from handoff.settings import ClientSettings

RUN = RunId(7)
ONE, TWO = PeerId(1), PeerId(2)


def program(outputs: list[bool]) -> Program:
    """Independent tasks, some of them outputs."""
    kinds = (Kind((b"c" * 16,), "f"), Kind((b"c" * 16,), "f", flags=Flag.OUTPUT))
    size = len(outputs)
    return Program(((b"c" * 16, 1),), kinds, ints(map(int, outputs)), Blobs.of([b""] * size), ints([0] * size), ints())


class Bench:
    """A brain with its clock, and short words for what happens to it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.brain = ClientBrain(ClientSettings())
        self.tell(events.Welcomed(PeerId(9)))
        self.hear(COORDINATOR, Peers(ints([1, 2]), ("n1", "n2"), (("10.0.0.1", 5), ("10.0.0.2", 6))))

    def tell(self, event: Any) -> list[Any]:
        effects = self.brain.handle(self.now, event)
        self.brain.check()
        return effects

    def hear(self, peer: PeerId, message: Message) -> list[Any]:
        return self.tell(Received(peer, message))

    def wait(self, seconds: float) -> list[Any]:
        self.now += seconds
        return self.tell(Tick())

    def running(self, outputs: list[bool] | None = None, **options: Any) -> Bench:
        """With run 7, token 1, accepted and placed on n1."""
        self.tell(events.Start(Submit(1, "dag", program(outputs or [True, True]), **options)))
        self.hear(COORDINATOR, Accepted(1, RUN))
        self.hear(COORDINATOR, Placed(RUN, ints([1])))
        return self

    def results(self, *tasks: int, peer: PeerId = ONE) -> list[Any]:
        return self.hear(peer, Results(RUN, ints(tasks), longs([1] * len(tasks)), bytes(tasks)))


def sent(effects: list[Any], kind: type) -> list[Any]:
    """The messages of one kind among the effects."""
    return [(effect.peer, effect.message) for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def of(effects: list[Any], kind: type) -> list[Any]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


@pytest.fixture
def bench() -> Bench:
    """A client that is connected."""
    return Bench()


def test_a_run_is_submitted_collected_and_over(bench: Bench) -> None:
    """From Start to RunOver, each step is answered by the next."""
    submit = Submit(1, "dag", program([True, False, True]))
    assert bench.tell(events.Start(submit)) == [Send(COORDINATOR, submit)]
    assert bench.hear(COORDINATOR, Accepted(1, RUN)) == [events.RunAccepted(1, RUN)]
    assert bench.hear(COORDINATOR, Placed(RUN, ints([1, 2]))) == [Send(ONE, Collect(RUN)), Send(TWO, Collect(RUN))]
    assert bench.results(0) == [events.Arrived(1, ints([0]), longs([1]), b"\x00")]
    done = RunDone(RUN, ints([1, 1, 2]))
    assert bench.hear(COORDINATOR, done) == []
    assert bench.results(2, peer=TWO)[1:] == [events.RunOver(1, RUN, done=done)]
    assert bench.brain.idle


def test_a_node_is_collected_from_once(bench: Bench) -> None:
    """A node that is placed again, or twice in a turn, is not asked again."""
    bench.running()
    assert bench.hear(COORDINATOR, Placed(RUN, ints([1]))) == []
    bench.brain.take(bench.now, Received(COORDINATOR, Placed(RUN, ints([2, 1]))))
    bench.brain.take(bench.now, Received(COORDINATOR, Placed(RUN, ints([2]))))
    assert bench.brain.settle(bench.now) == [Send(TWO, Collect(RUN))]


def test_a_run_may_be_done_before_or_after_its_values_come(bench: Bench) -> None:
    """It is over when both have happened, and said to be so once."""
    bench.running()
    bench.results(0, 1)
    assert of(bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1]))), events.RunOver)
    assert bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1]))) == []


def test_a_value_that_comes_twice_is_taken_once(bench: Bench) -> None:
    """The first one counts; of a message with both, only the new part is passed on."""
    bench.running([True, True, True])
    bench.results(0)
    assert bench.results(0) == []
    assert bench.results(0, 2) == [events.Arrived(1, ints([2]), longs([1]), b"\x02")]
    assert bench.results(1, 1) == [events.Arrived(1, ints([1]), longs([1]), b"\x01")]


def test_values_that_nobody_asked_for_are_nothing(bench: Bench) -> None:
    """Hidden tasks, tasks that do not exist, and runs that are forgotten."""
    bench.running([True, False])
    assert bench.results(1) == []
    assert bench.results(99) == []
    assert bench.hear(ONE, Results(RunId(55), ints([0]), longs([1]), b"x")) == []


def test_large_values_are_announced_and_fetched_when_needed(bench: Bench) -> None:
    """A run with announced outputs is over; a value is asked of its holder once, and comes in chunks."""
    bench.running()
    assert bench.hear(ONE, Announce(RUN, ints([0, 1]), longs([10, 20]))) == [events.Available(1, ints([0, 1]), longs([10, 20]))]
    assert of(bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1]))), events.RunOver)
    assert bench.tell(events.Fetch(1, 1)) == [Send(ONE, Want(RUN, ints([1])))]
    assert bench.tell(events.Fetch(1, 1)) == []
    assert bench.hear(ONE, Chunk(RUN, 1, 0, 20, b"0123456789")) == []
    assert bench.hear(ONE, Chunk(RUN, 1, 10, 20, b"0123456789")) == [events.Assembled(1, ONE, 1, 20)]
    assert bench.tell(events.Fetch(1, 1)) == []


def test_a_lost_link_is_collected_from_again(bench: Bench) -> None:
    """After a pause, as long as something is missing."""
    bench.running()
    assert bench.tell(Lost(ONE, "reset")) == []
    assert bench.brain.deadline == pytest.approx(bench.now + 0.2)
    assert bench.wait(0.2) == [Send(ONE, Collect(RUN))]
    bench.results(0, 1)
    bench.tell(Lost(ONE, "reset"))
    assert bench.brain.deadline is None


def test_a_fetch_is_asked_again_after_its_link_broke(bench: Bench) -> None:
    """Whoever waits for a large value gets it over the next link."""
    bench.running()
    bench.hear(ONE, Announce(RUN, ints([0, 1]), longs([10, 20])))
    bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1])))
    bench.tell(events.Fetch(1, 0))
    bench.tell(Lost(ONE, "reset"))
    assert bench.wait(0.2) == [Send(ONE, Want(RUN, ints([0])))]


def test_a_node_out_of_reach_fails_the_run_in_the_end(bench: Bench) -> None:
    """After thirty seconds of trying in vain, with an error that names node and address."""
    bench.running()
    effects: list[Any] = []
    for _ in range(200):
        effects = bench.tell(Lost(ONE, "refused"))
        if effects:
            break
        bench.wait(0.2)
    over = of(effects, events.RunOver)[0]
    assert over.failure.code == "ConnectionLost"
    assert "node 'n1' at 10.0.0.1:5 is out of this client's reach: refused" in over.failure.text
    assert sent(effects, Cancel)
    assert bench.brain.deadline is None


def test_a_link_that_stands_again_starts_the_clock_anew(bench: Bench) -> None:
    """Only an unbroken row of failures gives a node up."""
    bench.running()
    bench.tell(Lost(ONE, "reset"))
    bench.wait(29)
    bench.tell(Joined(ONE, None))  # type: ignore[arg-type]  # the brain does not look at the hello
    bench.wait(20)
    assert bench.tell(Lost(ONE, "reset")) == []


def test_what_a_lost_node_had_is_made_again(bench: Bench) -> None:
    """What came is kept; what was announced or has not come is missing."""
    bench.running([True, True, True, False])
    bench.hear(COORDINATOR, Placed(RUN, ints([2])))
    bench.results(0)
    bench.hear(ONE, Announce(RUN, ints([1]), longs([5])))
    assert bench.hear(COORDINATOR, NodeGone(RUN, ONE)) == [Send(COORDINATOR, Missing(RUN, ints([1, 2])))]
    assert bench.hear(COORDINATOR, NodeGone(RUN, TWO)) == [Send(COORDINATOR, Missing(RUN, ints([1, 2])))]
    bench.results(1, 2, peer=TWO)
    assert bench.hear(COORDINATOR, NodeGone(RUN, TWO)) == []


def test_what_a_living_node_announced_is_not_missing(bench: Bench) -> None:
    """Only the lost node's announcements are withdrawn."""
    bench.running()
    bench.hear(COORDINATOR, Placed(RUN, ints([2])))
    bench.hear(TWO, Announce(RUN, ints([1]), longs([5])))
    assert bench.hear(COORDINATOR, NodeGone(RUN, ONE)) == [Send(COORDINATOR, Missing(RUN, ints([0])))]


def test_values_that_could_not_be_made_again_say_why(bench: Bench) -> None:
    """Also who asks for them only after the client has heard of that."""
    bench.running()
    bench.hear(ONE, Announce(RUN, ints([0, 1]), longs([10, 20])))
    bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1])))
    bench.hear(COORDINATOR, NodeGone(RUN, ONE))
    bench.hear(COORDINATOR, RunFailed(RUN, "NodeTimeout", "waited 30 s for node 'n1'", 1))
    [told] = bench.tell(events.Fetch(1, 0))

    assert (told.failure.code, told.failure.text) == ("NodeTimeout", "waited 30 s for node 'n1'")


def test_a_fetch_survives_the_loss_of_the_holder(bench: Bench) -> None:
    """The value is made again elsewhere, announced, and asked for there."""
    bench.running()
    bench.hear(ONE, Announce(RUN, ints([0, 1]), longs([10, 20])))
    bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1])))
    bench.tell(events.Fetch(1, 0))
    bench.hear(COORDINATOR, NodeGone(RUN, ONE))
    bench.hear(COORDINATOR, Placed(RUN, ints([2])))
    effects = bench.hear(TWO, Announce(RUN, ints([0, 1]), longs([10, 20])))
    assert sent(effects, Want) == [(TWO, Want(RUN, ints([0])))]
    assert not of(effects, events.RunOver)


def test_a_copy_of_a_lost_output_is_fetched_where_it_lies(bench: Bench) -> None:
    """A node that took an output as input has it, too; the coordinator says so, and the run is over without making it again."""
    bench.running()
    bench.results(0)
    done = RunDone(RUN, ints([1, 1]))
    bench.hear(COORDINATOR, done)
    assert bench.hear(COORDINATOR, NodeGone(RUN, ONE)) == [Send(COORDINATOR, Missing(RUN, ints([1])))]
    effects = bench.hear(COORDINATOR, Redirect(RUN, ints([1]), ints([2])))
    assert effects == [events.Available(1, ints([1]), longs([0])), events.RunOver(1, RUN, done=done)]
    assert sent(bench.tell(events.Fetch(1, 1)), Want) == [(TWO, Want(RUN, ints([1])))]


def test_what_was_made_again_and_announced_before_its_loss_was_told_is_not_missing(bench: Bench) -> None:
    """A node that makes something again may say so sooner than the coordinator that the first one is gone; it is fetched there."""
    bench.running()
    bench.hear(COORDINATOR, Placed(RUN, ints([2])))
    bench.hear(ONE, Announce(RUN, ints([0, 1]), longs([10, 20])))
    bench.tell(events.Fetch(1, 0))
    assert bench.hear(TWO, Announce(RUN, ints([0]), longs([10]))) == []
    effects = bench.hear(COORDINATOR, NodeGone(RUN, ONE))

    assert sent(effects, Want) == [(TWO, Want(RUN, ints([0])))]
    assert sent(effects, Missing) == [(COORDINATOR, Missing(RUN, ints([1])))]
    assert sent(bench.hear(COORDINATOR, NodeGone(RUN, TWO)), Missing) == [(COORDINATOR, Missing(RUN, ints([0, 1])))]


def test_a_holder_that_has_lost_the_value_is_reported(bench: Bench) -> None:
    """Absent makes an announced output missing again."""
    bench.running()
    bench.hear(ONE, Announce(RUN, ints([0]), longs([10])))
    assert bench.hear(ONE, Absent(RUN, ints([0, 1]))) == [Send(COORDINATOR, Missing(RUN, ints([0])))]


def test_objects_are_uploaded_where_the_coordinator_says(bench: Bench) -> None:
    """By node; again when the link breaks; not to a node that is gone."""
    bench.running()
    assert bench.hear(COORDINATOR, Upload(RUN, ints([0, 1, 3]), ints([2, 1, 2]))) == [
        events.UploadValue(TWO, 1, RUN, ints([0, 3])), events.UploadValue(ONE, 1, RUN, ints([1])),
    ]
    bench.tell(Lost(TWO, "reset"))
    assert of(bench.wait(0.2), events.UploadValue) == [events.UploadValue(TWO, 1, RUN, ints([0, 3]))]
    bench.tell(Lost(TWO, "reset"))
    bench.hear(COORDINATOR, NodeGone(RUN, TWO))
    assert of(bench.wait(0.2), events.UploadValue) == []


def test_a_refused_run_is_over(bench: Bench) -> None:
    """With the coordinator's code, text and task."""
    bench.tell(events.Start(Submit(1, "dag", program([True]))))
    effects = bench.hear(COORDINATOR, Refused("AllocationError", "no node has gpu", 1, 0))
    assert effects == [events.RunOver(1, RunId(0), failure=events.Failure("AllocationError", "no node has gpu", 0))]
    assert bench.brain.idle


def test_a_failed_run_is_over_and_takes_nothing_more(bench: Bench) -> None:
    """Its failure is passed on whole; late values are dropped."""
    bench.running()
    effects = bench.hear(COORDINATOR, RunFailed(RUN, "FunctionFailed", "boom", 1, "n1", 4, "ValueError", "trace", b"x"))
    failure = events.Failure("FunctionFailed", "boom", 1, "n1", 4, "ValueError", "trace", b"x")
    assert effects == [events.RunOver(1, RUN, failure=failure)]
    assert bench.results(0) == []
    assert bench.tell(events.Fetch(1, 0))[0].failure.code == "ResultLost"
    assert bench.tell(events.ForgetRun(1)) == [Send(COORDINATOR, Forget(RUN))]


def test_a_failure_reaches_those_who_fetch(bench: Bench) -> None:
    """A value that can't be made again fails its fetch, though the run was over."""
    bench.running()
    bench.hear(ONE, Announce(RUN, ints([0, 1]), longs([10, 20])))
    bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1])))
    bench.tell(events.Fetch(1, 0))
    effects = bench.hear(COORDINATOR, RunFailed(RUN, "NodeLost", "gone"))
    assert effects == [events.Unfetched(1, 0, events.Failure("NodeLost", "gone"))]


def test_cancel_before_acceptance_is_said_after_it(bench: Bench) -> None:
    """A run without an id can't be named yet."""
    bench.tell(events.Start(Submit(1, "dag", program([True]))))
    assert bench.tell(events.CancelRun(1, "why")) == []
    assert Send(COORDINATOR, Cancel(RUN, "why")) in bench.hear(COORDINATOR, Accepted(1, RUN))


def test_cancel_is_said_once_the_run_is_known_and_never_after_it_is_over(bench: Bench) -> None:
    """A run that is over stays as it is."""
    bench.running()
    assert bench.tell(events.CancelRun(1, "why")) == [Send(COORDINATOR, Cancel(RUN, "why"))]
    bench.hear(COORDINATOR, RunFailed(RUN, "RunCancelled", "why"))
    assert bench.tell(events.CancelRun(1, "why")) == []


def test_a_forgotten_run_goes_on_and_is_let_go_at_its_end(bench: Bench) -> None:
    """Nobody holds it, but its effects may be wanted."""
    bench.running()
    assert bench.tell(events.ForgetRun(1)) == []
    bench.results(0, 1)
    assert sent(bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1]))), Forget)
    assert bench.results(0) == []


def test_large_values_of_a_run_that_nobody_holds_keep_it_from_nothing(bench: Bench) -> None:
    """It was let go before its end, and nobody fetches them: they would stay as long as the client."""
    bench.running()
    bench.hear(ONE, Announce(RUN, ints([1]), longs([10**7])))
    assert bench.tell(events.ForgetRun(1)) == [] == bench.results(0)
    done = RunDone(RUN, ints([1, 1]))
    assert bench.hear(COORDINATOR, done) == [events.RunOver(1, RUN, done=done), Send(COORDINATOR, Forget(RUN))]


def test_a_run_that_is_to_be_forgotten_says_so_at_once(bench: Bench) -> None:
    """Single calls need no second word from the caller."""
    bench.tell(events.Start(Submit(1, "f", program([True])), forget=True))
    bench.hear(COORDINATOR, Accepted(1, RUN))
    bench.hear(COORDINATOR, Placed(RUN, ints([1])))
    bench.results(0)
    effects = bench.hear(COORDINATOR, RunDone(RUN, ints([1])))
    assert effects == [events.RunOver(1, RUN, done=RunDone(RUN, ints([1]))), Send(COORDINATOR, Forget(RUN))]


def test_a_single_call_with_a_large_result_is_kept_until_it_is_fetched(bench: Bench) -> None:
    """Forgetting waits for the caller when the value lies on a node."""
    bench.tell(events.Start(Submit(1, "f", program([True])), forget=True))
    bench.hear(COORDINATOR, Accepted(1, RUN))
    bench.hear(ONE, Announce(RUN, ints([0]), longs([10])))
    assert not sent(bench.hear(COORDINATOR, RunDone(RUN, ints([1]))), Forget)
    assert sent(bench.tell(events.ForgetRun(1)), Forget)


def test_a_detached_run_that_nobody_holds_here_stays_on_the_cluster(bench: Bench) -> None:
    """Nothing of it is taken here, and it is not forgotten there."""
    bench.running(detach=True)
    bench.hear(ONE, Announce(RUN, ints([1]), longs([10**7])))
    assert bench.tell(events.ForgetRun(1)) == [] == bench.results(0)
    assert bench.hear(COORDINATOR, NodeGone(RUN, ONE)) == []
    done = RunDone(RUN, ints([1, 1]))
    assert bench.hear(COORDINATOR, done) == [events.RunOver(1, RUN, done=done)]
    assert bench.hear(COORDINATOR, Upload(RUN, ints([0]), ints([1]))) == []    # somebody else has it now


def test_what_a_detached_run_still_needs_comes_from_here_when_nobody_holds_it(bench: Bench) -> None:
    """Its nodes may come later, or be lost with what was uploaded; nobody else has these values."""
    bench.running(detach=True)
    bench.tell(events.ForgetRun(1))
    assert bench.hear(COORDINATOR, Upload(RUN, ints([0]), ints([2]))) == [events.UploadValue(TWO, 1, RUN, ints([0]))]
    bench.tell(Lost(TWO, "reset"))
    assert of(bench.wait(0.2), events.UploadValue) == [events.UploadValue(TWO, 1, RUN, ints([0]))]
    bench.tell(events.Attach(2, RUN))
    bench.hear(COORDINATOR, Answer(2, {"total": 2, "outputs": [1], "ids": b"", "state": "running"}))
    assert bench.hear(COORDINATOR, Upload(RUN, ints([0]), ints([1]))) == [events.UploadValue(ONE, 2, RUN, ints([0]))]


def test_who_attaches_to_a_run_that_was_let_go_goes_on_with_what_is_being_uploaded(bench: Bench) -> None:
    """The link to its node may break afterwards: the value would never come."""
    bench.running(detach=True)
    bench.hear(COORDINATOR, Upload(RUN, ints([0]), ints([2])))
    bench.tell(events.ForgetRun(1))
    bench.tell(events.Attach(2, RUN))
    bench.hear(COORDINATOR, Answer(2, {"total": 2, "outputs": [1], "ids": b"", "state": "running"}))
    bench.tell(Lost(TWO, "reset"))
    assert of(bench.wait(0.2), events.UploadValue) == [events.UploadValue(TWO, 2, RUN, ints([0]))]


def test_a_run_that_is_let_go_when_only_its_values_are_awaited_is_over(bench: Bench) -> None:
    """They may be lost with their node, and then nothing more is said of it."""
    bench.running()
    done = RunDone(RUN, ints([1, 1]))
    assert bench.hear(COORDINATOR, done) == []
    assert bench.tell(events.ForgetRun(1)) == [events.RunOver(1, RUN, done=done), Send(COORDINATOR, Forget(RUN))]


def test_the_failure_of_a_detached_run_stays_for_others_when_nobody_holds_it_here(bench: Bench) -> None:
    """Nobody has heard of it; that it was cancelled, whoever did that knows."""
    for code, said in (("FunctionFailed", []), ("RunCancelled", [Send(COORDINATOR, Forget(RUN))])):
        bench = Bench().running(detach=True)
        bench.tell(events.ForgetRun(1))
        over, *rest = bench.hear(COORDINATOR, RunFailed(RUN, code, "it failed", 0))
        assert type(over) is events.RunOver and rest == said


def test_a_detached_run_that_was_cancelled_and_let_go_before_it_was_accepted_is_cancelled(bench: Bench) -> None:
    """As who presses Ctrl-C in `start` does."""
    bench.tell(events.Start(Submit(1, "dag", program([True]), detach=True)))
    bench.tell(events.CancelRun(1, "enough"))
    bench.tell(events.ForgetRun(1))
    assert sent(bench.hear(COORDINATOR, Accepted(1, RUN)), Cancel) == [(COORDINATOR, Cancel(RUN, "enough"))]


def test_a_dropped_coordinator_is_waited_for_then_given_up(bench: Bench) -> None:
    """Ten seconds without a connection end every run and question; the next run fails at once until the connection is back."""
    bench.running()
    bench.tell(events.Question(Ask(2, "nodes")))
    assert bench.tell(Dropped(COORDINATOR)) == []
    assert bench.brain.deadline == pytest.approx(bench.now + 10)
    assert bench.wait(9.9) == []
    effects = bench.wait(0.2)
    assert "the coordinator is gone" in of(effects, events.RunOver)[0].failure.text
    assert of(effects, events.Unanswered)[0].token == 2
    assert bench.brain.deadline is None
    assert of(bench.tell(events.Start(Submit(3, "dag", program([True])))), events.RunOver)[0].failure.code == "ConnectionLost"
    bench.tell(Resumed(COORDINATOR))
    assert sent(bench.tell(events.Start(Submit(4, "dag", program([True])))), Submit)


def test_a_coordinator_that_comes_back_in_time_changes_nothing(bench: Bench) -> None:
    """The run goes on where it was."""
    bench.running()
    bench.tell(Dropped(COORDINATOR))
    bench.tell(Resumed(COORDINATOR))
    assert bench.brain.deadline is None
    assert bench.wait(60) == []
    assert not bench.brain.idle


@pytest.mark.parametrize("event", [Lost(COORDINATOR, "refused"), events.Welcomed(PeerId(10))])
def test_a_coordinator_that_forgot_us_ends_every_run(bench: Bench, event: Any) -> None:
    """Lost for good, or a fresh session: what was asked is void."""
    bench.running()
    over = of(bench.tell(event), events.RunOver)
    assert over[0].failure.code == "ConnectionLost"
    assert bench.brain.idle


@pytest.mark.parametrize(("detach", "advice"), [(False, "client.start(dag, detach=True)"), (True, f"client.attach({RUN})")])
def test_who_was_away_for_too_long_is_told_what_became_of_the_run(bench: Bench, detach: bool, advice: str) -> None:
    """A laptop that was closed: its run ended with that, or goes on and can be taken over."""
    bench.running(detach=detach)
    over = of(bench.tell(events.Welcomed(PeerId(10))), events.RunOver)
    assert "client_grace_seconds" in over[0].failure.text
    assert advice in over[0].failure.text


@pytest.mark.parametrize("detach", [False, True])
def test_a_coordinator_that_was_restarted_is_said_to_have_been(bench: Bench, detach: bool) -> None:
    """Another process answers: detached or not, no run goes on there, and none can be taken over."""
    bench.running(detach=detach)
    over = of(bench.tell(events.Welcomed(PeerId(10), is_other=True)), events.RunOver)
    text = over[0].failure.text
    assert "was restarted" in text and "start it again" in text
    assert "goes on" not in text and "client_grace_seconds" not in text and "attach" not in text


def test_questions_are_answered_or_refused(bench: Bench) -> None:
    """Each by its token."""
    assert bench.tell(events.Question(Ask(5, "nodes"))) == [Send(COORDINATOR, Ask(5, "nodes"))]
    assert bench.hear(COORDINATOR, Answer(5, [1])) == [events.Answered(5, [1])]
    bench.tell(events.Question(Ask(6, "run", RUN)))
    failure = events.Failure("ExecutionError", "no such run")
    assert bench.hear(COORDINATOR, Refused("ExecutionError", "no such run", 6)) == [events.Unanswered(6, failure)]
    assert bench.brain.idle


def test_a_run_of_a_former_coordinator_is_not_taken_for_one_of_the_same_number(bench: Bench) -> None:
    """Numbers begin again after a restart: what is let go of late is no longer there, and the new run goes on."""
    bench.running()
    bench.tell(events.Welcomed(PeerId(10)))
    bench.tell(events.Start(Submit(2, "dag", program([True]))))
    bench.hear(COORDINATOR, Accepted(2, RUN))
    assert bench.tell(events.ForgetRun(1)) == []
    assert bench.tell(events.CancelRun(1, "why")) == []
    bench.hear(COORDINATOR, Placed(RUN, ints([1])))
    assert of(bench.results(0), events.Arrived) == [events.Arrived(2, ints([0]), longs([1]), b"\x00")]


def test_what_was_about_to_be_said_to_a_former_coordinator_is_not_said_to_the_next_one(bench: Bench) -> None:
    """It would run what its client was told is lost, with nobody to take the results, and end another one's run of that number."""
    bench.running()
    brain = bench.brain
    brain.take(bench.now, events.Start(Submit(2, "dag", program([True]))))
    brain.take(bench.now, events.CancelOther(RunId(3), "why"))
    brain.take(bench.now, events.Welcomed(PeerId(10)))
    fresh = Submit(4, "dag", program([True]))
    brain.take(bench.now, events.Start(fresh))
    effects = brain.settle(bench.now)
    assert [over.token for over in of(effects, events.RunOver)] == [1, 2]
    assert [effect.message for effect in of(effects, Send)] == [fresh]


def test_a_node_is_not_given_up_for_what_another_of_its_number_did(bench: Bench) -> None:
    """A node of a former coordinator was out of reach for long; the one that has its number now is tried as any other."""
    bench.running()
    bench.tell(Lost(ONE, "refused"))
    bench.tell(events.Welcomed(PeerId(10)))
    bench.now += 3600.0
    bench.tell(events.Start(Submit(2, "dag", program([True]))))
    bench.hear(COORDINATOR, Accepted(2, RUN))
    bench.hear(COORDINATOR, Placed(RUN, ints([1])))
    assert of(bench.tell(Lost(ONE, "refused")), events.RunOver) == []


def test_of_a_run_of_a_former_coordinator_nobody_else_is_asked(bench: Bench) -> None:
    """By its number the new coordinator would tell of another run. Of that one it is asked, and of what is about no run."""
    bench.running()
    assert bench.tell(events.Question(Ask(5, "timeline", RUN), of=1)) == [Send(COORDINATOR, Ask(5, "timeline", RUN))]
    bench.tell(events.Welcomed(PeerId(10)))
    bench.tell(events.Start(Submit(2, "dag", program([True]))))
    bench.hear(COORDINATOR, Accepted(2, RUN))
    told = of(bench.tell(events.Question(Ask(6, "timeline", RUN), of=1)), events.Unanswered)
    assert [(each.token, each.failure.code) for each in told] == [(6, "ConnectionLost")] and "restarted" in told[0].failure.text
    assert bench.tell(events.Question(Ask(7, "timeline", RUN), of=2)) == [Send(COORDINATOR, Ask(7, "timeline", RUN))]
    assert bench.tell(events.Question(Ask(8, "nodes"))) == [Send(COORDINATOR, Ask(8, "nodes"))]


def test_large_values_of_a_former_coordinators_runs_are_lost(bench: Bench) -> None:
    """Its nodes let them go: who waits for one is told, and who asks later, too."""
    bench.running()
    bench.hear(ONE, Announce(RUN, ints([0, 1]), longs([5, 5])))
    bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1])))
    bench.tell(events.Fetch(1, 0))
    assert [each.task for each in of(bench.tell(events.Welcomed(PeerId(10))), events.Unfetched)] == [0]
    later = of(bench.tell(events.Fetch(1, 1)), events.Unfetched)
    assert [each.failure.code for each in later] == ["ResultLost"] and "restarted" in later[0].failure.text


def test_a_detached_run_is_attached(bench: Bench) -> None:
    """The answer says what its outputs are; nodes are collected from, also those named before the answer."""
    assert bench.tell(events.Attach(1, RUN)) == [Send(COORDINATOR, Ask(1, "attach", RUN))]
    assert bench.hear(COORDINATOR, Placed(RUN, ints([1]))) == []
    data = {"total": 3, "outputs": [2], "ids": b"", "state": "running"}
    assert bench.hear(COORDINATOR, Answer(1, data)) == [events.Attached(1, RUN, data), Send(ONE, Collect(RUN))]
    assert bench.results(0, 2) == [events.Arrived(1, ints([2]), longs([1]), b"\x02")]
    assert of(bench.hear(COORDINATOR, RunDone(RUN, ints([1, 1, 1]))), events.RunOver)


def test_who_heard_of_the_failure_of_a_detached_run_says_so(bench: Bench) -> None:
    """Until then the coordinator keeps it for who attaches."""
    bench.tell(events.Attach(1, RUN))
    bench.hear(COORDINATOR, Answer(1, {"total": 1, "outputs": [0], "ids": b"", "state": "failed"}))
    assert Send(COORDINATOR, Forget(RUN)) in bench.hear(COORDINATOR, RunFailed(RUN, "FunctionFailed", "it failed", 0))


def test_progress_and_output_are_passed_on(bench: Bench) -> None:
    """Under the run's token."""
    bench.running()
    progress, output = Progress(RUN, 1, 1, 2), Output(RUN, ints([0]), ("stdout",), ("hello",), "n1")
    assert bench.hear(COORDINATOR, progress) == [events.Progressed(1, progress)]
    assert bench.hear(COORDINATOR, output) == [events.Printed(1, output)]


def test_a_run_without_outputs_is_over_when_it_is_done(bench: Bench) -> None:
    """Nothing has to arrive."""
    bench.running([False])
    assert of(bench.hear(COORDINATOR, RunDone(RUN, ints([1]))), events.RunOver)


def test_other_runs_are_cancelled_by_number(bench: Bench) -> None:
    """Also runs that this client never saw."""
    assert bench.tell(events.CancelOther(RunId(3), "why")) == [Send(COORDINATOR, Cancel(RunId(3), "why"))]
