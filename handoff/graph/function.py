"""What a user writes for one node of the graph: a function, what it depends on, and what it needs to run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from handoff.quoting import shown

Cost: TypeAlias = "Mapping[str, float | int | str] | Sequence[Mapping[str, float | int | str]]"
Step: TypeAlias = "Callable[..., Any] | tuple[Callable[..., Any], Sequence[Any]] | None"  # one side of an Argument


class FunctionType(StrEnum):
    """What becomes of a function; the plain strings do as well."""

    REGULAR = "regular"  # a task of its own
    INLINE = "inline"    # evaluated inside each task that depends on it, once per dependent; has no result of its own
    INPUT = "input"      # stands for a value that `execute(..., inputs={id: value})` brings


class ArgumentInclusion(StrEnum):
    """How the results that a function depends on are handed to it; the plain strings do as well."""

    VARIADIC = "variadic"  # one argument each
    AS_LIST = "as_list"    # one list of all, as the first argument


class Collocated(NamedTuple):
    """Stands in `Function.node` for "wherever this function runs"."""

    id: Hashable


class Near(NamedTuple):
    """Stands in `Function.node` for "where this function runs, unless that costs time"."""

    id: Hashable


def near(id: Hashable) -> Near:
    """For `Function(node=...)`: run on the same node as the function of this id where that is not slower than elsewhere."""
    return Near(id)


def collocated(id: Hashable) -> Collocated:
    """For `Function(node=...)`: run on the same node as the function of this id, also after that one had to move."""
    return Collocated(id)


@dataclass(slots=True)
class Argument:
    """A dependency with a step at either end: one beside the producer, one beside the consumer.

    Each is a callable, or `(callable, [static arguments])`, and is called as `step(data, source_node, target_node, *static_arguments)`.
    """

    id: Hashable
    serialization_fn: Step = None
    deserialization_fn: Step = None


@dataclass(slots=True)
class Function:
    """One function of a graph. It is called with the results of `args`, then `extra_args` and `extra_kwargs`; None of these is nothing.

    `extra_args` and `extra_kwargs` may hold references (`DAG.call` returns them) at any depth of lists, tuples and dicts; they are
    dependencies like those in `args`. What is inline has no attempts of its own: cost, retries, timeout and priority are its dependents'.
    """

    id: Hashable                                          # any hashable value, unique in its graph
    args: Sequence[Hashable | Argument] = ()              # ids of functions, or Arguments
    code: Callable[..., Any] | None = None                # any callable, `async def` included
    extra_args: Sequence[Any] = ()
    extra_kwargs: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost | None = None                              # {"cpu": 2, "memory": 1000}; or alternatives; None: one cpu
    node: str | Collocated | Near | None = None           # the only node that may run it, or collocated(id), or near(id)
    type: str = "regular"
    argument_inclusion: str = "variadic"
    max_retries: int | None = None                        # None: the run's
    timeout: float | None = None                          # seconds that one attempt may take
    priority: int = 0                                     # the higher the sooner, above all else
    where: Mapping[str, str] | None = None                # labels that its node must have
    spread: str | None = None                             # a group whose functions go to different nodes as far as there are enough
    speculate: bool = False                               # may run twice at once, if one attempt takes far too long; not with
                                                          # max_retries=0, nor in a run with max_concurrency
    expected_seconds: float | None = None                 # on a node of usual speed; None: learned
    expected_bytes: float | None = None                   # size of its result; None: learned
    init: Callable[..., Any] | None = None                # this and what follows: for streaming only
    parallelism: int = 1
    batch_size: int | None = None
    batch_timeout: float | None = None


def name_of(code: object) -> str:
    """What people call a piece of code: `resize`, `Model.predict`."""
    name = getattr(code, "__qualname__", None)
    if isinstance(name, str):
        return name.rpartition("<locals>.")[2]
    inner = getattr(code, "func", None)  # functools.partial
    return name_of(inner) if callable(inner) else type(code).__qualname__


def labels_of(ids: Sequence[Hashable]) -> list[str]:
    """What people read for each id: a string as it is, anything else as Python writes it, if it can.

    A string is written in quotes where it would show as nothing, or as another id of these does: beside 1, "1" is '1'.
    """
    written = {shown(id) for id in ids if not isinstance(id, str)}
    return [shown(id) if not isinstance(id, str) or id in written or not id.strip() else id for id in ids]
