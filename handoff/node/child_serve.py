"""What a worker process does all day: reads what its node says, and does it, until the node closes the socket."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from handoff.node import child_output
from handoff.node.child_batch import Batch, Library
from handoff.node.child_outbox import Outbox
from handoff.node.child_output import Output
from handoff.node.child_run import Runner
from handoff.node.child_surroundings import Surroundings
from handoff.node.current import answer_with, current_task
from handoff.node.phrases import BATCH, CANCEL, CODE, FORGET_CODE, MAP, SETUP, UNMAP
from handoff.node.pipe import FRAME_BYTES_MAX, Frame, FrameReader

INLINE_BYTES = 64 * 1024      # until SETUP says otherwise
OUTPUT_BYTES = 1024 * 1024    # a second, likewise
KEPT_BYTES = 8 * 1024 * 1024  # blocks up to this size are made of memory that was freed before, and not of fresh pages
OOM_SCORE = 500               # when memory runs out, the kernel shall take a worker and not the node
_PR_SET_PDEATHSIG = 1


class Worker:
    """Owns the rooms of a worker process. `marker`: numbers in memory shared with the node."""

    def __init__(self, sock: socket.socket, marker: memoryview, leave: Callable[[], None] = lambda: os._exit(0)) -> None:
        self._sock = sock
        self._reader = FrameReader(sock, FRAME_BYTES_MAX)
        self._waiting: deque[Frame] = deque()  # heard, and not done yet
        self._is_over = False                  # the node has closed the socket, or
        self._broken: BaseException | None = None     # something that it said is lost
        self._outbox = Outbox(sock, leave)
        self._output = Output(self._outbox.line, _origin, OUTPUT_BYTES)
        self._library = Library()
        self._runner = Runner(self._outbox, self._output, marker, INLINE_BYTES, self._make_loop)
        self._loop: Any = None        # made, with asyncio, when the first coroutine comes that runs as functions do
        self._streams: tuple[TextIO, TextIO] = sys.stdout, sys.stderr    # where tasks begin to print to
        self._surroundings = Surroundings()
        self._coroutines: Any = None  # made, with its thread and asyncio, when the first of those comes that run side by side
        answer_with(self._runner.current)

    def capture(self) -> None:
        """Take over what this process prints and logs, and what its tasks change around them."""
        child_output.capture(self._output)
        self._surroundings.watch()
        self._streams = sys.stdout, sys.stderr
        os.register_at_fork(after_in_child=self._forked)
        gc.collect()
        gc.freeze()  # what is loaded now stays: collections during tasks need not look at it

    def _forked(self) -> None:
        child_output.release()
        self._outbox.disown()

    def serve(self) -> None:
        """Returns when the node has closed the socket; raises what kept it from hearing all that the node said."""
        waiting = self._waiting
        while not self._is_over:
            if self._loop is None:
                self._hear()
            else:
                self._loop.await_news()
            while waiting and not self._is_over:
                self._do(waiting.popleft())
        if self._broken is not None:
            raise self._broken

    def _make_loop(self) -> Any:
        from handoff.node.child_loop import Loop

        self._loop = Loop(self._sock.fileno(), self._hear)
        return self._loop

    def _hear(self) -> bool:
        """Read, which may be while a coroutine runs: that is cancelled at once, all else is done when it has ended. False: it is over."""
        try:
            frames = self._reader.read()
        except (EOFError, ConnectionError):
            self._is_over = True
            return False
        except Exception as error:  # an event loop, which may have called us, would go on without what is lost
            self._is_over, self._broken = True, error
            return False
        for said, _ in frames:
            if said[0] == CANCEL:
                self._runner.cancel(said[1], said[2])
        self._waiting.extend(frames)
        return True

    def _do(self, heard: Frame) -> None:
        said, descriptors = heard
        what = said[0]
        if what == BATCH:
            self._start(Batch(self._library, said))
        elif what == CODE:
            self._library.keep_code(said[1], said[2])
        elif what == MAP:
            for serial, nbytes, descriptor in zip(said[1], said[2], descriptors, strict=True):
                self._library.map(serial, nbytes, descriptor)
        elif what == UNMAP:
            self._library.unmap(said[1])
        elif what == FORGET_CODE:
            self._library.forget_codes(said[1])
        elif what == CANCEL:
            for index in said[2] if self._coroutines is not None else ():
                self._coroutines.cancel(said[1], index)
        elif what == SETUP:
            self._runner.inline_bytes, self._output.bytes_per_second = said[1], said[2]

    def _start(self, batch: Batch) -> None:
        if batch.devices:  # before any of its code is loaded; always the same ones in this process, since CUDA looks but once
            os.environ["CUDA_VISIBLE_DEVICES"] = batch.devices
            os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order in which the driver's tools, and we, count them
        if batch.is_at_once:
            if self._coroutines is None:
                from handoff.node.child_async import Coroutines

                self._coroutines = Coroutines(self._outbox, self._output, self._runner.inline_bytes)
            self._coroutines.start(batch)
        else:
            sys.stdout, sys.stderr = self._streams    # one that ran here before may have left a file there, or nothing
            self._surroundings.restore()
            self._runner.run(batch)
            self._is_over |= not self._surroundings.unlimit()    # then we end, and what was given to us is given to another


def keep_freed_memory() -> None:
    """Let the C library keep what tasks free, up to twice this size, for the next ones.

    By default it gives all but 128 kB back, and takes it again page by page. One block of this size that is freed tells it that blocks of
    this size come and go (glibc: see M_MMAP_THRESHOLD in mallopt(3)). None of its pages is touched: bytes of zeros come as they are.
    """
    bytes(KEPT_BYTES)


def _origin() -> tuple[int, int] | None:
    current = current_task()
    return None if current is None else (current.run, current.task)


def protect() -> None:
    """Die when the node dies (if it died before this, its socket tells), and be the kernel's first choice when memory runs out.

    And take no core from the node by being woken: what it says next may be what another worker, or another node, waits for.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):    # the policy for what computes: it gets as much of a core, but at the next turn
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    score = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        score.write_text(str(min(1000, int(score.read_text()) + OOM_SCORE)))
