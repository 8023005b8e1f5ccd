"""Connections that break and processes that freeze: work goes on, nothing is done twice, and what is gone for good is told."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from witness import Diary, await_free, cluster_with, step, until

import handoff
from handoff import DAG, errors

LOST_SECONDS = 6.0                   # much more than any pause here, so that nothing is given up


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """Two nodes of two cores."""
    with cluster_with(2, {"scheduler.lost_seconds": LOST_SECONDS, "scheduler.suspect_seconds": 1}, cpus=2, memory=1000) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does not answer meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def chains(diary: Diary, count: int, length: int, seconds: float) -> DAG:
    """Chains of steps, each of which is marked once."""
    dag = DAG("chains")
    for number in range(count):
        last = None
        for place in range(length):
            word = f"{number}.{place}"
            inputs = [] if last is None else [last]
            last = dag.call(step, diary.path, word, *inputs, id=word, seconds=seconds, value=word)
    return dag


def assert_once_each(diary: Diary, dag: DAG) -> None:
    """Every function ran, and once."""
    assert diary.counts() == dict.fromkeys((function.id for function in dag.functions.values()), 1)


def test_nodes_work_on_while_the_coordinator_is_frozen(cluster: handoff.LocalCluster, client: handoff.Client, diary: Diary) -> None:
    """What was planned is done meanwhile, the rest afterwards, everything once."""

    def warm_up(number: int) -> None:
        import witness  # noqa: F401  # what a first call imports would make the steps look long, and long ones are not planned ahead

        time.sleep(0.3)

    list(client.map(warm_up, range(4)))
    client.execute(chains(Diary(Path(diary.path + ".before")), 4, 40, 0.005))
    dag = chains(diary, 4, 160, 0.005)
    run = client.start(dag)
    diary.wait_for("0.9", "1.9", "2.9", "3.9")
    worked_on: list[int] = []
    while max(worked_on, default=0) < 4 and len(worked_on) < 5:   # on a busy machine there are moments in which nothing is planned ahead
        with frozen(cluster.processes["coordinator"]):
            time.sleep(0.02)  # what it sent before it froze is read
            before = len(diary.lines())
            time.sleep(0.2)
            worked_on.append(len(diary.lines()) - before)
            assert not run.done()
    assert max(worked_on) >= 4, worked_on
    assert dict(run.result(timeout=20).results) == {function.id: function.id for function in dag.functions.values()}
    assert_once_each(diary, dag)
    await_free(client)


def test_a_node_that_freezes_for_a_moment_is_not_lost(cluster: handoff.LocalCluster, client: handoff.Client, diary: Diary) -> None:
    """Shorter than lost_seconds: it is waited for, and nothing is done again."""
    dag = chains(diary, 4, 6, 0.05)
    run = client.start(dag)
    diary.wait_for("0.1", "1.1", "2.1", "3.1")
    with frozen(cluster.processes["node-1"]):
        until(lambda: "suspect" in [node.state for node in client.nodes()], lambda: str(client.nodes()))
    run.result(timeout=20)
    assert_once_each(diary, dag)
    until(lambda: [node.state for node in client.nodes()] == ["ready", "ready"], lambda: str(client.nodes()))
    await_free(client)


def test_a_frozen_client_gets_its_results(cluster: handoff.LocalCluster, diary: Diary, tmp_path: Path) -> None:
    """Nothing is lost that came while it slept."""
    from handoff.trust.secret import create_file

    create_file(tmp_path / "secret", cluster.secret)
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import handoff, witness\n"
        f"client = handoff.connect({cluster.address!r}, secret={str(tmp_path / 'secret')!r})\n"
        "dag = handoff.DAG()\n"
        f"for n in range(8): dag.call(witness.step, {diary.path!r}, str(n), id=str(n), seconds=0.1)\n"
        "print(sorted(client.execute(dag).results.values()))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        diary.wait_for("0")
        with frozen(process.pid):
            until(lambda: len(diary.lines()) == 8, lambda: str(diary.lines()))
            time.sleep(0.3)  # the last one ends, and is sent
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert said == "['0', '1', '2', '3', '4', '5', '6', '7']\n"
    assert len(diary.lines()) == 8


# ── connections that break ───────────────────────────────────────────────────


class Proxy:
    """Stands between a daemon and its coordinator; breaks what goes through it when told to."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._closed = False
        self._wake, self._woken = socket.socketpair()
        self.accepted = 0
        self.is_open = True
        self._thread = threading.Thread(target=self._serve, name="proxy")
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed:
            peers = {one: other for pair in self._pairs for one, other in (pair, pair[::-1])}
            readable, _, _ = select.select([self._listening, self._woken, *peers], [], [])
            for sock in readable:
                if sock is self._woken:
                    if sock.recv(1) == b"x":
                        self._abort()
                elif sock is self._listening:
                    came, _ = sock.accept()
                    if self.is_open:
                        self._pairs.append((came, socket.create_connection(self._target)))
                        self.accepted += 1
                    else:
                        _reset(came)
                elif sock.fileno() >= 0:
                    self._pump(sock, peers[sock])
        self._abort()
        for sock in (self._listening, self._wake, self._woken):
            sock.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            data = source.recv(1 << 16)
            target.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._pairs = [pair for pair in self._pairs if source not in pair]
            _reset(source)
            _reset(target)

    def _abort(self) -> None:
        for pair in self._pairs:
            for sock in pair:
                _reset(sock)
        self._pairs = []

    def break_all(self) -> None:
        """Every connection ends with a reset, and what is on the way is lost."""
        self._wake.send(b"x")

    def close(self) -> None:
        """End."""
        self._closed = True
        self._wake.send(b"y")
        self._thread.join()


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    sock.close()


@pytest.fixture
def proxied(cluster: handoff.LocalCluster) -> Iterator[Proxy]:
    """A third node, called "far"."""
    with far_node(cluster) as proxy:
        yield proxy


@contextlib.contextmanager
def far_node(cluster: handoff.LocalCluster, *options: str) -> Iterator[Proxy]:
    """A node called "far", which has its coordinator behind a proxy."""
    proxy = Proxy(int(cluster.address.rpartition(":")[2]))
    reading, writing = os.pipe()
    os.write(writing, cluster.secret.text.encode())
    os.close(writing)
    arguments = ["--coordinator", f"127.0.0.1:{proxy.port}", "--name", "far", "--host", "127.0.0.1", "--cpus", "2", "--memory", "1000",
                 "--gpus", "0", "--resource", "far=9", "--secret-fd", str(reading), "--log-level", "error", *options]
    environment = {**os.environ, "HANDOFF_SYS_PATH": os.pathsep.join(sys.path), "HANDOFF_NODE__HEARTBEAT_SECONDS": "0.1"}
    node = subprocess.Popen([sys.executable, "-m", "handoff.node", *arguments], pass_fds=[reading], env=environment)
    os.close(reading)
    try:
        yield proxy
    finally:
        node.terminate()
        status = node.wait(10)
        proxy.close()
    assert status == 0


def test_a_broken_connection_is_mended(client: handoff.Client, proxied: Proxy, diary: Diary) -> None:
    """Again and again: the session goes on where it was, nothing is lost, doubled or done again."""
    until(lambda: "far" in [node.name for node in client.nodes()], "the node joins")
    dag = DAG()
    for number in range(3):
        last = None
        for place in range(40):
            word = f"{number}.{place}"
            inputs = [] if last is None else [last]
            last = dag.call(step, diary.path, word, *inputs, id=word, seconds=0.02, value=word,
                            cost={"cpu": 0.5, "far": 1} if place % 2 else {"cpu": 0.5})
    run = client.start(dag)
    seen = []
    for name, value in run.as_completed():
        assert name == value
        seen.append(name)
        if len(seen) % 20 == 0:
            proxied.break_all()
    assert len(seen) == len(set(seen)) == 120
    assert_once_each(diary, dag)
    assert proxied.accepted >= 3
    assert {run.result().allocations[f"0.{place}"] for place in range(1, 40, 2)} == {"far"}
    await_free(client)


def test_a_node_out_of_reach_works_on(client: handoff.Client, proxied: Proxy, diary: Diary) -> None:
    """For a while nobody gets through to the coordinator; what the node did meanwhile counts."""
    until(lambda: "far" in [node.name for node in client.nodes()], "the node joins")
    dag = DAG()
    for number in range(6):
        dag.call(step, diary.path, str(number), id=str(number), seconds=0.2, cost={"cpu": 1, "far": 1})
    run = client.start(dag)
    diary.wait_for("0", "1")
    proxied.is_open = False
    proxied.break_all()
    until(lambda: len(diary.lines()) >= 2)
    time.sleep(1.0)  # longer than what runs takes
    proxied.is_open = True
    run.result(timeout=20)
    assert_once_each(diary, dag)
    await_free(client)


def first_in_vain(path: str) -> int:
    """Who was there first tells which process it is, and never ends."""
    with contextlib.suppress(FileExistsError):
        with open(path, "x") as file:  # noqa: PTH123
            file.write(f"{os.getpid()}\n")
        time.sleep(3600)
    return os.getpid()


def test_a_node_that_gave_its_work_up_joins_anew(tmp_path: Path) -> None:
    """It has less patience than its coordinator: resumed, it would be told of work that is no more, and say nothing until it is lost."""
    there = tmp_path / "there"
    with (
        cluster_with(1, {"scheduler.lost_seconds": 600}, cpus=1, memory=500) as cluster, cluster.client() as client,
        far_node(cluster, "--set", "node.orphan_seconds=0.1") as proxy,
    ):
        until(lambda: "far" in [node.name for node in client.nodes()], "the node joins")
        future = client.submit(first_in_vain, str(there), cost={"cpu": 1, "far": 1})
        until(lambda: there.exists() and there.read_text().endswith("\n"), "it begins")
        proxy.is_open = False
        proxy.break_all()
        pid = int(there.read_text())
        until(lambda: not psutil.pid_exists(pid), "the node has given up")
        proxy.is_open = True
        assert future.result(timeout=20) != pid


# ── gone for good ────────────────────────────────────────────────────────────


def test_a_dead_coordinator_is_told_to_who_waits(tmp_path: Path) -> None:
    """ConnectionLost within seconds, with what to look at; a new connection to that address says the same."""
    with cluster_with(1, cpus=1, memory=500) as cluster, cluster.client() as client:
        diary = Diary(tmp_path / "diary")
        run = client.start(chains(diary, 1, 2, 30))
        future = client.submit(time.sleep, 60)
        diary.wait_for("0.0")
        started = time.monotonic()
        os.kill(cluster.processes["coordinator"], signal.SIGKILL)
        with pytest.raises(errors.ConnectionLost, match=cluster.address):
            run.result(timeout=16)
        assert isinstance(future.exception(timeout=2), errors.ConnectionLost)
        assert time.monotonic() - started < 15
        with pytest.raises(errors.ConnectionLost):
            client.submit(abs, 1).result(timeout=5)
        with pytest.raises(errors.ConnectionLost, match=rf"{cluster.address}.*nothing listens there"):
            handoff.connect(cluster.address, secret=cluster.secret, timeout=5)
