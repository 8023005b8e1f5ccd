"""Ray: one node with two CPUs, which is two worker processes; calls are remote functions, graphs are references as arguments."""

from __future__ import annotations

import time

import functions
import ray
from functions import expect
from metg import stencil_inputs


class Runtime:
    """See serve.py."""

    version = ray.__version__

    def __init__(self) -> None:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        self.nothing, self.step = ray.remote(functions.nothing), ray.remote(functions.step)
        self.join, self.advance = ray.remote(functions.join), ray.remote(functions.advance)

    def independent(self, tasks: int) -> float:
        """Empty tasks, all results held."""
        begin = time.perf_counter()
        values = ray.get([self.nothing.remote() for _ in range(tasks)])
        seconds = time.perf_counter() - begin
        expect(len(values), tasks)
        return seconds

    def tree(self, leaves: int) -> float:
        """A reduction in pairs."""
        begin = time.perf_counter()
        layer = [self.step.remote(0) for _ in range(leaves)]
        while len(layer) > 1:
            layer = [self.join.remote(*layer[at : at + 2]) for at in range(0, len(layer), 2)]
        value = ray.get(layer[0])
        seconds = time.perf_counter() - begin
        expect(value, leaves)
        return seconds

    def chain(self, length: int) -> float:
        """Each takes the one before."""
        begin = time.perf_counter()
        at = self.step.remote(0)
        for _ in range(length - 1):
            at = self.step.remote(at)
        value = ray.get(at)
        seconds = time.perf_counter() - begin
        expect(value, length)
        return seconds

    def one(self, number: int) -> float:
        """Submit and wait."""
        begin = time.perf_counter()
        value = ray.get(self.step.remote(number))
        seconds = time.perf_counter() - begin
        expect(value, number + 1)
        return seconds

    def grid(self, width: int, steps: int, iterations: int) -> float:
        """The stencil."""
        begin = time.perf_counter()
        row = [self.advance.remote(iterations) for _ in range(width)]
        for _ in range(steps - 1):
            row = [self.advance.remote(iterations, *[row[each] for each in stencil_inputs(width, place)]) for place in range(width)]
        values = ray.get(row)
        seconds = time.perf_counter() - begin
        expect(len(values), width)
        return seconds

    def close(self) -> None:
        """End it."""
        ray.shutdown()
