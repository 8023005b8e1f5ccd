"""How messages lie on a connection: a fixed head, a header, a body, one frame after the other. Knows bytes only, opens nothing.

    "H1" | flags: u8 | 0: u8 | header length: u32 | body length: u32 | number: u32 | acknowledged: u32 | header | body

Many small frames are taken out of one reused buffer; a large piece is read straight into where it belongs. Every length is checked
before anything is allocated for it.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias, Union

from handoff.errors import ProtocolError
from handoff.settings import KIB, WireSettings

Buffer: TypeAlias = Union[bytes, bytearray, memoryview]

SESSION = 1      # flag: belongs to a session; number and acknowledged mean something
UNNUMBERED = 2   # flag: is not part of what a session counts: only acknowledges
SHORT = 0xFFFFFFFF  # numbers travel without their upper bits

MAGIC = b"H1"
_HEAD = Struct("<2sBxIIII")
HEAD_BYTES = _HEAD.size

FIRST_BUFFER_BYTES = 16 * KIB   # an idle peer costs little: a coordinator has a thousand of them
BUFFER_BYTES_MAX = 256 * KIB    # a busy one is read in large pieces; doubled whenever a read fills the buffer
DIRECT_BYTES = 16 * KIB         # a body from this size on is offered a place of its own


def head(header_bytes: int, body_bytes: int, flags: int = 0, number: int = 0, acknowledged: int = 0) -> bytes:
    """The head of a frame."""
    return _HEAD.pack(MAGIC, flags, header_bytes, body_bytes, number & SHORT, acknowledged & SHORT)


def widen(short: int, near: int) -> int:
    """The full number whose lower 32 bits are `short` and which is closest to `near`."""
    return near + ((short - near + 0x80000000) & SHORT) - 0x80000000


class Reader:
    """Turns what is read into frames, in the shape that a buffered protocol likes: `buffer()`, read into it, `advance(nbytes)`.

    `receive(flags, number, acknowledged, header, body)` is called for each frame; the header is valid during the call only.
    `place(header, nbytes)` is called before a large body and may name the memory it goes to; otherwise it gets a fresh bytearray.
    """

    __slots__ = ("_body_max", "_buffer", "_direct", "_end", "_filled", "_head", "_header", "_header_max", "_is_header", "_place",
                 "_receive", "_settings", "_start", "_wish")

    def __init__(
        self,
        settings: WireSettings,
        receive: Callable[[int, int, int, Buffer, Buffer], None],
        place: Callable[[Buffer, int], memoryview | None],
    ) -> None:
        self._settings, self._receive, self._place = settings, receive, place
        self._header_max, self._body_max = settings.hello_bytes_max, 0  # strangers say little
        self._wish = max(FIRST_BUFFER_BYTES, HEAD_BYTES)
        self._buffer = memoryview(bytearray(self._wish))
        self._start = self._end = 0                   # what is in the buffer and not yet parsed
        self._head = (0, 0, 0, 0, 0)                  # flags, lengths and numbers of the frame whose large piece is being read
        self._header: Buffer = b""
        self._direct: memoryview | None = None        # the large piece that is being read
        self._filled = 0
        self._is_header = False

    def open(self) -> None:
        """The peer is known: the caps of the settings hold from the next frame on."""
        self._header_max, self._body_max = self._settings.header_bytes_max, self._settings.body_bytes_max

    def close(self) -> None:
        """Nothing more will be read: let go of the memory that a large piece was being read into, which may belong to a value."""
        self._direct = None

    def buffer(self) -> memoryview:
        """Where the next bytes go."""
        if self._direct is not None:
            return self._direct[self._filled :]
        if self._end == 0 and len(self._buffer) < self._wish:
            self._buffer = memoryview(bytearray(self._wish))
        return self._buffer[self._end :]

    def advance(self, nbytes: int) -> None:
        """So many bytes were read into `buffer()`. Raises ProtocolError; the connection is of no use then."""
        if self._direct is not None:
            self._filled += nbytes
            if self._filled == len(self._direct):
                self._finish(self._direct)
            return
        self._end += nbytes
        if self._end == len(self._buffer):
            self._wish = min(BUFFER_BYTES_MAX, 2 * len(self._buffer))
        buffer, receive, unpack = self._buffer, self._receive, _HEAD.unpack_from
        while (rest := self._end - self._start) >= HEAD_BYTES:
            magic, flags, header_bytes, body_bytes, number, acknowledged = unpack(buffer, self._start)
            if magic != MAGIC:
                raise ProtocolError(f"not a frame of Handoff: it begins with {magic!r}")
            if header_bytes > self._header_max or body_bytes > self._body_max:
                allowed = f"{self._header_max} + {self._body_max}"
                raise ProtocolError(f"a frame of {header_bytes} + {body_bytes} bytes (header + body) where {allowed} are allowed")
            begin = self._start + HEAD_BYTES
            middle = begin + header_bytes
            end = middle + body_bytes
            if end <= self._end and body_bytes < DIRECT_BYTES:
                self._start = end
                receive(flags, number, acknowledged, buffer[begin:middle], bytes(buffer[middle:end]) if body_bytes else b"")
            elif middle <= self._end and (body_bytes >= DIRECT_BYTES or end - self._start > len(buffer)):
                self._head = (flags, header_bytes, body_bytes, number, acknowledged)
                self._header = bytes(buffer[begin:middle])
                self._start = middle
                self._begin_body()
                if self._direct is not None:
                    break
            elif middle - self._start > len(buffer):
                self._head = (flags, header_bytes, body_bytes, number, acknowledged)
                self._begin(memoryview(bytearray(header_bytes)), rest - HEAD_BYTES, begin, is_header=True)
                break
            else:
                break
        rest = self._end - self._start
        if rest and self._start:
            buffer[:rest] = buffer[self._start : self._end]
        self._start, self._end = 0, rest

    def _begin_body(self) -> None:
        nbytes = self._head[2]
        place = self._place(self._header, nbytes)
        if place is None:
            place = memoryview(bytearray(nbytes))
        elif place.nbytes != nbytes:
            raise ValueError(f"a body of {nbytes} bytes was given a place of {place.nbytes}")
        self._begin(place.cast("B"), min(nbytes, self._end - self._start), self._start, is_header=False)

    def _begin(self, piece: memoryview, here: int, at: int, is_header: bool) -> None:
        """Move what is here already to the large piece, and read the rest of it there."""
        piece[:here] = self._buffer[at : at + here]
        self._start = at + here
        self._direct, self._filled, self._is_header = piece, here, is_header
        if here == len(piece):
            self._finish(piece)

    def _finish(self, piece: memoryview) -> None:
        self._direct = None
        flags, _, body_bytes, number, acknowledged = self._head
        if not self._is_header:
            header, self._header = self._header, b""
            self._receive(flags, number, acknowledged, header, piece)
        elif body_bytes == 0:
            self._receive(flags, number, acknowledged, piece, b"")
        else:
            self._header = piece
            self._begin_body()
