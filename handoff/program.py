"""What a graph becomes when it is lowered: few kinds, many tasks, described by columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from handoff.columns import Blobs, Floats, Ints, Longs, floats, ints, longs
from handoff.record import record
from handoff.resources import GPU_MEMORY, SCALE, Amounts, is_gpu

SECONDS_MAX = 1e9        # no function, nor a limit on one, takes longer: thirty years
BYTES_MAX = 1e15         # no result is larger


class Form(IntEnum):
    """How a task's call is put together from its inputs and its literal (a pickle; empty: nothing)."""

    VARIADIC = 0  # code(*inputs, *args, **kwargs); the literal is a pickled (args, kwargs)
    AS_LIST = 1   # code([inputs], *args, **kwargs)
    TREE = 2      # the literal is a pickled `handoff.graph.calls.Call`, with slots for inputs and nested calls of `codes`


class Flag(int):
    """What is special about a kind of task; or-ed. Plain integers: an IntFlag takes a microsecond for each `|` and `&`."""

    OUTPUT: Final = 1      # the client wants the result
    ASYNC: Final = 2       # the code is a coroutine function
    OBJECT: Final = 4      # no code: the client uploads the value to the node that is chosen
    SERIALIZER: Final = 8  # runs beside its one input, told the node of its one consumer, which is chosen first
    ALONE: Final = 16      # killed its worker before: gets one of its own, so that no bystander is blamed
    IDEMPOTENT: Final = 32 # may run twice at once: a straggler gets a second attempt beside the first (`speculate=True`)


def is_side_by_side(flags: int, cost: Amounts) -> bool:
    """Whether tasks of this cost run many at once on one loop: coroutines that were not granted as much as a process can use. GPUs are
    granted to a process, too: which of them CUDA shows is one thing for all that runs there.
    """
    if not flags & Flag.ASYNC:
        return False
    return not any(is_gpu(name) or name == GPU_MEMORY or (name == "cpu" and steps >= SCALE) for name, steps in cost)


HIDDEN = Flag.SERIALIZER | Flag.OBJECT   # of tasks that the user has not written


@dataclass(frozen=True, slots=True)
class Kind:
    """What equal tasks share. A run has few kinds and many tasks."""

    codes: tuple[bytes, ...]      # digests of what is called: the function, then those of folded inline functions
    name: str                     # the function's qualified name, for people
    form: int = Form.VARIADIC
    flags: int = 0
    cost: Amounts = ()            # takes nothing when empty
    max_retries: int = 3
    timeout: float = 0.0          # seconds one attempt may take; 0: no limit
    priority: int = 0             # above any rank
    node: str = ""                # the only node that may run it; empty: any
    alternatives: tuple[Amounts, ...] = ()        # other costs that would do as well as `cost`, in the order of preference
    where: tuple[tuple[str, str], ...] = ()       # labels that its node must have, sorted by key
    spread: str = ""              # a group whose tasks go to different nodes as far as there are enough
    family: bytes = b""           # the same for code that differs in bound values alone, as closures of a loop do; empty: nothing is bound


@record
class Program:
    """A whole graph, lowered: tasks are numbered in topological order and described by columns."""

    codes: tuple[tuple[bytes, int], ...]  # digest and size of each distinct code; the bytes are the Submit's body, in this order
    kinds: tuple[Kind, ...]
    kind: Ints                    # per task: its kind
    literals: Blobs               # per task: pickled arguments, or empty
    fan_in: Ints                  # per task: how many inputs
    inputs: Ints                  # all inputs (task numbers, lower than the task), task after task
    groups: tuple[Ints, ...] = () # tasks that must share a node
    object_tasks: Ints = field(default_factory=ints)   # tasks whose value the client uploads
    object_sizes: Longs = field(default_factory=longs)
    near: Ints = field(default_factory=ints)           # pairs (task, other): better on the other's node, if that costs nothing
    seconds: Floats = field(default_factory=floats)    # per task: expected on a node of usual speed, below 0: not known; or empty
    nbytes: Floats = field(default_factory=floats)     # per task: expected size of its result, below 0: not known; or empty
