"""Bulk connections: what is agreed on, proven and carried, and what a mistaken or hostile other end gets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import termios
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from handoff.errors import ConnectionLost, LinkError, ProtocolError
from handoff.greetings import OfferBulk
from handoff.node.shared_memory import SharedValue, write_shared
from handoff.settings import KIB
from handoff.transport import bulk, spares
from handoff.transport.bulk import (
    AT_ONCE_BYTES,
    AT_ONCE_PIECE_BYTES,
    HEAD_FIRST_BYTES,
    TOGETHER_BYTES_MAX,
    Channel,
    take_values,
    threads,
)
from handoff.transport.records import EACH_BYTES, HEAD_BYTES, MAGIC, Head, Kind, greeting, sealed_head, whose
from handoff.transport.spares import BUFFER_BYTES_MAX, BUFFERS_MAX, PIPE_BYTES, PIPES_MAX, Buffers, Pipe, Pipes
from handoff.transport.tickets import Tickets, dial_bulk
from handoff.trust.sealing import TAG_BYTES, Seal

PIECE = 16 * KIB
VALUE = os.urandom(5 * PIECE + 123)
SECONDS = 5.0


class Kept:
    """A value as it came."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.longest = 0

    def write(self, piece: memoryview) -> None:
        """Add it."""
        self.data += piece
        self.longest = max(self.longest, len(piece))

    def splice(self, pipe: int, nbytes: int) -> None:
        """Add them."""
        self.longest = max(self.longest, nbytes)
        while nbytes:
            piece = os.read(pipe, nbytes)
            self.data += piece
            nbytes -= len(piece)


class Rack:
    """Values that came together."""

    def __init__(self) -> None:
        self.values: dict[int, bytes] = {}

    def several(self, values: list[tuple[int, memoryview]]) -> None:
        """Keep them."""
        self.values.update((task, bytes(data)) for task, data in values)


class Pair:
    """Both ends of bulk connections in one process, with whatever a test puts between them."""

    def __init__(self) -> None:
        self.tickets = Tickets()
        self.refused: list[str] = []
        self.came: list[tuple[Head, Kept, bool]] = []
        self.sending, self.receiving = threads("send"), threads("receive")
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        self.address: tuple[str, int] = self._server.getsockname()
        self._accepting = asyncio.create_task(self._accept())
        self.channels: list[Channel] = []

    async def _accept(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self._server)
            try:
                await self.tickets.greet(sock)
            except ProtocolError as error:
                self.refused.append(str(error))
                sock.close()

    async def open(
        self, offers_clear: bool = False, allows_clear: bool = False, address: Any = None, piece_bytes: int = PIECE
    ) -> tuple[Channel, Channel]:
        """The sender's end and the receiver's."""
        offer = self.tickets.offer(offers_clear, piece_bytes)
        theirs = await dial_bulk(address or self.address, offer, allows_clear, SECONDS)
        ours = await self.tickets.dialled(offer, SECONDS)
        self.channels += [ours, theirs]
        return ours, theirs

    async def take(self, channel: Channel) -> None:
        """Receive until the end."""
        await take_values(channel, self.receiving, lambda _: Kept(), lambda *what: self.came.append(what))  # type: ignore[arg-type]

    async def send(self, channel: Channel, value: SharedValue, task: int = 1, is_stopped: Callable[[], bool] = lambda: False) -> bool:
        """All of it."""
        rest = channel.send(self.sending, 7, task, value.fd, value.nbytes, is_stopped)
        return rest is None or await rest

    async def close(self) -> None:
        """Leave nothing open."""
        for channel in self.channels:
            channel.end()
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._server.close()
        self.sending.shutdown()
        self.receiving.shutdown()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two ends."""
    made = Pair()
    yield made
    await made.close()


def shared(data: bytes = VALUE) -> SharedValue:
    """A value in a file."""
    return write_shared([data], len(data))


@pytest.mark.parametrize(("offers", "allows"), [(False, False), (True, False), (False, True), (True, True)])
async def test_values_arrive_as_they_were(pair: Pair, offers: bool, allows: bool) -> None:
    """One after the other, of any length, no piece larger than agreed; in the clear only where both ends allow it."""
    ours, theirs = await pair.open(offers, allows)
    taking = asyncio.create_task(pair.take(theirs))
    values = [VALUE, b"x", VALUE[:PIECE], VALUE * 20, VALUE[: 2 * PIECE]]
    for number, value in enumerate(values):
        assert await pair.send(ours, shared(value), number)
    ours.end()
    await taking
    assert [bytes(kept.data) for _, kept, _ in pair.came] == values
    assert [(head.run, head.task, head.total) for head, _, _ in pair.came] == [(7, n, len(each)) for n, each in enumerate(values)]
    assert all(is_whole for _, _, is_whole in pair.came)
    assert ours.is_clear is theirs.is_clear is (offers and allows)
    assert max(kept.longest for _, kept, _ in pair.came) <= (8 * PIECE if ours.is_clear else PIECE)


async def test_pieces_of_small_values_are_short(pair: Pair) -> None:
    """So that one is opened while the next is sealed; those of large values are as long as was agreed."""
    ours, theirs = await pair.open(piece_bytes=512 * KIB)
    taking = asyncio.create_task(pair.take(theirs))
    values = [os.urandom(AT_ONCE_BYTES), os.urandom(AT_ONCE_BYTES + 1)]
    for number, value in enumerate(values):
        assert await pair.send(ours, shared(value), number)
    ours.end()
    await taking
    assert [bytes(kept.data) for _, kept, _ in pair.came] == values
    assert [kept.longest for _, kept, _ in pair.came] == [AT_ONCE_PIECE_BYTES, 512 * KIB]


async def test_what_is_longer_than_its_pipe_goes_through_it_in_turns(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system allows one page only."""
    monkeypatch.setattr(spares, "PIPE_BYTES", 4 * KIB)
    monkeypatch.setattr(bulk, "_pipes", Pipes())
    ours, theirs = await pair.open(True, True)
    taking = asyncio.create_task(pair.take(theirs))
    assert await pair.send(ours, shared(VALUE * 20))
    ours.end()
    await taking
    assert [(bytes(kept.data), kept.longest) for _, kept, _ in pair.came] == [(VALUE * 20, 4 * KIB)]


async def test_a_pipe_in_which_something_is_left_is_not_used_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be kept must not become the beginning of another value."""
    monkeypatch.setattr(bulk, "_pipes", Pipes())

    class Full(Kept):
        def splice(self, pipe: int, nbytes: int) -> None:
            raise OSError(errno.ENOSPC, "no space left")

    ours, theirs = await pair.open(True, True)
    assert await pair.send(ours, shared())
    with pytest.raises(OSError, match="no space left"):
        await take_values(theirs, pair.receiving, lambda _: Full(), lambda *_: None)
    assert not bulk._pipes._spare
    ours, theirs = await pair.open(True, True)
    assert await pair.send(ours, shared())
    ours.end()
    await pair.take(theirs)
    assert [bytes(kept.data) for _, kept, _ in pair.came] == [VALUE]
    assert len(bulk._pipes._spare) == 1


@pytest.mark.parametrize("clear", [False, True])
async def test_a_channel_that_waits_for_the_next_value_holds_nothing_of_the_last(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, clear: bool
) -> None:
    """Neither where that went, nor its pipe: a node has a channel to each of the others."""
    monkeypatch.setattr(bulk, "_pipes", Pipes())
    monkeypatch.setattr(spares, "PIPES_MAX", 0)
    ours, theirs = await pair.open(clear, clear)
    before = len(os.listdir("/proc/self/fd"))
    for total in (PIECE, AT_ONCE_BYTES + 1):
        sending = asyncio.create_task(pair.send(ours, shared(bytes(total))))
        head, sink = await theirs.head(), Kept()
        assert head is not None and await theirs.receive(pair.receiving, head, sink)
        assert len(sink.data) == total and await sending
        del sending
        gone = weakref.ref(sink)
        del sink
        assert gone() is None
        assert len(os.listdir("/proc/self/fd")) == before


class Counting(ThreadPoolExecutor):
    """Threads, and how often one was asked for."""

    asked = 0

    def submit(self, *work: Any, **options: Any) -> Any:
        """Count it."""
        self.asked += 1
        return super().submit(*work, **options)


def here(channel: Channel) -> int:
    """How many bytes came and were not read."""
    found = bytearray(4)
    fcntl.ioctl(channel._sock, termios.FIONREAD, found)
    return int.from_bytes(found, "little")


@pytest.mark.parametrize("clear", [False, True])
async def test_a_small_value_takes_no_thread(pair: Pair, clear: bool) -> None:
    """Where the socket takes all of it, and all of it is there when it is read, the loop moves it."""
    ours, theirs = await pair.open(clear, clear)
    value, travels = shared(), len(VALUE) + (HEAD_BYTES if clear else 6 * (HEAD_BYTES + TAG_BYTES))
    with Counting(1) as sends, Counting(1) as takes:
        assert ours.send(sends, 7, 1, value.fd, value.nbytes, lambda: False) is None
        async with asyncio.timeout(SECONDS):
            while here(theirs) < travels:
                await asyncio.sleep(0.001)
        head, kept = await theirs.head(), Kept()
        assert head is not None
        assert await theirs.receive(takes, head, kept)
        assert (sends.asked, takes.asked, kept.data) == (0, 0, VALUE)


@pytest.mark.parametrize("clear", [False, True])
async def test_what_the_socket_does_not_take_or_have_waits_in_a_thread(pair: Pair, clear: bool) -> None:
    """Both ends go on there where the loop had to stop; nothing is lost or said twice, and the next value comes as ever."""
    ours, theirs = await pair.open(clear, clear)
    ours._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    data = VALUE * 20
    assert HEAD_FIRST_BYTES < len(data) <= AT_ONCE_BYTES
    value = shared(data)
    with Counting(1) as sends, Counting(1) as takes:
        rest = ours.send(sends, 7, 1, value.fd, value.nbytes, lambda: False)
        assert rest is not None and sends.asked == 1
        head, kept = await theirs.head(), Kept()
        assert head is not None
        async with asyncio.timeout(SECONDS):
            assert await theirs.receive(takes, head, kept)
            assert await rest and takes.asked == 1 and kept.data == data
    taking = asyncio.create_task(pair.take(theirs))
    assert await pair.send(ours, shared(), 2)
    ours.end()
    await taking
    assert [(head.task, bytes(kept.data)) for head, kept, _ in pair.came] == [(2, VALUE)]


@pytest.mark.parametrize("clear", [False, True])
async def test_nothing_is_said_in_the_loop_where_no_thread_is_free_for_the_rest(pair: Pair, clear: bool) -> None:
    """Else a thread of the receiver may wait for one of the sender, and that one for one of a third: not a byte leaves before."""
    ours, theirs = await pair.open(clear, clear)
    value, begin = shared(), threading.Event()
    with ThreadPoolExecutor(1) as one:
        one.submit(begin.wait, SECONDS)
        rest = ours.send(one, 7, 1, value.fd, value.nbytes, lambda: False, at_once=False)
        assert rest is not None and here(theirs) == 0
        begin.set()
        taking = asyncio.create_task(pair.take(theirs))
        assert await rest
    ours.end()
    await taking
    assert [bytes(kept.data) for _, kept, _ in pair.came] == [VALUE]


async def test_others_have_their_turn_between_two_values(pair: Pair) -> None:
    """Also where all of them are here, and nothing has to be waited for."""
    ours, theirs = await pair.open()
    for number in range(3):
        assert await pair.send(ours, shared(), number)
    ours.end()
    turns: list[int] = []

    async def others() -> None:
        while len(pair.came) < 3:
            turns.append(len(pair.came))
            await asyncio.sleep(0)

    await asyncio.gather(pair.take(theirs), others())
    assert {1, 2} <= set(turns)


def test_few_buffers_are_kept_and_no_large_ones() -> None:
    """However many values were on their way at once."""
    buffers = Buffers()
    buffers.give(memoryview(bytearray(BUFFER_BYTES_MAX + 1)), memoryview(b""))
    assert not buffers._spare
    several = [buffers.take(PIECE) for _ in range(2 * BUFFERS_MAX)]
    buffers.give(*several)
    assert len(buffers._spare) == BUFFERS_MAX
    assert buffers.take(PIECE) is several[BUFFERS_MAX] and len(buffers.take(PIECE + 1)) == PIECE + 1


def test_buffers_of_a_length_that_is_not_asked_for_make_room() -> None:
    """Else those of small values would be fresh each time, once eight of large ones are kept."""
    buffers = Buffers()
    buffers.give(*[memoryview(bytearray(PIECE)) for _ in range(BUFFERS_MAX)])
    other = memoryview(bytearray(PIECE + 1))
    buffers.give(other)
    assert len(buffers._spare) == BUFFERS_MAX
    assert buffers.take(PIECE + 1) is other


def test_few_pipes_are_kept_and_the_others_are_closed() -> None:
    """However many values were on their way at once."""
    pipes = Pipes()
    several = [pipes.take() for _ in range(2 * PIPES_MAX)]
    kept, ends = several[:PIPES_MAX], [(pipe.inlet, pipe.outlet) for pipe in several]
    for pipe in several:
        pipes.give(pipe)
    del several, pipe
    assert pipes.take() in kept
    for at, both in enumerate(ends):
        for fd in both:
            assert is_open(fd) is (at < PIPES_MAX)


def test_a_pipe_that_may_not_be_large_is_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root may have only so many pages in pipes."""
    assert Pipe().nbytes == PIPE_BYTES
    ask = fcntl.fcntl

    def refuse(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError
        return ask(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    assert 0 < Pipe().nbytes < PIPE_BYTES


def is_open(fd: int) -> bool:
    """Whether that is a descriptor of ours."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("clear", [False, True])
async def test_a_value_that_is_stopped_ends_there_and_the_next_comes(pair: Pair, clear: bool) -> None:
    """The receiver is told that the rest will not come; the connection stays."""
    ours, theirs = await pair.open(clear, clear)
    taking = asyncio.create_task(pair.take(theirs))
    looks = iter([False, True])
    assert not await pair.send(ours, shared(VALUE * 40), 1, lambda: next(looks))
    assert await pair.send(ours, shared(), 2)
    ours.end()
    await taking
    (_, part, is_whole), (_, kept, next_is_whole) = pair.came
    assert not is_whole and 0 < len(part.data) < len(VALUE * 40) and (VALUE * 40).startswith(part.data)
    assert next_is_whole and kept.data == VALUE


async def test_what_travels_can_not_be_read_unless_both_say_so(pair: Pair) -> None:
    """On the wire: neither the bytes nor which value they are of; in the clear the bytes are there."""
    seen = []
    for clear in (False, True):
        between = await Between.of(pair)
        ours, theirs = await pair.open(clear, clear, between.address)
        taking = asyncio.create_task(pair.take(theirs))
        await pair.send(ours, shared())
        ours.end()
        await taking
        seen.append(bytes(between.passed))
        await between.close()
    assert [VALUE[:PIECE] in each for each in seen] == [False, True]
    assert all(Head(1, 7, 1, len(VALUE), 0).pack() not in each for each in seen)  # type: ignore[arg-type]


class Between:
    """Somebody on the network: passes on what the sender says, changed as a test likes."""

    def __init__(self, change: Callable[[bytearray], bytearray | None]) -> None:
        self._change = change          # of all that was said so far and not passed on: what to pass on; None: hang up
        self.passed = bytearray()

    @classmethod
    async def of(cls, pair: Pair, change: Callable[[bytearray], bytearray | None] = bytearray) -> Between:
        """Between a pair's ends."""
        made = cls(change)
        made._target = pair.address
        made._server = await asyncio.start_server(made._pass, "127.0.0.1", 0)
        made.address = made._server.sockets[0].getsockname()
        return made

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_sender, to_sender = await asyncio.open_connection(*self._target)
        to_sender.write(await reader.read(1000))     # the greeting
        said = bytearray()
        while data := await from_sender.read(1 << 16):
            said += data
        changed = self._change(said)
        if changed is not None:
            self.passed += changed
            writer.write(changed)
            await writer.drain()
        writer.close()
        to_sender.close()

    async def close(self) -> None:
        """No more."""
        self._server.close()
        await self._server.wait_closed()

    _target: tuple[str, int]
    _server: asyncio.Server
    address: tuple[str, int]


RECORD = HEAD_BYTES + PIECE + TAG_BYTES


def flip(at: int) -> Callable[[bytearray], bytearray]:
    """Change one bit."""
    return lambda said: said[:at] + bytes([said[at] ^ 1]) + said[at + 1 :]


@pytest.mark.parametrize(("change", "complaint"), [
    (flip(3), "does not open"),
    (flip(HEAD_BYTES + 5), "does not open"),
    (flip(3 * RECORD + HEAD_BYTES + PIECE + 2), "does not open"),
    (lambda said: said[:RECORD] + said[2 * RECORD : 3 * RECORD] + said[RECORD : 2 * RECORD] + said[3 * RECORD :], "does not open"),
    (lambda said: said[:RECORD] + said, "does not open"),
    (lambda said: said[:RECORD] + said[2 * RECORD :], "does not open"),
    (lambda said: said[: 2 * RECORD], "in the middle of a value"),
    (lambda said: said[: 2 * RECORD + 100], "in the middle of a value"),
    (lambda said: said[:10], "within a head"),
], ids=["head", "bytes", "tag", "swapped", "repeated", "left out", "cut between pieces", "cut within one", "cut within a head"])
async def test_nothing_is_believed_that_was_changed_on_its_way(pair: Pair, change: Any, complaint: str) -> None:
    """No value is complete, and the reason is said."""
    between = await Between.of(pair, change)
    ours, theirs = await pair.open(address=between.address)
    taking = asyncio.create_task(pair.take(theirs))
    await pair.send(ours, shared())
    ours.end()
    with pytest.raises(LinkError, match=complaint):
        await taking
    assert not pair.came
    await between.close()


def together(pair: Pair, ours: Channel, *values: bytes) -> asyncio.Future[bool] | None:
    """Send these so; they are of tasks 1, 2, and so on."""
    files = [shared(value) for value in values]
    rest = ours.send_several(pair.sending, 7, [(task, value.fd, value.nbytes) for task, value in enumerate(files, 1)])
    if rest is not None:
        rest.add_done_callback(lambda _: files.clear())
    return rest


@pytest.mark.parametrize("thread", [False, True])
async def test_values_that_travel_together_arrive_as_they_were(pair: Pair, thread: bool) -> None:
    """Sent and received by the loop; or by threads, where the socket does not take all of them or all are not there yet."""
    ours, theirs = await pair.open()
    if thread:
        ours._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    values = [VALUE, b"x", VALUE * 10 if thread else b"yz"]
    rest = together(pair, ours, *values)
    assert (rest is not None) is thread
    with Counting(1) as takes:
        head, rack = await theirs.head(), Rack()
        assert head is not None and head.task == len(values)
        if not thread:
            async with asyncio.timeout(SECONDS):
                while here(theirs) < head.total + TAG_BYTES:
                    await asyncio.sleep(0.001)
        assert await theirs.receive(takes, head, rack)
        assert takes.asked <= int(thread) and rack.values == dict(enumerate(values, 1))
    assert rest is None or await rest


@pytest.mark.parametrize(("change", "complaint"), [
    (flip(3), "does not open"),
    (flip(HEAD_BYTES + 2), "does not open"),
    (flip(HEAD_BYTES + 2 * EACH_BYTES + 5), "does not open"),
    (lambda said: said[:-1], "in the middle of a value"),
], ids=["head", "whose they are", "bytes", "cut"])
async def test_of_values_together_nothing_is_believed_that_was_changed(pair: Pair, change: Any, complaint: str) -> None:
    """None of them is kept, since all are sealed as one; and nobody can read whose they are."""
    between = await Between.of(pair, change)
    ours, theirs = await pair.open(address=between.address)
    rack = Rack()
    taking = asyncio.create_task(take_values(theirs, pair.receiving, lambda _: rack, lambda *_: None))
    together(pair, ours, VALUE, VALUE[:PIECE])
    ours.end()
    with pytest.raises(LinkError, match=complaint):
        await taking
    assert not rack.values and whose([(1, len(VALUE)), (2, PIECE)]) not in between.passed
    await between.close()


@pytest.mark.parametrize(("head", "complaint"), [
    (Head(Kind.SEVERAL, 7, 3, TOGETHER_BYTES_MAX + 1, 0), "to be 983040 at most"),
    (Head(Kind.SEVERAL, 7, 2, 1000, 0), "said to have"),
])
async def test_who_says_more_than_may_travel_together_is_refused(pair: Pair, head: Head, complaint: str) -> None:
    """Also by who knows the key, before memory is taken; as who says something else of them than what there is."""
    ours, theirs = await pair.open()
    data, sealed = bytes(min(head.total, 2000)), bytearray(min(head.total, 2000) + TAG_BYTES)
    said = sealed_head(head, ours._seal)
    ours._seal.seal(data, head.pack(), memoryview(sealed))
    ours._sock.send(said + sealed)
    rack = Rack()
    with pytest.raises(ProtocolError, match=complaint):
        await take_values(theirs, pair.receiving, lambda _: rack, lambda *_: None)
    assert not rack.values and theirs.ended


@pytest.mark.parametrize("clear_head", [0, HEAD_BYTES + 8 * PIECE])
async def test_in_the_clear_which_bytes_are_whose_is_still_sealed(pair: Pair, clear_head: int) -> None:
    """Changed heads are noticed, though changed bytes are not."""
    between = await Between.of(pair, flip(clear_head + 4))
    ours, theirs = await pair.open(True, True, between.address)
    taking = asyncio.create_task(pair.take(theirs))
    await pair.send(ours, shared(VALUE * 2))
    ours.end()
    with pytest.raises(LinkError, match="does not open"):
        await taking
    await between.close()


def stranger(offer: OfferBulk) -> dict[str, bytes]:
    """What somebody says who does not know the key, or says what was not offered."""
    seal = Seal(offer.key, b"greeting")
    return {
        "garbage": b"HELLO, is this a printer? " * 10,
        "no such offer": greeting(b"x" * 16, False, seal),
        "another key": greeting(offer.ticket, False, Seal(b"o" * 32, b"greeting")),
        "in the clear": greeting(offer.ticket, True, Seal(offer.key, b"greeting")),
        "too short": MAGIC + offer.ticket,
    }


@pytest.mark.parametrize(("said", "complaint"), [
    ("garbage", "not the greeting"), ("no such offer", "nobody offered"), ("another key", "does not know its key"),
    ("in the clear", "in the clear, where an encrypted one was offered"), ("too short", "hung up within the greeting"),
])
async def test_who_does_not_prove_the_key_gets_nothing(pair: Pair, said: str, complaint: str) -> None:
    """Not a byte; the reason is known here, and the offer still holds for whom it was made for."""
    offer = pair.tickets.offer(False, PIECE)
    waiting = asyncio.create_task(pair.tickets.dialled(offer, SECONDS))
    await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection(*pair.address)
    writer.write(stranger(offer)[said])
    writer.write_eof()
    with contextlib.suppress(ConnectionResetError):   # what it said was not even read
        assert await reader.read() == b""
    writer.close()
    assert len(pair.refused) == 1 and complaint in pair.refused[0]
    theirs = await dial_bulk(pair.address, offer, False, SECONDS)
    pair.channels += [theirs, await waiting]
    assert not theirs.is_clear


async def test_an_offer_is_good_once(pair: Pair) -> None:
    """A greeting that is repeated, even by who knows the key, opens nothing."""
    offer = pair.tickets.offer(False, PIECE)
    waiting = asyncio.create_task(pair.tickets.dialled(offer, SECONDS))
    pair.channels += [await dial_bulk(pair.address, offer, False, SECONDS), await waiting]
    again = await dial_bulk(pair.address, offer, False, SECONDS)
    pair.channels.append(again)
    with contextlib.suppress(ConnectionResetError):
        assert await again.head() is None
    assert pair.refused == ["a bulk connection that nobody offered, or that came before"]


async def test_an_offer_that_is_declined_or_ignored_ends(pair: Pair) -> None:
    """Who offered hears the reason, or waits so long and no longer; then the offer is void."""
    offer = pair.tickets.offer(False, PIECE)
    asyncio.get_running_loop().call_soon(pair.tickets.declined, offer.ticket, "a firewall")
    with pytest.raises(ConnectionLost, match="a firewall"):
        await pair.tickets.dialled(offer, SECONDS)
    with pytest.raises(TimeoutError):
        await pair.tickets.dialled(pair.tickets.offer(False, PIECE), 0.01)
    assert not pair.tickets._offers


@pytest.mark.parametrize("wrong", [{"key": b"short"}, {"ticket": b""}, {"piece_bytes": 0}, {"piece_bytes": 1 << 40}])
async def test_offers_that_make_no_sense_are_not_dialled(pair: Pair, wrong: dict[str, Any]) -> None:
    """Nor is any memory taken for them."""
    with pytest.raises(ProtocolError, match="an offer of a bulk connection"):
        await dial_bulk(pair.address, replace(pair.tickets.offer(False, PIECE), **wrong), False, SECONDS)


async def test_a_peer_that_does_not_answer_is_an_error_that_says_so(pair: Pair) -> None:
    """An offer for which there is no time left stands for one whose other end never answers."""
    with pytest.raises(ConnectionLost, match=r"can't open a bulk connection: TimeoutError$"):
        await dial_bulk(pair.address, pair.tickets.offer(False, PIECE), False, 0.0)


async def test_a_channel_that_is_ended_wakes_its_threads(pair: Pair) -> None:
    """A sender whose receiver reads nothing, and a receiver whose sender says nothing, fail at once, and their sockets are closed."""
    ours, theirs = await pair.open()
    sending = asyncio.create_task(pair.send(ours, shared(bytes(64 * 1024 * KIB))))
    head = await theirs.head()
    assert head is not None
    started = threading.Event()

    class Blocked(Kept):
        def write(self, piece: memoryview) -> None:
            started.set()

    with ThreadPoolExecutor(1) as one:
        receiving = asyncio.create_task(theirs.receive(one, head, Blocked()))
        await asyncio.get_running_loop().run_in_executor(None, started.wait, SECONDS)
        theirs.end()
        ours.end()
        for work in (sending, receiving):
            with pytest.raises((OSError, LinkError)):
                await work
    assert ours._sock.fileno() == theirs._sock.fileno() == -1


async def test_a_channel_that_is_ended_leaves_its_number_to_others(pair: Pair) -> None:
    """Also while the loop waits in it for the next value: it would watch that number for who was closed, not for who has it now."""
    _, theirs = await pair.open()
    waiting = asyncio.create_task(theirs.head())
    await asyncio.sleep(0)
    theirs.end()
    async with asyncio.timeout(SECONDS):
        assert await waiting is None     # the loop has let go of it,
    assert theirs._sock.fileno() == -1   # and then it was closed


async def test_nothing_begins_on_a_channel_that_is_ended_as_it_comes(pair: Pair) -> None:
    """A link may break in the very turn in which a head came: the value would be waited for, and its memory held, until its run ends."""
    ours, theirs = await pair.open()
    assert await pair.send(ours, shared())
    head, placed = theirs.head, []

    async def head_and_end() -> Head | None:
        found = await head()
        theirs.end()
        return found

    theirs.head = head_and_end  # type: ignore[method-assign]
    await take_values(theirs, pair.receiving, lambda first: (placed.append(first), Kept())[1], lambda *_: None)
    assert placed == []
