"""`execute_local` runs a graph here and now, with the meaning that a cluster gives it."""

from __future__ import annotations

from typing import Any

import pytest
from reference import evaluate_outputs

from handoff.client.lower import lower
from handoff.errors import CyclicDependency, FunctionFailed, InvalidFunction
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function, collocated
from handoff.local_run import execute_local
from handoff.node.current import CurrentTask, current_task


async def later(x: int) -> int:
    """Asynchronous code."""
    return x + 1


def test_costs_and_placement_are_ignored() -> None:
    """What no node could meet runs here; every function was on "local"."""
    dag = DAG("big")
    dag.add(Function("a", [], lambda: 20, cost={"gpu": 1000}, node="nowhere"))
    dag.add(Function("b", ["a"], lambda x, y: x + y, [22], node=collocated("a")))
    result = execute_local(dag)
    assert (result.dag_id, dict(result.results), dict(result.allocations)) == ("big", {"a": 20, "b": 42}, {"a": "local", "b": "local"})


@pytest.mark.parametrize("kwargs", [None, {"z": 3}])
def test_arguments_that_are_none_are_no_arguments(kwargs: Any) -> None:
    """Here and on a cluster, alone and beside others; the function itself stays as it was written."""
    dag = DAG().add(Function("a", None, lambda **all: all, None, kwargs))  # type: ignore[arg-type]
    dag.add(Function("i", None, lambda: 1, None, None, type="inline"))  # type: ignore[arg-type]
    dag.add(Function("b", ["i"], lambda *all: all, None, None))  # type: ignore[arg-type]
    found = {"a": kwargs or {}, "b": (1,)}
    assert dict(execute_local(dag).results) == evaluate_outputs(lower(dag)) == found
    assert dag.functions["a"].args is None


def test_results_are_in_the_order_of_the_graph() -> None:
    """Also when functions were added before what they need."""
    dag = DAG().add(Function("b", ["a"], lambda x: x)).add(Function("a", [], lambda: 1))
    assert list(execute_local(dag).results) == ["b", "a"]


def test_steps_are_told_where_they_are() -> None:
    """Both ends of an Argument are on "local"."""
    dag = DAG().add(Function("a", [], lambda: 1))
    dag.add(Function("b", [Argument("a", (lambda *given: given, [7]), lambda *given: given)], lambda x: x))
    assert execute_local(dag).results["b"] == ((1, "local", "local", 7), "local", "local")


def test_functions_know_their_task() -> None:
    """What asks `current_task` need not be rewritten to be debugged; coroutines, inline functions, and later attempts included."""
    def told() -> CurrentTask:
        task = current_task()
        assert task is not None
        if task.attempt < 2:
            raise OSError("once more")
        return task

    async def later(first: CurrentTask, folded: int) -> tuple[CurrentTask, Any, int]:
        return first, current_task(), folded

    dag = DAG().add(Function("a", [], told, cost=[{"gpu": 2, "memory": "1 GB"}, {"cpu": 8}]))
    dag.add(Function("i", [], lambda: current_task().task, type="inline"))  # type: ignore[union-attr] # there is one
    dag.add(Function("b", ["a", "i"], later))
    name = told.__qualname__.rpartition(".")[2]
    first, second, folded = execute_local(dag).results["b"]
    assert first == (0, 0, 2, name, "local", (), {"gpu": 2, "memory": 1000})
    assert second == (0, 2, 1, "later", "local", (), {"cpu": 1})
    assert folded == 2
    assert current_task() is None


def test_asynchronous_code_is_awaited() -> None:
    """Inline functions included."""
    dag = DAG()
    inner = dag.call(later, 1, inline=True)
    dag.call(later, dag.call(later, inner), id="b")
    assert execute_local(dag).results["b"] == 4


async def test_asynchronous_code_runs_where_a_loop_runs_already() -> None:
    """As in a notebook."""
    dag = DAG()
    dag.call(later, dag.call(later, 1), id="b")
    assert execute_local(dag).results["b"] == 3


def test_a_failing_function_is_tried_again() -> None:
    """Up to its max_retries; what succeeds in the end is a success."""
    tried: list[int] = []

    def flaky() -> int:
        tried.append(1)
        if len(tried) < 3:
            raise ValueError("not yet")
        return 5

    assert execute_local(DAG().add(Function("a", [], flaky, max_retries=2))).results["a"] == 5
    assert len(tried) == 3


@pytest.mark.parametrize(("max_retries", "attempts"), [(None, 4), (0, 1), (1, 2)])
def test_the_error_of_the_last_attempt_is_the_cause(max_retries: int | None, attempts: int) -> None:
    """FunctionFailed tells function, node and attempt; dependents never start."""
    ran: list[str] = []

    def broken() -> Any:
        ran.append("broken")
        raise KeyError("k")

    dag = DAG().add(Function("a", [], broken, max_retries=max_retries)).add(Function("b", ["a"], ran.append))
    with pytest.raises(FunctionFailed, match=f"'a' failed on 'local' in attempt {attempts}: KeyError: 'k'") as caught:
        execute_local(dag)
    assert isinstance(caught.value.__cause__, KeyError)
    assert (caught.value.function, caught.value.node, caught.value.attempt) == ("a", "local", attempts)
    assert ran == ["broken"] * attempts


def test_inline_functions_that_are_nested_too_deeply_are_told_as_on_a_cluster() -> None:
    """At once, as what they are; a function that calls itself without end fails as it does there."""
    def deeper(number: int) -> int:
        return number + 1

    def endless(number: int) -> int:
        return endless(number)

    def nested(levels: int, code: Any) -> DAG:
        dag = DAG().add(Function(0, [], deeper, [0], type="inline"))
        for level in range(1, levels):
            dag.add(Function(level, [level - 1], deeper, type="inline"))
        return dag.add(Function("end", [levels - 1], code))

    assert execute_local(nested(50, deeper)).results["end"] == 51
    for run in (execute_local, lower):
        with pytest.raises(InvalidFunction, match=r"'end': inline functions are nested too deeply in it, or .*; .* let one in a hundred"):
            run(nested(1000, deeper))
    with pytest.raises(FunctionFailed, match="in attempt 4: RecursionError"):
        execute_local(nested(50, endless))


def test_leaving_is_a_failure() -> None:
    """sys.exit() in a function ends the run, not this process."""
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(FunctionFailed, match="SystemExit: 3"):
        execute_local(DAG().add(Function("a", [], leave, max_retries=0)))


def test_inputs_are_checked_and_used() -> None:
    """As in `execute`."""
    dag = DAG().add(Function("x", type="input")).add(Function("a", ["x"], lambda x: x * 2))
    assert dict(execute_local(dag, inputs={"x": 4}).results) == {"a": 8}
    with pytest.raises(InvalidFunction, match="'x' has no value"):
        execute_local(dag)


def test_the_graph_is_validated_first() -> None:
    """Nothing runs of a graph that is wrong."""
    ran: list[str] = []
    dag = DAG().add(Function("ok", [], ran.append, ["ok"])).add(Function("a", ["a"], ran.append))
    with pytest.raises(CyclicDependency):
        execute_local(dag)
    assert ran == []


class Later:
    """A value that one may await."""

    def __await__(self) -> Any:
        """Nothing is to be waited for."""
        yield from ()
        return "awaited"


def test_a_value_that_can_be_awaited_is_handed_over_as_it_is() -> None:
    """As on a node, where only what a coroutine function gives is awaited."""
    async def coroutine() -> str:
        return "awaited"

    dag = DAG()
    value = dag.call(Later, id="value")
    dag.call(lambda given: type(given).__name__, value, id="type")
    dag.call(lambda: coroutine(), id="coroutine")
    results = execute_local(dag).results
    assert (type(results["value"]), results["type"], results["coroutine"]) == (Later, "Later", "awaited")


def test_a_reference_names_what_its_function_gave() -> None:
    """As its id does."""
    dag = DAG()
    one = dag.call(lambda: 1)
    two = dag.call(lambda x: x + 1, one)
    result = execute_local(dag)
    assert (result[two], result.results[one], result.allocations[two], result["lambda"]) == (2, 1, "local", 1)
    assert (one in result.results, result.results.get(one), result.allocations.get(two)) == (True, 1, "local")
    other = DAG().call(max, 1, id="elsewhere")
    with pytest.raises(KeyError, match="elsewhere"):
        _ = result[other]
    assert (other in result.results, result.results.get(other)) == (False, None)
