"""What user code prints and logs, cut into lines, each marked with the task that wrote it, and limited in size and rate."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

LINE_CHARACTERS_MAX = 64 * 1024

Origin = tuple[int, int]  # run and task


class Output:
    """Takes text from the streams of a worker and hands whole lines to `send(run, task, stream, line)`.

    `origin` tells who is writing. What nobody's task wrote (before the first one) goes to the node's own stderr.
    """

    _clock = staticmethod(time.monotonic)   # as it was when this was loaded: user code may put another in its place

    def __init__(self, send: Callable[[int, int, str, str], None], origin: Callable[[], Origin | None], bytes_per_second: int) -> None:
        self._send, self._origin = send, origin
        self.bytes_per_second = bytes_per_second
        # Begun lines, by thread, stream and task, so that neither threads nor coroutines write into each other's lines. An empty one was
        # too long to wait for its end, which is no line of its own when it comes.
        self.begun: dict[tuple[int, str, Origin], str] = {}
        self.dropped = 0              # lines left out and not yet told of
        self._since, self._bytes = 0.0, 0  # bytes written since then: about a second

    def write(self, stream: str, text: str) -> None:
        """Text as it was printed, with or without line ends."""
        origin = self._origin()
        if not text:
            return
        if origin is None:
            if sys.__stderr__ is not None:
                sys.__stderr__.write(text)
            return
        key = (threading.get_ident(), stream, origin)
        begun = self.begun.pop(key, None)
        *lines, rest = (text.removeprefix("\n") if begun == "" else (begun or "") + text).split("\n")
        for line in lines:
            self.line(origin, stream, line)
        if len(rest) > LINE_CHARACTERS_MAX:
            self.line(origin, stream, rest)
            self.begun[key] = ""
        elif rest:
            self.begun[key] = rest

    def end(self, origin: Origin) -> None:
        """The task is over: what it began to write is a line too, and what was left out is told."""
        for key in [key for key in list(self.begun) if key[2] == origin]:   # threads that tasks started may begin lines meanwhile
            rest = self.begun.pop(key, "")
            if rest:
                self.line(origin, key[1], rest)
        self._tell_dropped(origin)

    def line(self, origin: Origin, stream: str, text: str) -> None:
        """One whole line."""
        text = text.rstrip("\r").rpartition("\r")[2]  # a progress bar draws over itself: the last state counts
        if len(text) > LINE_CHARACTERS_MAX:
            more = len(text) - LINE_CHARACTERS_MAX
            text = f"{text[:LINE_CHARACTERS_MAX]}… ({more:,} more character{'s' * (more != 1)})"
        size = len(text) + 1 if text.isascii() else len(text.encode("utf-8", "backslashreplace")) + 1
        now = self._clock()
        if now - self._since >= 1.0:
            self._since, self._bytes = now, 0
            self._tell_dropped(origin)
        self._bytes += size
        if self._bytes > self.bytes_per_second:
            self.dropped += 1
            return
        self._send(*origin, stream, printable(text))

    def _tell_dropped(self, origin: Origin) -> None:
        if self.dropped:
            lines = f"{self.dropped:,} line{'s were' if self.dropped != 1 else ' was'}"
            text = f"[{lines} left out: a worker may write {self.bytes_per_second:,} bytes a second]"
            self.dropped = 0
            self._send(*origin, "stderr", text)


def printable(text: str) -> str:
    """The text with lone surrogates, which can't travel, written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class Stream(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr."""

    def __init__(self, output: Output, name: str, descriptor: int) -> None:
        self._output, self._name, self._descriptor = output, name, descriptor
        self.buffer = Binary(self)

    @property
    def name(self) -> str:
        """"stdout" or "stderr"."""
        return self._name

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What bytes written to `buffer` are taken for."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How what can't be encoded is written."""
        return "backslashreplace"

    def write(self, text: str) -> int:
        """Take text; whole lines go out."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._output.write(self._name, text)
        return len(text)

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The process's own descriptor, which leads to the node's stderr; for subprocesses."""
        return self._descriptor

    def reconfigure(self, **options: Any) -> None:
        """Accepted and ignored: programs call it to get UTF-8 or line buffering, which they have."""

    def close(self) -> None:
        """Ignored: the next task wants to print too."""


class Binary(io.RawIOBase):
    """`sys.stdout.buffer`."""

    def __init__(self, text: Stream) -> None:
        self._text = text

    def write(self, data: Any) -> int:
        """Take bytes of UTF-8."""
        content = bytes(data)
        self._text.write(content.decode("utf-8", "backslashreplace"))
        return len(content)

    def writable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Ignored, as for the text stream."""


class LogLines(logging.Handler):
    """Sends log records as lines of the stream "log"."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.INFO)
        self._output = output
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """One record, maybe of several lines."""
        try:
            self._output.write("log", self.format(record) + "\n")
        except Exception:  # as every handler: a bad format string must not break the task
            self.handleError(record)


def capture(output: Output) -> None:
    """From now on, all that Python code in this process prints or logs goes to `output`."""
    sys.stdout, sys.stderr = Stream(output, "stdout", 1), Stream(output, "stderr", 2)
    root = logging.getLogger()
    root.addHandler(LogLines(output))
    root.setLevel(logging.INFO)


def release() -> None:
    """Back to the process's own streams; for a process that user code forked."""
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, LogLines):
            root.removeHandler(handler)
