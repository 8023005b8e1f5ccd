"""Keys of tasks that wait, the most urgent first. Of very many in a row, the later ones are made when those before them are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain
from operator import eq

from handoff.ids import RunId

LOW = 0xFFFFFFFF
PUSHED_PART = 8      # keys that are so few beside those that wait are pushed one by one: to sort all would cost each run as much as all
CHUNK = 1024         # keys of a row that are made at once
ROW_MIN = 4 * CHUNK  # fewer keys are not worth a row; and so many that came one by one are looked at together

Row = tuple[int, int, int, int]   # a key that comes before it, and start, stop and step of its range


class Queue:
    """Keys are integers: what is smaller is more urgent; the lowest bits are a task's number, the next ones its run's."""

    __slots__ = ("heap", "rows", "stack", "unmade")

    def __init__(self) -> None:
        # There are keys where the stack or the heap has some: each row lies behind one that was made.
        self.stack: list[int] = []          # keys sorted once, the most urgent last
        self.heap: list[int] = []           # keys that came later
        self.rows: list[Row] = []           # a heap: keys in equal steps, all of one run and rank, each row behind a key that was made
        self.unmade = 0                     # keys in rows

    def __len__(self) -> int:
        return len(self.stack) + len(self.heap) + self.unmade

    def head(self) -> int:
        """The most urgent key; -1 where there is none."""
        stack, heap = self.stack, self.heap
        if not stack:
            return heap[0] if heap else -1     # and none in rows
        last = stack[-1]
        return last if not heap or last < heap[0] else heap[0]

    def pop(self) -> int:
        """Take the most urgent key."""
        is_stacked = not self.heap or (self.stack and self.stack[-1] < self.heap[0])
        key = self.stack.pop() if is_stacked else heappop(self.heap)
        while self.unmade and key >= self.rows[0][0]:
            self._make(CHUNK)
        return key

    def pop_last(self) -> int:
        """Take one of the least urgent keys; there must be one."""
        if self.rows:
            before, start, stop, step = self.rows.pop()
            last = range(start, stop, step)[-1]
            self.unmade -= 1
            if last > start:
                heappush(self.rows, (before, start, last, step))
            return last
        return self.heap.pop() if self.heap else self.stack.pop(0)

    def pop_many(self, count: int) -> list[int]:
        """Take so many of the most urgent keys, in order."""
        if self.heap:
            return [self.pop() for _ in range(min(count, len(self)))]
        while self.unmade and (len(self.stack) < count or self.stack[-count] >= self.rows[0][0]):
            self._make(max(CHUNK, count))
        taken = self.stack[-count:]
        del self.stack[-count:]
        taken.reverse()
        return taken

    def put_back(self, keys: list[int]) -> None:
        """These were popped, in this order, and are still to do."""
        if self.heap or (self.stack and keys and self.stack[-1] < keys[-1]):
            for key in keys:
                heappush(self.heap, key)
        else:
            self.stack.extend(reversed(keys))

    def extend(self, keys: Sequence[int]) -> None:
        """Many more keys: one sort instead of many pushes, where they are many beside those that wait already."""
        if len(keys) * PUSHED_PART < len(self):
            for key in keys:
                heappush(self.heap, key)
            return
        row = _in_a_row(keys) if len(keys) >= ROW_MIN else None
        if row is not None:
            keys = row[:CHUNK]
            heappush(self.rows, (keys[-1], row[CHUNK], row.stop, row.step))
            self.unmade += len(row) - CHUNK
        self.stack.extend(self.heap)
        self.stack.extend(keys)
        self.stack.sort(reverse=True)
        self.heap = []

    def settle(self) -> None:
        """What came one by one is laid in order, when it is much."""
        if len(self.heap) >= ROW_MIN:
            keys, self.heap = sorted(self.heap), []
            self.extend(keys)

    def drop(self, runs: dict[int, None]) -> None:
        """Throw away the keys of these runs."""
        self.stack = [key for key in self.stack if key >> 32 & LOW not in runs]
        self.heap = [key for key in self.heap if key >> 32 & LOW not in runs]
        heapify(self.heap)
        if self.rows:
            self._set_rows([row for row in self.rows if row[1] >> 32 & LOW not in runs])

    def clear(self) -> None:
        """Throw all away."""
        self.stack.clear()
        self.heap.clear()
        self._set_rows([])

    def rekey(self, run: RunId, key: Callable[[int], int]) -> None:
        """The tasks of this run have other keys now."""
        mine = [row for row in self.rows if row[1] >> 32 & LOW == run]
        if mine:
            self._set_rows([row for row in self.rows if row[1] >> 32 & LOW != run])
        for keys in (self.stack, self.heap):
            keys[:] = [key(each & LOW) if each >> 32 & LOW == run else each for each in keys]
        self.stack.sort(reverse=True)
        heapify(self.heap)
        if mine:
            self.extend(sorted([key(each & LOW) for row in mine for each in range(*row[1:])]))

    def all_keys(self) -> Iterator[int]:
        """All of them, in no order."""
        return chain(self.stack, self.heap, *(range(*row[1:]) for row in self.rows))

    def _make(self, least: int) -> None:
        """Make the next keys of the first row."""
        _, start, stop, step = heappop(self.rows)
        row = range(start, stop, step)
        keys = list(row[:least])
        self.unmade -= len(keys)
        if len(keys) < len(row):
            heappush(self.rows, (keys[-1], keys[-1] + step, stop, step))
        keys.reverse()
        is_first = not self.stack or keys[0] < self.stack[-1]
        self.stack.extend(keys)
        if not is_first:
            self.stack.sort(reverse=True)

    def _set_rows(self, rows: list[Row]) -> None:
        self.rows = rows
        heapify(rows)
        self.unmade = sum(len(range(*row[1:])) for row in rows)


def _in_a_row(keys: Sequence[int]) -> range | None:
    """The range that these keys are, when they are of one run and rank and rise in equal steps."""
    if isinstance(keys, range):
        return keys
    first, last, step = keys[0], keys[-1], keys[1] - keys[0]
    if step <= 0 or first >> 32 != last >> 32 or last != first + step * (len(keys) - 1):
        return None
    row = range(first, last + 1, step)
    return row if all(map(eq, keys, row)) else None
