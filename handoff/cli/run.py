"""`handoff run MODULE:DAG`: run a graph, show how it goes, and what came of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import Repr
from typing import TYPE_CHECKING, Annotated

import typer

from handoff.cli.exits import INTERRUPTED, as_data
from handoff.cli.options import AsJson, Coordinator, SecretFile, connected, write_json, write_table
from handoff.cli.plain import names_of
from handoff.cli.progress import Display, display
from handoff.cli.target import TARGET, load_dag
from handoff.errors import ConfigError, ExecutionError, FileError, HandoffError, ResultTimeout
from handoff.graph.validate import RETRIES_MOST
from handoff.quoting import shown

if TYPE_CHECKING:
    from handoff.client.client import Client
    from handoff.client.planning.plan import Plan
    from handoff.client.result import RunResult
    from handoff.client.run import Run
    from handoff.graph.dag import DAG

LOOK_SECONDS = 0.2                    # how often progress is asked for
CANCEL_SECONDS = 10.0                 # after Ctrl-C the cluster gets this long to end the run

_short = Repr()
_short.maxstring = _short.maxother = 100


def run(  # options of a command line
    target: Annotated[str, typer.Argument(metavar="MODULE:DAG", help=TARGET)],
    coordinator: Coordinator = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
    returns: Annotated[list[str] | None, typer.Option("--returns", metavar="ID", help="Only this function's result; repeatable.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="The longest that the run may take.")] = None,
    max_retries: Annotated[int, typer.Option(min=0, max=RETRIES_MOST, help="How often a failed function is tried again.")] = 3,
    max_concurrency: Annotated[int | None, typer.Option(min=1, help="How many functions may run at once.")] = None,
    wait_for_nodes: Annotated[bool, typer.Option("--wait-for-nodes", help="Wait for a node that can, where none can.")] = False,
    weight: Annotated[float, typer.Option(help="Its share of the cluster beside other runs of the same priority.")] = 1.0,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Follow a plan; handoff plan --save FILE writes one.")] = None,
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a trace of the run for Perfetto or chrome://tracing.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the run as a page of HTML: timeline, report, graph.")] = None,
    no_output: Annotated[bool, typer.Option("--no-output", help="Do not show what functions print.")] = False,
) -> None:
    """Run a graph, on a cluster or, where none is named, on this machine.

    Functions whose ids are no strings are called as Python shows the id, in JSON, too: 7, ('x', 1); or "int 7" where another's id is "7".
    So are the keys of dicts in JSON, and a result, or a part of one, that JSON has no word for is such a text.

    \b
    Examples:
      handoff run images.py:dag
      handoff run images:build --coordinator alpha:7070 --returns collage --json
      handoff run images.py:dag --save run.html --trace trace.json
    """
    dag = load_dag(target)
    dag.validate()   # before anything is started for it
    for option, path in (("--trace", trace), ("--save", save)):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{option} {path}: there is no folder {path.parent}")
    wanted, followed_plan, names = chosen(dag, returns), _loaded(plan), names_of(dag.functions)
    with cluster(coordinator, secret_file) as client, display(sys.stderr) as shown:
        try:
            started = client.start(
                dag, returns=wanted, timeout=timeout, max_retries=max_retries, max_concurrency=max_concurrency,
                wait_for_nodes=wait_for_nodes, weight=weight, plan=followed_plan, output=False if no_output else shown.printed,
            )
            try:
                result = followed(started, shown)
            except (ExecutionError, KeyboardInterrupt):
                try:      # what it was like is of use now, too
                    _tell(started, trace, save)
                except HandoffError as wrong:
                    shown.note(f"{type(wrong).__name__}: {wrong}")
                raise
            _tell(started, trace, save)
            data = {
                "run_id": result.run_id, "dag_id": result.dag_id, "bytes_moved": result.bytes_moved,
                "results": {names[each]: value for each, value in result.results.items()},
                "allocations": {names[each]: node for each, node in result.allocations.items()},
            } if as_json else None
            rows = [] if as_json else list(_rows(result, names))
        except ExecutionError as error:
            if as_json:
                write_json({"error": as_data(error, names)})
            raise
    if as_json:
        write_json(data)
        return
    write_table(("function", "node", "result"), rows)


def _tell(started: Run, trace: Path | None, save: Path | None) -> None:
    """Write what it was like, where that was asked for."""
    if trace is not None:
        written(lambda: started.trace(trace), "--trace")
    if save is not None:
        written(lambda: started.save(save), "--save")


def _loaded(path: Path | None) -> Plan | None:
    """The plan to follow."""
    if path is None:
        return None
    from handoff.client.planning.plan import Plan

    return Plan.load(path)


def chosen(dag: DAG, returns: list[str] | None) -> list[Hashable] | None:
    """The function ids that these words name; ids need not be strings, and are called what results are called in JSON."""
    if not returns:
        return None
    ids = {name: each for each, name in names_of(dag.functions).items()}
    for word in returns:
        if word not in ids:
            raise ConfigError(f"--returns {word}: there is no such function; the graph has {', '.join(list(ids)[:20])}")
    return [ids[word] for word in returns]


@contextmanager
def cluster(coordinator: str | None, secret_file: os.PathLike[str] | None) -> Iterator[Client]:
    """The cluster that is named, or one of this machine's own that ends with the command."""
    if coordinator is not None:
        with connected(coordinator, secret_file) as client:  # type: ignore[arg-type]
            yield client
    else:
        from handoff.local import LocalCluster

        with LocalCluster() as local, local.client() as client:
            yield client


def written(write: Callable[[], None], option: str) -> None:
    """Write a file; ConfigError when it can't be."""
    try:
        write()
    except FileError as error:
        raise ConfigError(f"{option}: {error}") from None


def followed(started: Run, shown: Display) -> RunResult:
    """Wait for the end. The first Ctrl-C cancels the run and waits until it is over; the second ends this program at once."""
    try:
        while True:
            try:
                return started.result(timeout=LOOK_SECONDS)
            except ResultTimeout:
                shown.update(started.status())
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        shown.note("cancelling the run; once more to leave now")
        started.cancel()
        try:
            started.result(timeout=CANCEL_SECONDS)
        except HandoffError as error:
            shown.note(f"{type(error).__name__}: {error}")
        raise


def _rows(result: RunResult, names: Mapping[Hashable, str]) -> Iterator[tuple[str, str, str]]:
    for each, value in result.results.items():
        yield names[each], result.allocations.get(each, ""), shown(value, _short.repr)
