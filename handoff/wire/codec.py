"""The one door to MessagePack: messages to a header and raw buffers, and back, with every type checked on the way in.

A header is the MessagePack array [tag, field, field, ...]. Columns travel in it as raw little-endian integers, so a million
numbers cost one copy; a field named `body` is not in the header at all: its buffers follow it as they are, and behind them the bytes of
literals, where they are many: the header says how many. How each class is written and read is derived once, at import, from the annotations
in `messages.py`.

Versions: fields are only ever added at the end, with a default. Unknown trailing fields are ignored, missing ones get their defaults.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgpack

from handoff import greetings, messages
from handoff.columns import Blobs, Body
from handoff.errors import ProtocolError
from handoff.messages import Message
from handoff.program import Kind, Program
from handoff.wire.compiled import EMPTY, Field, reader, writer
from handoff.wire.remembered import remembering, remembering_all_but_literals, written_once

Buffer: TypeAlias = Union[bytes, bytearray, memoryview]
Encode: TypeAlias = Callable[[Any], Any]
Decode: TypeAlias = Callable[[Any], Any]  # raises ValueError about what it got
Rule: TypeAlias = tuple["Encode | None", Decode]  # None: goes into the header as it is

LENGTH_MAX = 65536            # entries of an array or a map; columns travel as raw integers
TEXT_ERRORS = "surrogatepass"  # user code prints what it likes; a lone surrogate must not break the link
FEW = 4                       # entries of what is remembered as a whole
BESIDE_BYTES = 4096           # literals of so many bytes together follow the header: within it they would be copied at each end, and twice
BODY_BYTES_MAX = 64 << 20     # unless they would not fit there; as in the settings
SWAPPED = sys.byteorder == "big"

_packer = msgpack.Packer(use_bin_type=True, unicode_errors=TEXT_ERRORS)  # keeps its buffer: twice as fast as packb for small messages


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not allowed")


_read = partial(msgpack.unpackb, raw=False, use_list=False, strict_map_key=True, ext_hook=_no_extension, unicode_errors=TEXT_ERRORS,
                max_array_len=LENGTH_MAX, max_map_len=LENGTH_MAX)


# ── plain data ──────────────────────────────────────────────────────────────


# ── one field ───────────────────────────────────────────────────────────────


class _Column:
    """Stands for an annotation such as Ints, which Python sees as a plain array."""

    def __init__(self, typecode: str) -> None:
        self.typecode = typecode


_TYPECODES: dict[Decode, str] = {}  # of the rules for columns
_SCALARS: dict[Decode, type] = {}  # a value of this very type needs no call of its rule: most fields, most of the time


def _scalar(kind: type, *also: type) -> Rule:
    def decode(value: Any) -> Any:
        if type(value) is kind:
            return value
        if type(value) in also:
            return kind(value)
        raise ValueError(f"{type(value).__name__} instead of {kind.__name__}")

    _SCALARS[decode] = kind
    return None, decode


def _read_column(typecode: str, value: Any) -> array[Any]:
    if type(value) is not bytes:
        raise ValueError(f"{type(value).__name__} instead of a column of {typecode!r}")
    column = EMPTY[typecode][:]
    column.frombytes(value)  # ValueError when it is not a multiple of the item's size
    if SWAPPED:
        column.byteswap()
    return column


def _write_column(typecode: str, value: Any) -> bytes:
    if value.typecode != typecode:
        raise ProtocolError(f"a column of {value.typecode!r} where {typecode!r} is meant; build it with ints, longs or floats")
    if SWAPPED:
        value = array(typecode, value)
        value.byteswap()
    return value.tobytes()  # type: ignore[no-any-return]


def _column(typecode: str) -> Rule:
    def decode(value: Any) -> array[Any]:
        return _read_column(typecode, value)

    _TYPECODES[decode] = typecode
    return lambda value: _write_column(typecode, value), decode


def _blobs() -> Rule:
    def decode(value: Any) -> Blobs:
        if type(value) is not tuple or len(value) != 2 or type(value[1]) not in (bytes, memoryview):   # a view is made by _taken_in alone
            raise ValueError("not a column of byte strings")
        sizes = _read_column("I", value[0])
        if sum(sizes) != len(value[1]):
            raise ValueError(f"a column of byte strings says {sum(sizes)} bytes and has {len(value[1])}")
        return Blobs(sizes, value[1])

    return lambda value: (_write_column("I", value.sizes), value.data), decode


def _anything() -> Rule:
    """Plain data in an envelope of its own: answers may hold columns as lists, longer than arrays elsewhere may be."""

    def decode(value: Any) -> Any:
        if type(value) is not bytes:
            raise ValueError(f"{type(value).__name__} instead of packed data")
        data = _read(value, max_array_len=len(value))
        _refuse_extensions(data)
        return data

    return msgpack.Packer(use_bin_type=True, unicode_errors=TEXT_ERRORS).pack, decode


def _refuse_extensions(data: Any) -> None:
    """MessagePack's time stamps never reach the extension hook."""
    if type(data) is tuple:
        for each in data:
            _refuse_extensions(each)
    elif type(data) is dict:
        for each in data.values():
            _refuse_extensions(each)
    elif type(data) not in (int, float, str, bytes, bool, type(None)):
        raise ValueError(f"{type(data).__name__} is not plain data")


def _repeated(rule: Rule) -> Rule:
    """tuple[x, ...]"""
    write, read = rule

    def encode(value: Sequence[Any]) -> Sequence[Any]:
        if len(value) > LENGTH_MAX:
            raise ProtocolError(f"{len(value)} entries where a message may hold {LENGTH_MAX}; give equal tasks one function and one cost")
        return value if write is None else [write(each) for each in value]

    kind = _SCALARS.get(read)

    def decode(value: Any) -> tuple[Any, ...]:
        if type(value) is not tuple:
            raise ValueError(f"{type(value).__name__} instead of an array")
        return tuple([each if type(each) is kind else read(each) for each in value])

    return encode, decode


def _fixed(rules: list[Rule]) -> Rule:
    """tuple[x, y]"""
    reads = [(_SCALARS.get(read), read) for _, read in rules]
    writes = [write for write, _ in rules]
    plain = not any(writes)

    def encode(value: Sequence[Any]) -> Sequence[Any]:
        return value if plain else [write(each) if write else each for write, each in zip(writes, value, strict=True)]

    def decode(value: Any) -> tuple[Any, ...]:
        if type(value) is not tuple or len(value) != len(reads):
            raise ValueError(f"not an array of {len(reads)}")
        return tuple([each if type(each) is kind else read(each) for (kind, read), each in zip(reads, value, strict=True)])

    return encode, decode


def _rule(annotation: Any) -> Rule:
    """How a field of this type is written and read."""
    if isinstance(annotation, _Column):
        return _column(annotation.typecode)
    if annotation is Blobs:
        return _blobs()
    if annotation is Any:
        return _anything()
    if annotation is float:
        return _scalar(float, int)
    if get_origin(annotation) is tuple:
        parts = get_args(annotation)
        if parts[-1] is not Ellipsis:
            return _fixed([_rule(part) for part in parts])
        write, read = _repeated(_rule(parts[0]))
        return write, remembering(read, FEW) if Kind in get_args(parts[0]) else read
    if is_dataclass(annotation):
        shape = _Shape(annotation)  # type: ignore[arg-type]
        if annotation is Kind:
            return written_once(shape.write), remembering(shape.read, LENGTH_MAX)
        return shape.write, remembering_all_but_literals(shape, _blobs()[1]) if annotation is Program else shape.read
    annotation = getattr(annotation, "__supertype__", annotation)  # RunId is an int
    if annotation in (int, str, bytes, bool):
        return _scalar(annotation)
    raise TypeError(f"messages.py has a field of type {annotation}, for which the codec has no rule")


# ── one class ───────────────────────────────────────────────────────────────

_ANNOTATIONS = {**vars(greetings), **vars(messages), "Ints": _Column("I"), "Longs": _Column("Q"), "Floats": _Column("d"), "Body": Body}


class _Shape:
    """How one dataclass is written and read: its fields in order, without `body`."""

    def __init__(self, cls: type[Any]) -> None:
        hints = get_type_hints(cls, globalns=_ANNOTATIONS)
        listed = [each for each in fields(cls) if each.name != "body"]
        rules = [_rule(hints[each.name]) for each in listed]
        self.cls = cls
        self.names = [each.name for each in listed]
        self.has_body = len(listed) != len(fields(cls))
        self.needed = sum(1 for each in listed if each.default is MISSING and each.default_factory is MISSING)
        self._reads = [(_SCALARS.get(read), read) for _, read in rules]
        usual = [
            Field(name, write, read, _SCALARS.get(read), "" if SWAPPED else _TYPECODES.get(read, ""))
            for name, (write, read) in zip(self.names, rules, strict=True)
        ]
        self.write: Callable[[Any], list[Any]] = writer(usual)   # the fields of a value, as they go into a header
        self.arguments = reader(usual, self._arguments)          # the checked fields that begin at a place

    def read(self, values: Any) -> Any:
        """A value from its fields in a header, the outer envelope being a tuple."""
        if type(values) is not tuple:
            raise ValueError(f"{self.cls.__name__}: {type(values).__name__} instead of an array")
        return self.cls(*self.arguments(values, 0))

    def _arguments(self, values: tuple[Any, ...], start: int) -> list[Any]:
        """The checked fields that begin at `start`. Raises ValueError about what is wrong."""
        if len(values) - start < self.needed:
            raise ValueError(f"{self.cls.__name__} needs {self.needed} fields, got {len(values) - start}")
        found: list[Any] = []
        try:
            for (kind, read), value in zip(self._reads, values[start:], strict=False):
                found.append(value if type(value) is kind else read(value))
        except ValueError as error:
            raise ValueError(f"{self.cls.__name__}.{self.names[len(found)]}: {error}") from None
        return found


# ── messages ────────────────────────────────────────────────────────────────

_CLASSES: tuple[type[Any], ...] = get_args(Message)
_SHAPES = [_Shape(cls) for cls in _CLASSES]
_TAGS = {cls: (number, shape) for number, (cls, shape) in enumerate(zip(_CLASSES, _SHAPES, strict=True))}


# Where the literals of a message lie among the values of its header.
_LITERALS: dict[int, tuple[int, ...]] = {
    _TAGS[messages.Submit][0]: (
        1 + [each.name for each in fields(messages.Submit)].index("program"), [each.name for each in fields(Program)].index("literals")),
    _TAGS[messages.Plan][0]: (1 + [each.name for each in fields(messages.Plan)].index("literals"),),
}


def tag(cls: type[Any]) -> int:
    """The number of this class on the wire."""
    return _TAGS[cls][0]


def may_be(cls: type[Any], header: Buffer) -> bool:
    """Whether this may be the header of such a message, of one with few fields: all else need not be read to know that it is not."""
    return len(header) > 1 and header[0] & 0xF0 == 0x90 and header[1] == tag(cls)


def encode(message: Message, body_bytes_max: int = BODY_BYTES_MAX) -> tuple[bytes, list[Buffer]]:
    """The header of a message, and the buffers that follow it (not copied: leave them as they are until they are sent)."""
    number, shape = _TAGS[type(message)]
    values = shape.write(message)
    values.insert(0, number)
    buffers = _buffers(message.body) if shape.has_body else []  # type: ignore[union-attr]
    if number in _LITERALS:
        buffers += _taken_out(values, _LITERALS[number], body_bytes_max - sum(map(len, buffers)))
    return _packer.pack(values), buffers


def _taken_out(values: list[Any], path: tuple[int, ...], most: int) -> list[Buffer]:
    """The bytes of literals, where they are many and there is room for them behind the body; in the header stays how many."""
    for place in path[:-1]:
        values = values[place]
    sizes, data = values[path[-1]]
    if not BESIDE_BYTES <= len(data) <= most:
        return []
    values[path[-1]] = (sizes, len(data))
    return [data]


def _taken_in(values: tuple[Any, ...], path: tuple[int, ...], body: Buffer) -> tuple[tuple[Any, ...], Buffer]:
    """The values of a header, with the literals that follow the body, and the body without them."""
    place, *further = path
    if place >= len(values) or type(values[place]) is not tuple:
        return values, body      # whoever reads them says what is wrong
    if further:
        before, (inner, body) = values[place], _taken_in(values[place], tuple(further), body)
        if inner is before:
            return values, body
    else:
        inner = values[place]
        if len(inner) != 2 or type(inner[1]) is not int:
            return values, body
        end = len(body) - inner[1]
        if not 0 <= end <= len(body):
            raise ValueError(f"{inner[1]} bytes of literals are announced beside a header with {len(body)}")
        # Code is small, and stays for longer than what came with it.
        inner, body = (inner[0], memoryview(body)[end:]), bytes(memoryview(body)[:end])
    return (*values[:place], inner, *values[place + 1 :]), body


def _buffers(body: Body) -> list[Buffer]:
    found: list[Buffer] = []
    for part in body if type(body) is tuple else (body,):
        kind = type(part)
        if kind is bytes or kind is bytearray:
            if part:
                found.append(part)
        elif kind is tuple:
            found += _buffers(part)
        else:
            view = memoryview(part)
            if view.nbytes:
                found.append(view if view.format == "B" and view.ndim == 1 else view.cast("B"))
    return found


def decode(header: Buffer, body: Buffer | None = None) -> Message:
    """The message of a header and its body. Raises ProtocolError, whatever the bytes."""
    try:
        values = _read(header)
        if type(values) is not tuple or not values:
            raise ValueError("a header is an array that begins with a tag")
        number = values[0]
        if type(number) is not int or not 0 <= number < len(_SHAPES):
            raise ValueError(f"there is no message {number!r}")
        shape = _SHAPES[number]
        if body and len(body) >= BESIDE_BYTES and number in _LITERALS:
            values, body = _taken_in(values, _LITERALS[number], body)
        if not body:
            return shape.cls(*shape.arguments(values, 1))  # type: ignore[no-any-return]
        if not shape.has_body:
            raise ValueError(f"{shape.cls.__name__} has no body, got one of {len(body)} bytes")
        return shape.cls(*shape.arguments(values, 1), body=body)  # type: ignore[no-any-return]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"not a message: {str(error) or type(error).__name__}") from None
