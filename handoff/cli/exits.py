"""What a command ends with: an exit status that means something, and one clear line on stderr."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from handoff.errors import ConfigError, FunctionFailed, HandoffError, InvalidDAG, LinkError, NotSerializable, RemoteTraceback
from handoff.service import INTERRUPTED, OK, UNREACHABLE, USAGE

RUN_FAILED = 1

__all__ = ["INTERRUPTED", "OK", "RUN_FAILED", "UNREACHABLE", "USAGE", "as_data", "explained", "status_of"]


def status_of(error: HandoffError) -> int:
    """1: the run failed; 2: what was asked for makes no sense; 3: the cluster is out of reach or does not want us."""
    if isinstance(error, LinkError):
        return UNREACHABLE
    if isinstance(error, (ConfigError, InvalidDAG, NotSerializable)):
        return USAGE
    return RUN_FAILED


def explained(error: HandoffError) -> str:
    """One line; for a function that failed, after the traceback of the user's own code where it ran."""
    line = f"{type(error).__name__}: {error}"
    traceback = _remote_traceback(error) if isinstance(error, FunctionFailed) else ""
    return f"{traceback}\n\n{line}" if traceback else line


def as_data(error: HandoffError, names: Mapping[Hashable, str]) -> dict[str, object]:
    """The same for machines, functions by their names there."""
    data: dict[str, object] = {"type": type(error).__name__, "text": str(error)}
    if isinstance(error, FunctionFailed):
        data |= {"function": names.get(error.function, error.function), "node": error.node, "attempt": error.attempt,
                 "exception": error.type, "traceback": _remote_traceback(error)}
    elif hasattr(error, "function"):
        data["function"] = names.get(error.function, error.function)
    return data


def _remote_traceback(error: BaseException) -> str:
    cause = error.__cause__
    while cause is not None and not isinstance(cause, RemoteTraceback):
        cause = cause.__cause__
    return str(cause).strip("\n") if cause is not None else ""
