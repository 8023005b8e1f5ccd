"""concurrent.futures.ProcessPoolExecutor with two processes. It has no graphs: the caller waits for a layer before it submits the next."""

from __future__ import annotations

import multiprocessing
import platform
import time
from concurrent.futures import ProcessPoolExecutor

from functions import advance, expect, join, nothing, step


class Runtime:
    """See serve.py."""

    version = platform.python_version()

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))

    def independent(self, tasks: int) -> float:
        """Empty tasks, all results held: each is submitted, as a graph's would be (`map` could send many as one)."""
        begin = time.perf_counter()
        values = [future.result() for future in [self.pool.submit(nothing) for _ in range(tasks)]]
        seconds = time.perf_counter() - begin
        expect(len(values), tasks)
        return seconds

    def tree(self, leaves: int) -> float:
        """A reduction in pairs, layer by layer."""
        begin = time.perf_counter()
        layer = [future.result() for future in [self.pool.submit(step, 0) for _ in range(leaves)]]
        while len(layer) > 1:
            futures = [self.pool.submit(join, *layer[at : at + 2]) for at in range(0, len(layer), 2)]
            layer = [future.result() for future in futures]
        seconds = time.perf_counter() - begin
        expect(layer[0], leaves)
        return seconds

    def chain(self, length: int) -> float:
        """Each takes the one before."""
        begin = time.perf_counter()
        value = 0
        for _ in range(length):
            value = self.pool.submit(step, value).result()
        seconds = time.perf_counter() - begin
        expect(value, length)
        return seconds

    def one(self, number: int) -> float:
        """Submit and wait."""
        begin = time.perf_counter()
        value = self.pool.submit(step, number).result()
        seconds = time.perf_counter() - begin
        expect(value, number + 1)
        return seconds

    def grid(self, width: int, steps: int, iterations: int) -> float:
        """The stencil, step by step."""
        begin = time.perf_counter()
        for _ in range(steps):
            values = [future.result() for future in [self.pool.submit(advance, iterations) for _ in range(width)]]
        seconds = time.perf_counter() - begin
        expect(len(values), width)
        return seconds

    def close(self) -> None:
        """End it."""
        self.pool.shutdown()
