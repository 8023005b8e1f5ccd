"""Runs benchmarks by name and prints their figures as a table, and as JSON where asked for.

Each benchmark is a function of `measures.py` that yields figures. A figure is the median of its repetitions, with the smallest and largest
beside it: machines are shared and noisy, so compare figures of one run with each other, not with those of another day.

Others have options and tables of their own: `bench allocators --help`, `bench decisions --help`, `bench simulated --help`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

import measures
from figures import Figure

TABLES = ("allocators", "decisions", "simulated")   # modules here with a `main` of their own


def main() -> int:
    """Parse, run, print."""
    if sys.argv[1:] and sys.argv[1] in TABLES:
        return int(importlib.import_module(sys.argv[1]).main(sys.argv[2:]))
    names = list(measures.ALL)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = f"which ones; all when left out: {', '.join(names)}; or alone, with options of its own, {', '.join(TABLES)}"
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=which)
    parser.add_argument("--repeat", type=int, default=5, help="repetitions of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too; - for standard output instead of the table")
    parser.add_argument("--compare", type=Path, help="a file that --json wrote: show the ratio to its figures")
    options = parser.parse_args()
    unknown = [name for name in options.benchmarks if name not in names]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join((*names, *TABLES))}")
    old = {row["name"]: row["median"] for row in json.loads(options.compare.read_text())["figures"]} if options.compare else {}

    figures: list[Figure] = []
    for name in options.benchmarks or names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures += measures.ALL[name](options.repeat)

    record = {"machine": machine(), "figures": [row(figure) for figure in figures]}
    if str(options.json) == "-":
        print(json.dumps(record, indent=1))
        return 0
    show(figures, old)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def machine() -> dict[str, Any]:
    """What these figures were taken on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def row(figure: Figure) -> dict[str, Any]:
    """A figure for a JSON file."""
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": statistics.median(figure.values),
        "smallest": min(figure.values),
        "largest": max(figure.values),
        "repetitions": len(figure.values),
        "goal": figure.goal,
    }


def show(figures: list[Figure], old: dict[str, float]) -> None:
    """The table for people."""
    table = Table("measure", "median", "smallest", "largest", "unit", "goal", *(["ratio to old"] if old else []))
    for figure in figures:
        values = sorted(figure.values)
        middle = statistics.median(values)
        cells = [figure.name, f"{middle:,.4g}", f"{values[0]:,.4g}", f"{values[-1]:,.4g}", figure.unit, figure.goal]
        if old:
            cells.append(f"{middle / old[figure.name]:.2f}" if old.get(figure.name) else "")
        table.add_row(*cells)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
