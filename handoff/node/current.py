"""Which task is running: for user code that wants to know, and for lines that it prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import NamedTuple


class CurrentTask(NamedTuple):
    """The task in whose code this is called."""

    run: int
    task: int        # its number in the run
    attempt: int     # 1 the first time; attempts that never began do not count, those that a lost node may have begun do
    function: str    # the function's qualified name
    node: str        # the node's name
    gpus: tuple[int, ...] = ()       # the GPUs that it was given, by their index on the node; CUDA shows it these alone, counted from 0
    cost: Mapping[str, float] = {}   # what it was granted; where its cost has alternatives, the one that was chosen


TASK: ContextVar[CurrentTask | None] = ContextVar("handoff_task", default=None)  # set inside coroutine tasks, and by `execute_local`
_ask: list[Callable[[], CurrentTask | None]] = []  # set by a worker; empty elsewhere


def current_task() -> CurrentTask | None:
    """The task that is running here; None outside of tasks.

    Inside threads that a task started, it is the task that the worker is at.
    """
    return TASK.get() or (_ask[0]() if _ask else None)


def answer_with(ask: Callable[[], CurrentTask | None]) -> None:
    """A worker says how to find out."""
    _ask[:] = [ask]
