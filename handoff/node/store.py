"""The results that lie on this node: small ones as bytes, large ones in shared memory while there are descriptors. The first one wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from handoff.ids import RunId
from handoff.node.ahead import Ahead, Room
from handoff.node.shared_memory import (
    SharedValue,
    empty_shared,
    map_writable,
    received_whole,
    seal_received,
    take_memory,
    with_few_descriptors,
)

Value: TypeAlias = bytes | SharedValue


class ResultStore:
    """Packed values by run and task.

    `put` and `put_many` make values visible at once; a large value from elsewhere is written into what `receive` gives and
    becomes visible with `received`. A view of a value stays valid after the value was dropped. `memory_bytes`: what the node offers.
    """

    def __init__(self, memory_bytes: int | None = None) -> None:
        self.resident_bytes = 0                      # of all values here, complete or being received
        self.on_drop: Callable[[list[int]], None] | None = None  # told the serials of dropped shared values
        self._runs: dict[RunId, dict[int, Value]] = {}
        self._ahead = Ahead(memory_bytes)
        self._receiving: dict[RunId, dict[int, SharedValue]] = {}

    def put(self, run: RunId, task: int, value: Value) -> None:
        """Keep this value; a second one for the same task is ignored."""
        values = self._runs.setdefault(run, {})
        if self._ahead:
            self._ahead.leave(run, task)
        if task not in values:
            values[task] = with_few_descriptors(value) if type(value) is SharedValue else value
            self.resident_bytes += len(value)

    def put_many(self, run: RunId, tasks: Sequence[int], values: Sequence[Value]) -> None:
        """The same for a batch."""
        kept = self._runs.setdefault(run, {})
        size = 0
        if self._ahead:
            for task in tasks:
                self._ahead.leave(run, task)
        for task, value in zip(tasks, values, strict=True):
            if task not in kept:
                kept[task] = with_few_descriptors(value) if type(value) is SharedValue else value
                size += len(value)
        self.resident_bytes += size

    def get(self, run: RunId, task: int) -> Value | None:
        """The value, or None when it is not (completely) here."""
        values = self._runs.get(run)
        return None if values is None else values.get(task)

    def values(self, run: RunId) -> Mapping[int, Value]:
        """All that is (completely) here of a run, by task."""
        return self._runs.get(run, {})

    @property
    def count(self) -> int:
        """How many values are here."""
        return sum(map(len, self._runs.values()))

    def size(self, run: RunId, task: int) -> int:
        """How many bytes a value has; KeyError when it is not here."""
        return len(self._runs[run][task])

    def drop(self, run: RunId, tasks: Iterable[int]) -> None:
        """Free these values, and forget what is being received of them."""
        values, receiving = self._runs.get(run), self._receiving.get(run)
        freed: list[Value] = []
        for task in tasks:
            if self._ahead:
                self._ahead.leave(run, task)
            if values and task in values:
                freed.append(values.pop(task))
            if receiving and task in receiving:
                freed.append(receiving.pop(task))
        if values is not None and not values:    # what comes late of a run that is over would leave its number here for ever
            del self._runs[run]
        if receiving is not None and not receiving:
            del self._receiving[run]
        self._free(freed)

    def drop_run(self, run: RunId) -> None:
        """Free everything of a run."""
        self._ahead.leave_run(run)
        self._free([*self._runs.pop(run, {}).values(), *self._receiving.pop(run, {}).values()])

    def prepare(self, run: RunId, task: int, total: int) -> Room | None:
        """A value of this size is to come: where its memory can be taken until then; None where that has begun, or is not worth it.

        MemoryError when there is no room.
        """
        return None if self.get(run, task) is not None else self._ahead.prepare(run, task, total)

    def unprepare(self, run: RunId, task: int) -> None:
        """Let go of that."""
        self._ahead.leave(run, task)

    def receive(self, run: RunId, task: int, total: int) -> memoryview:
        """Memory for a value that arrives in pieces. Asking again starts over; MemoryError when there is no room."""
        value = self.allot(run, task, total)
        try:
            return map_writable(value)
        except MemoryError:
            self.abort(run, task)
            raise

    def allot(self, run: RunId, task: int, total: int, is_taken: bool = False) -> SharedValue:
        """The same for who writes to its file; with `is_taken`, no page of it is still to be had when that begins."""
        self.abort(run, task)
        value = self._ahead.leave(run, task) if self._ahead else None
        if value is None or value.nbytes != total:
            value = empty_shared(total)
            if is_taken:
                take_memory(value)
        self._receiving.setdefault(run, {})[task] = value
        self.resident_bytes += total
        return value

    def received(self, run: RunId, task: int) -> bool:
        """All pieces are written: the value becomes visible. False when it was dropped or aborted meanwhile."""
        value = self._no_more(run, task)
        if value is None:
            return False
        seal_received(value)
        self.resident_bytes -= value.nbytes
        self.put(run, task, value)
        return True

    def put_whole(self, run: RunId, task: int, data: memoryview) -> None:
        """Keep a large value that arrived in one piece; MemoryError when there is no room."""
        self.put(run, task, received_whole(data))

    def abort(self, run: RunId, task: int) -> None:
        """The value will not arrive: free its memory."""
        value = self._no_more(run, task)
        if value is not None:
            self.resident_bytes -= value.nbytes

    def _no_more(self, run: RunId, task: int) -> SharedValue | None:
        """It is not being received any more."""
        receiving = self._receiving.get(run)
        if receiving is None:
            return None
        value = receiving.pop(task, None)
        if not receiving:
            del self._receiving[run]
        return value

    def _free(self, values: list[Value]) -> None:
        self.resident_bytes -= sum(map(len, values))
        serials: list[int] = []
        for value in values:
            if type(value) is SharedValue:
                serials.append(value.serial)
        if serials and self.on_drop is not None:
            self.on_drop(serials)
