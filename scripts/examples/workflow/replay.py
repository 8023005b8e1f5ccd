"""Replay a recorded workflow: every task is busy for its recorded runtime, scaled, and produces its recorded bytes.

    python scripts/examples/workflow/replay.py mosaic.json --scale 0.01

The file format is described in README.md beside this file. Prints the makespan beside its lower bound, the larger of the critical path
(no schedule is shorter than the longest chain) and the area (work divided by all cores), and their ratio: 1.0 would be perfect.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import handoff
from handoff import DAG
from handoff.errors import InvalidDAG


def lower_bound(dag: DAG, cores: float) -> tuple[float, float]:
    """Seconds of the critical path, and of the area: both ignore transfers and overhead, so neither can be beaten."""
    finish: dict[Any, float] = {}
    area = 0.0
    for function in dag:                                  # parents come first
        seconds = function.expected_seconds or 0.0
        finish[function.id] = max((finish[parent] for parent in function.args), default=0.0) + seconds
        area += seconds * function.cost["cpu"]
    return max(finish.values(), default=0.0), area / cores


def main() -> int:
    """Read, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a workflow file; two small ones lie beside this script")
    parser.add_argument("--scale", type=factor, default=0.01, help="seconds here per recorded second (default: %(default)s)")
    parser.add_argument("--byte-scale", type=factor, default=0.01, help="bytes here per recorded byte (default: %(default)s)")
    parser.add_argument("--nodes", type=count, default=3, help="nodes of the cluster that is started (default: %(default)s)")
    parser.add_argument("--cpus", type=count, default=4, help="cores that each declares (default: %(default)s)")
    parser.add_argument("--memory", type=count, default=64_000, help="MB that each declares (default: %(default)s)")
    parser.add_argument("--spin", action="store_true", help="burn the processor instead of sleeping")
    parser.add_argument("--coordinator", help="HOST:PORT of your own cluster, instead of starting one; give its --nodes and --cpus")
    parser.add_argument("--save", type=Path, metavar="PAGE.html", help="write what the run was like as a page of HTML")
    options = parser.parse_args()
    try:
        file = options.file if options.file.exists() else Path(__file__).parent / options.file
        dag = DAG.from_wfformat(file, scale=options.scale, byte_scale=options.byte_scale, spin=options.spin)
    except (OSError, InvalidDAG) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    if options.coordinator:
        with handoff.connect(options.coordinator) as client:
            run, makespan = timed(client, dag, options.save)
    else:
        nodes = [{"name": f"node-{n + 1}", "cpus": options.cpus, "memory": options.memory} for n in range(options.nodes)]
        with handoff.LocalCluster(nodes=nodes) as cluster, cluster.client() as client:
            run, makespan = timed(client, dag, options.save)
    path, area = lower_bound(dag, options.nodes * options.cpus)
    bound = max(path, area)
    print(f"{len(dag)} tasks, {run.bytes_moved / 1e6:.1f} MB moved between nodes")
    print(f"makespan       {makespan:8.3f} s")
    print(f"lower bound    {bound:8.3f} s   (critical path {path:.3f} s, area {area:.3f} s)")
    print(f"ratio          {makespan / bound if bound else float('nan'):8.3f}")
    return 0


def factor(text: str) -> float:
    """A number to multiply by."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def count(text: str) -> int:
    """How many of something there are."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def timed(client: handoff.Client, dag: DAG, page: Path | None) -> tuple[handoff.Run, float]:
    """The run, and the seconds from submit to the last result."""
    begin = time.perf_counter()
    run = client.start(dag, returns=sinks(dag))
    run.result()
    makespan = time.perf_counter() - begin
    if page is not None:
        run.save(page)
    return run, makespan


def sinks(dag: DAG) -> list[Any]:
    """The functions on which nothing depends: only their bytes are wanted here."""
    used = {argument for function in dag.functions.values() for argument in function.args}
    return [function for function in dag.functions if function not in used]


if __name__ == "__main__":
    sys.exit(main())
