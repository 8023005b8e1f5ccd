"""The functions that all runtimes run, and the check of what they gave."""

from __future__ import annotations

from typing import Any

from kernel import busy


def nothing(*_: object) -> None:
    """The empty task."""


def step(number: int) -> int:
    """A hop of a chain, or a leaf of a tree."""
    return number + 1


def join(left: int, right: int) -> int:
    """A node of a tree."""
    return left + right


def advance(iterations: int, *_: object) -> int:
    """One point of the stencil in one step."""
    return busy(iterations)


def expect(found: Any, wanted: Any) -> None:
    """Raise where a runtime gave something else."""
    if found != wanted:
        raise AssertionError(f"{found!r} came where {wanted!r} was right")
