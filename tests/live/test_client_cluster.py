"""Clusters on this machine: how they start, what happens when parts of them die, and that nothing of them stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from witness import PATIENCE_SECONDS, until

import handoff
from handoff import errors
from handoff.trust.secret import create_file, generate


def square(x: int) -> int:
    """Importable by name only from this directory."""
    return x * x


def slow_square(x: int) -> int:
    """The same, in its own time."""
    time.sleep(0.05)
    return x * x


def squares(count: int, code: Any = slow_square) -> handoff.DAG:
    """Independent squares and their sum."""
    dag = handoff.DAG()
    dag.call(sum, [dag.call(code, number) for number in range(count)], id="sum")
    return dag


def run_python(script: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of its own."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(script))
    return subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}, cwd=tmp_path
    )


def test_a_cluster_leaves_no_process_behind() -> None:
    """Coordinator, nodes and workers are gone when it is closed."""
    with handoff.LocalCluster(nodes=2, cpus=1, memory=500) as cluster, cluster.client() as client:
        client.execute(squares(4, square))
        daemons = [psutil.Process(pid) for pid in cluster.processes.values()]
        processes = [*daemons, *(worker for daemon in daemons for worker in daemon.children(recursive=True))]
        assert len(processes) >= 5
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert alive == []
    cluster.close()
    for refused in (cluster.client, cluster.add_node, lambda: cluster.kill_node("node-1")):
        with pytest.raises(errors.ConnectionLost, match="this LocalCluster is closed"):
            refused()
    assert cluster.processes == {}


def test_nodes_have_the_names_and_capacities_they_were_given() -> None:
    """Numbers for those without a name."""
    nodes: list[dict[str, Any]] = [
        {"name": "big", "cpus": 4, "memory": "2 GB", "gpus": 1, "labels": {"zone": "north"}},
        {"cpus": 0.5, "gpus": 0, "resources": {"license": 2}},
    ]
    with handoff.LocalCluster(nodes, memory=300) as cluster, cluster.client() as client:
        big, other = sorted(client.nodes(), key=lambda node: node.name)
        assert (big.name, other.name) == ("big", "node-1")
        assert dict(big.capacity) == {"cpu": 4, "memory": 2000, "gpu": 1}
        assert dict(big.labels) == {"zone": "north"}
        assert dict(other.capacity) == {"cpu": 0.5, "memory": 300, "license": 2}
        assert cluster.add_node(cpus=1, memory=100) == "node-2"
        assert [node.name for node in client.nodes()].count("node-2") == 1


@pytest.mark.parametrize("nodes", [-1, True, [{"cpu": 1}], [{"name": "a"}, {"name": "a"}]])
def test_clusters_that_make_no_sense_are_refused(nodes: Any) -> None:
    """With what is wrong about them."""
    with pytest.raises(errors.ConfigError, match=r"nodes|option|'a'"):
        handoff.LocalCluster(nodes, cpus=1, memory=100, gpus=0)


def test_a_process_that_can_not_start_says_why() -> None:
    """The end of its log is in the error."""
    with pytest.raises(errors.ConnectionLost, match=r"(?s)node-1 .*exit status 2.*'absent:Tracker' is not MODULE:CLASS"):
        handoff.LocalCluster(tracker="absent:Tracker")


def test_a_coordinator_that_can_not_start_says_why() -> None:
    """Its own words, not that the connection to it broke."""
    text = "'nonsense' is neither greedy"
    with pytest.raises(errors.ConnectionLost, match=f"(?s)coordinator of the local cluster ended with exit status 2.*{text}"):
        handoff.LocalCluster(1, allocator="nonsense")


def test_a_killed_node_is_replaced_by_the_others() -> None:
    """What it had is made again, and the run succeeds."""
    with handoff.LocalCluster(nodes=2, cpus=1, memory=500) as cluster, cluster.client() as client:
        run = client.start(squares(40))
        seen = run.as_completed()
        for _ in range(6):
            next(seen)
        cluster.kill_node("node-1")
        result = run.result(timeout=60)
        assert result.results["sum"] == sum(number * number for number in range(40))
        assert cluster.node_names == ["node-2"]
        with pytest.raises(errors.ConfigError, match="node-2"):
            cluster.kill_node("node-1")


def test_a_node_that_joins_late_gets_work() -> None:
    """In the middle of a run."""
    with handoff.LocalCluster(nodes=1, cpus=1, memory=500) as cluster, cluster.client() as client:
        run = client.start(squares(60))
        cluster.add_node(name="late", cpus=1, memory=500)
        assert "late" in set(run.result(timeout=60).allocations.values())


def test_a_coordinator_that_is_gone_fails_what_waits_for_it() -> None:
    """ConnectionLost that says so, and no hanging."""
    with handoff.LocalCluster(nodes=1, cpus=1, memory=500) as cluster, cluster.client() as client:
        run = client.start(squares(2000))
        os.kill(cluster.processes["coordinator"], signal.SIGTERM)
        with pytest.raises(errors.ConnectionLost, match="coordinator is gone"):
            run.result(timeout=30)
        with pytest.raises(errors.ConnectionLost, match="coordinator is gone"):
            client.nodes()


def test_an_embedded_cluster_ends_with_its_program(tmp_path: Path) -> None:
    """Functions of __main__ work, a forked child gets its own cluster, and no process stays."""
    done = run_python("""
        import os, handoff

        def double(x):
            return 2 * x

        dag = handoff.DAG()
        dag.call(double, 21, id="answer")
        print(handoff.execute(dag).results["answer"], flush=True)
        child = os.fork()
        if not child:
            print(handoff.submit(double, 4).result(30), flush=True)
            raise SystemExit
        os.waitpid(child, 0)
        print(handoff.submit(double, 5).result(30))
    """, tmp_path, HANDOFF_TEST_MARK="embedded")
    assert done.stderr == ""
    assert done.stdout.split() == ["42", "8", "10"]
    deadline = time.monotonic() + 5
    while left := _marked("embedded"):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_an_embedded_cluster_that_lost_a_process_is_replaced(tmp_path: Path) -> None:
    """Its only node, or its coordinator, whatever killed it: the next call finds a cluster that works, and nothing of the old one stays."""
    done = run_python("""
        import os, signal, handoff, psutil
        from handoff.embedded import _embedded

        for name in ("node-1", "coordinator", None):
            print(handoff.submit(abs, -1).result(30), flush=True)
            if name is not None:
                before = _embedded._cluster
                process = psutil.Process(before.processes[name])
                process.kill()
                process.wait(10)
                print(before.is_whole)
    """, tmp_path)
    assert done.stderr == ""
    assert done.stdout.split() == ["1", "False", "1", "False", "1"]


def test_a_killed_program_takes_its_cluster_along(tmp_path: Path) -> None:
    """SIGKILL leaves no time for goodbyes; the processes notice."""
    run_python("""
        import os, signal, handoff

        handoff.submit(abs, -1).result(30)
        os.kill(os.getpid(), signal.SIGKILL)
    """, tmp_path, HANDOFF_TEST_MARK="killed")
    deadline = time.monotonic() + 8
    while left := _marked("killed"):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HANDOFF_TEST_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


# ── finding a cluster ────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["nonsense:port", "a b", "host:99999", "::1:7070", "http://x:7070"])
def test_bad_addresses_are_named(address: str) -> None:
    """ConfigError shows a right one."""
    with pytest.raises(errors.ConfigError, match=r"7070|port"):
        handoff.connect(address, secret=generate())


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """ConnectionLost names it; HANDOFF_COORDINATOR is the default."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(errors.ConnectionLost, match=f"127.0.0.1:{port}"):
        handoff.connect(f"127.0.0.1:{port}", secret=generate())
    monkeypatch.setenv("HANDOFF_COORDINATOR", f"127.0.0.1:{port}")
    with pytest.raises(errors.ConnectionLost, match=f"127.0.0.1:{port}"):
        handoff.connect(secret=generate())
    monkeypatch.setenv("HANDOFF_COORDINATOR", "no port:")
    with pytest.raises(errors.ConfigError, match="HANDOFF_COORDINATOR"):
        handoff.connect(secret=generate())


def test_a_silent_server_is_not_waited_for_forever() -> None:
    """The client's timeout ends it."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(errors.LinkError, match=r"127\.0\.0\.1"):
        handoff.connect(f"127.0.0.1:{silent.getsockname()[1]}", secret=generate(), timeout=0.3)
    with pytest.raises(errors.ConfigError, match="timeout"):
        handoff.connect("127.0.0.1:1", secret=generate(), timeout=0)


def test_a_coordinator_that_stands_still_is_waited_for_as_long_as_the_caller_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only as long as a handshake takes at most: one that is stopped, or very busy, answers later."""
    monkeypatch.setenv("HANDOFF_WIRE__HANDSHAKE_SECONDS", "0.2")
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(errors.ConnectionLost, match="within 1 s"):
        handoff.connect(f"127.0.0.1:{silent.getsockname()[1]}", secret=generate(), timeout=1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(errors.ConnectionLost, match=r"within 0\.1 s"):
        handoff.connect(f"127.0.0.1:{silent.getsockname()[1]}", secret=generate(), timeout=0.1)


def test_another_secret_is_refused(tmp_path: Path) -> None:
    """The error says that the secret is wrong; the right one, from a file, lets in."""
    with handoff.LocalCluster(nodes=1, cpus=1, memory=100) as cluster:
        with pytest.raises(errors.Refused, match="wrong secret"):
            handoff.connect(cluster.address, secret=generate())
        path = tmp_path / "secret"
        create_file(path, cluster.secret)
        with handoff.connect(cluster.address, secret=path) as client:
            assert client.submit(square, 3).result(20) == 9


def test_a_detached_run_that_nobody_holds_gets_its_large_arguments_when_a_node_comes() -> None:
    """Only its client has them. Whoever lets go of it may take it up again, and nothing of it stays at the client."""
    with handoff.LocalCluster(nodes=[]) as cluster, cluster.client() as client:
        dag = handoff.DAG()
        dag.call(len, bytes(3_000_000), id="len")
        number = client.start(dag, detach=True, wait_for_nodes=True).id
        cluster.add_node(cpus=1, memory=100)
        until(lambda: {each.run: each.state for each in client.runs()}[number] == "done", lambda: str(client.runs()))
        until(lambda: not client._core.states, lambda: str(client._core.states))
        assert client.attach(number).result(PATIENCE_SECONDS)["len"] == 3_000_000
