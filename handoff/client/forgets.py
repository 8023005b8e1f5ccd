"""Runs that are over and that nobody asked to keep: forgotten several at a time, since each word would hold up the next submission."""

from __future__ import annotations

from handoff.columns import ints
from handoff.ids import COORDINATOR, RunId
from handoff.machine import Send
from handoff.messages import Forget

FORGET_SECONDS = 0.02                # how long the cluster keeps what nobody needs, at most


class Forgets:
    """Gathers them, and says when it is time."""

    def __init__(self) -> None:
        self.deadline: float | None = None     # None: there are none
        self._runs: list[RunId] = []

    def add(self, run: RunId) -> None:
        """Forget this one, soon."""
        self._runs.append(run)

    def due(self, now: float) -> list[Send]:
        """What is to be said now. Asked in every turn: the first time after `add`, the clock starts."""
        if not self._runs:
            return []
        if self.deadline is None:
            self.deadline = now + FORGET_SECONDS
        if now < self.deadline:
            return []
        first, *others = self._runs
        self.void()
        return [Send(COORDINATOR, Forget(first, ints(others)))]

    def void(self) -> None:
        """The coordinator that knew them is gone."""
        self.deadline, self._runs = None, []
