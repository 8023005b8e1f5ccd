"""When a worker stands still: what it was given and has not begun is taken back, so that others can have it."""

from __future__ import annotations

from handoff.node.crew import Crew
from handoff.node.events import HandBack
from handoff.node.state import State

STALL_FACTOR = 4.0   # times what a worker was said to need for all that it has, without a word from it


class Stalls:
    """Short tasks are given several at a time, by how long others of their code took. One that hangs would hold up those behind it.

    Looks only while a worker has more than one task, and then every `stall_seconds`: nothing is counted for each task.
    """

    def __init__(self, state: State, crew: Crew) -> None:
        self._state, self._crew = state, crew
        self._seconds = state.settings.stall_seconds
        self.deadline: float | None = None

    def watch(self, now: float) -> None:
        """A worker was given more than one task, or one behind others."""
        if self.deadline is None:
            self.deadline = now + self._seconds

    def look(self, now: float) -> None:
        """Ask workers to hand back what they have not begun, where nothing has come of it for too long."""
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = None
        for worker in self._crew.workers.values():
            if worker.is_asyncio or worker.is_killed or worker.is_stalled:
                continue
            left, seconds = 0, 0.0
            for batch in worker.batches:
                left += batch.left
                seconds += batch.seconds
            if left < 2:
                continue
            if now - worker.heard >= max(self._seconds, STALL_FACTOR * seconds):
                self._crew.stall(worker)
                self._state.effects.append(HandBack(worker.id))
            else:
                self.deadline = now + self._seconds
