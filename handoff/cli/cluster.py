"""`handoff nodes`, `handoff status`, `handoff cancel`, `handoff node drain`: what a cluster has and does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from handoff.cli.options import AsJson, Coordinator, SecretFile, connected, write_json, write_table
from handoff.client.nodes import RunInfo
from handoff.errors import ConfigError

GOING_ON = ("running", "waiting")   # the states of runs that are not over
SHOWN_MAX = 20                      # of the runs that there are instead of one that is not there


def nodes(coordinator: Coordinator = None, secret_file: SecretFile = None, as_json: AsJson = False) -> None:
    """List the nodes of a cluster: what each offers, and what is free now.

    \b
    Example:
      handoff nodes --coordinator alpha:7070
    """
    with connected(coordinator, secret_file) as client:
        found = client.nodes()
    if as_json:
        write_json([asdict(each) for each in found])
        return
    write_table(("node", "address", "state", "capacity", "free", "running#", "queued#", "labels"), [
        (each.name, each.address, each.state, _amounts(each.capacity), _amounts(each.free), str(each.running), str(each.queued),
         " ".join(f"{key}={value}" for key, value in each.labels.items()))
        for each in found
    ])


def status(
    run: Annotated[int | None, typer.Argument(metavar="[RUN]", help="A run's number; all runs without it.")] = None,
    coordinator: Coordinator = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the runs of a cluster, and how far they are; single calls of one client, where they are several, in one line for each state.

    \b
    Example:
      handoff status 7 --coordinator alpha:7070
    """
    with connected(coordinator, secret_file) as client:
        found = client.runs()
    if run is not None:
        present = [each.run for each in found]
        found = [each for each in found if each.run == run]
        if not found:
            raise _no_run(run, present)
    if as_json:
        write_json([asdict(each) for each in found])
        return
    rows = []
    for runs in _gathered(found):
        first, last = runs[0], runs[-1]
        number = f"{first.run}-{last.run}" if len(runs) > 1 else str(first.run)
        rows.append((
            number, _name(runs), first.state, str(sum(each.done for each in runs)), str(sum(each.total for each in runs)),
            f"{max(each.seconds for each in runs):.1f}", first.client, next((each.waits_for for each in runs if each.waits_for), "")))
    write_table(("run#", "name", "state", "done#", "total#", "seconds#", "client", "waits for"), rows)


def cancel(
    run: Annotated[int, typer.Argument(metavar="RUN", help="The run's number; see `handoff status`.")],
    coordinator: Coordinator = None,
    secret_file: SecretFile = None,
) -> None:
    """End a run now, the functions that are running included.

    \b
    Example:
      handoff cancel 7 --coordinator alpha:7070
    """
    with connected(coordinator, secret_file) as client:
        states = {each.run: each.state for each in client.runs()}
        if run not in states:
            raise _no_run(run, list(states))
        if states[run] not in GOING_ON:
            raise ConfigError(f"run {run} can't be cancelled: it is over, its state is {states[run]!r}")
        client.cancel(run)
    typer.echo(f"run {run} is cancelled")


def drain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The node's name; see `handoff nodes`.")],
    seconds: Annotated[float | None, typer.Option(help="It goes after so long at the latest (default: scheduler.drain_seconds).")] = None,
    coordinator: Coordinator = None,
    secret_file: SecretFile = None,
) -> None:
    """Have a node leave a cluster in order: it gets no new work, and goes when nobody needs its results.

    Results are needed until their run is forgotten, also those of runs that are over and held by a client. What is left on the node when
    its time is over is made again elsewhere, if it is asked for.

    \b
    Example:
      handoff node drain beta --coordinator alpha:7070
    """
    with connected(coordinator, secret_file) as client:
        client.drain(name, seconds)
    limit = f"after {seconds:g} s" if seconds is not None else "after the coordinator's scheduler.drain_seconds"
    typer.echo(f"node {name!r} drains; it leaves when no run needs it or its results any more, or {limit}")


def _gathered(found: list[RunInfo]) -> list[list[RunInfo]]:
    """What is shown in one line: a run, or all single calls of one client in one state, where the first of them is."""
    lines: dict[tuple[object, ...], list[RunInfo]] = {}
    for each in found:
        lines.setdefault((each.client, each.state) if each.is_call else (each.run,), []).append(each)
    return list(lines.values())


def _name(runs: list[RunInfo]) -> str:
    """Of one line."""
    if len(runs) == 1:
        return runs[0].name
    names = dict.fromkeys(each.name for each in runs)
    return f"{len(runs):,} calls" + (f" of {next(iter(names))}" if len(names) == 1 else "")


def _no_run(run: int, present: list[int]) -> ConfigError:
    more = f"the last {SHOWN_MAX} of {len(present)} runs that are here" if len(present) > SHOWN_MAX else "runs that are here"
    return ConfigError(f"there is no run {run}; {more}: {', '.join(map(str, sorted(present)[-SHOWN_MAX:])) or 'none'}")


def _amounts(amounts: Mapping[str, float]) -> str:
    return " ".join(f"{name}={amount:g}" if amount < 1e6 else f"{name}={amount:.0f}" for name, amount in amounts.items())
