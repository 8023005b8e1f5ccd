"""A plan tells a node with a standing link to send outputs unasked, so they may come before the word that their run exists."""

from __future__ import annotations

from handoff.client import events
from handoff.client.brain import ClientBrain
from handoff.columns import Blobs, ints, longs
from handoff.ids import COORDINATOR, PeerId, RunId
from handoff.machine import Joined, Received, Send
from handoff.messages import PROTOCOL, Accepted, Collect, Hello, Placed, Results, Submit
from handoff.program import Flag, Kind, Program
from handoff.settings import ClientSettings

RUN, NODE, OTHER = RunId(7), PeerId(1), PeerId(2)


def started() -> ClientBrain:
    """A client with links to two nodes, and a run that is not accepted yet."""
    brain = ClientBrain(ClientSettings())
    brain.handle(0.0, events.Welcomed(PeerId(9)))
    for node in (NODE, OTHER):
        brain.handle(0.0, Joined(node, Hello(PROTOCOL, "0", "3.11", "node", f"n{node}", b"")))
    kind = Kind((b"c" * 16,), "f", flags=Flag.OUTPUT)
    program = Program(((b"c" * 16, 1),), (kind,), ints([0]), Blobs.of([b""]), ints([0]), ints())
    brain.handle(0.0, events.Start(Submit(1, "dag", program)))
    return brain


def test_a_node_whose_link_stands_is_not_asked() -> None:
    """The plan told it."""
    brain = started()
    brain.handle(0.0, Received(COORDINATOR, Accepted(1, RUN)))

    assert brain.handle(0.0, Received(COORDINATOR, Placed(RUN, ints([NODE, OTHER])))) == []


def test_a_node_whose_values_came_too_early_is_asked_for_them_again() -> None:
    """Values that overtook the run's acceptance could not be told from a stranger's; only the node that sent them is asked."""
    brain = started()
    early = Results(RUN, ints([0]), longs([1]), b"v")
    assert brain.handle(0.0, Received(NODE, early)) == []
    brain.handle(0.0, Received(COORDINATOR, Accepted(1, RUN)))

    assert brain.handle(0.0, Received(COORDINATOR, Placed(RUN, ints([NODE, OTHER])))) == [Send(NODE, Collect(RUN))]
    assert brain.handle(0.0, Received(NODE, early)) == [events.Arrived(1, ints([0]), longs([1]), b"v")]


def test_early_values_are_remembered_while_other_runs_are_accepted() -> None:
    """Of two runs submitted at once both are accepted before either is placed: what came early for the first is not forgotten."""
    brain = started()
    program = Program(((b"c" * 16, 1),), (Kind((b"c" * 16,), "f", flags=Flag.OUTPUT),), ints([0]), Blobs.of([b""]), ints([0]), ints())
    brain.handle(0.0, events.Start(Submit(2, "dag", program)))
    brain.handle(0.0, Received(NODE, Results(RUN, ints([0]), longs([1]), b"v")))
    brain.handle(0.0, Received(COORDINATOR, Accepted(1, RUN)))
    brain.handle(0.0, Received(COORDINATOR, Accepted(2, RunId(RUN + 1))))

    assert brain.handle(0.0, Received(COORDINATOR, Placed(RUN, ints([NODE])))) == [Send(NODE, Collect(RUN))]
    assert brain.handle(0.0, Received(COORDINATOR, Placed(RunId(RUN + 1), ints([NODE])))) == []
