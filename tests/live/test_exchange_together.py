"""Values of middle size, which travel together: what comes of them, and what of those that are not wanted, gone, or in the way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from exchanges import RUN, SMALL, Two

from handoff.ids import PeerId, RunId
from handoff.machine import Lost
from handoff.node import channels
from handoff.node.events import Arrived, Stream
from handoff.settings import WireSettings
from handoff.transport.bulk import TOGETHER_BYTES_MAX
from handoff.transport.records import EACH_BYTES

MIDDLE = os.urandom(100_000)
AT_ONCE = TOGETHER_BYTES_MAX // (len(MIDDLE) + EACH_BYTES)


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    """Connected."""
    made = Two(WireSettings(), WireSettings())
    await made.open()
    await made.connect()
    yield made
    await made.close()


def middle(task: int) -> bytes:
    """The value of this task."""
    return MIDDLE[task:] + MIDDLE[:task]


def came(two: Two) -> list[tuple[int, ...]]:
    """What arrived since they were connected, as it was told."""
    return [event.tasks for event in two.receiver.of(Arrived)][1:]


async def hand_over(two: Two, wanted: range) -> None:
    """All of these, which are asked for at once."""
    for task in wanted:
        two.keep(middle(task), task)
    two.ask(*wanted)
    await two.until(lambda: all(two.receiver.has(task) for task in wanted))
    await two.until(two.idle)


async def test_they_leave_as_many_together_as_may(two: Two) -> None:
    """In their order, the receiver's brain hears of them at once, and each is what it was."""
    wanted = range(2, 3 + 2 * AT_ONCE)
    await hand_over(two, wanted)
    assert came(two) == [tuple(wanted[:AT_ONCE]), tuple(wanted[AT_ONCE : 2 * AT_ONCE]), tuple(wanted[2 * AT_ONCE :])]
    assert all(two.receiver.has(task) == middle(task) for task in wanted)
    total = len(SMALL) + len(wanted) * len(MIDDLE)
    assert two.receiver.store.resident_bytes == total and not two.receiver.exchange._wanted
    assert [(peer, nbytes) for peer, nbytes, _ in two.receiver.exchange.moved()] == [(1, total)]
    assert not two.sender.exchange._channels._outgoing[PeerId(2)].values


async def test_a_large_one_between_them_goes_alone(two: Two) -> None:
    """And neither overtakes the other."""
    for task in (2, 3, 5, 6):
        two.keep(middle(task), task)
    two.keep(SMALL * 4, 4)
    two.ask(2, 3, 4, 5, 6)
    await two.until(lambda: len(two.receiver.of(Arrived)) == 4)
    assert came(two) == [(2, 3), (4,), (5, 6)] and two.receiver.has(4) == SMALL * 4


async def test_in_the_clear_each_goes_from_its_file() -> None:
    """The kernel sends them: nothing is gathered."""
    two = Two(WireSettings(unencrypted_values=True), WireSettings(unencrypted_values=True))
    await two.open()
    await two.connect()
    await hand_over(two, range(2, 6))
    assert came(two) == [(2,), (3,), (4,), (5,)]
    await two.close()


async def test_those_that_nobody_wants_any_more_pass_by(two: Two) -> None:
    """The others are kept; nothing is told of these."""
    for task in range(2, 7):
        two.keep(middle(task), task)
    two.receiver.exchange._wanted[RUN] = {3, 6}
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (2, 3, 4, 5, 6)))
    await two.until(lambda: two.receiver.has(6))
    assert came(two) == [(3, 6)] and set(two.receiver.store.values(RUN)) == {1, 3, 6}
    assert two.receiver.store.resident_bytes == len(SMALL) + 2 * len(MIDDLE)
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (2, 4)))       # of none of them anything is told
    await hand_over(two, range(7, 9))
    assert came(two) == [(3, 6), (7, 8)]


async def test_of_those_that_are_here_the_first_stays(two: Two) -> None:
    """One that came another way meanwhile is not taken twice, though it is on its way once more."""
    for task in (2, 3):
        two.keep(middle(task), task)
    two.receiver.exchange._wanted[RUN] = {2, 3}
    two.receiver.store.put(RUN, 2, b"first")
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (2, 3)))
    await two.until(lambda: two.receiver.has(3))
    assert two.receiver.has(2) == b"first" and came(two) == [(3,)]


async def test_one_that_is_coming_from_elsewhere_is_ended_there(two: Two) -> None:
    """Whoever is whole first counts, and the memory of the other is free."""
    receiver = two.receiver.exchange._channels
    two.receiver.exchange._wanted[RUN] = {2}
    receiver._landings[RUN, 2] = channels.Landing(PeerId(1), (RUN, 2), two.receiver.store.allot(RUN, 2, len(MIDDLE)))
    receiver._flows.begin(PeerId(1))
    for task in (2, 3):
        two.keep(middle(task), task)
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (2, 3)))
    await two.until(lambda: two.receiver.has(2))
    assert came(two) == [(2,)] and two.receiver.has(2) == middle(2)
    assert not receiver._landings and two.receiver.store.resident_bytes == len(SMALL) + len(MIDDLE)


async def test_those_that_are_gone_are_left_out(two: Two) -> None:
    """Who still wants one of them is told otherwise; the others come."""
    for task in (2, 3, 5):
        two.keep(middle(task), task)
    two.receiver.exchange._wanted[RUN] = {2, 3, 4, 5}
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (2, 3, 4, 5)))
    await two.until(lambda: two.receiver.has(5))
    await two.until(two.idle)
    assert came(two) == [(2, 3), (5,)]


async def test_of_several_runs_each_goes_by_itself(two: Two) -> None:
    """What is said of values that travel together names one run."""
    other = RunId(2)
    for run in (RUN, other):
        for task in (2, 3):
            two.sender.store.put(run, task, channels.received_whole(memoryview(middle(task))))
            two.receiver.exchange._wanted.setdefault(run, set()).add(task)
    queue = channels.Queue([(RUN, 2), (RUN, 3), (other, 2), (other, 3)])
    while queue:
        assert two.sender.exchange._channels.begin(PeerId(2), queue)
    await two.until(lambda: len(two.receiver.of(Arrived)) == 3)
    assert [(event.run, event.tasks) for event in two.receiver.of(Arrived)][1:] == [(RUN, (2, 3)), (other, (2, 3))]


async def test_what_the_socket_does_not_take_goes_on_in_a_thread(two: Two) -> None:
    """Their files stay open until then, and what is asked for meanwhile comes after."""
    two.narrow()
    for task in range(2, 8):
        two.keep(middle(task), task)
    two.receiver.exchange._wanted[RUN] = set(range(2, 9))
    two.sender.exchange.stream(Stream(PeerId(2), RUN, tuple(range(2, 8))))
    assert two.sender.exchange._channels._sending
    two.sender.store.drop(RUN, range(2, 8))
    two.keep(middle(8), 8)
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (8,)))
    await two.until(lambda: two.receiver.has(8))
    assert came(two) == [tuple(range(2, 8)), (8,)] and all(two.receiver.has(task) == middle(task) for task in range(2, 9))
    await two.until(two.idle)
    assert not two.sender.exchange._channels._sending


async def test_with_all_threads_taken_their_files_stay_open_until_one_is_free(two: Two) -> None:
    """They are read when they are sent, though nobody here needs them any more."""
    sender = two.sender.exchange._channels
    others = [channels._Outgoing() for _ in range(channels.THREADS_MAX)]
    sender._sending = set(others)
    for task in (2, 3):
        two.keep(middle(task), task)
    two.receiver.exchange._wanted[RUN] = {2, 3}
    two.sender.exchange.stream(Stream(PeerId(2), RUN, (2, 3)))
    two.sender.store.drop(RUN, (2, 3))
    await two.until(lambda: two.receiver.has(3))
    assert came(two) == [(2, 3)] and two.receiver.has(2) == middle(2)
    sender._sending.clear()


async def test_without_room_for_them_the_link_breaks_and_nothing_is_kept(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a value alone: who waits for them asks again."""
    def full(data: memoryview) -> Any:
        raise MemoryError(f"no room for a value of {len(data):,} bytes on this node")

    monkeypatch.setattr(channels, "received_whole", full)
    for task in (2, 3):
        two.keep(middle(task), task)
    two.ask(2, 3)
    lost = await two.until(lambda: two.receiver.of(Lost))
    assert "no room for a value of 100,000 bytes" in lost[0].reason
    assert two.receiver.store.resident_bytes == len(SMALL) and not came(two)


async def test_others_have_their_turn_between_them(two: Two) -> None:
    """However many wait for one connection."""
    seen: set[int] = set()

    async def others() -> None:
        while len(came(two)) < 4:
            seen.add(len(came(two)))
            await asyncio.sleep(0)

    await asyncio.gather(hand_over(two, range(2, 2 + 4 * AT_ONCE)), others())
    assert {1, 2, 3} <= seen
