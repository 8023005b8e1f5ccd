"""Frames between a node and one of its worker processes: plain data, and descriptors beside it, over a Unix socket pair.

A frame is `u32 length, u16 number of descriptors`, then the packed data. The worker's end blocks; the node's end is driven by the event
loop. Descriptors travel with the first byte of their frame, so they are there when the frame is complete.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from handoff.errors import ProtocolError
from handoff.wire.plain import pack, unpack

if TYPE_CHECKING:  # a worker process must not wait for asyncio to load
    import asyncio

    from handoff.node.pipes import Pipes

FDS_MAX = 100                             # descriptors beside one frame; the kernel takes 253
CROWDED_SECONDS = 0.005                   # after which is tried again what came to too many descriptors on their way
READ_BYTES = 256 * 1024
WAITING_BYTES_MAX = 512 * 1024 * 1024     # unsent to one worker; a worker so far behind is stuck
FRAME_BYTES_MAX = 1 << 30                 # from the node to its worker: a task may have very many small inputs
ANSWER_BYTES_MAX = 64 * 1024 * 1024       # from a worker: it cuts its answers into pieces far smaller than this

_HEADER = struct.Struct("<IH")
_TRUNCATED = int(socket.MSG_CTRUNC)       # arithmetic with flags as such is slow
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
_FD_BYTES = array.array("i").itemsize
_FDS_BYTES = socket.CMSG_SPACE(FDS_MAX * _FD_BYTES)

Frame: TypeAlias = tuple[Any, list[int]]  # what was said, and the descriptors beside it


class HasDescriptor(Protocol):
    """Something that owns a descriptor, kept alive until the descriptor is sent."""

    fd: int


def frame(said: Any, descriptors: int = 0) -> bytes:
    """What goes over the socket."""
    data = pack(said)
    return _HEADER.pack(len(data), descriptors) + data


def send_descriptors(sock: socket.socket, data: bytes | memoryview, descriptors: Sequence[int]) -> int:
    """Like `sock.send`, with descriptors beside the first byte; 0: more are on their way than a user may have, and somebody has to read."""
    try:
        return sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])
    except OSError as error:
        if error.errno != errno.ETOOMANYREFS:
            raise
        return 0


class FrameReader:
    """Reads a socket and cuts what comes into frames. Whoever takes a frame owns its descriptors."""

    def __init__(self, sock: socket.socket, frame_bytes_max: int) -> None:
        self._sock, self._frame_bytes_max = sock, frame_bytes_max
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._partial = bytearray()       # the beginning of a frame whose end has not come
        self._wanted = _HEADER.size       # bytes of `_partial` before looking again is worth it
        self._descriptors: deque[int] = deque()

    def read(self) -> list[Frame]:
        """The frames completed by one read. EOFError when the other end is closed; BlockingIOError when nothing is there."""
        count, ancillary, flags, _ = self._sock.recvmsg_into([self._buffer], _FDS_BYTES, _CLOSE_ON_EXEC)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.extend(array.array("i", data[: len(data) // _FD_BYTES * _FD_BYTES]))
        if flags & _TRUNCATED:
            raise ProtocolError("descriptors were lost on the way; this process has too many files open, or too many came at once")
        if count == 0:
            raise EOFError("the other end is closed")
        if not self._partial:
            taken, frames = self._cut(self._buffer[:count])
            self._partial += self._buffer[taken:count]
            return frames
        self._partial += self._buffer[:count]
        if len(self._partial) < self._wanted:
            return []
        with memoryview(self._partial) as whole:
            taken, frames = self._cut(whole)
        del self._partial[:taken]
        return frames

    def _cut(self, data: memoryview) -> tuple[int, list[Frame]]:
        frames: list[Frame] = []
        at, end = 0, len(data)
        try:
            while end - at >= _HEADER.size:
                length, descriptors = _HEADER.unpack_from(data, at)
                if length > self._frame_bytes_max:
                    raise ProtocolError(f"a frame of {length:,} bytes was announced; {self._frame_bytes_max:,} are allowed")
                start = at + _HEADER.size
                if end - start < length:
                    self._wanted = _HEADER.size + length
                    return at, frames
                if descriptors > len(self._descriptors):
                    raise ProtocolError(f"a frame came without the {descriptors} descriptors it announced")
                with data[start : start + length] as body:
                    frames.append((unpack(body), [self._descriptors.popleft() for _ in range(descriptors)] if descriptors else []))
                at = start + length
        except ProtocolError:
            for _, taken in frames:    # nobody hears of these any more
                self._descriptors.extend(taken)
            raise
        self._wanted = _HEADER.size
        return at, frames

    def close(self) -> None:
        """Close descriptors that nobody took."""
        while self._descriptors:
            os.close(self._descriptors.popleft())


class NodePipe:
    """The node's end: never waits. `heard` gets the frames of each read, `ended` why there will be no more, once."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        pipes: Pipes,
        heard: Callable[[list[Frame]], None],
        ended: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._sock, self._loop, self._pipes, self._heard, self._ended = sock, loop, pipes, heard, ended
        self._fd = sock.fileno()
        self._reader = FrameReader(sock, ANSWER_BYTES_MAX)
        self._waiting: deque[tuple[memoryview, Sequence[HasDescriptor]]] = deque()  # what the socket had no room for
        self._closed = self._is_crowded = False
        self.is_garbled = False           # what came made no sense: it is lost, with all behind it
        self.waiting_bytes = 0
        pipes.add(self._fd, self.read)

    def send(self, data: bytes, values: Sequence[HasDescriptor] = ()) -> None:
        """Bytes of whole frames, and the owners of the descriptors that go beside them."""
        if self._closed:
            return
        if not self._waiting:
            sent = self._try(data, values)
            if sent == len(data) or self._closed:
                return
            self._go_on()
            self._waiting.append((memoryview(data)[sent:], () if sent else values))
            self.waiting_bytes = len(data) - sent
            return
        self._waiting.append((memoryview(data), values))
        self.waiting_bytes += len(data)
        if self.waiting_bytes > WAITING_BYTES_MAX:
            self._end(f"it is stuck: {self.waiting_bytes:,} bytes wait for it to read")

    def _try(self, data: bytes | memoryview, values: Sequence[HasDescriptor]) -> int:
        try:
            if not values:
                return self._sock.send(data)
            sent = send_descriptors(self._sock, data, [value.fd for value in values])
            self._is_crowded = not sent
            return sent
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._end(f"its pipe broke: {error}")
            return 0

    def _write(self) -> None:
        while self._waiting and not self._closed:
            data, values = self._waiting[0]
            sent = self._try(data, values)
            if not sent:
                if not self._closed:
                    self._go_on()
                return
            self.waiting_bytes -= sent
            if sent == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = (data[sent:], ())
        if not self._closed:
            self._loop.remove_writer(self._fd)

    def _go_on(self) -> None:
        """When the socket has room; or in a moment, where that is not what was missing."""
        if not self._is_crowded:
            self._loop.add_writer(self._fd, self._write)
            return
        self._is_crowded = False
        self._loop.remove_writer(self._fd)
        self._loop.call_later(CROWDED_SECONDS, self._write)

    def read(self) -> bool:
        """Take what is there, once. False when there was nothing, or when it is over."""
        if self._closed:
            return False
        try:
            frames = self._reader.read()
        except (BlockingIOError, InterruptedError):
            return False
        except EOFError:
            self._end("it closed its pipe")
            return False
        except ProtocolError as error:
            self.is_garbled = True
            self._end(f"it said what no worker says: {error}")
            return False
        except OSError as error:
            self._end(f"its pipe broke: {error}")
            return False
        if frames:
            self._heard(frames)
        return True

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._ended(reason)

    def close(self) -> None:
        """No more frames, in either direction."""
        if self._closed:
            return
        self._closed = True
        self._pipes.remove(self._fd)
        self._loop.remove_writer(self._fd)
        self._waiting.clear()
        self._reader.close()
        self._sock.close()
