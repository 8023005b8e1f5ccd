"""Memory for large values that are still being written where they are made: taken meanwhile, so that they need not wait for it.

To find fresh pages for a value takes the kernel as long as to copy the bytes into them.
"""

from __future__ import annotations

from handoff.ids import RunId
from handoff.node.shared_memory import SharedValue, empty_shared, take_memory

STEP_BYTES = 8 * 1024 * 1024     # at once: the file is locked meanwhile, and its bytes may have come
VALUES_MAX = 8                   # at once; as many as are on their way at once


class Room:
    """That for one value. `is_due`: its bytes come, or never will, and no more is taken by and by."""

    __slots__ = ("is_due", "value")

    def __init__(self, value: SharedValue) -> None:
        self.value, self.is_due = value, False

    def take(self) -> None:
        """In a thread: take all of it, as long as nobody has need of it. Where there is no more, the value finds out when it comes."""
        for start in range(0, self.value.nbytes, STEP_BYTES):
            if self.is_due:
                return
            try:
                take_memory(self.value, start, min(STEP_BYTES, self.value.nbytes - start))
            except MemoryError:
                return


class Ahead:
    """By run and task."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[RunId, int], Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def prepare(self, run: RunId, task: int, nbytes: int) -> Room | None:
        """Room for a value of this size; None where there is one, or enough for others. MemoryError when there can't be."""
        key = run, task
        known = self._rooms.get(key)
        if known is not None and known.value.nbytes == nbytes:
            return None
        self.leave(run, task)
        if len(self._rooms) >= VALUES_MAX:
            return None
        room = self._rooms[key] = Room(empty_shared(nbytes))
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
