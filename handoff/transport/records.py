"""What a bulk connection carries, as bytes: a greeting, then values, cut into pieces. Pure: what comes next, and whether this is it.

A piece is a head, always sealed, and its bytes: sealed with the head as their label, or as they are where both ends allow that. The head
says of which value they are and where in it they belong, so that nothing can be put together wrongly. Small values may travel together, in
one sealed piece, which begins with whose they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, error

from handoff.errors import ProtocolError
from handoff.trust.sealing import TAG_BYTES, Seal

MAGIC = b"HBLK1"                       # no TLS connection begins so
TICKET_BYTES = 16
GREETING_BYTES = len(MAGIC) + TICKET_BYTES + 1 + TAG_BYTES
PIECE_BYTES_MAX = 16 * 1024 * 1024     # whatever a peer proposes: each end has a piece or two in memory

_HEAD = Struct("<BqIQQ")
_HEAD_PLAIN_BYTES = _HEAD.size
_EACH = Struct("<IQ")
EACH_BYTES = _EACH.size                # so many more has each value that travels with others
HEAD_BYTES = _HEAD_PLAIN_BYTES + TAG_BYTES


class Kind(IntEnum):
    """What follows a head."""

    PIECE = 1     # bytes of the value, from `offset` on
    STOP = 2      # none: the rest of this value will not come
    SEVERAL = 3   # values together, as one piece of `total` bytes: first whose they are, then they. `task` says how many


@dataclass(frozen=True, slots=True)
class Head:
    """What is said of a piece."""

    kind: Kind
    run: int
    task: int
    total: int        # bytes of the whole value
    offset: int

    def nbytes(self, piece_bytes: int) -> int:
        """How many bytes follow: every piece but the last is whole."""
        return min(piece_bytes, self.total - self.offset) if self.kind is Kind.PIECE else 0

    def check_several(self, bytes_max: int) -> None:
        """Raise ProtocolError for what is more than travels together."""
        if self.total > bytes_max or not 0 < self.task * EACH_BYTES <= self.total or self.offset:
            raise ProtocolError(f"{self.task} values of {self.run} together in {self.total} bytes, which are to be {bytes_max} at most")

    def pack(self) -> bytes:
        """As bytes."""
        return _HEAD.pack(self.kind, self.run, self.task, self.total, self.offset)

    def check_follows(self, before: Head, piece_bytes: int) -> None:
        """Raise ProtocolError unless this continues the same value where `before` ended."""
        due = before.offset + before.nbytes(piece_bytes)
        if (self.run, self.task, self.total) != (before.run, before.task, before.total) or self.offset != due:
            raise ProtocolError(
                f"{self.run}/{self.task} at {self.offset} of {self.total} bytes, where"
                f" {before.run}/{before.task} at {due} of {before.total} is due"
            )


def sealed_head(head: Head, seal: Seal) -> bytearray:
    """A head as it travels."""
    made = bytearray(HEAD_BYTES)
    seal.seal(head.pack(), b"head", memoryview(made))
    return made


def opened_head(sealed: bytes | bytearray | memoryview, seal: Seal) -> Head:
    """The reverse of `sealed_head`; ProtocolError for what is none, or not the next one."""
    plain = bytearray(_HEAD_PLAIN_BYTES)
    seal.open(sealed, b"head", memoryview(plain))
    try:
        kind, run, task, total, offset = _HEAD.unpack(plain)
        head = Head(Kind(kind), run, task, total, offset)
    except (ValueError, error) as wrong:
        raise ProtocolError(f"a head that says nothing known: {wrong}") from None
    if head.offset >= head.total:
        raise ProtocolError(f"a piece at {head.offset} of a value of {head.total} bytes")
    return head


def whose(values: Sequence[tuple[int, int]]) -> bytes:
    """What is said before values that travel together: of which task each is, and how many bytes it has."""
    return b"".join(_EACH.pack(task, nbytes) for task, nbytes in values)


def cut_apart(count: int, together: memoryview) -> list[tuple[int, memoryview]]:
    """The values that travelled together, by task. ProtocolError where they are not what is said of them."""
    begin, values = count * EACH_BYTES, []
    for task, nbytes in _EACH.iter_unpack(together[:begin]):
        values.append((task, together[begin : begin + nbytes]))
        begin += nbytes
    if begin != len(together):
        raise ProtocolError(f"{count} values together that are said to have {begin} bytes, and have {len(together)}")
    return values


def greeting(ticket: bytes, is_clear: bool, seal: Seal) -> bytes:
    """The first bytes on a bulk connection: which agreement this is about, and that we know its key."""
    proof = bytearray(1 + TAG_BYTES)
    seal.seal(bytes([is_clear]), MAGIC + ticket, memoryview(proof))
    return MAGIC + ticket + proof


def ticket_in(said: bytes) -> bytes:
    """Which agreement a greeting is about; nothing of it is believed yet."""
    if len(said) != GREETING_BYTES or said[: len(MAGIC)] != MAGIC:
        raise ProtocolError("not the greeting of a bulk connection")
    return said[len(MAGIC) : len(MAGIC) + TICKET_BYTES]


def proven(said: bytes, seal: Seal) -> bool:
    """Whether values are to travel in the clear, said by who knows the key; ProtocolError for who does not."""
    mode = bytearray(1)
    try:
        seal.open(said[len(MAGIC) + TICKET_BYTES :], said[: len(MAGIC) + TICKET_BYTES], memoryview(mode))
    except ProtocolError:
        raise ProtocolError("a bulk connection of somebody who does not know its key") from None
    return bool(mode[0])
