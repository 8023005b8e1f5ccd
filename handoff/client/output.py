"""Lines that user code printed somewhere, shown here: "[function @ node] text". Nobody who does not read them holds up anything."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from handoff.log import log
from handoff.messages import Output

if TYPE_CHECKING:
    from handoff.client.state import RunState

PIECE = 1024                 # characters that are written at once: what can be written to surely takes 4 kB
PIPE_SHARE = 0.25            # of a pipe is filled: a stream may hold 8 kB that its owner printed, and pages of a pipe may be half full
WAITING_MAX = 4_000_000      # characters that wait for somebody to read; what comes then is counted, and not shown
LOOK_SECONDS = 0.05          # how often it is tried, while they wait

Later = Callable[[float, Callable[[], Any]], Any]


class Screen:
    """One of the streams of this process, which may be a pipe that nobody reads for a while, as that of a pager."""

    def __init__(self, stream: str) -> None:
        self._stream, self._lock = stream, Lock()      # several clients, each in its thread
        self._lines: deque[str] = deque()
        self._waiting = self._left_out = 0             # characters; lines
        self._is_watched = False

    def show(self, lines: list[str], later: Later) -> None:
        """Write them now, or when somebody has read what is before them; never waits."""
        for line in lines:
            if self._left_out or self._waiting + len(line) > WAITING_MAX:
                self._left_out += 1
            else:
                self._waiting += len(line)
                self._lines.append(line)
        if not self._is_watched:
            self._go_on(later)

    def _go_on(self, later: Later) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._is_watched = not self._written(has_room)
            finally:
                self._lock.release()
        else:                                          # another client writes, and may wait
            self._is_watched = True
        if self._is_watched:
            later(LOOK_SECONDS, lambda: self._go_on(later))

    def finish(self) -> None:
        """Write all that waits, and wait for that."""
        with self._lock:
            try:
                self._written(lambda target: True)
            finally:
                self._is_watched = False               # by a client that may have ended

    def _written(self, may: Callable[[Any], bool]) -> bool:
        try:
            return self._write(may)
        except KeyboardInterrupt:
            raise
        except BaseException as error:                 # a closed stream must not end the connection
            self._lines.clear()
            self._waiting = self._left_out = 0
            log.warning("output.lost", error=repr(error))
            return True

    def _write(self, may: Callable[[Any], bool]) -> bool:
        """All that waits, as long as the stream `may` be written to. False: something is left."""
        target = getattr(sys, self._stream)
        while self._lines or self._left_out:
            if target is not None and not may(target):
                return False
            piece = self._next_piece()
            if target is not None:
                try:
                    target.write(piece)
                except UnicodeEncodeError:             # the stream has no bytes for some of it: these are shown as Python writes them
                    encoding = target.encoding or "ascii"
                    target.write(piece.encode(encoding, "backslashreplace").decode(encoding))
                target.flush()
        return True

    def _next_piece(self) -> str:
        if not self._lines:
            count, self._left_out = self._left_out, 0
            log.warning("output.left_out", stream=self._stream, lines=count)
            return f"[handoff] {count:,} line{'s were' if count != 1 else ' was'} left out here: nobody read {self._stream}\n"
        piece = ""
        while self._lines and len(piece) + len(self._lines[0]) <= PIECE:
            piece += self._lines.popleft()
        if not piece:
            piece, self._lines[0] = self._lines[0][:PIECE], self._lines[0][PIECE:]
        self._waiting = self._waiting - len(piece) if self._lines else 0    # two clients, counting at once, may have lost some
        return piece


def has_room(target: Any) -> bool:
    """Whether a piece can be written without waiting for a reader, and before it what the stream holds already."""
    poll = select.poll()
    try:
        descriptor = target.fileno()
        poll.register(descriptor, select.POLLOUT)
    except (AttributeError, OSError, TypeError, ValueError):     # not a file: a notebook's, or a test's
        return True
    if not poll.poll(0):
        return False
    try:
        size = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
        unread = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    except OSError:                                              # not a pipe
        return True
    return int.from_bytes(unread, sys.byteorder) <= size * PIPE_SHARE


SCREENS = {stream: Screen(stream) for stream in ("stdout", "stderr")}


def _after_fork() -> None:
    """What waits is the parent's to show, by a thread that is not here."""
    SCREENS.update({stream: Screen(stream) for stream in SCREENS})


os.register_at_fork(after_in_child=_after_fork)


def show(state: RunState, output: Output, later: Later) -> None:
    """Write the lines to this process's streams, or give them to the callable that the user named; never raises."""
    taker = state.output
    if taker is False:
        return
    try:
        if callable(taker):
            for task, stream, text in zip(output.tasks, output.streams, output.texts, strict=True):
                taker(state.name_of(task), output.node, stream, text)
            return
        for stream, screen in SCREENS.items():
            lines = [
                f"[{state.name_of(task)} @ {output.node}] {text}\n"
                for task, where, text in zip(output.tasks, output.streams, output.texts, strict=True)
                if (where == "stdout") is (stream == "stdout")
            ]
            if lines:
                screen.show(lines, later)
    except BaseException as error:  # a user's callable, `sys.exit` in it included, must not end the connection
        log.warning("output.lost", error=repr(error))


def finish() -> None:
    """The client ends: whoever ends it waits until what is left was read, as for what it prints itself."""
    for screen in SCREENS.values():
        screen.finish()
