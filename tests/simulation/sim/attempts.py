"""Every attempt at a task has a reason, and what is told of a task is told of one attempt that really was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handoff.ids import RunId
from handoff.messages import Failed, Message, Missing, Plan, Recalled, Unreachable


class Groundless(AssertionError):
    """A task was planned anew for nothing, or something is said of it that never was."""


class Attempts:
    """All runs."""

    def __init__(self) -> None:
        self._upsets = 0                                             # what may have any task made again: losses, results out of reach
        self._planned: dict[tuple[RunId, int], tuple[int, int]] = {} # the latest attempt, and how many upsets there had been
        self._ended: dict[tuple[RunId, int, int], str] = {}          # attempts that failed or were given back, as the coordinator heard
        self._made: dict[tuple[RunId, int, int], dict[tuple[str, int], None]] = {}  # what attempts gave: where, and how many bytes

    def upset(self) -> None:
        """A peer was lost: whatever it had may be made again."""
        self._upsets += 1

    def heard(self, message: Message) -> None:
        """The coordinator was told this."""
        match message:
            case Failed(run, task, attempt):
                self._ended[run, task, attempt] = "failed"
            case Recalled(run, tasks, attempts):
                for task, attempt in zip(tasks, attempts, strict=True):
                    self._ended[run, task, attempt] = "was given back"
            case Unreachable() | Missing():
                self._upsets += 1
            case _:
                pass

    def said(self, host: str, message: Message) -> None:
        """The coordinator said this to that host."""
        if not isinstance(message, Plan):
            return
        run = message.run
        for task, attempt in zip(message.tasks, message.attempts, strict=True):
            before, upsets = self._planned.get((run, task), (0, 0))
            if attempt <= before:
                raise Groundless(f"{host} gets task {run}/{task} as attempt {attempt}; attempt {before} was planned before")
            if before and upsets == self._upsets and (run, task, before) not in self._ended:
                raise Groundless(f"{host} gets task {run}/{task} as attempt {attempt}, though nothing is known to be wrong with {before}")
            self._planned[run, task] = (attempt, self._upsets)

    def is_current(self, run: RunId, task: int, attempt: int) -> bool:
        """Whether no later attempt was planned."""
        return self._planned.get((run, task), (0, 0))[0] == attempt

    def made(self, run: RunId, task: int, attempt: int, host: str, nbytes: int) -> None:
        """An attempt ended well there."""
        self._made.setdefault((run, task, attempt), {})[host, nbytes] = None

    def told(self, run: RunId, objects: Mapping[int, object], timeline: Mapping[str, list[Any]]) -> None:
        """What the coordinator would say of the run's tasks to who asks."""
        for task, node, attempt, nbytes in zip(*(timeline[column] for column in ("task", "node", "attempt", "nbytes")), strict=True):
            made = self._made.get((run, task, attempt), {})
            if task not in objects and (node, nbytes) not in made:
                raise Groundless(f"task {run}/{task} is said to have given {nbytes} B on {node!r} in attempt {attempt}; not {list(made)}")
