"""What went wrong with a run, from the coordinator's words (task numbers) to the error a user sees (function ids)."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Callable, Container, Hashable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from handoff import errors
from handoff.client.events import Failure
from handoff.quoting import quoted
from handoff.wire.values import unpack_exception

if TYPE_CHECKING:
    from handoff.client.state import RunState

NO_TASK = 0xFFFFFFFF
_FRAME = re.compile(r'([ |+-]*)File "([^"\0]+)", line (\d{1,9})\b')


def error_of(failure: Failure, function: Callable[[int], Hashable]) -> errors.HandoffError:
    """A fresh exception for this failure, with the user's own as its cause; `function` gives the id of a task number."""
    kind = errors.named(failure.code)
    has_task = failure.task != NO_TASK
    name = function(failure.task) if has_task else None
    text = f"function {quoted(name)}: {failure.text}" if has_task else failure.text
    if kind is errors.FunctionFailed:
        return _function_failed(failure, name, text)
    if issubclass(kind, (errors.AllocationError, errors.InvalidFunction, errors.NotSerializable)):
        return kind(text, function=name)
    return kind(text)


def forgotten(what: str, state: RunState, error: errors.ExecutionError) -> errors.ExecutionError:
    """Why the coordinator says nothing of a run, in the place of its short answer; `what` could not be done."""
    run = f"run {state.run} of {quoted(state.graph.dag_id)}"
    if state.failure is not None:
        cause = error_of(state.failure, state.name_of)
        why = f"{type(cause).__name__}: {cause}".rstrip(".")
        return errors.ExecutionError(f"{what}: {run} ended without a result ({why}), and nothing more of it is kept; ask while it runs")
    return errors.ExecutionError(f"{what}: {run} is not known to the coordinator any more ({error}); "
                                 "ask while the run or its result is held")


def _function_failed(failure: Failure, name: Hashable, text: str) -> errors.FunctionFailed:
    error = errors.FunctionFailed(text, function=name, node=failure.node, attempt=failure.attempt, type=failure.type)
    remote = errors.RemoteTraceback(with_lines(failure.traceback)) if failure.traceback else None
    body = b"".join(failure.body) if isinstance(failure.body, tuple) else bytes(failure.body)
    cause = unpack_exception(body) if body else None
    if cause is not None:
        cause.__cause__ = remote
    error.__cause__ = cause if cause is not None else remote
    return error


def with_lines(traceback: str) -> str:
    """The traceback of a node with the lines of code that came from here by value: the node does not have them."""
    return "\n".join(_with_lines(traceback.split("\n")))


def _with_lines(lines: list[str]) -> Iterator[str]:
    ours: Container[str] | None = None
    for line, following in pairwise([*lines, ""]):
        yield line
        frame = _FRAME.match(line)
        if frame is None or following.startswith(f"{frame[1]}  "):
            continue
        if frame[2] not in linecache.cache:
            ours = _files_of_modules() if ours is None else ours
            if frame[2] not in ours:
                continue
        linecache.checkcache(frame[2])
        if source := linecache.getline(frame[2], int(frame[3])).strip():
            yield f"{frame[1]}  {source}"


def _files_of_modules() -> Container[str]:
    """Those of the modules that are loaded here; beside them only lines that are known, as those of a notebook's cells, are shown.

    The text of an error may name any other: one that holds a secret, or /dev/stdin, which is read until somebody types.
    """
    found = set()
    for module in list(sys.modules.values()):
        try:
            file = object.__getattribute__(module, "__dict__").get("__file__")   # past modules that load themselves when they are asked
        except AttributeError:                                                   # it is none
            continue
        if isinstance(file, str):
            found.add(file)
    return found
