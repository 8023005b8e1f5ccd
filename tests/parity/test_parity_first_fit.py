"""The original's allocation: first fit by name, pinned functions first, collocated ones with their target."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import handoff
from handoff import DAG, Function, collocated


@pytest.fixture(scope="module")
def client() -> Iterator[handoff.Client]:
    """Three nodes that were started in another order than their names."""
    nodes = [{"name": "c", "cpus": 4}, {"name": "a", "cpus": 2}, {"name": "b", "cpus": 2}]
    with handoff.LocalCluster(nodes, memory=100, gpus=0, allocator="first-fit") as cluster, cluster.client() as made:
        yield made


def busy(number: int = 0) -> int:
    """Long enough that nothing ends while the others are placed."""
    import time

    time.sleep(0.3)
    return number


def test_functions_fill_the_nodes_in_the_order_of_their_names(client: handoff.Client) -> None:
    """Each goes to the first that has room."""
    dag = DAG()
    for number in range(6):
        dag.add(Function(number, code=busy, extra_args=[number], cost={"cpu": 1}))

    assert list(client.execute(dag).allocations.values()) == ["a", "a", "b", "b", "c", "c"]


def test_one_that_does_not_fit_goes_where_it_does(client: handoff.Client) -> None:
    """The first node that could take it, not the first of all."""
    dag = DAG()
    dag.add(Function("large", code=busy, cost={"cpu": 3}))
    dag.add(Function("small", code=busy, cost={"cpu": 1}))

    assert client.execute(dag).allocations == {"large": "c", "small": "a"}


def test_what_costs_nothing_goes_to_the_first_node(client: handoff.Client) -> None:
    """Also when functions with a cost have filled it."""
    dag = DAG()
    for number in range(3):
        dag.add(Function(number, code=busy, cost={"cpu": 2}))
    dag.add(Function("free", code=busy, cost={}))

    assert client.execute(dag).allocations == {0: "a", 1: "b", 2: "c", "free": "a"}


def test_pinned_functions_are_placed_before_others(client: handoff.Client) -> None:
    """Those that came first in the graph do not take the room of one that can only run there."""
    dag = DAG()
    dag.add(Function("free", code=busy, cost={"cpu": 2}))
    dag.add(Function("pinned", code=busy, cost={"cpu": 2}, node="a"))

    assert client.execute(dag).allocations == {"free": "b", "pinned": "a"}


def test_collocated_functions_follow_their_target(client: handoff.Client) -> None:
    """Along chains, to a node that can hold all of them."""
    dag = DAG()
    dag.add(Function("root", code=busy, cost={"cpu": 1}))
    dag.add(Function("one", code=busy, cost={"cpu": 3}, node=collocated("root")))
    dag.add(Function("two", code=busy, cost={"cpu": 1}, node=collocated("one")))

    assert client.execute(dag).allocations == {"root": "c", "one": "c", "two": "c"}
