"""What most benchmarks run on: two node daemons with one worker each, over TCP with TLS, with default settings; and functions to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import handoff
from handoff import DAG, Function

NODES = ("node-1", "node-2")
WARM_UP = 200        # tasks


def nothing(*_: object) -> None:
    """The empty task."""


def step(number: int) -> int:
    """A hop of a chain."""
    return number + 1


def join(left: int, right: int) -> int:
    """A node of a tree."""
    return left + right


@contextmanager
def local_cluster(unencrypted_values: bool = False) -> Iterator[tuple[handoff.LocalCluster, handoff.Client]]:
    """Two single-worker nodes, warm, and a client."""
    nodes = [{"name": name, "cpus": 1, "memory": "4 GB"} for name in NODES]
    with handoff.LocalCluster(nodes=nodes, unencrypted_values=unencrypted_values) as started, started.client() as client:
        client.execute(independent(WARM_UP))
        yield started, client


@contextmanager
def warm_client(unencrypted_values: bool = False) -> Iterator[handoff.Client]:
    """A client of such a cluster."""
    with local_cluster(unencrypted_values) as (_, client):
        yield client


def independent(tasks: int) -> DAG:
    """Functions that wait for nothing."""
    dag = DAG()
    for number in range(tasks):
        dag.add(Function(number, code=nothing))
    return dag


def chain(length: int, nodes: tuple[str, ...] = ()) -> DAG:
    """Each waits for the one before; pinned to the nodes in turn, if there are any."""
    dag = DAG()
    dag.add(Function(0, code=step, extra_args=[0], node=nodes[0] if nodes else None))
    for number in range(1, length):
        dag.add(Function(number, [number - 1], code=step, node=nodes[number % len(nodes)] if nodes else None))
    return dag


def tree(leaves: int) -> DAG:
    """A reduction in pairs: 2 x leaves - 1 functions, the root has number 0."""
    dag = DAG()
    first = leaves - 1                       # of node n the children are 2n + 1 and 2n + 2
    for number in range(2 * leaves - 2, -1, -1):
        if number >= first:
            dag.add(Function(number, code=step, extra_args=[0]))
        else:
            dag.add(Function(number, [2 * number + 1, 2 * number + 2], code=join))
    return dag
