"""The table of code in a program: each distinct callable pickled once, and named by what it is made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

from handoff.client.family import family_of
from handoff.errors import NotSerializable
from handoff.graph.bound import SharedFunction, SharedPartial
from handoff.graph.function import name_of
from handoff.wire.failures import without_our_frames
from handoff.wire.values import digest, pack_named, unpicklable_part


class Code(NamedTuple):
    """A callable, as a program knows it."""

    digest: bytes
    name: str
    is_async: bool
    family: bytes


class CodeTable:
    """All code of a program."""

    def __init__(self) -> None:
        self.bytes: dict[bytes, bytes] = {}                    # by digest, in the order of first use
        self._families: dict[bytes, bytes] = {}                # by digest
        self._known: dict[int, tuple[Code, object]] = {}       # by identity; keeps the callable, so that the identity stays its own

    def add(self, code: Callable[..., Any], function: Hashable, role: str = "its code") -> Code:
        """The entry for this callable; `function` and `role` say in an error whose it is."""
        known = self._known.get(id(code))
        if known is not None:
            return known[0]
        try:
            data, name = pack_named(code)
        except Exception as error:
            path, reason = unpicklable_part(code.func if isinstance(code, SharedFunction) else code, error, "")
            raise NotSerializable(
                f"{function!r}: {role} ({name_of(code)}) can't be sent to a node: {f'{path}: ' if path else ''}{reason}. "
                "Make it inside the function, or pass as an argument what it is made from",
                function=function, path=path) from without_our_frames(error)
        like = code.like if isinstance(code, (SharedPartial, SharedFunction)) and code.like is not None else code
        entry = Code(name, name_of(like), is_async(like), family_of(like))
        self.bytes.setdefault(entry.digest, data)
        self._known[id(code)] = entry, code
        self._families[entry.digest] = entry.family
        return entry

    def family(self, digests: Sequence[bytes]) -> bytes:
        """The family of a task that calls all of these."""
        families = [self._families[each] for each in digests]
        if len(families) == 1:
            return families[0]
        return digest(b"".join([family or of for family, of in zip(families, digests, strict=True)])) if any(families) else b""


def is_async(code: Any) -> bool:
    """Whether calling it gives a coroutine: `async def`, also behind partials, methods and `__call__`."""
    if type(code) is FunctionType and not vars(code):     # the usual case, asked for each single call; else it may be marked as such
        return bool(code.__code__.co_flags & inspect.CO_COROUTINE)
    while isinstance(code, partial):
        code = code.func
    return inspect.iscoroutinefunction(code) or (not inspect.isroutine(code) and not isinstance(code, type)
                                                 and inspect.iscoroutinefunction(type(code).__call__))
