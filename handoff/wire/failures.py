"""What went wrong in user code, as text that always fits: type, message and traceback, whatever the exception does to prevent it."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from os import sep
from pathlib import Path

TEXT_MAX = 64 * 1024                 # characters; of longer texts the head and the tail remain

_OURS = f"{Path(__file__).resolve().parent.parent}{sep}"  # frames of files under here say nothing about the user's code
_PICKLERS = f"{sep}cloudpickle{sep}"                       # nor do these


def describe_exception(error: BaseException) -> tuple[str, str, str]:
    """The exception's qualified type name, its message, and its traceback with causes and notes, without Handoff's own frames.

    Never raises; each text has at most `TEXT_MAX` characters.
    """
    return _cut(_type_name(error)), _cut(_message(error)), _cut(_traceback(error))


def _type_name(error: BaseException) -> str:
    kind = type(error)
    module = str(getattr(kind, "__module__", "builtins"))
    name = str(getattr(kind, "__qualname__", "Exception"))
    return name if module == "builtins" else f"{module}.{name}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:  # a user's __str__ may raise anything
        return f"<the exception's own __str__ failed with {type(second).__name__}>"


def _traceback(error: BaseException) -> str:
    try:
        with _without_lines(error):
            told = traceback.TracebackException.from_exception(error, compact=True)
            _hide_our_frames(told)
            return "".join(told.format())
    except BaseException as second:  # a user's __str__, __repr__ or __notes__; or a stack that is nearly used up
        return f"{_type_name(error)}: {_message(error)}\n(its traceback could not be written: {type(second).__name__})\n"


@contextmanager
def _without_lines(error: BaseException) -> Iterator[None]:
    """What has the name of a file from which code came by value may be another version of it here: the client fills in the lines.

    For a moment only: user code may look for its source, too.
    """
    before = {file: linecache.cache.get(file) for file in _files_elsewhere(error)}
    linecache.cache.update((file, (0, None, [], file)) for file in before)
    try:
        yield
    finally:
        for file, entry in before.items():
            if entry is not None:
                linecache.cache[file] = entry
            else:
                linecache.cache.pop(file, None)


def _files_elsewhere(error: BaseException) -> Iterator[str]:
    """The files of frames whose globals are no module's of this process."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        for frame, _ in traceback.walk_tb(each.__traceback__):
            name = frame.f_globals.get("__name__")
            module = sys.modules.get(name) if isinstance(name, str) else None
            if getattr(module, "__dict__", None) is not frame.f_globals:
                yield frame.f_code.co_filename
        group = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        waiting += [other for other in (each.__cause__, each.__context__, *group) if other is not None]


def _hide_our_frames(told: traceback.TracebackException) -> None:
    """Drop the outermost frames up to the user's code, in the exception and in all that led to it."""
    waiting, seen = [told], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        stack = each.stack
        ours = 0
        while ours < len(stack) and _is_ours(stack[ours].filename):
            ours += 1
        del stack[:ours]
        waiting += [other for other in (each.__cause__, each.__context__, *(each.exceptions or ())) if other is not None]


def without_our_frames(error: BaseException) -> BaseException:
    """The same error, to be shown as a cause: its traceback begins where the user's own code does, or is empty."""
    at = error.__traceback__
    while at is not None and _is_ours(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    error.__suppress_context__ = True
    return error.with_traceback(at)


def _is_ours(filename: str) -> bool:
    return filename.startswith(_OURS) or _PICKLERS in filename


def _cut(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates don't travel
    if len(text) <= TEXT_MAX:
        return text
    left = len(text) - TEXT_MAX
    gap = f"\n... {left} character{'s' * (left != 1)} left out ...\n"
    kept = (TEXT_MAX - len(gap)) // 2
    return text[:kept] + gap + text[-kept:]
