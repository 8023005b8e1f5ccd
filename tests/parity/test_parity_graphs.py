"""Functions, arguments and graphs mean what the original library means by them."""

from __future__ import annotations

import asyncio
import functools
import os
from pathlib import Path
from typing import Any

import pytest

import handoff
from handoff import DAG, Argument, Function, collocated, errors


def add(*numbers: float) -> float:
    """Their sum."""
    return sum(numbers)


def listed(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """What it was called with."""
    return args, kwargs


def second(data: Any, source: str, target: str) -> Any:
    """A serializer that sends one element of a tuple."""
    return data[1]


def tagged(data: Any, source: str, target: str, tag: str) -> tuple[Any, ...]:
    """A deserializer that tells what it was told."""
    return tag, data, source, target


class Scaler:
    """Something callable with state."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: float) -> float:
        return self.factor * x

    def method(self, x: float) -> float:
        """Bound, when taken from an instance."""
        return -self.factor * x


def test_code_is_called_with_results_then_extra_arguments(place: Any) -> None:
    """Results in the order of `args`, then extra_args, and extra_kwargs by name."""
    dag = DAG("order")
    dag.add(Function("a", code=add, extra_args=[1]))
    dag.add(Function("b", code=add, extra_args=[2]))
    dag.add(Function("c", ["b", "a"], listed, extra_args=["x"], extra_kwargs={"y": 3}))
    result = place.execute(dag)
    assert result.dag_id == "order"
    assert result.results["c"] == ((2, 1, "x"), {"y": 3})


def test_as_list_gives_one_list(place: Any) -> None:
    """The results as the first argument, then extra_args."""
    dag = DAG()
    dag.add(Function("a", code=add, extra_args=[1])).add(Function("b", code=add, extra_args=[2]))
    dag.add(Function("c", ["a", "b"], listed, extra_args=["x"], argument_inclusion="as_list"))
    assert place.execute(dag).results["c"] == (([1, 2], "x"), {})


def test_a_new_graph_is_empty_and_has_an_id() -> None:
    """A given one, or one of its own."""
    assert DAG("mine").id == "mine"
    assert DAG().id != DAG().id
    assert len(DAG()) == 0


def test_an_argument_is_serialized_beside_the_producer_and_deserialized_beside_the_consumer(place: Any) -> None:
    """Both steps are told the names of source and target node; only what the serializer gives travels."""
    there = place.nodes[-1]
    dag = DAG()
    dag.add(Function("pair", code=lambda: ("left", "right"), node=place.nodes[0]))
    dag.add(Function("taken", [Argument("pair", second, (tagged, ["tag"]))], listed, node=there))
    result = place.execute(dag)
    assert result.results["taken"] == ((("tag", "right", place.nodes[0], there),), {})
    assert set(result.results) == {"pair", "taken"}


def test_an_argument_without_steps_is_the_value(place: Any) -> None:
    """Without user functions both steps are the identity."""
    dag = DAG()
    dag.add(Function("a", code=lambda: [1, 2]))
    dag.add(Function("b", [Argument("a")], listed))
    assert place.execute(dag).results["b"] == (([1, 2],), {})


def test_inline_functions_run_once_for_each_dependent_and_have_no_result(place: Any) -> None:
    """They are never scheduled, and nested ones resolve through to their producers."""
    dag = DAG()
    dag.add(Function("base", code=lambda: 10))
    dag.add(Function("inner", ["base"], lambda x: [x], type="inline"))
    dag.add(Function("outer", ["inner"], lambda x: [*x, 1], type="inline"))
    dag.add(Function("one", ["outer"], lambda x: (id(x), x)))
    dag.add(Function("two", ["outer", "inner"], lambda x, y: (x, y)))
    result = place.execute(dag)
    assert result.results["one"][1] == [10, 1]
    assert result.results["two"] == ([10, 1], [10])
    assert set(result.results) == set(result.allocations) == {"base", "one", "two"}


def test_inputs_stand_for_values_given_at_execution(place: Any) -> None:
    """An input has no code of its own."""
    dag = DAG()
    dag.add(Function("x", type="input"))
    dag.add(Function("y", ["x"], add, extra_args=[1]))
    assert place.execute(dag, inputs={"x": 41}).results["y"] == 42


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (lambda x: x + 1, 4),
        (functools.partial(add, 10), 13),
        (Scaler(2), 6),
        (Scaler(2).method, -6),
        (float, 3.0),
    ],
    ids=["lambda", "partial", "callable object", "bound method", "type"],
)
def test_everything_that_can_be_called_is_code(place: Any, code: Any, expected: float) -> None:
    """Not only named functions."""
    assert place.submit(code, 3).result(30) == expected


def test_coroutine_functions_run_many_at_once(place: Any, tmp_path: Path) -> None:
    """All on one worker's loop, so that waiting costs no core: each waits until all have started."""

    async def meet(folder: Path, number: int, count: int) -> int:
        (folder / str(number)).touch()
        while len(list(folder.iterdir())) < count:
            await asyncio.sleep(0.01)
        return os.getpid()

    dag = DAG()
    for number in range(200):
        dag.add(Function(number, code=meet, extra_args=[tmp_path, number, 200], cost={}, node=place.nodes[0]))
    assert len(set(place.execute(dag, timeout=20).results.values())) == 1


def test_calls_are_functions_by_another_way(place: Any) -> None:
    """References may stand anywhere inside arguments."""
    dag = DAG()
    a = dag.call(add, 1, 2)
    b = dag.call(listed, {"deep": [a, (a, 5)]}, key=a, id="b")
    dag.call(listed, b, id="c")
    results = place.execute(dag).results
    assert results["b"] == (({"deep": [3, (3, 5)]},), {"key": 3})
    assert results["c"] == ((results["b"],), {})


def test_bound_options_hold_for_calls(place: Any) -> None:
    """`@handoff.function` leaves the function callable and binds defaults."""

    @handoff.function(max_retries=0)
    def fails(x: int) -> int:
        raise ValueError(x)

    with pytest.raises(ValueError, match="5"):
        fails(5)
    with pytest.raises(errors.FunctionFailed) as caught:
        place.submit(fails, 5).result(30)
    assert caught.value.attempt == 1


@pytest.mark.parametrize(
    ("functions", "error", "words"),
    [
        ([Function("a", ["b"], add)], errors.MissingFunction, ["'a'", "'b'"]),
        ([Function("a", ["b"], add), Function("b", ["c"], add), Function("c", ["a"], add)], errors.CyclicDependency, ["'a'", "'b'", "'c'"]),
        ([Function("a", type="input", code=add)], errors.InvalidFunction, ["'a'", "code"]),
        ([Function("a", type="input", cost={"cpu": 1})], errors.InvalidFunction, ["'a'", "cost"]),
        ([Function("b", code=add), Function("a", ["b"], add, type="inline", node="node-1")], errors.InvalidFunction, ["'a'", "node"]),
        ([Function("a", code=add, node=collocated("z"))], errors.MissingFunction, ["'a'", "'z'"]),
        ([Function("a", code=add, cost={"cpu": -1})], errors.InvalidFunction, ["'a'", "cpu"]),
    ],
    ids=["missing", "cycle", "input with code", "input with cost", "inline pinned", "unknown target", "negative"],
)
def test_graphs_that_are_wrong_are_refused(place: Any, functions: list[Function], error: type[Exception], words: list[str]) -> None:
    """By validate and by execute, naming what is wrong."""
    dag = DAG()
    for function in functions:
        dag.add(function)
    with pytest.raises(error) as by_validate:
        dag.validate()
    with pytest.raises(error):
        place.execute(dag)
    for word in words:
        assert word in str(by_validate.value)


def test_one_id_twice_is_refused() -> None:
    """When it is added."""
    with pytest.raises(errors.DuplicateFunction, match="'a'"):
        DAG().add(Function("a", code=add)).add(Function("a", code=add))


def test_a_graph_runs_here_alone(place: Any) -> None:
    """execute_local gives the same results and ignores costs and placement."""
    dag = DAG("local")
    dag.add(Function("a", code=add, extra_args=[1], cost={"gpu": 99}, node="nowhere"))
    dag.add(Function("b", ["a"], add, extra_args=[1]))
    result = handoff.execute_local(dag)
    assert (result.dag_id, dict(result.results)) == ("local", {"a": 1, "b": 2})
