"""Nodes that leave in order, in the middle of a run: nothing is lost with them, and nothing is done twice for them."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from daemons import House
from witness import Diary, cluster_with, step, until

import handoff
from handoff import DAG, Function, LocalCluster, aio, errors


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Daemons with logs, which find the functions of these tests: alpha with two cores, beta with one."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]))
    made = House(tmp_path, "", "20")
    yield made
    made.stop()


def fan(diary: Diary, gate: Path, width: int) -> DAG:
    """Tasks that hold their cores until the gate opens, each with one that takes its result."""
    dag = DAG()
    for number in range(width):
        dag.add(Function(f"hold {number}", code=step, extra_args=[diary.path, f"hold {number}"], extra_kwargs={"gate": str(gate)}))
        dag.add(Function(f"take {number}", args=[f"hold {number}"], code=_take, extra_args=[diary.path, f"take {number}"]))
    return dag


def _take(held: str, diary: str, word: str) -> str:
    return step(diary, word, held)


def states(client: handoff.Client) -> dict[str, str]:
    """Of all nodes that are there."""
    return {node.name: node.state for node in client.nodes()}


def test_a_node_that_a_client_drains_in_mid_run_costs_nothing(diary: Diary, tmp_path: Path) -> None:
    """What it runs ends there, what it has not begun runs elsewhere, each once; then it is gone, by itself."""
    gate = tmp_path / "gate"
    with cluster_with([{"name": "stays", "cpus": 1}, {"name": "goes", "cpus": 1}]) as cluster, cluster.client() as client:
        run = client.start(fan(diary, gate, 6))
        until(lambda: len(diary.lines()) == 2, "one on each node")
        goes = cluster.processes["goes"]
        client.drain("goes")
        assert states(client) == {"stays": "ready", "goes": "draining"}
        gate.touch()

        results = run.result(timeout=30)

        assert {results[f"take {number}"] for number in range(6)} == {f"take {number}hold {number}" for number in range(6)}
        assert set(diary.counts().values()) == {1}
        assert [results.allocations[f"hold {number}"] for number in range(6)].count("goes") == 1
        del run, results
        gc.collect()
        until(lambda: states(client) == {"stays": "ready"}, "it has left")
        until(lambda: not psutil.pid_exists(goes) or psutil.Process(goes).status() == psutil.STATUS_ZOMBIE, "its process has ended")
        cluster.add_node("goes", cpus=1)
        assert states(client) == {"stays": "ready", "goes": "ready"}


@pytest.mark.parametrize("by", ["SIGTERM", "a client"])
def test_a_node_daemon_that_is_told_to_leave_in_mid_run_does_so_in_order(house: House, diary: Diary, tmp_path: Path, by: str) -> None:
    """The run succeeds, nothing is executed twice, the daemon waits until it is not needed, and ends with status 0."""
    gate = tmp_path / "gate"
    beta = house.processes[2]
    with handoff.connect(house.address, secret=house.secret) as client:
        run = client.start(fan(diary, gate, 8))
        until(lambda: len(diary.lines()) == 3, "all three cores are held")
        if by == "SIGTERM":
            beta.send_signal(signal.SIGTERM)
        else:
            client.drain("beta")
        house.said("coordinator", "node.draining node=beta")
        until(lambda: states(client) == {"alpha": "ready", "beta": "draining"}, "it drains")
        gate.touch()

        results = run.result(timeout=30)

        assert set(diary.counts().values()) == {1}
        assert "beta" in results.allocations.values()
        assert beta.poll() is None    # it still has an output of a run that is held here
        del run, results
        gc.collect()
        assert beta.wait(20) == 0
    house.said("beta", "node.stopped")


def test_a_second_sigterm_ends_a_draining_daemon_at_once(house: House, diary: Diary, tmp_path: Path) -> None:
    """What it ran runs elsewhere, as for any node that leaves."""
    gate = tmp_path / "gate"
    beta = house.processes[2]
    with handoff.connect(house.address, secret=house.secret) as client:
        run = client.start(fan(diary, gate, 3))
        until(lambda: len(diary.lines()) == 3, "all three cores are held")
        beta.send_signal(signal.SIGTERM)
        house.said("beta", "node.draining")
        began = time.monotonic()
        beta.send_signal(signal.SIGTERM)
        assert beta.wait(20) == 0
        assert time.monotonic() - began < 8
        gate.touch()
        assert run.result(timeout=30)["take 2"] == "take 2hold 2"
        assert sorted(diary.counts().values()) == [1, 1, 1, 1, 1, 2]


def large(number: int) -> bytes:
    """More than travels in a message."""
    return bytes([number]) * 3_000_000


def test_results_that_are_held_and_not_fetched_outlive_their_node() -> None:
    """The drain ends in time though the client holds the run; what it asks for then is made again, or it hears that only that node can."""
    dag = DAG()
    for number in range(4):
        dag.add(Function(number, code=large, extra_args=[number]))
    pinned = DAG().add(Function("pinned", code=large, extra_args=[7], node="goes"))
    settings = {"scheduler.drain_seconds": 0.3, "scheduler.node_timeout_seconds": 0.2}
    nodes = [{"name": "stays", "cpus": 1}, {"name": "goes", "cpus": 1}]
    with cluster_with(nodes, settings) as cluster, cluster.client() as client:
        results, only_there = client.execute(dag, timeout=30), client.execute(pinned, timeout=30)
        assert "goes" in results.allocations.values()
        client.drain("goes")
        until(lambda: states(client) == {"stays": "ready"}, "it has left")

        assert [results[number] for number in range(4)] == [large(number) for number in range(4)]
        with pytest.raises(errors.NodeTimeout, match="waits for node 'goes', which is not there"):
            only_there["pinned"]


async def test_a_node_that_is_not_there_can_not_be_drained() -> None:
    """The error names those that are; awaited or not."""
    with LocalCluster(1) as cluster, cluster.client() as client:
        with pytest.raises(errors.ConfigError, match=r"there is no node named 'nope' to drain; nodes that are here: 'node-1'"):
            client.drain("nope")
        with pytest.raises(errors.ConfigError, match=r"seconds=-1: the seconds within which the node leaves, above 0, or None"):
            client.drain("node-1", seconds=-1)
        async with aio.connect(cluster.address, secret=cluster.secret) as awaited:
            with pytest.raises(errors.ConfigError, match="there is no node named 'nope' to drain"):
                await awaited.drain("nope")
