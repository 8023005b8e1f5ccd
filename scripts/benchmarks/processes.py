"""What processes use, as the kernel counts it; the benchmarks of starting and of doing nothing; and what slow readers make others hold."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from cluster import local_cluster, nothing
from figures import Effort, Figure

import handoff

MB = 1e6


def processor_seconds(pid: int) -> float:
    """Of all its threads that live, in nanoseconds' steps (the usual counters go by hundredths of a second)."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def resident(pid: int, peak: bool = False) -> int:
    """Bytes of memory that it holds, or the most since `forget_peak`."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(wanted))
    return int(line.split()[1]) * 1024


def private(pid: int) -> int:
    """Bytes of memory that it alone holds, as a copy of something: neither files nor what it maps together with others."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def forget_peak(pid: int) -> None:
    """Peaks are counted from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def workers_of(pid: int) -> list[int]:
    """The worker processes of a node daemon."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


# ── starting ────────────────────────────────────────────────────────────────


def startup(effort: Effort) -> list[Figure]:
    """Seconds of a fresh interpreter: importing handoff, and up to the first result of `handoff.execute` on an embedded cluster."""
    importing = "import time; t = time.perf_counter(); import handoff; print(time.perf_counter() - t)"
    executing = (
        "import time; t = time.perf_counter(); import handoff; d = handoff.DAG(); d.call(abs, -1, id='one');"
        "assert handoff.execute(d).results['one'] == 1; print(time.perf_counter() - t)"
    )
    return [
        Figure("import handoff", "s", [seconds_printed(importing) for _ in range(effort.repeat)], "<= 0.15"),
        Figure("import to first result of handoff.execute", "s", [seconds_printed(executing) for _ in range(effort.repeat)], "<= 0.5"),
    ]


def seconds_printed(program: str) -> float:
    """What the program measured."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    return float(done.stdout)


# ── doing nothing ───────────────────────────────────────────────────────────


def idle(effort: Effort) -> list[Figure]:
    """Processor share and memory of daemons that have worked before and have nothing to do; a client stays connected."""
    seconds = effort.of(20.0, 5.0, 0.2)
    with local_cluster() as (cluster, _):
        time.sleep(effort.of(2.0, 1.0, 0.0))       # what follows on the last run is over
        pids = {name: [pid] for name, pid in cluster.processes.items()}
        for name, found in list(pids.items()):
            if name != "coordinator":
                pids[f"{name}'s worker"] = workers_of(found[0])
        before = {name: sum(map(processor_seconds, found)) for name, found in pids.items()}
        begin = time.perf_counter()
        time.sleep(seconds)
        passed = time.perf_counter() - begin
        shares = {name: (sum(map(processor_seconds, found)) - before[name]) / passed * 100 for name, found in pids.items()}
        held = {name: sum(map(resident, found)) / MB for name, found in pids.items()}
    figures = []
    workers = [name for name in pids if name.endswith("worker")]
    daemons = [name for name in pids if name not in ("coordinator", *workers)]
    kinds = {"coordinator": ["coordinator"], "node daemon": daemons, "worker": workers}
    for what, names in kinds.items():
        share_goal, memory_goal = ("", "") if what == "worker" else ("< 0.3", "<= 60")
        figures.append(Figure(f"idle {what}, of a core", "%", [shares[name] for name in names], share_goal))
        figures.append(Figure(f"idle {what}, resident", "MB", [held[name] for name in names], memory_goal))
    return figures


# ── a slow reader ───────────────────────────────────────────────────────────

PAUSE_EVERY, PAUSE_SECONDS = 1000, 0.005    # the reader rests: half as fast as tasks could come, or less


class Counted:
    """A generator's items, counted as they are taken."""

    def __init__(self, items: int) -> None:
        self.items, self.taken = items, 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.items):
            self.taken += 1
            yield number


def slow(effort: Effort) -> list[Figure]:
    """Items of a generator through `client.map`, read slowly: how many are on their way at most, and what each process grows by."""
    items = effort.items or effort.of(1_000_000, 60_000, 9_000)
    with local_cluster() as (cluster, client):
        pids = {"client": psutil.Process().pid, **cluster.processes}
        read_slowly(client, Counted(min(items, 20_000)))     # everything is as large as a few windows make it
        before = {name: resident(pid) for name, pid in pids.items()}
        for pid in pids.values():
            forget_peak(pid)
        begin = time.perf_counter()
        held = read_slowly(client, Counted(items))
        seconds = time.perf_counter() - begin
        grown = {name: (resident(pid, peak=True) - before[name]) / MB for name, pid in pids.items()}
    name = f"slow reader of {items:,} items"
    nodes = [size for which, size in grown.items() if which.startswith("node-")]
    return [
        Figure(f"{name}, taken and not read, at most", "items", [held]),
        Figure(f"{name}, client grows by", "MB", [grown["client"]]),
        Figure(f"{name}, coordinator grows by", "MB", [grown["coordinator"]]),
        Figure(f"{name}, node daemon grows by", "MB", nodes),
        Figure(f"{name}, reading rate", "tasks/s", [items / seconds]),
    ]


def read_slowly(client: handoff.Client, source: Counted) -> int:
    """Read all, resting; the most items that were taken from the generator and not read."""
    most = read = 0
    for _ in client.map(nothing, source):
        read += 1
        most = max(most, source.taken - read)
        if read % PAUSE_EVERY == 0:
            time.sleep(PAUSE_SECONDS)
    if read != source.items:
        raise AssertionError(f"{read} of {source.items} items came")
    return most
