"""Every attempt at a task has a reason, and what is told of a task is told of one attempt that really was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from handoff.ids import RunId
from handoff.messages import Abandon, Failed, Message, Missing, Plan, Recalled, Report, Unreachable


class Groundless(AssertionError):
    """A task was planned anew for nothing, or something is said of it that never was."""


class Attempts:
    """All runs. `may_double` says of which tasks two attempts may be at once."""

    def __init__(self, may_double: Callable[[RunId, int], bool]) -> None:
        self._may_double = may_double
        self._upsets = 0                                              # what may have any task made again: losses, results out of reach
        self._latest: dict[tuple[RunId, int], int] = {}
        self._open: dict[tuple[RunId, int], dict[int, int]] = {}      # attempts that seem to be well: upsets at their start
        self._beside: dict[tuple[RunId, int], None] = {}              # planned again though nothing was heard of the attempt before
        self._doubled: dict[tuple[RunId, int], None] = {}
        self._numbers: dict[tuple[RunId, int, int], int] = {}         # of attempts after ones that never began: the number for people
        self._made: dict[tuple[RunId, int, int], dict[tuple[str, int], None]] = {}  # what attempts gave: where, and how many bytes

    def upset(self) -> None:
        """A peer was lost: whatever it had may be made again."""
        self._upsets += 1

    def heard(self, message: Message) -> None:
        """The coordinator was told this."""
        match message:
            case Failed(run, task, attempt):
                self._open.get((run, task), {}).pop(attempt, None)
            case Report(run, tasks, attempts):
                for task, attempt in zip(tasks, attempts, strict=True):
                    alive = self._open.get((run, task), {})
                    if attempt in alive or ((run, task) in self._latest and self._may_double(run, task)):
                        self._open[run, task] = {attempt: alive.get(attempt, self._upsets)}   # another one has lost
            case Recalled(run, tasks, attempts):
                self._end(run, tasks, attempts)
            case Unreachable() | Missing():
                self._upsets += 1
            case _:
                pass

    def said(self, host: str, message: Message) -> None:
        """The coordinator said this to that host."""
        if isinstance(message, Abandon):
            self._end(message.run, message.tasks, message.attempts)
        if not isinstance(message, Plan):
            return
        unbegun = dict(zip(message.unbegun[::2], message.unbegun[1::2], strict=True))
        for task, attempt in zip(message.tasks, message.attempts, strict=True):
            key = (message.run, task)
            if task in unbegun:
                self._numbers[message.run, task, attempt] = attempt - unbegun[task]
            latest = self._latest.get(key, 0)
            if attempt <= latest:
                raise Groundless(f"{host} gets task {key} as attempt {attempt}; attempt {latest} was planned before")
            alive = {each: upsets for each, upsets in self._open.get(key, {}).items() if upsets == self._upsets}
            if alive and (len(alive) > 1 or key in self._doubled or not self._may_double(*key)):
                raise Groundless(f"{host} gets task {key} as attempt {attempt}, though nothing is known to be wrong with {list(alive)}")
            if alive:
                self._doubled[key] = None
            if self._open.get(key):
                self._beside[key] = None
            self._latest[key] = attempt
            self._open[key] = {**alive, attempt: self._upsets}

    def is_open(self, run: RunId, task: int, attempt: int) -> bool:
        """Whether it counts: nothing is known to be wrong with it, and no other one has taken its place."""
        return attempt in self._open.get((run, task), {})

    def is_beside(self, run: RunId, task: int) -> bool:
        """Whether it was given away once more though nothing was heard of the attempt before."""
        return (run, task) in self._beside

    def is_doubled(self, run: RunId, task: int) -> bool:
        """Whether it may have been given to two nodes at once."""
        return (run, task) in self._beside and self._may_double(run, task)

    def made(self, run: RunId, task: int, attempt: int, host: str, nbytes: int) -> None:
        """An attempt ended well there."""
        self._made.setdefault((run, task, self._numbers.get((run, task, attempt), attempt)), {})[host, nbytes] = None

    def told(self, run: RunId, objects: Mapping[int, object], timeline: Mapping[str, list[Any]]) -> None:
        """What the coordinator would say of the run's tasks to who asks."""
        for task, node, attempt, nbytes in zip(*(timeline[column] for column in ("task", "node", "attempt", "nbytes")), strict=True):
            made = self._made.get((run, task, attempt), {})
            if task not in objects and (node, nbytes) not in made:
                raise Groundless(f"task {run}/{task} is said to have given {nbytes} B on {node!r} in attempt {attempt}; not {list(made)}")

    def _end(self, run: RunId, tasks: Any, attempts: Any) -> None:
        for task, attempt in zip(tasks, attempts, strict=True):
            self._open.get((run, task), {}).pop(attempt, None)
