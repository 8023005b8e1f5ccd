"""The benchmark of large values between nodes, beside a raw socket of the same run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import raw
from cluster import warm_client as cluster
from figures import Figure
from numpy.typing import NDArray

import handoff
from handoff import DAG, Function

MEGABYTE = 1_000_000


def array(megabytes: int) -> NDArray[np.float64]:
    """A large result."""
    return np.ones(megabytes * MEGABYTE // 8)


def first(values: NDArray[np.float64]) -> float:
    """Reads hardly anything of a large input."""
    return float(values[0])


def transfer(repeat: int) -> list[Figure]:
    """A 256 MB array made on one node and read on the other, beside a raw TCP socket of the same run.

    The time of the transfer is from the end of the function that makes it to the start of the one that reads it, as the run's timeline
    has them (known to about a millisecond).
    """
    size = 256
    rates, raws = [], []
    with cluster() as client:
        for _ in range(repeat):
            raws.append(raw.gigabytes_per_second(size * MEGABYTE))
            rates.append(size / 1e3 / seconds_of_hand_off(client, size, "node-2"))
    return [
        Figure("256 MB array, node to node", "GB/s", rates),
        Figure("256 MB over a raw TCP socket", "GB/s", raws),
        Figure("node to node / raw socket", "ratio", [ours / theirs for ours, theirs in zip(rates, raws, strict=True)]),
    ]


def seconds_of_hand_off(client: handoff.Client, megabytes: int, reader: str) -> float:
    """Made on node-1, read on `reader`."""
    dag = DAG()
    dag.add(Function("array", code=array, extra_args=[megabytes], node="node-1"))
    dag.add(Function("first", ["array"], code=first, node=reader))
    run = client.start(dag, returns=["first"])
    if run.result().results["first"] != 1.0:
        raise AssertionError("a wrong result")
    made, read = sorted(run.timeline(), key=lambda record: record.started)
    return read.started - (made.started + made.seconds)


ALL: dict[str, Callable[[int], list[Figure]]] = {
    "transfer": transfer,
}
