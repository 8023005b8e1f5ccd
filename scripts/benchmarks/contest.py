"""The same work on Handoff and on other runtimes, in turns: in each round every runtime starts, does all of the work, and is gone again.

So none is idle in the background while another is measured, and slow changes of the machine hit all alike. Each has two single-threaded
worker processes and its default settings, and gets graphs in the way that it recommends (peers/). Ratios are of the same round.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from figures import Effort, Figure
from kernel import seconds_of_one
from metg import metg
from ours import Ours
from peer import Peer

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".venv-peers"
NAMES = {"dask": "Dask", "ray": "Ray", "parsl": "Parsl", "pool": "ProcessPoolExecutor"}
WORKERS = 2
FIRST_SECONDS = 0.004


class Runtime(Protocol):
    """Who does the work: seconds that each took."""

    def ask(self, work: str, **arguments: Any) -> float:
        """Do it once."""

    def close(self) -> None:
        """Be gone."""


@dataclass(frozen=True, slots=True)
class Work:
    """One measure: what it is called, its unit, and how it is taken of a runtime."""

    name: str
    unit: str
    measure: Callable[[Runtime], float]


def works(effort: Effort) -> dict[str, Work]:
    """By the names that the command line knows."""
    tasks, leaves, length = effort.of((10_000, 4096, 2000), (2_000, 1024, 500), (50, 16, 10))
    calls, steps = effort.of((1000, 100), (300, 30), (10, 3))
    count = 2 * leaves - 1

    def granularity(width: int) -> Callable[[Runtime], float]:
        def found(runtime: Runtime) -> float:
            def once(iterations: int) -> float:
                return runtime.ask("grid", width=width, steps=steps, iterations=iterations)

            if effort.size == "least":
                return once(round(FIRST_SECONDS / seconds_of_one())) * WORKERS / (width * steps) * 1e6
            return metg(once, width * steps, WORKERS, FIRST_SECONDS)[0] * 1e6

        return found

    return {
        "throughput": Work(f"{tasks:,} independent empty tasks", "tasks/s", lambda each: tasks / each.ask("independent", tasks=tasks)),
        "tree": Work(f"tree reduction of {count:,}", "tasks/s", lambda runtime: count / runtime.ask("tree", leaves=leaves)),
        "chains": Work(f"chain of {length:,}", "us/hop", lambda runtime: runtime.ask("chain", length=length) / length * 1e6),
        "latency": Work("submit one and wait, median", "ms", lambda runtime: statistics.median(
            runtime.ask("one", number=number) for number in range(calls)) * 1e3),
        "stencil": Work(f"stencil, width 4, {steps} steps: METG(50 %)", "us", granularity(4)),
    }


WORKS = tuple(works(Effort("least")))


def chosen(names: str) -> list[str]:
    """What --peers says. Raises ValueError for a runtime that is not known, or that was asked for and is not installed."""
    if names == "all":
        return [name for name in NAMES if interpreter(name) is not None]
    wanted = names.split(",")
    for name in wanted:
        if name not in NAMES:
            raise ValueError(f"no runtime is called {name}; there are {', '.join(NAMES)}")
        if interpreter(name) is None:
            raise ValueError(f"{NAMES[name]} is not installed; scripts/bench-peers {name} does that")
    return wanted


def interpreter(name: str) -> Path | None:
    """The Python that has this runtime; None where it is not installed."""
    if name == "pool":
        return Path(sys.executable)
    found = INSTALLED / name / "bin" / "python"
    return found if found.exists() else None


def figures(names: list[str], benchmarks: list[str], effort: Effort) -> list[Figure]:
    """Each work: of all runtimes, then how many times as good Handoff is."""
    taken: dict[tuple[str, str], list[float]] = {}
    versions = {"": "Handoff"}
    chosen_works = {name: work for name, work in works(effort).items() if name in benchmarks}
    for number in effort.times(3):
        for name in ("", *names):
            print(f"round {number + 1}: {NAMES.get(name, 'Handoff')} ...", file=sys.stderr, flush=True)
            runtime: Runtime = Peer(name, interpreter(name) or Path(sys.executable)) if name else Ours()
            try:
                if name:
                    versions[name] = f"{NAMES[name]} {runtime.version}".strip()  # type: ignore[attr-defined]
                for which, work in chosen_works.items():
                    taken.setdefault((which, name), []).append(work.measure(runtime))
            finally:
                runtime.close()
    found = []
    for which, work in chosen_works.items():
        found += [Figure(f"{work.name}: {versions[name]}", work.unit, taken[which, name]) for name in ("", *names)]
        for name in names:
            pairs = list(zip(taken[which, ""], taken[which, name], strict=True))
            ratios = [ours / theirs if work.unit == "tasks/s" else theirs / ours for ours, theirs in pairs]
            found.append(Figure(f"{work.name}: Handoff, times as good as {NAMES[name]}", "ratio", ratios))
    return found
