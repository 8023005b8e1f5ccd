"""How a run looks while it goes: a bar on a terminal, plain lines elsewhere. All of it on stderr, since stdout is for results."""

from __future__ import annotations

import time
from collections.abc import Hashable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from handoff.client.result import RunStatus

PLAIN_SECONDS = 1.0                   # at most one plain line this often


class Display(Protocol):
    """What the command that follows a run says to whoever watches."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the screen as it was."""

    def update(self, status: RunStatus) -> None:
        """So far is the run."""

    def printed(self, function: Hashable, node: str, stream: str, text: str) -> None:
        """A function printed this; called from another thread."""

    def note(self, text: str) -> None:
        """Something else that one should know."""


def display(stream: TextIO) -> Display:
    """The right one for this stream."""
    return Bar(stream) if stream.isatty() else Plain(stream)


class Plain:
    """For logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.flush()

    def update(self, status: RunStatus) -> None:
        """A line when something changed, and not too often."""
        now, line = time.monotonic(), said(status)
        if line != self._last and now >= self._next:
            self._last, self._next = line, now + PLAIN_SECONDS
            self.note(line)

    def printed(self, function: Hashable, node: str, stream: str, text: str) -> None:
        """Marked with who said it."""
        self.note(f"[{function} @ {node}] {text}")

    def note(self, text: str) -> None:
        """One line."""
        self._stream.write(f"{text}\n")   # one write, so that lines of two threads do not mix
        self._stream.flush()


class Bar:
    """For a person at a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(file=stream, markup=False, highlight=False, soft_wrap=True)
        self._progress = Progress(
            BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[now]}", markup=False),
            console=self._console, transient=True,
        )
        self._task = self._progress.add_task("", total=None, now="starting")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def update(self, status: RunStatus) -> None:
        """Move the bar."""
        now = f"waits: {status.waits_for}" if status.waits_for else f"{status.running} on nodes"
        self._progress.update(self._task, completed=status.done, total=status.total, now=now)

    def printed(self, function: Hashable, node: str, stream: str, text: str) -> None:
        """Above the bar, marked with who said it."""
        from rich.text import Text

        self._console.print(Text(f"[{function} @ {node}] ", "dim").append(text, "red" if stream == "stderr" else ""))

    def note(self, text: str) -> None:
        """Above the bar."""
        self._console.print(text)


def said(status: RunStatus) -> str:
    """How far the run is, in words."""
    line = f"{status.done} of {status.total} function{'s' * (status.total != 1)} done, {status.running} on nodes"
    return f"{line}; waits: {status.waits_for}" if status.waits_for else line
