"""Task Bench's 1-D stencil: in each step every point takes its own result and its neighbours' of the step before. See metg.py."""

from __future__ import annotations

import time

from cluster import warm_client
from figures import Effort, Figure
from kernel import busy
from metg import metg, stencil_inputs

import handoff
from handoff import DAG, Function

WORKERS = 2
FIRST_SECONDS = 0.0005     # of the kernel, where the search begins


def advance(iterations: int, *_: object) -> int:
    """One point in one step: what its inputs are does not matter, that they are there does."""
    return busy(iterations)


class Advance:
    """The same with a number of iterations that all its tasks share."""

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    def __call__(self, *_: object) -> int:
        """See `advance`."""
        return busy(self.iterations)


def grid(width: int, steps: int, iterations: int) -> DAG:
    """Points of all steps; number = step x width + place."""
    dag = DAG()
    code = Advance(iterations)
    for at in range(steps):
        before = (at - 1) * width
        for place in range(width):
            inputs = [before + each for each in stencil_inputs(width, place)] if at else []
            dag.add(Function(at * width + place, inputs, code=code))
    return dag


def seconds_of_grid(client: handoff.Client, width: int, steps: int, iterations: int) -> float:
    """One run, building the graph included; the last step is wanted."""
    begin = time.perf_counter()
    result = client.execute(grid(width, steps, iterations), returns=range((steps - 1) * width, steps * width))
    seconds = time.perf_counter() - begin
    if len(result.results) != width:
        raise AssertionError("the stencil gave a wrong number of results")
    return seconds


def stencil(effort: Effort) -> list[Figure]:
    """METG(50 %) of width 4 and 16, 200 steps."""
    figures = []
    steps = effort.of(200, 100, 4)
    with warm_client() as client:
        for width in effort.of((4, 16), (4, 16), (4,)):
            found = [metg(lambda iterations, width=width: seconds_of_grid(client, width, steps, iterations), width * steps, WORKERS,
                          FIRST_SECONDS) for _ in effort.times(effort.of(5, 1, 1))]
            name = f"stencil, width {width}, {steps} steps"
            figures.append(Figure(f"{name}: METG(50 %)", "us", [granularity * 1e6 for granularity, _ in found], "<= 200"))
            shortest = [min(points, key=lambda each: each.kernel) for _, points in found]
            overheads = [(each.granularity - each.kernel) * 1e6 for each in shortest]
            figures.append(Figure(f"{name}: overhead per task and worker", "us", overheads))
    return figures
