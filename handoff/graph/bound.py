"""Callables that differ in the values bound to them alone, such as the lambdas and partials of a loop, as one callable and these values.

A callable costs a pickle, its loading, and a queue of its own; a value is a few bytes among a task's arguments. The first of its like
stays what it is: only from the second one on there is something to be shared. So does what could remember anything from one call to
the next: it may be meant to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from functools import partial
from opcode import opmap
from pathlib import PosixPath
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, TypeAlias

BOUND = "__bound__"       # the keyword by which a shared callable gets its values
VALUES_MAX = 32           # bound to one callable; and
TEXT_MAX = 1024           # characters or bytes of each: what is longer may have to travel on its own
USES_MAX = 3              # functions of a graph that one callable may have as their code: with more of them, it is shared as it is
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, PosixPath})   # they can't be changed
_STORES = frozenset({opmap["STORE_DEREF"], opmap["DELETE_DEREF"]})                   # to a variable that is enclosed, or encloses


class SharedPartial:
    """What partials of one callable share."""

    __slots__ = ("func", "like")

    def __init__(self, func: Callable[..., Any], like: Callable[..., Any] | None = None) -> None:
        self.func = func
        self.like = like     # the first of those that share it

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedPartial, (self.func,)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the partial with these values."""
        first, named = kwargs.pop(BOUND)
        return self.func(*first, *args, **{**named, **kwargs})


class SharedFunction:
    """What functions made by one `def` or `lambda` share: all but defaults and what is enclosed."""

    __slots__ = ("func", "like")

    def __init__(self, func: FunctionType, like: Callable[..., Any] | None = None) -> None:
        self.func = func     # without any
        self.like = like

    @property
    def __name__(self) -> str:
        return self.func.__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedFunction, (self.func,)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function with these values."""
        return _with(self.func, *kwargs.pop(BOUND))(*args, **kwargs)


Shared: TypeAlias = SharedPartial | SharedFunction
Values: TypeAlias = tuple[Any, ...]


class Bound(NamedTuple):
    """A callable in two parts."""

    shared: Shared
    values: Values


class Sharing:
    """The callables of a graph, as far as they share anything."""

    def __init__(self) -> None:
        self._first: dict[Hashable, Callable[..., Any]] = {}
        self._shared: dict[Hashable, Shared | None] = {}       # None: for those that can't

    def __len__(self) -> int:
        return len(self._first)

    def of(self, code: Any) -> Bound | None:
        """Its parts; None for one that is the first of its like, or has to stay what it is."""
        if type(code) is partial:
            values: Values = (code.args, code.keywords)
            plain = (*code.args, *code.keywords.values())
            key: Hashable = (id(code.func), len(code.args), tuple(code.keywords))
        elif type(code) is FunctionType:
            held = _held(code)
            if held is None:
                return None
            plain, defaults, named = held, code.__defaults__, code.__kwdefaults__
            values = (defaults, named, held[len(defaults or ()) + len(named or ()) :])
            key = (id(code.__code__), id(code.__globals__), code.__module__, code.__qualname__, len(defaults or ()), tuple(named or ()))
        else:
            return None
        if not 0 < len(plain) <= VALUES_MAX or vars(code) or not all(map(_is_plain, plain)):
            return None
        if key not in self._first and type(code) is partial and not _is_bare(code.func):
            return None
        first = self._first.setdefault(key, code)
        if first is code:
            return None
        if key not in self._shared:
            self._shared[key] = _share(code, first)
        shared = self._shared[key]
        return None if shared is None else Bound(shared, values)


def _held(function: FunctionType) -> Values | None:
    """Its defaults, and what it encloses; None where nothing is yet in some of that."""
    try:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        return None
    return (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *cells)


def _is_bare(func: Any) -> bool:
    """Whether it belongs to no object, as a method does, and, made within a function, holds nothing but a few plain values itself.

    Who keeps it keeps no more than its code then.
    """
    if type(func) is FunctionType and "<locals>" in func.__qualname__:
        held = _held(func)
        return held is not None and all(map(_is_plain, held)) and not _stores(func.__code__)
    return isinstance(func, (FunctionType, type)) or (type(func) is BuiltinFunctionType and isinstance(func.__self__, ModuleType | None))


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value) <= TEXT_MAX
    return kind in _PLAIN or (kind.__module__ == "numpy" and isinstance(value, sys.modules["numpy"].number))


def _share(code: Any, first: Callable[..., Any]) -> Shared | None:
    if type(code) is partial:
        return SharedPartial(code.func, first)
    if _stores(code.__code__):
        return None
    return SharedFunction(_with(code, None, None, (None,) * len(code.__closure__ or ())), first)


def _stores(code: CodeType) -> bool:
    """Whether it may write to what it encloses, or a function in it to what that encloses."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return not _STORES.isdisjoint(code.co_code[::2]) or any(map(_stores, inner))


def _with(function: FunctionType, defaults: Any, named: Any, cells: tuple[Any, ...]) -> FunctionType:
    made = FunctionType(function.__code__, function.__globals__, function.__name__, defaults, tuple(map(CellType, cells)))
    made.__kwdefaults__, made.__qualname__, made.__module__ = named, function.__qualname__, function.__module__
    return made
