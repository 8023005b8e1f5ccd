"""METG(50 %): the smallest task granularity at which a runtime is still half as fast as the machine. Nothing but the standard library.

As Task Bench has it: the efficiency of a run is the rate at which the kernel's iterations were done over the peak rate, and the
granularity of its tasks is wall time x workers / tasks, overheads included. The kernel gets shorter by halves until the efficiency falls
below the half; between the last two lengths it is interpolated, in logarithms. The peak rate is measured with calls of the same length on
as many processes without any runtime, just before each run, since machines that others use are not equally fast all the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from kernel import iterations_per_second, seconds_of_one

HALF = 0.5
FACTOR = 2.0
STEPS_MAX = 14        # from the first length: down to 1 / 16,000 of it
LONGEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """One run: seconds of the kernel alone (processor time), seconds per task and worker, share of the peak."""

    kernel: float
    granularity: float
    efficiency: float


def stencil_inputs(width: int, at: int) -> range:
    """Of which points of the step before a point takes the result: itself and its neighbours (three, at the ends two)."""
    return range(max(0, at - 1), min(width, at + 2))


def point(run: Callable[[int], float], tasks: int, workers: int, iterations: int, one: float) -> Point:
    """Run it once: `run` gets the iterations of each task and answers with its wall time."""
    peak = iterations_per_second(workers, iterations)
    wall = run(iterations)
    return Point(iterations * one, wall * workers / tasks, tasks * iterations / wall / peak)


def metg(run: Callable[[int], float], tasks: int, workers: int, first_seconds: float) -> tuple[float, list[Point]]:
    """Seconds, and all points that were measured. Begins with kernels of `first_seconds`: longer ones where these are not efficient yet."""
    one = seconds_of_one()
    points: list[Point] = []
    length, direction = first_seconds, 0
    for _ in range(STEPS_MAX):
        points.append(point(run, tasks, workers, max(1, round(length / one)), one))
        wanted = -1 if points[-1].efficiency >= HALF else 1     # shorter, or longer
        if direction and wanted != direction:
            break
        direction = wanted
        length *= FACTOR**direction
        if length > LONGEST_SECONDS:
            break
    points.sort(key=lambda each: each.kernel)
    return crossing(points), points


def crossing(points: list[Point]) -> float:
    """Where the efficiency is a half; points in the order of their kernels. Infinite where none is so efficient."""
    enough = [number for number, each in enumerate(points) if each.efficiency >= HALF]
    if not enough:
        return math.inf
    if not enough[0]:
        return points[0].granularity       # the smallest that was tried
    below, above = points[enough[0] - 1], points[enough[0]]
    share = (HALF - below.efficiency) / (above.efficiency - below.efficiency)
    low, high = math.log(below.granularity), math.log(above.granularity)
    return math.exp(low + share * (high - low)) if low < high else above.granularity
