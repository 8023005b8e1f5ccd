"""Graphs of large intermediates: the most that results take, where the planner heeds the nodes' memory, and where it knows of no end of it.

Both are the same allocator; in the second case nodes say that they have far more memory than all results together. Once on paper, once on
real nodes, whose results are files in memory, so that the kernel can be asked how much they are.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from figures import Effort, Figure
from peaks import Peaks

import handoff
from handoff import DAG, Function
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Simulator
from handoff.scheduler.simulate.workload import workflow

MB = 1_000_000
PLENTY = 100_000_000     # MB: more than all results together
NODES, CORES, NODE_MB, RESULT_MB = 4, 4, 16_000, 1_000     # on paper
REAL_NODE_MB, REAL_RESULT_MB = 400, 32                     # on each of two real nodes of one core


def intermediates(effort: Effort) -> list[Figure]:
    """Peak of the results on all nodes, and the makespan, with the nodes' memory heeded and without; on paper, then for real."""
    figures = []
    count = effort.of(512, 128, 32)
    for name, tasks in (("loads, each reduced at once", loads(count)), ("leaves, added up in pairs", leaves(count))):
        for heeded, word in ((True, "heeded"), (False, "not heeded")):
            most, seconds = on_paper(tasks, heeded)
            what = f"on paper, {count} {name}, memory {word}"
            goal = f"<= {NODES * NODE_MB / 1000:g}" if heeded else ""
            figures += [Figure(f"{what}: peak of results", "GB", [most / 1e9], goal), Figure(f"{what}: makespan", "s", [seconds])]
    count = effort.of(100, 50, 6)
    for heeded, word in ((True, "heeded"), (False, "not heeded")):
        runs = [for_real(count, heeded) for _ in effort.times(effort.of(3, 1, 1))]
        what = f"two nodes, {count} loads of {REAL_RESULT_MB} MB, each reduced at once, memory {word}"
        goal = f"<= {2 * REAL_NODE_MB}" if heeded else ""
        figures += [Figure(f"{what}: peak of results", "MB", [most / MB for most, _ in runs], goal),
                    Figure(f"{what}: makespan", "s", [seconds for _, seconds in runs])]
    return figures


# ── on paper ────────────────────────────────────────────────────────────────


def loads(count: int) -> list[dict[str, Any]]:
    """So many large results, each of which one task makes small; and one that takes all of these."""
    made = [task(number, "load", [], RESULT_MB) for number in range(count)]
    made += [task(count + number, "reduce", [number], 0) for number in range(count)]
    return [*made, task(2 * count, "join", list(range(count, 2 * count)), 0)]


def leaves(count: int) -> list[dict[str, Any]]:
    """So many large results; two at a time are added up, to one as large."""
    made = [task(number, "load", [], RESULT_MB) for number in range(count)]
    level = list(range(count))
    while len(level) > 1:
        above = []
        for place in range(0, len(level), 2):
            above.append(len(made))
            made.append(task(len(made), "add", level[place : place + 2], RESULT_MB))
        level = above
    return made


def task(number: int, function: str, inputs: Sequence[int], megabytes: int) -> dict[str, Any]:
    """A record as in recorded workflows."""
    return {"id": number, "fn": function, "runtime_s": 1.0, "cpus": 1, "memory_mb": 1, "inputs": inputs, "output_bytes": megabytes * MB}


def on_paper(tasks: Sequence[dict[str, Any]], is_heeded: bool) -> tuple[float, float]:
    """Bytes of results at the worst moment, on all nodes together, and the makespan. Nothing is known beforehand."""
    capacity = {"cpu": CORES, "memory": NODE_MB if is_heeded else PLENTY}
    cluster = ClusterSpec(tuple(node(f"node-{number}", capacity) for number in range(NODES)), bandwidth=1.25e9, latency=0.0002)
    peak = Peak(cluster)
    history = peak.run(workflow(tasks))
    return float(peak.most), history.runs[0].makespan


class Peak(Simulator):
    """Looks at what lies on all nodes after each round."""

    most = 0

    def _settle(self) -> None:
        super()._settle()
        self.most = max(self.most, sum(each.resident for each in self.nodes.values()))


# ── for real ────────────────────────────────────────────────────────────────


def load(number: int) -> Any:
    """A large array."""
    return np.full(REAL_RESULT_MB * MB // 8, float(number))


def reduce(array: Any) -> float:
    """A small number of it."""
    return float(array.sum())


def join(*numbers: float) -> float:
    """All of them."""
    return sum(numbers)


def for_real(count: int, is_heeded: bool) -> tuple[float, float]:
    """The same of a first run on a fresh cluster."""
    memory = f"{REAL_NODE_MB if is_heeded else PLENTY} MB"
    dag = DAG()
    for number in range(count):
        dag.add(Function(("load", number), code=load, extra_args=[number]))
        dag.add(Function(number, [("load", number)], code=reduce))
    dag.add(Function("join", list(range(count)), code=join))
    nodes = [{"name": name, "cpus": 1, "memory": memory} for name in ("node-1", "node-2")]
    def results() -> list[int]:
        return [sum(bytes_of_results(cluster.processes[each["name"]]) for each in nodes)]

    with handoff.LocalCluster(nodes=nodes) as cluster, cluster.client() as client, Peaks(results) as peaks:
        begin = time.perf_counter()
        total = client.execute(dag, returns=["join"])["join"]
        seconds = time.perf_counter() - begin
    if total != sum(range(count)) * (REAL_RESULT_MB * MB // 8):
        raise AssertionError(f"wrong sum: {total}")
    return float(peaks.most[0]), seconds


def bytes_of_results(pid: int) -> int:
    """What the files in memory take that hold a process's large results."""
    found = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if "memfd:handoff-value" in os.readlink(entry.path):  # noqa: PTH115  # this runs every few milliseconds
                    found += entry.stat().st_size
    return found
