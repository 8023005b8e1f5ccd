"""When a worker stands still: what it was given and has not begun is taken back, so that others can have it."""

from __future__ import annotations

from handoff.ids import WorkerId
from handoff.node.crew import DEAF, Crew
from handoff.node.events import HandBack
from handoff.node.state import State

STALL_FACTOR = 4.0   # times what a worker was said to need for all that it has, without a word from it
ALONE_SECONDS = 2.0  # without a word from a worker that has one task: most take less, and few workers do not even begin
DEAF_SECONDS = 10.0  # what is left in a worker may block it so long, then it is ended


class Stalls:
    """Short tasks are given several at a time, by how long others of their code took. One that hangs would hold up those behind it, and
    what an earlier one left in its worker may keep that from beginning anything.

    Looks only while a worker has something, and then every `stall_seconds`, or every two seconds: nothing is counted for each task.
    """

    def __init__(self, state: State, crew: Crew) -> None:
        self._state, self._crew = state, crew
        self._seconds = state.settings.stall_seconds
        self.deadline: float | None = None

    def watch(self, now: float) -> None:
        """A worker was given more than one task, or one behind others."""
        self._by(now + self._seconds)

    def watch_alone(self, now: float) -> None:
        """A worker was given one task."""
        self._by(now + ALONE_SECONDS)

    def _by(self, when: float) -> None:
        if self.deadline is None or when < self.deadline:
            self.deadline = when

    def look(self, now: float) -> None:
        """Ask workers to hand back what they have not begun, where nothing has come of it for too long."""
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = None
        for worker in list(self._crew.workers.values()):
            if worker.is_asyncio or worker.is_killed:
                continue
            if worker.is_deaf:
                if now >= worker.heard + DEAF_SECONDS:
                    self._crew.kill(worker, DEAF)
                else:
                    self._by(worker.heard + DEAF_SECONDS)
                continue
            if worker.is_stalled:
                continue
            left, seconds = 0, 0.0
            for batch in worker.batches:
                left += batch.left
                seconds += batch.seconds
            is_alone = left == 1
            if not left or (is_alone and batch.is_asked_back):
                continue
            due = worker.heard + (ALONE_SECONDS if is_alone else max(self._seconds, STALL_FACTOR * seconds))
            if now < due:
                self._by(due if is_alone else now + self._seconds)
                continue
            batch.is_asked_back = True
            if not is_alone:
                self._crew.stall(worker)
            self._state.effects.append(HandBack(worker.id))

    def deaf(self, now: float, name: WorkerId) -> None:
        """It begins nothing. What it was given is handed back, and it gets nothing more until it is heard again, or is ended."""
        worker = self._crew.workers.get(name)
        if worker is None or worker.is_killed or worker.is_deaf:
            return
        self._crew.deafen(now, worker)
        self._by(now + DEAF_SECONDS)
