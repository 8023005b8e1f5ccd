"""One end of a session around the real `handoff.wire.session`: its frames carry whatever the simulation sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handoff.wire.session import Session

KEPT_BYTES_MAX = 1 << 30  # the cap has unit tests; here a frame counts for a byte


@dataclass(frozen=True, slots=True)
class Frame:
    """A letter with its number, and the last number that the sender has from the other side."""

    seq: int
    ack: int
    letter: Any


class Numbering:
    """Survives its connections."""

    def __init__(self) -> None:
        self._session = Session(KEPT_BYTES_MAX)

    @property
    def received(self) -> int:
        """The last frame that came."""
        return self._session.received

    def wrap(self, letter: Any) -> Frame:
        """The next frame."""
        seq = self._session.keep(letter, (), 1)
        return Frame(seq, self._session.said(), letter)

    def unwrap(self, frame: Frame) -> bool:
        """Whether this frame is the next one; what was here before is dropped."""
        self._session.acknowledge(frame.ack)
        return self._session.accept(frame.seq, 1)

    def resume(self, received: int) -> list[Frame]:
        """What to send again, now that the other side said what it has."""
        return [Frame(seq, self._session.said(), letter) for seq, _, letter, _ in self._session.resume(received)]
