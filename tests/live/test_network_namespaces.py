"""Machines of a cluster as network namespaces: a coordinator and nodes that listen everywhere, and a cable that is pulled.

Needs root and `ip` (iproute2); skipped, saying so, where they are missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import environment

from handoff.trust import secret

LOST_SECONDS = 2.0
PORT = 7070
HOSTS = {"head": "10.77.0.1", "alpha": "10.77.0.2", "beta": "10.77.0.3"}

# Makes values on both nodes, too large to travel in messages, and brings them to one place; the second half when it is told to go on.
PROGRAM = f"""
import json, sys, time
from handoff import DAG, Function, connect

def part(number, seconds):
    import os, time
    time.sleep(seconds)
    return number, os.environ["MACHINE"], bytes(200_000)

def total(*parts):
    return sorted((number, len(data)) for number, _, data in parts), sorted(set(machine for _, machine, _ in parts))

def graph(count, seconds):
    dag = DAG()
    for number in range(count):
        dag.add(Function(id=number, code=part, extra_args=[number, seconds], cost={{"cpu": 1}}))
    dag.add(Function(id="total", code=total, args=list(range(count)), node="alpha", cost={{"cpu": 1}}))
    return dag

def said(**facts):
    print(json.dumps(facts), flush=True)

with connect("{HOSTS['head']}:{PORT}") as client:
    for line in sys.stdin:
        count, seconds = json.loads(line)
        run = client.start(graph(count, seconds), returns=["total"])
        while run.status().done < 6:
            time.sleep(0.02)
        said(nodes={{node.name: node.address for node in client.nodes()}})
        numbers, machines = run.result(timeout=50).results["total"]
        said(complete=numbers == [(number, 200_000) for number in range(count)], machines=machines)
"""


def ip(*arguments: str) -> None:
    """Change the network."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


class Network:
    """A switch and the hosts on it, each a namespace of its own; and the daemons that run there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.secret_file = home / "secret"
        secret.create_file(self.secret_file)
        self._prefix = f"hof{os.getpid()}"
        self._processes: list[subprocess.Popen[str]] = []
        self._made: list[str] = []
        self._namespace("switch")
        ip("-n", self._of("switch"), "link", "add", "name", "bridge", "type", "bridge")
        ip("-n", self._of("switch"), "link", "set", "bridge", "up")
        for host, address in HOSTS.items():
            self._namespace(host)
            ip("-n", self._of(host), "link", "add", "cable", "type", "veth", "peer", "name", host, "netns", self._of("switch"))
            ip("-n", self._of("switch"), "link", "set", host, "master", "bridge", "up")
            ip("-n", self._of(host), "addr", "add", f"{address}/24", "dev", "cable")
            ip("-n", self._of(host), "link", "set", "cable", "up")

    def _of(self, host: str) -> str:
        return f"{self._prefix}{host}"

    def _namespace(self, host: str) -> None:
        ip("netns", "add", self._of(host))
        self._made.append(self._of(host))
        ip("-n", self._of(host), "link", "set", "lo", "up")

    def pull(self, host: str) -> None:
        """From now on nothing that is sent from or to this host arrives, and nobody is told."""
        ip("-n", self._of("switch"), "link", "set", host, "nomaster")

    def plug(self, host: str) -> None:
        """The cable is back."""
        ip("-n", self._of("switch"), "link", "set", host, "master", "bridge")

    def start(self, host: str, *arguments: str) -> subprocess.Popen[str]:
        """Run Python on that host; its log is HOST.log."""
        with (self.home / f"{host}.log").open("a") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._of(host), sys.executable, *arguments], cwd=self.home, text=True,
                env={**environment(self.home), "MACHINE": host, "HANDOFF_SECRET_FILE": str(self.secret_file)},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )
        self._processes.append(process)
        return process

    def said(self, host: str, pattern: str, times: int = 1) -> re.Match[str]:
        """The line of that host's log which matches, as soon as it is there (so many times)."""
        deadline = time.monotonic() + 20
        while True:
            text = (self.home / f"{host}.log").read_text()
            found = list(re.finditer(pattern, text))
            if len(found) >= times:
                return found[-1]
            assert time.monotonic() < deadline, f"{host} did not say {pattern!r}:\n{text}"
            time.sleep(0.02)

    def end(self) -> None:
        """End the processes, then the network."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.communicate(timeout=20)
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=10)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Three machines, all empty."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2: no network namespaces can be made here")
    bridge = ["unshare", "--net", "ip", "link", "add", "name", "bridge", "type", "bridge"]
    probe = subprocess.run(bridge, check=False, capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"needs network namespaces with bridges: {probe.stderr.strip()}")
    made = Network(tmp_path)
    try:
        yield made
    finally:
        made.end()


def test_machines_that_listen_everywhere_and_a_cable_that_is_pulled(network: Network) -> None:
    """Nodes are reached at the address they came from; one that is cut off for too long is replaced, and comes back as a new one."""
    patience = ["--set", f"scheduler.lost_seconds={LOST_SECONDS}", "--set", "scheduler.suspect_seconds=1"]
    daemon = ("-m", "handoff.node", "--coordinator")
    offer = ("--cpus", "2", "--memory", "500", "--gpus", "0", "--set", "node.peer_lost_seconds=1.5")
    for host in ("alpha", "beta"):  # before there is a coordinator
        network.start(host, *daemon, f"{HOSTS['head']}:{PORT}", "--name", host, *offer)
    network.said("alpha", "coordinator.awaited")
    network.start("head", "-m", "handoff.coordinator", "--host", "0.0.0.0", "--port", str(PORT), *patience)
    for host in ("alpha", "beta"):
        network.said(host, "node.joined")
    lonely = network.start("head", *daemon, f"127.0.0.1:{PORT}", "--name", "lonely", *offer)
    assert lonely.wait(20) == 3
    network.said("head", r"Refused: node 'lonely' listens on 127.0.0.1 alone, .*; start it with --host 0.0.0.0")
    network.start("head", *daemon, f"127.0.0.1:{PORT}", "--name", "head", *offer, "--host", "0.0.0.0")
    network.said("head", "node.joined name=head .*address=127.0.0.1")
    client = network.start("head", "-c", PROGRAM)
    assert client.stdin is not None and client.stdout is not None

    def told() -> dict[str, object]:
        """The next fact."""
        assert client.stdout is not None
        line = client.stdout.readline()
        assert line, (network.home / "head.log").read_text()
        return json.loads(line)  # type: ignore[no-any-return]

    print(json.dumps([12, 0.05]), file=client.stdin, flush=True)
    nodes = told()["nodes"]
    assert isinstance(nodes, dict) and {name: address.rpartition(":")[0] for name, address in nodes.items()} == {
        **HOSTS, "head": "127.0.0.1",
    }
    assert told() == {"complete": True, "machines": ["alpha", "beta", "head"]}

    print(json.dumps([24, 0.4]), file=client.stdin, flush=True)
    told()
    began = time.monotonic()
    network.pull("beta")
    assert told()["complete"] is True
    assert time.monotonic() - began > LOST_SECONDS
    network.said("head", r"peer.forgotten .*name=beta")

    network.plug("beta")
    network.said("beta", "node.joined", times=2)
    print(json.dumps([12, 0.05]), file=client.stdin, flush=True)
    told()
    assert told() == {"complete": True, "machines": ["alpha", "beta", "head"]}
