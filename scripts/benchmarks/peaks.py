"""The most of something while something else goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

LOOK_SECONDS = 0.002


class Peaks:
    """The most that each of these amounts comes to while this is entered, looked at every few milliseconds."""

    def __init__(self, measure: Callable[[], list[int]]) -> None:
        self._measure = measure
        self.before = measure()
        self.most = list(self.before)
        self._is_over = threading.Event()
        self._looker = threading.Thread(target=self._look)

    def __enter__(self) -> Peaks:
        self._looker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._looker.join()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            self.most = list(map(max, self.most, self._measure()))
