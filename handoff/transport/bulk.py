"""Connections for large values: beside the TLS link of two peers, agreed on over it, with a key of their own.

Who has a value offers such a connection over the link (`Tickets.offer`), the other end dials it (`dial_bulk`), proves that it knows the
key, and gets one value after the other (`take_values`). Python's TLS moves a quarter to a half of what the socket would carry; here threads
move large pieces, and the system calls and the cipher let the event loop run meanwhile. Neither end has more than two pieces of a value in
its own memory: they come from a file and go to one. In the clear, which both ends have to allow, the kernel sends from the file itself;
what says which bytes are whose stays sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol

from handoff.errors import ConnectionLost, ProtocolError
from handoff.greetings import OfferBulk
from handoff.transport.dial import connect
from handoff.transport.records import (
    GREETING_BYTES,
    HEAD_BYTES,
    PIECE_BYTES_MAX,
    TICKET_BYTES,
    Head,
    Kind,
    greeting,
    opened_head,
    proven,
    sealed_head,
    ticket_in,
)
from handoff.trust.sealing import KEY_BYTES, TAG_BYTES, Seal, fresh_key

CLEAR_PIECES = 8                 # the kernel sends from the file, so pieces in the clear may be longer
CLEAR_READ_BYTES = 256 * 1024    # of what comes in the clear; it stays in the processor's cache on its way to the file
THREADS_MAX = 8                  # values on their way at once, in each direction: further ones wait


class Sink(Protocol):
    """Where the bytes of a value go. Called in another thread, in order."""

    def write(self, piece: memoryview) -> None:
        """Keep these; the buffer is used again."""


def threads(what: str) -> ThreadPoolExecutor:
    """For one direction: if both shared their threads, two peers could wait for each other, each with nobody left to read."""
    return ThreadPoolExecutor(THREADS_MAX, thread_name_prefix=f"handoff-{what}")


class Channel:
    """A bulk connection whose dialler has proven itself: values go one way, one at a time."""

    def __init__(self, sock: socket.socket, key: bytes, is_clear: bool, piece_bytes: int) -> None:
        self.is_clear, self.ended = is_clear, False
        self._sock, self._seal = sock, Seal(key, b"values")
        self._piece_bytes = piece_bytes * CLEAR_PIECES if is_clear else piece_bytes
        self._busy = threading.Lock()

    def end(self) -> None:
        """Nothing more goes over it; a thread that waits in it wakes up and fails. Closed as soon as nobody is in it."""
        self.ended = True
        with contextlib.suppress(OSError):   # the other end was faster
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._busy.acquire(blocking=False):   # else its number could be another file's before the thread notices
            self._sock.close()
            self._busy.release()

    async def send(self, pool: Executor, run: int, task: int, fd: int, total: int, is_stopped: Callable[[], bool]) -> bool:
        """The value in that file. False when it was stopped on its way, which the other end is told. Raises OSError."""
        return bool(await self._in_thread(pool, self._send, run, task, fd, total, is_stopped))

    async def head(self) -> Head | None:
        """What comes next, as long as that takes; None when nothing will."""
        loop, sealed = asyncio.get_running_loop(), memoryview(bytearray(HEAD_BYTES))
        self._sock.setblocking(False)
        filled = 0
        while filled < HEAD_BYTES:
            count = await loop.sock_recv_into(self._sock, sealed[filled:])
            if not count:
                if filled:
                    raise ConnectionLost("it ended within a head")
                return None
            filled += count
        return opened_head(sealed, self._seal)

    async def receive(self, pool: Executor, first: Head, sink: Sink) -> bool:
        """The value that begins with this head. False when the sender stopped on the way; raises OSError and LinkError."""
        return bool(await self._in_thread(pool, self._receive, first, sink))

    async def _in_thread(self, pool: Executor, work: Callable[..., bool], *arguments: Any) -> bool:
        return await asyncio.get_running_loop().run_in_executor(pool, self._alone, work, *arguments)

    def _alone(self, work: Callable[..., bool], *arguments: Any) -> bool:
        try:
            with self._busy:
                if self.ended:
                    raise ConnectionLost("the bulk connection was ended")
                self._sock.setblocking(True)
                return work(*arguments)
        finally:
            if self.ended:
                self._sock.close()

    # ── in a thread ─────────────────────────────────────────────────────────

    def _send(self, run: int, task: int, fd: int, total: int, is_stopped: Callable[[], bool]) -> bool:
        step = min(self._piece_bytes, total)
        plain = memoryview(bytearray(0 if self.is_clear else step))
        out = memoryview(bytearray(0 if self.is_clear else HEAD_BYTES + step + TAG_BYTES))
        for offset in range(0, total, self._piece_bytes):
            head = Head(Kind.PIECE, run, task, total, offset)
            if offset and is_stopped():
                self._sock.sendall(sealed_head(Head(Kind.STOP, run, task, total, offset), self._seal))
                return False
            nbytes = head.nbytes(self._piece_bytes)
            if self.is_clear:
                self._sock.sendall(sealed_head(head, self._seal), socket.MSG_MORE)
                self._send_from(fd, offset, nbytes)
                continue
            if os.preadv(fd, [plain[:nbytes]], offset) != nbytes:
                raise OSError(f"{run}/{task} is shorter than {total} bytes")
            end = HEAD_BYTES + nbytes + TAG_BYTES
            out[:HEAD_BYTES] = sealed_head(head, self._seal)
            self._seal.seal(plain[:nbytes], head.pack(), out[HEAD_BYTES:end])
            self._sock.sendall(out[:end])
        return True

    def _send_from(self, fd: int, offset: int, nbytes: int) -> None:
        end = offset + nbytes
        while offset < end:
            sent = os.sendfile(self._sock.fileno(), fd, offset, end - offset)
            if not sent:
                raise OSError("a value is shorter than it was")
            offset += sent

    def _receive(self, head: Head, sink: Sink) -> bool:
        step = min(self._piece_bytes, head.total)
        came = memoryview(bytearray(CLEAR_READ_BYTES if self.is_clear else step + TAG_BYTES + HEAD_BYTES))
        plain = memoryview(bytearray(0 if self.is_clear else step))
        while head.kind is Kind.PIECE:
            nbytes = head.nbytes(self._piece_bytes)
            end = 0 if self.is_clear else nbytes + TAG_BYTES
            last = head.offset + nbytes == head.total
            if self.is_clear:
                self._pass_on(came, nbytes, sink)
            self._fill(came[: end if last else end + HEAD_BYTES])   # after every piece but the last comes a head
            if not self.is_clear:
                self._seal.open(came[:end], head.pack(), plain[:nbytes])
                sink.write(plain[:nbytes])
            if last:
                return True
            before, head = head, opened_head(came[end : end + HEAD_BYTES], self._seal)
            head.check_follows(before, self._piece_bytes)
        return False

    def _pass_on(self, buffer: memoryview, nbytes: int, sink: Sink) -> None:
        while nbytes:
            piece = buffer[: min(nbytes, len(buffer))]
            self._fill(piece)
            sink.write(piece)
            nbytes -= len(piece)

    def _fill(self, buffer: memoryview) -> None:
        """Wait in the kernel until all of it is here: each return from it is a wait for the interpreter."""
        filled = 0
        while filled < len(buffer):
            count = self._sock.recv_into(buffer[filled:], 0, socket.MSG_WAITALL)
            if not count:
                raise ConnectionLost("it ended in the middle of a value")
            filled += count


class Tickets:
    """Bulk connections that this process offered and that have not come yet."""

    def __init__(self) -> None:
        self._offers: dict[bytes, tuple[OfferBulk, asyncio.Future[Channel]]] = {}

    def offer(self, is_clear: bool, piece_bytes: int) -> OfferBulk:
        """A new one, to be said over the link to who is to dial."""
        offer = OfferBulk(os.urandom(TICKET_BYTES), fresh_key(), is_clear, piece_bytes)
        self._offers[offer.ticket] = (offer, asyncio.get_running_loop().create_future())
        return offer

    async def dialled(self, offer: OfferBulk, seconds: float) -> Channel:
        """Wait for it. Raises TimeoutError, and ConnectionLost when the other end declined; either way the ticket is void then."""
        came = self._offers[offer.ticket][1]
        try:
            async with asyncio.timeout(seconds):
                return await came
        except BaseException:
            if came.done() and not came.cancelled() and came.exception() is None:   # it came in the very moment in which we gave up
                came.result().end()
            raise
        finally:
            del self._offers[offer.ticket]

    def declined(self, ticket: bytes, reason: str) -> None:
        """The other end can't dial us, or does not want to."""
        _, came = self._offers.get(ticket, (None, None))
        if came is not None and not came.done():
            came.set_exception(ConnectionLost(reason))

    async def greet(self, sock: socket.socket) -> None:
        """Somebody begins a bulk connection. Raises ProtocolError for who does not prove the key of an offer; a ticket is good once."""
        loop, said = asyncio.get_running_loop(), memoryview(bytearray(GREETING_BYTES))
        filled = 0
        while filled < GREETING_BYTES:
            count = await loop.sock_recv_into(sock, said[filled:])
            if not count:
                raise ProtocolError("hung up within the greeting of a bulk connection")
            filled += count
        offer, came = self._offers.get(ticket_in(bytes(said)), (None, None))
        if offer is None or came is None or came.done():
            raise ProtocolError("a bulk connection that nobody offered, or that came before")
        is_clear = proven(bytes(said), Seal(offer.key, b"greeting"))
        if is_clear and not offer.clear:
            raise ProtocolError("a bulk connection in the clear, where an encrypted one was offered")
        came.set_result(Channel(sock, offer.key, is_clear, offer.piece_bytes))


async def dial_bulk(address: tuple[str, int], offer: OfferBulk, allows_clear: bool, seconds: float) -> Channel:
    """The connection that was offered. Raises ProtocolError for an offer that makes no sense, ConnectionLost where it can't be had."""
    if len(offer.ticket) != TICKET_BYTES or len(offer.key) != KEY_BYTES or not 0 < offer.piece_bytes <= PIECE_BYTES_MAX:
        raise ProtocolError(f"an offer of a bulk connection with pieces of {offer.piece_bytes} bytes, or a key of another size")
    is_clear = offer.clear and allows_clear
    try:
        async with asyncio.timeout(seconds):
            sock = await connect(address)
            try:
                await asyncio.get_running_loop().sock_sendall(sock, greeting(offer.ticket, is_clear, Seal(offer.key, b"greeting")))
            except BaseException:
                sock.close()
                raise
    except OSError as error:   # TimeoutError is one
        raise ConnectionLost(f"can't open a bulk connection: {error or type(error).__name__}") from None
    return Channel(sock, offer.key, is_clear, offer.piece_bytes)


async def take_values(
    channel: Channel, pool: Executor, place: Callable[[Head], Sink], done: Callable[[Head, Sink, bool], None]
) -> None:
    """Until the sender closes it: `place` says where a value goes, `done` whether it is complete. Raises OSError and LinkError."""
    try:
        while (head := await channel.head()) is not None:
            if head.kind is not Kind.PIECE or head.offset:
                raise ProtocolError(f"the end or the middle of {head.run}/{head.task}, where a value is to begin")
            sink = place(head)
            done(head, sink, await channel.receive(pool, head, sink))
    finally:
        channel.end()
