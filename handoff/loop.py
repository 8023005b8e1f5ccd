"""The one loop: it hands a brain what happened in this turn, then performs what the brain asks for."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# Loops count in whole milliseconds, rounded, from a clock that they read when the turn began. An alarm that rings before its time would
# be set again and ring again, until that time has come: half a millisecond of a core for each.
LATE_SECONDS = 0.001


class Turn:
    """One turn of the event loop: what is to be done at its end is gathered, and done once, before the loop looks for anything else.

    Entered by whoever the loop calls because something came: a link, a pipe, wishes of other threads. What is said with `at_end` outside of
    a turn is done in the next one. So an answer leaves in the turn in which the question came; each further one would cost a system call
    and, where other threads run Python, a wait for the interpreter.
    """

    __slots__ = ("_acts", "_depth", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._acts: list[Callable[[], None]] = []
        self._depth = 0     # how often it was entered and not left

    def at_end(self, act: Callable[[], None]) -> None:
        """Do this at the end of the turn, after all that was asked for before."""
        self._acts.append(act)
        if not self._depth and len(self._acts) == 1:
            self.loop.call_soon(self._follow)

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *raised: object) -> None:
        if self._depth > 1:
            self._depth -= 1
            return
        try:
            for act in self._acts:   # it may grow meanwhile
                try:
                    act()
                except Exception as error:
                    self.loop.call_exception_handler({"message": f"{act} failed at the end of a turn", "exception": error})
        finally:
            self._acts.clear()
            self._depth = 0

    def _follow(self) -> None:
        """A turn for what was said outside of any."""
        with self:
            pass


_here = threading.local()


def this_turn() -> Turn:
    """The turns of the loop that runs here."""
    loop = asyncio.get_running_loop()
    turn: Turn | None = getattr(_here, "turn", None)
    if turn is None or turn.loop is not loop:
        turn = _here.turn = Turn(loop)
    return turn


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
        self._timer_at = 0.0
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._at_end = this_turn().at_end

    def post(self, event: Any) -> None:
        """Something happened; the brain hears of it before this turn of the loop ends."""
        if self._stopped:
            return
        self._events.append(event)
        if not self._turn_is_coming:
            self._turn_is_coming = True
            self._at_end(self._turn)

    def start(self) -> None:
        """Let the brain say its first words."""
        if not self._turn_is_coming and not self._stopped:
            self._turn_is_coming = True
            self._at_end(self._turn)

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
            perform = self._perform
            for effect in self._brain.settle(now):
                perform(effect)
            deadline = self._brain.deadline
            if deadline is not None and (self._timer is None or deadline < self._timer_at):
                self._wake(now, deadline)
        except Exception as error:
            self.stop()
            self._failed(error)

    def _wake(self, now: float, deadline: float) -> None:
        """See to it that an alarm rings when this has passed. One that rings earlier is left alone: it is set again then."""
        if self._stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - now) + LATE_SECONDS, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        now, deadline = self._clock(), self._brain.deadline
        if deadline is None:
            return
        if deadline <= now:
            self.post(self._tick)
        else:
            self._wake(now, deadline)


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
