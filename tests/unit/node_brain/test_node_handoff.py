"""How results move: what a node asks of others, and what it sends them."""

from __future__ import annotations

from typing import Any

from handoff.columns import ints
from handoff.ids import COORDINATOR, NOBODY, RunId
from handoff.machine import Lost, Received, Send
from handoff.messages import Absent, Announce, Collect, Recalled, Redirect, Report, Unreachable, Want
from handoff.node.events import Deliver, Drop, Stream
from handoff.program import Flag

OUTPUT = int(Flag.OUTPUT)
KIB = 1024


def test_remote_inputs_are_wanted_at_once(hand: Any) -> None:
    """On a plan, one Want goes to each node that will make an input, before anything is there."""
    node = hand()
    node.plan({10: [1, 2, 5], 11: [2, 3]}, sources={1: node.PEER, 2: node.PEER, 3: node.OTHER, 5: node.ME})

    assert [(effect.peer, effect.message) for effect in node.last if isinstance(effect, Send)] == [
        (node.PEER, Want(node.RUN, ints([1, 2]))),
        (node.OTHER, Want(node.RUN, ints([3]))),
    ]


def test_an_input_is_wanted_once(hand: Any) -> None:
    """What is here, or asked for already, is not asked for again."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.plan({11: [1]}, sources={1: node.PEER})
    assert node.said(Want) == []
    node.arrive(1)
    assert sorted(task for batch in node.given() for task in batch) == [10, 11]
    node.plan({12: [1]}, sources={1: node.PEER})

    assert node.said(Want) == []


def test_the_latest_plan_says_whom_to_ask(hand: Any) -> None:
    """Whoever was asked for an earlier plan may be gone: a plan with another source is believed."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.recall([10])
    node.plan({10: [1]}, sources={1: node.OTHER}, attempt=2)
    assert [(effect.peer, effect.message) for effect in node.last if isinstance(effect, Send)] == [(node.OTHER, Want(node.RUN, ints([1])))]

    node.plan({10: [1]}, sources={1: node.PEER}, attempt=3)
    assert [(effect.peer, effect.message) for effect in node.last if isinstance(effect, Send)] == [(node.PEER, Want(node.RUN, ints([1])))]


def test_what_nobody_waited_for_when_the_link_broke_is_asked_again(hand: Any) -> None:
    """A recalled task comes back to a node whose fetch for it broke meanwhile, before or after the recall."""
    for is_recalled_first in (True, False):
        node = hand()
        node.plan({10: [1]}, sources={1: node.PEER})
        if is_recalled_first:
            node.recall([10])
        node.happen(Lost(node.PEER, "gone"))
        if not is_recalled_first:
            node.recall([10])
        node.wait(1.0)
        node.plan({10: [1]}, sources={1: node.PEER}, attempt=2)

        assert [list(want.tasks) for want in node.said(Want)] == [[1]]


def test_what_was_fetched_is_counted_in_the_report(hand: Any) -> None:
    """The next report of the run says how many bytes came from other nodes, once."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.arrive(1, nbytes=5000)
    node.finish(10)
    assert [report.fetched_bytes for report in node.said(Report)] == [5000]
    node.plan({11: []})
    node.finish(11)

    assert [report.fetched_bytes for report in node.said(Report)] == [0]


def test_a_redirect_changes_whom_we_ask(hand: Any) -> None:
    """An input that will come from elsewhere is asked for there; one that is here is not; one from here is waited for."""
    node = hand()
    node.plan({10: [1], 11: [2], 12: [3]}, sources={1: node.PEER, 2: node.PEER, 3: node.PEER})
    node.arrive(2)
    node.say(COORDINATOR, Redirect(node.RUN, ints([1, 2, 3, 99]), ints([node.OTHER, node.OTHER, node.ME, node.OTHER])))
    assert [(effect.peer, list(effect.message.tasks)) for effect in node.last if isinstance(effect, Send)] == [(node.OTHER, [1])]
    node.finish(11)
    node.plan({3: []}, attempt=2)
    node.finish(3)

    assert (1, 12) in node.executed


def test_user_code_hears_of_the_new_source(hand: Any) -> None:
    """After a redirect, the source that a serializer is told is the new one."""
    node = hand()
    node.plan({10: [1]}, node.kind("tree", form=2), sources={1: node.PEER})
    node.say(COORDINATOR, Redirect(node.RUN, ints([1]), ints([node.OTHER])))
    node.arrive(1, peer=node.OTHER)
    (execute,) = [effect for effect in node.last if type(effect).__name__ == "Execute"]

    assert execute.sources == ((node.OTHER,),)


def test_a_broken_link_is_asked_again_after_a_pause(hand: Any) -> None:
    """What a lost peer still owes is asked for again, after peer_retry_seconds, again and again."""
    node = hand(peer_retry_seconds=0.2)
    node.plan({10: [1], 11: [2]}, sources={1: node.PEER, 2: node.PEER})
    node.arrive(2)
    for _ in range(3):
        node.happen(Lost(node.PEER, "reset"))
        assert node.said(Want) == []
        node.wait(0.25)
        assert node.said(Want, node.PEER) == [Want(node.RUN, ints([1]))]


def test_a_peer_out_of_reach_is_told_to_the_coordinator_once(hand: Any) -> None:
    """After peer_lost_seconds of failing links the inputs are given up, once, until they are redirected."""
    node = hand(peer_retry_seconds=0.2, peer_lost_seconds=10.0)
    node.plan({10: [1]}, sources={1: node.PEER})
    said = []
    for _ in range(60):
        node.happen(Lost(node.PEER, "refused"))
        said += [(node.now, message) for message in node.said(Unreachable)]
        node.wait(0.3)
    ((when, message),) = said

    assert message == Unreachable(node.RUN, node.PEER, ints([1]))
    assert 10.0 <= when < 10.5
    node.say(COORDINATOR, Redirect(node.RUN, ints([1]), ints([node.OTHER])))
    assert node.said(Want, node.OTHER) == [Want(node.RUN, ints([1]))]


def test_a_link_that_held_for_long_starts_a_new_story(hand: Any) -> None:
    """Two breaks with a long peace between them are not one outage."""
    node = hand(peer_lost_seconds=10.0)
    node.plan({10: [1]}, sources={1: node.PEER})
    node.happen(Lost(node.PEER, "reset"))
    node.wait(50.0)
    node.happen(Lost(node.PEER, "reset"))

    assert node.said(Unreachable) == []
    node.wait(0.3)
    assert node.said(Want, node.PEER) == [Want(node.RUN, ints([1]))]


def test_a_peer_that_swallows_dials_is_given_up_however_short_the_patience(hand: Any) -> None:
    """Each dial takes longer to fail than the peer may be lost: they are of one story all the same."""
    node = hand(peer_retry_seconds=0.2, peer_lost_seconds=1.0)
    node.plan({10: [1]}, sources={1: node.PEER})
    node.happen(Lost(node.PEER, "reset"))
    node.wait(5.2)

    node.happen(Lost(node.PEER, "nobody answers"))

    assert node.said(Unreachable, COORDINATOR) == [Unreachable(node.RUN, node.PEER, ints([1]))]


def test_a_peer_that_owes_nothing_is_not_missed(hand: Any) -> None:
    """A link breaks: nothing is outstanding, nothing follows."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.arrive(1)
    node.happen(Lost(node.PEER, "reset"))
    node.wait(0.9)

    assert node.said(Want) == []


def test_absent_results_are_given_up_at_once(hand: Any) -> None:
    """A peer that says it has none is not asked again; the coordinator is told, and only about what we asked there."""
    node = hand()
    node.plan({10: [1], 11: [2]}, sources={1: node.PEER, 2: node.OTHER})
    node.say(node.PEER, Absent(node.RUN, ints([1, 2])))

    assert node.said(Unreachable, COORDINATOR) == [Unreachable(node.RUN, node.PEER, ints([1]), is_absent=True)]


def test_wants_are_answered_when_the_result_exists(hand: Any) -> None:
    """A peer that asks early is answered in the turn in which the result is made; asking twice is harmless."""
    node = hand()
    node.say(node.PEER, Want(node.RUN, ints([0, 1])))
    node.say(node.PEER, Want(node.RUN, ints([0])))
    node.plan({0: [], 1: []})
    node.finish(0)
    assert node.last_of(Deliver) == [Deliver(node.PEER, node.RUN, (0,))]
    node.finish(1)
    assert node.last_of(Deliver) == [Deliver(node.PEER, node.RUN, (1,))]
    node.say(node.OTHER, Want(node.RUN, ints([1, 0])))

    assert node.last_of(Deliver) == [Deliver(node.OTHER, node.RUN, (1, 0))]


def test_large_values_are_streamed(hand: Any) -> None:
    """A value over inline_bytes goes in chunks, a small one in a message."""
    node = hand(inline_bytes=64 * KIB)
    node.say(node.PEER, Want(node.RUN, ints([0, 1])))
    node.plan({0: [], 1: []})
    node.finish(0, nbytes=64 * KIB)
    assert node.last_of(Deliver, Stream) == [Deliver(node.PEER, node.RUN, (0,))]
    node.finish(1, nbytes=64 * KIB + 1)

    assert node.last_of(Deliver, Stream) == [Stream(node.PEER, node.RUN, (1,))]


def test_fetched_results_are_served_too(hand: Any) -> None:
    """Who fetched a result holds a copy for others."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.say(node.OTHER, Want(node.RUN, ints([1])))
    node.arrive(1)

    assert node.last_of(Deliver) == [Deliver(node.OTHER, node.RUN, (1,))]


def test_a_collecting_client_gets_all_outputs(hand: Any) -> None:
    """Outputs that exist come at once, each later one in the turn in which it is made; others never."""
    node = hand()
    output = node.kind("out", flags=OUTPUT)
    node.plan({0: [], 1: [], 2: []}, output)
    node.plan({5: []}, node.kind("inner"))
    node.finish(0)
    assert node.last_of(Deliver) == []
    node.say(node.CLIENT, Collect(node.RUN))
    assert node.last_of(Deliver) == [Deliver(node.CLIENT, node.RUN, (0,))]
    node.happen(node.finished_event(1), node.finished_event(2))
    assert node.last_of(Deliver) == [Deliver(node.CLIENT, node.RUN, (1, 2))]
    node.finish(5)

    assert node.last_of(Deliver) == []


def test_outputs_are_pushed_up_to_a_size(hand: Any) -> None:
    """Up to push_bytes an output is sent, above it is announced, and sent when the client asks."""
    node = hand(inline_bytes=64 * KIB, push_bytes=1024 * KIB)
    node.say(node.CLIENT, Collect(node.RUN))
    node.plan({0: [], 1: []}, node.kind("out", flags=OUTPUT))
    node.happen(node.finished_event(0, nbytes=1024 * KIB), node.finished_event(1, nbytes=1024 * KIB + 1))
    assert node.last_of(Stream, Deliver) == [Stream(node.CLIENT, node.RUN, (0,))]
    (announced,) = node.said(Announce, node.CLIENT)
    assert (list(announced.tasks), list(announced.sizes)) == ([1], [1024 * KIB + 1])
    node.say(node.CLIENT, Want(node.RUN, ints([1])))

    assert node.last_of(Stream) == [Stream(node.CLIENT, node.RUN, (1,))]


def test_a_peer_that_left_is_forgotten(hand: Any) -> None:
    """A lost client or node gets nothing more, until it asks again."""
    node = hand()
    output = node.kind("out", flags=OUTPUT)
    node.say(node.CLIENT, Collect(node.RUN))
    node.say(node.PEER, Want(node.RUN, ints([0])))
    node.happen(Lost(node.CLIENT, "gone"), Lost(node.PEER, "gone"))
    node.plan({0: []}, output)
    node.finish(0)
    assert node.last_of(Deliver) == []
    node.say(node.CLIENT, Collect(node.RUN))

    assert node.last_of(Deliver) == [Deliver(node.CLIENT, node.RUN, (0,))]


def test_an_object_is_done_when_its_value_is_here(hand: Any) -> None:
    """A planned object is no work: its arrival completes it, with the attempt of the plan, in no time."""
    node = hand()
    node.join(node.CLIENT, "client")
    node.plan({0: []}, node.kind("literal", {}, flags=int(Flag.OBJECT)), attempt=2)
    node.plan({1: [0]})
    assert node.given() == []
    node.arrive(0, peer=node.CLIENT, nbytes=2_000_000)
    (report,) = node.said(Report)

    assert (list(report.tasks), list(report.attempts), list(report.nbytes)) == ([0], [2], [2_000_000])
    assert (list(report.seconds), list(report.ages), report.fetched_bytes) == ([0.0], [0.0], 0)
    assert node.given() == [(1,)]


def test_an_object_may_come_before_its_plan(hand: Any) -> None:
    """An upload that overtakes the plan is remembered."""
    node = hand()
    node.join(node.CLIENT, "client")
    node.arrive(0, peer=node.CLIENT)
    node.plan({0: []}, node.kind("literal", {}, flags=int(Flag.OBJECT)))

    assert node.reported() == [0]


def test_unasked_values_are_freed(hand: Any) -> None:
    """An answer for what nobody waits for any more is dropped."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.arrive(1)
    node.finish(10)
    node.release(1)
    assert node.last_of(Drop) == [Drop(node.RUN, (1,))]
    node.arrive(1, peer=node.OTHER)
    assert node.last_of(Drop) == [Drop(node.RUN, (1,))]
    node.arrive(3, run=RunId(77))

    assert node.last_of(Drop) == [Drop(RunId(77), (3,))]


def test_what_is_asked_and_released_in_one_turn_is_sent_before_it_is_freed(hand: Any) -> None:
    """Frees come after all that a turn sends; who asks for what is gone by then is told so."""
    node = hand()
    node.plan({0: []})
    node.finish(0)
    node.happen(Received(COORDINATOR, _release(node.RUN, 0)), Received(node.PEER, Want(node.RUN, ints([9]))))
    assert node.last == [Drop(node.RUN, (0,))]
    node.plan({0: []}, attempt=2)
    node.finish(0)
    node.happen(Received(node.PEER, Want(node.RUN, ints([0]))), Received(COORDINATOR, _release(node.RUN, 0)))

    assert node.last == [Send(node.PEER, Absent(node.RUN, ints([0]))), Drop(node.RUN, (0,))]


def _release(run: RunId, *tasks: int) -> Any:
    from handoff.messages import Release

    return Release(run, ints(tasks))


def test_a_value_released_too_early_is_fetched_again(hand: Any) -> None:
    """A planned task whose input was released before its turn waits, and asks its source again."""
    node = hand({"cpu": 1})
    node.plan({0: []}, urgency=5.0)
    node.plan({10: [1], 11: [0]}, sources={1: node.PEER})
    node.arrive(1)
    node.release(1)
    assert node.said(Want) == []
    node.finish(0, seconds=1.0)
    assert node.said(Want, node.PEER) == [Want(node.RUN, ints([1]))]
    assert node.given() == [(11,)]
    node.arrive(1)
    node.finish(11)

    assert node.given() == [(10,)]


def test_a_value_of_ours_released_too_early_is_told(hand: Any) -> None:
    """When the lost input was made here, the coordinator hears that it can't be had from here."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: [], 10: [0]}, urgency={0: 9.0, 1: 8.0})
    node.finish(0, seconds=1.0)
    node.release(0)
    node.finish(1)

    assert node.said(Unreachable) == [Unreachable(node.RUN, node.ME, ints([0]), is_absent=True)]


def test_a_source_that_nobody_knows_is_waited_for(hand: Any) -> None:
    """An input without a source yet is not asked for; a redirect names it."""
    node = hand()
    node.plan({10: [1]}, sources={1: NOBODY})
    assert node.said(Want) == []
    node.say(COORDINATOR, Redirect(node.RUN, ints([1]), ints([node.PEER])))

    assert node.said(Want, node.PEER) == [Want(node.RUN, ints([1]))]


def test_recalled_tasks_are_given_back_unless_a_worker_has_them(hand: Any) -> None:
    """Ready and waiting tasks of the right attempt come back, and exactly these; what takes them stays and waits."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: [], 2: [1], 3: [], 4: [2]})
    node.plan({3: []}, attempt=2)
    node.recall([0, 1, 2, 3, 99])
    assert node.said(Recalled) == [Recalled(node.RUN, ints([1, 2]), ints([1, 1]))]
    node.finish(0)
    assert node.given() == [(3,)]
    node.say(COORDINATOR, Redirect(node.RUN, ints([2]), ints([node.PEER])))
    assert node.said(Want, node.PEER) == [Want(node.RUN, ints([2]))]
    node.finish(3)
    node.arrive(2)

    assert node.given() == [(4,)]


def test_a_recalled_task_may_come_back(hand: Any) -> None:
    """Planned, recalled while it waits, and planned again: it counts each input once and runs once."""
    node = hand()
    node.plan({5: [1, 2]}, sources={1: node.PEER, 2: node.PEER})
    node.recall([5])
    node.plan({5: [1, 2]}, attempt=2, sources={1: node.PEER, 2: node.PEER})
    node.arrive(1)
    assert node.given() == []
    node.arrive(2)
    assert node.given() == [(5,)]
    node.finish(5)

    assert [list(report.attempts) for report in node.said(Report)] == [[2]]


def test_what_two_nodes_send_is_asked_for_again_when_the_first_link_breaks(hand: Any) -> None:
    """Both may have begun to send it, and what the other one sent has passed by; a link that has nothing to do with it changes nothing."""
    node = hand()
    node.plan({10: [1], 11: [2]}, sources={1: node.PEER, 2: node.OTHER})
    node.say(COORDINATOR, Redirect(node.RUN, ints([1]), ints([node.OTHER])))
    node.happen(Lost(node.PEER, "reset"))
    assert node.said(Want) == [Want(node.RUN, ints([1]))] == node.said(Want, node.OTHER)

    node.arrive(1, peer=node.OTHER)
    node.happen(Lost(node.PEER, "reset"))
    assert node.said(Want) == []
