"""Calls with holes: how a task's arguments, folded inline functions and Argument steps are written down and evaluated.

A literal of `Form.TREE` is a pickled `Call`. Its arguments may hold, at any depth of lists, tuples and dicts, slots for inputs,
further calls, and names of nodes. One call object that stands in several places is evaluated once. A container without holes is
quoted, so that it is neither searched nor copied.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any


@dataclass(slots=True, unsafe_hash=True)
class Slot:
    """Stands for the task's input number `index`."""

    index: int

    def __reduce__(self) -> tuple[Any, ...]:  # short and fast: there may be one in each of a million literals
        return Slot, (self.index,)


@dataclass(slots=True, unsafe_hash=True)
class NodeName:
    """Stands for a node's name: "here", "target" (where a serializer's consumer runs), or "source" of input `index`."""

    which: str
    index: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return NodeName, (self.which, self.index)


@dataclass(slots=True, eq=False)
class Quoted:
    """A value that is handed over as it is; unless it `has_holes`, because what was too large to stand here was taken out."""

    value: Any
    has_holes: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Quoted, (self.value, self.has_holes)


@dataclass(slots=True, eq=False)
class Call:
    """`codes[code](*args, **kwargs)`, where `code` indexes `Kind.codes`."""

    code: int
    args: Sequence[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        return Call, (self.code, self.args, self.kwargs)


@dataclass(slots=True)
class Frame:
    """What the holes of one task are filled with."""

    codes: Sequence[Callable[..., Any]]
    inputs: Sequence[Any]
    here: str = ""
    target: str = ""
    sources: Sequence[str] = ()
    done: dict[int, Any] = field(default_factory=dict)  # id(call) -> value: a call is evaluated once

    def fill(self, part: Any) -> Any:
        """The part with its holes filled."""
        kind = type(part)
        if kind is Slot:
            return self.inputs[part.index]
        if kind is Call:
            if id(part) not in self.done:
                value = self.call(part)
                self.done[id(part)] = run_coroutine(value) if type(value) is CoroutineType else value
            return self.done[id(part)]
        if kind is Quoted:
            return self.fill(part.value) if part.has_holes else part.value
        if kind is NodeName:
            return self.name(part)
        if kind is list:
            return [self.fill(each) for each in part]
        if kind is tuple:
            return tuple(self.fill(each) for each in part)
        if kind is dict:
            return {self.fill(key): self.fill(value) for key, value in part.items()}
        return part

    def call(self, call: Call) -> Any:
        """The call's value; a coroutine when its code is a coroutine function."""
        return self.codes[call.code](*map(self.fill, call.args), **{name: self.fill(value) for name, value in call.kwargs.items()})

    def name(self, hole: NodeName) -> str:
        """The name that a `NodeName` stands for."""
        if hole.which == "source":
            return self.sources[hole.index]
        return self.here if hole.which == "here" else self.target

    async def call_async(self, call: Call) -> Any:
        """The same for trees with coroutine functions: inner calls are awaited first, depth first, each once."""
        for inner in calls_in((call.args, call.kwargs)):
            if id(inner) not in self.done:
                self.done[id(inner)] = await self.call_async(inner)
        value = self.call(call)
        return await value if inspect.isawaitable(value) else value


def run_coroutine(coroutine: CoroutineType[Any, Any, Any]) -> Any:
    """The value of what a plain function handed on, such as a lambda that calls a coroutine function; on a loop of its own."""
    import asyncio

    return asyncio.run(coroutine)


def calls_in(part: Any) -> list[Call]:
    """The calls directly inside a part (not those inside these calls)."""
    if isinstance(part, Call):
        return [part]
    if type(part) in (list, tuple):
        return [call for each in part for call in calls_in(each)]
    if type(part) is dict:
        return [call for pair in part.items() for call in calls_in(pair)]
    return []
