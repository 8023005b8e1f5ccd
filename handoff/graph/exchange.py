"""Graphs from and to networkx, which is imported only by who asks for a graph of its kind."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import fields
from numbers import Integral
from typing import Any

from handoff.errors import InvalidDAG, InvalidFunction
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function, name_of
from handoff.graph.links import Links
from handoff.graph.references import Reference, replaced
from handoff.quoting import quoted

_FIELDS = {each.name: each for each in fields(Function) if each.name not in ("id", "args")}
_ALWAYS = ("type", "cost", "code")           # said of each node, also where they are as usual
_STEPS = ("serialization_fn", "deserialization_fn")


def to_networkx(dag: DAG) -> Any:
    """See `DAG.to_networkx`."""
    try:
        import networkx
    except ModuleNotFoundError:
        raise ModuleNotFoundError("dag.to_networkx() needs networkx, which is not installed here: pip install networkx",
                                  name="networkx") from None
    links = Links(dag)
    made = networkx.DiGraph(name=str(dag.id))
    for function in links.functions:
        usual = Function(function.id)
        said = {name: getattr(function, name) for name in _FIELDS
                if name in _ALWAYS or getattr(function, name) != getattr(usual, name)}
        made.add_node(function.id, name=name_of(function.code) if function.code is not None else "", **said)
    ids = [function.id for function in links.functions]
    for place, function in enumerate(links.functions):
        positions: dict[int, list[int]] = {}
        for position, source in enumerate(links.arguments[place]):
            positions.setdefault(source, []).append(position)
        for source, where in positions.items():
            made.add_edge(ids[source], function.id, position=where[0] if len(where) == 1 else tuple(where), **_steps(function, where))
        for source in dict.fromkeys(links.references[place]):
            made.add_edge(ids[source], function.id, reference=True)
    return made


def _steps(function: Function, where: list[int]) -> dict[str, Any]:
    """The steps of an `Argument`, which must be one for all places of a result: an edge has room for one."""
    arguments = [function.args[position] for position in where]
    found = [(each.serialization_fn, each.deserialization_fn) if isinstance(each, Argument) else (None, None) for each in arguments]
    if any(each != found[0] for each in found):
        raise InvalidFunction(f"{quoted(function.id)} takes one result several times with different steps, for which an edge of "
                              "networkx has no "
                              "room; pass it through a function of its own", function=function.id)
    return {name: step for name, step in zip(_STEPS, found[0], strict=True) if step is not None}


def from_networkx(graph: Any) -> DAG:
    """See `DAG.from_networkx`."""
    if not all(hasattr(graph, name) for name in ("is_directed", "is_multigraph", "nodes", "edges")):
        raise InvalidDAG(f"from_networkx takes a networkx.DiGraph, not {type(graph).__name__}")
    if not graph.is_directed():
        raise InvalidDAG("from_networkx takes a directed graph, and this one is not: an edge has to say which of the two comes first")
    if graph.is_multigraph():
        raise InvalidDAG("from_networkx takes a graph with one edge between two nodes at most, and this is a multigraph; "
                         "networkx.DiGraph(graph) merges them")
    dag = DAG(graph.graph.get("name") or None)
    for id, said in graph.nodes(data=True):
        given = {name: said[name] for name in _FIELDS if name in said}
        if str(given.get("type", "regular")) != "input" and not callable(given.get("code")):
            code = given.get("code")
            what = "has no attribute" if code is None else f"has {quoted(code)} in place of a callable as its attribute"
            raise InvalidFunction(f'the node {quoted(id)} {what} "code": give each node the callable that it stands for, such as '
                                  f"graph.add_node({quoted(id)}, code=fn)", function=id)
        for name in ("extra_args", "extra_kwargs"):
            if name in given:        # references are to the graph that they were written for
                given[name] = replaced(given[name], lambda reference: Reference(reference.id, dag), lambda value: value)
        dag.add(Function(id, args=_arguments(id, graph.pred[id]), **given))
    dag.validate()
    return dag


def _arguments(id: Hashable, edges: Mapping[Hashable, Mapping[str, Any]]) -> list[Hashable | Argument]:
    """What a node takes, in the order of the positions, then in that of the edges without one."""
    placed: dict[int, Hashable | Argument] = {}
    others: list[Hashable | Argument] = []
    for source, said in edges.items():
        argument: Hashable | Argument = source
        if any(said.get(name) is not None for name in _STEPS):
            argument = Argument(source, *(said.get(name) for name in _STEPS))
        position = said.get("position")
        if position is None:
            if not said.get("reference"):
                others.append(argument)
            continue
        for each in position if isinstance(position, (tuple, list)) else (position,):   # JSON makes lists of tuples
            if isinstance(each, bool) or not isinstance(each, Integral) or each < 0:
                raise InvalidFunction(f"the edge from {quoted(source)} to {quoted(id)} has the position {quoted(position)}, no "
                                      "whole number from 0 on",
                                      function=id)
            if each in placed:
                raise InvalidFunction(f"two edges to {quoted(id)} have the position {each}; each argument of a function has its "
                                      "own", function=id)
            placed[int(each)] = argument
    return [*(placed[each] for each in sorted(placed)), *others]
