"""A tiny reference: what a program means, evaluated task after task in this process, without scheduler, nodes or workers."""

from __future__ import annotations

import asyncio
from typing import Any

from handoff.client.lower import Lowered
from handoff.graph.calls import Frame
from handoff.program import Flag, Form
from handoff.wire.values import pack_result, unpack, unpack_code


def evaluate_program(lowered: Lowered, node: str = "local") -> list[Any]:
    """The value of every task, by number. Values pass through bytes from task to task, as between workers."""
    program = lowered.program
    codes = {name: unpack_code(data) for (name, size), data in zip(program.codes, lowered.body, strict=True) if size == len(data)}
    blocks: list[bytes] = []
    first = 0
    for task, (number, literal, fan_in) in enumerate(zip(program.kind, program.literals, program.fan_in, strict=True)):
        kind = program.kinds[number]
        producers = program.inputs[first : first + fan_in]
        first += fan_in
        assert all(producer < task for producer in producers), "tasks are numbered in topological order"
        if kind.flags & Flag.OBJECT:
            assert not literal and not fan_in and not kind.codes
            blocks.append(lowered.objects[task].join())
            continue
        if kind.flags & Flag.SERIALIZER:
            assert fan_in == 1
            assert list(program.inputs).count(task) == 1, "a serializer has one consumer"
        value = _value(kind, [codes[name] for name in kind.codes], [unpack(blocks[each]) for each in producers], literal, node)
        blocks.append(pack_result(value).join())
    assert first == len(program.inputs)
    return [unpack(block) for block in blocks]


def evaluate_outputs(lowered: Lowered) -> dict[Any, Any]:
    """The values of the wanted functions, by id."""
    values = evaluate_program(lowered)
    return {lowered.ids[task]: values[task] for task in lowered.outputs}


def _value(kind: Any, codes: list[Any], inputs: list[Any], literal: bytes, node: str) -> Any:
    if kind.form == Form.TREE:
        frame = Frame(codes, inputs, here=node, target=node, sources=[node] * len(inputs))
        tree = unpack(literal)
        return asyncio.run(frame.call_async(tree)) if kind.flags & Flag.ASYNC else frame.call(tree)
    args, kwargs = unpack(literal) if literal else ((), {})
    value = codes[0](inputs, *args, **kwargs) if kind.form == Form.AS_LIST else codes[0](*inputs, *args, **kwargs)
    if kind.flags & Flag.ASYNC:
        async def awaited() -> Any:
            return await value
        return asyncio.run(awaited())
    return value
