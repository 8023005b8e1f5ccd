"""Work that keeps a processor busy for a time that one can choose, the same for every runtime. Nothing but the standard library."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

PROBE = 200_000      # iterations of which the time of one is worked out
SPAN_SECONDS = 0.15  # how long the peak rate is looked at


def busy(iterations: int) -> int:
    """The compute kernel: so many rounds of integer arithmetic."""
    value = 1
    for _ in range(iterations):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    return value


def seconds_of_one() -> float:
    """Processor time of one iteration: the least of several looks, since interruptions only ever add."""
    best = float("inf")
    for _ in range(5):
        begin = time.process_time()
        busy(PROBE)
        best = min(best, time.process_time() - begin)
    return best / PROBE


def iterations_per_second(workers: int, iterations: int, begin: Callable[[int], object] = busy) -> float:
    """What so many processes reach together with calls of this length, without any runtime: the peak rate of this moment."""
    readings, pids = [], []
    for _ in range(workers):
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                done, start = 0, time.perf_counter()
                while (spent := time.perf_counter() - start) < SPAN_SECONDS:
                    begin(iterations)
                    done += iterations
                os.write(writing, f"{done / spent}".encode())
            finally:
                os._exit(0)
        os.close(writing)
        readings.append(reading)
        pids.append(pid)
    total = 0.0
    for reading, pid in zip(readings, pids, strict=True):
        with os.fdopen(reading) as pipe:
            total += float(pipe.read())
        os.waitpid(pid, 0)
    return total
