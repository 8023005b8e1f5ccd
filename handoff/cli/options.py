"""Options that several commands share, and how they reach a cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handoff.cli.plain import plain

if TYPE_CHECKING:
    from rich.table import Table

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


def table(*columns: str) -> Table:
    """An empty one; numbers to the right."""
    from rich.table import Table

    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column.removesuffix("#"), justify="right" if column.endswith("#") else "left", overflow="fold")
    return made


def write_table(made: Table) -> None:
    """To stdout; as wide as it needs to be where nobody's screen sets the width."""
    from rich.console import Console

    console = Console(soft_wrap=False, markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(width=500, markup=False, highlight=False)
    console.print(made)
