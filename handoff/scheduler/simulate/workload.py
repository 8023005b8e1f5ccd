"""Recorded workflows as work for the simulator: who calls what, for how long, with how many bytes."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from handoff.columns import Blobs
from handoff.program import Kind, Program
from handoff.resources import amounts
from handoff.scheduler.simulate.simulator import Work

KNOWLEDGE = ("known", "mean", "learned")   # each task's seconds and bytes; those of its function on average; nothing at first


def workflow(tasks: Sequence[Mapping[str, Any]], *, knowledge: str = "learned", time_scale: float = 1.0, byte_scale: float = 1.0,
             costs: Mapping[str, Mapping[str, float]] | None = None, memory: bool = True, name: str = "workflow") -> Work:
    """Work from records {id, fn, runtime_s, cpus, memory_mb, inputs, output_bytes}, inputs first.

    `knowledge` says what the scheduler is told beforehand; `costs` gives some functions other costs than recorded.
    """
    if knowledge not in KNOWLEDGE:
        raise ValueError(f"knowledge={knowledge!r} is not one of {', '.join(KNOWLEDGE)}")
    kinds: dict[Kind, int] = {}
    number = {task["id"]: place for place, task in enumerate(tasks)}
    kind, fan_in, inputs = array("I"), array("I"), array("I")
    codes: dict[bytes, None] = {}
    for task in tasks:
        cost: Mapping[str, float] = (costs or {}).get(task["fn"]) or {
            "cpu": task["cpus"], **({"memory": task["memory_mb"]} if memory else {})}
        code = task["fn"].encode()
        codes[code] = None
        this = Kind(codes=(code,), name=task["fn"], cost=amounts(cost))
        kind.append(kinds.setdefault(this, len(kinds)))
        sources = list(dict.fromkeys(number[each] for each in task["inputs"]))
        fan_in.append(len(sources))
        inputs.extend(sources)
    seconds = array("d", [task["runtime_s"] * time_scale for task in tasks])
    nbytes = array("Q", [int(task["output_bytes"] * byte_scale) for task in tasks])
    told_seconds, told_bytes = array("d"), array("d")
    if knowledge == "known":
        told_seconds, told_bytes = array("d", seconds), array("d", nbytes)
    elif knowledge == "mean":
        groups: dict[str, list[int]] = {}
        for place, task in enumerate(tasks):
            groups.setdefault(task["fn"], []).append(place)
        told_seconds, told_bytes = array("d", bytes(8 * len(tasks))), array("d", bytes(8 * len(tasks)))
        for places in groups.values():
            for place in places:
                told_seconds[place] = sum(seconds[each] for each in places) / len(places)
                told_bytes[place] = sum(nbytes[each] for each in places) / len(places)
    program = Program(
        codes=tuple((code, 0) for code in codes), kinds=tuple(kinds), kind=kind, literals=Blobs.of([b""] * len(tasks)), fan_in=fan_in,
        inputs=inputs, seconds=told_seconds, nbytes=told_bytes,
    )
    return Work(program, seconds, nbytes, name)
