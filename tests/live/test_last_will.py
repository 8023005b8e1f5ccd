"""What user code started and did not detach ends with its node, also when that is killed; what it detached lives on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from witness import cluster_with, until

from handoff.node.last_will import LastWill

SLEEP = ["sleep", "1000"]


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes to be ended when the test is over, however it ends."""
    made: list[int] = []
    yield made
    for pid in made:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not merely its remains."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def start_two(path: str) -> list[int]:
    """A program, and one that is detached."""
    found = [subprocess.Popen(SLEEP).pid, subprocess.Popen(SLEEP, start_new_session=True).pid]
    Path(path).write_text(f"{os.getpid()}")
    return found


def test_programs_end_with_a_node_that_is_killed(tmp_path: Path, pids: list[int]) -> None:
    """The daemon gets SIGKILL: its worker, and what that started, are gone; a program in a session of its own is not."""
    with cluster_with(1, cpus=1) as cluster, cluster.client() as client:
        pids += client.submit(start_two, str(tmp_path / "worker")).result()
        started, detached = pids
        worker = int((tmp_path / "worker").read_text())
        assert all(map(is_alive, (worker, started, detached)))
        os.kill(cluster.processes["node-1"], signal.SIGKILL)
        until(lambda: not is_alive(worker) and not is_alive(started), "gone")
        assert is_alive(detached)


OWNER = """
import os, sys
from handoff.node.last_will import LastWill
first, second, third = map(int, sys.argv[1:])
will = LastWill()
will.add(first)
will._shell.kill()
will._shell.wait()
will.add(second)
will.add(third)
will.remove(second)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def groups() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three programs, each a group of its own."""
    made = [subprocess.Popen(SLEEP, start_new_session=True) for _ in range(3)]
    yield made
    for each in made:
        each.kill()
        each.wait()


def test_what_has_ended_is_taken_out_and_a_shell_that_is_gone_replaced(groups: list[subprocess.Popen[bytes]]) -> None:
    """Three groups, of which one was taken out; the shell is killed on the way."""
    owner = subprocess.run([sys.executable, "-c", OWNER, *[str(group.pid) for group in groups]], check=False)
    assert owner.returncode == -signal.SIGKILL
    assert [groups[0].wait(20), groups[2].wait(20)] == [-signal.SIGKILL] * 2
    assert groups[1].poll() is None


NO_DESCRIPTORS = """
import os, resource, sys
from handoff.node.last_will import LastWill
first, second = map(int, sys.argv[1:])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
will = LastWill()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
will.add(first)
assert will._shell is None
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
will.add(second)
os.kill(os.getpid(), 9)
"""


def test_what_could_not_be_written_is_written_later(groups: list[subprocess.Popen[bytes]]) -> None:
    """There were no descriptors when the first group came; with the next one there are, and both end."""
    owner = subprocess.run([sys.executable, "-c", NO_DESCRIPTORS, *[str(group.pid) for group in groups[:2]]], check=False)
    assert owner.returncode == -signal.SIGKILL
    assert [groups[0].wait(20), groups[1].wait(20)] == [-signal.SIGKILL] * 2


FORKED = """
import os, sys, time
from handoff.node.last_will import LastWill
will = LastWill()
will.add(int(sys.argv[1]))
child = os.fork()
if child == 0:
    will.remove(int(sys.argv[1]))
    will.close()
    time.sleep(1000)
print(child, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_fork_that_lives_on_keeps_nothing_alive(groups: list[subprocess.Popen[bytes]], pids: list[int]) -> None:
    """As of a `ResourceTracker` with processes of its own: what ends with the node does, whatever that child does with its copy."""
    with subprocess.Popen([sys.executable, "-c", FORKED, str(groups[0].pid)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pids.append(int(owner.stdout.readline()))
    assert groups[0].wait(20) == -signal.SIGKILL
    assert is_alive(pids[0])


def test_a_will_that_is_closed_ends_nothing(groups: list[subprocess.Popen[bytes]]) -> None:
    """As where its groups are to live on."""
    will = LastWill()
    will.add(groups[0].pid)
    will.close()
    assert groups[0].poll() is None
