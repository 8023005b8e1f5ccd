"""What a coordinator learned is there when it is started again: durations, sizes, speeds of links; in the directory that it is told."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from daemons import environment
from witness import PATIENCE_SECONDS, until

import handoff
from handoff import DAG, Function, LocalCluster
from handoff.client.client import Client
from handoff.client.lower import lower

MIB = 1 << 20


def graph() -> DAG:
    """Ten naps, and a value of 8 MiB that goes from one node to the other."""
    dag = DAG()
    for number in range(10):
        dag.add(Function(number, code=time.sleep, extra_args=[0.05]))
    dag.add(Function("made", code=bytes, extra_args=[8 * MIB], node="a"))
    dag.add(Function("used", code=len, args=["made"], node="b"))
    return dag


def outlook(client: Client) -> dict[str, Any]:
    """What the coordinator knows; its functions by name."""
    found: dict[str, Any] = client._core.ask("outlook", kinds=lower(graph()).program.kinds).result(PATIENCE_SECONDS)
    return {**found, "functions": {each["name"]: each for each in found["functions"]}}


def written(state: Path, known: dict[str, Any]) -> bool:
    """Whether all that is known has reached the file."""
    [path] = state.glob("*/learned.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as database:
        functions = dict(database.execute("SELECT name, count FROM functions"))
        [links] = database.execute("SELECT count(*) FROM links").fetchone()
    return links == 1 and functions == {name: each["count"] for name, each in known["functions"].items()}


class Cluster:
    """A coordinator and two nodes as a user starts them."""

    def __init__(self, home: Path, log: str, *options: str, nodes: tuple[str, ...] = ("a", "b")) -> None:
        self.home, self.processes, self.log = home, [], log
        try:
            self._start(log, "handoff.coordinator", "--port", "0", *options)
            self._until(log, "coordinator.listening")
            self.address = "127.0.0.1:" + self.said(log).partition("port=")[2].split()[0]
            for name in nodes:
                offer = ("--name", name, "--cpus", "1", "--memory", "100", "--gpus", "0", "--set", "node.heartbeat_seconds=0.1")
                self._start(f"{log}-{name}", "handoff.node", "--coordinator", self.address, *offer)
                self._until(f"{log}-{name}", "node.joined")
        except BaseException:
            self.stop()
            raise

    processes: list[subprocess.Popen[bytes]]

    def _start(self, log: str, *command: str) -> None:
        with (self.home / f"{log}.log").open("wb") as file:
            self.processes.append(subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.home, env=environment(self.home), stdin=subprocess.DEVNULL,
                stdout=file, stderr=file))

    def said(self, log: str) -> str:
        """A log so far."""
        return (self.home / f"{log}.log").read_text()

    def _until(self, log: str, word: str) -> None:
        until(lambda: word in self.said(log), lambda: self.said(log))

    def client(self) -> Client:
        """A client of it."""
        return handoff.connect(self.address, secret=self.home / ".config" / "handoff" / "secret")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End all, the coordinator first."""
        for process in self.processes:
            process.send_signal(number)
            process.wait(20)


def learned(cluster: Cluster) -> dict[str, Any]:
    """Run the graph, and wait until the speed of the link was heard of."""
    with cluster.client() as client:
        assert client.execute(graph()).results["used"] == 8 * MIB
        until(lambda: outlook(client)["links"]["pairs"], lambda: str(outlook(client)))
        return outlook(client)


@pytest.mark.parametrize(("ending", "options"), [(signal.SIGTERM, ("--state", "state")), (signal.SIGKILL, ())])
def test_the_first_plan_after_a_restart_knows_what_was_learned(tmp_path: Path, ending: int, options: tuple[str, ...]) -> None:
    """Durations, sizes and links as they were before the end; an abrupt one too, for what was written before it."""
    first = Cluster(tmp_path, "first", *options, *(("--set", "scheduler.remember_seconds=0.1") if ending == signal.SIGKILL else ()))
    try:
        before = learned(first)
        if ending == signal.SIGKILL:
            until(lambda: written(tmp_path / ".local/state/handoff", before))
    finally:
        first.stop(ending)

    second = Cluster(tmp_path, "second", *options, nodes=())
    try:
        with second.client() as client:
            after = outlook(client)
        assert "memory.recalled" in second.said("second")
    finally:
        second.stop()

    assert before["functions"]["sleep"]["count"] >= 8
    assert before["functions"]["sleep"]["seconds"] == pytest.approx(0.05, rel=0.5)
    assert before["functions"]["bytes"]["nbytes"] == pytest.approx(8 * MIB, rel=0.01)
    assert after["functions"] == before["functions"]
    [[source, target, rate]] = before["links"]["pairs"]
    assert (source, target) == ("a", "b") and rate > MIB
    assert after["links"]["pairs"] == before["links"]["pairs"]


def test_a_local_cluster_keeps_what_it_is_told_to_keep(tmp_path: Path) -> None:
    """Its next life with the same directory begins with that; unasked it keeps nothing."""
    counts = []
    for state in (tmp_path, tmp_path, None):
        nodes = [{"name": "a", "cpus": 1}, {"name": "b", "cpus": 1}]
        with LocalCluster(nodes, memory=100, state=state) as cluster, cluster.client() as client:
            counts.append(outlook(client)["functions"]["sleep"]["count"])
            client.execute(graph())
    assert counts[0] == counts[2] == 0
    assert counts[1] >= 8
    assert [path.name for path in tmp_path.iterdir()] == ["local"]


def test_a_state_directory_that_can_not_be_used_stops_nobody(tmp_path: Path) -> None:
    """One line says so, and everything runs."""
    (tmp_path / "state").write_text("not a directory")
    cluster = Cluster(tmp_path, "log", "--state", "state")
    try:
        assert learned(cluster)["functions"]["sleep"]["count"] >= 8
    finally:
        cluster.stop()
    lines = [line for line in cluster.said("log").splitlines() if " memory." in line]
    assert len(lines) == 1 and "memory.unusable" in lines[0] and "is not kept" in lines[0]
