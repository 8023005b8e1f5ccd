"""`handoff`: the command line. One line on stderr for what goes wrong, and an exit status that says which kind of wrong."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from handoff.cli import cluster, node, secret
from handoff.cli.exits import INTERRUPTED, OK, USAGE, explained, status_of
from handoff.cli.plan import plan
from handoff.cli.run import run
from handoff.errors import HandoffError
from handoff.files import open_streams
from handoff.service import step_aside
from handoff.version import VERSION

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

OUTPUT_ERRORS = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})   # all else has words of its own


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"handoff {VERSION}")
        raise typer.Exit


@app.callback()
def handoff(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Run graphs of Python functions across machines.

    \b
    One machine, nothing started:   handoff run images.py:dag
    More machines:                  handoff coordinator --host 0.0.0.0          on one of them
                                    handoff-node --coordinator alpha:7070       on each; one secret file copied
                                    handoff run images.py:dag --coordinator alpha:7070

    \b
    Exit status: 0 good, 1 the run failed, 2 wrong usage or settings, 3 no way to the cluster, 130 interrupted.
    """


# The daemon has its own parser, which starts without this one: what stands behind the command's name goes there as it is.
@app.command(
    name="coordinator", add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def coordinator(context: typer.Context) -> None:
    """Start a coordinator; see `handoff coordinator --help`."""
    from handoff.coordinator.__main__ import main as start

    raise typer.Exit(start(context.args))


app.command("run")(run)
app.command("plan")(plan)
app.command("nodes")(cluster.nodes)
app.command("status")(cluster.status)
app.command("cancel")(cluster.cancel)
app.add_typer(secret.app, name="secret")

nodes_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Nodes: what this machine would offer, how one leaves; `handoff-node` starts one.",
)
nodes_app.command("detect")(node.detect)
nodes_app.command("drain")(cluster.drain)
app.add_typer(nodes_app, name="node")


def command(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    try:
        said: Any = app(args=arguments, prog_name="handoff", standalone_mode=False)
        status = said if isinstance(said, int) else OK
        if status == INTERRUPTED:   # newer parsers catch the interrupt themselves
            print("interrupted", file=sys.stderr)
        sys.stdout.flush()   # here, where it is known what to say if that fails
        return status
    except HandoffError as error:
        print(explained(error), file=sys.stderr)
        return status_of(error)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in OUTPUT_ERRORS:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)   # where the rest goes, which is still to be flushed
        if isinstance(error, BrokenPipeError):         # whoever read our output has seen enough
            return OK
        print(f"handoff: the output can't be written: {error.strerror}", file=sys.stderr)
        return USAGE
    except Exception as error:
        # The parser's own errors; their class moved between its versions, what it offers did not.
        if not hasattr(error, "format_message"):
            raise
        text = error.format_message()
        is_help = text.startswith("Usage:")   # for a command that does nothing without arguments
        print(text if is_help else f"handoff: {text} (see handoff --help)" if text else "", file=sys.stderr)
        return USAGE


def main() -> None:
    """The entry point of `handoff`. What stdout's encoding has no sign for is written as \\x.., as it is on stderr anyway."""
    open_streams()
    step_aside()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(command())


if __name__ == "__main__":
    main()
