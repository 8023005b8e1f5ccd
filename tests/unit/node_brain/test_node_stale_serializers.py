"""What a serializer made for one node is of no use on another."""

from __future__ import annotations

from typing import Any

from handoff.columns import ints
from handoff.ids import COORDINATOR
from handoff.machine import Received
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



def test_a_serializer_planned_anew_after_it_ended_is_made_anew(hand: Any) -> None:
    """What is here was made for another node: it makes room for the one that is to come, and is sent to nobody."""
    node, serializer = tailored(hand)
    node.plan({1: [0]}, serializer, attempt=2, target={1: node.OTHER})
    assert node.last_of(Drop) == [Drop(node.RUN, (1,))]
    node.say(node.OTHER, Want(node.RUN, ints([1])))
    assert node.last_of(Deliver) == []
    node.finish(1)

    assert node.last_of(Deliver) == [Deliver(node.OTHER, node.RUN, (1,))]
    assert node.reported() == [1]


def test_who_asks_before_the_serializer_is_planned_for_it_waits(hand: Any) -> None:
    """A consumer that has moved may ask sooner than the coordinator says that what it takes is to be made anew."""
    node, serializer = tailored(hand)
    node.say(node.OTHER, Want(node.RUN, ints([1])))
    assert node.last_of(Deliver) == []
    node.plan({1: [0]}, serializer, attempt=2, target={1: node.OTHER})
    node.finish(1)

    assert node.last_of(Deliver) == [Deliver(node.OTHER, node.RUN, (1,))]


def test_who_asks_late_does_not_take_from_another_what_was_made_for_it(hand: Any) -> None:
    """The want of a node that has lost the consumer meanwhile comes when the result for its next node is here: that stays for that one."""
    node, _ = tailored(hand)
    node.say(node.OTHER, Want(node.RUN, ints([1])))
    assert node.last_of(Drop, Deliver) == []

    node.say(node.PEER, Want(node.RUN, ints([1])))

    assert node.last_of(Deliver) == [Deliver(node.PEER, node.RUN, (1,))]


def test_who_asks_while_a_serializer_is_made_for_another_waits(hand: Any) -> None:
    """Of two that wait for it, only the one that it was made for gets it; the other one gets what is made for it afterwards."""
    node, serializer = tailored(hand, ends=False)
    node.say(node.OTHER, Want(node.RUN, ints([1])))
    node.say(node.PEER, Want(node.RUN, ints([1])))
    node.finish(1)
    assert node.last_of(Deliver) == [Deliver(node.PEER, node.RUN, (1,))]
    node.plan({1: [0]}, serializer, attempt=2, target={1: node.OTHER})
    node.finish(1)

    assert node.last_of(Deliver) == [Deliver(node.OTHER, node.RUN, (1,))]


def test_a_consumer_that_has_moved_here_does_not_take_what_was_made_for_another_node(hand: Any) -> None:
    """Its serializer is done elsewhere now: that one is asked, and what it sends is taken, whatever lay here or came to be here."""
    for ends in (True, False):
        node, _ = tailored(hand, ends=ends)
        node.plan({2: [1]}, sources={1: node.OTHER})
        assert [list(want.tasks) for want in node.said(Want, node.OTHER)] == [[1]]
        if not ends:
            node.finish(1)
            assert node.given() == []
            node.arrive(1, peer=node.OTHER)   # the store keeps the first value that it gets: it has to come again
            assert node.last_of(Drop) == [Drop(node.RUN, (1,))]
            assert [list(want.tasks) for want in node.said(Want, node.OTHER)] == [[1]]
        node.arrive(1, peer=node.OTHER)

        assert node.given() == [(2,)]


def test_what_was_fetched_of_a_serializer_does_not_stand_in_for_what_is_made_here(hand: Any) -> None:
    """A consumer was here and has moved, and its serializer is to be done here: the value that came for the former is of no use."""
    node, serializer = tailored(hand, ends=False, attempt=3)
    node.finish(1)
    node.release(1)
    node.plan({2: [1]}, sources={1: node.OTHER})
    node.recall([2])
    node.plan({1: [0]}, serializer, attempt=4, target={1: node.PEER})
    node.arrive(1, peer=node.OTHER)
    assert node.last_of(Drop) == [Drop(node.RUN, (1,))]
    node.say(node.PEER, Want(node.RUN, ints([1])))
    assert node.last_of(Deliver) == []
    node.finish(1)

    assert node.last_of(Deliver) == [Deliver(node.PEER, node.RUN, (1,))]


def tailored(hand: Any, ends: bool = True, attempt: int = 1) -> tuple[Any, Any]:
    """A node that has made, or makes, something for PEER."""
    node = hand()
    serializer = node.kind("serialize", cost={}, flags=Flag.SERIALIZER, form=Form.TREE)
    node.plan({0: []})
    node.finish(0)
    node.plan({1: [0]}, serializer, attempt=attempt, target={1: node.PEER})
    if ends:
        node.finish(1)
    return node, serializer


def test_a_consumer_is_told_where_the_value_that_it_takes_was_serialized(hand: Any) -> None:
    """Its serializer is made again elsewhere, since the node of the first is lost; what that one sent is here already, and is taken."""
    node = hand()
    tree = node.kind("tree", form=Form.TREE)
    node.plan({2: [1]}, tree, sources={1: node.PEER}, target={1: node.ME})
    node.recall([2])
    node.arrive(1, peer=node.PEER)
    node.plan({2: [1]}, tree, attempt=2, sources={1: node.OTHER}, target={1: node.ME})
    assert [effect.sources for effect in node.last_of(Execute)] == [((node.PEER,),)]

    node.release(1)
    node.plan({3: [1]}, tree, sources={1: node.OTHER}, target={1: node.ME})
    node.arrive(1, peer=node.OTHER)
    node.finish(2)
    assert [effect.sources for effect in node.all if isinstance(effect, Execute)][-1] == ((node.OTHER,),)


def test_what_was_chained_to_a_serializer_that_is_planned_anew_waits_for_it_no_more(hand: Any) -> None:
    """It had that result in its worker, and ended. Left among those that wait, it was counted down twice when it came back: a dead node."""
    node = hand()
    node.learn("f")
    step, work = node.kind("f", flags=Flag.SERIALIZER), node.kind("f")
    both = node.plan_message({0: []}, step, target={0: node.ME}), node.plan_message({1: [0]}, work)
    node.happen(*[Received(COORDINATOR, message) for message in both])
    assert node.given() == [(0, 1)]
    node.plan({0: []}, step, attempt=2, target={0: node.OTHER})     # its consumer had to move
    node.recall([1])
    node.finish(0, 1)
    assert node.reported() == [1]
    node.finish(0)
    node.plan({0: []}, step, attempt=3, target={0: node.ME})        # and came back
    node.plan({1: [0]}, work, attempt=2)
    node.finish(0)
    node.finish(1)
    assert node.reported() == [1]
