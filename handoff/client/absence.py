"""The coordinator is away: since when, for how long that is borne, and what waits to be said to it, or to the one that comes after it."""

from __future__ import annotations

from collections.abc import Container

from handoff.ids import COORDINATOR, NO_RUN
from handoff.machine import Send
from handoff.messages import Ask, Drain, Submit


class Absence:
    """Begins when the connection breaks, and ends when it stands again; `place` is an address, for people."""

    def __init__(self, patience_seconds: float, place: str) -> None:
        self._patience, self.place = patience_seconds, place
        self.why = ""                                # what is asked for now fails at once, for this reason; empty: it does not
        self.deadline: float | None = None           # when the coordinator is given up
        self._is_now = False
        self._held: dict[int, Submit | Ask | Drain] = {}   # by token, in order; nobody has heard of these yet

    @property
    def held(self) -> Container[int]:
        """The tokens of what waits."""
        return self._held

    def begin(self, now: float) -> None:
        """There is no connection any more."""
        self._is_now, self.why, self.deadline = True, "", now + self._patience

    def asked(self, message: Submit | Ask | Drain) -> list[Send]:
        """What to say now. What means the same to a coordinator that was started anew, as no number of a run does, waits for one."""
        if not self._is_now or (isinstance(message, Ask) and message.run != NO_RUN):
            return [Send(COORDINATOR, message)]
        self._held[message.token] = message
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

    def end(self) -> list[Send]:
        """The connection stands: what is to be said now."""
        self._is_now, self.why, self.deadline = False, "", None
        held, self._held = self._held, {}
        return [Send(COORDINATOR, message) for message in held.values()]
