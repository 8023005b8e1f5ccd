"""Who depends on whom: resolves ids and references to positions, and puts the functions in an order in which they can run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from handoff.errors import CyclicDependency, InvalidDAG, InvalidFunction, MissingFunction
from handoff.graph.bound import USES_MAX, Bound, Sharing
from handoff.graph.function import Argument, Function, Near
from handoff.graph.references import Reference, check_origin, may_hold, own_references_in
from handoff.quoting import quoted

if TYPE_CHECKING:
    from handoff.graph.dag import DAG

# All fields but those that differ from task to task: functions that agree in these are checked once, and become one kind.
# (Of `node`, `cost` and `where` the parts count, see below; what is near what, and what is expected of each, differs from task to task.)
_shape = attrgetter("type", "argument_inclusion", "max_retries", "timeout", "priority", "spread", "speculate", "init", "parallelism",
                    "batch_size", "batch_timeout")
_SUGGESTIONS_MAX = 10_000            # ids that are compared with a missing one


class Links:
    """A graph with its dependencies resolved. Functions are named by their position in the order in which they were added."""

    __slots__ = ("arguments", "bound", "examples", "expected", "functions", "near", "order", "position", "references", "shapes")

    def __init__(self, dag: DAG) -> None:
        by_id = getattr(dag, "functions", None)
        if not isinstance(by_id, Mapping):
            raise InvalidDAG(f"{quoted(dag)} is not a graph; make one with DAG(), and add functions to it")
        self.functions: list[Function] = list(by_id.values())
        self.position: dict[Hashable, int] = dict(zip(by_id, range(len(by_id)), strict=True))
        self.arguments: list[Sequence[int]] = []      # per function: the positions of its `args`
        self.references: list[Sequence[int]] = []     # per function: the positions of the references in its other arguments
        self.shapes: list[int] = []                   # per function: an index into `examples`
        self.examples: list[Function] = []            # one function of each shape
        self.bound: dict[int, Bound] = {}             # functions whose code is shared but for the values that are bound to it
        self.near: list[int] = []                     # functions that say near(id)
        self.expected: list[int] = []                 # functions that say how long they take, or how large their result is
        self._resolve(dag)
        self.order: Sequence[int] = self._order()     # dependencies first

    def _resolve(self, dag: DAG) -> None:
        known: dict[Any, int] = {}
        sharing, met, uses = Sharing(), set[int](), Counter[int]()
        key: Any
        arguments, references, shapes, examples = self.arguments, self.references, self.shapes, self.examples
        for place, function in enumerate(self.functions):
            args, extra_args, extra_kwargs = function.args, function.extra_args, function.extra_kwargs
            if args is None or extra_args is None or extra_kwargs is None:
                function = self.functions[place] = _with_nothing(function)
                args, extra_args, extra_kwargs = function.args, function.extra_args, function.extra_kwargs
            cost, node, where = function.cost, function.node, function.where
            if type(node) is Near:
                self.near.append(place)
                node = Near             # type: ignore[assignment]  # whichever it is near
            if function.expected_seconds is not None or function.expected_bytes is not None:
                self.expected.append(place)
            code = id(function.code)
            if code not in met:
                bound = sharing.of(function.code)
                if bound is not None and not uses:
                    uses.update(id(each.code) for each in self.functions)
                if bound is None or uses[code] > USES_MAX:
                    met.add(code)
                else:
                    self.bound[place], code = bound, id(bound.shared)
            try:
                key = (_shape(function), node, code, None if cost is None else _cost_key(cost),
                       None if where is None else frozenset(where.items()) or None)
                shape = known.get(key)
            except (AttributeError, TypeError):  # not hashable or not a mapping: certainly wrong, and refused by the check of the shape
                key = shape = None
            if shape is None:
                shape = len(examples)
                examples.append(function)
                known[key] = shape
            shapes.append(shape)
            if type(args) is not list and type(args) is not tuple:
                raise InvalidFunction(f"{quoted(function.id)}: args is a list of ids, such as args=['load'], not "
                                      f"{quoted(args)}", function=function.id)
            arguments.append(self._arguments(function, dag) if args else ())
            if type(extra_args) is not tuple and type(extra_args) is not list:
                raise InvalidFunction(f"{quoted(function.id)}: extra_args is a list of values, not "
                                      f"{quoted(extra_args)}", function=function.id)
            if type(extra_kwargs) is not dict or extra_kwargs:
                references.append(self._references(function, dag))
            else:
                references.append(self._references(function, dag) if extra_args and may_hold(extra_args) else ())

    def _arguments(self, function: Function, dag: DAG) -> Sequence[int]:
        found = []
        for argument in function.args:
            wanted: Any = argument.id if type(argument) is Argument else argument
            if type(wanted) is Reference:
                check_origin(wanted, dag, function.id)
                wanted = wanted.id
            found.append(self.find(wanted, function, "depends on"))
        return found

    def _references(self, function: Function, dag: DAG) -> Sequence[int]:
        extra_kwargs = function.extra_kwargs
        if not isinstance(extra_kwargs, Mapping) or not all(isinstance(name, str) for name in extra_kwargs):
            raise InvalidFunction(f"{quoted(function.id)}: extra_kwargs is a dict from parameter names to values, not "
                                  f"{quoted(extra_kwargs)}",
                                  function=function.id)
        found = []
        parts = (*function.extra_args, *extra_kwargs.values())
        for reference in own_references_in(parts, function.id, dag):
            found.append(self.find(reference.id, function, "depends on"))
        return found

    def find(self, wanted: Hashable, function: Function, how: str) -> int:
        """The position of the function `wanted`, which `function` names."""
        try:
            found = self.position.get(wanted)
        except TypeError:
            raise InvalidFunction(f"{quoted(function.id)} {how} {quoted(wanted)}, which is no id: it is not "
                                  "hashable", function=function.id) from None
        if found is None:
            raise MissingFunction(f"{quoted(function.id)} {how} {quoted(wanted)}, which is not in the graph{near(wanted, self.position)}",
                                  function=function.id, missing=wanted)
        return found

    def _order(self) -> Sequence[int]:
        for place, (arguments, references) in enumerate(zip(self.arguments, self.references, strict=True)):
            if (arguments and max(arguments) >= place) or (references and max(references) >= place):
                return in_order([(*some, *others) for some, others in zip(self.arguments, self.references, strict=True)], self.functions,
                                "functions wait for each other")
        return range(len(self.functions))


def _with_nothing(function: Function) -> Function:
    """The same with no arguments in the place of None."""
    return replace(function, args=() if function.args is None else function.args,
                   extra_args=() if function.extra_args is None else function.extra_args,
                   extra_kwargs={} if function.extra_kwargs is None else function.extra_kwargs)


def _cost_key(cost: Any) -> Any:
    return tuple(cost.items()) if isinstance(cost, Mapping) else tuple([tuple(each.items()) for each in cost])


def in_order(needs: Sequence[Iterable[int]], functions: Sequence[Function], what: str) -> list[int]:
    """All positions, each after those it needs, otherwise in their old order; CyclicDependency when that can't be."""
    order: list[int] = []
    state = bytearray(len(needs))    # 0: not seen, 1: on the path, 2: placed
    for start in range(len(needs)):
        if state[start]:
            continue
        path, waiting = [start], [iter(needs[start])]
        state[start] = 1
        while path:
            for need in waiting[-1]:
                if state[need] == 1:
                    cycle = [functions[each].id for each in [*path[path.index(need):], need]]
                    raise CyclicDependency(f"{what}: {' -> '.join(map(repr, cycle))}", cycle=cycle)
                if not state[need]:
                    state[need] = 1
                    path.append(need)
                    waiting.append(iter(needs[need]))
                    break
            else:
                done = path.pop()
                waiting.pop()
                state[done] = 2
                order.append(done)
    return order


def near(wanted: Hashable, ids: Iterable[Hashable]) -> str:
    """A hint at the end of an error: the id that was probably meant; or nothing."""
    ids = list(ids)
    if not isinstance(wanted, str):
        return ""
    strings = [each for each in ids[:_SUGGESTIONS_MAX] if isinstance(each, str)]
    close = get_close_matches(wanted, strings, 1)
    if close:
        return f"; did you mean {quoted(close[0])}?"
    return f"; it has {', '.join(map(repr, ids))}" if 0 < len(ids) <= 8 else ""
