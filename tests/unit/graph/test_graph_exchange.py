"""Graphs go to networkx and come back the same; what can't be a DAG of functions is refused with a reason."""

from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import networkx
import numpy as np
import pytest

import handoff
from handoff.errors import CyclicDependency, InvalidDAG, InvalidFunction
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function


def load(name: str) -> list[int]:
    """Some numbers."""
    return [len(name), 2, 3]


def scaled(numbers: list[int], by: int = 1) -> list[int]:
    """The same, larger."""
    return [by * each for each in numbers]


def minus(first: list[int], second: list[int]) -> list[int]:
    """Order matters here."""
    return [a - b for a, b in zip(first, second, strict=True)]


def as_is(data: Any, source: str, target: str) -> Any:
    """A step of an Argument."""
    return data


def example() -> DAG:
    """Every kind of dependency."""
    dag = DAG("example")
    dag.add(Function("b", [], load, ["bbbb"], cost={"cpu": 2, "memory": "1 GiB"}))
    dag.add(Function("a", [], load, ["a"], max_retries=1, expected_seconds=0.5))
    dag.add(Function("difference", ["a", "b"], minus))
    dag.call(scaled, [], id="unused")
    reference = dag.call(scaled, [1, 1, 1], by=2, id="kept")
    dag.add(Function("sum", [Argument("difference", as_is)], minus, extra_args=[reference], extra_kwargs={}))
    dag.add(Function("twice", ["a", "a"], minus))
    return dag


def test_nodes_carry_what_a_function_says() -> None:
    """Name, type, cost, code always; other fields where they are not as usual."""
    graph = example().to_networkx()
    assert graph.nodes["b"] == {
        "name": "load", "type": "regular", "cost": {"cpu": 2, "memory": "1 GiB"}, "code": load, "extra_args": ["bbbb"]}
    assert (graph.nodes["a"]["max_retries"], graph.nodes["a"]["expected_seconds"]) == (1, 0.5)
    assert set(graph.edges) == {("a", "difference"), ("b", "difference"), ("difference", "sum"), ("kept", "sum"), ("a", "twice")}
    assert graph.edges["b", "difference"] == {"position": 1}
    assert graph.edges["a", "twice"] == {"position": (0, 1)}
    assert graph.edges["kept", "sum"] == {"reference": True}
    assert graph.edges["difference", "sum"] == {"position": 0, "serialization_fn": as_is}
    assert networkx.is_directed_acyclic_graph(graph)


def test_there_and_back_it_computes_the_same() -> None:
    """Arguments keep their order, references find the new graph, fields are kept."""
    dag = example()
    back = DAG.from_networkx(dag.to_networkx())
    assert (back.id, list(back.functions)) == ("example", list(dag.functions))
    assert back.functions["sum"].args == [Argument("difference", as_is)]
    assert back.functions["b"].cost == {"cpu": 2, "memory": "1 GiB"}
    assert handoff.execute_local(back).results["sum"] == handoff.execute_local(dag).results["sum"]
    assert handoff.execute_local(back).results["twice"] == [0, 0, 0]


def test_any_graph_with_code_becomes_a_dag() -> None:
    """Positions give the order, whatever the order of the edges; without them it is that of the edges."""
    graph = networkx.DiGraph()
    graph.add_node(1, code=lambda: [5], label="ignored", pos=(0, 1))
    graph.add_node(2, code=lambda: [3])
    graph.add_node("placed", code=minus, cost={"cpu": 0.5})
    graph.add_node("added", code=minus)
    graph.add_edge(2, "placed", position=1)
    graph.add_edge(1, "placed", position=0)
    graph.add_edge(2, "added", weight=3)
    graph.add_edge(1, "added")
    results = handoff.execute_local(DAG.from_networkx(graph)).results
    assert (results["placed"], results["added"]) == ([2], [-2])


def test_positions_may_be_numbers_of_numpy() -> None:
    """As who works them out with it has them."""
    graph = networkx.DiGraph()
    graph.add_nodes_from("abc", code=as_is)
    graph.add_edge("a", "c", position=np.int64(1))
    graph.add_edge("b", "c", position=np.int64(0))
    assert list(DAG.from_networkx(graph).functions["c"].args) == ["b", "a"]


def test_positions_may_have_become_lists_on_their_way() -> None:
    """A graph that was kept as JSON has lists where there were tuples."""
    graph = example().to_networkx()
    graph.edges["a", "twice"]["position"] = [0, 1]
    assert DAG.from_networkx(graph).functions["twice"].args == ["a", "a"]


def broken(**changes: Any) -> networkx.DiGraph:
    """Two nodes and an edge with something wrong."""
    graph = networkx.DiGraph()
    graph.add_node("a", code=changes.get("code", load))
    graph.add_node("b", code=minus, **changes.get("fields", {}))
    graph.add_edge("a", "b", position=changes.get("position", 0))
    if "circle" in changes:
        graph.add_edge("b", "a")
    if "same" in changes:
        graph.add_node("c", code=load)
        graph.add_edge("c", "b", position=0)
    return graph


@pytest.mark.parametrize(("graph", "error", "says"), [
    (broken(code=None), InvalidFunction, "the node 'a' has no attribute \"code\""),
    (broken(code=5), InvalidFunction, "the node 'a' has 5 in place of a callable"),
    (broken(position="first"), InvalidFunction, "from 'a' to 'b' has the position 'first'"),
    (broken(position=-1), InvalidFunction, "from 'a' to 'b' has the position -1"),
    (broken(same=True), InvalidFunction, "two edges to 'b' have the position 0"),
    (broken(circle=True), CyclicDependency, "wait for each other"),
    (broken(fields={"cost": {"cpu": -1}}), InvalidFunction, "'b': its cost is wrong"),
    (networkx.Graph(), InvalidDAG, "a directed graph"),
    (networkx.MultiDiGraph(), InvalidDAG, "multigraph"),
    ({"a": ["b"]}, InvalidDAG, "not dict"),
])
def test_what_is_no_dag_of_functions_is_refused(graph: Any, error: type[Exception], says: str) -> None:
    """One sentence that names the node or edge."""
    with pytest.raises(error, match=says):
        DAG.from_networkx(graph)


def test_steps_that_an_edge_can_t_hold_are_refused() -> None:
    """One result taken twice with different steps is two edges to Handoff, and one to networkx."""
    dag = DAG().add(Function("a", [], load, ["a"])).add(Function("b", ["a", Argument("a", as_is)], minus))
    with pytest.raises(InvalidFunction, match="several times with different steps"):
        dag.to_networkx()


def test_without_networkx_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs it for anything else."""
    original = builtins.__import__

    def refusing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "networkx":
            raise ModuleNotFoundError(name=name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(ModuleNotFoundError, match="pip install networkx"):
        DAG().to_networkx()


def test_pictures_and_exchange_cost_nothing_until_used() -> None:
    """Importing Handoff loads neither them nor networkx."""
    program = "import sys, handoff; print([each for each in sys.modules if 'networkx' in each or each.startswith('handoff.graph.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout
    assert all(f"handoff.graph.{room}'" not in loaded for room in ("draw", "layout", "picture", "exchange", "wfformat", "busy"))
    assert "networkx" not in loaded
