"""Workflows for comparing allocators: shapes that are common in science and data work, drawn from a seed, the same in every process.

Each is a list of records as in recorded workflows: id, fn, runtime_s, cpus, memory_mb, inputs (earlier ids) and output_bytes. Run
times vary about the mean of their function as a lognormal does, where nothing else is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

KB, MB = 1_000, 1_000_000
Task = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A function: its mean seconds, how they vary (sigma of the logarithm), bytes of a result, and its cost."""

    fn: str
    seconds: float
    sigma: float = 0.25
    nbytes: float = MB
    cpus: int = 1
    memory: int = 512


class Flow:
    """A workflow under construction."""

    def __init__(self, name: str, seed: int) -> None:
        self.draw = Random(f"{name} {seed}")
        self.tasks: list[Task] = []

    def add(self, step: Step, inputs: Sequence[int] = (), seconds: float | None = None) -> int:
        """One more task; answers with its id."""
        if seconds is None:
            seconds = step.seconds * math.exp(self.draw.gauss(-step.sigma * step.sigma / 2, step.sigma))
        nbytes = step.nbytes * math.exp(self.draw.gauss(0.0, 0.1))
        self.tasks.append({
            "id": len(self.tasks), "fn": step.fn, "runtime_s": round(seconds, 6), "cpus": step.cpus, "memory_mb": step.memory,
            "inputs": list(dict.fromkeys(inputs)), "output_bytes": int(nbytes),
        })
        return len(self.tasks) - 1


def mosaic(flow: Flow) -> None:
    """Images are projected, overlapping ones compared, corrected by one fit, and put together."""
    project, compare, correct = Step("project", 12, 0.2, 8 * MB), Step("compare", 3, 0.3, 2 * MB), Step("correct", 2, 0.2, 8 * MB)
    side = 9
    images = [flow.add(project) for _ in range(side * side)]
    pairs = [(each, each + step) for each in range(side * side) for step in (1, side)
             if each + step < side * side and (step == side or each % side < side - 1)]
    differences = {pair: flow.add(compare, [images[pair[0]], images[pair[1]]]) for pair in pairs}
    fit = flow.add(Step("fit", 4, 0.1, 10 * KB), list(differences.values()))
    model = flow.add(Step("model", 25, 0.1, 20 * KB), [fit])
    corrected = [flow.add(correct, [image, model]) for image in images]
    table = flow.add(Step("table", 3, 0.1, 50 * KB), corrected)
    whole = flow.add(Step("assemble", 30, 0.1, 300 * MB, 1, 2048), [*corrected, table])
    flow.add(Step("preview", 6, 0.1, 2 * MB), [whole])


def map_reduce(flow: Flow) -> None:
    """Every mapper hands a part to every reducer, which makes the network count."""
    maps = [flow.add(Step("map", 9, 0.35, 24 * MB)) for _ in range(120)]
    parts = [flow.add(Step("partition", 1, 0.2, 3 * MB), [each]) for each in maps for _ in range(2)]
    reduced = [flow.add(Step("reduce", 14, 0.4, 12 * MB, 1, 2048), parts[number % 2::2]) for number in range(24)]
    flow.add(Step("collect", 5, 0.1, 40 * MB), reduced)


def fork_join(flow: Flow) -> None:
    """Phases of many equal tasks with a barrier after each."""
    before: list[int] = []
    for phase in range(6):
        width = (50, 30, 64, 17, 40, 33)[phase]
        work = [flow.add(Step(f"phase {phase}", 4 + 3 * (phase % 3), 0.3, 2 * MB), before) for _ in range(width)]
        before = [flow.add(Step("barrier", 1, 0.1, MB), work)]


def layered(flow: Flow) -> None:
    """Layers with random edges, of eight functions that take 1 to 4 cores."""
    steps = [Step(f"f{number}", 2.0 * 1.6 ** number, 0.4, (0.2 + number) * 5 * MB, 1 + number % 4, 256 * (1 + number))
             for number in range(8)]
    before: list[int] = []
    for _ in range(14):
        layer = [flow.add(flow.draw.choice(steps), flow.draw.sample(before, min(len(before), flow.draw.randint(1, 4))) if before else ())
                 for _ in range(flow.draw.randint(8, 36))]
        before = layer


def cholesky(flow: Flow) -> None:
    """Tiles of a matrix, factorised: the critical path shrinks from wide to narrow."""
    size, tile = 11, 8 * MB
    potrf, trsm = Step("potrf", 1.0, 0.1, tile), Step("trsm", 2.0, 0.1, tile)
    syrk, gemm = Step("syrk", 2.0, 0.1, tile), Step("gemm", 3.6, 0.1, tile)
    at: dict[tuple[int, int], int] = {}
    for row in range(size):
        for column in range(row + 1):
            at[row, column] = flow.add(Step("load", 0.3, 0.2, tile))
    for k in range(size):
        at[k, k] = flow.add(potrf, [at[k, k]])
        for row in range(k + 1, size):
            at[row, k] = flow.add(trsm, [at[row, k], at[k, k]])
        for row in range(k + 1, size):
            at[row, row] = flow.add(syrk, [at[row, row], at[row, k]])
            for column in range(k + 1, row):
                at[row, column] = flow.add(gemm, [at[row, column], at[row, k], at[column, k]])


def lu(flow: Flow) -> None:
    """The same for a full matrix."""
    size, tile = 8, 8 * MB
    at = {(row, column): flow.add(Step("load", 0.3, 0.2, tile)) for row in range(size) for column in range(size)}
    for k in range(size):
        at[k, k] = flow.add(Step("getrf", 1.5, 0.1, tile), [at[k, k]])
        for each in range(k + 1, size):
            at[k, each] = flow.add(Step("solve row", 2.0, 0.1, tile), [at[k, each], at[k, k]])
            at[each, k] = flow.add(Step("solve column", 2.0, 0.1, tile), [at[each, k], at[k, k]])
        for row in range(k + 1, size):
            for column in range(k + 1, size):
                at[row, column] = flow.add(Step("update", 3.5, 0.1, tile), [at[row, column], at[row, k], at[k, column]])


def butterfly(flow: Flow) -> None:
    """A fast Fourier transform: each stage pairs parts that lie further apart."""
    width = 64
    parts = [flow.add(Step("split", 2, 0.2, 16 * MB)) for _ in range(width)]
    for stage in range(int(math.log2(width))):
        parts = [flow.add(Step("combine", 5, 0.2, 16 * MB), [parts[each], parts[each ^ (1 << stage)]]) for each in range(width)]


def stencil(flow: Flow) -> None:
    """Blocks in a row, stepped in time; each needs its neighbours."""
    width = 24
    blocks = [flow.add(Step("begin", 1, 0.2, 4 * MB)) for _ in range(width)]
    for _ in range(16):
        blocks = [flow.add(Step("advance", 4, 0.15, 4 * MB), blocks[max(0, each - 1) : each + 2]) for each in range(width)]


def pipelines(flow: Flow) -> None:
    """Lanes of sequenced reads: split, a chain of steps for each piece, merged per lane and over all."""
    chain = [Step("filter", 8, 0.5, 4 * MB), Step("convert", 2, 0.3, 3 * MB), Step("pack", 3, 0.2, MB),
             Step("align", 60, 0.6, 6 * MB, 1, 1024)]
    lanes = []
    for _ in range(5):
        split = flow.add(Step("split reads", 12, 0.3, 60 * MB))
        ends = []
        for _ in range(flow.draw.randint(8, 18)):
            at = split
            for step in chain:
                at = flow.add(step, [at])
            ends.append(at)
        lanes.append(flow.add(Step("merge lane", 15, 0.3, 50 * MB), ends))
    whole = flow.add(Step("merge all", 40, 0.1, 200 * MB, 1, 2048), lanes)
    flow.add(Step("density", 30, 0.1, 5 * MB), [flow.add(Step("index", 20, 0.1, 5 * MB), [whole])])


def tree(flow: Flow) -> None:
    """A reduction in pairs."""
    layer = [flow.add(Step("leaf", 3, 0.5, 10 * MB)) for _ in range(160)]
    while len(layer) > 1:
        layer = [flow.add(Step("add", 2, 0.3, 10 * MB), layer[each : each + 2]) for each in range(0, len(layer), 2)]


def all_pairs(flow: Flow) -> None:
    """Every item is compared with every other, and each item's comparisons are merged: broadcast inputs, many small results."""
    items = [flow.add(Step("load item", 4, 0.4, 40 * MB)) for _ in range(22)]
    against: dict[int, list[int]] = {each: [] for each in range(len(items))}
    for one in range(len(items)):
        for other in range(one):
            both = flow.add(Step("match", 5, 0.6, 100 * KB), [items[one], items[other]])
            against[one].append(both)
            against[other].append(both)
    flow.add(Step("matrix", 8, 0.1, MB), [flow.add(Step("row", 2, 0.2, 50 * KB), several) for several in against.values()])


def chain_beside_map(flow: Flow) -> None:
    """One long chain beside many tasks that do not matter: who starts the chain late has lost."""
    others = [flow.add(Step("sample", 10, 0.4, MB)) for _ in range(220)]
    at = flow.add(Step("link", 6, 0.1, 5 * MB))
    for _ in range(24):
        at = flow.add(Step("link", 6, 0.1, 5 * MB), [at])
    flow.add(Step("report", 5, 0.1, MB), [at, *others])


def sweep(flow: Flow) -> None:
    """A parameter sweep whose run times have a heavy tail."""
    runs = []
    for _ in range(300):
        tail = min(400.0, 3.0 * flow.draw.paretovariate(1.3))
        runs.append(flow.add(Step("simulate", 8, 0.0, 500 * KB), (), tail))
    best = [flow.add(Step("rank", 2, 0.2, 100 * KB), runs[each : each + 30]) for each in range(0, 300, 30)]
    flow.add(Step("choose", 1, 0.1, 10 * KB), best)


def samples(flow: Flow) -> None:
    """Chains for each sample with forks and joins in them, some steps of several cores, then a report over all."""
    trimmed, counted, checked = [], [], []
    reference = flow.add(Step("reference", 45, 0.1, 400 * MB, 2, 4096))
    for _ in range(28):
        size = math.exp(flow.draw.gauss(0.0, 0.5))           # large samples are large in every step
        fetched = flow.add(Step("fetch", 6, 0.3, 80 * MB * size), (), 6 * size)
        checked.append(flow.add(Step("check", 5, 0.2, MB), [fetched], 5 * size))
        trim = flow.add(Step("trim", 12, 0.2, 70 * MB * size, 2, 1024), [fetched], 12 * size)
        trimmed.append(flow.add(Step("check again", 5, 0.2, MB), [trim], 5 * size))
        mapped = flow.add(Step("map reads", 40, 0.2, 50 * MB * size, 4, 6000), [trim, reference], 40 * size)
        ordered = flow.add(Step("order", 10, 0.2, 50 * MB * size, 1, 2048), [mapped], 10 * size)
        counted.append(flow.add(Step("count", 8, 0.2, 2 * MB), [ordered], 8 * size))
        checked.append(flow.add(Step("coverage", 6, 0.2, MB), [ordered], 6 * size))
    matrix = flow.add(Step("counts of all", 10, 0.1, 20 * MB), counted)
    flow.add(Step("summary", 12, 0.1, 5 * MB), [matrix, *checked, *trimmed])


SHAPES: dict[str, Callable[[Flow], None]] = {
    "mosaic": mosaic, "map-reduce": map_reduce, "fork-join": fork_join, "layered": layered, "cholesky": cholesky, "lu": lu,
    "butterfly": butterfly, "stencil": stencil, "pipelines": pipelines, "tree": tree, "all-pairs": all_pairs,
    "chain-and-map": chain_beside_map, "sweep": sweep, "samples": samples,
}


def workflows(seed: int = 1) -> dict[str, list[Task]]:
    """All of them, by name."""
    found = {}
    for name, draw in SHAPES.items():
        flow = Flow(name, seed)
        draw(flow)
        found[name] = flow.tasks
    return found
