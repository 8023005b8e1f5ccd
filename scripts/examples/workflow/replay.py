"""Replay a recorded workflow: every task is busy for its recorded runtime, scaled, and produces its recorded bytes.

    python scripts/examples/workflow/replay.py mosaic.json --scale 0.01

The file format is described in README.md beside this file. Prints the makespan beside its lower bound, the larger of the critical path
(no schedule is shorter than the longest chain) and the area (work divided by all cores), and their ratio: 1.0 would be perfect.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import handoff
from handoff import DAG, Function


def busy(seconds: float, nbytes: int, spin: bool, *inputs: bytes) -> bytes:
    """Hold the cores of one task for so long, then produce so many bytes."""
    end = time.perf_counter() + seconds
    if spin:
        while time.perf_counter() < end:
            pass
    else:
        time.sleep(seconds)
    return bytes(nbytes)


def read(path: Path) -> list[dict[str, Any]]:
    """The tasks of a workflow file. Raises ValueError that says what is wrong with it."""
    try:
        tasks = json.loads(path.read_text())["tasks"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a workflow file: {error!r}") from error
    if not isinstance(tasks, list):
        raise ValueError(f"{path} is not a workflow file: its tasks are {tasks!r}, not a list")
    known = set[Any]()
    for position, task in enumerate(tasks):
        if not isinstance(task, dict):
            raise ValueError(f"{path}: task {position} is not a task: {task!r}")
        lacking = {"id", "fn", "runtime_s", "cpus", "memory_mb", "inputs", "output_bytes"} - set(task)
        if lacking:
            raise ValueError(f"{path}: task {position} lacks {', '.join(sorted(lacking))}")
        for name in ("runtime_s", "cpus", "memory_mb", "output_bytes"):
            if not (isinstance(task[name], int | float) and 0 <= task[name] < math.inf):
                raise ValueError(f"{path}: task {position}: {name} is {task[name]!r}, not a number from 0 on")
        for parent in task["inputs"]:
            if parent not in known:
                raise ValueError(f"{path}: task {position}: its input {parent!r} is no task before it")
        if task["id"] in known:
            raise ValueError(f"{path}: task {position}: the id {task['id']!r} is used twice")
        known.add(task["id"])
    return tasks


def graph(tasks: list[dict[str, Any]], scale: float, byte_scale: float, spin: bool) -> DAG:
    """The workflow as a DAG; one callable per recorded function, so that durations are learned for each by itself."""
    codes = {fn: function_named(fn) for fn in {task["fn"]: None for task in tasks}}
    dag = DAG("workflow")
    for task in tasks:
        seconds, nbytes = task["runtime_s"] * scale, int(task["output_bytes"] * byte_scale)
        dag.add(
            Function(
                id=task["id"],
                args=task["inputs"],
                argument_inclusion="as_list",
                code=codes[task["fn"]],
                extra_args=[seconds, nbytes, spin],
                cost={"cpu": task["cpus"], "memory": task["memory_mb"]},
            )
        )
    return dag


def function_named(name: str) -> Any:
    """A function of that name that is busy."""

    def work(inputs: list[bytes], seconds: float, nbytes: int, spin: bool) -> bytes:
        return busy(seconds, nbytes, spin, *inputs)

    work.__name__ = work.__qualname__ = name
    return work


def lower_bound(tasks: list[dict[str, Any]], scale: float, cores: float) -> tuple[float, float]:
    """Seconds of the critical path, and of the area: both ignore transfers and overhead, so neither can be beaten."""
    finish: dict[Any, float] = {}
    for task in tasks:
        finish[task["id"]] = max((finish[parent] for parent in task["inputs"]), default=0.0) + task["runtime_s"] * scale
    area = sum(task["runtime_s"] * scale * task["cpus"] for task in tasks) / cores
    return max(finish.values(), default=0.0), area


def main() -> int:
    """Read, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a workflow file; two small ones lie beside this script")
    parser.add_argument("--scale", type=factor, default=0.01, help="seconds here per recorded second (default: %(default)s)")
    parser.add_argument("--byte-scale", type=factor, default=0.01, help="bytes here per recorded byte (default: %(default)s)")
    parser.add_argument("--nodes", type=count, default=3, help="nodes of the cluster that is started (default: %(default)s)")
    parser.add_argument("--cpus", type=count, default=4, help="cores that each declares (default: %(default)s)")
    parser.add_argument("--memory", type=count, default=64_000, help="MB that each declares (default: %(default)s)")
    parser.add_argument("--spin", action="store_true", help="burn the processor instead of sleeping")
    parser.add_argument("--coordinator", help="HOST:PORT of your own cluster, instead of starting one; give its --nodes and --cpus")
    options = parser.parse_args()
    try:
        tasks = read(options.file if options.file.exists() else Path(__file__).parent / options.file)
    except (OSError, ValueError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    dag = graph(tasks, options.scale, options.byte_scale, options.spin)
    if options.coordinator:
        with handoff.connect(options.coordinator) as client:
            makespan, moved = timed(client, dag)
    else:
        nodes = [{"name": f"node-{n + 1}", "cpus": options.cpus, "memory": options.memory} for n in range(options.nodes)]
        with handoff.LocalCluster(nodes=nodes) as cluster, cluster.client() as client:
            makespan, moved = timed(client, dag)
    path, area = lower_bound(tasks, options.scale, options.nodes * options.cpus)
    bound = max(path, area)
    print(f"{len(tasks)} tasks, {moved / 1e6:.1f} MB moved between nodes")
    print(f"makespan       {makespan:8.3f} s")
    print(f"lower bound    {bound:8.3f} s   (critical path {path:.3f} s, area {area:.3f} s)")
    print(f"ratio          {makespan / bound if bound else float('nan'):8.3f}")
    return 0


def factor(text: str) -> float:
    """A number to multiply by."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def count(text: str) -> int:
    """How many of something there are."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def timed(client: handoff.Client, dag: DAG) -> tuple[float, int]:
    """Seconds from submit to the last result, and bytes moved."""
    begin = time.perf_counter()
    run = client.start(dag, returns=sinks(dag))
    run.result()
    return time.perf_counter() - begin, run.bytes_moved


def sinks(dag: DAG) -> list[Any]:
    """The functions on which nothing depends: only their bytes are wanted here."""
    used = {argument for function in dag.functions.values() for argument in function.args}
    return [function for function in dag.functions if function not in used]


if __name__ == "__main__":
    sys.exit(main())
