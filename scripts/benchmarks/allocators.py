"""Compares allocators on paper: makespan over lower bound for each allocator, workflow, cluster and state of knowledge.

The workflows are the shapes of shapes.py, or with --workflows a folder of recorded ones. "HEFT that knows" is the static schedule with
every duration and size known, the same for all states of knowledge. Regret is the makespan over that of the best allocator on the same
case, HEFT that knows among them; of those that fill a node's memory beyond what it has, only ones that do so no more than the allocator
itself (there are workflows whose results no order of tasks fits into all nodes). Microseconds are processor time of the whole brain, per
task.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cases import CLUSTERS, KNOWLEDGE, case, recorded
from rich.console import Console
from rich.table import Table
from shapes import workflows

from handoff.scheduler.allocator import Allocator
from handoff.scheduler.first_fit import FirstFit
from handoff.scheduler.greedy import Greedy
from handoff.scheduler.heft import Heft
from handoff.scheduler.round_robin import RoundRobin
from handoff.scheduler.simulate.bounds import lower_bound
from handoff.scheduler.simulate.cluster import ClusterSpec
from handoff.scheduler.simulate.simulator import Simulator

MAKERS: dict[str, Callable[[], Allocator]] = {"greedy": Greedy, "first-fit": FirstFit, "round-robin": RoundRobin, "heft": Heft}
QUICK = 3          # with --quick so many workflows
REFERENCE = ("known", "heft")
WIDTH = 170        # columns of text that the tables need


@dataclass(frozen=True, slots=True)
class Row:
    """One allocator on one case."""

    workflow: str
    cluster: str
    knowledge: str
    allocator: str
    ratio: float             # makespan over lower bound
    makespan: float
    moved: int               # bytes
    microseconds: float      # of the brain, per task
    fullest: float           # claims and results at the worst moment of the fullest node, over its memory


def measure(name: str, tasks: list[dict[str, Any]], kind: str, knowledge: str, allocator: str) -> Row:
    """Simulate one case. Raises RuntimeError when the run does not end."""
    work, cluster = case(tasks, kind, knowledge, name)
    runs = [work]
    history = _simulator(cluster, knowledge, allocator).run(work)
    if knowledge == "again":   # once more with the same brain, long after the first run is over
        runs.append(replace(work, at=2.0 * history.runs[0].makespan + 1.0))
        history = _simulator(cluster, knowledge, allocator).run(*runs)
    outcome = history.runs[-1]
    if outcome.failure or outcome.makespan < 0:
        raise RuntimeError(f"{allocator} on {name}, {kind}, {knowledge}: {outcome.failure or 'the run stood still'}")
    ratio, decided = outcome.makespan / lower_bound(work, cluster), history.decision_seconds / len(runs) / len(tasks)
    fullest = max(history.peak_memory[each.name] / max(1, dict(each.capacity).get("memory", 0)) for each in cluster.nodes)
    return Row(name, kind, knowledge, allocator, ratio, outcome.makespan, history.bytes_moved // len(runs), decided * 1e6, fullest)



def _simulator(cluster: ClusterSpec, knowledge: str, allocator: str) -> Simulator:
    return Simulator(cluster, MAKERS[allocator](), speeds_known=knowledge != "cold", clock=time.thread_time)


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def percentile(values: list[float], part: float) -> float:
    """The least value that so great a part does not exceed."""
    return sorted(values)[min(len(values) - 1, math.ceil(part * len(values)) - 1)]


def regrets(rows: list[Row], knowledge: str, allocator: str) -> list[tuple[float, str]]:
    """Per case, makespan over the best that needs no more memory, and which case that was."""
    others: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.knowledge == knowledge or (row.knowledge, row.allocator) == REFERENCE:
            others.setdefault((row.workflow, row.cluster), []).append(row)
    found = []
    for row in rows:
        if (row.knowledge, row.allocator) == (knowledge, allocator):
            most = max(1.0, row.fullest) if row.cluster == "memory-full" else math.inf     # elsewhere nothing is told of memory
            best = min(other.ratio for other in others[row.workflow, row.cluster] if other is row or other.fullest <= most)
            found.append((row.ratio / best, f"{row.workflow}, {row.cluster}"))
    return found


def show(rows: list[Row], clusters: list[str], knowledges: list[str], console: Console, show_cases: bool) -> None:
    """All tables."""
    reference = {(row.workflow, row.cluster): row.ratio for row in rows if (row.knowledge, row.allocator) == REFERENCE}
    for knowledge in knowledges:
        here = [row for row in rows if row.knowledge == knowledge]
        allocators = list(dict.fromkeys(row.allocator for row in here))
        table = Table("allocator", *clusters, "all", title=f"{knowledge}: makespan / lower bound, geometric means")
        for allocator in allocators:
            of = [row for row in here if row.allocator == allocator]
            table.add_row(allocator, *(f"{mean(row.ratio for row in of if row.cluster == kind):.3f}" for kind in clusters),
                          f"{mean(row.ratio for row in of):.3f}")
        console.print(table)
        table = Table("allocator", *clusters, "all", "regret p95", "regret max", "where", "us/task",
                      title=f"{knowledge}: makespan / HEFT that knows, geometric means; regret; cost of deciding")
        for allocator in allocators:
            of = [row for row in here if row.allocator == allocator]
            worst = regrets(rows, knowledge, allocator)
            against = {kind: mean(row.ratio / reference[row.workflow, kind] for row in of if row.cluster == kind) for kind in clusters}
            table.add_row(
                allocator, *(f"{against[kind]:.3f}" for kind in clusters),
                f"{mean(row.ratio / reference[row.workflow, row.cluster] for row in of):.3f}",
                f"{percentile([value for value, _ in worst], 0.95):.2f}", f"{max(worst)[0]:.2f}", max(worst)[1],
                f"{sum(row.microseconds for row in of) / len(of):.0f}")
        console.print(table)
        if show_cases:
            table = Table("workflow", "cluster", *allocators, title=f"{knowledge}: makespan / lower bound")
            by = {(row.workflow, row.cluster, row.allocator): row.ratio for row in here}
            for name, kind in dict.fromkeys((row.workflow, row.cluster) for row in here):
                table.add_row(name, kind, *(f"{by[name, kind, allocator]:.3f}" for allocator in allocators))
            console.print(table)


def _list(text: str, allowed: tuple[str, ...]) -> list[str]:
    chosen = [each for each in text.split(",") if each]
    for each in chosen:
        if each not in allowed:
            raise argparse.ArgumentTypeError(f"{each!r} is not one of {', '.join(allowed)}")
    return chosen


def main(arguments: list[str]) -> int:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(prog="bench allocators", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workflows", type=Path, metavar="DIR", help="recorded workflows (*.json) instead of the shapes that come with it")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these workflows alone")
    parser.add_argument("--clusters", type=lambda text: _list(text, CLUSTERS), default=list(CLUSTERS), help="kinds (default: all)")
    parser.add_argument("--knowledge", type=lambda text: _list(text, KNOWLEDGE), default=["known", "again", "learned", "cold"],
                        help="what is known beforehand: known,mean,learned,cold (default: all but mean)")
    parser.add_argument("--allocators", type=lambda text: _list(text, tuple(MAKERS)), default=list(MAKERS), help="default: all")
    parser.add_argument("--tasks-max", type=int, default=1500, help="leave larger workflows out (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the shapes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK} workflows, with durations known and learned")
    parser.add_argument("--cases", action="store_true", help="show each case, too")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write every case to this file, too")
    options = parser.parse_args(arguments)
    try:
        flows = recorded(options.workflows) if options.workflows else workflows(options.seed)
    except (ValueError, OSError) as wrong:
        parser.error(str(wrong))
    if options.only:
        flows = {name: tasks for name, tasks in flows.items() if name in options.only.split(",")}
    flows = {name: tasks for name, tasks in flows.items() if len(tasks) <= options.tasks_max}
    if options.quick:
        flows = dict(list(flows.items())[:QUICK])
        options.knowledge = [each for each in options.knowledge if each in ("known", "learned")] or options.knowledge
    if not flows:
        parser.error("no workflow is left to simulate")
    wanted = dict.fromkeys((name, kind, *REFERENCE) for name in flows for kind in options.clusters)
    wanted.update(dict.fromkeys((name, kind, knowledge, allocator) for knowledge in options.knowledge for name in flows
                                for kind in options.clusters for allocator in options.allocators))
    sequence = [(name, flows[name], kind, knowledge, allocator) for name, kind, knowledge, allocator in wanted]
    rows: list[Row] = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for row in pool.map(_measure, sequence, chunksize=4) if options.jobs > 1 else map(_measure, sequence):
            rows.append(row)
            if sys.stderr.isatty():
                print(f"\r{len(rows)} of {len(sequence)} ", end="", file=sys.stderr, flush=True)
    console = Console(width=max(WIDTH, Console().width))
    tasks = sum(len(each) for each in flows.values())
    console.print(f"{len(flows)} workflows, {tasks} tasks: {', '.join(f'{name} {len(each)}' for name, each in flows.items())}")
    show(rows, options.clusters, options.knowledge, console, options.cases)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


def _measure(what: tuple[str, list[dict[str, Any]], str, str, str]) -> Row:
    return measure(*what)
