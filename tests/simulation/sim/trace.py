"""What happened: the last of it for people, all of it as one hash for the promise that a seed replays."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

from handoff.machine import Received, Send, Tick
from handoff.messages import Alive

KEPT = 60


class Trace:
    """Every event that a brain heard and every effect that it asked for."""

    def __init__(self, hashed: bool, whole: bool = False) -> None:
        self._last: deque[tuple[float, str, str, Any]] = deque(maxlen=None if whole else 20 * KEPT)
        self._shown = None if whole else KEPT
        self._hash = hashlib.blake2b(digest_size=16) if hashed else None

    def heard(self, now: float, host: str, event: Any) -> None:
        """A brain was told this."""
        self._note((now, host, "<-", event))

    def said(self, now: float, host: str, effect: Any) -> None:
        """A brain asked for this."""
        self._note((now, host, "->", effect))

    def fault(self, now: float, host: str, what: str) -> None:
        """The simulator did this to it."""
        self._note((now, host, "!!", what))

    def _note(self, entry: tuple[float, str, str, Any]) -> None:
        self._last.append(entry)
        if self._hash is not None:
            self._hash.update(repr(entry).encode())

    @property
    def digest(self) -> str:
        """The hash of all of it."""
        return self._hash.hexdigest() if self._hash is not None else ""

    def text(self) -> str:
        """The last of it, a line each."""
        shown = [entry for entry in self._last if not _is_dull(entry[3])]
        if self._shown is not None:
            shown = shown[-self._shown :]
        return "\n".join(f"{now:12.6f} {host:12} {arrow} {repr(what)[:400]}" for now, host, arrow, what in shown)


def _is_dull(what: Any) -> bool:
    """A heartbeat, or an alarm: true of every story."""
    return isinstance(what, Tick) or (isinstance(what, (Received, Send)) and isinstance(what.message, Alive))
