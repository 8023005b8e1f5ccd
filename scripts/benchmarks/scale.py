"""One coordinator and very many cores, on paper: 1,000 nodes of 16 cores and a graph of 1,000,000 tasks.

The brain really decides and its messages are really written and read; nodes and network are on paper (see paper.py). The coordinator's
load is the processor time that both take over the time that the run takes on paper. Where the tasks are so short that this is 1, one
coordinator is saturated; TLS and the kernel's share come on top of it. Each length of tasks is measured in a process of its own.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from array import array
from pathlib import Path

from decisions import a_kind, independent, program
from figures import Effort, Figure
from paper import PaperCluster
from processes import MB, forget_peak, resident

from handoff.program import Flag, Program

LAYERS_MAX = 20


def scale(effort: Effort) -> list[Figure]:
    """For each length of tasks: microseconds per task and load; for the first: memory and messages; where the load is 1."""
    nodes, cores = effort.of((1000, 16), (100, 16), (20, 16))
    lengths = effort.of((1.0, 0.3, 0.1), (1.0, 0.1), (1.0,))
    figures = []
    rows = []
    for length in lengths:
        tasks = effort.of(1_000_000 if length == lengths[0] else 200_000, 10_000, 1_000)
        row = in_own_process(nodes, cores, tasks, length)
        rows.append((length, row["load"]))
        name = f"{nodes:,} nodes x {cores}, {tasks:,} tasks of {length:g} s"
        figures.append(Figure(f"{name}: brain", "us/task", [row["brain"]]))
        figures.append(Figure(f"{name}: reading and writing messages", "us/task", [row["messages"]]))
        figures.append(Figure(f"{name}: load of the coordinator", "of a core", [row["load"]]))
        if length == lengths[0]:
            figures.append(Figure(f"{name}: brain's memory, and the paper's", "bytes/task", [row["bytes"]]))
            figures.append(Figure(f"{name}: messages", "per 1,000 tasks", [row["per_thousand"]]))
            figures.append(Figure(f"{name}: messages in a second of the run", "per second", [row["per_second"]]))
    saturated = length_at_full_load(rows)
    if saturated is not None:
        figures.append(Figure(f"{nodes * cores:,} cores: tasks at which one coordinator is saturated", "ms", [saturated * 1e3]))
    return figures


def length_at_full_load(rows: list[tuple[float, float]]) -> float | None:
    """Between two lengths, in logarithms; beyond them, the load of the nearest is taken to go with 1 / length."""
    rows = sorted(rows)
    for (short, high), (long, low) in itertools.pairwise(rows):
        if high >= 1.0 > low:
            share = math.log(high) / math.log(high / low)
            return short * (long / short) ** share
    length, load = rows[0] if rows[0][1] < 1.0 else rows[-1]
    return length * load


def in_own_process(nodes: int, cores: int, tasks: int, length: float) -> dict[str, float]:
    """So that memory is that of this one alone."""
    arguments = [str(each) for each in (nodes, cores, tasks, length)]
    here = Path(__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, here, *arguments], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def graph(tasks: int, cores: int, length: float) -> tuple[Program, array[float], int]:
    """Lanes of tasks, at least two for each core; each takes the result of the one before, every second one its neighbour's, too."""
    width = max(1, tasks // max(2, min(LAYERS_MAX, tasks // (2 * cores))))
    rows: list[tuple[int, list[int]]] = []
    for task in range(tasks):
        at = task - width
        if at < 0:
            rows.append((0, []))
        else:
            rows.append((0, [at] if task % 2 or (task + 1) % width == 0 else [at, at + 1]))
    return program([a_kind("work", {"cpu": 1}, Flag.OUTPUT)], rows), array("d", [length]) * tasks, 1000


def measured(nodes: int, cores: int, tasks: int, length: float) -> dict[str, float]:
    """One run of a function that is known."""
    cluster = PaperCluster(nodes, cores=cores, is_spoken=True)
    cluster.forget(cluster.run(*independent(nodes * cores, length, 0.05)))
    cluster.now += 1.0
    made, seconds, nbytes = graph(tasks, nodes * cores, length)
    cluster.reset()
    pid, begin = os.getpid(), cluster.now
    forget_peak(pid)
    before = resident(pid)
    cluster.run(made, seconds, nbytes)
    makespan = cluster.now - begin
    return {
        "brain": cluster.deciding / tasks * 1e6,
        "messages": cluster.speaking / tasks * 1e6,
        "load": (cluster.deciding + cluster.speaking) / makespan,
        "bytes": (resident(pid, peak=True) - before) / tasks,
        "megabytes": cluster.spoken_bytes / MB,
        "per_thousand": cluster.messages / tasks * 1e3,
        "per_second": cluster.messages / makespan,
    }


if __name__ == "__main__":
    print(json.dumps(measured(*map(int, sys.argv[1:4]), float(sys.argv[4]))))
