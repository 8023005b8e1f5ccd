"""Whether a plan that was read makes sense: whoever asks it anything later may rely on its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from handoff.client.planning.basis import alternatives_of, families_of
from handoff.columns import Blobs, ints
from handoff.program import BYTES_MAX, SECONDS_MAX, Flag, Kind, Program
from handoff.scheduler.programs import check_program

if TYPE_CHECKING:
    from handoff.client.planning.basis import Basis
    from handoff.client.planning.foretold import Foretold
    from handoff.scheduler.simulate.cluster import ClusterSpec

_COLUMNS = ("nodes", "started", "seconds", "nbytes", "workers", "waited", "planned")   # of what is foretold: an entry for each task


def check_plan(basis: Basis, told: Foretold) -> None:
    """Raise ValueError, or ProtocolError of the program, for the first thing that makes none."""
    total = len(basis.program.kind)
    for what, found in (("ids", basis.ids), *((name, getattr(told, name)) for name in _COLUMNS)):
        _expect(isinstance(found, (list, tuple)) and len(found) == total, f"its columns differ in length: {what} has not one for each task")
    _check_program(basis.program)
    _check_cluster(basis.cluster)
    _expect(_are(str, basis.name, basis.allocator, *basis.notes), "its name, allocator and notes are texts")
    _expect(type(basis.max_concurrency) is int and basis.max_concurrency >= 0, f"max_concurrency is not {basis.max_concurrency!r}")
    _check_ids(basis)
    _check_functions(basis)
    _expect(_are_numbers(told.makespan, told.lower_bound, told.bytes_moved), "its makespan, lower bound and bytes are numbers")
    _expect(isinstance(told.peak_memory, Mapping) and _are_numbers(*told.peak_memory.values()), "its memory is in numbers")
    names = {node.name for node in basis.cluster.nodes}
    strange = [node for node in told.nodes if not isinstance(node, str) or node not in names]
    _expect(not strange, f"it places functions on {strange[:1]}, which is none of its nodes")
    for what in _COLUMNS[1:]:
        _expect(_are_numbers(*getattr(told, what)), f"there is something in the column {what} that is no number")
    _expect(_are(int, *told.workers), "workers are counted")
    _expect(isinstance(told.took, (list, tuple)) and len(told.took) in (0, total) and _are(int, *told.took) and all(
        0 <= each <= len(basis.kind_of(task).alternatives) for task, each in enumerate(told.took)), "it gives functions costs that they do "
            "not have")


def _check_program(program: Program) -> None:
    for kind in program.kinds:
        _check_kind(kind)
    check_program(replace(program, literals=Blobs(ints([0]) * len(program.literals), b"")))   # only their sizes are kept
    at = 0
    for task, fan_in in enumerate(program.fan_in):
        _expect(not fan_in or max(program.inputs[at : at + fan_in]) < task, f"task {task} takes the result of a later one")
        at += fan_in
    objects = [task for task, index in enumerate(program.kind) if program.kinds[index].flags & Flag.OBJECT]
    _expect(objects == list(program.object_tasks) and len(objects) == len(program.object_sizes), "its uploaded values are not those that "
            "its tasks say")


def _check_kind(kind: Kind) -> None:
    _expect(_are(str, kind.name, kind.node, kind.spread, *_flat(kind.where)), f"the kind {kind.name!r} is named and placed by texts")
    _expect(_are(int, kind.form, kind.flags, kind.max_retries, kind.priority), f"the kind {kind.name!r} is counted in whole numbers")
    _expect(_are_numbers(kind.timeout), f"the timeout of the kind {kind.name!r} is a number")
    _check_amounts(*kind.cost, *(each for cost in kind.alternatives for each in cost))


def _check_cluster(cluster: ClusterSpec) -> None:
    names = [node.name for node in cluster.nodes]
    _expect(names != [] and _are(str, *names) and len(set(names)) == len(names), "its nodes have names of their own")
    for node in cluster.nodes:
        _check_amounts(*node.capacity, least=0)
        _expect(_are_numbers(node.speed) and node.speed > 0, f"the speed of node {node.name!r} is not {node.speed!r}")
        _expect(_are(int, node.processes, *[memory for _, memory in node.gpus]) and _are(str, *[kind for kind, _ in node.gpus]),
                f"the processes of node {node.name!r} are a number, and its GPUs are known by kind and memory")
        _expect(_are(str, *_flat(node.labels)), f"the labels of node {node.name!r} are texts")
    _check_amounts(*cluster.shared)
    _expect(_are_numbers(cluster.latency, most=SECONDS_MAX), f"a latency is not {cluster.latency!r}")
    _expect(_are(str, *_flat(cluster.rates)), "connections are named by two nodes")
    for rate in (cluster.bandwidth, *cluster.rates.values()):
        _expect(_are_numbers(rate) and rate > 0, f"a bandwidth is not {rate!r}")


def _check_ids(basis: Basis) -> None:
    hidden = {task for task, id in enumerate(basis.ids) if id is None}
    _expect(hidden == set(basis.hidden) and _are(str, *basis.hidden.values()), "its hidden tasks are not those without an id")
    own = [id for id in basis.ids if id is not None]
    _expect(len(set(own)) == len(own), "two functions have one id")     # TypeError for what is no id


def _check_functions(basis: Basis) -> None:
    kinds = basis.program.kinds
    _expect(len(basis.functions) == len(kinds) + len(alternatives_of(kinds)) + len(families_of(kinds)), "it does not know its functions")
    for known in basis.functions:
        numbers = [known["count"], known["seconds"], known["spread"], known["cold"], *_flat(known["by_input"])]
        _expect(type(known["count"]) is int and _are_numbers(*numbers, most=SECONDS_MAX) and _are_numbers(known["nbytes"], most=BYTES_MAX),
                "what is known of functions are numbers")


def _check_amounts(*amounts: tuple[Any, Any], least: int = 1) -> None:
    for name, steps in amounts:
        _expect(isinstance(name, str) and name != "" and type(steps) is int and steps >= least, f"an amount is not {name!r}: {steps!r}")


def _flat(pairs: Iterable[Sequence[Any]]) -> list[Any]:
    """Both of each; ValueError where there are not two."""
    return [each for first, second in pairs for each in (first, second)]


def _are(kind: type, *found: Any) -> bool:
    return all(type(each) is kind for each in found)


def _are_numbers(*found: Any, most: float = inf) -> bool:
    """Whether they are finite, and from 0 to the most where there is one."""
    least = -inf if most == inf else 0
    return all(type(each) in (int, float) and isfinite(each) and least <= each <= most for each in found)


def _expect(is_right: bool, text: str) -> None:
    if not is_right:
        raise ValueError(text)
