"""Worker processes that can't be started, and those that come up where nobody reads what they wrote."""

from __future__ import annotations

import errno
import gc
import os
import socket
import subprocess
import sys
import tempfile
from typing import Any

import pytest

from handoff.node.last_will import LastWill
from handoff.node.process import WorkerProcess

STEPS = [(os, "memfd_create", 2), (os, "dup", 1), (socket, "socketpair", 1), (subprocess, "Popen", 1)]


@pytest.mark.parametrize(("where", "what", "turn"), STEPS)
def test_one_that_can_not_be_started_leaves_no_descriptor(where: Any, what: str, turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors run out at some step: those that there are go back, or a node that tries again would soon have none for anything."""
    made, calls = getattr(where, what), []

    def run_out(*args: Any, **options: Any) -> Any:
        calls.append(what)
        if len(calls) == turn:
            raise OSError(errno.EMFILE, "Too many open files")
        return made(*args, **options)

    monkeypatch.setattr(where, what, run_out)
    nothing: Any = None
    gc.collect()    # what other tests have left in circles would be closed meanwhile
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Too many open files"):
        WorkerProcess(nothing, nothing, {}, nothing, nothing, LastWill())
    assert os.listdir("/proc/self/fd") == before


def test_a_worker_comes_up_where_its_words_can_not_be_written() -> None:
    """The disk of the node's log is full; what the worker said while it loaded is lost, and nothing else."""
    with tempfile.TemporaryFile() as wrote:
        wrote.write(b"a warning\n")
        wrote.flush()
        script = "import os; from handoff.node.child import write_to; write_to(os.open('/dev/full', os.O_WRONLY)); os._exit(7)"
        assert subprocess.run([sys.executable, "-c", script], stderr=wrote, check=False).returncode == 7
