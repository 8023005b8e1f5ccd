"""A coordinator that is started again counts from 1 again, runs and nodes: what a client holds of before is not taken for new."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemons import House
from witness import PATIENCE_SECONDS

import handoff
from handoff import DAG, Function, errors
from handoff.trust.secret import create_file


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Processes of this test alone."""
    made = House(tmp_path, "", "5")
    yield made
    made.stop()


def nodes_are_back(client: handoff.Client) -> set[str]:
    """Who is there, as soon as both nodes are."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            names = {node.name for node in client.nodes()}
        except errors.ConnectionLost:
            names = set()
        if len(names) == 2:
            return names
        assert time.monotonic() < deadline, names
        time.sleep(0.05)


def slow_dag() -> DAG:
    """Something that is done at once, and something that is not."""
    dag = DAG()
    dag.add(Function("quick", code=abs, extra_args=[-1], node="alpha"))
    dag.add(Function("slow", code=time.sleep, extra_args=[3 * PATIENCE_SECONDS], node="alpha"))
    return dag


def test_a_run_of_before_a_restart_is_lost_and_no_other_is_told_of(house: House) -> None:
    """By its old number the new coordinator would tell of a new run; what the client has of it stays true."""
    with handoff.connect(house.address, secret=house.secret_file) as client:
        first = DAG("first")
        first.add(Function("small", code=abs, extra_args=[-1], node="beta"))
        first.add(Function("large", code=bytes, extra_args=[8 << 20], node="beta"))
        old = client.start(first)
        allocations = dict(old.result(PATIENCE_SECONDS).allocations)
        house.coordinator.kill()
        house.coordinator.wait()
        house.start("again", ["handoff.coordinator", "--port", house.address.rpartition(":")[2]])
        assert nodes_are_back(client) == {"alpha", "beta"}

        second = DAG("second")
        second.add(Function("other", code=abs, extra_args=[-2]))
        new = client.start(second)
        assert new.result(PATIENCE_SECONDS).results["other"] == 2
        assert new.id == old.id
        for ask in (old.report, old.timeline, lambda: old.explain("small")):
            with pytest.raises(errors.ConnectionLost, match="restarted"):
                ask()
        assert [record.function for record in new.timeline()] == ["other"]
        again = old.result()
        assert again.results["small"] == 1 and dict(again.allocations) == allocations
        with pytest.raises(errors.ResultLost, match="restarted"):
            again.results["large"]


def test_a_planned_restart_is_waited_for(house: House) -> None:
    """SIGTERM: what runs is lost, and said to be so at once; what is asked for before the next one is there waits for it."""
    with handoff.connect(house.address, secret=house.secret_file) as client:
        running = client.start(slow_dag())
        next(iter(running.as_completed()))
        house.coordinator.terminate()
        with pytest.raises(errors.ConnectionLost, match="the coordinator was stopped, and what it was to do is lost"):
            running.result(PATIENCE_SECONDS)
        house.coordinator.wait(PATIENCE_SECONDS)
        early = client.submit(abs, -3)
        house.start("again", ["handoff.coordinator", "--port", house.address.rpartition(":")[2]])
        assert early.result(PATIENCE_SECONDS) == 3
        assert nodes_are_back(client) == {"alpha", "beta"}


def test_a_client_that_has_not_heard_of_a_restart_gets_nothing_of_other_clients(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are back before it: with its number, which is another one's now, it was given that one's results for its own."""
    with monkeypatch.context() as patch:
        patch.setenv("HANDOFF_WIRE__RECONNECT_SECONDS", str(3 * PATIENCE_SECONDS))
        patch.setenv("HANDOFF_WIRE__RECONNECT_SECONDS_MAX", str(3 * PATIENCE_SECONDS))
        patch.setenv("HANDOFF_CLIENT__COORDINATOR_LOST_SECONDS", str(3 * PATIENCE_SECONDS))
        late = handoff.connect(house.address, secret=house.secret_file)
    with late:
        waiting = late.start(slow_dag())
        assert next(iter(waiting.as_completed())) == ("quick", 1)     # the link stands
        house.coordinator.kill()
        house.coordinator.wait()
        house.start("again", ["handoff.coordinator", "--port", house.address.rpartition(":")[2]])
        house.said("alpha", "link.refused .*client .* has its number from another process of the coordinator than node alpha")
        assert not waiting.done()


def reset_the_next(listening: socket.socket) -> None:
    """Break a connection whose handshake has begun, as the end of a killed process does."""
    listening.settimeout(PATIENCE_SECONDS)
    connection, _ = listening.accept()
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_node_outlives_a_coordinator_that_ends_in_the_midst_of_its_handshake(tmp_path: Path) -> None:
    """Nobody says why the connection broke: the node tries again, and joins the coordinator that is there then."""
    house = House(tmp_path, "", "5")
    try:
        with socket.socket() as dying:
            dying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            dying.bind(("127.0.0.1", 0))
            dying.listen()
            port = dying.getsockname()[1]
            node = house.start("late", ["handoff.node", "--coordinator", f"127.0.0.1:{port}", "--name", "late"])
            reset_the_next(dying)
        house.start("second", ["handoff.coordinator", "--port", str(port)])
        house.said("late", "node.joined")
        assert node.poll() is None
    finally:
        house.stop()


@pytest.mark.parametrize("times", [1, 3])
def test_a_client_that_connects_while_its_coordinator_is_killed_is_told_so(tmp_path: Path, times: int) -> None:
    """The handshake was cut short, or several in a row: that nobody is there is the truth, and that the secret is wrong is not."""
    secret = create_file(tmp_path / "secret")
    with socket.socket() as dying, ThreadPoolExecutor(1) as one:
        dying.bind(("127.0.0.1", 0))
        dying.listen()
        connecting = one.submit(handoff.connect, f"127.0.0.1:{dying.getsockname()[1]}", secret=secret)
        for _ in range(times):
            reset_the_next(dying)
        dying.close()
        with pytest.raises(errors.ConnectionLost, match="nothing listens there"):
            connecting.result(PATIENCE_SECONDS)
