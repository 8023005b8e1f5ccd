"""The same workflows really run and simulated: four node processes of two cores each, tasks that sleep, results of real bytes.

First, before each allocator, the machine is measured by a cluster of its own: what a task costs its node beside its own time (many short
ones), what a message takes (a chain whose links are pinned to two nodes in turn), how long the coordinator takes to decide (many short
ones again, of which none is planned ahead), how fast bytes move (the chain with large results); each is chosen so that the simulator
takes as long as reality did. Then each workflow runs under each allocator, durations told, and the simulator, which plays all runs of a
cluster one after the other as that did, says how long each should have taken, each task taking what it really took (a sleep on a busy
machine is longer than was asked for). Medians are compared. A pair is close when the two differ by at most a tenth; the order of the
allocators is the same where no two of them are the other way round in reality, those that differ by no more than SAME being equal.
"""

from __future__ import annotations

import argparse
import json
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from allocators import MAKERS
from rich.console import Console
from rich.table import Table
from shapes import workflows

import handoff
from handoff import DAG, Function
from handoff.graph.busy import Busy
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Simulator, Work
from handoff.scheduler.simulate.workload import workflow

NAMES = {"greedy": None, "first-fit": "first-fit", "round-robin": "handoff.scheduler.round_robin:RoundRobin",
         "heft": "handoff.scheduler.heft:Heft"}
CHOSEN = ("chain-and-map", "layered", "samples")
NODES, CPUS, MEMORY = 4, 2, 100_000
SPEEDS = {"equal": (1.0, 1.0, 1.0, 1.0), "mixed": (0.5, 1.0, 1.0, 3.0)}   # a slow node's tasks sleep longer; speeds are learned
WARM_UP = (16 * NODES * CPUS, 0.01)     # so many tasks of so many seconds
APART = 60.0       # seconds from one run to the next on paper, so that they do not meet
CLOSE = 0.10
SAME = 0.03        # makespans that differ by no more are ties: they are in no order
BYTES_MAX = 3e5    # of one result, on average over a workflow: making and moving them is work for the same two cores


@dataclass(frozen=True, slots=True)
class Pair:
    """One workflow under one allocator, seconds."""

    workflow: str
    speeds: str
    allocator: str
    real: float
    simulated: float
    real_all: list[float]
    simulated_all: list[float]
    bytes_real: int
    bytes_simulated: int


class Paced(Busy):
    """Sleeps as long as the speed of its node makes it."""

    def __init__(self, name: str, speeds: dict[str, float]) -> None:
        super().__init__(name)
        self.speeds = speeds

    def __call__(self, inputs: list[Any], seconds: float, nbytes: int, spin: bool = False) -> bytes:
        """See Busy."""
        task = handoff.current_task()
        return super().__call__(inputs, seconds / (self.speeds[task.node] if task else 1.0), nbytes, spin)


def dag_of(tasks: Sequence[dict[str, Any]], speeds: dict[str, float], pins: Sequence[str] = ()) -> DAG:
    """Sleeping stand-ins, one code for each function; pinned to these nodes in turn, if there are any."""
    codes = {task["fn"]: Paced(task["fn"], speeds) for task in tasks}
    dag = DAG()
    for task in tasks:
        seconds, nbytes = task["runtime_s"], task["output_bytes"]
        dag.add(Function(
            task["id"], task["inputs"], codes[task["fn"]], [seconds, nbytes], argument_inclusion="as_list",
            cost={"cpu": task["cpus"], "memory": task["memory_mb"]}, expected_seconds=seconds, expected_bytes=float(nbytes),
            node=pins[task["id"] % len(pins)] if pins else None,
        ))
    return dag


def work_of(tasks: Sequence[dict[str, Any]], pins: Sequence[str] = ()) -> Work:
    """The same on paper."""
    work = workflow(tasks, knowledge="known")
    if not pins:
        return work
    kinds = tuple(replace(work.program.kinds[0], node=pin) for pin in pins)
    kind = type(work.program.kind)("I", [task["id"] % len(pins) for task in tasks])
    return replace(work, program=replace(work.program, kinds=kinds, kind=kind))


@dataclass(frozen=True, slots=True)
class Real:
    """A real run: seconds from submission to the end of the last task, bytes moved between nodes, seconds of each task."""

    makespan: float
    moved: int
    seconds: array[float]


def real(client: handoff.Client, dag: DAG, speeds: dict[str, float], at_once: int = 0) -> Real:
    """Run it, with at most so many tasks `at_once`, if that is not 0; seconds are those of a node of speed 1."""
    run = client.start(dag, returns=[each.id for each in dag][-1:], max_concurrency=at_once or None)
    run.result(timeout=120)
    records = sorted(run.timeline(), key=lambda record: int(str(record.function)))
    seconds = array("d", [record.seconds * speeds[record.node] for record in records])
    return Real(max(record.started + record.seconds for record in records), run.bytes_moved, seconds)


def middle(runs: list[Real]) -> Real:
    """The run in the middle; of two, the quicker one."""
    return sorted(runs, key=lambda run: run.makespan)[(len(runs) - 1) // 2]


def simulated(cluster: ClusterSpec, works: Sequence[Work], allocator: str = "greedy") -> list[tuple[float, int]]:
    """The same on paper, one after the other, as what is learned in one counts in the next: seconds and bytes moved, of each."""
    history = Simulator(cluster, MAKERS[allocator](), speeds_known=False).run(
        *(replace(work, at=number * APART) for number, work in enumerate(works)))
    moved = [0] * len(works)
    for number, *_, nbytes in history.moved:
        moved[number - 1] += nbytes
    return [(outcome.makespan, nbytes) for outcome, nbytes in zip(history.runs, moved, strict=True)]


def chain(links: int, seconds: float, nbytes: int) -> list[dict[str, Any]]:
    """Each takes the result of the one before."""
    return [{"id": each, "fn": "link", "runtime_s": seconds, "cpus": 1, "memory_mb": 1, "inputs": [each - 1] if each else [],
             "output_bytes": nbytes} for each in range(links)]


def many(count: int, seconds: float) -> list[dict[str, Any]]:
    """Tasks without inputs."""
    return [{"id": each, "fn": "one", "runtime_s": seconds, "cpus": 1, "memory_mb": 1, "inputs": [], "output_bytes": 10}
            for each in range(count)]


def fitted(goal: float, of: Callable[[float], float], low: float, high: float) -> float:
    """The value for which the simulation takes so long; it grows with the value."""
    for _ in range(18):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if of(middle) < goal else (low, middle)
    return (low * high) ** 0.5


def measured(client: handoff.Client, names: list[str], repeat: int) -> ClusterSpec:
    """The cluster on paper that is most like this one, as busy as the machine is now."""
    pins, speeds = names[:2], dict.fromkeys(names, 1.0)
    spec = ClusterSpec(tuple(node(name, {"cpu": CPUS, "memory": MEMORY}) for name in names), bandwidth=1e9, latency=0.0005)
    several, hops, loads = many(20 * NODES * CPUS, 0.02), chain(40, 0.01, 100), chain(12, 0.01, 4_000_000)

    def fit(tasks: list[dict[str, Any]], to: Sequence[str], change: Callable[[float], ClusterSpec], low: float, high: float,
            at_once: int = 0) -> ClusterSpec:
        run = middle([real(client, dag_of(tasks, speeds, to), speeds, at_once) for _ in range(repeat)])
        work = replace(work_of(tasks, to), seconds=run.seconds, options={"max_concurrency": at_once})
        return change(fitted(run.makespan, lambda value: simulated(change(value), [work])[0][0], low, high))

    spec = fit(several, (), lambda value: replace(spec, overhead=value), 1e-6, 0.02)
    spec = fit(hops, pins, lambda value: replace(spec, latency=value), 1e-5, 0.02)
    spec = fit(several, (), lambda value: replace(spec, deciding=value), 1e-6, 0.02, NODES * CPUS)
    return fit(loads, pins, lambda value: replace(spec, bandwidth=1e9 / value), 0.01, 1000)


def scaled(tasks: list[dict[str, Any]], mean_seconds: float) -> list[dict[str, Any]]:
    """In seconds that one can wait for, and bytes that two cores can move."""
    factor = mean_seconds * len(tasks) / sum(task["runtime_s"] for task in tasks)
    smaller = min(1.0, BYTES_MAX * len(tasks) / max(1, sum(task["output_bytes"] for task in tasks)))
    return [{**task, "runtime_s": task["runtime_s"] * factor, "output_bytes": int(task["output_bytes"] * smaller),
             "cpus": min(task["cpus"], CPUS), "memory_mb": 1} for task in tasks]


def is_same_order(pairs: list[Pair]) -> bool:
    """Whether reality puts no two allocators in the other order than the simulation; ties are in none."""
    return not any(a.simulated * (1 + SAME) < b.simulated and a.real > b.real * (1 + SAME) for a in pairs for b in pairs)


def main(arguments: list[str]) -> int:
    """Measure, run, simulate, print."""
    parser = argparse.ArgumentParser(prog="bench simulated", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CHOSEN), metavar="NAME,...", help="which shapes (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="real runs of each; the median counts (default: %(default)s)")
    parser.add_argument("--speeds", choices=list(SPEEDS), help="nodes of this kind alone")
    parser.add_argument("--mean", type=float, default=0.04, help="seconds of a task, on average (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    flows = {name: scaled(tasks, options.mean) for name, tasks in workflows().items() if name in options.only.split(",")}
    if not flows:
        parser.error(f"no shape is called {options.only}")
    pairs: list[Pair] = []
    console = Console(width=max(120, Console().width))
    names = [f"node-{number}" for number in range(1, NODES + 1)]
    specs: list[ClusterSpec] = []
    kinds = [options.speeds] if options.speeds else list(SPEEDS)
    nodes = [{"name": name, "cpus": CPUS, "memory": f"{MEMORY} MB"} for name in names]
    even = dict.fromkeys(names, 1.0)
    with handoff.LocalCluster(nodes=nodes) as gauge, gauge.client() as gauged:
        gauged.execute(dag_of(many(*WARM_UP), even))
        for kind in kinds:
            speeds = dict(zip(names, SPEEDS[kind], strict=True))
            for allocator, told in NAMES.items():
                spec = measured(gauged, names, options.repeat)
                specs.append(spec)
                console.print(f"{kind}, {allocator}: {spec.overhead * 1e6:.0f} us a task, {spec.latency * 1e6:.0f} us a message, "
                              f"{spec.deciding * 1e6:.0f} us a decision, {spec.bandwidth / 1e6:.0f} MB/s between nodes")
                paper = replace(spec, nodes=tuple(replace(node, speed=speeds[node.name]) for node in spec.nodes))
                with handoff.LocalCluster(nodes=nodes, allocator=told) as cluster, cluster.client() as client:
                    played = [(name, tasks, real(client, dag_of(tasks, speeds), speeds)) for name, tasks in
                              (("", many(*WARM_UP)), *(each for each in flows.items() for _ in range(options.repeat)))]
                foretold = simulated(paper, [replace(work_of(tasks), seconds=run.seconds) for _, tasks, run in played], allocator)
                for name in flows:
                    both = [(run, *on_paper) for (of, _, run), on_paper in zip(played, foretold, strict=True) if of == name]
                    runs, times = [run for run, _, _ in both], [seconds for _, seconds, _ in both]
                    pairs.append(Pair(
                        name, kind, allocator, median(run.makespan for run in runs), median(times), [run.makespan for run in runs], times,
                        round(median(run.moved for run in runs)), round(median(moved for _, _, moved in both))))
    table = Table("workflow", "tasks", "speeds", "allocator", "real, s", "simulated, s", "real / simulated", "close", "MB", "simulated")
    for pair in sorted(pairs, key=lambda pair: (pair.speeds, pair.workflow)):
        ratio = pair.real / pair.simulated
        is_close = "yes" if abs(ratio - 1) <= CLOSE else "no"
        tasks = str(len(flows[pair.workflow]))
        table.add_row(pair.workflow, tasks, pair.speeds, pair.allocator, f"{pair.real:.3f}", f"{pair.simulated:.3f}", f"{ratio:.3f}",
                      is_close, f"{pair.bytes_real / 1e6:.0f}", f"{pair.bytes_simulated / 1e6:.0f}")
    console.print(table)
    close = sum(abs(pair.real / pair.simulated - 1) <= CLOSE for pair in pairs)
    sets = [[pair for pair in pairs if (pair.workflow, pair.speeds) == (name, kind)] for name in flows for kind in kinds]
    ordered = [several for several in sets if is_same_order(several)]
    console.print(f"{close} of {len(pairs)} within {CLOSE:.0%}; the order of allocators is as simulated in {len(ordered)} of {len(sets)}, "
                  f"where those within {SAME:.0%} count as equal")
    if options.json:
        figures = {"clusters": [asdict(replace(spec, nodes=())) for spec in specs], "pairs": [asdict(pair) for pair in pairs]}
        options.json.write_text(json.dumps(figures, indent=1))
    return 0
