"""Ctrl-C in a terminal: every long-running command ends soon, with status 130, and leaves no process behind."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from daemons import House, environment

GRAPH = """
import time
from handoff import DAG

def slow():
    time.sleep(60)

dag = DAG("slow")
dag.call(slow, id="s")
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A cluster that a node may join."""
    made = House(tmp_path_factory.mktemp("house"), GRAPH, "1")
    try:
        yield made
    finally:
        made.stop()


def interrupted(arguments: list[str], house: House, until: str, mark: str) -> tuple[int, str]:
    """Start a command in a terminal of its own, type Ctrl-C when it has said this; its status, and all that was on the screen."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(house.home)
        os.execve(sys.executable, [sys.executable, *arguments], {**environment(house.home), "HANDOFF_TEST_MARK": mark, "TERM": "xterm"})
    screen, typed, deadline = b"", False, time.monotonic() + 40
    try:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    more = os.read(terminal, 4096)
                except OSError:   # the other end is closed
                    break
                screen += more
                if not more:
                    break
            if not typed and re.search(until.encode(), screen):
                os.write(terminal, b"\x03")
                typed = True
        assert typed, screen
        ended, status = os.waitpid(process, os.WNOHANG if time.monotonic() >= deadline else 0)
        assert ended, screen
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(status), screen.decode(errors="replace")


@pytest.mark.parametrize(("command", "until", "said"), [
    (["-m", "handoff.cli.main", "run", "user/graphs.py:dag"], "0/1.* 1 on nodes", "RunCancelled"),
    (["-m", "handoff.cli.main", "coordinator", "--port", "0", "--secret-file", "secret"], "coordinator.listening", "coordinator.stopped"),
    (["-m", "handoff.node", "--name", "gamma", "--cpus", "1", "--secret-file", "secret", "--coordinator", "AT"],
     "node.joined", "node.stopped"),
])
def test_ctrl_c_cleans_up(house: House, tmp_path: Path, command: list[str], until: str, said: str) -> None:
    """An orderly end, no traceback, and nothing that still runs."""
    mark = str(tmp_path)

    status, screen = interrupted([house.address if word == "AT" else word for word in command], house, until, mark)

    assert status == 130, screen
    assert said in screen and "Traceback" not in screen
    deadline = time.monotonic() + 10
    while left := marked(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def marked(mark: str) -> list[psutil.Process]:
    """Processes that are left."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HANDOFF_TEST_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
