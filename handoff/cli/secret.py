"""`handoff secret`: make, look at and check the secret that says who belongs to a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handoff.cli.options import SecretFile
from handoff.trust import secret as secrets

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="The cluster's secret. Whoever has it can run code on every node: copy it with scp, never by mail or chat.",
)


@app.command()
def new(
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="The file to write (default: ~/.config/handoff/secret).")] = None,
) -> None:
    """Make a new secret in a file that only you can read. A file that is there already is never overwritten.

    \b
    Example:
      handoff secret new
    """
    place = path if path is not None else secrets.default_path()
    made = secrets.create_file(place, secrets.generate())
    typer.echo(f"{place}: the secret of cluster {made.cluster_id}; copy this file to each machine of the cluster")


@app.command()
def show(
    secret_file: SecretFile = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Write the secret itself, and nothing else.")] = False,
) -> None:
    """Show which secret is used here, where it comes from, and the id of its cluster.

    \b
    Example:
      handoff secret show
    """
    found = secrets.find(secret_file)
    if reveal:
        typer.echo(found.text, nl=False)
        return
    typer.echo(f"source:  {found.source}")
    typer.echo(f"cluster: {found.cluster_id}")
    if len(found.keys) > 1:
        typer.echo("it holds two secrets: the first makes certificates, both are trusted")


@app.command()
def check(path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="The file; what is used here without it.")] = None) -> None:
    """Check that a secret is whole, yours, and unreadable for others. Says what to do when it is not.

    \b
    Example:
      handoff secret check /media/stick/secret
    """
    found = secrets.find(path)
    typer.echo(f"{found.source} is good: cluster {found.cluster_id}")
