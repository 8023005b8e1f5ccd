"""Where functions run when nodes come and go, and what a client sees of nodes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from witness import Diary, await_free, cluster_with, step, until

import handoff
from handoff import DAG, Function, collocated


@pytest.fixture
def cluster() -> Iterator[handoff.LocalCluster]:
    """Two nodes, which a test may kill; a dead one is noticed at once."""
    nodes = [{"name": "red", "labels": {"rack": "1"}}, {"name": "blue", "gpus": 1, "resources": {"license": 2}}]
    with cluster_with(nodes, cpus=2, memory=1000) as made:
        yield made


@pytest.fixture
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


def test_collocated_functions_follow_a_target_that_moved(cluster: handoff.LocalCluster, client: handoff.Client, tmp_path: Path) -> None:
    """The target's node is killed while its follower runs: all of the group end up together on the other node."""
    diary, gate = Diary(tmp_path / "diary"), tmp_path / "gate"
    dag = DAG()
    dag.add(Function("target", code=step, extra_args=[diary.path, "target"]))
    for name, before, code in (
        ("near", "target", lambda made, *args: step(*args, made, gate=str(gate))),
        ("nearer", "near", lambda made, *args: step(*args, made)),
    ):
        dag.add(Function(name, [before], code, [diary.path, name], node=collocated(before)))
    run = client.start(dag)
    diary.wait_for("near")
    until(lambda: run.status().done == 1, "the target is reported")
    [first] = {record.node for record in run.timeline() if record.function == "target"}
    os.kill(cluster.processes[first], signal.SIGKILL)
    until(lambda: diary.counts()["near"] == 2, lambda: f"near runs again: {diary.lines()}")
    gate.touch()
    result = run.result(timeout=20)
    [other] = {"red", "blue"} - {first}
    assert dict(result.allocations) == {"target": other, "near": other, "nearer": other}
    assert result.results["nearer"] == "nearerneartarget"
    assert diary.counts() == {"target": 2, "near": 2, "nearer": 1}


def test_a_function_waits_for_the_node_that_it_is_pinned_to(cluster: handoff.LocalCluster, client: handoff.Client) -> None:
    """The status says what it waits for; when the node joins, it runs there."""
    run = client.start(DAG().add(Function("pinned", code=abs, extra_args=[-1], node="green")))
    until(lambda: "'green'" in run.status().waits_for, lambda: f"{run.status()} names the node")
    assert (run.status().state, run.done()) == ("waiting", False)
    cluster.add_node("green", cpus=1, memory=100)
    result = run.result(timeout=20)
    assert (result.results["pinned"], result.allocations["pinned"]) == (1, "green")


def test_a_run_may_wait_for_a_node_that_is_large_enough(cluster: handoff.LocalCluster, client: handoff.Client) -> None:
    """`wait_for_nodes` turns a refusal into waiting."""
    dag = DAG().add(Function("large", code=abs, extra_args=[-1], cost={"license": 5}))
    with pytest.raises(handoff.errors.AllocationError, match=r"'large'.*license=5.*'blue'.*license=2"):
        client.start(dag)
    run = client.start(dag, wait_for_nodes=True)
    until(lambda: "license=5" in run.status().waits_for, lambda: f"{run.status()} names the resource")
    cluster.add_node("green", cpus=1, memory=100, resources={"license": 5})
    assert run.result(timeout=20).allocations["large"] == "green"


def test_nodes_are_described(cluster: handoff.LocalCluster, client: handoff.Client, tmp_path: Path) -> None:
    """Name, address, process, what it offers, what is free of that now, labels and state."""
    await_free(client)
    nodes = {node.name: node for node in client.nodes()}
    assert {name: node.pid for name, node in nodes.items()} == {name: cluster.processes[name] for name in ("red", "blue")}
    assert [dict(nodes[name].labels) for name in ("red", "blue")] == [{"rack": "1"}, {}]
    assert dict(nodes["blue"].capacity) == {"cpu": 2, "memory": 1000, "gpu": 1, "license": 2}
    assert {node.state for node in nodes.values()} == {"ready"}
    for node in nodes.values():
        host, _, port = node.address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()   # somebody listens there

    gate = tmp_path / "gate"
    future = client.submit(step, str(tmp_path / "diary"), "held", gate=str(gate), cost={"cpu": 0.5, "license": 1, "memory": "200 MB"})
    Diary(tmp_path / "diary").wait_for("held")
    expected = {"cpu": 1.5, "memory": 800, "gpu": 1, "license": 1}
    until(lambda: {node.name: dict(node.free) for node in client.nodes()}["blue"] == expected, lambda: f"{client.nodes()} shows the claim")
    gate.touch()
    assert future.result(20) == "held"
    await_free(client)


def test_a_silent_node_is_shown_as_such() -> None:
    """Stopped for a while: suspect; gone: not listed any more."""
    with cluster_with(1, {"scheduler.suspect_seconds": 0.3}, cpus=1, memory=100) as small, small.client() as client:
        pid = small.processes["node-1"]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: client.nodes()[0].state == "suspect", lambda: f"{client.nodes()} shows it")
        os.kill(pid, signal.SIGCONT)
        until(lambda: client.nodes()[0].state == "ready", lambda: f"{client.nodes()} shows that it is back")
        os.kill(pid, signal.SIGKILL)
        until(lambda: not client.nodes(), lambda: f"{client.nodes()} forgets it")
