"""Functions that read and write the fields of one class, written out for that class: a loop over rules takes twice as long.

They know the usual case only. Whatever is unusual (fields that are missing or too many, a number of another type, anything wrong) goes to
the general way, which has the last word and names what is wrong.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

EMPTY: dict[str, array[Any]] = {typecode: array(typecode) for typecode in "IQd"}   # stand for all that came without entries: they stay so

Slow = Callable[[tuple[Any, ...], int], list[Any]]


class Field:
    """How one field is read and written; `kind` or `typecode` say that it needs no call for that."""

    __slots__ = ("kind", "name", "read", "typecode", "write")

    def __init__(self, name: str, write: Callable[[Any], Any] | None, read: Callable[[Any], Any], kind: type | None, typecode: str) -> None:
        self.name, self.write, self.read = name, write, read
        self.kind = kind             # a value of this very type goes into a header as it is, and is right as it comes
        self.typecode = typecode     # of a column that travels as its raw bytes; empty: it is none


def reader(fields: Sequence[Field], slow: Slow) -> Slow:
    """`read(values, start)`: the checked fields that begin at `start`, as `slow` gives them."""
    checks, results = [], []
    scope: dict[str, Any] = {"slow": slow}
    for index, field in enumerate(fields):
        value = f"v{index}"
        if field.kind is not None:
            scope[f"t{index}"] = field.kind
            checks.append(f"type({value}) is t{index}")
            results.append(value)
        elif field.typecode:
            checks.append(f"type({value}) is bytes")
            scope[f"none_{field.typecode}"] = EMPTY[field.typecode]
            none = f"none_{field.typecode}"     # a copy of it, filled: see `columns`
            results.append(f"((column := {none}[:]).frombytes({value}) or column) if {value} else {none}")
        else:
            scope[f"r{index}"] = field.read
            results.append(f"r{index}({value})")
    made: Slow = _made(f"""
def read(values, start):
    try:
        {"".join(f"v{index}, " for index in range(len(fields)))} = values[start:]
        if {" and ".join(checks) or "True"}:
            return [{", ".join(results)}]
    except ValueError:
        pass
    return slow(values, start)
""", "read", scope)
    return made


def writer(fields: Sequence[Field]) -> Callable[[Any], list[Any]]:
    """`write(value)`: the fields of a value, as they go into a header."""
    results: list[str] = []
    scope: dict[str, Any] = {}
    for index, field in enumerate(fields):
        value, write = f"value.{field.name}", f"w{index}"
        if field.write is None:
            results.append(value)
            continue
        scope[write] = field.write
        if field.typecode:
            results.append(f"column.tobytes() if (column := {value}).typecode == {field.typecode!r} else {write}(column)")
        else:
            results.append(f"{write}({value})")
    made: Callable[[Any], list[Any]] = _made(f"def write(value):\n    return [{', '.join(results)}]\n", "write", scope)
    return made


def _made(source: str, name: str, scope: Mapping[str, Any]) -> Any:
    """The function of this name that the source defines; all of it is made of names and numbers of our own."""
    namespace = dict(scope)
    exec(source, namespace)
    return namespace[name]
