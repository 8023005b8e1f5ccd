"""What makes a conversation outlive its connections: frames are numbered, kept until acknowledged, and said again after a break.

Both ends have one of these. `keep` before each send; `accept` for each frame that came; `resume` when a new connection took the place of a
broken one and the other end has told how far it got. So each frame arrives exactly once and in order, as long as both processes live.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias, Union

from handoff.errors import ProtocolError
from handoff.wire.frames import SESSION, head

Buffer: TypeAlias = Union[bytes, bytearray, memoryview]
Frame: TypeAlias = tuple[int, int, bytes, Sequence[Buffer]]  # number, bytes, header, body


class Session:
    """One end of a conversation."""

    __slots__ = ("_kept", "_kept_bytes_max", "acknowledged", "kept_bytes", "received", "sent", "unsaid_bytes")

    def __init__(self, kept_bytes_max: int) -> None:
        self.sent = 0           # the last number given
        self.acknowledged = 0   # the last one that the other end is known to have
        self.received = 0       # the last one that came from there
        self.kept_bytes = 0
        self.unsaid_bytes = 0   # received since we last told the other end how far we are
        self._kept: deque[Frame] = deque()
        self._kept_bytes_max = kept_bytes_max

    @property
    def is_lost(self) -> bool:
        """So much is unacknowledged that the other end can't be counted on any more: the session has to end."""
        return self.kept_bytes > self._kept_bytes_max

    def keep(self, header: bytes, body: Sequence[Buffer], nbytes: int) -> int:
        """Number a frame and keep it (as it is: do not change its buffers) until it is acknowledged."""
        self.sent += 1
        self.kept_bytes += nbytes
        self._kept.append((self.sent, nbytes, header, body))
        return self.sent

    def frame(self, header: bytes, body: Sequence[Buffer], body_bytes: int) -> bytes:
        """Keep it, as `keep` does, to be sent now: its head, which has its number, and how far we are."""
        number = self.sent = self.sent + 1
        nbytes = len(header) + body_bytes
        self.kept_bytes += nbytes
        self._kept.append((number, nbytes, header, body))
        self.unsaid_bytes = 0
        return head(len(header), body_bytes, SESSION, number, self.received)

    def acknowledge(self, number: int) -> None:
        """The other end has everything up to here."""
        if number <= self.acknowledged:
            return
        if number > self.sent:
            raise ProtocolError(f"frame {number} was acknowledged, but only {self.sent} were sent")
        self.acknowledged = number
        kept = self._kept
        while kept and kept[0][0] <= number:
            self.kept_bytes -= kept.popleft()[1]

    def accept(self, number: int, nbytes: int) -> bool:
        """Whether this frame is news; false for one that came before."""
        self.unsaid_bytes += nbytes  # a repeated frame too wants an answer: it shows that the other end does not know how far we are
        if number <= self.received:
            return False
        if number != self.received + 1:
            raise ProtocolError(f"frame {number} came after {self.received}: something between them is missing")
        self.received = number
        return True

    def said(self) -> int:
        """How far we are, to be told to the other end now."""
        self.unsaid_bytes = 0
        return self.received

    def resume(self, received_by_peer: int) -> list[Frame]:
        """What to send again, over a new connection, to a peer that has everything up to there."""
        if not self.acknowledged <= received_by_peer <= self.sent:
            raise ProtocolError(
                f"a session can't go on from frame {received_by_peer}: {self.acknowledged} are acknowledged and {self.sent} were sent"
            )
        self.acknowledge(received_by_peer)
        return list(self._kept)
