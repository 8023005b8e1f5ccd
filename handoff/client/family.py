"""Which callables are one function with other values bound to it: closures of a loop, partials, methods of several objects.

Where they are many, what is learned of one holds for all of them, and they wait in one queue. What is called is always the callable itself.
"""

from __future__ import annotations

import sys
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

from handoff.wire.values import digest

_DEPTH_MAX = 8       # of callables bound to callables
_NAMED = (type, BuiltinFunctionType)


def family_of(code: Any) -> bytes:
    """The same for callables that differ in bound values alone; empty for those that have none, and those that go by their names."""
    if isinstance(code, _NAMED) or (isinstance(code, FunctionType) and (not _bound(code) or _goes_by_name(code))):
        return b""
    return digest(repr(_made_of(code, 0)).encode(errors="backslashreplace"))


def _made_of(code: Any, depth: int) -> object:
    """What tells it from other functions: its instructions, and the callables that are bound to it; of values their types alone."""
    if depth > _DEPTH_MAX:
        return "deep"
    if isinstance(code, partial):
        named = sorted((name, _value(value, depth)) for name, value in code.keywords.items())
        return "partial", _made_of(code.func, depth + 1), [_value(each, depth) for each in code.args], named
    if isinstance(code, MethodType):
        return "method", _made_of(code.__func__, depth + 1), _name(type(code.__self__))
    if isinstance(code, FunctionType) and not _goes_by_name(code):
        return "function", _name(code), _instructions(code.__code__), [_value(each, depth) for each in _bound(code)]
    return ("name", _name(code)) if isinstance(code, (*_NAMED, FunctionType)) else ("object", _name(type(code)))


def _bound(function: FunctionType) -> list[Any]:
    """The values of its closure, and of its defaults."""
    found = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:       # nothing is in it yet
            found.append(None)
    return found


def _value(value: Any, depth: int) -> object:
    return _made_of(value, depth + 1) if callable(value) else _name(type(value))


def _instructions(code: CodeType) -> object:
    parts = [_instructions(each) if isinstance(each, CodeType) else sorted(map(repr, each)) if isinstance(each, frozenset) else repr(each)
             for each in code.co_consts]
    return code.co_code, code.co_names, parts


def _name(of: Any) -> str:
    return f"{getattr(of, '__module__', '')}.{getattr(of, '__qualname__', type(of).__qualname__)}"


def _goes_by_name(function: FunctionType) -> bool:
    """Whether nodes import it: then its name is all that travels."""
    if function.__module__ == "__main__":
        return False
    at: Any = sys.modules.get(function.__module__)
    for step in function.__qualname__.split("."):
        at = getattr(at, step, None)
    return at is function
