"""Graphs are written down function by function or as calls, and both say the same."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest

from handoff.client.lower import lower
from handoff.client.single import SingleCalls
from handoff.errors import InvalidFunction
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function, collocated, name_of
from handoff.graph.options import function, options_of
from handoff.graph.references import Reference, references_in


def add(*numbers: int, **more: int) -> int:
    """Some code."""
    return sum(numbers) + sum(more.values())


def test_add_returns_the_graph() -> None:
    """Additions can be chained, and the graph is a collection of its functions in their order."""
    first, second = Function("a", [], add), Function("b", ["a"], add)
    dag = DAG().add(first).add(second)
    assert list(dag) == [first, second]
    assert len(dag) == 2
    assert "a" in dag
    assert "c" not in dag
    assert dict(dag.functions) == {"a": first, "b": second}


def test_none_is_no_id() -> None:
    """It stands for what has none."""
    with pytest.raises(InvalidFunction, match="None is no id for a function"):
        DAG().add(Function(None, code=abs))


def test_graphs_have_ids() -> None:
    """An id is given, or made and then different each time."""
    assert DAG("mine").id == "mine"
    assert DAG().id != DAG().id


def test_a_call_becomes_a_function() -> None:
    """References that come first become args; the rest stays where it stands."""
    dag = DAG()
    a = dag.call(add, 1)
    b = dag.call(add, a, a, 2, a, k=a, id="sum", cost={"cpu": 2}, node="n1", max_retries=1, timeout=2.0, priority=3)
    made = dag.functions["sum"]
    assert (made.args, made.extra_args[0], made.cost, made.node, made.max_retries, made.timeout, made.priority) == (
        ["add", "add"], 2, {"cpu": 2}, "n1", 1, 2.0, 3)
    assert made.extra_args[1] is a
    assert made.extra_kwargs == {"k": a}
    assert b.id == "sum"
    dag.validate()


def test_calls_are_named_after_their_function() -> None:
    """Names are numbered where they repeat and never collide with given ids."""
    dag = DAG()
    dag.add(Function("add-2", [], add))
    ids = [dag.call(add).id, dag.call(add).id, dag.call(lambda: 1).id, dag.call(functools.partial(add, 1)).id]
    assert ids == ["add", "add-3", "lambda", "add-4"]


def test_inline_calls() -> None:
    """`inline=True` makes the function inline."""
    dag = DAG()
    dag.call(add, id="x", inline=True)
    assert dag.functions["x"].type == "inline"


@pytest.mark.parametrize("inline", ["no", 0, ""])
def test_whether_a_call_is_inline_is_true_or_false(inline: Any) -> None:
    """Nothing else is taken for either, also when it is bound to the function; nor is what is no number a priority."""
    bound = function(inline=inline)(lambda: 1)
    for refused in (lambda: DAG().call(add, id="x", inline=inline), lambda: DAG().call(bound, id="x")):
        with pytest.raises(InvalidFunction, match=f"^'x': inline={inline!r} is neither True nor False$"):
            refused()
    dag = DAG()
    dag.call(add, priority="")  # type: ignore[arg-type]
    with pytest.raises(InvalidFunction, match="priority='' is not a whole number"):
        dag.validate()
    with pytest.raises(InvalidFunction, match="priority=2147483648 is not a whole number from -2147483647 to 2147483647"):
        DAG().add(Function("x", code=add, priority=2**31)).validate()


def test_references_are_found_at_any_depth() -> None:
    """In lists, tuples, dict values and dict keys, in order, also where containers hold themselves."""
    a, b, c = Reference("a"), Reference("b"), Reference("c")
    ring: list[Any] = [b]
    ring.append(ring)
    assert references_in([1, (a, {"k": [b], c: 2}), a]) == [a, b, c, a]
    assert references_in(ring) == [b]
    assert references_in("abc") == []


def test_a_reference_stands_in_its_own_graph() -> None:
    """A reference from another graph is refused where it is used."""
    other = DAG("other").call(add)
    for arguments in ((1, other), ([other],)):
        with pytest.raises(InvalidFunction, match="takes the reference to 'add' from DAG\\('other'\\)"):
            DAG("mine").call(add, *arguments)


def test_a_reference_of_another_graph_is_not_taken_for_a_function_of_the_same_id() -> None:
    """As one of the results that a function takes, beside a step, and as one of those that are wanted."""
    dag, other = DAG("mine"), DAG("other")
    dag.call(add, 1, 2, id="sum")
    foreign = other.call(add, 3, 4, id="sum")
    for wanted in (foreign, Argument(foreign, str)):
        made = DAG("mine")
        made.call(add, 1, 2, id="sum")
        made.add(Function("b", args=[wanted], code=str))
        with pytest.raises(InvalidFunction, match=r"'b' takes the reference to 'sum' from DAG\('other'\)"):
            made.validate()
    with pytest.raises(InvalidFunction, match=r"returns names the reference to 'sum' from DAG\('other'\)"):
        lower(dag, returns=[foreign])


def test_what_is_nested_too_deeply_is_named() -> None:
    """Instead of an error of Python's stack; where it is called, where it is added, and for a single call."""
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    dag = DAG()
    with pytest.raises(InvalidFunction, match="'len': an argument is nested too deeply"):
        dag.call(len, deep)
    with pytest.raises(InvalidFunction, match="'added': an argument is nested too deeply"):
        dag.add(Function("added", code=len, extra_args=[deep])).validate()
    with pytest.raises(InvalidFunction, match="'len': an argument is nested too deeply"):
        SingleCalls().lower(len, (deep,), {})


def test_a_reference_cannot_be_pickled_by_accident() -> None:
    """Where Handoff does not look for references, they are refused with the reason."""
    with pytest.raises(TypeError, match="not into sets"):
        pickle.dumps({Reference("a")})


def test_options_are_bound_to_a_function() -> None:
    """The function stays itself; calls take its options unless they say otherwise."""

    @function(cost={"cpu": 3}, max_retries=1, node="n1")
    def train(x: int) -> int:
        return x + 1

    assert train(1) == 2
    dag = DAG()
    dag.call(train, 1, id="a")
    dag.call(functools.partial(train, 1), id="b", cost={"cpu": 1}, node=collocated("a"))
    a, b = dag
    assert (a.cost, a.max_retries, a.node) == ({"cpu": 3}, 1, "n1")
    assert (b.cost, b.max_retries, b.node) == ({"cpu": 1}, 1, collocated("a"))


def test_the_decorator_needs_no_parentheses_and_takes_only_what_it_knows() -> None:
    """Bare use binds nothing; unknown options and callables without attributes are refused."""

    @function
    def bare() -> int:
        return 1

    assert bare() == 1
    assert options_of(bare) == {}
    with pytest.raises(TypeError, match="does not know prio"):
        function(prio=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="can't carry options"):
        function(cost={"cpu": 1})(len)


def test_code_has_a_name_for_people() -> None:
    """Functions, methods, partials and callable objects are named as their authors know them."""
    class Model:
        def predict(self) -> None: ...
        def __call__(self) -> None: ...

    assert [name_of(each) for each in (add, Model().predict, functools.partial(add), Model(), len)] == [
        "add", "Model.predict", "add", Model.__qualname__, "len"]
