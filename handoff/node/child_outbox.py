"""What a worker has to say to its node, gathered for a moment so that many short tasks cost one system call.

The main thread appends finished tasks to columns and flushes when it is time. A helper thread flushes what lies there while the main
thread is deep in a long task, so that no result and no printed line waits for the end of another task.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from handoff.node.phrases import OUTPUT, RESULTS
from handoff.node.pipe import CROWDED_SECONDS, frame, send_descriptors
from handoff.node.shared_memory import SharedValue

GATHER_SECONDS = 0.0005       # results that somebody waits for are gathered this long: far above a system call,
PATIENT_SECONDS = 0.003       # and others this long: each time costs the node a turn
LINE_SECONDS = 0.02           # the same for printed lines, which only people wait for
LARGE_BYTES = 1024 * 1024     # a value in shared memory is sent at once from this size on, ...
LARGE_MAX = 32                # ... or as the last of so many
LINES_MAX = 200               # in one frame, which stays far below pipe.ANSWER_BYTES_MAX
TEND_SECONDS = 0.005          # how often the helper looks, while there is something to see
TEND_SECONDS_MAX = 0.1        # and when there is not


class Outbox:
    """The one writer of the worker's socket."""

    _clock = staticmethod(time.monotonic)     # as it was when this was loaded: user code may put another in its place

    def __init__(self, sock: socket.socket, leave: Callable[[], None]) -> None:
        self._sock, self._leave = sock, leave  # leave: called when there is nobody to speak to any more
        self._lock = threading.Lock()         # whoever holds it sends; appending needs no lock
        # Columns of the results not yet sent. Appended in this order, so that the last one tells how many are complete.
        self.values: list[bytes | SharedValue] = []
        self.seconds = array("d")
        self.ended = array("d")
        self.flushed = 0.0                    # when, on the monotonic clock
        self._large = self._large_sent = 0    # how many of them are in shared memory: counted by the main thread, by whoever sends
        self._batch = 0
        self._first = 0                       # index of the first result in the columns
        self._lines: list[tuple[int, int, str, str]] = []  # run, task, stream, text
        self._lines_flushed = 0.0
        self._busy = False                    # inside a batch
        self._wake = threading.Event()
        self._helper: threading.Thread | None = None
        self._owner = os.getpid()

    # ── results of consecutive tasks ────────────────────────────────────────

    def begin(self, batch: int, count: int) -> None:
        """A batch starts; its results will come in order, from index 0."""
        self._batch, self._first, self.flushed = batch, 0, self._clock()
        if count > 1:
            self._busy = True
            self._call_helper()

    def end(self) -> None:
        """The batch is over."""
        self.flush()
        self._busy = False

    def skip(self) -> None:
        """The task at hand will have no entry in the columns: send those before it, and go on behind it."""
        with self._lock:
            self._send(*self._gathered())
            self._first += 1

    def is_due(self, value: SharedValue) -> bool:
        """Count a value that is about to be appended; whether it had better be sent now."""
        self._large += 1
        return value.nbytes >= LARGE_BYTES or self._large - self._large_sent >= LARGE_MAX

    def flush(self) -> None:
        """Send everything gathered."""
        with self._lock:
            self._send(*self._gathered())

    # ── everything else ─────────────────────────────────────────────────────

    def say(self, said: Any, values: Sequence[SharedValue] = ()) -> None:
        """Send this, behind everything gathered."""
        with self._lock:
            gathered, large = self._gathered()
            if values:
                self._send(gathered, large)
                self._send(frame(said, len(values)), values)
            else:
                self._send(gathered + frame(said), large)

    def line(self, run: int, task: int, stream: str, text: str) -> None:
        """A printed line. Never waits for a lock: it may be printed by a finalizer that runs while this very thread is sending."""
        self._lines.append((run, task, stream, text))
        if self._clock() - self._lines_flushed > LINE_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._send(*self._gathered())
            finally:
                self._lock.release()
        else:
            self._call_helper()

    def _gathered(self) -> tuple[bytes, list[SharedValue]]:
        """Frames of all that waits, lines first, so that the node still knows their tasks; and what of it is large. With the lock."""
        data, large = b"", []
        while self._lines:
            lines = self._lines[:LINES_MAX]
            del self._lines[: len(lines)]
            runs, tasks, streams, texts = zip(*lines, strict=True)
            data += frame([OUTPUT, runs, array("I", tasks).tobytes(), streams, texts])
            self._lines_flushed = self._clock()
        count = len(self.ended)
        if count:
            values: list[Any] = self.values[:count]
            if self._large != self._large_sent:
                large = [value for value in values if type(value) is SharedValue]
                values = [value.nbytes if type(value) is SharedValue else value for value in values]
                self._large_sent += len(large)
            said = [RESULTS, self._batch, self._first, values, self.seconds[:count].tobytes(), self.ended[:count].tobytes()]
            data += frame(said, len(large))
            del self.values[:count], self.seconds[:count], self.ended[:count]
            self._first += count
            self.flushed = self._clock()
        return data, large

    def _send(self, data: bytes, values: Sequence[SharedValue] = ()) -> None:
        if not data:
            return
        if os.getpid() != self._owner:
            self._leave()  # a process forked by user code came back into our loop: it has no business here
        try:
            if values:
                while not (sent := send_descriptors(self._sock, data, [value.fd for value in values])):
                    time.sleep(CROWDED_SECONDS)
                data = data[sent:]
            if data:
                self._sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._leave()  # the node is gone, and nobody needs what this process does

    # ── the helper thread ───────────────────────────────────────────────────

    def _call_helper(self) -> None:
        if not self._wake.is_set():
            self._wake.set()
            if self._helper is None:
                helper = threading.Thread(target=self._tend, name="handoff-outbox", daemon=True)
                try:
                    helper.start()
                except RuntimeError:   # the system lets us start no more of them: what is here is said when the task at hand is over
                    self._wake.clear()
                    return
                self._helper = helper

    def _tend(self) -> None:
        pause = TEND_SECONDS
        while True:
            self._wake.wait()
            time.sleep(pause)
            if self._lines or len(self.ended):
                self.flush()
                pause = TEND_SECONDS
                continue
            pause = min(2 * pause, TEND_SECONDS_MAX)
            if not self._busy:
                self._wake.clear()
                pause = TEND_SECONDS
                if self._busy or self._lines:  # said between the look and the clearing
                    self._wake.set()

    def disown(self) -> None:
        """In a process that user code forked: let go of the socket, so that the node sees the end of the worker and not of its children."""
        self._lock = threading.Lock()
        self._lines.clear()
        self._sock.close()
