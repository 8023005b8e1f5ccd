"""Parsl: a HighThroughputExecutor with two workers on this machine; calls are apps, graphs are futures as arguments."""

from __future__ import annotations

import os
import tempfile
import time

import functions
import parsl
from functions import expect
from metg import stencil_inputs
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider


class Runtime:
    """See serve.py."""

    version = parsl.__version__

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        paths = f"export PYTHONPATH={os.environ['PYTHONPATH']}"
        workers = HighThroughputExecutor(
            label="workers", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=1,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init=paths))
        self.loaded = parsl.load(Config(executors=[workers], strategy="none", run_dir=self.folder.name, usage_tracking=0))
        self.nothing, self.step = parsl.python_app(functions.nothing), parsl.python_app(functions.step)
        self.join, self.advance = parsl.python_app(functions.join), parsl.python_app(functions.advance)

    def independent(self, tasks: int) -> float:
        """Empty tasks, all results held."""
        begin = time.perf_counter()
        values = [future.result() for future in [self.nothing() for _ in range(tasks)]]
        seconds = time.perf_counter() - begin
        expect(len(values), tasks)
        return seconds

    def tree(self, leaves: int) -> float:
        """A reduction in pairs."""
        begin = time.perf_counter()
        layer = [self.step(0) for _ in range(leaves)]
        while len(layer) > 1:
            layer = [self.join(*layer[at : at + 2]) for at in range(0, len(layer), 2)]
        value = layer[0].result()
        seconds = time.perf_counter() - begin
        expect(value, leaves)
        return seconds

    def chain(self, length: int) -> float:
        """Each takes the one before."""
        begin = time.perf_counter()
        at = self.step(0)
        for _ in range(length - 1):
            at = self.step(at)
        value = at.result()
        seconds = time.perf_counter() - begin
        expect(value, length)
        return seconds

    def one(self, number: int) -> float:
        """Submit and wait."""
        begin = time.perf_counter()
        value = self.step(number).result()
        seconds = time.perf_counter() - begin
        expect(value, number + 1)
        return seconds

    def grid(self, width: int, steps: int, iterations: int) -> float:
        """The stencil."""
        begin = time.perf_counter()
        row = [self.advance(iterations) for _ in range(width)]
        for _ in range(steps - 1):
            row = [self.advance(iterations, *[row[each] for each in stencil_inputs(width, place)]) for place in range(width)]
        values = [future.result() for future in row]
        seconds = time.perf_counter() - begin
        expect(len(values), width)
        return seconds

    def close(self) -> None:
        """End it."""
        self.loaded.cleanup()
        parsl.clear()
        self.folder.cleanup()
