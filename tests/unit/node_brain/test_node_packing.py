"""Large results that are being written on a node: who hears of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from handoff.columns import ints
from handoff.ids import COORDINATOR, RunId
from handoff.messages import Coming, Want
from handoff.node.events import Drop, Welcomed

SIZE = 64_000_000


def test_the_coordinator_and_nodes_that_wait_for_it_are_told(hand: Any) -> None:
    """A client that waits for it is not: it has no memory to prepare."""
    node = hand()
    node.join(node.CLIENT, "client")
    node.plan({0: [], 1: []})
    for peer in (node.PEER, node.CLIENT):
        node.say(peer, Want(node.RUN, ints([0])))
    node.happen(node.packing_event(0, SIZE))
    assert node.said(Coming, COORDINATOR) == node.said(Coming, node.PEER) == [Coming(node.RUN, 0, 1, SIZE)]
    assert len(node.said(Coming)) == 2


def test_who_asks_while_it_is_written_is_told_then(hand: Any) -> None:
    """Once; who asks when it is there gets the value, and of another attempt nothing is known yet."""
    node = hand()
    node.plan({0: []})
    node.happen(node.packing_event(0, SIZE))
    node.say(node.PEER, Want(node.RUN, ints([0])))
    assert node.said(Coming) == [Coming(node.RUN, 0, 1, SIZE)]
    node.finish(0, nbytes=SIZE)
    node.say(node.OTHER, Want(node.RUN, ints([0])))
    assert node.said(Coming) == []


def test_of_what_failed_after_all_nobody_is_told_later(hand: Any) -> None:
    """Nor of what nobody executes, or of a run that is not there."""
    node = hand()
    node.plan({0: []})
    node.happen(node.packing_event(0, SIZE))
    broken = node.packing_event(0, SIZE)
    node.broke(0)
    node.say(node.PEER, Want(node.RUN, ints([0])))
    assert node.said(Coming) == []
    node.happen(broken, replace(broken, run=RunId(77)))
    assert node.said(Coming) == []


def test_what_one_attempt_said_is_not_told_of_the_next(hand: Any) -> None:
    """Planned here again, and given: how large that will be is not known, and what the former worker says late is not believed of it."""
    node = hand()
    node.plan({0: []})
    late = node.packing_event(0, SIZE)
    node.happen(late)
    node.broke(0)
    node.plan({0: []}, attempt=2)
    node.say(node.PEER, Want(node.RUN, ints([0])))
    node.happen(late)
    assert node.said(Coming) == []
    node.happen(node.packing_event(0, SIZE // 2))
    assert node.said(Coming, COORDINATOR) == node.said(Coming, node.PEER) == [Coming(node.RUN, 0, 2, SIZE // 2)]


def test_an_old_attempt_that_goes_on_is_told_as_that(hand: Any) -> None:
    """Planned once more meanwhile: the coordinator will not take it for the new one, and who waits for the value may have this one."""
    node = hand()
    node.plan({0: []})
    said = node.packing_event(0, SIZE)
    node.plan({0: []}, attempt=2)
    node.say(node.PEER, Want(node.RUN, ints([0])))
    node.happen(said)
    assert node.said(Coming, COORDINATOR) == node.said(Coming, node.PEER) == [Coming(node.RUN, 0, 1, SIZE)]


def test_a_client_that_left_and_a_node_with_its_number_are_told_apart(hand: Any) -> None:
    """Who is a client is known as of now, also after the node was let in anew."""
    node = hand()
    node.join(node.CLIENT, "client")
    node.happen(Welcomed(node.ME))
    node.plan({0: []})
    node.join(node.OTHER, "client")
    for peer in (node.CLIENT, node.OTHER):
        node.say(peer, Want(node.RUN, ints([0])))
    node.happen(node.packing_event(0, SIZE))
    assert node.said(Coming, node.CLIENT) and not node.said(Coming, node.OTHER)


def test_memory_for_what_nobody_here_takes_any_more_is_let_go_of(hand: Any) -> None:
    """Who was to take it was taken back, and it is released before it came: that memory would be taken until the run ends."""
    node = hand()
    node.plan({1: [0]}, sources={0: node.PEER})
    assert [want.tasks.tolist() for want in node.said(Want, node.PEER)] == [[0]]
    node.recall([1])
    node.release(0)
    assert node.last_of(Drop) == [Drop(node.RUN, (0,))]
    node.plan({1: [0]}, attempt=2, sources={0: node.PEER})      # it comes back: then that is wanted anew
    assert [want.tasks.tolist() for want in node.said(Want, node.PEER)] == [[0]]
    node.arrive(0)
    node.finish(1)
    assert node.reported() == [1]


def test_but_not_of_what_another_one_waits_for(hand: Any) -> None:
    """The word that it is released was on its way when that was planned."""
    node = hand()
    node.plan({1: [0], 2: [0]}, sources={0: node.PEER})
    node.recall([1])
    node.release(0)
    assert node.last_of(Drop) == []
    node.arrive(0)
    node.finish(2)
    assert node.reported() == [2]
