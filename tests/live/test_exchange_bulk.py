"""Large values between the exchanges of two nodes: the way that they take, their end on the way, and what is left when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from exchanges import LARGE, RUN, SMALL, Two

from handoff.columns import ints
from handoff.ids import PeerId
from handoff.machine import Lost, Received
from handoff.messages import Absent, Coming
from handoff.node.channels import _Outgoing
from handoff.node.events import Arrived, Stream
from handoff.settings import WireSettings
from handoff.transport.bulk import THREADS_MAX, Channel


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    """Both with the usual settings."""
    made = Two(WireSettings(), WireSettings())
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize(("sends", "takes"), [(False, False), (True, False), (False, True), (True, True)])
async def test_values_go_over_a_connection_of_their_own(sends: bool, takes: bool) -> None:
    """Several over one; in the clear only where both nodes are told so. Small ones do not open any."""
    two = Two(WireSettings(unencrypted_values=sends), WireSettings(unencrypted_values=takes))
    await two.open()
    two.keep(SMALL[:1000], 1)
    two.ask(1)
    await two.until(two.receiver.has)
    assert not two.sender.exchange._channels._outgoing
    two.keep(LARGE, 2)
    two.keep(SMALL, 3)
    two.ask(2, 3)
    await two.until(lambda: len(two.receiver.of(Arrived)) == 3)
    assert (two.receiver.has(2), two.receiver.has(3)) == (LARGE, SMALL)
    assert two.channel().is_clear is (sends and takes)
    await two.until(two.idle)      # the sender sees the end of it a moment later
    assert not two.receiver.exchange._wanted
    assert two.receiver.store.resident_bytes == 1000 + len(LARGE) + len(SMALL)
    assert [(peer, nbytes) for peer, nbytes, _ in two.receiver.exchange.moved()] == [(1, 1000 + len(LARGE) + len(SMALL))]
    await two.close()


@pytest.mark.parametrize("clear", [False, True])
async def test_memory_for_a_value_is_there_before_it_is(clear: bool) -> None:
    """Announced while it is written, taken in a thread, and used; of what nobody wants nothing is taken."""
    two = Two(WireSettings(unencrypted_values=clear), WireSettings(unencrypted_values=clear))
    await two.open()
    two.ask(1)
    await two.until(lambda: two.sender.of(Received))
    for task in (1, 2):
        two.sender.exchange.send(PeerId(2), Coming(RUN, task, 1, len(LARGE)))
    rooms = two.receiver.store._ahead._rooms
    await two.until(lambda: rooms and os.fstat(rooms[RUN, 1].value.fd).st_blocks * 512 >= len(LARGE))
    prepared = rooms[RUN, 1].value
    two.keep(LARGE)
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (1,)))
    await two.until(two.receiver.has)
    assert two.receiver.store.get(RUN, 1) is prepared and two.receiver.has() == LARGE
    assert not rooms and two.receiver.store.resident_bytes == len(LARGE)
    await two.until(two.idle)
    await two.close()


async def test_small_values_leave_in_the_turn_in_which_they_are_asked_for(two: Two) -> None:
    """No task and no thread for them, once the connection stands; several of one turn come in their order."""
    await two.connect()
    for task in (2, 3, 4):
        two.keep(SMALL[: 100_000 + task], task)
        two.receiver.exchange._wanted.setdefault(RUN, set()).add(task)
        two.sender.exchange.stream(Stream(PeerId(2), RUN, (task,)))
        assert not two.sender.exchange._streams and not two.sender.exchange._tasks and not two.sender.exchange._channels._sending
    await two.until(lambda: len(two.receiver.of(Arrived)) == 4)
    assert [event.tasks for event in two.receiver.of(Arrived)] == [(1,), (2,), (3,), (4,)]
    assert two.receiver.has(4) == SMALL[:100_004]


async def test_others_have_their_turn_between_two_values(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait for one connection, and however much its socket takes. These are too large to travel together."""
    turn, sent = 0, []
    send = Channel.send
    monkeypatch.setattr(Channel, "send", lambda *what, **more: (sent.append(turn), send(*what, **more))[1])
    for task in range(1, 6):
        two.keep(SMALL * 2, task)
    two.ask(*range(1, 6))
    async with asyncio.timeout(20):
        while len(two.receiver.of(Arrived)) < 5:
            turn += 1
            await asyncio.sleep(0)
    assert len(set(sent)) == 5


@pytest.mark.parametrize("clear", [False, True])
async def test_a_run_that_ends_while_a_value_is_half_sent_spoils_no_other(clear: bool) -> None:
    """What was begun in the loop is ended by a thread, whoever wants it: what comes behind it begins where it should."""
    two = Two(WireSettings(unencrypted_values=clear), WireSettings(unencrypted_values=clear))
    await two.open()
    await two.connect()
    two.send_half({2, 3})
    two.sender.exchange.drop_run(RUN)
    two.sender.store.drop_run(RUN)
    two.keep(SMALL[::-1], 3)
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (3,)))
    await two.until(lambda: two.receiver.has(3))
    assert two.receiver.has(3) == SMALL[::-1] and not two.receiver.of(Lost) and not two.sender.of(Lost)
    await two.until(two.idle)
    assert not two.sender.exchange._channels._sending
    await two.close()


async def test_a_link_that_breaks_while_a_value_is_half_sent_is_told_once(two: Two) -> None:
    """And the thread that was to send the rest ends, with nothing left behind."""
    await two.connect()
    two.send_half({2})
    channels = two.sender.exchange._channels
    two.sender.exchange._break(PeerId(2), "a test")
    await two.until(lambda: not channels._sending and two.receiver.of(Lost))
    await two.until(two.idle)
    assert len(two.sender.of(Lost)) == 1 and two.receiver.store.resident_bytes == len(SMALL)


@pytest.mark.parametrize("end", ["sender", "receiver"])
async def test_a_system_without_threads_breaks_a_link_and_not_a_node(two: Two, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The effects of a brain raise nothing: else its node ends."""
    await two.connect()

    def submit(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    channels = getattr(two, end).exchange._channels
    monkeypatch.setattr(channels._senders if end == "sender" else channels._receivers, "submit", submit)
    two.keep(LARGE, 2)
    two.receiver.exchange._wanted[RUN] = {2}
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (2,)))
    assert "no thread" in (await two.until(lambda: getattr(two, end).of(Lost)))[0].reason
    await two.until(lambda: two.sender.of(Lost) and two.receiver.of(Lost))
    await two.until(two.idle)
    assert two.receiver.store.resident_bytes == len(SMALL) and not two.sender.exchange._channels._outgoing


async def test_with_all_threads_taken_nothing_begins_before_one_is_free(two: Two) -> None:
    """See `Channel.send`."""
    await two.connect()
    channels, asked = two.sender.exchange._channels, []
    send = two.channel().send
    two.channel().send = lambda *what: (asked.append(what[-1]), send(*what))[1]
    others = [_Outgoing() for _ in range(THREADS_MAX)]
    for each in (others, others[1:]):
        channels._sending = set(each)
        two.keep(SMALL, 2)
        two.ask(2)
        await two.until(lambda: two.receiver.has(2))
        await two.until(two.idle)
        two.receiver.store.drop(RUN, [2])
    assert asked == [False, True]
    channels._sending.clear()


async def test_memory_is_taken_only_for_what_was_asked_for(two: Two) -> None:
    """A value that comes unasked passes by, is stopped soon, and the next one comes over the same connection."""
    two.keep(LARGE * 2, 1)
    two.keep(SMALL, 2)
    two.ask(2)
    await two.until(lambda: two.receiver.has(2))
    channel = two.channel()
    sent = _count_pieces(channel)
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (1,)))
    await two.until(lambda: sent)
    await two.until(two.idle)
    assert 0 < sum(sent) < len(LARGE) * 2
    assert two.receiver.store.resident_bytes == len(SMALL) and not two.receiver.has(1)
    two.keep(SMALL, 3)
    two.ask(3)
    await two.until(lambda: two.receiver.has(3))
    assert two.channel() is channel


def _count_pieces(channel: Any) -> list[int]:
    """What is sealed from now on, other than heads."""
    sent: list[int] = []
    seal = channel._seal.seal

    class Counting:
        def seal(self, plain: Any, about: Any, into: Any) -> None:
            if about != b"head":
                sent.append(len(plain))
            seal(plain, about, into)

    channel._seal = Counting()
    return sent


async def test_a_value_dropped_on_its_way_is_stopped_and_freed(two: Two) -> None:
    """The receiver does not want it any more: its memory goes at once, the sender stops, and nothing arrives."""
    two.keep(LARGE * 4)
    two.ask(1)
    await two.until(lambda: two.receiver.exchange._channels._landings)
    two.receiver.exchange.drop(RUN, [1])
    two.receiver.store.drop(RUN, [1])
    assert two.receiver.store.resident_bytes == 0
    await two.until(two.idle)
    two.keep(SMALL, 2)
    two.ask(2)
    await two.until(lambda: two.receiver.has(2))
    assert [event.tasks for event in two.receiver.of(Arrived)] == [(2,)] and not two.receiver.of(Lost)


async def test_a_value_that_its_sender_drops_on_the_way_is_told_absent(two: Two) -> None:
    """The run is over there: who still waits hears so, and its memory is free."""
    two.keep(LARGE * 4)
    two.ask(1)
    await two.until(lambda: two.receiver.exchange._channels._landings)
    two.sender.exchange.drop_run(RUN)
    await two.until(lambda: two.receiver.of(Received))
    assert [event.message for event in two.receiver.of(Received)] == [Absent(RUN, ints([1]))]
    await two.until(two.idle)
    assert two.receiver.store.resident_bytes == 0 and not two.receiver.of(Arrived)


async def test_a_connection_that_breaks_on_the_way_is_a_link_that_broke(two: Two) -> None:
    """Both are told, what was half here is freed, and the value comes when it is asked for again."""
    two.keep(LARGE * 2)
    two.ask(1)
    await two.until(lambda: two.receiver.exchange._channels._landings)
    two.channel()._sock.shutdown(2)
    await two.until(lambda: two.receiver.of(Lost) and two.sender.of(Lost))
    assert two.receiver.store.resident_bytes == 0 and not two.receiver.exchange._links
    await two.until(two.idle)
    two.ask(1)
    assert await two.until(two.receiver.has) == LARGE * 2


@pytest.mark.parametrize("at", ["receiver", "sender"])
async def test_without_bulk_connections_values_come_over_the_link(two: Two, at: str, caplog: pytest.LogCaptureFixture) -> None:
    """The receiver can't dial, or its calls do not get through: the log says so, once, and everything arrives."""
    two.keep(SMALL[:1000], 3)
    two.ask(3)
    await two.until(lambda: two.receiver.has(3))
    if at == "receiver":
        two.receiver.exchange._addresses.clear()
    else:
        two.sender.exchange._channels._settings = replace(two.sender.settings, handshake_seconds=0.05)
        two.receiver.exchange._channels.offered = lambda peer, offer: None  # type: ignore[method-assign]
    caplog.set_level(logging.WARNING)
    two.keep(LARGE, 1)
    two.keep(SMALL, 2)
    two.ask(1, 2)
    await two.until(lambda: len(two.receiver.of(Arrived)) == 3)
    assert (two.receiver.has(1), two.receiver.has(2)) == (LARGE, SMALL)
    assert caplog.text.count("bulk.unreachable") == 1


async def test_who_says_nonsense_to_the_port_gets_nothing(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    """Not a byte of an answer; the log says why; and values go on meanwhile."""
    caplog.set_level(logging.WARNING)
    for said in (b"HELLO " * 100, b"HBLK1" + bytes(33)):
        reader, writer = await asyncio.open_connection("127.0.0.1", two.sender.listener.port)
        writer.write(said)
        writer.write_eof()
        with contextlib.suppress(ConnectionResetError):   # what it said was not even read
            assert await reader.read() == b""
        writer.close()
    text = caplog.text
    assert text.count("link.refused") == 2 and "not the greeting of a bulk connection" in text and "that nobody offered" in text
    two.keep(LARGE)
    two.ask(1)
    assert await two.until(two.receiver.has) == LARGE
