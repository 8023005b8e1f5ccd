"""The one loop: it hands a brain what happened in this turn, then performs what the brain asks for."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Brain(Protocol):
    """A machine whose two halves are called apart: take every event of a turn, then settle once."""

    @property
    def deadline(self) -> float | None:
        """When the next Tick is wanted."""

    def take(self, now: float, event: Any) -> None:
        """Note what happened."""

    def settle(self, now: float) -> list[Any]:
        """Decide what follows."""


class Driver:
    """Drives one brain on the running event loop.

    `post` may be called at any time on the loop's thread. All events of one turn are taken before the brain settles, since answering
    each event by itself was measured to cost twice as much. `perform` must not wait: what takes time comes back as an event.

    An exception in a turn is a bug in Handoff, and a brain that is half changed can't be trusted: the driver stops and calls `failed`, so
    that the process ends and others can go on without it, instead of being alive and silent.
    """

    def __init__(
        self,
        brain: Brain,
        perform: Callable[[Any], None],
        tick: Any,
        failed: Callable[[Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._brain, self._perform, self._tick, self._failed, self._clock = brain, perform, tick, failed, clock
        self._events: list[Any] = []
        self._turn_is_coming = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._stopped = False
        self._loop = asyncio.get_running_loop()

    def post(self, event: Any) -> None:
        """Something happened; the brain hears of it before this turn of the loop ends."""
        if self._stopped:
            return
        self._events.append(event)
        if not self._turn_is_coming:
            self._turn_is_coming = True
            self._loop.call_soon(self._turn)

    def start(self) -> None:
        """Let the brain say its first words."""
        if not self._turn_is_coming and not self._stopped:
            self._turn_is_coming = True
            self._loop.call_soon(self._turn)

    def stop(self) -> None:
        """No further event is taken."""
        self._stopped = True
        self._events.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        self._turn_is_coming = False
        if self._stopped:
            return
        try:
            now = self._clock()
            events, self._events = self._events, []
            take = self._brain.take
            for event in events:
                take(now, event)
            for effect in self._brain.settle(now):
                self._perform(effect)
            self._wake(now)
        except Exception as error:
            self.stop()
            self._failed(error)

    def _wake(self, now: float) -> None:
        """Arm the timer for the brain's deadline; an earlier timer that is still right is left alone."""
        deadline = self._brain.deadline
        if deadline == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = deadline
        if deadline is not None and not self._stopped:
            self._timer = self._loop.call_later(max(0.0, deadline - now), self._alarm)

    def _alarm(self) -> None:
        self._timer = self._timer_at = None
        self.post(self._tick)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where it exists (an eighth of asyncio's memory per TLS connection, and faster), else asyncio's own."""
    if sys.platform != "win32":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to completion on the best loop there is; what a daemon's `main` calls."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
