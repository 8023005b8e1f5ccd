"""Whether the loop of coroutines side by side goes round: one that computes there, or waits without `await`, holds up all others."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

LOOK_SECONDS = 1.0    # between two looks, and only while there are coroutines
LOOKS = 2             # so many in a row at which the loop had not come round: it is blocked. By looks, and not by time: a process that was
                      # stopped for a while finds that its loop is late, and no function is to blame for that


class Watch:
    """Looks from a thread of its own. `blocked` is told once whenever the loop stands still; False: it wants to be told again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, is_idle: Callable[[], bool], blocked: Callable[[], bool]) -> None:
        self._loop, self._is_idle, self._blocked = loop, is_idle, blocked
        self._begun = threading.Event()
        self._pause = threading.Event()    # never set: user code may have put another `time.sleep` in its place
        self._thread: threading.Thread | None = None
        self._has_come = True

    def begin(self) -> None:
        """There are coroutines now."""
        if not self._begun.is_set():
            self._begun.set()
            if self._thread is None:
                thread = threading.Thread(target=self._look, name="handoff-watch", daemon=True)
                try:
                    thread.start()
                except RuntimeError:    # the system lets us start no more of them, and coroutines can do without
                    self._begun.clear()
                    return
                self._thread = thread

    def _look(self) -> None:
        missed, is_told = 0, False
        while True:
            self._begun.wait()
            if self._has_come:
                missed, is_told, self._has_come = 0, False, False
                self._loop.call_soon_threadsafe(self._come)
            self._pause.wait(LOOK_SECONDS)
            if not self._has_come:
                missed += 1
                is_told = is_told or (missed >= LOOKS and self._blocked())
            elif self._is_idle():
                self._begun.clear()
                if not self._is_idle():    # some came between the look and the clearing
                    self._begun.set()

    def _come(self) -> None:
        self._has_come = True


def where(thread: int | None) -> str:
    """What this thread is at, for people."""
    frame = sys._current_frames().get(thread or 0)
    return f"{frame.f_code.co_qualname}, {frame.f_code.co_filename} line {frame.f_lineno}" if frame is not None else "nowhere"
