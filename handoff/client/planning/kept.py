"""A plan as a file of JSON, with all that is needed to ask what if without a cluster."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import asdict, fields
from math import isfinite
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Any

from handoff.client.planning.basis import Basis, allocator_of
from handoff.client.planning.checked import check_plan
from handoff.client.planning.foretold import Foretold
from handoff.columns import Blobs, floats, ints, longs
from handoff.errors import ConfigError, HandoffError
from handoff.files import read_file, write_file
from handoff.program import Kind, Program
from handoff.quoting import quoted
from handoff.resources import Amounts
from handoff.scheduler.simulate.cluster import ClusterSpec, NodeSpec

if TYPE_CHECKING:
    from handoff.client.planning.plan import Plan

FORMAT = 1
_COLUMNS: dict[str, Any] = {
    "kind": ints, "fan_in": ints, "inputs": ints, "object_tasks": ints, "object_sizes": longs, "near": ints, "seconds": floats,
    "nbytes": floats,
}


def save(plan: Plan, path: str | PathLike[str]) -> None:
    """Write it."""
    basis = plan.basis
    program, cluster = basis.program, basis.cluster
    data = {
        "handoff_plan": FORMAT,
        "name": basis.name, "allocator": basis.allocator, "max_concurrency": basis.max_concurrency, "notes": basis.notes,
        "ids": [_written(each) for each in basis.ids], "hidden": [list(each) for each in basis.hidden.items()],
        "functions": basis.functions,
        "cluster": {
            "nodes": [{"name": node.name, "capacity": dict(node.capacity), "speed": node.speed, "labels": dict(node.labels),
                       "processes": node.processes, "gpus": [list(each) for each in node.gpus]}
                      for node in cluster.nodes],
            "bandwidth": cluster.bandwidth, "latency": cluster.latency, "rates": [[*pair, rate] for pair, rate in cluster.rates.items()],
            "shared": dict(cluster.shared),
        },
        "program": {
            "codes": [digest.hex() for digest, _ in program.codes], "kinds": [_kind(kind) for kind in program.kinds],
            "literals": list(program.literals.sizes), "groups": [list(group) for group in program.groups],
            **{name: list(getattr(program, name)) for name in _COLUMNS},
        },
        "foretold": {each.name: _plain(getattr(plan.foretold, each.name)) for each in fields(plan.foretold)},
    }
    write_file(path, "plan", json.dumps(data, separators=(",", ":"), allow_nan=False))


def load(path: str | PathLike[str]) -> Plan:
    """Read it."""
    from handoff.client.planning.plan import Plan

    text = read_file(path, "plan")
    try:
        data = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is no plan: it is not JSON; a plan is written by plan.save(path)") from None
    found = data.get("handoff_plan") if isinstance(data, dict) else None
    if found != FORMAT:
        said = "it says nothing of a plan" if found is None else f"it is of format {found!r}, and this Handoff reads {FORMAT}"
        raise ConfigError(f"{path} is no plan that can be read: {said}")
    try:
        name, make = allocator_of(data["allocator"])
        basis = Basis(
            data["name"], tuple(_read(each) for each in data["ids"]), {int(task): text for task, text in data["hidden"]},
            _program(data["program"]), data["functions"], _cluster(data["cluster"]), name, make, data["max_concurrency"],
            tuple(data["notes"]))
        plan = Plan(basis, Foretold(**data["foretold"]))
        check_plan(basis, plan.foretold)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, HandoffError) as wrong:
        raise ConfigError(f"{path} is no plan that can be read: {type(wrong).__name__}: {wrong}") from None
    return plan


def _no_number(text: str) -> Any:
    """NaN and Infinity, which Python would read, and which are no JSON."""
    raise ValueError(text)


def _written(id: Hashable) -> Any:
    """An id as JSON has it: tuples as {"tuple": [...]}, and numpy's numbers as those that they are equal to."""
    if id is None or isinstance(id, (str, bool, int)):
        return id
    if isinstance(id, Integral):
        return int(id)
    if isinstance(id, Real) and isfinite(id) and id == float(id):
        return float(id)
    if isinstance(id, tuple):
        return {"tuple": [_written(each) for each in id]}
    raise ConfigError(f"the plan can't be saved: the function id {quoted(id)} is neither a string, a finite number nor a tuple of them")


def _read(said: Any) -> Hashable:
    if isinstance(said, dict):
        return tuple(_read(each) for each in said["tuple"])
    return said  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, (list, tuple)) else value


def _kind(kind: Kind) -> dict[str, Any]:
    return {**asdict(kind), "codes": [code.hex() for code in kind.codes], "family": kind.family.hex()}


def _program(data: Mapping[str, Any]) -> Program:
    kinds = tuple(Kind(**{
        **each, "codes": tuple(map(bytes.fromhex, each["codes"])), "cost": _pairs(each["cost"]),
        "alternatives": tuple(map(_pairs, each["alternatives"])), "where": _pairs(each["where"]),
        "family": bytes.fromhex(each.get("family", "")),
    }) for each in data["kinds"])
    return Program(
        codes=tuple((bytes.fromhex(digest), 0) for digest in data["codes"]), kinds=kinds, literals=Blobs(ints(data["literals"]), b""),
        groups=tuple(map(ints, data["groups"])), **{name: make(data[name]) for name, make in _COLUMNS.items()})


def _cluster(data: Mapping[str, Any]) -> ClusterSpec:
    nodes = tuple(NodeSpec(node["name"], _amounts(node["capacity"]), node["speed"], tuple(sorted(node["labels"].items())),
                           processes=node.get("processes", 0), gpus=tuple([(kind, memory) for kind, memory in node.get("gpus", ())]))
                  for node in data["nodes"])
    rates = {(source, target): rate for source, target, rate in data["rates"]}
    return ClusterSpec(nodes, data["bandwidth"], data["latency"], rates=rates, shared=_amounts(data["shared"]))


def _pairs(said: Any) -> tuple[Any, ...]:
    return tuple(tuple(each) for each in said)


def _amounts(said: Mapping[str, int]) -> Amounts:
    return tuple(sorted(said.items()))
