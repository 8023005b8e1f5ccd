"""How a daemon's process starts and ends, with a daemon that does nothing; in processes of their own, since signals are theirs."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from handoff import service
from handoff.service import give_back_memory
from handoff.trust import secret

PROGRAM = """
import asyncio, sys
from handoff.errors import Refused
from handoff.service import parser, serve

class Idle:
    def __init__(self, settings, secret):
        print("made", settings.node.batch_max, secret.cluster_id, flush=True)
    async def start(self):
        self.over = asyncio.Event()
        if "{behaviour}" == "slow":
            print("starting", flush=True)
            await asyncio.sleep(60)
        if "{behaviour}" == "refused":
            raise Refused("wrong secret")
        print("started", flush=True)
    async def wait(self):
        await self.over.wait()
        if "{behaviour}" == "stuck":
            print("stopping", flush=True)
            await asyncio.sleep(60)
        print("stopped", flush=True)
    def drain(self):
        print("draining" if "{behaviour}" == "drains" else "asked", flush=True)
        return "{behaviour}" == "drains"
    def stop(self):
        self.over.set()

sys.exit(serve(parser("idle", "Does nothing.", "").parse_args(), Idle))
"""


class Daemon:
    """One that runs the program above."""

    def __init__(self, *arguments: str, behaviour: str = "", pass_fds: tuple[int, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.replace("{behaviour}", behaviour), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=pass_fds,
        )

    def says(self) -> str:
        """The next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ends(self) -> tuple[int, str, str]:
        """Exit status, and what else it said."""
        out, error = self.process.communicate(timeout=30)
        return self.process.returncode, out.strip(), error.strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A secret file."""
    secret.create_file(tmp_path / "secret", secret.generate())
    return tmp_path / "secret"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_stops_it_in_order(file: Path, number: signal.Signals, status: int) -> None:
    """It stops its work and ends with the status that fits; settings and secret reached it."""
    daemon = Daemon("--secret-file", str(file), "--set", "node.batch_max=7")
    assert daemon.says() == f"made 7 {secret.read(file).cluster_id}"
    assert daemon.says() == "started"

    daemon.process.send_signal(number)

    code, out, error = daemon.ends()
    assert (code, out.splitlines()[-1]) == (status, "stopped")
    assert f"service.stopping reason={number.name}" in error


def test_a_second_signal_ends_it_now(file: Path) -> None:
    """A daemon that hangs while stopping does not hold up a person who insists."""
    daemon = Daemon("--secret-file", str(file), behaviour="stuck")
    assert [daemon.says(), daemon.says()][1] == "started"
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.says() == "stopping"

    daemon.process.send_signal(signal.SIGINT)

    assert daemon.ends()[0] == -signal.SIGINT


def test_the_first_sigterm_lets_it_leave_in_order_and_the_second_stops_it(file: Path) -> None:
    """A daemon that others need is given time, unless somebody insists."""
    daemon = Daemon("--secret-file", str(file), behaviour="drains")
    assert [daemon.says(), daemon.says()][1] == "started"
    daemon.process.terminate()
    assert daemon.says() == "draining"

    daemon.process.terminate()

    assert daemon.ends()[:2] == (0, "stopped")


def test_a_daemon_with_a_lifeline_is_stopped_by_the_first_sigterm(file: Path) -> None:
    """An embedded cluster ends as a whole: its nodes have nobody to leave to."""
    ours, theirs = os.pipe()
    daemon = Daemon("--secret-file", str(file), "--lifeline-fd", str(ours), behaviour="drains", pass_fds=(ours,))
    os.close(ours)
    assert [daemon.says(), daemon.says()][1] == "started"

    daemon.process.terminate()

    assert daemon.ends()[:2] == (0, "stopped")
    os.close(theirs)


def test_it_can_be_stopped_while_it_starts(file: Path) -> None:
    """A coordinator that does not answer does not keep a node from ending."""
    daemon = Daemon("--secret-file", str(file), behaviour="slow")
    assert [daemon.says(), daemon.says()][1] == "starting"

    daemon.process.terminate()

    assert daemon.ends()[0] == 0


def test_it_ends_with_its_parent(file: Path) -> None:
    """The end of the lifeline stops it; until then Ctrl-C in the terminal that it shares with its parent does not."""
    ours, theirs = os.pipe()
    daemon = Daemon("--secret-file", str(file), "--lifeline-fd", str(ours), pass_fds=(ours,))
    os.close(ours)
    assert [daemon.says(), daemon.says()][1] == "started"
    daemon.process.send_signal(signal.SIGINT)

    os.close(theirs)

    code, out, error = daemon.ends()
    assert (code, out) == (0, "stopped")
    assert "the process that started this one is gone" in error and "SIGINT" not in error


def test_its_secret_can_come_through_a_pipe() -> None:
    """Then no file is looked at."""
    made = secret.generate()
    ours, theirs = os.pipe()
    os.write(theirs, made.text.encode())
    os.close(theirs)
    daemon = Daemon("--secret-fd", str(ours), pass_fds=(ours,))
    os.close(ours)

    assert daemon.says().endswith(made.cluster_id)
    assert daemon.says() == "started"    # before that, nobody listens for signals
    daemon.process.terminate()
    assert daemon.ends()[0] == 0


@pytest.mark.parametrize(("arguments", "behaviour", "status", "said"), [
    (["--secret-file", "/nope"], "", 2, "ConfigError: secret file /nope is not there; copy it"),
    (["--set", "node.batch_maxx=1"], "", 2, "ConfigError: --set: unknown setting node.batch_maxx; did you mean node.batch_max?"),
    (["--set", "nonsense"], "", 2, "idle: argument --set: 'nonsense' is not NAME=VALUE (see idle --help)"),
    (["--log-level", "loud"], "", 2, "idle: argument --log-level: invalid choice: 'loud'"),
    (["--frobnicate"], "", 2, "idle: unrecognized arguments: --frobnicate (see idle --help)"),
    (["--secret-file", "FILE"], "refused", 3, "Refused: wrong secret"),
])
def test_what_goes_wrong_is_one_line_and_a_status(file: Path, arguments: list[str], behaviour: str, status: int, said: str) -> None:
    """2 for usage and settings, 3 for a cluster that does not want us; never a traceback."""
    code, _, error = Daemon(*[str(file) if each == "FILE" else each for each in arguments], behaviour=behaviour).ends()

    assert code == status
    assert error.startswith(said) and "\n" not in error


def test_a_daemon_can_not_unpickle() -> None:
    """The hook is there before anything else."""
    served = 'serve(parser("idle", "", "").parse_args(["--secret-file", "/nope"]), None)'
    program = f"import pickle\nfrom handoff.service import parser, serve\n{served}\npickle.loads(b'cos\\nsystem\\n.')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert "this process may not unpickle, and something tried to load os.system" in ran.stderr


def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    """Values of a middle size lie in the heap of the C library, which keeps it all while anything lies above."""
    process = psutil.Process()
    several = [bytes([number % 256]) * 50_000 for number in range(4000)]
    above = [bytes([number % 256]) * 50_000 for number in range(10)]
    del several
    before = process.memory_info().rss
    give_back_memory()
    assert len(above) == 10 and before - process.memory_info().rss > 100_000_000


async def test_a_daemon_tidies_up_once_it_has_little_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while it works, not again while nothing happens, and not after next to nothing. No thread of it stays."""
    threads = threading.active_count()
    given_back: list[int] = []
    looks = itertools.count()
    used = iter([0.0, 0.0, 0.01, 0.02, 1.0, 2.0, 2.0, 2.0])     # processor time at each look
    monkeypatch.setattr(service, "TIDY_SECONDS", 0.001)
    monkeypatch.setattr(service, "give_back_memory", lambda: given_back.append(next(looks)))
    monkeypatch.setattr(service.time, "process_time", lambda: next(used, 2.0))
    tidying = asyncio.create_task(service._tidy())
    await asyncio.sleep(0.2)
    tidying.cancel()

    assert len(given_back) == 1 and threading.active_count() == threads
