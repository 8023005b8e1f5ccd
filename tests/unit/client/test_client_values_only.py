"""Single calls: their node says which run it is, and they are forgotten several at a time."""

from __future__ import annotations

from typing import Any

from handoff.client import events
from handoff.client.brain import ClientBrain
from handoff.client.forgets import FORGET_SECONDS
from handoff.columns import Blobs, ints, longs
from handoff.ids import COORDINATOR, PeerId, RunId
from handoff.machine import Joined, Lost, Received, Send, Tick
from handoff.messages import PROTOCOL, Accepted, Cancel, Collect, Forget, Hello, Placed, Results, RunDone, Submit
from handoff.program import Flag, Kind, Program
from handoff.settings import ClientSettings

RUN, NODE = RunId(7), PeerId(1)
KIND = Kind((b"c" * 16,), "f", flags=Flag.OUTPUT)
ONE = Program(((b"c" * 16, 1),), (KIND,), ints([0]), Blobs.of([b""]), ints([0]), ints())


def connected() -> ClientBrain:
    """A client with a link to a node."""
    brain = ClientBrain(ClientSettings())
    brain.handle(0.0, events.Welcomed(PeerId(9)))
    brain.handle(0.0, Joined(NODE, Hello(PROTOCOL, "0", "3.11", "node", "n1", b"")))
    return brain


def hear(brain: ClientBrain, peer: PeerId, message: Any, now: float = 0.0) -> list[Any]:
    """This peer says this."""
    effects = brain.handle(now, Received(peer, message))
    brain.check()
    return effects


def call(brain: ClientBrain, token: int, now: float = 0.0) -> None:
    """A function is submitted."""
    brain.handle(now, events.Start(Submit(token, "f", ONE, values_only=True), forget=True))


def over(brain: ClientBrain, token: int, run: RunId, now: float = 0.0) -> None:
    """All is said of it: the value by its node, the rest by the coordinator."""
    hear(brain, NODE, Accepted(token, run), now)
    hear(brain, NODE, Results(run, ints([0]), longs([1]), b"v"), now)
    for message in (Accepted(token, run), Placed(run, ints([NODE])), RunDone(run, ints([NODE]))):
        hear(brain, COORDINATOR, message, now)


def test_a_value_counts_as_soon_as_its_node_has_said_which_run_it_is() -> None:
    """The coordinator's own word comes later, and changes nothing."""
    brain = connected()
    call(brain, 1)
    assert hear(brain, NODE, Accepted(1, RUN)) == [events.RunAccepted(1, RUN)]
    assert hear(brain, NODE, Results(RUN, ints([0]), longs([1]), b"v")) == [events.Arrived(1, ints([0]), longs([1]), b"v")]
    assert hear(brain, COORDINATOR, Accepted(1, RUN)) == []
    assert hear(brain, COORDINATOR, Placed(RUN, ints([NODE]))) == []


def test_what_a_node_says_of_an_unknown_token_means_nothing() -> None:
    """It is of a run that was given up here."""
    brain = connected()
    assert hear(brain, NODE, Accepted(5, RUN)) == []
    call(brain, 6)
    assert hear(brain, COORDINATOR, Accepted(6, RunId(8))) == [events.RunAccepted(6, RunId(8))]


def test_a_call_that_was_cancelled_is_cancelled_by_the_number_that_its_node_said() -> None:
    """A cancel waits for the run's number, whoever says it first."""
    brain = connected()
    call(brain, 1)
    brain.handle(0.0, events.CancelRun(1, "why"))
    assert Send(COORDINATOR, Cancel(RUN, "why")) in hear(brain, NODE, Accepted(1, RUN))
    assert hear(brain, COORDINATOR, Accepted(1, RUN)) == []


def test_calls_are_forgotten_together() -> None:
    """The first that is over starts the clock; when it rings, all are forgotten, each once."""
    brain = connected()
    for token in (1, 2):
        call(brain, token)
        over(brain, token, RunId(RUN + token), now=token / 1000)
    assert brain.deadline == 0.001 + FORGET_SECONDS
    assert brain.handle(0.002, Tick()) == []
    forgotten = [Send(COORDINATOR, Forget(RunId(RUN + 1), ints([RUN + 2])))]
    assert brain.handle(0.001 + FORGET_SECONDS, Tick()) == forgotten
    assert brain.deadline is None
    assert brain.handle(9.0, Tick()) == []


def test_runs_of_a_coordinator_that_is_gone_are_not_forgotten_at_the_next_one() -> None:
    """The numbers mean other runs there."""
    for end in (Lost(COORDINATOR, "gone"), events.Welcomed(PeerId(10))):
        brain = connected()
        call(brain, 1)
        over(brain, 1, RUN)
        brain.handle(0.0, end)
        assert not [effect for effect in brain.handle(FORGET_SECONDS, Tick()) if isinstance(effect, Send)]


def test_all_of_a_call_may_be_said_in_one_message() -> None:
    """That it was accepted, where it was placed, and that it is done: as in three; its value may come before or afterwards."""
    three = (Accepted(1, RUN), Placed(RUN, ints([NODE])), RunDone(RUN, ints([NODE])))
    for is_here in (True, False):
        ends = []
        for said in (three, (RunDone(RUN, ints([NODE]), token=1),)):
            brain = connected()
            call(brain, 1)
            if is_here:
                hear(brain, NODE, Accepted(1, RUN))
                hear(brain, NODE, Results(RUN, ints([0]), longs([1]), b"v"))
            effects = [effect for message in said for effect in hear(brain, COORDINATOR, message)]
            if not is_here:
                effects += hear(brain, NODE, Results(RUN, ints([0]), longs([1]), b"v"))
            ends.append([effect.done.nodes if isinstance(effect, events.RunOver) and effect.done else effect for effect in effects])
        assert ends[0] == ends[1] and ints([NODE]) in ends[0]


def test_the_value_of_a_call_that_is_done_is_asked_for_where_no_link_stood() -> None:
    """Its node had nobody to send it to."""
    brain = ClientBrain(ClientSettings())
    brain.handle(0.0, events.Welcomed(PeerId(9)))
    call(brain, 1)
    brain.handle(0.0, Joined(NODE, Hello(PROTOCOL, "0", "3.11", "node", "n1", b"")))
    assert hear(brain, COORDINATOR, RunDone(RUN, ints([NODE]), token=1)) == [events.RunAccepted(1, RUN), Send(NODE, Collect(RUN))]
    assert [type(each) for each in hear(brain, NODE, Results(RUN, ints([0]), longs([1]), b"v"))] == [events.Arrived, events.RunOver]
