"""What a graph becomes: few kinds, topological numbers, folded inline functions, hidden steps, groups, objects."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
import pytest
from reference import evaluate_outputs, evaluate_program

from handoff.client.lower import Lowered, lower
from handoff.errors import InvalidFunction, MissingFunction, NotSerializable
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function, collocated
from handoff.program import Flag, Form, Kind


def pair(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Shows its arguments."""
    return (*args, kwargs) if kwargs else args


async def later(x: int) -> int:
    """Asynchronous code."""
    return x + 1


class Asynchronous:
    """A callable object whose call is a coroutine."""

    async def __call__(self, x: int) -> int:
        return x + 2


def dag_of(*functions: Function) -> DAG:
    """A graph of these."""
    dag = DAG("test")
    for function in functions:
        dag.add(function)
    return dag


def kind_of(lowered: Lowered, id: Any) -> Kind:
    """The kind of a function's task."""
    program = lowered.program
    return program.kinds[program.kind[lowered.number[id]]]


def inputs_of(lowered: Lowered, task: int) -> list[int]:
    """The tasks that a task takes."""
    first = sum(lowered.program.fan_in[:task])
    return list(lowered.program.inputs[first : first + lowered.program.fan_in[task]])


def test_equal_functions_share_a_kind_and_code() -> None:
    """A thousand calls of one function are one kind, one piece of code, and a thousand small literals."""
    dag = DAG()
    for number in range(1000):
        dag.call(pair, number, cost={"cpu": 0.5})
    lowered = lower(dag)
    assert len(lowered.program.kinds) == len(lowered.program.codes) == len(lowered.body) == 1
    assert lowered.program.kinds[0] == Kind(codes=(lowered.program.codes[0][0],), name="pair", flags=Flag.OUTPUT, cost=(("cpu", 5000),))
    assert evaluate_program(lowered) == [(number,) for number in range(1000)]


def test_fields_arrive_in_the_kind() -> None:
    """Cost, retries, timeout, priority, node and form are the kind's; no cost is one cpu, an empty cost nothing."""
    lowered = lower(dag_of(
        Function("a", [], pair, cost={}, node="n1"),
        Function("b", ["a"], pair, max_retries=0, timeout=2, priority=-1, argument_inclusion="as_list"),
    ), max_retries=7)
    a, b = kind_of(lowered, "a"), kind_of(lowered, "b")
    assert (a.cost, a.node, a.max_retries, a.timeout, a.form) == ((), "n1", 7, 0.0, Form.VARIADIC)
    assert (b.cost, b.node, b.max_retries, b.timeout, b.priority, b.form) == ((("cpu", 10000),), "", 0, 2.0, -1, Form.AS_LIST)
    assert evaluate_program(lowered) == [(), ([()],)]


def test_tasks_are_numbered_in_topological_order() -> None:
    """Also when dependents were added first."""
    lowered = lower(dag_of(Function("c", ["b", "a"], pair), Function("b", ["a"], pair), Function("a", [], pair, [1])))
    assert lowered.ids == ["a", "b", "c"]
    assert lowered.number == {"a": 0, "b": 1, "c": 2}
    assert lowered.outputs == [2, 1, 0], "in the order of the graph"
    assert evaluate_outputs(lowered)["c"] == (((1,),), (1,))


def test_only_what_is_wanted_is_flagged() -> None:
    """`returns` chooses the outputs, takes references, and keeps its order; everything still runs."""
    dag = DAG()
    a = dag.call(pair, 1, id="a")
    dag.call(pair, a, id="b")
    dag.call(pair, a, id="c")
    lowered = lower(dag, returns=["c", a])
    assert lowered.outputs == [2, 0]
    assert [bool(kind_of(lowered, id).flags & Flag.OUTPUT) for id in "abc"] == [True, False, True]
    assert lower(dag, returns=[]).outputs == []


@pytest.mark.parametrize(("returns", "error", "text"), [
    (["smal"], MissingFunction, "returns names 'smal', which is not in the graph; did you mean 'small'?"),
    (["in"], InvalidFunction, "returns names 'in', which has no result of its own"),
    (["x"], InvalidFunction, "returns names 'x', which has no result of its own"),
    ("small", InvalidFunction, "returns is a list of ids"),
    (3, InvalidFunction, "returns is a list of ids"),
    ([[]], InvalidFunction, "is not hashable"),
])
def test_what_cannot_be_returned_is_named(returns: Any, error: type[Exception], text: str) -> None:
    """Unknown ids, inline functions and inputs have no results."""
    dag = dag_of(Function("small", [], pair), Function("in", [], pair, type="inline"), Function("x", type="input"))
    with pytest.raises(error, match=text.replace("?", r"\?")):
        lower(dag, returns=returns, inputs={"x": 1})


def test_inline_functions_are_folded_into_each_dependent() -> None:
    """They are no tasks; nested ones reach through to their producers; each dependent evaluates its own copy once."""
    calls: list[str] = []
    dag = dag_of(
        Function("a", [], pair, [1]),
        Function("in", ["a"], pair, ["in"], type="inline"),
        Function("outer", ["in", "in"], pair, type="inline"),
        Function("b", ["outer", "in"], pair),
        Function("c", ["in"], pair),
    )
    lowered = lower(dag)
    assert lowered.ids == ["a", "b", "c"]
    assert not calls
    inner = ((1,), "in")
    assert evaluate_outputs(lowered) == {"a": (1,), "b": ((inner, inner), inner), "c": (inner,)}
    assert evaluate_program(lowered)[1][0][0] is not None


def test_an_inline_function_is_evaluated_once_per_dependent() -> None:
    """Several places in one task share one evaluation."""
    dag = dag_of(
        Function("in", [], list, type="inline"),
        Function("outer", ["in"], pair, type="inline"),
        Function("same", ["in", "outer"], lambda x, y: x is y[0]),
    )
    assert evaluate_outputs(lower(dag)) == {"same": True}


def test_references_stand_anywhere() -> None:
    """Nested in lists, tuples, dict values and keys, and as keywords; other containers come through as they are."""
    dag = DAG()
    a, b = dag.call(pair, 1), dag.call(pair, 2)
    plain = [{"x": (1, [2])}]
    dag.call(pair, 5, [a, {"k": (b, a)}], {a: b}, plain, key=[b], id="all")
    lowered = lower(dag)
    assert len(inputs_of(lowered, lowered.number["all"])) == 2, "each input is taken once"
    assert evaluate_outputs(lowered)["all"] == (5, [(1,), {"k": ((2,), (1,))}], {(1,): (2,)}, plain, {"key": [(2,)]})


def test_a_value_that_holds_itself_comes_through() -> None:
    """Such a value without references is not searched; with one it is refused."""
    ring: list[Any] = [1]
    ring.append(ring)
    dag = DAG()
    a = dag.call(pair, 1)
    dag.call(lambda x, y: y[1][1][0], 0, ring, id="plain")
    dag.call(lambda x, y, z: (y[1] is y, z), 0, ring, a, id="beside")
    results = evaluate_outputs(lower(dag))
    assert (results["plain"], results["beside"]) == (1, (True, (1,)))
    ring.append(a)
    dag.call(pair, ring)
    with pytest.raises(InvalidFunction, match="holds a reference and itself"):
        lower(dag)


def test_arguments_become_steps_at_both_ends() -> None:
    """A serializer beside the producer, told both nodes; the deserializer in the consumer's tree."""
    dag = dag_of(
        Function("a", [], pair, [1, 2]),
        Function("b", [Argument("a", (lambda x, s, t, n: (x[n], s, t), [1]), lambda x, s, t: (x, s, t)), "a"], pair, priority=4),
    )
    lowered = lower(dag)
    assert lowered.ids == ["a", None, "b"]
    kind = lowered.program.kinds[lowered.program.kind[1]]
    assert (kind.flags, kind.cost, kind.priority, kind.form) == (Flag.SERIALIZER, (), 4, Form.TREE)
    assert inputs_of(lowered, 1) == [0]
    assert inputs_of(lowered, 2) == [1, 0]
    assert lowered.describe(1) == "the serialization of 'a' for 'b'"
    assert lowered.describe(2) == "function 'b'"
    assert evaluate_program(lowered)[2] == (((2, "local", "local"), "local", "local"), (1, 2))


def test_an_argument_without_steps_is_a_plain_dependency() -> None:
    """No hidden task, no tree."""
    lowered = lower(dag_of(Function("a", [], pair, [1]), Function("b", [Argument("a")], pair)))
    assert (len(lowered.ids), kind_of(lowered, "b").form) == (2, Form.VARIADIC)


def test_only_a_deserializer_needs_no_hidden_task() -> None:
    """The step is folded into the consumer and told where the data comes from."""
    lowered = lower(dag_of(Function("a", [], pair, [1]), Function("b", [Argument("a", None, (pair, [9]))], pair)))
    assert lowered.ids == ["a", "b"]
    assert evaluate_outputs(lowered)["b"] == (((1,), "local", "local", 9),)


def test_arguments_reach_through_inline_functions() -> None:
    """As producer, both steps are here; as consumer, each dependent gets a serializer of its own."""
    dag = dag_of(
        Function("a", [], pair, [1]),
        Function("in", [Argument("a", lambda x, s, t: [x], lambda x, s, t: x[0])], pair, type="inline"),
        Function("b", [Argument("in", lambda x, s, t: {"x": x}, lambda x, s, t: x["x"])], pair),
        Function("c", ["in"], pair),
    )
    lowered = lower(dag)
    assert sum(id is None for id in lowered.ids) == 2
    assert evaluate_outputs(lowered) == {"a": (1,), "b": (((1,),),), "c": (((1,),),)}


def test_asynchronous_code_is_flagged() -> None:
    """Coroutine functions, partials of them, objects with an asynchronous call, and trees that hold one."""
    dag = dag_of(
        Function("a", [], later, [1]),
        Function("b", [], functools.partial(later, 2)),
        Function("c", [], Asynchronous(), [3]),
        Function("in", ["a"], later, type="inline"),
        Function("d", ["in"], pair),
        Function("e", ["a"], pair),
    )
    lowered = lower(dag)
    assert [bool(kind_of(lowered, id).flags & Flag.ASYNC) for id in "abcde"] == [True, True, True, True, False]
    assert evaluate_outputs(lowered) == {"a": 2, "b": 3, "c": 5, "d": (3,), "e": (2,)}


def test_who_may_run_twice_is_flagged_and_shares_no_kind_with_who_may_not() -> None:
    """The same code is of two kinds, since one of them may have a second attempt."""
    lowered = lower(dag_of(*[Function(id, code=pair, speculate=id == "a") for id in "abc"]))

    assert [bool(kind_of(lowered, id).flags & Flag.IDEMPOTENT) for id in "abc"] == [True, False, False]
    assert len(lowered.program.kinds) == 2


def test_collocated_functions_form_groups_and_follow_pins() -> None:
    """Chains lead to one root; a pinned root pins all of its group instead."""
    dag = dag_of(
        Function("d", [], pair, node=collocated("c")),
        Function("a", [], pair),
        Function("c", [], pair, node=collocated("a")),
        Function("free", [], pair),
        Function("p", [], pair, node="n1"),
        Function("q", [], pair, node=collocated("p")),
        Function("r", [], pair, node=collocated("q")),
    )
    lowered = lower(dag)
    assert [sorted(lowered.ids[task] for task in group) for group in lowered.program.groups] == [["a", "c", "d"]]
    assert [kind_of(lowered, id).node for id in "acdpqr"] == ["", "", "", "n1", "n1", "n1"]


def test_inputs_are_values() -> None:
    """They are no tasks and no outputs; their values stand in the calls that take them."""
    dag = dag_of(Function("x", type="input"), Function("a", ["x", Argument("x", None, lambda x, s, t: -x)], pair, [0]))
    lowered = lower(dag, inputs={"x": 5})
    assert lowered.ids == ["a"]
    assert evaluate_outputs(lowered) == {"a": (5, -5, 0)}


@pytest.mark.parametrize("max_retries", [-1, 2**31, 2**64, 1.5, True, None, "3"])
def test_retries_are_a_number_that_can_be_counted(max_retries: Any) -> None:
    """What is none is refused before anything is sent; numpy's are numbers."""
    with pytest.raises(InvalidFunction, match="is not a whole number from 0 to 2147483647"):
        lower(dag_of(Function("a", code=int)), max_retries=max_retries)
    most = lower(dag_of(Function("a", code=int)), max_retries=np.int64(2**31 - 1))
    assert kind_of(most, "a").max_retries == 2**31 - 1


@pytest.mark.parametrize(("inputs", "text"), [
    (None, "the input 'x' has no value"),
    ({"x": 1, "y": 2}, "inputs has a value for 'y', which is not in the graph"),
    ({"x": 1, "a": 2}, "inputs has a value for 'a', which is not of type"),
    ({"xx": 1}, "inputs has a value for 'xx', which is not in the graph; did you mean 'x'\\?$"),
    ([1], "inputs is a dict"),
    ({"x": 1, 5: 2}, "inputs has a value for 5, which is not in the graph$"),
])
def test_inputs_match_the_graph(inputs: Any, text: str) -> None:
    """A missing or superfluous value is named."""
    with pytest.raises(InvalidFunction, match=text):
        lower(dag_of(Function("x", type="input"), Function("a", ["x"], pair)), inputs=inputs)


def test_a_serialized_input_is_put_on_a_node() -> None:
    """A serializer needs a node to run on, so the input becomes an object."""
    dag = dag_of(Function("x", type="input"), Function("a", [Argument("x", lambda x, s, t: x + 1)], pair))
    lowered = lower(dag, inputs={"x": 5})
    assert list(lowered.program.object_tasks) == [0]
    assert evaluate_outputs(lowered) == {"a": (6,)}


def test_a_large_value_is_uploaded_once() -> None:
    """A large array that many tasks take, plain or nested, is one object."""
    array = np.arange(200_000.0)
    dag = DAG()
    a = dag.call(pair, 1)
    for number in range(10):
        dag.call(lambda x, n: float(x.sum()) + n, array, number, id=("plain", number))
        dag.call(lambda r, xs: (r, float(xs[1]["x"].sum())), a, [a, {"x": array}], id=("nested", number))
    dag.call(pair, key=array, id="key")
    lowered = lower(dag)
    assert list(lowered.program.object_tasks) == list(lowered.objects)
    assert len(lowered.objects) == 1
    (task, packed), = lowered.objects.items()
    assert list(lowered.program.object_sizes) == [packed.nbytes]
    assert any(part.obj is array for part in packed.parts if isinstance(part, memoryview)), "not copied"
    assert lowered.describe(task).startswith("an argument of ('plain', 0)")
    assert sum(map(len, lowered.program.literals)) < 20_000
    results = evaluate_outputs(lowered)
    assert results["plain", 3] == array.sum() + 3
    assert results["nested", 9] == ((1,), array.sum())
    assert (results["key"][0]["key"] == array).all()


@pytest.mark.parametrize(("nbytes", "objects"), [(100_000, 0), (150_000, 1)])
def test_what_is_not_small_spares_the_coordinator(nbytes: int, objects: int) -> None:
    """A value over 128 KiB is an object, though only one function takes it."""
    dag = DAG()
    dag.call(pair, b"x" * nbytes, id="only")
    lowered = lower(dag)

    assert len(lowered.objects) == objects
    assert (sum(map(len, lowered.program.literals)) > nbytes) == (not objects)


def test_a_value_that_several_take_is_not_sent_again_and_again() -> None:
    """From its second use on, a value over 64 KiB is an object; smaller ones stay in the literals."""
    shared, small = [b"x" * 100_000], "y" * 10_000
    dag = DAG()
    for number in range(20):
        dag.call(pair, shared, small, number, id=number)
    lowered = lower(dag)
    assert len(lowered.objects) == 1
    assert sum(map(len, lowered.program.literals)) < 400_000
    assert evaluate_outputs(lowered) == {number: (shared, small, number) for number in range(20)}


def test_arguments_are_read_only_for_tasks() -> None:
    """What is handed over is immutable, large or small."""
    dag = DAG()
    for size in (3, 10_000, 1_000_000):
        dag.call(lambda x: x.flags.writeable, np.zeros(size), id=size)
    assert evaluate_outputs(lower(dag)) == {3: False, 10_000: False, 1_000_000: False}


def test_streaming_fields_are_refused() -> None:
    """They would be ignored otherwise."""
    for fields in ({"init": pair}, {"parallelism": 2}, {"batch_size": 5}, {"batch_timeout": 1.0}):
        with pytest.raises(InvalidFunction, match=r"'a': .* is for streaming only"):
            lower(dag_of(Function("a", [], pair, **fields)))  # type: ignore[arg-type]


def test_code_that_cannot_be_pickled_names_the_variable() -> None:
    """The function and the captured variable are named."""
    lock = threading.Lock()
    with pytest.raises(NotSerializable, match=r"'a': its code .* closure variable 'lock': cannot pickle '_thread.lock' object") as caught:
        lower(dag_of(Function("a", [], lambda: lock)))
    assert (caught.value.function, caught.value.path) == ("a", "closure variable 'lock'")
    with pytest.raises(NotSerializable, match=r"the deserialization_fn of its argument .* closure variable 'lock'"):
        lower(dag_of(Function("b", [], pair), Function("a", [Argument("b", None, lambda *x: lock)], pair)))


@pytest.mark.parametrize(("build", "path"), [
    (lambda dag, ref, bad: dag.call(pair, 1, bad, id="a"), "argument 2['model'][0]"),
    (lambda dag, ref, bad: dag.call(pair, ref, 1, [ref, bad], id="a"), "argument 3[1]['model'][0]"),
    (lambda dag, ref, bad: dag.call(pair, ref, k=bad, id="a"), "keyword argument 'k'['model'][0]"),
    (lambda dag, ref, bad: dag.call(pair, 1, ref, k=bad, id="a"), "keyword argument 'k'['model'][0]"),
    (lambda dag, ref, bad: dag.add(Function("a", [Argument(ref.id, None, (pair, [bad]))], pair)),
     "a static argument for 'pair'[0]['model'][0]"),
    (lambda dag, ref, bad: dag.call(pair, 2, dag.call(pair, 1, bad, inline=True, id="in"), id="a"),
     "argument 2 of the inline function 'in'['model'][0]"),
])
def test_an_argument_that_cannot_be_pickled_is_named(build: Any, path: str) -> None:
    """Position or keyword, and the path inside."""
    dag = DAG()
    build(dag, dag.call(pair, 1), {"model": [threading.Lock()]})
    with pytest.raises(NotSerializable) as caught:
        lower(dag)
    assert (caught.value.function, caught.value.path) == ("a", path)
    assert "cannot pickle '_thread.lock' object" in str(caught.value)


def test_a_reference_in_a_set_is_refused() -> None:
    """It would arrive as a reference, not as a value."""
    dag = DAG()
    a = dag.call(pair, 1)
    dag.call(pair, {a}, id="b")
    with pytest.raises(NotSerializable, match=r"'b': argument 1.* not into sets"):
        lower(dag)


def test_many_arguments_of_middle_size_do_not_make_a_message_too_large() -> None:
    """Each would stand in a literal; what is beyond half of a message travels on its own."""
    values = [number.to_bytes(20_000, "big") for number in range(2500)]
    lowered = lower(dag_of(*[Function(number, code=len, extra_args=[value]) for number, value in enumerate(values)]))
    literals, objects = len(lowered.program.literals.data), sum(packed.nbytes for packed in lowered.objects.values())
    assert literals < 34 * 2**20 and literals + objects > 50_000_000
    assert len(lowered.objects) + len(lowered.number) == len(lowered.program.kind)
