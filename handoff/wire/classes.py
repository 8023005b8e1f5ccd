"""Classes that go by value. One that was made here is not changed by copies of it that come back, and code finds the classes that came with
it as they were when it was sent.

Whoever reads a class has it once, however often it comes: what is an instance of it for the code has to be one for the arguments, too. So
the last one that came would count for all that is here already: a script's own class would forget its globals when a result is looked at,
and code that a worker keeps would find what was sent with other code, or with a later version of itself.

What came with code and is made of the same is not given again: tasks may have left something at the class for those that come after them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from cloudpickle import cloudpickle

T = TypeVar("T")

_change: Callable[[type, Any], Any] = cloudpickle._class_setstate
_TRACKERS = {make: make.__code__.co_varnames.index("class_tracker_id")     # among the arguments of what makes an empty class
             for make in (cloudpickle._make_skeleton_class, cloudpickle._make_skeleton_enum)}


class State(NamedTuple):
    """What a copy of a class was given."""

    copy: type
    essence: Hashable          # the same for states that are
    content: Any


class _InForce(NamedTuple):
    """Which state a copy has."""

    essence: Hashable
    names: frozenset[str]      # of its attributes, as far as they came


_copies: WeakKeyDictionary[type, _InForce] = WeakKeyDictionary()    # all classes here that were made of what came
_numbers = count(1)
_reading = threading.local()   # `states`: those that came with the code that this thread reads just now; `own`: it wrote it itself


def as_copy(how: tuple[Any, ...]) -> tuple[Any, ...]:
    """How to write a class, from cloudpickle's way to do so; whatever is no class by value as it is."""
    if how[-1] is not _change:
        return how
    make, arguments, content = how[:3]
    content[0].pop("__slotnames__", None)      # a note that copyreg leaves at a class when it is first asked to write an instance
    return _made, (make, arguments), content, None, None, _given


def _made(make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """The class that is here already, or an empty one."""
    known: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(arguments[_TRACKERS[make]])
    if known is not None:
        return known
    made = make(*arguments)
    _copies.setdefault(made, _InForce(0, frozenset()))
    return made


def _given(kind: type, content: Any) -> type:
    """The class with what came for it, unless it was made here."""
    if kind in _copies and not getattr(_reading, "own", False):
        state = State(kind, next(_numbers), content)
        _put(state)
        states: list[State] | None = getattr(_reading, "states", None)
        if states is not None:
            states.append(state)
    return kind


def _put(state: State) -> None:
    copy, essence, content = state
    names = frozenset(content[0]) - {"_abc_impl"}      # which is none of its attributes, but who is registered with it
    _change(copy, content)
    for name in _copies[copy].names - names:
        with suppress(AttributeError, TypeError):      # whoever has the class may have removed it
            delattr(copy, name)
    _copies[copy] = _InForce(essence, names)


def as_name(how: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same as `as_copy` for who asks what a class is made of: another class counts as itself, whatever it is made of."""
    return (str, (how[1][1][_TRACKERS[how[1][0]]],)) if how[0] is _made else how


def with_states(read: Callable[[], T], essence_of: Callable[[Any], Hashable]) -> tuple[T, list[State]]:
    """What is read, and the states of the classes that came with it."""
    before, _reading.states = getattr(_reading, "states", None), list[State]()
    try:
        found, states = read(), _reading.states
    finally:
        _reading.states = before
    for place, state in enumerate(states):
        with suppress(Exception):      # what came may not go: then it is like no other
            states[place] = settled = state._replace(essence=essence_of(state.content))
            if _copies[state.copy].essence == state.essence:
                _copies[state.copy] = _copies[state.copy]._replace(essence=settled.essence)
    return found, states


def own(read: Callable[[], T]) -> T:
    """What is read of what was written here just now: the classes in it are as they are."""
    before, _reading.own = getattr(_reading, "own", False), True
    try:
        return read()
    finally:
        _reading.own = before


def put_back(states: list[State]) -> None:
    """Give classes these states again, where something that was read later gave them others."""
    for state in states:
        if _copies[state.copy].essence != state.essence:
            _put(state)
