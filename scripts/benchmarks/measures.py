"""The benchmarks of large values between nodes: their rate beside a raw socket of the same run, and what of them is copied where."""

from __future__ import annotations

import os

import numpy as np
import raw
from cluster import NODES, local_cluster
from cluster import warm_client as cluster
from figures import Effort, Figure
from numpy.typing import NDArray
from peaks import Peaks
from processes import MB, private

import handoff
from handoff import DAG, Function

MEGABYTE = 1_000_000
TAKERS = 8


def array(megabytes: int) -> NDArray[np.float64]:
    """A large result."""
    return np.ones(megabytes * MEGABYTE // 8)


def first(values: NDArray[np.float64]) -> float:
    """Reads hardly anything of a large input."""
    return float(values[0])


def private_bytes(*_: object) -> int:
    """What this worker holds for itself, all that it was given included."""
    return private(os.getpid())


def transfer(effort: Effort) -> list[Figure]:
    """Arrays of 1, 64, 256 and 512 MB made on one node and read on the other, beside a raw socket's rate just before.

    The time of the transfer is from the end of the function that makes it to the start of the one that reads it, as the run's timeline
    has them (known to about a millisecond). Then, once more, what the daemons come to hold of the largest meanwhile: a window, if all is
    well, and never the array.
    """
    figures = []
    for way, is_clear, goal in (("encrypted", False, ">= 0.7"), ("in the clear", True, ">= 0.9")):
        with cluster(is_clear) as client:
            for size in effort.of((1, 64, 256, 512), (1, 64), (1,)):
                rates, raws = [], []
                for _ in effort.times(effort.of(5, 3, 1)):
                    raws.append(raw.gigabytes_per_second(size * MEGABYTE))
                    rates.append(size / 1e3 / seconds_of_hand_off(client, size, "node-2"))
                name = f"{size} MB array, node to node, {way}"
                ratios = [ours / theirs for ours, theirs in zip(rates, raws, strict=True)]
                figures += [Figure(name, "GB/s", rates), Figure(f"{name} / raw socket", "ratio", ratios, goal)]
    size = effort.of(512, 64, 1)
    with local_cluster() as (started, client):
        grown = [daemons_grow_by(started, client, size) for _ in effort.times(3)]
    return [*figures, Figure(f"{size} MB array, node to node: a daemon's memory grows by", "MB", [max(each) for each in grown], "<= 64")]


def daemons_grow_by(started: handoff.LocalCluster, client: handoff.Client, megabytes: int) -> list[float]:
    """MB that each of the two daemons holds for itself at most while such an array goes from one to the other, beyond what it held."""
    with Peaks(lambda: [private(started.processes[name]) for name in NODES]) as peaks:
        seconds_of_hand_off(client, megabytes, "node-2")
    return [(most - before) / MB for before, most in zip(peaks.before, peaks.most, strict=True)]


def wanted(effort: Effort) -> list[Figure]:
    """How many times a 64 MB array is moved that 8 tasks take: all on the other node, and in turns on both; and what workers copy of it."""
    size = effort.of(64, 64, 1)
    figures = []
    with cluster() as client:
        for name, nodes in (("one other node", ("node-2",)), ("2 nodes", ("node-1", "node-2"))):
            moves = [times_moved(client, size, nodes) for _ in effort.times(3)]
            figures.append(Figure(f"{size} MB array taken by {TAKERS} tasks on {name}: moved", "times", moves, "<= 1"))
        copies = [worker_grows_by(client, size) for _ in effort.times(3)]
    return [*figures, Figure(f"{size} MB array taken by a worker: its own memory grows by", "MB", copies, "<= 1")]


def worker_grows_by(client: handoff.Client, megabytes: int) -> float:
    """MB that the worker which takes such an array holds for itself while it has it, beyond what it held before."""
    dag = DAG()
    dag.add(Function("before", code=private_bytes, node="node-2"))
    dag.add(Function("array", ["before"], code=array_after, extra_args=[megabytes], node="node-1"))
    dag.add(Function("while", ["array"], code=private_bytes, node="node-2"))
    found = client.execute(dag, returns=["before", "while"]).results
    return float(found["while"] - found["before"]) / MB


def array_after(_: object, megabytes: int) -> NDArray[np.float64]:
    """The same result, after something."""
    return array(megabytes)


def times_moved(client: handoff.Client, megabytes: int, nodes: tuple[str, ...]) -> float:
    """Bytes that went from node to node, over those of the array."""
    dag = DAG()
    dag.add(Function("array", code=array, extra_args=[megabytes], node="node-1"))
    for number in range(TAKERS):
        dag.add(Function(number, ["array"], code=first, node=nodes[number % len(nodes)]))
    run = client.start(dag, returns=range(TAKERS))
    if any(value != 1.0 for value in run.result().results.values()):
        raise AssertionError("a wrong result")
    return run.bytes_moved / (megabytes * MEGABYTE)


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
