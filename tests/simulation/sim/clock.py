"""Virtual time: a heap of what will happen when. The same calls in the same order give the same order of happenings."""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Clock:
    """Now, and what comes next. Two things at the same moment happen in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.happened = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0

    def at(self, moment: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call this then; a moment that has passed means as soon as possible."""
        self._sequence += 1
        heappush(self._heap, (moment if moment > self.now else self.now, self._sequence, action, arguments))

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call this in so many seconds."""
        self.at(self.now + seconds, action, *arguments)

    def step(self) -> bool:
        """Let the next thing happen; False when nothing will ever happen again."""
        if not self._heap:
            return False
        self.now, _, action, arguments = heappop(self._heap)
        self.happened += 1
        action(*arguments)
        return True


class Lots:
    """Streams of chance split by purpose, so that one more fault does not reshuffle the workload."""

    def __init__(self, seed: int) -> None:
        self.topology = random.Random(f"{seed}/topology")
        self.workload = random.Random(f"{seed}/workload")
        self.network = random.Random(f"{seed}/network")
        self.faults = random.Random(f"{seed}/faults")
        self.machines = random.Random(f"{seed}/machines")
