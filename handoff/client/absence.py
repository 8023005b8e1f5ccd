"""The coordinator is away: since when, for how long that is borne, and what waits to be said to it, or to the one that comes after it."""

from __future__ import annotations

from collections.abc import Container

from handoff.ids import COORDINATOR, NO_RUN
from handoff.machine import Send
from handoff.messages import Ask, Drain, Submit

HELD_MAX = 100_000                      # questions and runs that wait, and
HELD_BYTES_MAX = 256 * 1024 * 1024      # what these take, about: code, literals and inputs; more fail at once


class Absence:
    """Begins when the connection breaks, and ends when it stands again; `place` is an address, for people."""

    def __init__(self, patience_seconds: float, place: str) -> None:
        self._patience, self.place = patience_seconds, place
        self.why = ""                                # what is asked for now fails at once, for this reason; empty: it does not
        self.deadline: float | None = None           # when the coordinator is given up
        self._is_now = False
        self._held: dict[int, Submit | Ask | Drain] = {}   # by token, in order; nobody has heard of these yet
        self._held_bytes = 0

    @property
    def held(self) -> Container[int]:
        """The tokens of what waits."""
        return self._held

    def begin(self, now: float) -> None:
        """There is no connection any more."""
        self._is_now, self.why, self.deadline = True, "", now + self._patience

    def why_not(self, message: Submit | Ask | Drain) -> str:
        """Why this fails at once; empty: it does not."""
        if self.why or not self._is_now or (len(self._held) < HELD_MAX and self._held_bytes + _nbytes(message) <= HELD_BYTES_MAX):
            return self.why
        return f"the coordinator is away, and all that may wait for it waits: {len(self._held):,} requests ({self.place})"

    def asked(self, message: Submit | Ask | Drain) -> list[Send]:
        """What to say now. What means the same to a coordinator that was started anew, as no number of a run does, waits for one."""
        if not self._is_now or (isinstance(message, Ask) and message.run != NO_RUN):
            return [Send(COORDINATOR, message)]
        self._held[message.token] = message
        self._held_bytes += _nbytes(message)
        return []

    def too_long(self, now: float) -> str:
        """Why it is given up now; empty: it is not."""
        if self.deadline is None or now < self.deadline:
            return ""
        return f"the coordinator is gone: no connection to {self.place} for {self._patience:g} s; is it still running there?"

    def after(self, reason: str) -> str:
        """Why nothing comes of what was asked for, when it ended in order."""
        return f"{reason}, and what it was to do is lost ({self.place}); start it again there, and ask anew"

    def give_up(self, why: str) -> None:
        """What waits is not said any more."""
        self.why, self.deadline = why, None
        self._held.clear()
        self._held_bytes = 0

    def end(self) -> list[Send]:
        """The connection stands: what is to be said now."""
        self._is_now, self.why, self.deadline = False, "", None
        held, self._held, self._held_bytes = self._held, {}, 0
        return [Send(COORDINATOR, message) for message in held.values()]


def _nbytes(message: Submit | Ask | Drain) -> int:
    if not isinstance(message, Submit):
        return 0
    program, body = message.program, message.body
    return len(program.literals.data) + len(program.inputs) * 4 + (sum(map(len, body)) if isinstance(body, tuple) else len(body))
