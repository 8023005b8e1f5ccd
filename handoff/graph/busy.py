"""What stands for a recorded function: busy for its recorded time, then so many bytes."""

from __future__ import annotations

import time
from typing import Any


class Busy:
    """A callable that holds its worker for some seconds. Each recorded function has its own, so that durations are learned for each."""

    def __init__(self, name: str) -> None:
        self.__name__ = self.__qualname__ = name

    def __call__(self, inputs: list[Any], seconds: float, nbytes: int, spin: bool = False) -> bytes:
        """Sleep, or with `spin` burn the processor, for so long; then make so many bytes."""
        end = time.perf_counter() + seconds
        if spin:
            while time.perf_counter() < end:
                pass
        else:
            time.sleep(seconds)
        return bytes(nbytes)

    def __repr__(self) -> str:
        return f"Busy({self.__name__!r})"
