"""Values that come again and again, and can't change, are read and written once: what equals one that was right is as right."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

REMEMBERED_MAX = 1024
REMEMBERED_BYTES_MAX = 8192        # of one of them: a kind, or the program of a call without its arguments, takes some hundred
ONE_TASK = array("I").itemsize     # bytes of a column of one task

Encode: TypeAlias = Callable[[Any], Any]
Decode: TypeAlias = Callable[[Any], Any]


class Shape(Protocol):
    """How one dataclass is read: see `codec`."""

    cls: type[Any]
    names: list[str]
    arguments: Callable[[tuple[Any, ...], int], list[Any]]

    def read(self, values: Any) -> Any:
        """A value from its fields."""


def remembering(read: Decode, most: int) -> Decode:
    """Reading a kind costs as much as the rest of a small message. What has more than `most` entries is not remembered."""
    known: dict[Any, Any] = {}

    def remembered(value: Any) -> Any:
        try:
            found = known.get(value) if len(value) <= most else read(value)
        except TypeError:  # it holds a map: `read` says what is wrong with it
            return read(value)
        if found is None:
            found = read(value)
            if _nbytes(value) <= REMEMBERED_BYTES_MAX:
                if len(known) >= REMEMBERED_MAX:
                    known.clear()
                known[value] = found
        return found

    return remembered


def _nbytes(value: Any) -> int:
    """About how much memory it takes, as it comes in a header."""
    if type(value) is tuple:
        return 8 * len(value) + sum(map(_nbytes, value))
    return len(value) if type(value) is bytes or type(value) is str else 8


def remembering_all_but_literals(shape: Shape, read_literals: Decode) -> Decode:
    """Programs of one task: those of a function that is called again and again differ in its arguments alone.

    Whoever changes a column of a program makes one of its own for that: they are shared.
    """
    known: dict[Any, tuple[Sequence[Any], Sequence[Any]]] = {}
    kinds, kind, literals = (shape.names.index(name) for name in ("kinds", "kind", "literals"))
    count = len(shape.names)

    def remembered(value: Any) -> Any:
        try:
            if len(value) != count or len(value[kinds]) != 1 or len(value[kind]) != ONE_TASK:
                return shape.read(value)
            key = value[:literals] + value[literals + 1 :]
            found = known.get(key)
            if found is not None:
                return shape.cls(*found[0], read_literals(value[literals]), *found[1])
        except (TypeError, ValueError):    # `read` says what is wrong with it
            return shape.read(value)
        columns = shape.arguments(value, 0)
        if _nbytes(key) <= REMEMBERED_BYTES_MAX:
            if len(known) >= REMEMBERED_MAX:
                known.clear()
            known[key] = columns[:literals], columns[literals + 1 :]
        return shape.cls(*columns)

    return remembered


def written_once(write: Encode) -> Encode:
    """A kind goes from its client to the coordinator and on to nodes, for each call of a function anew.

    They are told apart as objects, since to compare them takes as long as to write them; who is in here stays, and so does its number.
    """
    known: dict[int, tuple[Any, Any]] = {}

    def written(value: Any) -> Any:
        found = known.get(id(value))
        if found is None:
            if len(known) >= REMEMBERED_MAX:
                known.clear()
            found = known[id(value)] = (value, write(value))
        return found[1]

    return written
