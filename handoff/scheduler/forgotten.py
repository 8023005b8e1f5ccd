"""Runs that are over and that their clients are through with: ended after what somebody waits for, and a few at a time.

A client names many single calls at once, together with its next submission, and to end them all takes longer than to place that one.
"""

from __future__ import annotations

from collections import deque

from handoff.ids import PeerId, RunId
from handoff.messages import Forget
from handoff.scheduler.endings import end
from handoff.scheduler.ledger import Ledger

AT_ONCE = 8          # ended in one turn, which takes about as long as to place a call, ...
PART = 4             # ... or this part of them, where that is more; the next ones a moment later


class Forgotten:
    """Those that are still to be ended."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: deque[tuple[RunId, PeerId]] = deque()
        self.look_at = float("inf")     # when the next ones are due
        self.is_late = False            # somebody submits a run in this turn
        self._was_late = False          # it was so when they were looked at last

    def hear(self, now: float, peer: PeerId, forget: Forget) -> None:
        """A client lets go of these. What is not over has an effect on others, and is ended now."""
        ledger = self._ledger
        for number in (forget.run, *map(RunId, forget.others)):
            run, ended = ledger.runs.get(number), ledger.past.ended.get(number)
            # Who has only heard of the failure of a detached run may still ask about it.
            if not ledger.past.forget_failure(number) and ended is not None and ended.client in (peer, None):
                ledger.past.forget_ended(number)
            if run is None or run.client not in (peer, None):
                continue
            if run.is_over:
                self._waiting.append((number, peer))
                self.look_at = now
            else:
                end(ledger, now, run, "cancelled")

    def client_left(self, now: float, peer: PeerId) -> None:
        """All that is to be forgotten goes: it is nobody's, and is not made again for whoever may attach."""
        self.end(now)
        self._ledger.past.client_left(peer)

    def settle(self, now: float) -> None:
        """End some of them; in a turn in which somebody submits something, only what was put off before."""
        waits, self.is_late = self.is_late and not self._was_late, False
        if self.look_at > now:
            return
        self._was_late = waits
        if not waits:
            self.end(now, max(AT_ONCE, len(self._waiting) // PART))

    def end(self, now: float, most: int = 1 << 32) -> None:
        """End so many of them, or all: before anything is said that could tell of them."""
        ledger, waiting = self._ledger, self._waiting
        while waiting and most:
            number, peer = waiting.popleft()
            run, most = ledger.runs.get(number), most - 1
            if run is not None and run.client in (peer, None):
                end(ledger, now, run, "done" if run.is_over else "cancelled")
        self.look_at = now if waiting else float("inf")
