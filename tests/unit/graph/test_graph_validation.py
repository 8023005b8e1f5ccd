"""What is wrong with a graph is said in one clear error, before anything is sent."""

from __future__ import annotations

import re
from typing import Any

import pytest

from handoff.errors import CyclicDependency, DuplicateFunction, InvalidDAG, InvalidFunction, MissingFunction
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function, collocated
from handoff.graph.validate import check


def nothing(*args: Any) -> None:
    """Some code."""


def graph(*functions: Function) -> DAG:
    """A graph of these."""
    dag = DAG("test")
    for function in functions:
        dag.add(function)
    return dag


def test_a_graph_without_faults_is_valid() -> None:
    """Chains, diamonds, late definitions and every kind of function pass."""
    graph(
        Function("late", ["a", Argument("b", (nothing, [1]), nothing)], nothing),
        Function("x", type="input"),
        Function("a", ["x"], nothing, cost={"cpu": 2, "memory": "1 GiB"}, node="n1", max_retries=0, timeout=1.5, priority=-3),
        Function("in", ["x"], nothing, type="inline"),
        Function("b", ["a", "in"], nothing, argument_inclusion="as_list", node=collocated("a")),
        Function("c", ["a", "a"], nothing, node=collocated("b"), init=nothing, parallelism=4, batch_size=2, batch_timeout=0.1),
    ).validate()
    DAG().validate()


def test_a_missing_function_is_named_with_its_dependent_and_a_near_id() -> None:
    """The error names both sides and suggests the id that was probably meant."""
    dag = graph(Function("load", [], nothing), Function("small", ["laod"], nothing))
    with pytest.raises(MissingFunction, match=r"'small' depends on 'laod', which is not in the graph; did you mean 'load'\?") as caught:
        dag.validate()
    assert (caught.value.function, caught.value.missing) == ("small", "laod")


def test_a_missing_function_of_an_argument_is_found() -> None:
    """An Argument's id is checked like a plain one."""
    with pytest.raises(MissingFunction, match="'b' depends on 7"):
        graph(Function("b", [Argument(7)], nothing)).validate()


def test_the_whole_cycle_is_named() -> None:
    """A cycle is shown from its first function back to it, and what merely leads to it is left out."""
    dag = graph(Function("start", ["a"], nothing), Function("a", ["b"], nothing), Function("b", ["c"], nothing),
                Function("c", ["a"], nothing))
    with pytest.raises(CyclicDependency, match="'a' -> 'b' -> 'c' -> 'a'") as caught:
        dag.validate()
    assert caught.value.cycle == ("a", "b", "c", "a")


def test_a_function_that_waits_for_itself_is_a_cycle() -> None:
    """The shortest cycle has one function."""
    with pytest.raises(CyclicDependency, match="'a' -> 'a'"):
        graph(Function("a", ["a"], nothing)).validate()


def test_a_long_chain_in_reverse_order_is_valid() -> None:
    """Thousands of functions, each added before what it needs, exhaust no stack."""
    graph(*(Function(i, [i + 1] if i < 5000 else [], nothing) for i in range(5001))).validate()


def test_an_id_is_unique() -> None:
    """The second function of one id is refused when it is added."""
    dag = graph(Function("a", [], nothing))
    with pytest.raises(DuplicateFunction, match="two functions with the id 'a'") as caught:
        dag.add(Function("a", [], nothing))
    assert caught.value.function == "a"
    assert len(dag) == 1


@pytest.mark.parametrize("said", [None, "dag", [Function("a", [], nothing)]])
def test_what_is_no_graph_is_refused(said: Any) -> None:
    """Where a graph is checked, lowered or run."""
    with pytest.raises(InvalidDAG, match=r"is not a graph; make one with DAG\(\), and add functions to it"):
        check(said)


def test_an_id_is_hashable() -> None:
    """A list can't name a function, neither its own nor one that it depends on."""
    with pytest.raises(InvalidFunction, match=r"\['a'\] is not hashable"):
        DAG().add(Function(["a"], [], nothing))  # type: ignore[arg-type]
    with pytest.raises(InvalidFunction, match=r"'b' depends on \['a'\], which is no id"):
        graph(Function("b", [["a"]], nothing)).validate()  # type: ignore[list-item]


def test_only_functions_are_added() -> None:
    """Adding a bare callable says how to call instead."""
    with pytest.raises(InvalidFunction, match=r"use dag\.call"):
        DAG().add(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(("fields", "text"), [
    ({"code": None}, "has no code"),
    ({"code": 3}, "not callable: 3"),
    ({"type": "outline"}, 'type=\'outline\' is not one of "regular", "inline", "input"'),
    ({"type": []}, "type=[] is not one of"),
    ({"argument_inclusion": "list"}, "argument_inclusion='list'"),
    ({"args": "load"}, "args is a list of ids"),
    ({"args": ""}, "args is a list of ids"),
    ({"extra_kwargs": 0}, "extra_kwargs is a dict from parameter names"),
    ({"extra_args": 5}, "extra_args is a list of values, not 5"),
    ({"extra_kwargs": {1: 2}}, "extra_kwargs is a dict from parameter names"),
    ({"extra_kwargs": [1]}, "extra_kwargs is a dict from parameter names"),
    ({"cost": {"cpu": -1}}, "cpu=-1 is negative"),
    ({"cost": {"cpu": "two"}}, "cpu='two' is not an amount"),
    ({"cost": {"gpu": None}}, "gpu=None is not an amount"),
    ({"cost": {"cpu": float("nan")}}, "cpu=nan is not a finite amount"),
    ({"cost": {"cpu": [1]}}, "cpu=[1] is not an amount"),
    ({"cost": 2}, "a cost is a mapping"),
    ({"node": ""}, "node='' is neither"),
    ({"node": 5}, "node=5 is neither"),
    ({"max_retries": -1}, "max_retries=-1"),
    ({"max_retries": 1.5}, "max_retries=1.5"),
    ({"timeout": 0}, "timeout=0 "),
    ({"timeout": float("inf")}, "timeout=inf"),
    ({"timeout": "1"}, "timeout='1'"),
    ({"priority": 0.5}, "priority=0.5"),
    ({"speculate": 1}, "speculate=1 is neither True nor False"),
    ({"type": "inline", "speculate": True}, "leave out speculate"),
    ({"parallelism": 0}, "parallelism=0"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"batch_timeout": -1}, "batch_timeout=-1"),
    ({"init": 3}, "init is not callable: 3"),
    ({"type": "inline", "node": "n1"}, "leave out node"),
    ({"type": "inline", "node": collocated("other")}, "leave out node"),
    ({"type": "inline", "init": nothing}, "leave out init"),
    ({"type": "inline", "parallelism": 2}, "leave out parallelism"),
    ({"type": "inline", "batch_size": 2}, "leave out batch_size"),
    ({"type": "input"}, "leave out code"),
    ({"type": "input", "code": None, "cost": {"cpu": 1}}, "leave out cost"),
    ({"type": "input", "code": None, "init": nothing}, "leave out init"),
    ({"type": "input", "code": None, "args": ["other"]}, "takes no arguments"),
    ({"type": "input", "code": None, "extra_args": [1]}, "takes no arguments"),
    ({"args": [Argument("other", 5)]}, "serialization_fn=5 of the argument 'other'"),  # type: ignore[arg-type]
    ({"args": [Argument("other", None, (nothing, 5))]}, "deserialization_fn="),  # type: ignore[arg-type]
])
def test_a_wrong_field_is_named(fields: dict[str, Any], text: str) -> None:
    """Each error names the function and the field with its value, also when other functions are right."""
    dag = graph(Function("other", [], nothing), Function("f", **{"code": nothing, **fields}))
    with pytest.raises(InvalidFunction, match=re.escape(text)) as caught:
        dag.validate()
    assert str(caught.value).startswith("'f'")
    assert caught.value.function == "f"


def test_an_unknown_collocation_target_is_named() -> None:
    """A function can't be collocated with what is not there."""
    with pytest.raises(MissingFunction, match="'b' is collocated with 'aa', which is not in the graph"):
        graph(Function("a", [], nothing), Function("b", [], nothing, node=collocated("aa"))).validate()


def test_collocation_in_a_circle_is_named_whole() -> None:
    """Functions that follow each other end nowhere."""
    dag = graph(Function("a", [], nothing, node=collocated("c")), Function("b", [], nothing, node=collocated("a")),
                Function("c", [], nothing, node=collocated("b")))
    with pytest.raises(CyclicDependency, match=r"collocated .* 'a' -> 'c' -> 'b' -> 'a'"):
        dag.validate()


@pytest.mark.parametrize("target", [Function("x", [], nothing, type="inline"), Function("x", type="input")])
def test_what_runs_nowhere_is_no_collocation_target(target: Function) -> None:
    """Inline functions and inputs have no node to follow."""
    with pytest.raises(InvalidFunction, match="'b': it is collocated with 'x', which runs on no node of its own"):
        graph(target, Function("b", [], nothing, node=collocated("x"))).validate()


def test_all_are_errors_of_one_family() -> None:
    """Whoever catches InvalidDAG catches them all."""
    assert all(issubclass(kind, InvalidDAG) for kind in (MissingFunction, CyclicDependency, DuplicateFunction, InvalidFunction))
