"""Dask: two single-threaded worker processes of a LocalCluster; independent calls as `client.map`, graphs as `dask.delayed`."""

from __future__ import annotations

import time

import distributed
from dask import delayed
from functions import advance, expect, join, nothing, step
from metg import stencil_inputs


class Runtime:
    """See serve.py."""

    version = distributed.__version__

    def __init__(self) -> None:
        self.cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
        self.client = distributed.Client(self.cluster)

    def independent(self, tasks: int) -> float:
        """Empty tasks, all results held."""
        begin = time.perf_counter()
        values = self.client.gather(self.client.map(nothing, range(tasks), pure=False))
        seconds = time.perf_counter() - begin
        expect(len(values), tasks)
        return seconds

    def tree(self, leaves: int) -> float:
        """A reduction in pairs."""
        begin = time.perf_counter()
        layer = [delayed(step, pure=False)(0) for _ in range(leaves)]
        while len(layer) > 1:
            layer = [delayed(join, pure=False)(*layer[at : at + 2]) for at in range(0, len(layer), 2)]
        value = self.client.compute(layer[0]).result()
        seconds = time.perf_counter() - begin
        expect(value, leaves)
        return seconds

    def chain(self, length: int) -> float:
        """Each takes the one before."""
        begin = time.perf_counter()
        at = delayed(step, pure=False)(0)
        for _ in range(length - 1):
            at = delayed(step, pure=False)(at)
        value = self.client.compute(at).result()
        seconds = time.perf_counter() - begin
        expect(value, length)
        return seconds

    def one(self, number: int) -> float:
        """Submit and wait."""
        begin = time.perf_counter()
        value = self.client.submit(step, number, pure=False).result()
        seconds = time.perf_counter() - begin
        expect(value, number + 1)
        return seconds

    def grid(self, width: int, steps: int, iterations: int) -> float:
        """The stencil."""
        begin = time.perf_counter()
        work = delayed(advance, pure=False)
        row = [work(iterations) for _ in range(width)]
        for _ in range(steps - 1):
            row = [work(iterations, *[row[each] for each in stencil_inputs(width, place)]) for place in range(width)]
        values = self.client.gather(self.client.compute(row))
        seconds = time.perf_counter() - begin
        expect(len(values), width)
        return seconds

    def close(self) -> None:
        """End it."""
        self.client.close()
        self.cluster.close()
