"""Columns: what is said about many tasks at once, as arrays of machine integers with one entry a task."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias, Union

Ints: TypeAlias = "array[int]"        # typecode "I": task numbers, attempts, peers, counts
Longs: TypeAlias = "array[int]"       # typecode "Q": bytes
Floats: TypeAlias = "array[float]"    # typecode "d": seconds, priorities
Body: TypeAlias = Union[bytes, bytearray, memoryview, tuple[Any, ...]]  # one buffer, or several to be sent back to back; received as one


# A column of these values, or an empty one. No functions of our own: a daemon makes several columns in each turn.
ints: Callable[..., Ints] = partial(array, "I")       # small numbers
longs: Callable[..., Longs] = partial(array, "Q")     # sizes in bytes
floats: Callable[..., Floats] = partial(array, "d")   # type: ignore[assignment]  # seconds or priorities


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
