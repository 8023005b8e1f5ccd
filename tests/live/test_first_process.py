"""Commands of Handoff as process 1 of a container, here of a PID namespace, which needs `unshare` and a kernel that allows it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from daemons import environment
from witness import until

from handoff.trust import secret

ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child"]
COMMANDS = {
    "coordinator": ["handoff.coordinator", "--port", "0", "--state", ""],
    "node": ["handoff.node", "--coordinator", "127.0.0.1:1"],                # waits for one
    "handoff": ["handoff.cli.main", "coordinator", "--port", "0", "--state", ""],
}
# Somebody who was left behind by a shell that goes on as the command; it tells when it has ended.
ORPHAN = '{ sleep 0.1; echo over; } & exec "$@"'
WAITS = """
import signal, sys
from handoff.service import step_aside
step_aside()
signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
print("waits", flush=True)
while True:
    signal.pause()
"""


class Container:
    """One process, and what it leaves behind."""

    def __init__(self, home: Path, *command: str) -> None:
        secret.create_file(home / "secret")
        self.process = subprocess.Popen(
            [*ALONE, *command], cwd=home, env={**environment(home), "HANDOFF_SECRET_FILE": str(home / "secret")},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def says(self) -> str:
        """The next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def inside(self) -> list[psutil.Process]:
        """Who is there, process 1 before all others."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def has_remains(self) -> bool:
        """Whether some of them have ended, and nobody has looked after them."""
        for each in self.inside():
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.status() == psutil.STATUS_ZOMBIE:
                    return True
        return False


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where it runs, unless this machine allows no such thing."""
    try:
        subprocess.run([*ALONE, "true"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no PID namespace can be made here: {error}")
    return tmp_path


@pytest.fixture
def made() -> Iterator[list[Container]]:
    """Containers to be ended when the test is over."""
    several: list[Container] = []
    yield several
    for each in several:
        with each.process:
            each.process.kill()


@pytest.mark.parametrize("command", COMMANDS)
def test_orphans_leave_no_remains(home: Path, made: list[Container], command: str) -> None:
    """A program that was left behind ends, and nothing is left of it, whatever else there is."""
    made.append(container := Container(home, "sh", "-c", ORPHAN, "sh", sys.executable, "-m", *COMMANDS[command]))
    assert container.says() == "over"
    until(lambda: len(container.inside()) >= 2 and not container.has_remains(), lambda: str(container.inside()))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 7), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 129)])
def test_signals_have_their_effect(home: Path, made: list[Container], number: signal.Signals, status: int) -> None:
    """What is sent to process 1 does what it does elsewhere, where there is a handler and where there is none; and so is the status."""
    made.append(container := Container(home, sys.executable, "-c", WAITS))
    assert container.says() == "waits"
    container.inside()[0].send_signal(number)
    assert container.process.wait(20) == status
