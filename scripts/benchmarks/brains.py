"""What the brains cost alone: processor microseconds per task of the coordinator's and of a node's, by the number of tasks and nodes.

Both are driven directly, without shells, messages in bytes, sockets or processes. The coordinator's brain has nodes of 4 cores and short
tasks of one function that it knows, as most of its work is. The node's brain gets its tasks in plans and gives them to two workers, which
are done at once; outputs go to a client that collects them, or inputs come from all the other nodes in turn.
"""

from __future__ import annotations

import gc

from decisions import independent
from figures import Effort, Figure
from paper import PaperCluster
from paper_node import PaperNode

SHORT_SECONDS = 0.0002
GOAL = "<= 5"


def brains(effort: Effort) -> list[Figure]:
    """Both, over the sizes."""
    sizes = effort.of([(2, 100), (2, 10_000), (2, 1_000_000), (1000, 10_000), (1000, 1_000_000)],
                      [(2, 100), (2, 10_000), (1000, 10_000)], [(2, 100)])
    figures = []
    for nodes, tasks in sizes:
        values = [microseconds_of_scheduler(nodes, tasks) for _ in effort.times(1 if tasks > 100_000 else 5)]
        figures.append(Figure(f"scheduler brain, {tasks:,} tasks, {nodes:,} nodes", "us/task", values, GOAL))
    given = effort.of([(0, 100), (0, 10_000), (0, 1_000_000), (1, 10_000), (999, 10_000)], [(0, 100), (0, 10_000), (999, 10_000)],
                      [(0, 100)])
    for sources, tasks in given:
        values = [microseconds_of_node(tasks, sources) for _ in effort.times(1 if tasks > 100_000 else 5)]
        what = f"an input each from {sources:,} nodes" if sources else "no inputs"
        figures.append(Figure(f"node brain, {tasks:,} tasks, {what}", "us/task", values, GOAL))
    return figures


def microseconds_of_scheduler(nodes: int, tasks: int) -> float:
    """One run of short tasks whose function ran before."""
    cluster = PaperCluster(nodes)
    program, seconds, nbytes = independent(max(2000, nodes * 16), SHORT_SECONDS, 0.1)
    cluster.forget(cluster.run(program, seconds, nbytes))
    cluster.now += 1.0
    cluster.reset()
    runs = max(1, 10_000 // tasks)       # what is small is done several times
    for _ in range(runs):
        cluster.forget(cluster.run(*independent(tasks, SHORT_SECONDS, 0.1)))
    return cluster.deciding / (tasks * runs) * 1e6


def microseconds_of_node(tasks: int, sources: int) -> float:
    """One run of empty tasks on a node with two workers."""
    node = PaperNode(sources)
    node.run(2000)
    gc.collect()
    gc.freeze()
    runs = max(1, 10_000 // tasks)
    node.deciding = 0.0
    for _ in range(runs):
        node.run(tasks)
    return node.deciding / (tasks * runs) * 1e6
