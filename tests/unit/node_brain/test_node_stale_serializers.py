"""What a serializer made for one node is of no use on another."""

from __future__ import annotations

from typing import Any

from handoff.columns import ints
from handoff.messages import Want
from handoff.node.events import Deliver, Drop, Execute
from handoff.program import Flag, Form


def test_a_serializer_planned_anew_while_it_runs_gives_only_what_its_last_attempt_made(hand: Any) -> None:
    """The result of the earlier attempt, told another target, is dropped; who wants it waits for the later one."""
    node = hand()
    serializer = node.kind("serialize", cost={}, flags=Flag.SERIALIZER, form=Form.TREE)
    node.plan({0: []})
    node.finish(0)
    node.plan({1: [0]}, serializer, target={1: node.PEER})
    node.plan({1: [0]}, serializer, attempt=2, target={1: node.OTHER})
    node.say(node.OTHER, Want(node.RUN, ints([1])))
    node.finish(1)

    assert node.last_of(Drop) == [Drop(node.RUN, (1,))]
    assert [effect.targets for effect in node.last_of(Execute)] == [(node.OTHER,)]
    assert not node.last_of(Deliver) and node.reported() == []

    node.finish(1)
    assert node.last_of(Deliver) == [Deliver(node.OTHER, node.RUN, (1,))]
    assert node.reported() == [1]

