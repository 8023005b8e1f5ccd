"""What allocators are compared on: a workflow, on one kind of cluster, with so much known beforehand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Work
from handoff.scheduler.simulate.workload import workflow

# In "memory-tight" ones claims of memory are tight, and results take none of it (the resource is called ram there); in "memory-full" ones
# the same memory holds the results, too: the default allocator keeps to it, and is compared with others that do not.
CLUSTERS = ("homogeneous", "heterogeneous", "memory-tight", "memory-full", "gpu-scarce", "slow-network", "fine-grained", "sub-ms")
KNOWLEDGE = ("known", "mean", "again", "learned", "cold")   # again: learned in a run before; cold: nothing, the speeds of nodes included
MEAN_SECONDS = {"fine-grained": 0.005, "sub-ms": 0.0005}   # of a task: workflows are scaled in time and bytes to that
PLENTY = 10_000_000      # MB of memory, where it is not to count
GPU_WORK = 0.3           # of all work is done by the one function that needs a GPU, about


def cluster_for(kind: str, tasks: Sequence[dict[str, Any]]) -> ClusterSpec:
    """The cluster of this kind; those with little memory fit the workflow."""
    memory = float(PLENTY)
    if kind.startswith("memory"):   # enough for half the cores at a time, and for the largest task
        held = sum(task["runtime_s"] * task["memory_mb"] for task in tasks) / sum(task["runtime_s"] * task["cpus"] for task in tasks)
        memory = max(*(task["memory_mb"] for task in tasks), held * 4 / 2)
    name_of_memory = "ram" if kind == "memory-tight" else "memory"
    if kind == "heterogeneous":
        sorts = [("slow", 2, 2, 0.5), ("usual", 3, 4, 1.0), ("wide", 2, 8, 1.0), ("quick", 1, 4, 3.0)]
        nodes = [node(f"{name}-{number}", {"cpu": cpus, "memory": memory}, speed)
                 for name, count, cpus, speed in sorts for number in range(count)]
    else:
        gpus = 2 if kind == "gpu-scarce" else 0
        nodes = [node(f"node-{number}", {"cpu": 4, name_of_memory: memory, **({"gpu": 2} if number < gpus else {})}) for number in range(8)]
    return ClusterSpec(tuple(nodes), bandwidth=32e6 if kind == "slow-network" else 1.25e9, latency=0.0002, name=kind)


def case(tasks: Sequence[dict[str, Any]], kind: str, knowledge: str, name: str = "workflow") -> tuple[Work, ClusterSpec]:
    """The work and the cluster of one case."""
    scale = 1.0
    if kind in MEAN_SECONDS:
        scale = MEAN_SECONDS[kind] * len(tasks) / sum(task["runtime_s"] for task in tasks)
    costs = None
    if kind == "gpu-scarce":
        chosen = _function_for_gpus(tasks)
        one = next(task for task in tasks if task["fn"] == chosen)
        costs = {chosen: {"cpu": one["cpus"], "memory": one["memory_mb"], "gpu": 1}}
    cluster = cluster_for(kind, tasks)
    most = max(dict(each.capacity)["cpu"] for each in cluster.nodes) // 10_000
    clamped = [{**task, "cpus": min(task["cpus"], most)} for task in tasks]
    if kind == "memory-tight":
        costs = {task["fn"]: {"cpu": task["cpus"], "ram": task["memory_mb"]} for task in clamped}
    told = "learned" if knowledge in ("again", "cold") else knowledge
    return workflow(clamped, knowledge=told, time_scale=scale, byte_scale=scale, costs=costs, name=name), cluster


def _function_for_gpus(tasks: Sequence[dict[str, Any]]) -> str:
    work: dict[str, float] = {}
    for task in tasks:
        work[task["fn"]] = work.get(task["fn"], 0.0) + task["runtime_s"]
    total = sum(work.values())
    return min(work, key=lambda fn: (abs(work[fn] / total - GPU_WORK), fn))


def recorded(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The workflows in a folder of files, by name. Raises ValueError for a file that is none."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text())["tasks"]
        except (ValueError, KeyError, TypeError) as wrong:
            raise ValueError(f"{path} is not a workflow file: {wrong}") from None
    if not found:
        raise ValueError(f"there are no workflow files (*.json) in {folder}")
    return found
