"""Benchmarks of many short tasks: how many a second, microseconds per hop, milliseconds for one."""

from __future__ import annotations

import gc
import statistics
import time

from cluster import NODES, chain, independent, step, tree, warm_client
from figures import Effort, Figure

import handoff
from handoff import DAG


def throughput(effort: Effort) -> list[Figure]:
    """Empty tasks per second: building the graph, running it, looking at all results."""
    sizes = effort.of((10_000, 100_000, 1_000_000), (10_000, 100_000), (200,))
    repeats = {100_000: effort.times(effort.of(5, 1, 1)), 1_000_000: effort.times(2)}
    goals = {10_000: ">= 50,000", 100_000: ">= 50,000", 1_000_000: ">= 0.8 of the others'"}
    with warm_client() as client:
        return [
            Figure(f"{tasks:,} independent empty tasks", "tasks/s",
                   [tasks_per_second(client, tasks) for _ in repeats.get(tasks, range(effort.repeat))], goals.get(tasks, ""))
            for tasks in sizes
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


def reduction(effort: Effort) -> list[Figure]:
    """Functions per second of a binary tree of which only the root is wanted."""
    leaves = effort.of(4096, 4096, 32)
    with warm_client() as client:
        rates = [(2 * leaves - 1) / seconds_of_tree(client, leaves) for _ in range(effort.repeat)]
    return [Figure(f"tree reduction of {2 * leaves - 1:,}", "tasks/s", rates, ">= 30,000")]


def seconds_of_tree(client: handoff.Client, leaves: int) -> float:
    """One measurement, building the graph included."""
    begin = time.perf_counter()
    result = client.execute(tree(leaves), returns=[0])
    seconds = time.perf_counter() - begin
    if result.results[0] != leaves:
        raise AssertionError("the tree gave a wrong result")
    return seconds


def chains(effort: Effort) -> list[Figure]:
    """Microseconds per hop of a chain of 2,000: free to stay on one node, and pinned to two nodes in turn."""
    length = effort.of(2000, 2000, 50)
    with warm_client() as client:
        return [
            Figure(f"chain of {length:,}, {name}", "us/hop",
                   [microseconds_per_hop(client, length, nodes) for _ in range(effort.repeat)], goal)
            for name, nodes, goal in (("free", (), "<= 25"), ("alternating nodes", NODES, "<= 250"))
        ]


def microseconds_per_hop(client: handoff.Client, length: int, nodes: tuple[str, ...]) -> float:
    """One measurement, building the graph and all its results included."""
    begin = time.perf_counter()
    result = client.execute(chain(length, nodes))
    seconds = time.perf_counter() - begin
    if result.results[length - 1] != length:
        raise AssertionError("the chain gave a wrong result")
    return seconds / length * 1e6


def latency(effort: Effort) -> list[Figure]:
    """Submit one function and wait for its value: median and 99th percentile of 1,000."""
    count = effort.of(1000, 1000, 20)
    medians, tails = [], []
    with warm_client() as client:
        for _ in range(effort.repeat):
            times = [milliseconds_of_one(client, number) for number in range(count)]
            medians.append(statistics.median(times))
            tails.append(statistics.quantiles(times, n=100)[98])
    return [Figure("submit one and wait, median", "ms", medians, "<= 0.4"), Figure("submit one and wait, p99", "ms", tails, "<= 2")]


def milliseconds_of_one(client: handoff.Client, number: int) -> float:
    """There and back."""
    begin = time.perf_counter()
    if client.submit(step, number).result() != number + 1:
        raise AssertionError("a wrong result")
    return (time.perf_counter() - begin) * 1e3


def again(effort: Effort) -> list[Figure]:
    """The same graph object once more: what is left when nothing about it is new."""
    tasks = effort.of(10_000, 10_000, 100)
    with warm_client() as client:
        dag = independent(tasks)
        client.execute(dag)
        return [Figure(f"the same graph of {tasks:,} again", "tasks/s", [rate_again(client, dag, tasks) for _ in range(effort.repeat)])]


def rate_again(client: handoff.Client, dag: DAG, tasks: int) -> float:
    """One measurement, without building the graph."""
    begin = time.perf_counter()
    count = sum(value is None for value in client.execute(dag).results.values())
    seconds = time.perf_counter() - begin
    if count != tasks:
        raise AssertionError(f"{count} of {tasks} results are right")
    return tasks / seconds
