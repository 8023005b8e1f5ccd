"""A node tells a client which run it is that sends values, when the plan says under which token the client submitted it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from handoff.ids import COORDINATOR
from handoff.machine import Lost, Send
from handoff.messages import Accepted, Announce, Collect, EndRun
from handoff.node.events import Deliver
from handoff.program import Flag


def planned(hand: Any, *tasks: int) -> None:
    """Outputs for the client, which submitted them under token 5."""
    plan = hand.plan_message(hand.independent(tasks), hand.kind(flags=Flag.OUTPUT))
    hand.say(COORDINATOR, replace(plan, collector=hand.CLIENT, token=5))


def to_client(hand: Any) -> list[Any]:
    """What the last turn has for the client."""
    return [effect for effect in hand.last if getattr(effect, "peer", None) == hand.CLIENT]


def test_the_run_is_named_before_its_first_value(hand: Any) -> None:
    """And only once, whatever follows."""
    hand = hand()
    hand.join(hand.CLIENT, "client")
    planned(hand, 0, 1)
    assert to_client(hand) == []
    hand.finish(0)
    assert to_client(hand) == [Send(hand.CLIENT, Accepted(5, hand.RUN)), Deliver(hand.CLIENT, hand.RUN, (0,))]
    hand.finish(1)
    assert to_client(hand) == [Deliver(hand.CLIENT, hand.RUN, (1,))]


def test_the_run_is_named_before_a_large_value_is_announced(hand: Any) -> None:
    """An announcement of a run without a number would be lost."""
    hand = hand()
    hand.join(hand.CLIENT, "client")
    planned(hand, 0)
    hand.finish(0, nbytes=10_000_000)
    assert [type(effect.message) for effect in to_client(hand)] == [Accepted, Announce]


def test_a_client_without_a_link_hears_the_number_from_the_coordinator(hand: Any) -> None:
    """It collects when it has been told where, and knows the run by then."""
    hand = hand()
    planned(hand, 0)
    hand.finish(0)
    hand.join(hand.CLIENT, "client")
    hand.say(hand.CLIENT, Collect(hand.RUN))
    assert to_client(hand) == [Deliver(hand.CLIENT, hand.RUN, (0,))]


def test_a_number_that_nobody_waits_for_is_not_kept(hand: Any) -> None:
    """When the link breaks, or the run ends first, the token goes."""
    hand = hand()
    for end in (lambda: hand.happen(Lost(hand.CLIENT, "broke")), lambda: hand.say(COORDINATOR, EndRun(hand.RUN))):
        hand.join(hand.CLIENT, "client")
        planned(hand, 0)
        end()
        assert not hand.brain._answers._tokens
