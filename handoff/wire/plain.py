"""Plain data as MessagePack, for what a node and its own workers say to each other.

It stands apart from `codec` so that a worker process starts without loading the whole vocabulary of messages.
"""

from __future__ import annotations

from typing import Any

import msgpack

from handoff.errors import ProtocolError

TEXT_ERRORS = "surrogatepass"    # users name things as they like
KEPT_BYTES = 1024 * 1024         # a packer keeps its buffer, unless it grew beyond this

_packers = [msgpack.Packer(use_bin_type=True)]    # one; to make it costs as much as what it does for a small message


def pack(data: Any) -> bytes:
    """The bytes of lists, dicts, strings, bytes and numbers. Not for two threads at once."""
    try:
        packed: bytes = _packers[0].pack(data)
        if len(packed) > KEPT_BYTES:
            _packers[0] = msgpack.Packer(use_bin_type=True)
        return packed
    except UnicodeEncodeError:  # a lone surrogate, in the name of a function or the like: slower, as `codec` does it
        return msgpack.packb(data, use_bin_type=True, unicode_errors=TEXT_ERRORS)  # type: ignore[no-any-return]


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """What `pack` was given, with lists for tuples; ProtocolError for anything that is not such bytes."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False, ext_hook=_no_extension, unicode_errors=TEXT_ERRORS)
    except (ValueError, TypeError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise ProtocolError(f"not plain data: {type(error).__name__}: {error}") from error


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} has no meaning here")
