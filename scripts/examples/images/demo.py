"""The main job on a cluster of its own: a coordinator and three node daemons with different capacities, live progress, then the story.

Run by `scripts/demo`. Writes the collage to the file that `--output` names (collage.png by default). Exit status 0 when all went well.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import handoff

sys.path.insert(0, str(Path(__file__).parent))  # the workers of a LocalCluster find `images` there too

from images import images

NODES = [
    {"name": "big", "cpus": 4, "memory": "8 GB"},
    {"name": "small", "cpus": 2, "memory": "4 GB"},
    {"name": "gpu-box", "cpus": 4, "memory": "8 GB", "gpus": 1},
]


def main() -> int:
    """Start the cluster, run the graph, show what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("collage.png"), help="where the collage goes (default: %(default)s)")
    output: Path = parser.parse_args().output
    if output.is_dir() or not output.parent.is_dir():
        parser.error(f"--output {output}: " + ("that is a folder" if output.is_dir() else f"there is no folder {output.parent}"))
    console = Console()
    dag = images()

    console.print(f"Starting a coordinator and {len(NODES)} nodes on this machine, TLS between all of them ...")
    with handoff.LocalCluster(nodes=NODES) as cluster, cluster.client() as client:
        for node in client.nodes():
            console.print(f"  {node.name:8} {node.address}  process {node.pid}  {dict(node.capacity)}")
        run = client.start(dag)
        columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("images", total=len(dag))
            for function, _ in run.as_completed():
                progress.update(bar, advance=1, description=str(function))
        result = run.result(timeout=60)
        show(console, run, result)
        output.write_bytes(result.results["save"])
    console.print(f"The collage is in {output.resolve()}")
    return 0


def show(console: Console, run: handoff.Run, result: handoff.RunResult) -> None:
    """What ran where, when and for how long; then the quality report; then the bytes that moved."""
    table = Table("function", "node", "started s", "took ms", "result kB", title="What ran where")
    for record in sorted(run.timeline(), key=lambda record: record.started):
        took, size = f"{record.seconds * 1e3:.1f}", f"{record.nbytes / 1e3:.1f}"
        table.add_row(str(record.function), record.node, f"{record.started:.3f}", took, size)
    console.print(table)

    table = Table("picture", "sharpness", "noise", "exposure", title="Quality of the effects")
    for function, report in result.results.items():
        if str(function).startswith("quality"):
            for picture, numbers in report.items():
                table.add_row(picture, f"{numbers['sharpness']:.1f}", f"{numbers['noise']:.2f}", f"{numbers['exposure']:.2f}")
    console.print(table)
    console.print(f"Moved between nodes: {run.bytes_moved / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
