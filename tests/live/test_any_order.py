"""Machines boot in any order: a node that is there before its coordinator waits for it, and says so."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import environment

import handoff
from handoff.node.daemon import AWAITED_SECONDS
from handoff.trust import secret


class Machine:
    """A home with a secret, a port where nobody listens yet, and daemons with logs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.secret = secret.create_file(home / "secret")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str, secret_file: str = "secret") -> subprocess.Popen[bytes]:
        """A daemon whose log is NAME.log."""
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments, "--secret-file", str(self.home / secret_file)], env=environment(self.home),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
            )
        self.processes.append(process)
        return process

    def node(self, **options: str) -> subprocess.Popen[bytes]:
        """A node called early."""
        offer = ["--name", "early", "--cpus", "1", "--memory", "100", "--gpus", "0"]
        return self.start("node", "handoff.node", "--coordinator", self.address, *offer, **options)

    def coordinator(self) -> subprocess.Popen[bytes]:
        """The coordinator of the port."""
        return self.start("coordinator", "handoff.coordinator", "--port", str(self.port))

    def log(self, name: str) -> str:
        """All of it so far."""
        return (self.home / f"{name}.log").read_text()

    def said(self, name: str, pattern: str) -> str:
        """The line that matches, as soon as it is there."""
        deadline = time.monotonic() + 20
        while not (found := re.search(f".*{pattern}.*", self.log(name))):
            assert time.monotonic() < deadline, f"{name} did not say {pattern!r}:\n{self.log(name)}"
            time.sleep(0.02)
        return found[0]

    def stop(self) -> None:
        """End all that run."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Nothing runs there yet."""
    made = Machine(tmp_path)
    yield made
    made.stop()


def test_a_node_waits_for_its_coordinator(machine: Machine) -> None:
    """It says once in a while for whom, joins as soon as the coordinator is there, and works."""
    began = time.monotonic()
    node = machine.node()
    line = machine.said("node", "coordinator.awaited")
    assert f"address={machine.address}" in line and "nothing listens there" in line
    machine.coordinator()
    machine.said("node", "node.joined")
    with handoff.connect(machine.address, secret=machine.secret) as client:
        assert client.submit(abs, -3).result(20) == 3
    most = 1 + (time.monotonic() - began) / AWAITED_SECONDS
    assert machine.log("node").count("coordinator.awaited") <= most and node.poll() is None


def test_a_node_that_waits_can_be_stopped(machine: Machine) -> None:
    """SIGTERM ends it at once, with status 0."""
    node = machine.node()
    machine.said("node", "coordinator.awaited")
    began = time.monotonic()
    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0
    assert time.monotonic() - began < 3


def test_a_node_with_another_secret_does_not_wait(machine: Machine) -> None:
    """Who is refused has to be looked after by a person: one line, status 3."""
    secret.create_file(machine.home / "other")
    machine.coordinator()
    machine.said("coordinator", "coordinator.listening")
    node = machine.node(secret_file="other")
    assert node.wait(20) == 3
    assert machine.log("node").count("Refused: ") == 1 and "wrong secret" in machine.log("node")
    assert "coordinator.awaited" not in machine.log("node")
