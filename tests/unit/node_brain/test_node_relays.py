"""Nodes hand on what they fetch: to those that asked before it came, and not for ever to those for whom it will not come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handoff.columns import ints
from handoff.ids import COORDINATOR, PeerId
from handoff.machine import Lost, Send
from handoff.messages import Absent, Plan, Redirect, Unreachable, Want
from handoff.node.events import Execute, Stream
from handoff.program import Form

CHILD, LARGE = PeerId(40), 1 << 20


def relayed(plan: Plan, node: PeerId) -> Plan:
    """The same plan, with its input 1 to be asked for at that node."""
    return replace(plan, relays=ints([1, node]))


def test_a_relay_is_asked_instead_of_the_maker(hand: Any) -> None:
    """The plan names both; user code that asks where its input was made is told the maker."""
    node = hand()
    tree = node.kind("tree", form=Form.TREE)
    node.say(COORDINATOR, relayed(node.plan_message({10: [1]}, tree, sources={1: node.PEER}), node.OTHER))
    assert [(effect.peer, effect.message) for effect in node.last if isinstance(effect, Send)] == [(node.OTHER, Want(node.RUN, ints([1])))]
    node.say(COORDINATOR, relayed(node.plan_message({11: [1]}, tree, sources={1: node.PEER}), node.OTHER))
    assert node.said(Want) == []
    node.arrive(1, peer=node.OTHER, nbytes=LARGE)

    assert {source for effect in node.last_of(Execute) for several in effect.sources for source in several} == {node.PEER}


@pytest.mark.parametrize("asks_first", [True, False])
def test_what_was_fetched_is_handed_on(hand: Any, asks_first: bool) -> None:
    """To a node that asked while the value was on its way, or even before the plan came, as to one that asks later."""
    node = hand()
    if asks_first:
        node.say(CHILD, Want(node.RUN, ints([1])))
    node.plan({10: [1]}, sources={1: node.PEER})
    if not asks_first:
        node.say(CHILD, Want(node.RUN, ints([1])))
    node.arrive(1, nbytes=LARGE)
    assert node.last_of(Stream) == [Stream(CHILD, node.RUN, (1,))]
    node.say(node.OTHER, Want(node.RUN, ints([1])))

    assert node.last_of(Stream) == [Stream(node.OTHER, node.RUN, (1,))]


@pytest.mark.parametrize("how", ["absent", "link lost"])
def test_who_waits_at_a_relay_that_gives_up_is_told(hand: Any, how: str) -> None:
    """Its task was taken back, and then its fetch came to nothing: nobody here minds, but the child must look elsewhere."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.say(CHILD, Want(node.RUN, ints([1])))
    node.recall([10])
    assert node.said(Absent) == []
    if how == "absent":
        node.say(node.PEER, Absent(node.RUN, ints([1])))
    else:
        node.happen(Lost(node.PEER, "reset"))

    assert node.said(Absent, CHILD) == [Absent(node.RUN, ints([1]))]
    assert node.said(Unreachable) == []


def test_a_relay_that_asks_elsewhere_keeps_its_children(hand: Any) -> None:
    """As long as a task here takes the value it will come, from wherever: nobody is sent away, and the child gets it in the end."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.say(CHILD, Want(node.RUN, ints([1])))
    node.say(node.PEER, Absent(node.RUN, ints([1])))
    assert (node.said(Absent), len(node.said(Unreachable))) == ([], 1)
    node.say(COORDINATOR, Redirect(node.RUN, ints([1]), ints([node.OTHER])))
    node.arrive(1, peer=node.OTHER, nbytes=LARGE)

    assert node.last_of(Stream) == [Stream(CHILD, node.RUN, (1,))]


def test_a_child_of_a_relay_that_gives_up_asks_the_coordinator(hand: Any) -> None:
    """It says that the value can't be had there, and asks where it is sent to."""
    node = hand()
    node.say(COORDINATOR, relayed(node.plan_message({10: [1]}, sources={1: node.PEER}), node.OTHER))
    node.say(node.OTHER, Absent(node.RUN, ints([1])))
    assert node.said(Unreachable) == [Unreachable(node.RUN, node.OTHER, ints([1]), is_absent=True)]
    node.say(COORDINATOR, Redirect(node.RUN, ints([1]), ints([node.PEER])))

    assert node.said(Want, node.PEER) == [Want(node.RUN, ints([1]))]
