"""Many items, one function: an ordered stream of values, of which only so much is on its way at once as the memory for it is bounded.

Items are taken a window at a time, each window is one run. Whoever reads slowly, or has large values, holds back what is taken; an iterable
that gives its items slowly (`source.py`) holds back nothing that is ready.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from math import ceil
from typing import Any, NamedTuple, TypeAlias

from handoff.client.run import wait_known
from handoff.client.source import Source
from handoff.client.state import RunState
from handoff.client.waiting import bounded, check_may_wait
from handoff.errors import ResultTimeout

WINDOW = 4096                    # items that are one run at most; long enough that a run's own cost does not show
FIRST = 32                       # and until a window was read: nobody knows yet how large values are
GROWTH = 4                       # so many times as many in the next one
WINDOW_BYTES = 32 * 1024 * 1024  # of the arguments of a window, and of its values, as those before tell
WINDOW_SECONDS = 0.05            # items that come slowly are not waited for until a window is full
LEAST = 8                        # items of a window, however large; or as many as the cluster has cores
AHEAD = 2                        # windows that are on their way before the first one is read


class Begun(NamedTuple):
    """A run for some items, and the bytes of their arguments."""

    state: RunState
    nbytes: int


Begin: TypeAlias = "Callable[[list[tuple[Any, ...]], int], Begun]"   # starts the run for a window of items, the first with this number


class Measure:
    """How many items the next window takes."""

    def __init__(self) -> None:
        self.items, self.least = FIRST, LEAST
        self._bytes, self._count = [0, 0], [0, 0]     # of arguments, of values

    def saw(self, which: int, nbytes: int, count: int) -> None:
        """So many bytes of arguments (0) or values (1)."""
        self._bytes[which] += nbytes
        self._count[which] += count

    def window(self) -> int:
        """So many."""
        most = self.items
        for nbytes, count in zip(self._bytes, self._count, strict=True):
            if nbytes:
                most = min(most, WINDOW_BYTES * count // nbytes)
        return min(WINDOW, max(most, self.least))


class Mapped:
    """What is taken of the items and not read yet."""

    def __init__(
        self, begin: Begin, source: Source, timeout: float | None, cores: Callable[[], Callable[[], int | None]],
    ) -> None:
        """The first windows start now. `cores` asks how many cores the cluster has; what it gives answers, None while that is not known."""
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._begin, self._source, self._cores = begin, source, cores
        self._known_cores: Callable[[], int | None] | None = None
        self._measure = Measure()
        self._started: deque[RunState] = deque()
        self._ahead = 0              # items taken and not read
        self._count = 0              # items taken
        self._is_ended = False       # nobody wants what is left
        try:
            for _ in range(AHEAD):
                self._take(self._has_ended)
        except BaseException:
            self.leave()
            raise

    def _has_ended(self) -> bool:
        return self._is_ended

    def _take(self, is_due: Callable[[], bool]) -> bool:
        """One more window, of the items that come within a moment, and before what else is waited for `is_due`. Whether there were any."""
        window = self._source.take(self._measure.window(), WINDOW_SECONDS, is_due)
        if not window:
            return False
        begun = self._begin(window, self._count)
        self._count += len(window)
        self._started.append(begun.state)
        self._measure.saw(0, begun.nbytes, len(window))
        self._ahead += len(window)
        if self._is_ended:           # meanwhile, and whoever said so may not have seen it
            begun.state.core.cancel(begun.state)
        return True

    def _may_take(self) -> bool:
        if self._source.has_ended:
            return False
        if self._known_cores is None:
            self._known_cores = self._cores()         # the answer is on its way; short maps do without
        cores = self._known_cores()
        if cores is not None:
            self._measure.least = min(WINDOW, max(LEAST, cores))
        return self._ahead < AHEAD * self._measure.window()

    def values(self) -> Generator[Any, None, None]:
        """In the order of the items. Ends what was started when it is closed, or let go, or when a function fails."""
        values = self._values()
        next(values)      # it has begun: or closing it would end nothing
        return values

    def end(self) -> None:
        """What was started is cancelled, from any thread: who waits for its values gets RunCancelled."""
        self._is_ended = True
        self._source.happened.set()
        for state in list(self._started):
            state.core.cancel(state)

    def leave(self) -> None:
        """The same, and all is let go: nobody reads or waits for anything. Safe while the garbage collector runs: no event is set."""
        self._is_ended = True
        self._source.close()
        for state in list(self._started):
            state.core.cancel(state)
            state.core.release(state)

    def _take_until_known(self, state: RunState, task: int) -> None:
        """Take what comes while there may be more, until this value is there."""
        def is_due() -> bool:
            return state.is_known(task) or state.over.done() or self._is_late()

        happened = self._source.happened
        state.watchers.append(happened.set)
        try:
            while not is_due() and self._may_take():
                if not self._take(is_due) and not is_due() and not self._source.has_ended:
                    check_may_wait(state.core, "results can't be waited for here")
                    self._wait()
        finally:
            state.watchers.remove(happened.set)

    def _take_more(self) -> bool:
        """All that was begun has been read: wait for more. False: nothing more comes; or raises the error of the items' source."""
        while not (self._is_ended or self._source.has_ended):
            if self._take(self._has_ended):
                return True
            if self._is_late():
                raise ResultTimeout(f"item {self._count} did not come in time; the map ends")
            if not (self._is_ended or self._source.has_ended):   # `take` may have heard of the end, which is told once
                self._wait()
        error, self._source.error = self._source.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error                # it holds this frame, and that which read the items: both would stay
        return False

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _wait(self) -> None:
        """Until an item came, or a value, or time is up."""
        self._source.happened.wait(None if self._deadline is None else bounded(max(0.0, self._deadline - time.monotonic())))

    def _values(self) -> Generator[Any, None, None]:
        started, deadline = self._started, self._deadline
        try:
            yield None
            while started or self._take_more():
                state = started[0]
                for task in state.graph.outputs:
                    if not state.is_known(task):
                        self._take_until_known(state, task)
                    wait_known(state, task, deadline)
                    value, nbytes = state.take(task)
                    self._measure.saw(1, nbytes, 1)
                    self._ahead -= 1
                    yield value
                    del value
                started.popleft()
                state.core.release(state)
                self._measure.items = min(WINDOW, self._measure.items * GROWTH)
                if self._may_take():
                    self._take(lambda: bool(started))
        finally:
            self.leave()


def cores_of(nodes: list[dict[str, Any]]) -> int:
    """How many there are, by the coordinator's answer about nodes."""
    return ceil(sum(float(node["capacity"].get("cpu", 0.0)) for node in nodes))
