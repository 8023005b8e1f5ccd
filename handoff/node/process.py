"""One worker process as its node sees it: started, listened to, killed, and its end explained."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from handoff.loop import this_turn
from handoff.node.last_will import LastWill
from handoff.node.phrases import CUDA_BROKEN_STATUS, MARKER_BYTES
from handoff.node.pipe import Frame, NodePipe
from handoff.node.pipes import Pipes

KILLED = "killed by SIGKILL (out of memory, if nobody killed it by hand)"
WROTE_BYTES_MAX = 4096     # of what a worker wrote that ended as it started: its last words say why
FILES_MAX = 65_536  # each large value on a node is an open file; the usual soft limit of 1,024 is soon reached


class WorkerProcess:
    """Started by the constructor. `heard` gets frames, `gone` is called once, with the reason, when nothing more can come."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipes: Pipes,
        environment: Mapping[str, str],
        heard: Callable[[list[Frame]], None],
        gone: Callable[[str], None],
        will: LastWill,
    ) -> None:
        self._loop, self._gone, self._will = loop, gone, will
        self._kill_reason: str | None = None
        self._over = False
        with contextlib.ExitStack() as kept, contextlib.ExitStack() as lent:   # descriptors may run out at each step: then all are closed
            marker = os.memfd_create("handoff-marker", os.MFD_CLOEXEC)
            lent.callback(os.close, marker)
            self._wrote = os.memfd_create("handoff-first-words", os.MFD_CLOEXEC)
            kept.callback(os.close, self._wrote)
            log = os.dup(2)
            lent.callback(os.close, log)
            ours, theirs = socket.socketpair()
            kept.callback(ours.close)
            lent.callback(theirs.close)
            os.ftruncate(marker, MARKER_BYTES)
            self._marker = memoryview(mmap.mmap(marker, MARKER_BYTES)).cast("Q")
            self._process = subprocess.Popen(
                # -P: else a file socket.py in the working directory, which may be /tmp, would be taken for the standard module.
                [sys.executable, "-P", "-m", "handoff.node.child", "--fd", str(theirs.fileno()), "--marker", str(marker),
                 "--log", str(log)],
                pass_fds=(theirs.fileno(), marker, log),
                stdin=subprocess.DEVNULL,
                stdout=self._wrote,  # what is printed past Python goes to the node's stderr, its log, once the process has come up
                stderr=self._wrote,
                start_new_session=True,  # a group of its own, to be killed with everything it started; no Ctrl-C from our terminal
                env=environment,
            )
            kept.pop_all()
        self.pid = self._process.pid
        will.add(self.pid)
        self.pipe = NodePipe(ours, loop, pipes, heard, self._pipe_ended)
        self._exit_fd = _watch(self.pid)
        if self._exit_fd is not None:
            loop.add_reader(self._exit_fd, self._exited)
        else:
            loop.run_in_executor(None, self._process.wait).add_done_callback(lambda _: self._exited())

    @property
    def has_come_up(self) -> bool:
        """Whether it has loaded all that it needs."""
        return self._wrote < 0

    def came_up(self) -> None:
        """It has loaded all that it needs, and writes to the node's log itself from now on."""
        if self._wrote >= 0:
            os.close(self._wrote)
            self._wrote = -1

    def last_words(self) -> str | None:
        """The end of what it wrote before it had come up; None: it has come up."""
        if self.has_come_up:
            return None
        data = os.pread(self._wrote, WROTE_BYTES_MAX, max(0, os.fstat(self._wrote).st_size - WROTE_BYTES_MAX))
        return data.decode("utf-8", "replace").strip()

    def executing(self) -> tuple[int, int] | None:
        """Batch and index of what executes, or executed when it died; None when it was idle. Not after `gone` was called."""
        index = self._marker[1]  # read first: read last, it might be that in a later batch, and what was begun of this one seem not begun
        batch = self._marker[0]
        return (batch, index) if batch else None

    def timed(self) -> tuple[int, int, float | None] | None:
        """The same, with when its call began; None there: not yet. None at all also when it goes from task to task while we look."""
        found = self.executing()
        began = self._marker[3]
        return (*found, began / 1e9 if began else None) if found is not None and self.executing() == found else None

    def begin_no_more(self, batch: int) -> None:
        """Of this batch and those before it nothing more is to be begun. It may be deep in a task: this needs nothing of it."""
        self._marker[2] = batch

    def kill(self, reason: str) -> None:
        """End it and everything it started, now."""
        if self._kill_reason is None:
            self._kill_reason = reason
        self._signal_group()

    def _signal_group(self) -> None:
        # As long as the process is not waited for, its number can't belong to anybody else.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # in the moment before it has its own group

    def _pipe_ended(self, reason: str) -> None:
        # Usually the process just ended, and its exit will be seen at once. One that lives on without its pipe is of no use.
        self._loop.call_later(0.2, self._end_without_pipe, reason)

    def _end_without_pipe(self, reason: str) -> None:
        if not self._over:
            self.kill(reason)

    def _exited(self) -> None:
        if self._over:
            return
        self._over = True
        if self._exit_fd is not None:
            self._loop.remove_reader(self._exit_fd)
            os.close(self._exit_fd)
        with this_turn():  # nothing new is given to it because of its last words
            while self.pipe.read():  # what it said last is still true
                pass
            self.pipe.close()
            self._signal_group()  # what it started goes with it
            self._will.remove(self.pid)
            status = self._process.wait()
            was_killed = self._kill_reason is not None and status < 0   # else it had ended by itself before the signal came
            self._gone(f"killed: {self._kill_reason}" if was_killed else ended(status))
            self.came_up()   # it never will: its words have been read
        self._marker.release()  # its memory and descriptor go now; this object, which its callbacks name, goes with some garbage collection


def ended(status: int) -> str:
    """How a process ended, for people."""
    if status == CUDA_BROKEN_STATUS:
        return "left: after an error on a GPU, CUDA works in this process no more"
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return KILLED if status == -signal.SIGKILL else f"killed by {name}"


def worker_environment(environment: Mapping[str, str] | None) -> dict[str, str]:
    """What a worker sees: the node's environment, or the one that is given, without anything secret, and able to import Handoff."""
    source = os.environ if environment is None else environment
    kept = {name: value for name, value in source.items() if not name.startswith("HANDOFF_SECRET") and name != "CREDENTIALS_DIRECTORY"}
    root = str(Path(__file__).parents[2])
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:  # run from a source tree: it may not be installed
        kept["PYTHONPATH"] = os.pathsep.join(path for path in (kept.get("PYTHONPATH", ""), root) if path)
    return kept


def raise_file_limit() -> None:
    """Allow this process, and the workers it starts, as many open files as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _watch(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
