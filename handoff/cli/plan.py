"""`handoff plan MODULE:DAG`: where and when each function would run; nothing runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from handoff.cli.options import AsJson, Coordinator, SecretFile, write_json
from handoff.cli.plain import names_of
from handoff.cli.run import chosen, cluster, written
from handoff.cli.target import TARGET, load_dag
from handoff.errors import ConfigError


def plan(  # options of a command line
    target: Annotated[str, typer.Argument(metavar="MODULE:DAG", help=TARGET)],
    coordinator: Coordinator = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
    returns: Annotated[list[str] | None, typer.Option("--returns", metavar="ID", help="Only this function's result; repeatable.")] = None,
    max_concurrency: Annotated[int | None, typer.Option(min=1, help="How many functions may run at once.")] = None,
    allocator: Annotated[str | None, typer.Option(
        metavar="NAME", help="greedy, first-fit, round-robin or heft (default: the cluster's own).")] = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the plan, for Plan.load(FILE).")] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Write it as a Mermaid flowchart.")] = False,
) -> None:
    """Show where and when each function of a graph would run, without running any.

    \b
    Examples:
      handoff plan images.py:dag --coordinator alpha:7070
      handoff plan images:build --json --save plan.json
    """
    if mermaid and as_json:
        raise ConfigError("--mermaid and --json: the plan is written as one or the other; leave one of them out")
    dag = load_dag(target)
    dag.validate()   # before anything is started for it
    if save is not None and not save.parent.is_dir():
        raise ConfigError(f"--save {save}: there is no folder {save.parent}")
    with cluster(coordinator, secret_file) as client:
        made = client.plan(dag, returns=chosen(dag, returns), max_concurrency=max_concurrency, allocator=allocator)
    if save is not None:
        written(lambda: made.save(save), "--save")
    if as_json:
        names = names_of(dag.functions)
        write_json({
            "dag_id": made.name, "makespan": made.makespan, "lower_bound": made.lower_bound, "bytes_moved": made.bytes_moved,
            "allocator": made.allocator, "notes": list(made.notes), "unknown": list(made.unknown), "peak_memory": dict(made.peak_memory),
            "allocations": {names[each]: node for each, node in made.allocations.items()},
            "critical_path": [
                {**asdict(leg), "name": names.get(made.basis.ids[leg.task], leg.name)} for leg in made.critical_path
            ],
            "timeline": [{**asdict(record), "function": names.get(record.function, str(record.function))} for record in made.timeline],
        })
    else:
        typer.echo(made.to_mermaid() if mermaid else str(made))
