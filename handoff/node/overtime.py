"""Which tasks run longer than they may, where they are given to workers several at a time.

A worker writes down when the call of each timed task begins, in memory that it shares with its daemon. So nothing is said for each task:
the brain has its shell look when a task that it gave away could be over its time, had it begun at once.
"""

from __future__ import annotations

from math import inf

from handoff.node.crew import Batch, Crew
from handoff.node.events import Look, Started
from handoff.node.state import State


class Overtime:
    """Watches the workers that have timed tasks, but for that of coroutines side by side."""

    def __init__(self, state: State, crew: Crew) -> None:
        self._state, self._crew = state, crew
        self.deadline: float | None = None

    def watch(self, now: float, batch: Batch) -> None:
        """This was given to its worker. What begins later has its time later."""
        if batch.patience < inf:
            self.by(now + batch.patience)

    def by(self, when: float) -> None:
        """Look at this moment at the latest."""
        if self.deadline is None or when < self.deadline:
            self.deadline = when

    def look(self, now: float) -> None:
        """Ask what executes, where it may be out of time; what begins from now on is so after its own timeout."""
        if self.deadline is None or now < self.deadline:
            return
        self.deadline = None
        for worker in self._crew.workers.values():
            patience = inf
            if not (worker.is_asyncio or worker.is_killed):
                for batch in worker.batches:
                    patience = min(patience, batch.patience)
            if patience < inf:
                self.by(now + patience)
                self._state.effects.append(Look(worker.id))

    def due(self, now: float, batch: Batch, started: Started, timeout: float) -> float:
        """When the time is over of this task, which executes; of one that is still being loaded, the time for that."""
        if started.when is not None:
            return started.when + timeout
        loading = batch.worker.loading
        if loading is None or loading[:2] != (batch, started.task):
            loading = batch.worker.loading = batch, started.task, now
        return loading[2] + self._state.settings.load_seconds
