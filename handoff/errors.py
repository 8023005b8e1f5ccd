"""Every error of Handoff, as a tree.

HandoffError
├── InvalidDAG                  the graph itself is wrong; nothing was sent
│   ├── MissingFunction         an argument names a function that is not in the graph
│   ├── CyclicDependency        functions wait for each other
│   ├── DuplicateFunction       one id twice
│   └── InvalidFunction         a field, or a combination of fields, makes no sense
├── InvalidCall                 what was called does not take this; also a TypeError
├── NotSerializable             code or an argument can't be pickled; nothing was sent
├── AllocationError             no node can ever meet a cost
├── ExecutionError              a run is over without a result
│   ├── FunctionFailed          the user's function failed in its last attempt
│   ├── NodeLost                a node took with it what may not run again
│   ├── NodeTimeout             a pinned node did not come
│   ├── RunCancelled
│   ├── RunTimeout
│   ├── ResultLost              a value is gone and can't be made again
│   └── ResultTimeout           waiting took longer than the caller allows; the run goes on
├── WrongThread                 what is waited for in a callback can't come: it runs on the client's own thread
├── LinkError
│   ├── ConnectionLost          the other side is gone
│   ├── Refused                 the other side does not want us: secret, version, name
│   └── ProtocolError           the other side said what it may not say, or garbage
├── ConfigError                 a setting, a secret file, an address, an option is wrong
│   └── FileError               a file can't be read or written
└── InvariantViolation          a bug in Handoff, with the story that led to it
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any


class HandoffError(Exception):
    """The root: whatever Handoff raises is one of these."""


class InvalidDAG(HandoffError):
    """The graph itself is wrong; nothing was sent."""


class MissingFunction(InvalidDAG):
    """`function` depends on `missing`, which is not in the graph."""

    def __init__(self, text: str, *, function: Hashable = None, missing: Hashable = None) -> None:
        super().__init__(text)
        self.function, self.missing = function, missing


class CyclicDependency(InvalidDAG):
    """Functions wait for each other; `cycle` lists them in order, the first again at the end."""

    def __init__(self, text: str, *, cycle: Sequence[Hashable] = ()) -> None:
        super().__init__(text)
        self.cycle = tuple(cycle)


class DuplicateFunction(InvalidDAG):
    """`function` was added twice."""

    def __init__(self, text: str, *, function: Hashable = None) -> None:
        super().__init__(text)
        self.function = function


class InvalidFunction(InvalidDAG):
    """A field of `function`, or a combination of its fields, makes no sense."""

    def __init__(self, text: str, *, function: Hashable = None) -> None:
        super().__init__(text)
        self.function = function


class InvalidCall(HandoffError, TypeError):
    """What was called does not take what it was given, whatever the graph; nothing was sent."""


class NotSerializable(HandoffError):
    """Code or an argument of `function` can't be pickled; `path` leads to the part that can't."""

    def __init__(self, text: str, *, function: Hashable = None, path: str = "") -> None:
        super().__init__(text)
        self.function, self.path = function, path


class AllocationError(HandoffError):
    """No node can ever meet the cost of `function`."""

    def __init__(self, text: str, *, function: Hashable = None) -> None:
        super().__init__(text)
        self.function = function


class ExecutionError(HandoffError):
    """A run is over without a result."""


class FunctionFailed(ExecutionError):
    """`function` failed on `node` in its last `attempt`, which is what `current_task().attempt` said there.

    `__cause__` is the user's own exception when it could travel, and its cause the remote traceback as a `RemoteTraceback`;
    otherwise the `RemoteTraceback` directly. `type` is the qualified name of the user's exception.
    """

    def __init__(self, text: str, *, function: Hashable = None, node: str = "", attempt: int = 0, type: str = "") -> None:
        super().__init__(text)
        self.function, self.node, self.attempt, self.type = function, node, attempt, type


class RemoteTraceback(Exception):
    """Carries the traceback text of where the user's code ran."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}" if self.args else ""


class NodeLost(ExecutionError):
    """A node is gone, and with it something that may not be run again."""


class NodeTimeout(ExecutionError):
    """A pinned node did not come within `scheduler.node_timeout_seconds`, or another that needs its result could not reach it so long.

    Or nothing could run there so long, nor anywhere else: its workers end as they start.
    """


class RunCancelled(ExecutionError):
    """The run was cancelled."""


class RunTimeout(ExecutionError):
    """The run took longer than the `timeout` it was given."""


class ResultLost(ExecutionError):
    """A value is gone and can't be made again."""


class ResultTimeout(ExecutionError, TimeoutError):
    """Waiting took longer than the caller allows; the run goes on."""


class WrongThread(HandoffError):
    """Something would have to be waited for in a callback, on the client's own thread, which alone can bring it."""


class LinkError(HandoffError):
    """Something between two processes."""


class ConnectionLost(LinkError):
    """The other side is gone."""


class Refused(LinkError):
    """The other side does not want us: another secret, version or name. `code`: the error class it named, empty if it just hung up."""

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class ProtocolError(LinkError):
    """The other side said what it may not say, or garbage."""


class ConfigError(HandoffError):
    """A setting, a secret file, an address or an option is wrong."""


class FileError(ConfigError, OSError):
    """The file `path` can't be read or written; also an OSError, with its `errno`."""

    def __init__(self, text: str, *, path: str = "", errno: int | None = None) -> None:
        super().__init__(text)
        self.path, self.errno = path, errno


class InvariantViolation(HandoffError):
    """A bug in Handoff. Please report it with the story in its text."""


def named(code: str) -> type[HandoffError]:
    """The error class of this name; ExecutionError for a name from a newer version."""
    found: Any = globals().get(code)
    return found if isinstance(found, type) and issubclass(found, HandoffError) else ExecutionError
