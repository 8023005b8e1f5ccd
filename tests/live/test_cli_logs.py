"""What the daemons log: one line for each event that matters, as text for people or as JSON for machines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import handoff
from handoff import DAG, Function, errors

FIELD = r'[a-z_]+=("([^"\\]|\\.)*"|[^\s"=]+)'
LINE = re.compile(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z (debug|info|warning|error) +[a-z_]+\.[a-z_]+( {FIELD})*")


class Daemons:
    """A coordinator and a node that log in one format."""

    def __init__(self, home: Path, format: str) -> None:
        self.home, self.format = home, format
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANDOFF_", "XDG_"))}
        self.environment = {**kept, "HOME": str(home)}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("coordinator", "handoff.coordinator", "--port", "0")
        port = self.event("coordinator", "coordinator.listening")["port"]
        self.address = f"127.0.0.1:{port}"
        offer = ["--cpus", "1", "--memory", "100", "--gpus", "0"]
        self._start("node", "handoff.node", "--coordinator", self.address, "--name", "first node", *offer)
        self.event("coordinator", "node.joined")

    def _start(self, name: str, *command: str) -> None:
        with (self.home / f"{name}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(
                [sys.executable, "-m", *command, "--log-format", self.format], env=self.environment, cwd=self.home,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def lines(self, name: str) -> list[str]:
        """Whole lines so far."""
        return (self.home / f"{name}.log").read_text().split("\n")[:-1]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines as fields, whatever the format; each has to be well formed."""
        return [json.loads(line) if self.format == "json" else _read(line) for line in self.lines(name)]

    def event(self, name: str, wanted: str, fits: Callable[[dict[str, Any]], bool] = lambda event: True) -> dict[str, Any]:
        """The first such event, as soon as it is said."""
        deadline = time.monotonic() + 20
        while True:
            for event in self.events(name):
                if event["event"] == wanted and fits(event):
                    return event
            assert time.monotonic() < deadline, f"{name} did not say {wanted}:\n" + "\n".join(self.lines(name))
            time.sleep(0.02)

    def stop(self) -> None:
        """End both, in order."""
        for process in reversed(self.processes):
            process.terminate()
            process.wait(20)


def _read(line: str) -> dict[str, Any]:
    assert LINE.fullmatch(line), line
    time, level, event, *fields = re.findall(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+', line)
    said = {"time": time, "level": level, "event": event}
    for name, value in (field.split("=", 1) for field in fields):
        said[name] = json.loads(value) if value[0] == '"' else value
    return said


@pytest.fixture(params=["text", "json"])
def daemons(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemons]:
    """In either format."""
    made = Daemons(tmp_path, request.param)
    yield made
    made.stop()


def test_the_life_of_a_cluster_is_logged(daemons: Daemons) -> None:
    """Who listens, joins, submits, fails, and leaves; every line is well formed, and says who and which."""
    secret = daemons.home / ".config" / "handoff" / "secret"
    with handoff.connect(daemons.address, secret=secret) as client:
        good = client.execute(DAG("a good one").add(Function("a", code=int))).run_id
        with pytest.raises(errors.FunctionFailed):
            client.execute(DAG("a bad one").add(Function("b", code=lambda: 1 / 0, max_retries=0)))
        with pytest.raises(errors.AllocationError):
            client.execute(DAG('refused="yes"').add(Function("c", code=int, cost={"gpu": 1})))
    said = {event["event"]: event for event in daemons.events("coordinator")}
    assert said["node.joined"]["name"] == daemons.event("node", "node.joined")["name"] == "first node"
    assert int(said["run.done"]["run"]) == good
    assert (said["run.accepted"]["name"], int(said["run.accepted"]["tasks"])) == ("a bad one", 1)
    assert said["run.accepted"]["client"] == said["client.joined"]["name"]
    assert (said["run.failed"]["level"], said["run.failed"]["node"]) == ("warning", "first node")
    assert "ZeroDivisionError" in said["run.failed"]["text"]
    assert (said["run.refused"]["name"], said["run.refused"]["error"]) == ('refused="yes"', "AllocationError")
    assert "gpu" in said["run.refused"]["text"]
    daemons.event("coordinator", "peer.left", lambda event: bool(event["name"] == said["client.joined"]["name"]))

    daemons.stop()
    daemons.event("coordinator", "coordinator.stopped")
    assert daemons.lines("node") and not any(event["level"] in ("warning", "error") for event in daemons.events("node"))
