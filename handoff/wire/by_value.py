"""Pickles code and values of a script, which no node can import, by value: the one door to cloudpickle, and what cloudpickle leaves out."""

from __future__ import annotations

import builtins
import copyreg
import functools
import io
import pickle
import sys
import threading
import typing
import weakref
from collections import ChainMap
from collections.abc import Callable, Hashable, Iterable, Iterator
from types import CellType, CodeType, FunctionType
from typing import Any

import cloudpickle

from handoff.wire.classes import as_copy, as_name

_SCRIPT = "__mp_main__"              # what multiprocessing calls the script in processes that it did not fork
CODE_KNOWN_MAX = 256                 # functions of which the pickle is remembered
_TEXTS = frozenset({str, type(None)})
_BUILTIN = frozenset([each for each in vars(builtins).values() if type(each) is type])


def dumps(value: Any, take: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
    """The pickle of a value; `take` gets its buffers."""
    return _dumped(_Pickler, value, take)


def dumps_code(code: Callable[..., Any]) -> tuple[bytes, bytes]:
    """The pickle of a callable, and what of it is the same wherever the files lie that tracebacks name: cells have others each time."""
    if (named := _known_names.get(id(code))) is not None and named[0] is code and _name_at(code) == named[1]:
        return named[2], named[2]
    made_of = _all_of(code)
    if made_of is not None and (known := _known_code.get(id(code.__code__))) is not None and known[0] == made_of:
        return known[1]
    before, _files.seen = getattr(_files, "seen", None), {}
    try:
        data = dumps(code)
        found = data, _without(_files.seen, data) if _files.seen else data
    finally:
        _files.seen = before
    if made_of is not None:
        if len(_known_code) >= CODE_KNOWN_MAX:
            _known_code.clear()
        _known_code[id(code.__code__)] = made_of, found
    elif (at := _name_at(code)) is not None:
        if len(_known_names) >= CODE_KNOWN_MAX:
            _known_names.clear()
        _known_names[id(code)] = code, at, found[0]
    return found


def _without(files: Iterable[str], data: bytes) -> bytes:
    data = data[_FRAME_BYTES:]     # the length of what follows
    for file in files:
        name = file.encode(errors="surrogatepass")
        head = b"\x8c" + len(name).to_bytes(1, "little") if len(name) < 256 else b"X" + len(name).to_bytes(4, "little")
        data = data.replace(head + name, b"", 1)   # it is written once; the next one is a value that is equal, and counts
    return data


def dumps_error(error: BaseException) -> bytes:
    """The pickle of an exception."""
    return _dumped(_ErrorPickler, error, None)


def dumps_content(content: Any) -> bytes:
    """The pickle of what a class is made of, to be compared with others, and not to be read."""
    return _dumped(_ContentPickler, content, None)


def _dumped(pickler: Any, value: Any, take: Callable[[pickle.PickleBuffer], Any] | None) -> bytes:
    script = sys.modules.get(_SCRIPT)
    if script is not None and script.__name__ == _SCRIPT:
        cloudpickle.register_pickle_by_value(script)
    file = io.BytesIO()
    pickler(file, 5, buffer_callback=take).dump(value)
    return file.getvalue()


# ── functions that come again ───────────────────────────────────────────────

# What goes into the pickle of a function and what came of it, by the identity of its code, which stays its own as long as it is in here.
_known_code: dict[int, tuple[tuple[Any, ...], tuple[bytes, bytes]]] = {}

# Functions that go by their names, by identity: themselves, where they were found, and their pickles.
_known_names: dict[int, tuple[Any, tuple[Any, str], bytes]] = {}


def _name_at(function: Any) -> tuple[Any, str] | None:
    """The module in which a function is found by its name, and the name, which are all that its pickle is made of; None for all others."""
    if type(function) is not FunctionType or FunctionType in copyreg.dispatch_table:
        return None
    name, module, by_value = function.__qualname__, function.__module__, cloudpickle.list_registry_pickle_by_value()
    if by_value and any(f"{module}.".startswith(f"{each}.") for each in by_value):
        return None
    at = sys.modules.get(module) if type(module) is str and module != "__main__" else None
    return (at, f"{module} {name}") if at is not None and getattr(at, "__dict__", {}).get(name) is function else None


def _all_of(function: Any) -> tuple[Any, ...] | None:
    """All that goes into the pickle of a function by value which has nothing of its own and reads nothing around it; None for all others.

    Such a one is called again and again, and to compare these takes a fifth of the time of the pickle. What has defaults, attributes or
    encloses anything is pickled anew each time, since these may have been changed in place.
    """
    if type(function) is not FunctionType or vars(function) or getattr(function, "__type_params__", None):
        return None
    if function.__defaults__ is not None or function.__kwdefaults__ is not None or not all(map(_holds_none, function.__closure__ or ())):
        return None
    code, module, qualname, around = function.__code__, function.__module__, function.__qualname__, function.__globals__
    if (module != "__main__" and "<locals>" not in qualname) or "__path__" in around:
        return None      # it may go by its name; or it is of a package
    known = _known_code.get(id(code))
    names: frozenset[str] = known[0][0] if known is not None else _names_in(code)
    if not around.keys().isdisjoint(names):
        return None
    annotations, doc = function.__annotations__, function.__doc__
    package, name, file = around.get("__package__"), around.get("__name__"), around.get("__file__")
    if not _TEXTS.issuperset(map(type, (module, doc, package, name, file))) or not all(map(_is_plain, annotations.values())):
        return None
    is_there = "__package__" in around, "__name__" in around, "__file__" in around
    return names, code, function.__name__, qualname, module, doc, tuple(annotations.items()), package, name, file, is_there


def _holds_none(cell: CellType) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:       # nothing is in it yet
        return False


def _names_in(code: CodeType) -> frozenset[str]:
    """What it may read of its globals, functions within it included; names of attributes are among these."""
    return frozenset(code.co_names).union(*[_names_in(each) for each in code.co_consts if isinstance(each, CodeType)])


def _is_plain(annotation: Any) -> bool:
    return annotation is None or type(annotation) is str or (type(annotation) is type and annotation in _BUILTIN)


# ── what would go by a name in the script, or not at all ────────────────────


def _name_of(value: Any, qualname: str) -> str | None:
    """By which name a node finds the same; None if it does not."""
    at: Any = sys.modules.get(value.__module__)
    by_value = {"__main__", *cloudpickle.list_registry_pickle_by_value()}
    if at is None or any(f"{at.__name__}.".startswith(f"{each}.") for each in by_value):
        return None
    for step in qualname.split("."):
        at = getattr(at, step, None)
    return qualname if at is value else None


_files = threading.local()           # `seen`: those of the code that this thread writes just now, as strings that nothing else has
_FRAME_BYTES = 11                    # with which a pickle begins
_reduce_code_nowhere = cloudpickle.Pickler.dispatch_table[CodeType]    # cloudpickle leaves out the file
_FILE = _reduce_code_nowhere(_dumped.__code__)[1].index("<dynamic-code>")


def _reduce_code(code: CodeType) -> Any:
    make, parts = _reduce_code_nowhere(code)
    return make, (*parts[:_FILE], _seen(code.co_filename), *parts[_FILE + 1 :])


def _seen(file: str) -> str:
    """The name of a file of code, as it is written: `__file__` may be the same string, and decides what a function does that reads it."""
    seen: dict[str, str] | None = getattr(_files, "seen", None)
    if seen is None:
        return file
    return seen.get(file) or seen.setdefault(file, "".join((file[:1], file[1:])))


def _reduce_cached(cached: Any) -> Any:
    known = cached.cache_parameters()
    return _name_of(cached, getattr(cached, "__qualname__", "")) or (     # a partial has none
        _cached, (cached.__wrapped__, known["maxsize"], known["typed"]), dict(vars(cached)))


def _cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Callable[..., Any]:
    """A function that remembers its results, with none so far."""
    return functools.lru_cache(maxsize, typed)(function)


def _reduce_cached_property(cached: Any) -> Any:
    return functools.cached_property, (cached.func,), {"attrname": cached.attrname, "__doc__": cached.__doc__}


def _reduce_new_type(kind: Any) -> Any:
    return _name_of(kind, kind.__qualname__) or (typing.NewType, (kind.__qualname__, kind.__supertype__), {"__module__": kind.__module__})


def _reduce_parameters(parameters: Any) -> Any:
    return _name_of(parameters, parameters.__name__) or (typing.ParamSpec, (parameters.__name__,))


def _reduce_weak(weak: Any) -> Any:
    return weakref.WeakKeyDictionary, (dict(weak),)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    dispatch_table: typing.ClassVar[Any] = ChainMap(
        {
            CodeType: _reduce_code,
            type(functools.cache(len)): _reduce_cached,
            functools.cached_property: _reduce_cached_property,         # in Python 3.11 it holds a lock
            typing.NewType: _reduce_new_type,
            typing.ParamSpec: _reduce_parameters,                       # in the annotations of what a decorator made
            weakref.WeakKeyDictionary: _reduce_weak,                    # in functions of functools.singledispatch
        },
        cloudpickle.Pickler.dispatch_table,
    )

    def reducer_override(self, value: Any) -> Any:
        """How to write this value; NotImplemented: as pickle does."""
        if not isinstance(value, (type, FunctionType)):      # most values: it is asked of each
            return NotImplemented
        how = super().reducer_override(value)
        return how if how is NotImplemented else as_copy(how)

    def _function_getnewargs(self, func: FunctionType) -> Any:
        made = super()._function_getnewargs(func)
        given, file = made[1], func.__code__.co_filename    # the globals that a function gets whatever it reads
        if given.get("__file__") == file:
            given["__file__"] = _seen(file)
        return made


class _ContentPickler(_Pickler):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._texts: dict[str, str] = {}

    def persistent_id(self, value: Any) -> str | None:
        """A text counts as itself, one object or several: names in code are those that other code brought here first."""
        return self._texts.setdefault(value, value) if type(value) is str else None

    def reducer_override(self, value: Any) -> Any:
        """How to write this value; NotImplemented: as pickle does."""
        how = super().reducer_override(value)
        return how if how is NotImplemented else as_name(how)


# ── what came from another process of the script ────────────────────────────


def as_here(id: Hashable) -> Hashable:
    """An id as this script would have made it: of its classes, those that came by value are those of the same name here.

    Where that can't be (there is no such class, or another one), the id itself.
    """
    file = io.BytesIO()
    try:
        _HerePickler(file, 5).dump(id)
        found: Hashable = pickle.loads(file.getvalue())
        hash(found)
    except Exception:
        return id
    return found


class _HerePickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """A class of a script goes by its name; all else as pickle does it."""
        if isinstance(value, type) and value.__module__ == "__main__":
            return _class_here, (value.__qualname__,)
        return NotImplemented


def _class_here(qualname: str) -> Any:
    at: Any = sys.modules["__main__"]
    for step in qualname.split("."):
        at = getattr(at, step)
    return at


# ── exceptions ──────────────────────────────────────────────────────────────


class _ErrorPickler(_Pickler):
    """Writes exceptions so that they are built again as they were.

    What pickle keeps of one are its `args`, which it hands to the class. A class whose `__init__` makes a text of what it is given would
    make it a second time ("can't fetch can't fetch x"), or misses what it is no more given: there, that `__init__` is not called.
    """

    def reducer_override(self, value: Any) -> Any:
        """How to write this value; NotImplemented: as pickle does."""
        kind: Any = type(value)
        if isinstance(value, BaseException) and type(kind.__init__) is FunctionType and type(kind.__new__) is not FunctionType and not any(
            isinstance(vars(each).get(name), FunctionType) for each in kind.__mro__ for name in ("__reduce__", "__reduce_ex__")
        ):
            kept: Any = value.__reduce__()
            slots = {name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}
            return _built, (kind, kept[1]), {**((kept[2] if len(kept) > 2 else None) or {}), **slots} or None
        return super().reducer_override(value)


def _slots(kind: type) -> Iterator[str]:
    for each in kind.__mro__:
        named = vars(each).get("__slots__", ())
        yield from (named,) if isinstance(named, str) else named


def _built(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An exception with these `args`, by the `__init__` of the builtin one that its class goes back to."""
    error: BaseException = kind.__new__(kind, *args)
    for each in kind.__mro__:
        own = vars(each).get("__init__")
        if own is not None and type(own) is not FunctionType:
            own(error, *args)
            break
    return error
