"""Columns: what is said about many tasks at once, as arrays of machine integers with one entry a task."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, Union

Ints: TypeAlias = "array[int]"        # typecode "I": task numbers, attempts, peers, counts
Longs: TypeAlias = "array[int]"       # typecode "Q": bytes
Floats: TypeAlias = "array[float]"    # typecode "d": seconds, priorities
Body: TypeAlias = Union[bytes, bytearray, memoryview, tuple[Any, ...]]  # one buffer, or several to be sent back to back; received as one


# A daemon makes several columns in each turn. To copy an empty one and fill it takes a third of what it takes to make one: the interpreter
# reports to audit hooks whatever calls `array`, and daemons have one (`trust/audit.py`).
_INTS, _LONGS, _FLOATS = array("I"), array("Q"), array("d")


def ints(values: Iterable[int] = ()) -> Ints:
    """A column of these small numbers, or an empty one."""
    column = _INTS[:]
    column.extend(values)
    return column


def longs(values: Iterable[int] = ()) -> Longs:
    """A column of these sizes in bytes, or an empty one."""
    column = _LONGS[:]
    column.extend(values)
    return column


def floats(values: Iterable[float] = ()) -> Floats:
    """A column of these seconds or priorities, or an empty one."""
    column = _FLOATS[:]
    column.extend(values)
    return column


class Blobs(Sequence[bytes]):
    """A column of byte strings, kept as one: `sizes` and their concatenation."""

    __slots__ = ("_starts", "data", "sizes")

    def __init__(self, sizes: Ints, data: bytes | memoryview) -> None:
        self.sizes = sizes
        self.data: Any = data       # of what came in a message maybe a part of its body, not copied
        self._starts: list[int] | None = None

    @classmethod
    def of(cls, values: Iterable[bytes]) -> Blobs:
        """The column that holds these."""
        kept = list(values)
        return cls(ints(map(len, kept)), b"".join(kept))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: Any) -> Any:
        if self._starts is None:
            starts, at = [], 0
            for size in self.sizes:
                starts.append(at)
                at += size
            self._starts = starts
        start = self._starts[index]
        return self.data[start : start + self.sizes[index]]

    def __iter__(self) -> Iterator[bytes]:
        at, data = 0, self.data
        for size in self.sizes:
            yield data[at : at + size]
            at += size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blobs) and self.sizes == other.sizes and self.data == other.data

    def __hash__(self) -> int:
        return hash(bytes(self.data))

    def __repr__(self) -> str:
        return f"Blobs.of({list(self)!r})"
