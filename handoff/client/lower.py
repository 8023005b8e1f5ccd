"""A graph becomes a program: validated, inline functions folded into their dependents, tasks numbered, equal things said once."""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from handoff.client.code import CodeTable
from handoff.client.columns import FEW_BYTES, Columns
from handoff.client.folding import Folding
from handoff.errors import InvalidFunction, MissingFunction, NotSerializable
from handoff.graph.bound import BOUND
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Collocated, Function, Near
from handoff.graph.links import Links, near
from handoff.graph.references import RETURNS, Reference, check_origin, references_in, replaced
from handoff.graph.validate import RETRIES_MOST, check, given_inputs, is_number_of_retries, nested_too_deeply, refuse_streaming, roots
from handoff.program import Flag, Form, Kind, Program
from handoff.quoting import quoted
from handoff.record import record
from handoff.resources import DEFAULT_COST, costs
from handoff.wire.failures import without_our_frames
from handoff.wire.values import Packed, pack, unpicklable_part

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


@record
class Lowered:
    """A program, and what the client keeps to itself about it."""

    program: Program
    body: tuple[bytes, ...]           # code, in the order of program.codes
    ids: list[Hashable]               # per task: the id of its function; None for hidden tasks
    number: dict[Hashable, int]       # the task of each function that has one
    outputs: list[int]                # the tasks whose results are wanted, in the order of `returns`, or else of the graph
    objects: dict[int, Packed]        # the values of object tasks
    hidden: dict[int, str]            # what the hidden tasks are
    beside: dict[int, Hashable]       # the ids of pinned functions, by the tasks that have to be where these are

    def describe(self, task: int) -> str:
        """A task, for people."""
        return self.hidden[task] if task in self.hidden else f"function {quoted(self.ids[task])}"


def lower(dag: DAG, *, returns: Iterable[Hashable] | None = None, max_retries: int = 3,
          inputs: Mapping[Hashable, Any] | None = None) -> Lowered:
    """The program of a graph. Raises `InvalidDAG` or `NotSerializable` errors; nothing has been sent then."""
    links = check(dag)
    refuse_streaming(links)
    if not is_number_of_retries(max_retries):
        raise InvalidFunction(f"max_retries={quoted(max_retries)} is not a whole number from 0 to {RETRIES_MOST}")
    wanted = None if returns is None else _returned(returns, links, dag)
    return _Lowering(links, given_inputs(links, inputs), wanted, int(max_retries)).lowered()


class _Lowering:
    """One graph on its way. Functions are positions in the graph, tasks are numbers in the program."""

    def __init__(self, links: Links, values: Mapping[Hashable, Any], returns: list[int] | None, max_retries: int) -> None:
        self.links, self.values, self.returns, self.max_retries = links, values, returns, max_retries
        self.columns, self.codes = Columns(), CodeTable()
        self.number = [-1] * len(links.functions)                  # per function: its task; -1: it has none (yet)
        self.root = roots(links) if any(isinstance(each.node, Collocated) for each in links.examples) else {}
        self.where = self._wheres()                                # per root of a group that asks for labels: all that it asks for
        self._kinds: dict[Any, int] = {}
        self._costs = [costs(each.cost) if each.cost is not None else (DEFAULT_COST,) for each in links.examples]

    def lowered(self) -> Lowered:
        """All of it."""
        self._write_tasks()
        number, columns = self.number, self.columns
        by_id = {function.id: task for function, task in zip(self.links.functions, number, strict=True) if task >= 0}
        wanted = [task for task in number if task >= 0] if self.returns is None else [number[place] for place in self.returns]
        codes = self.codes.bytes
        return Lowered(
            program=columns.program(((digest, len(data)) for digest, data in codes.items()), self._groups(), self._near(),
                                    self._expected("expected_seconds"), self._expected("expected_bytes")),
            body=tuple(codes.values()), ids=columns.ids, number=by_id, outputs=wanted, objects=columns.objects, hidden=columns.hidden,
            beside={number[place]: self.links.functions[root].id for place, root in self.root.items()
                    if isinstance(self.links.functions[root].node, str)},
        )

    def _write_tasks(self) -> None:
        links, number, columns, kinds = self.links, self.number, self.columns, self._kinds
        functions, shapes, arguments, references = links.functions, links.shapes, links.arguments, links.references
        regular = [each.type == "regular" for each in links.examples]
        output = [True] * len(functions) if self.returns is None else [False] * len(functions)
        for place in self.returns or ():
            output[place] = True
        for place in links.order:
            shape = shapes[place]
            if not regular[shape]:
                continue
            function = functions[place]
            taken = arguments[place]
            inputs = None if references[place] else self._plain_inputs(function, taken) if taken else ()
            literal = None if inputs is None else self._plain_literal(place)
            if literal is None or inputs is None:
                number[place] = self._fold(place, output[place])
                continue
            key = (shape, output[place], self._group_of(place))
            kind = kinds.get(key)
            if kind is None:
                form = Form.AS_LIST if function.argument_inclusion == "as_list" else Form.VARIADIC
                kind = kinds[key] = self._kind(place, form, output[place])
            number[place] = columns.add(kind, literal, inputs, function.id)

    def _plain_inputs(self, function: Function, taken: Sequence[int]) -> list[int] | None:
        """The tasks that the arguments come from, or None when one of them is no plain result of a task."""
        number = self.number
        found = []
        for argument, place in zip(function.args, taken, strict=True):
            task = number[place]
            if task < 0 or (type(argument) is Argument
                            and not (argument.serialization_fn is None and argument.deserialization_fn is None)):
                return None
            found.append(task)
        return found

    def _plain_literal(self, place: int) -> bytes | None:
        """The literal of a task without holes; None when a value in it is large and may have to travel on its own."""
        function, bound = self.links.functions[place], self.links.bound.get(place)
        args, kwargs = function.extra_args, function.extra_kwargs
        if bound is not None:
            if not kwargs and _PLAIN.issuperset(map(type, args)):
                data = pickle.dumps((tuple(args), {BOUND: bound.values}), 5)
                return data if len(data) <= FEW_BYTES or len(data) <= self.columns.alone_bytes else None
            kwargs = {**kwargs, BOUND: bound.values}
        elif not kwargs:
            if not args:
                return b""
            if _PLAIN.issuperset(map(type, args)):
                data = pickle.dumps((tuple(args), {}), 5)
                return data if len(data) <= FEW_BYTES or len(data) <= self.columns.alone_bytes else None
        if any(self.columns.object_of(each) is not None for each in (*args, *kwargs.values())):
            return None
        try:
            packed = pack((tuple(args), dict(kwargs)))
        except Exception as error:
            raise self._explained(function, error) from without_our_frames(error)
        return packed.join() if packed.nbytes <= self.columns.alone_bytes else None

    def _fold(self, place: int, output: bool) -> int:
        """The task of a function that is written as a call with holes."""
        function = self.links.functions[place]
        folding = Folding(self.links, self.number, self.columns, self.codes, values=self.values, max_retries=self.max_retries)
        try:
            literal = folding.write(place).join()
        except NotSerializable:
            raise
        except RecursionError:
            raise nested_too_deeply(function) from None
        except Exception as error:
            raise self._explained(function, error) from without_our_frames(error)
        codes = tuple(folding.codes)
        key = (self.links.shapes[place], output, self._group_of(place), codes)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = self._kind(place, Form.TREE, output, codes, folding.is_async)
        return self.columns.add(kind, literal, folding.inputs, function.id)

    def _kind(self, place: int, form: Form, output: bool, codes: tuple[bytes, ...] = (), is_async: bool = False) -> int:
        function = self.links.functions[place]
        bound = self.links.bound.get(place)
        callable = function.code if bound is None else bound.shared
        assert callable is not None
        code = self.codes.add(callable, function.id)
        flags = ((Flag.OUTPUT if output else 0) | (Flag.ASYNC if is_async or code.is_async else 0)
                 | (Flag.IDEMPOTENT if function.speculate else 0))
        root = self.root.get(place, place)
        pinned = self.links.functions[root].node
        first, *others = self._costs[self.links.shapes[place]]
        return self.columns.kind_number(Kind(
            codes=codes or (code.digest,),
            name=code.name,
            form=int(form),
            flags=int(flags | (Flag.IDEMPOTENT if function.speculate else 0)),
            cost=first,
            alternatives=tuple(others),
            max_retries=self.max_retries if function.max_retries is None else int(function.max_retries),
            timeout=float(function.timeout or 0),
            priority=int(function.priority),
            node=pinned if isinstance(pinned, str) else "",
            where=tuple(sorted((self.where.get(root) or function.where or {}).items())),
            spread=function.spread or "",
            family=self.codes.family(codes or (code.digest,)),
        ))

    def _group_of(self, place: int) -> int | None:
        """What sets functions of one shape apart: the root that they follow, or that they ask for others' labels as well."""
        return self.root.get(place, place if place in self.where else None)

    def _wheres(self) -> dict[int, dict[str, str]]:
        """What shares a node needs all the labels that any of it asks for. (Where that node is named, each can be held against it.)"""
        found: dict[int, dict[str, str]] = {}
        for place in {**dict.fromkeys(self.root.values()), **self.root}:
            where, root = self.links.functions[place].where, self.root.get(place, place)
            if where and not isinstance(self.links.functions[root].node, str):
                found.setdefault(root, {}).update(where)
        return found

    def _near(self) -> Iterator[int]:
        """Pairs: a task, and the task that it had better be near."""
        for place in self.links.near:
            wanted = self.links.functions[place].node
            assert isinstance(wanted, Near)
            yield from (self.number[place], self.number[self.links.position[wanted.id]])

    def _expected(self, field: str) -> dict[int, float]:
        """What the user expects of some tasks."""
        said = ((self.number[place], getattr(self.links.functions[place], field)) for place in self.links.expected)
        return {task: float(value) for task, value in said if value is not None and task >= 0}

    def _groups(self) -> list[list[int]]:
        """Tasks that must share a node, but are not pinned to one."""
        groups: dict[int, list[int]] = {}
        for place, root in self.root.items():
            if not isinstance(self.links.functions[root].node, str):
                groups.setdefault(root, [self.number[root]]).append(self.number[place])
        return [sorted(group) for group in groups.values()]

    def _explained(self, function: Function, error: Exception) -> NotSerializable:
        """The error for arguments that can't be pickled: says which of them, and which part of it."""
        for name, value in self._suspects(function):
            try:
                pack(value)
            except Exception as cause:
                path, reason = unpicklable_part(value, cause, name)
                text = f"{quoted(function.id)}: {path} can't be sent to a node: {reason}. Pass what it is made from instead"
                return NotSerializable(text, function=function.id, path=path)
        return NotSerializable(f"{quoted(function.id)}: its arguments can't be sent to a node: {error}", function=function.id)

    def _suspects(self, function: Function) -> Iterator[tuple[str, Any]]:
        """The values that a task is written with, its own first, each with what people call it."""
        yield from _named_values(function)
        for other in self.links.functions:
            if other.type == "input":
                yield f"the value of the input {quoted(other.id)}", self.values[other.id]
            elif other.type == "inline":
                yield from ((f"{name} of the inline function {quoted(other.id)}", value) for name, value in _named_values(other))


def _named_values(function: Function) -> list[tuple[str, Any]]:
    """The values that a function is given, each with what people call it; references in them left out."""
    def bare(part: Any) -> Any:
        return replaced(part, lambda reference: None, lambda value: value) if references_in(part) else part

    first = len(function.args) + 1
    named = [(f"argument {first + index}", bare(each)) for index, each in enumerate(function.extra_args)]
    named += [(f"keyword argument {quoted(name)}", bare(each)) for name, each in function.extra_kwargs.items()]
    for argument in function.args:
        if type(argument) is Argument:
            for given in (argument.serialization_fn, argument.deserialization_fn):
                if type(given) in (tuple, list):
                    named.append((f"a static argument for {quoted(argument.id)}", given[1]))  # type: ignore[index]
    return named


def _returned(returns: Iterable[Hashable], links: Links, dag: DAG) -> list[int]:
    """The positions of the functions whose results are wanted."""
    if isinstance(returns, (str, bytes)) or not isinstance(returns, Iterable):
        raise InvalidFunction(f"returns is a list of ids, such as returns=['small'], not {quoted(returns)}")
    found: dict[int, None] = {}
    for wanted in returns:
        id: Hashable = wanted
        if type(wanted) is Reference:
            check_origin(wanted, dag, RETURNS)
            id = wanted.id
        try:
            place = links.position.get(id)
        except TypeError:
            raise InvalidFunction(f"returns names {quoted(id)}, which is no id: it is not hashable") from None
        if place is None:
            raise MissingFunction(f"returns names {quoted(id)}, which is not in the graph{near(id, links.position)}", missing=id)
        kind = links.functions[place].type
        if kind != "regular":
            raise InvalidFunction(f'returns names {quoted(id)}, which has no result of its own: its type is "{kind!s}"', function=id)
        found[place] = None
    return list(found)
