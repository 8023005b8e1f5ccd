"""User code and values to bytes and back: the one door to pickle. Only workers and clients come through it.

A value is one contiguous block: a plain pickle, or, when it holds buffers (arrays), `HV`, lengths, the pickle and then the buffers, so
that the block can lie in shared memory and be read in place:

    "HV" u16:0 u32:count u64:pickle length | u64 length of each buffer | pickle | buffers, each aligned from the start of the block

What `unpack` returns shares the block's memory instead of copying it, and can't write to it: results are immutable.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

from handoff.wire.by_value import as_here, dumps, dumps_code, dumps_content, dumps_error
from handoff.wire.classes import State, own, put_back, with_states
from handoff.wire.failures import describe_exception
from handoff.wire.unpicklable import find_unpicklable

__all__ = [
    "Packed", "as_here", "describe_exception", "digest", "explain_unpicklable", "pack", "pack_code", "pack_exception", "pack_named",
    "pack_plain", "pack_result", "pack_simple", "put_back", "unpack", "unpack_code", "unpack_code_and_classes", "unpack_exception",
    "unpicklable_part",
]

_MARK = b"HV"
_HEAD = struct.Struct("<2sHIQ")
_LARGE_BYTES = 4096                  # a buffer from this size on starts on a cache line (and vector instructions like it);
_LARGE_ALIGNMENT = 64
_SMALL_ALIGNMENT = 16                # a thousand tiny arrays in one value should not be mostly padding
_EXCEPTION_BYTES_MAX = 1024 * 1024   # an exception that carries more than this travels as text

# Types that pickle treats exactly as cloudpickle does, only ten times faster. Exact types: a subclass may live in __main__.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


class Packed(NamedTuple):
    """A value as a block: `parts` are buffers to be written back to back, `nbytes` is their sum."""

    nbytes: int
    parts: tuple[bytes | memoryview, ...]

    def join(self) -> bytes:
        """The block in one piece (a copy, unless it is in one piece already)."""
        only = self.parts[0]
        return only if len(self.parts) == 1 and isinstance(only, bytes) else b"".join(self.parts)

    def kept(self) -> Packed:
        """The same, which stays as it is whatever becomes of the arrays that it was made of: those that can change are copied."""
        return Packed(self.nbytes, tuple(part if isinstance(part, bytes) or part.readonly else bytes(part) for part in self.parts))


# ── values ──────────────────────────────────────────────────────────────────


def pack(value: Any) -> Packed:
    """A client's value as a block; what is defined in `__main__` goes by value. Raises whatever pickling raises."""
    if is_plain(value):
        data = pickle.dumps(value, 5)
        return Packed(len(data), (data,))
    buffers: list[pickle.PickleBuffer] = []
    return _block(dumps(value, buffers.append), buffers)


def pack_result(value: Any) -> Packed:
    """The same for a worker's result: tries the fast pickle first, which is right there, since `__main__` is not the user's."""
    if type(value) is bytes and len(value) >= _LARGE_BYTES:
        return _bytes_in_place(value)
    if type(value) in _PLAIN:
        data = pickle.dumps(value, 5)
        return Packed(len(data), (data,))
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    except Exception:  # a class or function that came by value can't be found by name
        buffers.clear()
        data = dumps(value, buffers.append)
    if not buffers:
        return Packed(len(data), (data,))
    return _block(data, buffers)


def pack_plain(value: Any) -> bytes:
    """The same as `pack`, in one piece; for arguments, which are small."""
    return pickle.dumps(value, 5) if is_plain(value) else pack(value).join()


# The same for a number, a text or bytes, exactly of that type: nothing is looked at for most of what short tasks return.
pack_simple: Callable[[Any], bytes] = partial(pickle.dumps, protocol=5)


def unpack(block: bytes | bytearray | memoryview) -> Any:
    """The value of a block. Its arrays are read-only views of the block, which they keep alive."""
    if block[0] != _MARK[0]:
        return pickle.loads(block)
    view = memoryview(block).toreadonly().cast("B")
    _, version, count, pickle_length = _HEAD.unpack_from(view)
    if version:
        raise ValueError(f"this value was written in layout {version}, by a newer Handoff; this one reads layout 0")
    at = _HEAD.size + 8 * count
    lengths = struct.unpack_from(f"<{count}Q", view, _HEAD.size)
    pickled = view[at : at + pickle_length]
    at += pickle_length
    buffers = []
    for length in lengths:
        at += _padding(at, length)
        buffers.append(view[at : at + length])
        at += length
    if at != len(view):
        raise ValueError(f"this value should be {at} bytes long but is {len(view)}; it was cut or damaged on its way")
    return pickle.loads(pickled, buffers=buffers)


def is_plain(value: Any, depth: int = 3) -> bool:
    """Whether plain pickle writes the value exactly as cloudpickle would: simple types and small tuples, lists and dicts of them."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if depth and (kind is tuple or kind is list):
        return len(value) <= 16 and all(is_plain(each, depth - 1) for each in value)
    if depth and kind is dict:
        return len(value) <= 16 and all(type(key) in _PLAIN and is_plain(each, depth - 1) for key, each in value.items())
    return False


def _padding(at: int, length: int) -> int:
    """How many bytes lie between `at` and the start of a buffer of this length."""
    return -at % (_LARGE_ALIGNMENT if length >= _LARGE_BYTES else _SMALL_ALIGNMENT)


def _bytes_in_place(value: bytes) -> Packed:
    """The pickle of bytes, not copied: what pickle writes, but for frames, which are optional (opcodes: see pickletools)."""
    head = b"\x80\x05B" + struct.pack("<I", len(value)) if len(value) < 1 << 32 else b"\x80\x05\x8e" + struct.pack("<Q", len(value))
    return Packed(len(head) + len(value) + 1, (head, value, b"."))


def _block(data: bytes, buffers: list[pickle.PickleBuffer]) -> Packed:
    if not buffers:
        return Packed(len(data), (data,))
    views = [buffer.raw() for buffer in buffers]
    head = _HEAD.pack(_MARK, 0, len(views), len(data)) + struct.pack(f"<{len(views)}Q", *(view.nbytes for view in views)) + data
    parts = tuple(_laid_out(head, views))
    return Packed(sum(len(part) for part in parts), parts)


def _laid_out(head: bytes, views: list[memoryview]) -> Iterator[bytes | memoryview]:
    """The head, then paddings and buffers; small neighbours are joined, so that a value is few parts to write."""
    at = len(head)
    small = [head]
    for view in views:
        padding = _padding(at, view.nbytes)
        at += padding + view.nbytes
        small.append(bytes(padding))
        if view.nbytes < _LARGE_BYTES:
            small.append(bytes(view))
        else:
            yield b"".join(small)
            small.clear()
            yield view
    if small:
        yield b"".join(small)


# ── code ────────────────────────────────────────────────────────────────────


def pack_code(code: Callable[..., Any]) -> bytes:
    """A callable as bytes: by name where a module of its own has it, by value from `__main__`, lambdas and closures."""
    return dumps_code(code)[0]


def pack_named(code: Callable[..., Any]) -> tuple[bytes, bytes]:
    """The same, and its digest, which does not depend on where the files of its lines are."""
    data, essence = dumps_code(code)
    return data, digest(essence)


def unpack_code(data: bytes | bytearray | memoryview) -> Any:
    """The callable. Raises what importing its modules raises, such as ModuleNotFoundError."""
    return pickle.loads(data)


def unpack_code_and_classes(data: bytes | bytearray | memoryview) -> tuple[Any, list[State]]:
    """The same, and the classes that came with it, for `put_back` before it is called."""
    return with_states(lambda: pickle.loads(data), lambda content: digest(dumps_content(content)))


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """The name of code: 16 bytes made from its content."""
    return blake2b(data, digest_size=16).digest()


# ── errors ──────────────────────────────────────────────────────────────────


def pack_exception(error: BaseException) -> bytes:
    """The exception as bytes, or b"" when it would not arrive as the same type."""
    try:
        data = dumps_error(error)
        if len(data) <= _EXCEPTION_BYTES_MAX and type(own(lambda: pickle.loads(data))) is type(error):
            return data
    except BaseException:  # a user's __reduce__ or __init__ may raise anything
        pass
    return b""


def unpack_exception(data: bytes | bytearray | memoryview) -> BaseException | None:
    """The exception, or None when there is none or when it can't be built here."""
    try:
        error = pickle.loads(data) if data else None
    except BaseException:  # a class that is missing here, or whose __init__ raises
        return None
    return error if isinstance(error, BaseException) else None


def explain_unpicklable(value: Any, error: BaseException, name: str = "result") -> str:
    """Where in a value lies what can't be pickled, such as "result['model'].lock: cannot pickle '_thread.lock' object". Never raises."""
    path, reason = unpicklable_part(value, error, name)
    return f"{path}: {reason}" if path else reason


def unpicklable_part(value: Any, error: BaseException, name: str = "result") -> tuple[str, str]:
    """The path to that part, and why it can't be pickled. For code, `name` is empty and the path says "closure variable 'lock'"."""
    return find_unpicklable(value, error, name, lambda part: dumps(part, lambda buffer: None))
