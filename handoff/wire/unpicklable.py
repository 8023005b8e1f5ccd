"""Finds the part of a value or of code that can't be pickled, so that an error can name the variable instead of a type."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

PROBES_MAX = 300                     # pickling attempts in one search; a wide value ends it with the path found so far
DEPTH_MAX = 12                       # steps down

Probe = Callable[[Any], Any]         # raises when its argument can't be pickled


def find_unpicklable(value: Any, error: BaseException, name: str, probe: Probe) -> tuple[str, str]:
    """The path to the innermost part that can't be pickled, and why; never raises. With an empty name, paths are relative."""
    path, reason = name, _reason(error)
    if _is_too_deep(error):
        return path, reason              # no part of it is to blame more than another
    probes = PROBES_MAX
    seen: set[int] = set()
    try:
        for _ in range(DEPTH_MAX):
            seen.add(id(value))
            if _refuses(value):
                return path, reason
            for step, part in _parts(value):
                if id(part) in seen:
                    continue
                probes -= 1
                if probes < 0:
                    return path, reason
                failure = _failure(probe, part)
                if failure is not None:
                    value, path, reason = part, _joined(path, step), _reason(failure)
                    break
            else:
                return path, reason
    except BaseException:  # user code runs here: properties, __reduce__, __iter__
        pass
    return path, reason


def _failure(probe: Probe, part: Any) -> BaseException | None:
    try:
        probe(part)
    except BaseException as error:  # a user's __reduce__ may raise anything
        return error
    return None


def _refuses(value: Any) -> bool:
    """Whether it has a word of its own about being pickled, and the word is no: then none of its parts is to blame."""
    kind: Any = type(value)
    return kind.__reduce__ is not object.__reduce__ and _failure(lambda each: each.__reduce__(), value) is not None


def _is_too_deep(error: BaseException) -> bool:
    return isinstance(error, RecursionError) or isinstance(error.__cause__ or error.__context__, RecursionError)


def _reason(error: BaseException) -> str:
    if _is_too_deep(error):
        return "it is nested too deeply to be pickled"
    try:
        text = str(error)
    except BaseException:  # a user's __str__
        text = ""
    return text or type(error).__name__


def _joined(path: str, step: str) -> str:
    if step[0] in ".[" or not path:
        return path + step
    return f"{path}, {step}"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value is made of, each with the step that leads to it: "['model']", ".lock", "closure variable 'lock'"."""
    if isinstance(value, functools.partial):
        yield ".func", value.func
        yield from ((f"argument {index} of the partial", each) for index, each in enumerate(value.args))
        yield from ((f"keyword argument {name!r} of the partial", each) for name, each in value.keywords.items())
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield f"[{_short(key)}]", each
            yield f"key {_short(key)}", key
    elif isinstance(value, (list, tuple)):
        names = getattr(type(value), "_fields", ())
        yield from ((f".{names[index]}" if index < len(names) else f"[{index}]", each) for index, each in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f"element {_short(each)}", each) for each in value)
    elif isinstance(value, type):
        yield from ((f".{name}", each) for name, each in vars(value).items() if isinstance(name, str) and not name.startswith("__"))
    if not isinstance(value, (type, types.FunctionType, types.MethodType)):
        yield from _attributes(value)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    held = getattr(value, "__dict__", None)
    if isinstance(held, dict):
        yield from ((f".{name}", each) for name, each in held.items())
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if isinstance(name, str) and hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"closure variable {name!r}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f"global {name!r}", function.__globals__[name]
    yield from ((f"default value {index}", each) for index, each in enumerate(function.__defaults__ or ()))
    yield from ((f"default value of {name!r}", each) for name, each in (function.__kwdefaults__ or {}).items())
    yield from ((f".{name}", each) for name, each in vars(function).items())


def _global_names(code: types.CodeType) -> dict[str, None]:
    """Names that the code, and functions defined in it, may look up outside (a dict, to keep their order)."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(_global_names(constant))
    return names


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
