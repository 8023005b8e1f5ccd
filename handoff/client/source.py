"""Where the items of a map come from: what is in memory is read at once; whatever else in a thread of its own, since it may take its time.

Whoever reads a map has each value as soon as it exists, and not when the next item does: a source may even wait for that value.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from typing import Any, Protocol, TypeAlias

from handoff.client.waiting import check_process
from handoff.errors import InvalidCall
from handoff.quoting import quoted

Item: TypeAlias = "tuple[Any, ...]"   # the arguments of one call

_IN_MEMORY = frozenset({list, tuple, range, str, bytes, bytearray, dict, set, frozenset, deque})   # to read these never waits


class Source(Protocol):
    """Gives items. `happened` is set whenever looking again is worth it."""

    happened: threading.Event
    error: BaseException | None    # which it raised, to be told when all that came before it was read

    def take(self, most: int, seconds: float, is_due: Callable[[], bool]) -> list[Item]:
        """Up to so many items, those that come within so many seconds and before something else `is_due`: maybe none."""

    @property
    def has_ended(self) -> bool:
        """Whether all that came was taken, and no more will."""

    def close(self) -> None:
        """Nobody wants any more."""


def source_of(iterables: tuple[Iterable[Any], ...]) -> Source:
    """One item of each at a time, until the shortest ends."""
    for each in iterables:
        if not (hasattr(type(each), "__iter__") or hasattr(type(each), "__getitem__")):
            instead = "; nothing awaits items here: read them with `async for`, and submit each" if hasattr(type(each), "__aiter__") else ""
            raise InvalidCall(f"map takes iterables of items, such as lists, and {quoted(each)} is none{instead}")
    items = zip(*iterables, strict=False)
    return Ready(items) if all(type(each) in _IN_MEMORY for each in iterables) else Slow(items)


class Ready:
    """What is in memory."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self.error: BaseException | None = None
        self.has_ended = False
        self.happened = threading.Event()

    def take(self, most: int, seconds: float, is_due: Callable[[], bool]) -> list[Item]:
        """As many as that, unless there are fewer."""
        taken: list[Item] = []
        until = time.monotonic() + seconds
        while len(taken) < most and (not taken or time.monotonic() < until):
            try:
                taken.append(next(self._items))
            except StopIteration:
                self.has_ended = True
                break
        return taken

    def close(self) -> None:
        """Nothing is to be done."""


class Slow:
    """Whatever else: a thread reads, in the context in which this was made, and only as far as it was asked to."""

    def __init__(self, items: Iterator[Item]) -> None:
        self.happened = threading.Event()
        self._items: Iterator[Item] | None = items
        self._came: deque[Item] = deque()
        self._most = 0                              # the thread reads until so many have come
        self._asked = threading.Condition()
        self.error: BaseException | None = None
        self._is_over = False                       # the source has ended, well or not
        self._is_closed = False
        self.pid = os.getpid()
        self.thread = threading.Thread(target=copy_context().run, args=(self._read,), name="handoff-map-items", daemon=True)
        try:
            self.thread.start()
        except BaseException:   # interrupted, as by Ctrl-C, while it begins: nobody will ask it for anything
            self.close()
            raise

    @property
    def has_ended(self) -> bool:
        """As of any."""
        return self._is_over and not self._came

    def take(self, most: int, seconds: float, is_due: Callable[[], bool]) -> list[Item]:
        """What has come in time. What was asked for, and did not, is read nevertheless, for the next time."""
        check_process(self, "the next items of a map can't be waited for")    # the thread that reads them did not come along
        came, until = self._came, time.monotonic() + seconds
        with self._asked:
            self._most = most
            self._asked.notify()
        while True:
            self.happened.clear()     # before the look: whoever sets it later has done so after that
            if len(came) >= most or self._is_over or is_due():
                break
            left = until - time.monotonic()
            if left <= 0.0 or not self.happened.wait(left):
                break
        taken = [came.popleft() for _ in range(min(most, len(came)))]
        if taken:
            self._most = 0
        return taken

    def close(self) -> None:
        """The thread ends when the source has given the item for which it waits."""
        with self._asked:
            self._is_closed = True
            self._asked.notify()

    def _read(self) -> None:
        items, self._items = self._items, None
        assert items is not None
        came = self._came
        try:
            while not self._is_closed:
                with self._asked:
                    while len(came) >= self._most and not self._is_closed:
                        self._asked.wait()
                while len(came) < self._most and not self._is_closed:
                    came.append(next(items))
                    if len(came) == 1 or len(came) >= self._most:
                        self.happened.set()
        except StopIteration:
            pass
        except BaseException as error:  # it is the reader's
            self.error = error
        self._is_over = True
        self.happened.set()
