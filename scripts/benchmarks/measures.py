"""The benchmarks: two node daemons with one worker each, over TCP with TLS, default settings. What each does is its first sentence."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import raw
from figures import Figure
from numpy.typing import NDArray

import handoff
from handoff import DAG, Function

MEGABYTE = 1_000_000


def nothing(*_: object) -> None:
    """The empty task."""


def step(number: int) -> int:
    """A hop of a chain."""
    return number + 1


def array(megabytes: int) -> NDArray[np.float64]:
    """A large result."""
    return np.ones(megabytes * MEGABYTE // 8)


def first(values: NDArray[np.float64]) -> float:
    """Reads hardly anything of a large input."""
    return float(values[0])


@contextmanager
def cluster() -> Iterator[handoff.Client]:
    """Two single-worker nodes, warm."""
    nodes = [{"name": f"node-{n}", "cpus": 1, "memory": "4 GB"} for n in (1, 2)]
    with handoff.LocalCluster(nodes=nodes) as started, started.client() as client:
        client.execute(independent(200))
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


def throughput(repeat: int) -> list[Figure]:
    """Empty tasks per second: building the graph, running it, holding all results."""
    with cluster() as client:
        return [
            Figure(f"{tasks:,} independent empty tasks", "tasks/s", [tasks_per_second(client, tasks) for _ in range(repeat)], goal)
            for tasks, goal in ((10_000, ">= 20,000"), (100_000, ""))
        ]


def tasks_per_second(client: handoff.Client, tasks: int) -> float:
    """One measurement: every value is looked at."""
    gc.collect()
    begin = time.perf_counter()
    result = client.execute(independent(tasks))
    count = sum(value is None for value in result.results.values())
    seconds = time.perf_counter() - begin
    if count != tasks:
        raise AssertionError(f"{count} of {tasks} results are right")
    return tasks / seconds


def chains(repeat: int) -> list[Figure]:
    """Microseconds per hop of a chain of 2,000: free to stay on one node, and pinned to two nodes in turn."""
    with cluster() as client:
        return [
            Figure(f"chain of 2,000, {name}", "us/hop", [microseconds_per_hop(client, 2000, nodes) for _ in range(repeat)], goal)
            for name, nodes, goal in (("free", (), "<= 60"), ("alternating nodes", ("node-1", "node-2"), ""))
        ]


def microseconds_per_hop(client: handoff.Client, length: int, nodes: tuple[str, ...]) -> float:
    """One measurement, building the graph included."""
    begin = time.perf_counter()
    result = client.execute(chain(length, nodes))
    seconds = time.perf_counter() - begin
    if result.results[length - 1] != length:
        raise AssertionError("the chain gave a wrong result")
    return seconds / length * 1e6


def latency(repeat: int) -> list[Figure]:
    """Submit one function and wait for its value: median and 99th percentile of 1,000."""
    medians, tails = [], []
    with cluster() as client:
        for _ in range(repeat):
            times = []
            for number in range(1000):
                begin = time.perf_counter()
                if client.submit(step, number).result() != number + 1:
                    raise AssertionError("a wrong result")
                times.append((time.perf_counter() - begin) * 1e3)
            medians.append(statistics.median(times))
            tails.append(statistics.quantiles(times, n=100)[98])
    return [Figure("submit one and wait, median", "ms", medians, "<= 1"), Figure("submit one and wait, p99", "ms", tails)]


def startup(repeat: int) -> list[Figure]:
    """Seconds of a fresh interpreter: importing handoff, and up to the first result of `handoff.execute` on an embedded cluster."""
    importing = "import time; t = time.perf_counter(); import handoff; print(time.perf_counter() - t)"
    executing = (
        "import time; t = time.perf_counter(); import handoff; d = handoff.DAG(); d.call(abs, -1, id='one');"
        "assert handoff.execute(d).results['one'] == 1; print(time.perf_counter() - t)"
    )
    return [
        Figure("import handoff", "s", [seconds_printed(importing) for _ in range(repeat)], ""),
        Figure("import to first result of handoff.execute", "s", [seconds_printed(executing) for _ in range(repeat)], "<= 1"),
    ]


def seconds_printed(program: str) -> float:
    """What the program measured."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    return float(done.stdout)


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
    "throughput": throughput,
    "chains": chains,
    "latency": latency,
    "startup": startup,
    "transfer": transfer,
}
