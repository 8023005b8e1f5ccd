"""Runs benchmarks by name and prints their figures as a table, and as JSON where asked for.

A figure is the median of its repetitions, with the smallest and largest beside it: machines are shared and noisy, so compare figures of
one run with each other, not with those of another day. Handoff runs with two node daemons of one worker each, over TCP with TLS, with
default settings; what is measured includes building the graph and holding the results.

Others have options and tables of their own: `bench allocators --help`, `bench decisions --help`, `bench simulated --help`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

import catalogue
import contest
from comparison import compared, worse
from figures import Effort, Figure
from surroundings import machine

TABLES = ("allocators", "decisions", "simulated")   # modules here with a `main` of their own


def main() -> int:
    """Parse, run, print."""
    if sys.argv[1:] and sys.argv[1] in TABLES:
        return int(importlib.import_module(sys.argv[1]).main(sys.argv[2:]))
    names = list(catalogue.ALL)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = f"which ones; all when left out: {', '.join(names)}; or alone, with options of its own, {', '.join(TABLES)}"
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=which)
    parser.add_argument("--repeat", type=int, help="repetitions of each (default: 5, quickly 3; fewer of what takes long)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="smaller sizes: all of them in under a minute")
    size.add_argument("--least", action="store_true", help="the smallest sizes, once: shows that they run, and nothing else")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too; - for standard output instead of the table")
    parser.add_argument("--compare", type=Path, metavar="OLD.json",
                        help="a file that --json wrote: show old, new, ratio, and what got worse")
    parser.add_argument("--peers", nargs="?", const="all", metavar="NAME,...", help="the same work on other runtimes, in turns with ours: "
                        f"{', '.join(contest.NAMES)}; those that scripts/bench-peers has installed when no names are given")
    parser.add_argument("--items", type=int, default=0, help="of the slow consumer's generator (default: 1,000,000)")
    options = parser.parse_args()
    known = names if options.peers is None else list(contest.WORKS)
    unknown = [name for name in options.benchmarks if name not in known]
    if unknown:
        others = known if options.peers is not None else [*names, *TABLES]
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(others)}")
    if options.repeat is not None and options.repeat < 1:
        parser.error(f"--repeat {options.repeat}: each is measured once or more")
    old = before(options.compare, parser) if options.compare else []
    if options.json and str(options.json) != "-":     # now, and not when all is measured
        try:
            options.json.open("a").close()
        except OSError as wrong:
            parser.error(f"--json {options.json} can't be written: {wrong.strerror}")
    word = "least" if options.least else "quick" if options.quick else "full"
    effort = Effort(word, options.repeat or {"least": 1, "quick": 3, "full": 5}[word], options.items)

    figures: list[Figure] = []
    is_cut_short = False
    if options.peers is None:
        try:
            for name in options.benchmarks or names:
                print(f"{name} ...", file=sys.stderr, flush=True)
                figures += catalogue.ALL[name](effort)
        except KeyboardInterrupt:
            is_cut_short = True
            print("interrupted; this is what was measured by then", file=sys.stderr)
    else:
        try:
            chosen = contest.chosen(options.peers)
        except ValueError as wrong:
            parser.error(str(wrong))
        figures = contest.figures(chosen, options.benchmarks or list(contest.WORKS), effort)

    rows = [figure.row() for figure in figures]
    record = {"machine": machine(), "size": word, "figures": rows}
    if str(options.json) == "-":
        print(json.dumps(record, indent=1))
    else:
        show(figures)
        if options.json:
            options.json.write_text(json.dumps(record, indent=1) + "\n")
    if old:
        out = console(sys.stderr if str(options.json) == "-" else sys.stdout)
        table = compared(old, rows)
        out.print(table if table.row_count else f"none of these figures is in {options.compare}: other benchmarks, or another size")
        if table.row_count:
            out.print(f"worse than the spread: {', '.join(worse(old, rows)) or 'nothing'}")
    return 130 if is_cut_short else 0


def before(path: Path, parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """The figures of a file that --json wrote; ends the program for any other file."""
    try:
        figures: list[dict[str, Any]] = json.loads(path.read_text())["figures"]
        return [row for row in figures if {"name", "unit", "median", "smallest", "largest", "repetitions"} <= row.keys()]
    except OSError as wrong:
        parser.error(f"--compare {path} can't be read: {wrong.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError):
        parser.error(f"--compare {path} is none that --json wrote")


def console(file: TextIO | None = None) -> Console:
    """Wide enough for a table, also where the output is a file."""
    return Console(file=file, width=max(130, Console().width))


def show(figures: list[Figure]) -> None:
    """The table for people."""
    table = Table("measure", "median", "smallest", "largest", "unit", "goal")
    for figure in figures:
        three = (figure.median, min(figure.values), max(figure.values))
        cells = (f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}" for value in three)
        table.add_row(figure.name, *cells, figure.unit, figure.goal)
    console().print(table)


if __name__ == "__main__":
    sys.exit(main())
