"""What tasks take of the coordinator's memory: bytes for each that waits, and for each that is done and whose run is not forgotten.

Once as the kernel sees it, of a coordinator's process whose nodes do the work; once as Python's allocator sees what the brain holds.
"""

from __future__ import annotations

import gc
import tempfile
import time
import tracemalloc
from array import array
from pathlib import Path

from cluster import local_cluster, nothing
from decisions import a_kind, program
from figures import Effort, Figure
from paper import PaperCluster
from processes import resident

import handoff
from handoff import DAG, Function
from handoff.program import Flag

WAITING, FINISHED = "<= 400", "<= 150"
POLL_SECONDS = 0.3
QUIET_SECONDS = 3.0   # by then daemons have given back what they freed: they do so after two seconds without much to do


def memory(effort: Effort) -> list[Figure]:
    """Both, in bytes per task."""
    tasks = effort.of(200_000, 50_000, 2_000)
    few = effort.of(50_000, 10_000, 2_000)
    real = [bytes_of_process(tasks) for _ in effort.times(effort.of(3, 1, 1))]
    traced = [bytes_of_brain(few) for _ in effort.times(1)]
    return [
        Figure(f"coordinator's process, {tasks:,} waiting tasks", "bytes/task", [waiting for waiting, _ in real], WAITING),
        Figure(f"coordinator's process, {tasks:,} finished tasks", "bytes/task", [finished for _, finished in real], FINISHED),
        Figure(f"coordinator's brain, {few:,} waiting tasks", "bytes/task", [waiting for waiting, _ in traced], WAITING),
        Figure(f"coordinator's brain, {few:,} finished tasks", "bytes/task", [finished for _, finished in traced], FINISHED),
    ]


def gate(path: str) -> None:
    """Ends when the file is gone."""
    while Path(path).exists():
        time.sleep(0.005)


def gated(tasks: int, path: str) -> DAG:
    """All wait for one."""
    dag = DAG()
    dag.add(Function("gate", code=gate, extra_args=[path]))
    for number in range(tasks):
        dag.add(Function(number, ["gate"], code=nothing))
    return dag


def bytes_of_process(tasks: int) -> tuple[float, float]:
    """Of a fresh coordinator that has had some tasks before: what its resident set grows by, per task."""
    with local_cluster() as (cluster, client), tempfile.NamedTemporaryFile() as file:
        pid = cluster.processes["coordinator"]
        client.execute(gated(min(tasks, 2000), f"{file.name} is not there"))
        before = settled(pid)
        run = client.start(gated(tasks, file.name))
        while not run.status().running:
            time.sleep(0.01)
        waiting = settled(pid) - before
        file.close()
        result = run.result()
        finished = settled(pid) - before
        if len(result.results) != tasks + 1:
            raise AssertionError("results are missing")
    return waiting / tasks, finished / tasks


def settled(pid: int) -> int:
    """Resident bytes, once they stay as they are."""
    last, since = resident(pid), time.monotonic()
    while time.monotonic() < since + QUIET_SECONDS:
        time.sleep(POLL_SECONDS)
        now = resident(pid)
        if now != last:
            last, since = now, time.monotonic()
    return last


def bytes_of_brain(tasks: int) -> tuple[float, float]:
    """What was allocated in Handoff's own files and is still held, program and all."""
    cluster = PaperCluster(2, is_spoken=True)
    kinds = [a_kind("gate", {"cpu": 1}), a_kind("nothing", {"cpu": 1}, Flag.OUTPUT)]
    small = program(kinds, [(0, []), *[(1, [0])] * 2000])
    cluster.forget(cluster.run(small, array("d", [1e-4]) * 2001, 10))
    large = program(kinds, [(0, []), *[(1, [0])] * tasks])
    held: list[int] = []
    tracemalloc.start()
    try:
        held.append(traced())
        cluster.run(large, array("d", [1e-4]) * (tasks + 1), 10, submitted=lambda: held.append(traced()))
        held.append(traced())
    finally:
        tracemalloc.stop()
    return (held[1] - held[0]) / tasks, (held[2] - held[0]) / tasks


def traced() -> int:
    """Bytes that were asked for in Handoff's package."""
    gc.collect()
    root = str(Path(handoff.__file__).parent)
    return sum(each.size for each in tracemalloc.take_snapshot().statistics("filename") if each.traceback[0].filename.startswith(root))
