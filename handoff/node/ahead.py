"""Memory for large values that are still being written where they are made: taken meanwhile, so that they need not wait for it.

To find fresh pages for a value takes the kernel as long as to copy the bytes into them.
"""

from __future__ import annotations

import os

from handoff.ids import RunId
from handoff.node.shared_memory import SharedValue, empty_shared, take_memory

STEP_BYTES = 8 * 1024 * 1024     # at once: the file is locked meanwhile, and its bytes may have come
VALUES_MAX = 8                   # for so many at once; as many as are on their way at once,
BYTES_MAX = 1 << 30              # and so much for all of them: they may never come. Of one that is larger, its beginning ...
PART = 8                         # ... and no more than this part of the node's memory


class Room:
    """That for one value. `is_due`: its bytes come, or never will, and no more is taken by and by."""

    __slots__ = ("is_due", "nbytes", "value")

    def __init__(self, value: SharedValue, nbytes: int) -> None:
        self.value, self.nbytes, self.is_due = value, nbytes, False

    def take(self) -> None:
        """In a thread: take so much of it, as long as nobody has need of it. Where there is no more, the value finds out when it comes."""
        for start in range(0, self.nbytes, STEP_BYTES):
            if self.is_due:
                return
            try:
                take_memory(self.value, start, min(STEP_BYTES, self.nbytes - start))
            except MemoryError:
                return


class Ahead:
    """By run and task. `memory_bytes`: what the node has, which may be far less than its machine; None: as much."""

    def __init__(self, memory_bytes: int | None = None) -> None:
        self._rooms: dict[tuple[RunId, int], Room] = {}
        has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if memory_bytes is None else memory_bytes
        self._bytes_max = min(BYTES_MAX, has // PART)

    def __len__(self) -> int:
        return len(self._rooms)

    def prepare(self, run: RunId, task: int, nbytes: int) -> Room | None:
        """Room for a value of this size; None where there is one, or enough for others. MemoryError when there can't be."""
        key = run, task
        known = self._rooms.get(key)
        if known is not None and known.value.nbytes == nbytes:
            return None
        self.leave(run, task)
        left = self._bytes_max - sum([room.nbytes for room in self._rooms.values()])
        if len(self._rooms) >= VALUES_MAX or left <= 0:
            return None
        room = self._rooms[key] = Room(empty_shared(nbytes), min(nbytes, left))
        return room

    def leave(self, run: RunId, task: int) -> SharedValue | None:
        """The value comes, or will not: what there is for it."""
        room = self._rooms.pop((run, task), None)
        if room is None:
            return None
        room.is_due = True
        return room.value

    def leave_run(self, run: RunId) -> None:
        """Nothing more comes of it."""
        for key in [key for key in self._rooms if key[0] == run]:
            self.leave(*key)
