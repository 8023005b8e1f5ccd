"""One function as a future, and many as an ordered stream of values."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeAlias

from handoff.client.run import wait_known
from handoff.client.state import RunState

WINDOW = 4096                        # items of a map that are one run; long enough that a run's own cost does not show
WINDOWS_AHEAD = 2                    # started before the first one is read to its end


class CallFuture(Future[Any]):
    """The result of one submitted function. Cancelling it ends the function, also while it runs."""

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self._run_state = state
        state.watchers.append(self._look)

    @property
    def run_id(self) -> int:
        """The number of the run that it is; 0 until the coordinator accepted it."""
        return self._run_state.run

    def result(self, timeout: float | None = None) -> Any:
        """The value. Raises FunctionFailed, with the user's exception as its cause; TimeoutError leaves the function going."""
        super().result(timeout)
        return self._run_state.value(self._run_state.graph.outputs[0])

    def cancel(self) -> bool:
        """End the function now; False when it is over already."""
        if not super().cancel():
            return False
        self.set_running_or_notify_cancel()  # wakes those in concurrent.futures.wait
        self._run_state.core.cancel(self._run_state)
        return True

    def _look(self) -> None:
        """Something is new, on the loop's thread. The value counts as soon as it is here: that its run is over is heard later."""
        state = self._run_state
        if state.order:
            state.watchers.remove(self._look)
            if state.announced:
                state.fetch(state.graph.outputs[0]).add_done_callback(self._fetched)
            else:
                self._settle(None)
        elif state.over.done():
            state.watchers.remove(self._look)
            self._settle(state.error())

    def _fetched(self, fetched: Future[None]) -> None:
        self._run_state.core.release(self._run_state)
        self._settle(fetched.exception())

    def _settle(self, error: BaseException | None) -> None:
        with contextlib.suppress(InvalidStateError):  # it was cancelled
            if error is None:
                self.set_result(None)
            else:
                self.set_exception(error)


Begin: TypeAlias = "Callable[[list[tuple[Any, ...]]], RunState]"  # starts a run for one window of items


def mapped(begin: Begin, items: Iterator[tuple[Any, ...]], timeout: float | None) -> Iterator[Any]:
    """Values in the order of the items. The first windows start now, not at the first `next`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    started: list[RunState] = []
    for _ in range(WINDOWS_AHEAD):
        _begin_next(begin, items, started)
    return _values(begin, items, started, deadline)


def _begin_next(begin: Begin, items: Iterator[tuple[Any, ...]], started: list[RunState]) -> None:
    window = list(itertools.islice(items, WINDOW))
    if window:
        started.append(begin(window))


def _values(begin: Begin, items: Iterator[tuple[Any, ...]], started: list[RunState], deadline: float | None) -> Iterator[Any]:
    try:
        while started:
            state = started[0]
            for task in state.graph.outputs:
                wait_known(state, task, deadline)
                yield state.value(task)
            started.pop(0)
            state.core.release(state)
            _begin_next(begin, items, started)
    finally:
        for state in started:  # somebody stopped reading, or a function failed
            state.core.cancel(state)
            state.core.release(state)
