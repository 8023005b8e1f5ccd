"""Writes the two small workflows beside this file: the shape of a sky mosaic, and of a map-reduce. Same seed, same files.

    python scripts/examples/workflow/generate.py
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any


class Workflow:
    """Tasks in topological order, with durations and sizes drawn around what each function usually needs."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.tasks = name, list[dict[str, Any]]()
        self._random = random.Random(seed)

    def task(self, fn: str, seconds: float, megabytes: float, inputs: list[int], cpus: int = 1, memory_mb: int = 500) -> int:
        """Add one task; its id."""
        spread = self._random.lognormvariate
        self.tasks.append(
            {
                "id": len(self.tasks),
                "fn": fn,
                "runtime_s": round(seconds * spread(0, 0.25), 3),
                "cpus": cpus,
                "memory_mb": memory_mb,
                "inputs": inputs,
                "output_bytes": int(megabytes * 1e6 * spread(0, 0.2)),
            }
        )
        return len(self.tasks) - 1

    def write(self, folder: Path) -> None:
        """As NAME.json."""
        facts = {"format": 1, "name": self.name, "source": "generate.py beside this file", "license": "Apache-2.0"}
        (folder / f"{self.name}.json").write_text(json.dumps({**facts, "tasks": self.tasks}, indent=1) + "\n")


def mosaic(tiles: int = 5) -> Workflow:
    """A grid of pictures: each is projected, neighbours are compared, one model corrects all, and they are joined."""
    flow = Workflow("mosaic", seed=1)
    project = {(x, y): flow.task("project", 12, 8, []) for x in range(tiles) for y in range(tiles)}
    differences = []
    for (x, y), picture in project.items():
        for neighbour in ((x + 1, y), (x, y + 1)):
            if neighbour in project:
                differences.append(flow.task("difference", 2, 0.4, [picture, project[neighbour]]))
    fits = flow.task("collect", 1, 0.05, differences)
    model = flow.task("model", 20, 0.05, [fits], memory_mb=1000)
    corrected = [flow.task("correct", 3, 8, [picture, model]) for picture in project.values()]
    joined = flow.task("join", 15, 60, corrected, cpus=2, memory_mb=4000)
    shrunk = flow.task("shrink", 4, 4, [joined])
    flow.task("picture", 1, 2, [shrunk])
    return flow


def map_reduce(maps: int = 40, reduces: int = 8) -> Workflow:
    """Splits are mapped, every reducer reads every map's part, and one task merges."""
    flow = Workflow("map-reduce", seed=2)
    source = flow.task("split", 2, 1, [])
    mapped = [flow.task("map", 8, 16, [source]) for _ in range(maps)]
    reduced = [flow.task("reduce", 10, 4, mapped, memory_mb=2000) for _ in range(reduces)]
    flow.task("merge", 3, 8, reduced)
    return flow


if __name__ == "__main__":
    for made in (mosaic(), map_reduce()):
        made.write(Path(__file__).parent)
        print(f"{made.name}.json: {len(made.tasks)} tasks")
