"""Nodes that are killed, that join, and that are lost with work on them: what is done again, and what is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from witness import PATIENCE_SECONDS, Diary, await_file, await_free, block, cluster_with, mark, size_of, step, until, values_on, workers_of

import handoff
from handoff import DAG, Function, errors

LARGE = 100 << 20
VICTIM, SAFE = {"cpu": 1, "victim": 1}, {"cpu": 1, "safe": 1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """A node that all tests leave alive; each adds its own victims."""
    with cluster_with([{"name": "safe", "cpus": 2, "memory": 1000, "resources": {"safe": 2}}]) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


@pytest.fixture
def victim(cluster: handoff.LocalCluster) -> Iterator[str]:
    """A node to be killed; what a test leaves of it, or puts in its place, goes with the test."""
    before = set(cluster.node_names)
    yield cluster.add_node(cpus=2, memory=1000, resources={"victim": 2})
    for name in set(cluster.node_names) - before:
        cluster.kill_node(name)


def add_spare(cluster: handoff.LocalCluster) -> str:
    """A node like the victim."""
    return cluster.add_node(cpus=2, memory=1000, resources={"victim": 2})


def test_only_lost_work_that_is_still_needed_is_done_again(
    cluster: handoff.LocalCluster, client: handoff.Client, victim: str, diary: Diary, tmp_path: Path
) -> None:
    """Not what had been handed on, not what ran elsewhere; and no worker of the killed node lives on."""
    gate = tmp_path / "gate"
    dag = DAG()
    handed = dag.call(step, diary.path, "handed", id="handed", cost=VICTIM)
    taker = dag.call(step, diary.path, "taker", handed, id="taker", cost=SAFE)
    kept = dag.call(step, diary.path, "kept", id="kept", cost=VICTIM)
    running = dag.call(step, diary.path, "running", kept, id="running", cost=VICTIM, gate=str(gate))
    dag.call(step, diary.path, "end", taker, kept, running, id="end", cost=SAFE)
    run = client.start(dag, returns=["end"])
    until(lambda: run.status().done == 3, lambda: str(run.status()))
    diary.wait_for("running")
    processes = workers_of(cluster.processes[victim])
    assert len(processes) >= 2
    cluster.kill_node(victim)
    _, alive = psutil.wait_procs(processes, timeout=2)
    assert alive == []
    spare = add_spare(cluster)
    gate.touch()
    result = run.result(timeout=30)
    assert result["end"] == "endtakerhandedkeptrunningkept"
    assert diary.counts() == {"handed": 1, "taker": 1, "kept": 2, "running": 2, "end": 1}
    assert (result.allocations["running"], result.allocations["end"]) == (spare, "safe")
    await_free(client)


def test_outputs_that_the_client_has_are_not_made_again(
    cluster: handoff.LocalCluster, client: handoff.Client, victim: str, diary: Diary, tmp_path: Path
) -> None:
    """Small ones came at once; a large one that nobody looked at is made again."""
    gate = tmp_path / "gate"
    dag = DAG()
    dag.call(step, diary.path, "small", id="small", cost=VICTIM)
    dag.call(block, diary.path, "large", 8 << 20, id="large", cost=VICTIM)
    dag.call(step, diary.path, "last", id="last", cost=SAFE, gate=str(gate))
    run = client.start(dag)
    seen = run.as_completed()
    until(lambda: run.status().done == 2, lambda: str(run.status()))
    first = next(seen)
    cluster.kill_node(victim)
    spare = add_spare(cluster)
    gate.touch()
    result = run.result(timeout=30)
    assert first in [("small", "small"), ("large", bytes(8 << 20))]
    assert result["small"] == "small"
    assert result["large"] == bytes(8 << 20)
    expected = 1 if first[0] == "large" else 2
    assert diary.counts() == {"small": 1, "large": expected, "last": 1}
    assert result.allocations["large"] == (victim if expected == 1 else spare)
    await_free(client)


def test_a_node_that_dies_within_a_transfer(cluster: handoff.LocalCluster, client: handoff.Client, victim: str, diary: Diary) -> None:
    """Half a value is no value: it is made again, and its consumer runs once."""
    safe = cluster.processes["safe"]
    held = values_on(safe)
    dag = DAG()
    value = dag.call(block, diary.path, "made", LARGE, id="made", cost=VICTIM)
    dag.call(size_of, diary.path, "taken", value, id="taken", cost=SAFE)
    run = client.start(dag, returns=["taken"])
    until(lambda: values_on(safe) > held, "the transfer begins")
    cluster.kill_node(victim)
    assert not diary.counts()["taken"]
    add_spare(cluster)
    assert run.result(timeout=30)["taken"] == LARGE
    assert diary.counts() == {"made": 2, "taken": 1}
    assert LARGE <= run.bytes_moved < LARGE + (1 << 20)
    await_free(client)
    until(lambda: values_on(safe) == held, "what came is let go")


def test_a_consumer_that_dies_within_a_transfer(cluster: handoff.LocalCluster, client: handoff.Client, victim: str, diary: Diary) -> None:
    """What it was about to get is still there for the one in its place."""
    pid = cluster.processes[victim]
    dag = DAG()
    value = dag.call(block, diary.path, "made", LARGE, id="made", cost=SAFE)
    dag.call(size_of, diary.path, "taken", value, id="taken", cost=VICTIM)
    run = client.start(dag, returns=["taken"])
    until(lambda: values_on(pid) > 0, "the transfer begins")
    cluster.kill_node(victim)
    add_spare(cluster)
    assert run.result(timeout=30)["taken"] == LARGE
    assert diary.counts()["made"] == 1
    await_free(client)


def test_a_node_that_joins_gets_work(cluster: handoff.LocalCluster, client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """Also when everything had been given to the only other one."""
    gate = tmp_path / "gate"

    def stay(path: str, number: int, gate: str) -> None:
        task = handoff.current_task()
        assert task is not None
        mark(path, f"{number} on {task.node}")
        if number > 3:
            await_file(gate)

    dag = DAG()
    for number in range(60):
        dag.call(stay, diary.path, number, str(gate), id=number)
    run = client.start(dag)
    until(lambda: len(diary.lines()) > 4, lambda: str(diary.lines()))     # it is known to be short, and planned far ahead
    name = cluster.add_node(cpus=2, memory=1000)
    until(lambda: any(line.endswith(f" on {name}") for line in diary.lines()), lambda: str(diary.lines()))
    gate.touch()
    allocations = run.result(timeout=30).allocations
    assert set(allocations.values()) == {"safe", name}
    assert all(count == 1 for count in diary.counts().values())
    assert len(diary.counts()) == 60
    cluster.kill_node(name)


def test_what_may_not_run_again_is_lost_with_its_node(
    cluster: handoff.LocalCluster, client: handoff.Client, victim: str, diary: Diary, tmp_path: Path
) -> None:
    """`max_retries=0`: NodeLost names function and node, and all else of the run ends."""
    dag = DAG()
    dag.call(step, diary.path, "once", id="once", cost=VICTIM, gate=str(tmp_path / "gate"), max_retries=0)
    dag.call(step, diary.path, "other", id="other", cost=SAFE, gate=str(tmp_path / "gate"))
    run = client.start(dag)
    diary.wait_for("once", "other")
    cluster.kill_node(victim)
    add_spare(cluster)
    with pytest.raises(errors.NodeLost, match=rf"'once'.*{victim}.*max_retries=0"):
        run.result(timeout=30)
    await_free(client)
    assert diary.counts() == {"once": 1, "other": 1}


def test_a_node_that_stops_in_order_hands_its_work_back(
    cluster: handoff.LocalCluster, client: handoff.Client, victim: str, diary: Diary, tmp_path: Path
) -> None:
    """SIGTERM: it leaves at once, and what it had runs elsewhere."""
    gate = tmp_path / "gate"
    dag = DAG()
    dag.add(Function("a", code=step, extra_args=[diary.path, "a"], extra_kwargs={"gate": str(gate)}, cost=VICTIM))
    run = client.start(dag)
    diary.wait_for("a")
    processes = workers_of(cluster.processes[victim])
    os.kill(cluster.processes[victim], signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=3)
    assert alive == []
    add_spare(cluster)
    gate.touch()
    assert run.result(timeout=30)["a"] == "a"
    assert diary.counts() == {"a": 2}


def test_a_node_with_rare_heartbeats_is_not_lost_again_and_again(diary: Diary) -> None:
    """It gives word as often as its coordinator expects: what takes longer than the coordinator's patience runs once."""
    settings = {"node.heartbeat_seconds": 60, "scheduler.suspect_seconds": 1, "scheduler.lost_seconds": 2}
    with cluster_with(1, settings, cpus=1, memory=100) as alone, alone.client() as client:
        assert client.submit(step, diary.path, "slow", seconds=3.0).result(PATIENCE_SECONDS) == "slow"
    assert diary.lines() == ["slow"]
