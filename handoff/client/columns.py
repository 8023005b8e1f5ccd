"""A program while it grows: one column per thing known about its tasks."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from handoff.columns import Blobs, Floats, floats, ints, longs
from handoff.program import Flag, Kind, Program
from handoff.quoting import quoted
from handoff.wire.values import Packed, pack

OBJECT_BYTES = 128 * 1024            # literals over this size are put on a node instead of being sent through the coordinator
SHARED_BYTES = 64 * 1024             # so are literals over this size that several functions take,
LITERALS_BYTES_MAX = 16 * 1024 * 1024   # and all over it once literals make up this much of the submission,
FEW_BYTES = 1024                     # and all over this size once they make up twice as much: a message has room for four times as much;
PARCEL_BYTES = 32 * 1024             # such small ones travel together, so many bytes as one value: one costs as much as a task,
PARCELLED_BYTES = 8 * 1024           # where those up to this size do; who takes one reads all, which is little beside that
UNKNOWN = -1.0                       # in a column of expectations: nothing is said of this task

_OBJECT = Kind(codes=(), name="value", flags=Flag.OBJECT)


class Columns:
    """The tasks of a program, in the order of their numbers."""

    def __init__(self) -> None:
        self.kinds: dict[Kind, int] = {}
        self.kind: list[int] = []
        self.literals: list[bytes] = []
        self.fan_in: list[int] = []
        self.inputs: list[int] = []
        self.ids: list[Hashable] = []              # None: a task that the user has not written
        self.hidden: dict[int, str] = {}           # what such a task is
        self.objects: dict[int, Packed] = {}
        self.literal_bytes = 0
        self._object_of: dict[int, int] = {}       # identity of a value -> the task that brings it
        self._sizes: dict[int, int] = {}           # identity of a value of more than SHARED_BYTES -> its size
        self._kept: list[Any] = []                 # these values, so that their identities stay their own
        self._parcel: list[Any] = []               # values that will travel together, as the value of ...
        self._parcel_task = -1                     # ... this task;
        self._parcel_bytes = 0                     # how much they are
        self._place_of: dict[int, tuple[int, int]] = {}   # identity of a value that does -> the task that brings it, its place there

    @property
    def alone_bytes(self) -> int:
        """Literals over this size are looked at more closely: parts of them may travel on their own."""
        return SHARED_BYTES if self.literal_bytes < 2 * LITERALS_BYTES_MAX else FEW_BYTES

    def kind_number(self, kind: Kind) -> int:
        """The number of a kind, the same for equal ones."""
        return self.kinds.setdefault(kind, len(self.kinds))

    def add(self, kind: int, literal: bytes, inputs: Iterable[int], id: Hashable = None, hidden: str = "") -> int:
        """A new task; its number."""
        task = len(self.kind)
        self.kind.append(kind)
        self.literals.append(literal)
        self.literal_bytes += len(literal)
        before = len(self.inputs)
        self.inputs.extend(inputs)
        self.fan_in.append(len(self.inputs) - before)
        self.ids.append(id)
        if hidden:
            self.hidden[task] = hidden
        return task

    def object_of(self, value: Any) -> int | None:
        """The task that brings this very value, if it is an object already."""
        return self._object_of.get(id(value)) if self._object_of else None

    def add_object(self, value: Any, owner: Hashable, packed: Packed | None = None) -> int:
        """The task that brings this value: pickled and uploaded once, whoever takes it."""
        task = self._object_of.get(id(value))
        if task is None:
            packed = pack(value) if packed is None else packed
            task = self.add(self.kind_number(_OBJECT), b"", (), hidden=f"an argument of {quoted(owner)} ({packed.nbytes:,} bytes)")
            self.objects[task] = packed
            self._object_of[id(value)] = task
            self._kept.append(value)
        return task

    def parcelled(self, value: Any, owner: Hashable) -> tuple[int, int] | None:
        """The task that brings this value with others, and its place among them, when it is small and has to travel nevertheless."""
        if self.literal_bytes < 2 * LITERALS_BYTES_MAX:
            return None
        found = self._place_of.get(id(value))
        if found is not None:
            return found
        nbytes = pack(value).nbytes
        if not FEW_BYTES < nbytes <= PARCELLED_BYTES:
            return None
        if self._parcel_bytes + nbytes > PARCEL_BYTES:
            self._close_parcel()
        if not self._parcel:
            self._parcel_task = self.add(self.kind_number(_OBJECT), b"", (), hidden=f"an argument of {quoted(owner)}, and others beside it")
        found = self._place_of[id(value)] = (self._parcel_task, len(self._parcel))
        self._kept.append(value)
        self._parcel.append(value)
        self._parcel_bytes += nbytes
        return found

    def _close_parcel(self) -> None:
        if self._parcel:
            self.objects[self._parcel_task] = pack(self._parcel)
        self._parcel, self._parcel_bytes = [], 0

    def object_if_large(self, value: Any, owner: Hashable) -> int | None:
        """The task that brings this value, when it is too large, or too large to be sent to several, to stand in a literal."""
        task = self._object_of.get(id(value))
        if task is not None:
            return task
        size = self._sizes.get(id(value))
        if size is not None:                       # the second function that takes it
            return self.add_object(value, owner)
        packed = pack(value)
        if packed.nbytes > (OBJECT_BYTES if self.literal_bytes < LITERALS_BYTES_MAX else self.alone_bytes):
            return self.add_object(value, owner, packed)
        if packed.nbytes > SHARED_BYTES:
            self._sizes[id(value)] = packed.nbytes
            self._kept.append(value)
        return None

    def program(self, codes: Iterable[tuple[bytes, int]], groups: Iterable[Iterable[int]], near: Iterable[int] = (),
                seconds: Mapping[int, float] | None = None, nbytes: Mapping[int, float] | None = None) -> Program:
        """All of it. `near`: pairs of tasks; `seconds`, `nbytes`: what is expected of some tasks."""
        self._close_parcel()
        return Program(
            codes=tuple(codes),
            kinds=tuple(self.kinds),
            kind=ints(self.kind),
            literals=Blobs.of(self.literals),
            fan_in=ints(self.fan_in),
            inputs=ints(self.inputs),
            groups=tuple(map(ints, groups)),
            object_tasks=ints(self.objects),
            object_sizes=longs(packed.nbytes for packed in self.objects.values()),
            near=ints(near),
            seconds=self._expected(seconds),
            nbytes=self._expected(nbytes),
        )

    def _expected(self, known: Mapping[int, float] | None) -> Floats:
        """A column of what is known of some tasks; empty when nothing is known of any."""
        return floats(known.get(task, UNKNOWN) for task in range(len(self.kind))) if known else floats()
