"""The benchmarks of large values between nodes: their rate beside a raw socket of the same run, and what of them is copied where."""

from __future__ import annotations

import os
import statistics
import time

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


def stamped(megabytes: int) -> NDArray[np.float64]:
    """The same result, which says when its making began. All processes of one machine have one monotonic clock."""
    began = time.monotonic()
    values = array(megabytes)
    values[0] = began
    return values


def stamps(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """When the reader of that has it, and what it says."""
    return time.monotonic(), float(values[0]), float(values[-1])


def private_bytes(*_: object) -> int:
    """What this worker holds for itself, all that it was given included."""
    return private(os.getpid())


def transfer(effort: Effort) -> list[Figure]:
    """Arrays of 1, 64, 256 and 512 MB made on one node and read on the other, beside a raw socket's rate just before.

    The time of the transfer is from when a result is packed where it was made to when the function that reads it begins. Of 1 MB, which
    takes a millisecond or two, each figure is the median of many, on both sides. The first of each size is not measured: connections are
    opened for it, and code is loaded. Then, once more, what the daemons come to hold of the largest meanwhile: a window, if all is well,
    and never the array.
    """
    figures = []
    for way, is_clear, goal in (("encrypted", False, ">= 0.7"), ("in the clear", True, ">= 0.9")):
        with cluster(is_clear) as client:
            for size in effort.of((1, 64, 256, 512), (1, 64), (1,)):
                rates, raws = [], []
                seconds_of_hand_off(client, size, "node-2")
                times = effort.of(25, 25, 1) if size == 1 else 1
                for _ in effort.times(effort.of(5, 3, 1)):
                    raws.append(statistics.median(raw.gigabytes_per_second(size * MEGABYTE) for _ in range(times)))
                    rates.append(size / 1e3 / statistics.median(seconds_of_hand_off(client, size, "node-2") for _ in range(times)))
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
    """Made on node-1, read on `reader`.

    How long the making took, packing included, is known from its worker; when tasks began and ended, the timeline has only from when their
    reports came, to about a millisecond.
    """
    dag = DAG()
    dag.add(Function("array", code=stamped, extra_args=[megabytes], node="node-1"))
    dag.add(Function("stamps", ["array"], code=stamps, node=reader))
    run = client.start(dag, returns=["stamps"])
    read, began, last = run.result().results["stamps"]
    if last != 1.0:
        raise AssertionError("a wrong result")
    took = next(record.seconds for record in run.timeline() if record.function == "array")
    return float(read - began - took)
