"""What deciding costs: processor microseconds per task of the coordinator's brain, by the number of nodes and tasks.

The brain alone is driven: a program is submitted, plans are answered with reports of what would have ended since the last turn, all
that came in one turn at once, as a busy coordinator takes it in. Nothing else is counted: not the messages, not the nodes, not the
network (there is none: a result is everywhere when it exists). Nodes have 4 cores.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import math
import pstats
import sys
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from paper import PaperCluster
from rich.console import Console
from rich.table import Table

from handoff.columns import Blobs
from handoff.program import Flag, Kind, Program
from handoff.resources import amounts

LAYERS = 20


@dataclass(slots=True)
class Cost:
    """What one case took; microseconds of processor time per task."""

    case: str
    nodes: int
    tasks: int
    total: float
    placing: float         # of the total: in turns' ends, where tasks are placed
    taking: float          # of the total: where reports are taken in
    submit_seconds: float  # of the total: until the program is in the tables, all together
    turns: int
    goal: str = ""


def program(kinds: list[Kind], tasks: list[tuple[int, list[int]]]) -> Program:
    """Tasks as (kind, inputs)."""
    return Program(
        tuple((kind.codes[0], 0) for kind in kinds), tuple(kinds), array("I", [kind for kind, _ in tasks]), Blobs.of([b""] * len(tasks)),
        array("I", [len(inputs) for _, inputs in tasks]), array("I", [each for _, inputs in tasks for each in inputs]))


def a_kind(name: str, cost: dict[str, float], flags: int = 0) -> Kind:
    """A kind of task."""
    return Kind((name.encode(),), name, flags=flags, cost=amounts(cost))


def independent(count: int, mean: float, sigma: float = 0.3) -> tuple[Program, array[float], int]:
    """Tasks of one function without inputs."""
    draw = Random("independent")
    seconds = array("d", [mean * math.exp(draw.gauss(-sigma * sigma / 2, sigma)) for _ in range(count)])
    return program([a_kind("work", {"cpu": 1}, Flag.OUTPUT)], [(0, [])] * count), seconds, 1000


def layered(count: int) -> tuple[Program, array[float], int]:
    """Layers of four shapes; each task takes one to three results of the layer before."""
    draw = Random("layered")
    costs = {"light": {"cpu": 1}, "large": {"cpu": 1, "memory": 8000}, "wide": {"cpu": 2}, "half": {"cpu": 0.5}}
    kinds = [a_kind(name, cost) for name, cost in costs.items()]
    means = [0.15, 0.2, 0.25, 0.1]
    tasks: list[tuple[int, list[int]]] = []
    seconds = array("d")
    width = max(1, count // LAYERS)
    for task in range(count):
        of = draw.randrange(4)
        first = (task // width - 1) * width
        tasks.append((of, sorted({first + draw.randrange(width) for _ in range(draw.randint(1, 3))}) if first >= 0 else []))
        seconds.append(means[of] * math.exp(draw.gauss(-0.045, 0.3)))
    return program(kinds, tasks), seconds, 1_000_000


EQUAL, FOUR = (1.0,), (0.5, 1.0, 1.5, 3.0)
CASES: dict[str, tuple[Callable[[int], tuple[Program, array[float], int]], tuple[float, ...], str]] = {
    "no inputs": (lambda count: independent(count, 0.2), EQUAL, "<= 10"),
    "1 to 3 inputs, 4 shapes": (layered, EQUAL, "<= 20"),
    "the same, 4 speeds": (layered, FOUR, "<= 60"),
    "blocks of 0.2 ms": (lambda count: independent(count, 0.0002, 0.1), EQUAL, "<= 2 placing"),
}
SIZES = ((8, 1_000), (8, 10_000), (100, 10_000), (1_000, 10_000), (1_000, 100_000))


def measure(name: str, nodes: int, tasks: int, profile: cProfile.Profile | None = None) -> Cost:
    """One case, once."""
    make, speeds, goal = CASES[name]
    cluster = PaperCluster(nodes, speeds, None)
    if name.startswith("blocks"):      # known: it ran before
        made, seconds, nbytes = make(max(2000, nodes * 16))
        cluster.forget(cluster.run(made, seconds, nbytes))
        cluster.now += 1.0
        cluster.reset()
    cluster.profile = profile
    made, seconds, nbytes = make(tasks)
    cluster.run(made, seconds, nbytes)
    each = 1e6 / tasks
    total = cluster.deciding * each
    return Cost(name, nodes, tasks, total, cluster.placing * each, cluster.taking * each, cluster.submit, cluster.turns,
                goal if (nodes, tasks) == SIZES[-1] else "")


def main(arguments: list[str]) -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="bench decisions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many is shown (default: %(default)s)")
    parser.add_argument("--case", choices=list(CASES), action="append", help="this one alone; may be given several times")
    parser.add_argument("--nodes", type=int, help="so many nodes, with --tasks, instead of all sizes")
    parser.add_argument("--tasks", type=int, help="so many tasks")
    parser.add_argument("--quick", action="store_true", help="without the largest size, once")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    sizes = ((options.nodes or 8, options.tasks or 1_000),) if options.nodes or options.tasks else SIZES[:-2] if options.quick else SIZES
    repeat = 1 if options.quick or options.profile else options.repeat
    costs = []
    console = Console(width=max(150, Console().width))
    for name in options.case or CASES:
        for nodes, tasks in sizes:
            profile = cProfile.Profile() if options.profile else None
            costs.append(min((measure(name, nodes, tasks, profile) for _ in range(repeat)), key=lambda cost: cost.total))
            if profile is not None:
                print(f"{name}, {nodes} nodes, {tasks} tasks")
                pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(28)
    columns = ("case", "nodes", "tasks", "us/task", "placing", "taking in", "submit, ms", "turns", "goal")
    table = Table(*columns, title="Processor time of decisions")
    for cost in costs:
        table.add_row(cost.case, f"{cost.nodes:,}", f"{cost.tasks:,}", f"{cost.total:.1f}", f"{cost.placing:.1f}", f"{cost.taking:.1f}",
                      f"{cost.submit_seconds * 1e3:.0f}", f"{cost.turns:,}", cost.goal)
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")
    return 0
