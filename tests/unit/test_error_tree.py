"""The docstring of `handoff.errors` is a tree of what is there, and all that a user may catch is in it."""

from __future__ import annotations

import inspect
import re

from handoff import errors

PROMISED = {
    "InvalidDAG": ["MissingFunction", "CyclicDependency", "DuplicateFunction", "InvalidFunction"],
    "ExecutionError": ["FunctionFailed", "NodeLost", "RunCancelled", "ResultLost", "ResultTimeout"],
    "LinkError": ["ConnectionLost", "Refused"],
    "HandoffError": ["InvalidDAG", "AllocationError", "ExecutionError", "LinkError", "ConfigError", "InvariantViolation"],
}


def drawn() -> dict[str, str]:
    """Class -> parent, as the docstring draws it."""
    parents, path = {}, ["HandoffError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│ ]*)[├└]── (\w+)", line):
            depth = len(found[1]) // 4 + 1
            path = [*path[:depth], found[2]]
            parents[found[2]] = path[-2]
    return parents


def test_the_drawn_tree_is_the_tree() -> None:
    """Every class stands under the class that it derives from, and none is left out."""
    there = {name: kind.__bases__[0].__name__ for name, kind in inspect.getmembers(errors, inspect.isclass)
             if issubclass(kind, errors.HandoffError) and kind is not errors.HandoffError}
    assert drawn() == there


def test_what_was_promised_is_there() -> None:
    """Whoever catches a parent catches its children; patience that ends is a TimeoutError, too."""
    assert all(drawn()[child] == parent for parent, children in PROMISED.items() for child in children)
    assert issubclass(errors.ResultTimeout, TimeoutError)
