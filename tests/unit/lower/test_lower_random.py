"""Whatever graph is written down, its program means the same: random graphs, lowered and evaluated, against plain recursion."""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from reference import evaluate_outputs

from handoff.client.lower import lower
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function
from handoff.graph.references import Reference
from handoff.local_run import execute_local


def told(*args: Any, **kwargs: Any) -> Any:
    """Code whose value shows all that it was given."""
    return (args, sorted(kwargs.items()))


async def told_later(*args: Any, **kwargs: Any) -> Any:
    """The same, asynchronous."""
    return ("async", args, sorted(kwargs.items()))


def enclosed(number: object) -> Callable[..., Any]:
    """Code that differs from others of its like in what it encloses."""
    return lambda *args, **kwargs: told("lambda", number, *args, **kwargs)


def wrap(data: Any, source: str, target: str, *static: Any) -> Any:
    """A step that shows where it was told to be."""
    return {"data": data, "source": source, "target": target, "static": static}


class Writer:
    """Writes down a random graph, and beside it what each function's value is."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.dag = DAG("random")
        self.inputs: dict[Any, Any] = {}
        self.value: dict[Any, Any] = {}
        for number in range(self.random.randint(1, 14)):
            self.write(number if self.random.random() < 0.5 else f"f{number}")

    def write(self, id: Any) -> None:
        """Add one function of any kind."""
        roll = self.random.random()
        if roll < 0.1:
            self.dag.add(Function(id, type="input"))
            self.inputs[id] = self.value[id] = self.literal()
            return
        args, given_args = [], []
        for _ in range(self.random.randint(0, 3) if self.value else 0):
            argument, value = self.argument()
            args.append(argument)
            given_args.append(value)
        extra = [self.part(2) for _ in range(self.random.randint(0, 2))]
        named = {name: self.part(2) for name in ("x", "y")[: self.random.randint(0, 2)]}
        as_list = self.random.random() < 0.3
        number = self.random.choice([1, "two", None, [4]])
        code = self.random.choice([told, told_later, functools.partial(told, "bound", number), enclosed(number)])
        order = Function(
            id, args, code, [part for part, _ in extra], {name: part for name, (part, _) in named.items()},
            type="inline" if roll < 0.35 else "regular", argument_inclusion="as_list" if as_list else "variadic")
        self.dag.add(order)
        is_partial = isinstance(code, functools.partial)
        prefix = () if code in (told, told_later) else ("bound", number) if is_partial else ("lambda", number)
        positional = (*prefix, *([given_args] if as_list else given_args), *(value for _, value in extra))
        shown = (positional, sorted((name, value) for name, (_, value) in named.items()))
        self.value[id] = ("async", *shown) if code is told_later else shown

    def argument(self) -> tuple[Any, Any]:
        """A dependency, perhaps with steps, and its value."""
        id = self.random.choice(list(self.value))
        value = self.value[id]
        if self.random.random() < 0.6:
            return id, value
        steps = []
        for _ in range(2):
            static = self.random.choice([None, (), (1, [2])])
            if static is None:
                steps.append(None)
                continue
            steps.append((wrap, list(static)) if static else wrap)
            value = wrap(value, "local", "local", *static)
        return Argument(id, *steps), value

    def part(self, depth: int) -> tuple[Any, Any]:
        """An argument, perhaps a container with references, and its value."""
        roll = self.random.random()
        if self.value and roll < 0.4:
            id = self.random.choice(list(self.value))
            return Reference(id, self.dag), self.value[id]
        if depth and roll < 0.7:
            parts = [self.part(depth - 1) for _ in range(self.random.randint(0, 3))]
            form = self.random.choice([list, tuple, dict])
            if form is dict:
                return ({n: part for n, (part, _) in enumerate(parts)}, {n: value for n, (_, value) in enumerate(parts)})
            return form(part for part, _ in parts), form(value for _, value in parts)
        literal = self.literal()
        return literal, literal

    def literal(self) -> Any:
        """A value without references, now and then a large one."""
        return self.random.choice([None, 5, "text", [1, [2]], {"k": (3,)}, b"z" * 70_000, range(3), "w" * 1_200_000])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_program_means_what_its_graph_means(seed: int) -> None:
    """Inline functions, nested references, lists, keyword values, steps, inputs and large values, in any combination."""
    written = Writer(seed)
    expected = {function.id: written.value[function.id] for function in written.dag if function.type == "regular"}
    lowered = lower(written.dag, inputs=written.inputs)
    assert evaluate_outputs(lowered) == expected
    assert execute_local(written.dag, inputs=written.inputs).results == expected


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_writing_does_not_matter(seed: int) -> None:
    """A graph whose functions are added backwards has the same results, and its tasks are in topological order as well."""
    written = Writer(seed)
    backwards = DAG("backwards")
    for function in reversed(list(written.dag)):
        backwards.add(function)
    for function in backwards:  # references know their graph
        for reference in _references(function):
            reference.dag = backwards
    results = evaluate_outputs(lower(backwards, inputs=written.inputs))
    assert results == {function.id: written.value[function.id] for function in backwards if function.type == "regular"}
    assert execute_local(backwards, inputs=written.inputs).results == results


def _references(function: Function) -> list[Reference]:
    from handoff.graph.references import references_in

    return references_in([list(function.extra_args), dict(function.extra_kwargs)])
