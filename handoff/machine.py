"""The shape of a brain: told what happened, it answers with what to do.

A brain never waits, reads no clock, draws no lots and opens nothing. A shell turns bytes, timers and processes into events,
calls `handle`, and performs the effects in their order. The same events give the same effects in any process on any day.
"""

from __future__ import annotations

from typing import Any, Protocol

from handoff.ids import PeerId
from handoff.messages import Hello, Message
from handoff.record import record

# ── what can happen to any brain ────────────────────────────────────────────


@record
class Joined:
    """A peer finished its handshake for the first time; `hello` says who it is."""

    peer: PeerId
    hello: Hello


@record
class Received:
    """A message arrived, in the order in which its sender sent it; on sessions exactly once, even across reconnects."""

    peer: PeerId
    message: Message


@record
class Dropped:
    """The connection of a session broke; the peer may still come back within its resume window."""

    peer: PeerId


@record
class Resumed:
    """A dropped session is attached again; nothing that was said was lost."""

    peer: PeerId


@record
class Ended:
    """The peer ended the session in order, and may come back to a fresh one: what was not answered never is. `Dropped` follows."""

    peer: PeerId
    reason: str


@record
class Lost:
    """The peer is gone for good (a session ended), or a plain link to it broke or could not be opened."""

    peer: PeerId
    reason: str


@record
class Unsaid:
    """What a brain wanted to be said to that peer was not, and will not be: it is more than a message may hold."""

    peer: PeerId
    message: Message
    reason: str


@record
class Tick:
    """The brain's own deadline has passed."""


# ── what any brain can ask for ──────────────────────────────────────────────


@record
class Send:
    """Say this to that peer. To a node that is not connected, the shell dials first; a failure comes back as `Lost`."""

    peer: PeerId
    message: Message


@record
class Close:
    """Forget this peer: its connection ends, and it must join anew."""

    peer: PeerId
    reason: str


@record
class Note:
    """Tell people, in the log: brains do not write it themselves."""

    level: str                            # "info" | "warning" | "error"
    event: str                            # "node.lost"
    fields: tuple[tuple[str, Any], ...]


class Machine(Protocol):
    """What every brain looks like to the loop that drives it."""

    @property
    def deadline(self) -> float | None:
        """When the brain next wants a `Tick`, on the clock of `now`; None: not before something else happens."""

    def handle(self, now: float, event: Any) -> list[Any]:
        """Take one event at `now` (monotonic seconds) and answer with effects, to be performed in order."""
