"""The lambdas, closures and partials of a loop share their code; what could remember a call, or holds more than a few bytes, does not."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Callable
from functools import partial
from pathlib import PosixPath
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from reference import evaluate_outputs

from handoff import DAG, Function, collocated
from handoff.client.code import CodeTable
from handoff.client.lower import Lowered, lower
from handoff.errors import NotSerializable
from handoff.graph.bound import BOUND, TEXT_MAX, USES_MAX, VALUES_MAX, Sharing
from handoff.program import Flag
from handoff.wire.values import pack_named, unpack_code

UNSENT = threading.Lock()


def shown(*args: Any, **kwargs: Any) -> Any:
    """All that it was given."""
    return args, kwargs


def enclosing(value: Any) -> Callable[..., Any]:
    """A closure."""
    return lambda *args, **kwargs: shown(value, *args, **kwargs)


def with_defaults(value: Any) -> Callable[..., Any]:
    """The other way to bind in a loop."""
    def call(first: Any = value, second: Any = None, *, third: Any = value) -> Any:
        return first, second, third
    return call


def enclosing_async(value: Any) -> Callable[..., Any]:
    """A closure of asynchronous code."""
    async def later(*args: Any) -> Any:
        return shown(value, *args)
    return later


def counting(start: int) -> Callable[[], int]:
    """It remembers how often it was called."""
    def count() -> int:
        nonlocal start
        start += 1
        return start
    return count


def counting_within(start: int) -> Callable[[], int]:
    """The same in a function of its own."""
    def count() -> int:
        def step() -> int:
            nonlocal start
            start += 1
            return start
        return step()
    return count


def marked(value: int) -> Callable[[], Any]:
    """It has an attribute."""
    call = enclosing(value)
    vars(call)["calls"] = []
    return call


def empty(_: int) -> Callable[[], Any]:
    """Nothing is yet in what it encloses."""
    if _ < 0:
        late = 1
    return lambda: late


class Model:
    """Has something of its own."""

    def __init__(self, weight: int) -> None:
        self.weight = weight

    def __call__(self) -> int:
        return self.weight

    def score(self, *_: Any) -> int:
        """A method."""
        return self.weight


KEPT = (counting(0), enclosing([]), with_defaults([]), empty(0))     # each holds what may change, or nothing yet


def lowered(make: Callable[[Any], Any], values: Any = range(100), **said: Any) -> Lowered:
    """A graph of one function for each value."""
    dag = DAG()
    for place, value in enumerate(values):
        dag.add(Function(place, code=make(value), **said))
    return lower(dag)


@pytest.mark.parametrize("make", [
    pytest.param(lambda value: partial(shown, value), id="partials"),
    pytest.param(lambda value: partial(shown, value, 2, named=value), id="with names"),
    pytest.param(lambda value: partial(math.pow, value), id="of builtins"),
    pytest.param(lambda value: partial(Model, value), id="of classes"),
    pytest.param(enclosing, id="closures"),
    pytest.param(with_defaults, id="defaults"),
])
def test_one_piece_of_code_and_one_queue(make: Callable[[int], Any]) -> None:
    """Beside the first, which stays what it is: the others are numbers among arguments."""
    program = lowered(make).program
    assert len(program.codes) == len(program.kinds) == 2
    assert max(map(len, program.literals)) < 100
    assert len({(each.name, each.family) for each in program.kinds}) == 1
    assert program.kinds[0].family


@pytest.mark.parametrize("make", [
    pytest.param(counting, id="remembers calls"),
    pytest.param(counting_within, id="a function in it does"),
    pytest.param(marked, id="with an attribute"),
    pytest.param(lambda value: partial(Model(0).score, value), id="partial of a method"),
    pytest.param(lambda value: partial([].append, value), id="partial of a builtin method"),
    pytest.param(lambda value: partial(Model(0), value), id="partial of an object"),
    pytest.param(lambda value: partial(KEPT[0], value), id="partial of what remembers calls"),
    pytest.param(lambda value: partial(KEPT[1], value), id="partial of what holds what can be changed"),
    pytest.param(lambda value: partial(KEPT[2], value), id="partial of what has it as a default"),
    pytest.param(lambda value: partial(KEPT[3], value), id="partial of what holds nothing yet"),
    pytest.param(lambda value: enclosing([value]), id="what can be changed"),
    pytest.param(lambda value: enclosing(np.full(3, value)), id="an array"),
    pytest.param(lambda value: enclosing(str(value) * TEXT_MAX), id="a long text"),
    pytest.param(lambda value: partial(shown, *[value] * (VALUES_MAX + 1)), id="many values"),
    pytest.param(Model, id="objects"),
    pytest.param(lambda value: Model(value).score, id="methods"),
    pytest.param(empty, id="nothing enclosed yet"),
])
def test_others_stay_what_they_are(make: Callable[[int], Any]) -> None:
    """They may be meant to remember; or to travel on their own."""
    sharing = Sharing()
    codes = [make(value) for value in range(10, 15)]    # held: an identity is to be its own
    assert [sharing.of(code) for code in codes] == [None] * 5


def test_what_is_used_often_is_shared_as_it_is() -> None:
    """A value more in each of thousands of literals would cost more than a second piece of code."""
    dag, both = DAG(), [enclosing(1), enclosing(2)]
    for number in range(2 * (USES_MAX + 1)):
        dag.add(Function(number, code=both[number % 2]))
    program = lower(dag).program
    assert len(program.codes) == 2
    assert not any(program.literals)


@pytest.mark.parametrize("value", [None, True, 5, 2.5, 1j, "text", b"bytes", PosixPath("/tmp"), np.float64(1.5), np.int32(7)])
def test_values_come_as_they_are(value: Any) -> None:
    """Of the same type, too."""
    dag = DAG()
    dag.add(Function("first", code=enclosing(None)))
    dag.add(Function("second", code=enclosing(value)))
    found = lower(dag)
    ((came,), _) = evaluate_outputs(found)["second"]
    assert (type(came), came) == (type(value), value)
    assert len(pickle.loads(found.program.literals[1])[1]) == 1


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("make", [
    lambda value: partial(shown, value, name=value), lambda value: partial(shown, value, x="overruled"), enclosing,
])
def test_it_is_called_with_all_that_it_would_be_called_with(make: Callable[[int], Any], as_list: bool) -> None:
    """What is bound, results, then arguments and keywords; a keyword of the function overrules a bound one."""
    dag = DAG()
    dag.add(Function("input", code=int, extra_args=["7"]))
    for number in range(3):
        dag.add(Function(number, ["input", "input"], make(number), ["more"], {"x": 1}, type="regular",
                         argument_inclusion="as_list" if as_list else "variadic"))
    given = ([[7, 7]] if as_list else [7, 7])
    assert {id: value for id, value in evaluate_outputs(lower(dag)).items() if id != "input"} == {
        number: make(number)(*given, "more", x=1) for number in range(3)
    }


@pytest.mark.parametrize("make", [lambda value: partial(shown, value), enclosing])
def test_a_keyword_may_have_any_name(make: Callable[[int], Any]) -> None:
    """`self`, too, which is a parameter of what calls it."""
    dag = DAG()
    for number in range(3):
        dag.add(Function(number, code=make(number), extra_kwargs={"self": number}))
    assert evaluate_outputs(lower(dag)) == {number: ((number,), {"self": number}) for number in range(3)}


def test_what_can_not_be_sent_is_named_as_it_is_in_a_function_of_its_own() -> None:
    """Also where the second of those that share is written first, since the first waits for it."""
    dag = DAG()
    for number in range(2):
        dag.add(Function(number, [] if number else [1], lambda *_, number=number: (number, UNSENT)))
    with pytest.raises(NotSerializable, match=r"^1: its code \(.*<lambda>\) can't be sent to a node: global 'UNSENT': "):
        lower(dag)


def test_defaults_that_are_given_are_not_used() -> None:
    """Bound values stand where those of the function did."""
    dag = DAG()
    for number in range(3):
        dag.add(Function(number, code=with_defaults(number)))
        dag.add(Function(f"given {number}", code=with_defaults(number), extra_args=["a", "b"], extra_kwargs={"third": "c"}))
    found = evaluate_outputs(lower(dag))
    assert [found[number] for number in range(3)] == [(number, None, number) for number in range(3)]
    assert {found[f"given {number}"] for number in range(3)} == {("a", "b", "c")}


def test_calls_with_references_and_inline_functions_share_as_well() -> None:
    """What is written as a tree."""
    dag = DAG()
    for number in range(20):
        dag.add(Function(("inline", number), code=enclosing(number), type="inline"))
        dag.add(Function(number, [("inline", number)], partial(shown, number)))
    found = lower(dag)
    assert len(found.program.codes) <= 4
    assert len(found.program.kinds) <= 4
    assert evaluate_outputs(found) == {number: ((number, ((number,), {})), {}) for number in range(20)}


def test_asynchronous_ones_are_asynchronous() -> None:
    """Also behind what they share."""
    for make in (enclosing_async, lambda value: partial(enclosing_async(0), value)):
        found = lowered(make, range(4))
        assert all(kind.flags & Flag.ASYNC for kind in found.program.kinds)
    assert evaluate_outputs(lowered(enclosing_async, range(3))) == {number: ((number,), {}) for number in range(3)}


def test_what_differs_otherwise_does_not_share() -> None:
    """Other costs, other numbers of bound values, other functions: each is a kind."""
    dag = DAG()
    for number in range(4):
        dag.add(Function(f"a{number}", code=partial(shown, number), cost={"cpu": 1 + number % 2}))
        dag.add(Function(f"b{number}", code=partial(shown, number, number)))
        dag.add(Function(f"c{number}", code=partial(math.pow, number), extra_args=[2]))
        dag.add(Function(f"d{number}", code=enclosing(number), node=collocated("a0")))
    found = lower(dag)
    values = evaluate_outputs(found)
    assert [values[f"{letter}3"] for letter in "abcd"] == [((3,), {}), ((3, 3), {}), 9.0, ((3,), {})]
    assert {kind.cost for kind in found.program.kinds} == {(("cpu", 10_000),), (("cpu", 20_000),)}


def test_what_is_shared_travels_by_value() -> None:
    """With the name and the module of the function, and nothing of the client's table."""
    code = FunctionType(enclosing(1).__code__, {"shown": shown, "__name__": "__main__"}, "named", None, enclosing(1).__closure__)
    other = FunctionType(code.__code__, code.__globals__, "named", None, enclosing(2).__closure__)
    sharing = Sharing()
    assert sharing.of(code) is None
    bound = sharing.of(other)
    assert bound is not None
    came = unpack_code(pack_named(bound.shared)[0])
    assert came(3, **{BOUND: bound.values}) == ((2, 3), {})
    assert (came.func.__name__, came.func.__module__, came.like) == ("named", "__main__", None)
    assert CodeTable().add(bound.shared, "x").name == CodeTable().add(code, "x").name
