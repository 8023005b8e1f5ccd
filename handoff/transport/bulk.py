"""Connections for large values: beside the TLS link of two peers, agreed on over it, with a key of their own.

Who has a value offers such a connection over the link (see `tickets.py`), the other end dials it, proves that it knows the key, and gets
one value after the other (`take_values`), or several of the smaller ones together. Python's TLS moves a quarter to a half of what the
socket would carry; here threads move large pieces, and the system calls and the cipher let the event loop run meanwhile. What is small
beside the time that it takes to wake a thread is moved by the loop itself, as long as the socket takes it, or has it. Neither end has more
than two pieces of a value in its own memory: they come from a file and go to one. In the clear, which both ends have to allow, the kernel
sends from the file itself; what says which bytes are whose stays sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias

from handoff.errors import ConnectionLost, ProtocolError
from handoff.transport.records import HEAD_BYTES, Head, Kind, cut_apart, opened_head, sealed_head, whose
from handoff.transport.spares import BUFFER_BYTES_MAX, Buffers, Pipe, Pipes
from handoff.trust.sealing import TAG_BYTES, Seal

CLEAR_PIECES = 8                 # the kernel sends from the file, so pieces in the clear may be longer
THREADS_MAX = 8                  # values on their way at once, in each direction: further ones wait
AT_ONCE_BYTES = 2 * 1024 * 1024  # up to here the loop moves a value: 0.2 ms per MB to send, 0.4 to receive; a thread and back, 0.2 more
AT_ONCE_PIECE_BYTES = 128 * 1024 # and its pieces are no longer than this: the other end opens one while the next is sealed
TOGETHER_BYTES_MAX = 960 * 1024  # what is small beside it leaves with others: what is done for each alone costs as much as to seal 100 kB
HEAD_FIRST_BYTES = 512 * 1024    # of one that is larger than this, the head leaves first: the other end makes room while the rest is sealed

Part: TypeAlias = tuple[memoryview | range, int]   # bytes to be sent, or where in the file they are; and how (flags)


class Sink(Protocol):
    """Where the bytes of a value go. Called in order, from whichever thread."""

    def write(self, piece: memoryview) -> None:
        """Keep these; the buffer is used again."""

    def splice(self, pipe: int, nbytes: int) -> None:
        """Keep so many, which are in that pipe."""


class Rack(Protocol):
    """Where values go that travel together."""

    def several(self, values: Sequence[tuple[int, memoryview]]) -> None:
        """Keep these, by task; the buffer is used again."""


_buffers, _pipes = Buffers(), Pipes()


class _Straw:
    """So many bytes are to go from a socket to a sink, through a pipe: the kernel copies them once, and we not at all."""

    __slots__ = ("_left", "_pipe", "_sink")

    def __init__(self, pipe: Pipe, sink: Sink, nbytes: int) -> None:
        self._pipe, self._sink, self._left = pipe, sink, nbytes

    def __len__(self) -> int:
        return self._left

    def draw(self, sock: socket.socket) -> int:
        """Some of them, in a thread as soon as there are any. How many: none when the other end hung up."""
        count = os.splice(sock.fileno(), self._pipe.inlet, min(self._left, self._pipe.nbytes))
        self._sink.splice(self._pipe.outlet, count)
        self._left -= count
        return count


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
        self._parts: Iterator[Part] = iter(())        # of the value that is being sent: what comes next,
        self._part: Part = range(0), 0                # and what is left of what is at hand
        self._holes: Iterator[memoryview | _Straw] = iter(())  # of the one that is being received: where its bytes go next,
        self._hole: memoryview | _Straw = memoryview(b"")      # and where those that are due
        self._was_stopped = False
        sock.setblocking(False)                       # unless a thread is in it

    def end(self) -> None:
        """Nothing more goes over it; who waits in it wakes up and fails. Closed as soon as nobody is in it."""
        self.ended = True
        with contextlib.suppress(OSError):   # the other end was faster
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._busy.acquire(blocking=False):   # else its number could be another file's before a thread, or the loop, notices
            self._sock.close()
            self._busy.release()

    def send(
        self, pool: Executor, run: int, task: int, fd: int, total: int, is_stopped: Callable[[], bool], at_once: bool = True
    ) -> asyncio.Future[bool] | None:
        """Send the value in that file: None when all of it has left, else what is to be awaited before the next one.

        That is False for a value that was stopped on its way, which the other end is told. Either raises OSError and LinkError.
        With `at_once`, the loop sends of a small one what the socket takes. Whoever says so has a thread of the pool free for the rest:
        once a value has begun, a thread of the other end may wait for it, and for that one others.
        """
        at_once = at_once and total <= AT_ONCE_BYTES
        return self._send(pool, self._cut(run, task, fd, total, is_stopped, at_once and total > HEAD_FIRST_BYTES), fd, at_once)

    def send_several(
        self, pool: Executor, run: int, values: Sequence[tuple[int, int, int]], at_once: bool = True
    ) -> asyncio.Future[bool] | None:
        """The same for values (task, file, bytes) that are to travel together, TOGETHER_BYTES_MAX and EACH_BYTES for each at most."""
        return self._send(pool, iter(self._gathered(run, values)), -1, at_once)

    def _send(self, pool: Executor, parts: Iterator[Part], fd: int, at_once: bool) -> asyncio.Future[bool] | None:
        if self.ended:
            raise ConnectionLost("the bulk connection was ended")
        self._parts, self._part, self._was_stopped = parts, (range(0), 0), False
        if at_once:
            with contextlib.suppress(BlockingIOError):
                self._put(fd)
                return None
        return self._in_thread(pool, self._put, fd)

    async def head(self) -> Head | None:
        """What comes next, as long as that takes; None when nothing will."""
        loop, sealed = asyncio.get_running_loop(), memoryview(bytearray(HEAD_BYTES))
        filled = 0
        try:
            with self._busy:   # closed while the loop watches it, its number would be watched no more, whosever it is next
                while filled < HEAD_BYTES:
                    count = await loop.sock_recv_into(self._sock, sealed[filled:])
                    if not count:
                        if filled:
                            raise ConnectionLost("it ended within a head")
                        return None
                    filled += count
        finally:
            if self.ended:
                self._sock.close()
        return opened_head(sealed, self._seal)

    async def receive(self, pool: Executor, first: Head, sink: Any) -> bool:
        """The value that begins with this head. False when the sender stopped on the way; raises OSError and LinkError."""
        several = first.kind is Kind.SEVERAL
        pieces = self._together if several else self._clear_pieces if self.is_clear else self._sealed_pieces
        self._holes, self._hole, self._was_stopped = pieces(first, sink), memoryview(b""), False
        if first.total <= AT_ONCE_BYTES:
            with contextlib.suppress(BlockingIOError):
                self._fill()
                return not self._was_stopped
        return await self._in_thread(pool, self._fill)

    def _in_thread(self, pool: Executor, work: Callable[..., None], *arguments: Any) -> asyncio.Future[bool]:
        try:
            return asyncio.get_running_loop().run_in_executor(pool, self._alone, work, *arguments)
        except RuntimeError as error:   # the system lets us start no more of them; or we are about to end
            raise ConnectionLost(f"no thread for a large value: {error}") from error

    def _alone(self, work: Callable[..., None], *arguments: Any) -> bool:
        try:
            with self._busy:
                if self.ended:
                    raise ConnectionLost("the bulk connection was ended")
                self._sock.setblocking(True)
                try:
                    work(*arguments)
                finally:
                    self._sock.setblocking(False)
                return not self._was_stopped
        finally:
            if self.ended:
                self._sock.close()

    # ── in the loop, until that would have to wait (BlockingIOError); then a thread goes on where it stopped ─────────

    def _put(self, fd: int) -> None:
        """Send what is left of the value."""
        while True:
            left, flags = self._part
            while left:
                if isinstance(left, range):
                    sent = os.sendfile(self._sock.fileno(), fd, left.start, len(left))
                    if not sent:
                        raise OSError("a value is shorter than it was")
                else:
                    sent = self._sock.send(left, flags)
                left = left[sent:]
                self._part = left, flags
            part = next(self._parts, None)
            if part is None:
                return
            self._part = part

    def _cut(self, run: int, task: int, fd: int, total: int, is_stopped: Callable[[], bool], is_head_first: bool) -> Iterator[Part]:
        """What is to be sent. A part has left when the next one is asked for."""
        step = self._step(total)
        plain = _buffers.take(0 if self.is_clear else step)
        out = _buffers.take(0 if self.is_clear else HEAD_BYTES + step + TAG_BYTES)
        longest = self._longest(total)
        for offset in range(0, total, longest):
            if offset and is_stopped():
                self._was_stopped = True
                yield memoryview(sealed_head(Head(Kind.STOP, run, task, total, offset), self._seal)), 0
                break
            head = Head(Kind.PIECE, run, task, total, offset)
            nbytes, sealed = head.nbytes(longest), memoryview(sealed_head(head, self._seal))
            if self.is_clear:
                yield sealed, 0 if is_head_first else socket.MSG_MORE
                yield range(offset, offset + nbytes), 0
            else:
                out[:HEAD_BYTES] = sealed
                begin, end = 0, HEAD_BYTES + nbytes + TAG_BYTES
                if is_head_first:
                    yield out[:HEAD_BYTES], 0
                    begin = HEAD_BYTES
                if os.preadv(fd, [plain[:nbytes]], offset) != nbytes:
                    raise OSError(f"{run}/{task} is shorter than {total} bytes")
                self._seal.seal(plain[:nbytes], head.pack(), out[HEAD_BYTES:end])
                yield out[begin:end], 0
            is_head_first = False
        _buffers.give(plain, out)

    def _gathered(self, run: int, values: Sequence[tuple[int, int, int]]) -> Iterator[Part]:
        """What is to be sent of values that travel together: one part."""
        said = whose([(task, nbytes) for task, _, nbytes in values])
        plain = _buffers.take(TOGETHER_BYTES_MAX)
        out = _buffers.take(HEAD_BYTES + TOGETHER_BYTES_MAX + TAG_BYTES)
        end = len(said)
        plain[:end] = said
        for task, fd, nbytes in values:
            begin, end = end, end + nbytes
            if os.preadv(fd, [plain[begin:end]], 0) != nbytes:
                raise OSError(f"{run}/{task} is shorter than {nbytes} bytes")
        head = Head(Kind.SEVERAL, run, len(values), end, 0)
        out[:HEAD_BYTES] = sealed_head(head, self._seal)
        self._seal.seal(plain[:end], head.pack(), out[HEAD_BYTES : HEAD_BYTES + end + TAG_BYTES])
        yield out[: HEAD_BYTES + end + TAG_BYTES], 0
        _buffers.give(plain, out)

    def _fill(self) -> None:
        """Receive what is left of the value."""
        while True:
            while self._hole:
                if isinstance(self._hole, _Straw):
                    count = self._hole.draw(self._sock)
                else:   # in a thread, until all of it is here: each return from the kernel is a wait for the interpreter
                    count = self._sock.recv_into(self._hole, 0, socket.MSG_WAITALL)
                    self._hole = self._hole[count:]
                if not count:
                    raise ConnectionLost("it ended in the middle of a value")
            hole = next(self._holes, None)
            if hole is None:
                self._hole = memoryview(b"")     # the last one knows a pipe, and where the value went
                return
            self._hole = hole

    def _sealed_pieces(self, head: Head, sink: Sink) -> Iterator[memoryview]:
        """Where what comes is to be put. It is there when the next place is asked for."""
        step = self._step(head.total)
        came, plain = _buffers.take(step + TAG_BYTES + HEAD_BYTES), _buffers.take(step)
        while head.kind is Kind.PIECE:
            nbytes = head.nbytes(self._longest(head.total))
            end, last = nbytes + TAG_BYTES, head.offset + nbytes == head.total
            yield came[: end if last else end + HEAD_BYTES]   # after every piece but the last comes a head
            self._seal.open(came[:end], head.pack(), plain[:nbytes])
            sink.write(plain[:nbytes])
            if last:
                break
            head = self._following(head, came[end : end + HEAD_BYTES])
        self._was_stopped = head.kind is not Kind.PIECE
        _buffers.give(came, plain)

    def _together(self, head: Head, rack: Rack) -> Iterator[memoryview]:
        """The same for values that travel together."""
        head.check_several(TOGETHER_BYTES_MAX)
        came, plain = _buffers.take(TOGETHER_BYTES_MAX + TAG_BYTES), _buffers.take(TOGETHER_BYTES_MAX)
        yield came[: head.total + TAG_BYTES]
        self._seal.open(came[: head.total + TAG_BYTES], head.pack(), plain[: head.total])
        rack.several(cut_apart(head.task, plain[: head.total]))
        _buffers.give(came, plain)

    def _clear_pieces(self, head: Head, sink: Sink) -> Iterator[memoryview | _Straw]:
        """The same for what needs not pass through our memory."""
        pipe, said = _pipes.take(), memoryview(bytearray(HEAD_BYTES))
        while head.kind is Kind.PIECE:
            nbytes = head.nbytes(self._longest(head.total))
            yield _Straw(pipe, sink, nbytes)
            if head.offset + nbytes == head.total:
                break
            yield said
            head = self._following(head, said)
        self._was_stopped = head.kind is not Kind.PIECE
        _pipes.give(pipe)

    def _following(self, before: Head, sealed: memoryview) -> Head:
        head = opened_head(sealed, self._seal)
        head.check_follows(before, self._longest(before.total))
        return head

    def _longest(self, total: int) -> int:
        """How long the pieces of such a value are, but for the last."""
        at_once = total <= AT_ONCE_BYTES and not self.is_clear
        return min(self._piece_bytes, AT_ONCE_PIECE_BYTES) if at_once else self._piece_bytes

    def _step(self, total: int) -> int:
        """How long buffers for them are: of one length, if they may be kept."""
        return min(self._longest(total), max(total, BUFFER_BYTES_MAX))


async def take_values(
    channel: Channel, pool: Executor, place: Callable[[Head], Any], done: Callable[[Head, Any, bool], None]
) -> None:
    """Until the sender closes it: `place` says where a value goes (to a Sink; several, to a Rack), `done` is told whether it is complete.

    Raises OSError and LinkError.
    """
    try:
        while (head := await channel.head()) is not None and not channel.ended:
            if head.kind is Kind.STOP or head.offset:
                raise ProtocolError(f"the end or the middle of {head.run}/{head.task}, where a value is to begin")
            sink = place(head)
            done(head, sink, await channel.receive(pool, head, sink))
            await asyncio.sleep(0)   # the next one may be here, too; others have their turn before
    finally:
        channel.end()
