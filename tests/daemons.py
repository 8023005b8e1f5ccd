"""A coordinator and two nodes as processes with logs, the way that a user starts them; for tests of what users and logs are told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from handoff.trust import secret

NODES = (("alpha", ["--cpus", "2", "--memory", "200", "--gpus", "0"]), ("beta", ["--cpus", "1", "--memory", "100", "--gpus", "2"]))


class House:
    """A coordinator and two nodes as a user starts them, their secret, and their logs."""

    def __init__(self, home: Path, graphs: str, node_timeout: str) -> None:
        self.home = home
        self.secret_file = home / "secret"
        self.secret = secret.create_file(self.secret_file)
        self.graphs = home / "user" / "graphs.py"   # not where the nodes look for modules
        self.graphs.parent.mkdir()
        self.graphs.write_text(graphs)
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            coordinator = ["handoff.coordinator", "--port", "0", "--set", f"scheduler.node_timeout_seconds={node_timeout}"]
            self.coordinator = self.start("coordinator", coordinator)
            listening = self.said("coordinator", r"coordinator.listening .*port=(\d+)")
            self.address = f"127.0.0.1:{listening[1]}"
            for name, offer in NODES:
                self.start(name, ["handoff.node", "--coordinator", self.address, "--name", name, *offer])
            self.node_ports = {name: int(self.said(name, r"node.joined .*port=(\d+)")[1]) for name, _ in NODES}
        except BaseException:
            self.stop()
            raise

    def start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        """A daemon whose log is NAME.log."""
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments, "--secret-file", str(self.secret_file)], env=environment(self.home), cwd=self.home,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self.processes.append(process)
        return process

    def said(self, name: str, pattern: str) -> re.Match[str]:
        """The line of that log which matches, as soon as it is there."""
        deadline = time.monotonic() + 20
        while True:
            text = (self.home / f"{name}.log").read_text()
            if found := re.search(pattern, text):
                return found
            assert time.monotonic() < deadline, f"{name} did not say {pattern!r}:\n{text}"
            time.sleep(0.02)

    def stop(self) -> None:
        """End all that run."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(20)


def environment(home: Path) -> dict[str, str]:
    """Nothing of the person who runs the tests, but where Python finds what."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANDOFF_", "XDG_"))}
    return {**kept, "HOME": str(home)}
