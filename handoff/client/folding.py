"""Writes one task down as a call with holes: inline functions folded in, steps of Arguments at both ends, large values as slots."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Mapping
from operator import getitem
from typing import Any

from handoff.client.code import CodeTable
from handoff.client.columns import Columns
from handoff.graph.bound import BOUND
from handoff.graph.calls import Call, NodeName, Quoted, Slot
from handoff.graph.function import Argument, Function
from handoff.graph.links import Links
from handoff.graph.references import Reference, replaced
from handoff.graph.validate import step
from handoff.program import Flag, Form, Kind
from handoff.wire.values import Packed, is_plain, pack

_SIMPLE = frozenset({type(None), bool, int, float})  # need no quotes
_DEPTH_MAX = 4                       # how deep, and in how wide containers, large parts are looked for
_PARTS_MAX = 256


class Folding:
    """One task in the making. What is folded in twice is called once."""

    def __init__(self, links: Links, number: list[int], columns: Columns, codes: CodeTable, *, values: Mapping[Hashable, Any],
                 max_retries: int) -> None:
        self._links, self._number, self._values, self._table, self._columns = links, number, values, codes, columns
        self._max_retries = max_retries
        self.inputs: list[int] = []
        self.codes: list[bytes] = []
        self.is_async = False
        self._slots: dict[int, Slot] = {}          # by task
        self._calls: dict[int, Call] = {}          # inline functions folded in, by position
        self._quoted: list[Quoted] = []
        self._repeated: dict[int, tuple[Any, bool] | None] = {}   # by identity: what stands in several places, lightened once
        self._plain = True                         # nothing in it needs cloudpickle
        self._owner: Function

    def write(self, place: int) -> Packed:
        """The literal of the task that this function becomes; afterwards `inputs`, `codes` and `is_async` belong to it."""
        self._owner = self._links.functions[place]
        tree = self._call(place)
        packed = self._packed(tree)
        if packed.nbytes > self._columns.alone_bytes:
            self._repeated = self._met_again()
            for quoted in self._quoted:
                if not quoted.has_holes:
                    quoted.value, quoted.has_holes = self._lightened(quoted.value)
            packed = self._packed(tree)
        return packed

    def _lightened(self, value: Any, depth: int = 0) -> tuple[Any, bool]:
        """The value with slots in the place of its largest parts, or of all of it; and whether there are any."""
        kind = type(value)
        if kind in _SIMPLE or (kind in (str, bytes) and len(value) < self._columns.alone_bytes):
            return value, False
        task = self._columns.object_of(value)
        if task is not None:
            return self._slot(task), True
        if id(value) not in self._repeated:
            return self._opened(value, depth)
        found = self._repeated[id(value)]
        if found is None:
            found = self._repeated[id(value)] = self._as_one(value, depth)
        return found

    def _as_one(self, value: Any, depth: int) -> tuple[Any, bool]:
        """The same of what stands in several places: a call, which is evaluated once, gives all of them one thing."""
        if _holds_itself(value):       # it can't be made of its parts
            task = self._columns.object_if_large(value, self._owner.id)
            return (value, False) if task is None else (self._slot(task), True)
        filled, has_holes = self._opened(value, depth)
        if has_holes and type(filled) not in (Slot, Call):
            filled = Call(self._code(getitem, self._owner.id, "an argument"), [[filled], 0])
        return filled, has_holes

    def _opened(self, value: Any, depth: int) -> tuple[Any, bool]:
        kind = type(value)
        if kind in (list, tuple, dict) and depth < _DEPTH_MAX and len(value) <= _PARTS_MAX:
            # parts first: the same array often comes in a new list or dict each time
            parts = [self._lightened(each, depth + 1) for each in (value.values() if kind is dict else value)]
            if any(has_holes for _, has_holes in parts):
                filled = [part if has_holes else Quoted(part) for part, has_holes in parts]
                return (dict(zip(value, filled, strict=True)) if kind is dict else kind(filled)), True
        if (found := self._columns.parcelled(value, self._owner.id)) is not None:
            parcel, place = found
            return Call(self._code(getitem, self._owner.id, "an argument"), [self._slot(parcel), place]), True
        task = self._columns.object_if_large(value, self._owner.id)
        return (value, False) if task is None else (self._slot(task), True)

    def _met_again(self) -> dict[int, tuple[Any, bool] | None]:
        """The containers that stand in several places, or in themselves, as deep as large parts are looked for."""
        seen, again = set[int](), dict[int, tuple[Any, bool] | None]()
        level = [quoted.value for quoted in self._quoted if not quoted.has_holes]
        for _ in range(_DEPTH_MAX + 1):
            opened = [each for each in level if _is_opened(each)]
            level = []
            for each in opened:
                if id(each) in seen:
                    again[id(each)] = None
                else:
                    seen.add(id(each))
                    level += each.values() if type(each) is dict else each
        return again

    def _packed(self, tree: Call) -> Packed:
        if self._plain:
            data = pickle.dumps(tree, 5)
            return Packed(len(data), (data,))
        return pack(tree)

    def _call(self, place: int) -> Call:
        function = self._links.functions[place]
        args: list[Any] = [
            self._step_ends(argument, producer, function) if type(argument) is Argument else self._result(producer)
            for argument, producer in zip(function.args, self._links.arguments[place], strict=True)
        ]
        if function.argument_inclusion == "as_list":
            args = [args]
        args += [self._filled(each) for each in function.extra_args]
        kwargs = {name: self._filled(each) for name, each in function.extra_kwargs.items()}
        code, bound = function.code, self._links.bound.get(place)
        if bound is not None:
            code, kwargs[BOUND] = bound.shared, self._value(bound.values)
        assert code is not None
        return Call(self._code(code, function.id), args, kwargs)

    def _filled(self, part: Any) -> Any:
        return replaced(part, self._reference, self._value)

    def _reference(self, reference: Reference) -> Any:
        return self._result(self._links.position[reference.id])

    def _result(self, place: int) -> Any:
        """What stands for a function's result: a slot, or the folded call of an inline function, or the value of an input."""
        task = self._number[place]
        if task >= 0:
            return self._slot(task)
        function = self._links.functions[place]
        if function.type == "input":
            return self._value(self._values[function.id])
        call = self._calls.get(place)
        if call is None:
            call = self._calls[place] = self._call(place)
        return call

    def _value(self, value: Any) -> Any:
        kind = type(value)
        if kind in _SIMPLE or (kind in (str, bytes) and len(value) < 1024):
            return value
        task = self._columns.object_of(value)
        quoted = Quoted(value) if task is None else Quoted(self._slot(task), has_holes=True)
        self._quoted.append(quoted)
        if task is None and self._plain and not is_plain(value):
            self._plain = False
        return quoted

    def _slot(self, task: int) -> Slot:
        slot = self._slots.get(task)
        if slot is None:
            slot = self._slots[task] = Slot(len(self.inputs))
            self.inputs.append(task)
        return slot

    def _code(self, code: Callable[..., Any], function: Hashable, role: str = "its code") -> int:
        entry = self._table.add(code, function, role)
        self.is_async = self.is_async or entry.is_async
        if entry.digest not in self.codes:
            self.codes.append(entry.digest)
        return self.codes.index(entry.digest)

    # ── steps of Arguments ──────────────────────────────────────────────────

    def _step_ends(self, argument: Argument, producer: int, consumer: Function) -> Any:
        """What the consumer gets: the producer's result, serialized beside the producer, deserialized here."""
        task = self._number[producer]
        serialize, deserialize = argument.serialization_fn, argument.deserialization_fn
        function = self._links.functions[producer]
        if serialize is not None and function.type == "input":  # serialized where it is put, like any other
            task = self._columns.add_object(self._values[function.id], function.id)
        part: Any
        source = NodeName("here")
        if task < 0:  # an inline function: both ends are here
            part = self._result(producer)
            if serialize is not None:
                part = self._step(serialize, part, source, consumer, "the serialization_fn of its argument")
        else:
            part = self._slot(self._serializer(argument, task, consumer) if serialize is not None else task)
            source = NodeName("source", part.index)
        if deserialize is None:
            return part
        return self._step(deserialize, part, source, consumer, "the deserialization_fn of its argument")

    def _step(self, given: Any, data: Any, source: NodeName, consumer: Function, role: str) -> Call:
        code, static = step(given)
        return Call(self._code(code, consumer.id, role), [data, source, NodeName("here"), *map(self._value, static)])

    def _serializer(self, argument: Argument, producer: int, consumer: Function) -> int:
        """The hidden task that serializes beside the producer; costs nothing, since it has to run there whatever is free."""
        code, static = step(argument.serialization_fn)
        entry = self._table.add(code, consumer.id, "the serialization_fn of its argument")
        literal = pack(Call(0, [Slot(0), NodeName("here"), NodeName("target"), *map(Quoted, static)])).join()
        kind = Kind(codes=(entry.digest,), name=entry.name, form=Form.TREE, max_retries=self._max_retries, priority=self._owner.priority,
                    flags=Flag.SERIALIZER | (Flag.ASYNC if entry.is_async else 0))
        return self._columns.add(self._columns.kind_number(kind), literal, (producer,),
                                 hidden=f"the serialization of {argument.id!r} for {consumer.id!r}")


def _is_opened(value: Any) -> bool:
    return type(value) in (list, tuple, dict) and 0 < len(value) <= _PARTS_MAX


def _holds_itself(value: Any) -> bool:
    """Whether it stands in itself, as deep as large parts are looked for."""
    level, seen = [value], set[int]()
    for _ in range(_DEPTH_MAX + 1):
        inner: list[Any] = []
        for each in level:
            if _is_opened(each) and id(each) not in seen:
                seen.add(id(each))
                inner += each.values() if type(each) is dict else each
        if any(each is value for each in inner):
            return True
        level = inner
    return False
