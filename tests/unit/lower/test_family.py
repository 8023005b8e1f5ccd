"""Closures of a loop, partials and methods are one function with other values bound to it; nothing else is."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest

from handoff import DAG, Function
from handoff.client.family import family_of
from handoff.client.lower import lower


def closure(value: object) -> Callable[[], object]:
    """One of a loop."""
    return lambda: value


def other_closure(value: object) -> Callable[[], object]:
    """Of other code."""
    return lambda: [value]


def with_default(value: object) -> Callable[..., object]:
    """The other way to bind in a loop."""
    def call(given: object = value) -> object:
        return given
    return call


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """One wrapper around whatever there is."""
    @wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)
    return wrapper


class Model:
    """Called itself, or by a method."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self) -> float:
        return self.weight

    def score(self) -> float:
        """A method."""
        return -self.weight


@pytest.mark.parametrize(("one", "another"), [
    pytest.param(closure(1), closure(2), id="closures"),
    pytest.param(with_default(1), with_default(2), id="defaults"),
    pytest.param(partial(closure(1), 1), partial(closure(2), 2), id="partials"),
    pytest.param(partial(math.pow, 2), partial(math.pow, 3), id="partials of named ones"),
    pytest.param(Model(1.0), Model(2.0), id="objects"),
    pytest.param(Model(1.0).score, Model(2.0).score, id="methods"),
    pytest.param(decorated(closure(1)), decorated(closure(2)), id="decorated closures"),
])
def test_other_values_are_the_same_family(one: Any, another: Any) -> None:
    """What they return is not what they are."""
    assert family_of(one)
    assert family_of(one) == family_of(another)


@pytest.mark.parametrize(("one", "another"), [
    pytest.param(closure(1), other_closure(1), id="other instructions"),
    pytest.param(closure(1), closure("1"), id="values of another type"),
    pytest.param(decorated(closure(1)), decorated(other_closure(1)), id="other functions in one wrapper"),
    pytest.param(partial(math.pow, 2), partial(math.fmod, 2), id="partials of others"),
    pytest.param(closure(math.sin), closure(math.cos), id="functions as values"),
    pytest.param(Model(1.0), Model(1.0).score, id="an object and its method"),
])
def test_other_functions_are_another_family(one: Any, another: Any) -> None:
    """Nothing of one says how long the other takes."""
    assert family_of(one) != family_of(another)


@pytest.mark.parametrize("code", [math.sin, closure, Model, len, lambda: 1])
def test_what_binds_nothing_has_none(code: Any) -> None:
    """Its own digest says all."""
    assert family_of(code) == b""


def test_a_function_in_its_own_closure_ends() -> None:
    """Recursive inner functions hold themselves."""
    def inner(depth: int) -> int:
        return inner(depth - 1) if depth else 0

    assert family_of(inner)


def test_kinds_know_their_family() -> None:
    """Each closure has code of its own, and what is folded into it counts as well."""
    dag = DAG()
    for number in range(3):
        dag.add(Function(number, code=closure([number])))
    dag.add(Function("inner", code=other_closure(5), type="inline"))
    dag.add(Function("outer", ["inner"], code=with_default(1)))
    dag.add(Function("named", code=math.floor, extra_args=[1.5]))
    kinds = lower(dag).program.kinds
    families = [kind.family for kind in kinds]

    assert len({kind.codes for kind in kinds}) == 5
    assert families[0] == families[1] == families[2] != b""
    assert len({*families}) == 3
    assert families[-1] == b""
