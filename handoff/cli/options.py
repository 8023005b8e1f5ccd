"""Options that several commands share, and how they reach a cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handoff.cli.plain import plain

if TYPE_CHECKING:
    from handoff.client.client import Client

Coordinator = Annotated[
    str | None,
    typer.Option("--coordinator", metavar="HOST:PORT", envvar="HANDOFF_COORDINATOR", help="Where the coordinator is.", show_envvar=True),
]
SecretFile = Annotated[
    Path | None, typer.Option("--secret-file", metavar="PATH", help="The cluster's secret (default: ~/.config/handoff/secret).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]


def connected(coordinator: str | None, secret_file: Path | None) -> Client:
    """A client of the cluster that the options name."""
    import handoff

    return handoff.connect(coordinator, secret=secret_file)


def write_json(data: Any) -> None:
    """To stdout, on lines of their own, all of it or nothing; what JSON has no word for is written as Python shows it."""
    sys.stdout.write(json.dumps(plain(data), indent=2, allow_nan=False) + "\n")


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """To stdout; columns named with # are numbers. As wide as it needs to be where nobody's screen sets the width.

    Others chose the names in it: whatever these are, a terminal is shown letters, and told nothing.
    """
    from rich.console import Console
    from rich.table import Table

    from handoff.client.story.tables import clean

    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column.removesuffix("#"), justify="right" if column.endswith("#") else "left", overflow="fold")
    for row in rows:
        made.add_row(*("\n".join(map(clean, cell.split("\n"))) for cell in row))
    console = Console(soft_wrap=False, markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(width=500, markup=False, highlight=False)
    console.print(made)
