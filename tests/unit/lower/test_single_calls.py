"""A single call is lowered without a graph where an equal one was lowered before: the program is the graph's, and never an old one."""

from __future__ import annotations

import sys
import types
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pytest
from reference import evaluate_outputs

import handoff
from handoff.client import single
from handoff.client.lower import Lowered, lower
from handoff.client.single import TEMPLATES_MAX, SingleCalls
from handoff.errors import HandoffError, InvalidFunction
from handoff.graph.dag import DAG
from handoff.graph.options import options_of
from handoff.program import Flag
from handoff.wire.values import unpack, unpack_code


def pair(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Shows its arguments."""
    return (*args, kwargs) if kwargs else args


async def later(x: int) -> int:
    """Asynchronous code."""
    return x + 1


@handoff.function(cost={"cpu": 0.5, "memory": "1 GiB"}, max_retries=1, timeout=5, priority=2)
def bound(x: int) -> int:
    """Has options of its own."""
    return x


class Model:
    """Has a method."""

    def predict(self, x: int) -> int:
        return x


def as_graph(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, Lowered]:
    """The long way."""
    dag = DAG(getattr(function, "__name__", "call"))
    dag.call(function, *args, **{**kwargs, "inline": False})
    return dag.id, lower(dag)


LARGE = np.zeros(200_000)
CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (pair, (), {}), (pair, (1, 2.5, "x", None, True, b"y"), {}), (pair, (1,), {"key": [1, {"a": (2,)}]}), (pair, ([1, 2],), {}),
    (pair, (np.arange(3),), {}), (pair, (LARGE,), {}), (pair, ("x" * 100_000,), {}), (pair, (1,), {"id": "named"}),
    (pair, (1,), {"cost": {"cpu": 2}}), (pair, (1,), {"node": "n1", "priority": 3}), (pair, (1,), {"timeout": 2.0, "max_retries": 0}),
    (later, (1,), {}), (bound, (1,), {}), (bound, (1,), {"priority": 7}), (abs, (-1,), {}), (lambda x: x, (1,), {}),
    (partial(pair, 1), (2,), {}), (partial(later, 1), (), {}), (Model().predict, (1,), {}), (Model, (), {}), ([1].append, (2,), {}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), CALLS, ids=range(len(CALLS)))
def test_a_call_is_what_its_graph_is(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """For every kind of callable, argument and option, the first call as well as those after it."""
    calls, expected = SingleCalls(), as_graph(function, *args, **kwargs)
    for _ in range(3):
        assert calls.lower(function, args, kwargs) == expected


def test_each_call_has_its_own_arguments() -> None:
    """Calls of one function differ in their literal alone."""
    calls = SingleCalls()
    programs = [calls.lower(pair, (number,), {})[1].program for number in range(3)]
    assert [unpack(program.literals[0]) for program in programs] == [((number,), {}) for number in range(3)]
    assert programs[0].kinds is programs[1].kinds or programs[0].kinds == programs[1].kinds


def enclosing(value: Any) -> Callable[..., Any]:
    """A closure."""
    return lambda *args: pair(value, *args)


@pytest.mark.parametrize("make", [lambda value: partial(bound, value), lambda value: partial(pair, 0, key=value), enclosing])
def test_calls_of_closures_and_partials_share_their_code(make: Callable[[int], Any]) -> None:
    """From the second on; each has its own values, and the name and the options of its function."""
    calls = SingleCalls()
    lowered = [calls.lower(make(number), (), {}) for number in range(5)]
    assert len({name for name, _ in lowered}) == 1
    assert len({each.program.codes for _, each in lowered}) == 2
    assert len({(*(getattr(kind, field) for field in ("name", "cost", "family", "max_retries")),)
                for _, each in lowered for kind in each.program.kinds}) == 1
    assert [evaluate_outputs(each) for _, each in lowered] == [
        {each.ids[0]: make(number)()} for number, (_, each) in enumerate(lowered)
    ]


def test_few_of_the_functions_that_share_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service makes new ones for ever."""
    monkeypatch.setattr(single, "TEMPLATES_MAX", 4)
    calls = SingleCalls()
    for _ in range(20):
        exec("def made(value):\n    return lambda: value", found := {})     # new code each time
        for number in range(3):
            lowered = calls.lower(found["made"](number), (), {})[1]
            assert evaluate_outputs(lowered) == {lowered.ids[0]: number}
            assert len(calls._sharing) <= 4


@pytest.mark.parametrize("make", [
    pytest.param(lambda array: partial(array.sum, axis=0), id="methods"),
    pytest.param(lambda array: partial(lambda axis: array.sum(axis), 0), id="closures"),
    pytest.param(lambda array: partial(lambda axis, array=array: array.sum(axis), 0), id="defaults"),
])
def test_nothing_large_is_kept_for_calls_to_come(make: Callable[[Any], Callable[..., Any]]) -> None:
    """The object whose method it is, or what a function encloses, goes when the caller lets go of it."""
    calls, array = SingleCalls(), np.zeros(3)
    gone = weakref.ref(array)
    for _ in range(2):
        calls.lower(make(array), (), {})
    del array
    assert gone() is None


@pytest.mark.parametrize("make", [lambda number: lambda: number, lambda number: partial(pair, number)])
def test_a_call_that_shares_has_the_id_of_the_first(make: Callable[[int], Any]) -> None:
    """Errors name it."""
    calls = SingleCalls()
    assert len({calls.lower(make(number), (), {})[1].ids[0] for number in range(3)}) == 1


def test_options_that_change_count_from_the_next_call() -> None:
    """Options bound anew, or changed in place, are those of the next call."""
    calls = SingleCalls()

    def work() -> None: ...

    handoff.function(cost={"cpu": 2})(work)
    assert calls.lower(work, (), {}) == as_graph(work)
    handoff.function(cost={"cpu": 3})(work)
    changed = calls.lower(work, (), {})
    assert changed == as_graph(work) and changed[1].program.kinds[0].cost == (("cpu", 30_000),)
    options_of(work)["cost"]["cpu"] = 4
    assert calls.lower(work, (), {})[1].program.kinds[0].cost == (("cpu", 40_000),)
    del work.__handoff__  # type: ignore[attr-defined]
    assert calls.lower(work, (), {}) == as_graph(work)


def test_a_closure_travels_with_what_it_holds_now() -> None:
    """What a closure captured may change between two calls."""
    calls, box = SingleCalls(), [1]

    def work() -> int:
        return box[0]

    first = calls.lower(work, (), {})[1]
    box[0] = 2
    second = calls.lower(work, (), {})[1]
    assert [unpack_code(lowered.body[0])() for lowered in (first, second)] == [1, 2]
    assert first.program.kinds[0].codes != second.program.kinds[0].codes


def test_globals_of_code_that_travels_by_value_are_those_of_now() -> None:
    """A function of `__main__`, or of a module that is registered to go by value, takes the globals that it uses along."""
    module = types.ModuleType("made_for_single_calls")
    sys.modules[module.__name__] = module
    try:
        exec("limit = 1\ndef work(): return limit", module.__dict__)
        cloudpickle.register_pickle_by_value(module)
        calls = SingleCalls()
        first = calls.lower(module.work, (), {})[1]
        module.limit = 2
        second = calls.lower(module.work, (), {})[1]
        cloudpickle.unregister_pickle_by_value(module)
        third = calls.lower(module.work, (), {})[1]
        assert [unpack_code(lowered.body[0])() for lowered in (first, second, third)] == [1, 2, 2]
        assert b"limit" in second.body[0] and b"limit" not in third.body[0]
    finally:
        del sys.modules[module.__name__]


def test_a_function_that_became_asynchronous_is_run_so() -> None:
    """Two functions that travel under one name are told apart by what they are."""
    calls = SingleCalls()
    kinds = []
    for source in ("def work(): ...", "async def work(): ..."):
        module = types.ModuleType("made_for_single_calls")
        sys.modules[module.__name__] = module
        exec(source, module.__dict__)
        kinds.append(calls.lower(module.work, (), {})[1].program.kinds[0])
    del sys.modules["made_for_single_calls"]
    assert [kind.flags & Flag.ASYNC for kind in kinds] == [0, Flag.ASYNC]


WRONG: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    ("no function", (), {}), (pair, (sys.stdout,), {}), (pair, (), {"handle": [sys.stdout]}), (lambda: sys.stdout.buffer.raw, (), {}),
    (pair, (1,), {"cost": {"cpu": -1}}), (pair, (1,), {"max_retries": -1}), (pair, (DAG().call(pair, 1),), {}),
    (pair, ([DAG().call(pair, 1)],), {}), (pair, (1,), {"node": handoff.collocated("other")}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said_as_for_a_graph(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Whatever can't be lowered raises the error of the long way, also after a good call of the same function."""
    calls = SingleCalls()
    calls.lower(pair, (1,), {})
    try:
        expected = repr(as_graph(function, *args, **kwargs))
    except HandoffError as error:
        expected = f"{type(error).__name__}: {error}"
    try:
        got = repr(calls.lower(function, args, kwargs))
    except HandoffError as error:
        got = f"{type(error).__name__}: {error}"
    assert got.partition(" from DAG")[0] == expected.partition(" from DAG")[0]


def test_wrong_options_that_are_bound_are_refused_each_time() -> None:
    """A call that was refused leaves nothing behind that would let the next one through."""
    calls = SingleCalls()

    @handoff.function(cost={"cpu": -1})
    def work() -> None: ...

    for _ in range(2):
        with pytest.raises(InvalidFunction, match="its cost is wrong"):
            calls.lower(work, (), {})


def test_what_is_remembered_has_a_limit() -> None:
    """Closures that differ each time do not pile up."""
    calls = SingleCalls()
    for number in range(TEMPLATES_MAX + 10):
        calls.lower(lambda number=number: number, (), {})
    assert len(calls._templates) <= TEMPLATES_MAX
