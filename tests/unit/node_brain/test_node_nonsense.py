"""What peers say that no peer should say: a node goes on, and nobody else is worse off."""

from __future__ import annotations

from typing import Any

from handoff.columns import ints
from handoff.ids import RunId
from handoff.messages import Absent, Collect, Unreachable
from handoff.node.events import Deliver
from handoff.program import Flag

OUTPUT = int(Flag.OUTPUT)


def test_a_peer_says_twice_that_a_result_is_absent(hand: Any) -> None:
    """In one message: it is given up once."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.say(node.PEER, Absent(node.RUN, ints([1, 1])))

    assert node.said(Unreachable) == [Unreachable(node.RUN, node.PEER, ints([1]))]


def test_runs_that_do_not_exist_are_asked_for(hand: Any) -> None:
    """By a peer that is wrong about numbers, again and again: later runs, whose numbers are lower, are not taken for over."""
    node = hand()
    node.join(node.CLIENT, "client")
    for number in range(6000):
        node.say(node.PEER, Collect(RunId(1 << 40 | number)))
    node.say(node.CLIENT, Collect(node.RUN))     # it may come before the first plan
    node.plan({10: []}, node.kind(flags=OUTPUT))
    node.finish(10)

    assert [(effect.peer, effect.tasks) for effect in node.last_of(Deliver)] == [(node.CLIENT, (10,))]
