"""Connections between processes: in order, with random delays; they break, stall without a word, or lead to who is not there.

A frame is any object. What is modelled is TCP as the shells see it: a connection delivers in order or breaks. A cut between two hosts
delays what is said until it heals; when it lasts, both ends find out by themselves (keepalive), each at its own moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from sim.clock import Clock
from sim.process import Process

HANDSHAKE_SECONDS = 5.0
KEEPALIVE_SECONDS = (5.0, 10.0)   # a dead connection is noticed by its keepalive, or at the latest by the user timeout
_FINISHED = object()              # travels like a frame: the other side has closed


class Handler(Protocol):
    """Who hears what comes out of an end."""

    def received(self, end: End, frame: Any) -> None:
        """A frame, in order."""

    def broke(self, end: End, reason: str) -> None:
        """Nothing more comes."""


class End:
    """One side of a connection."""

    __slots__ = ("_alive", "_here", "_last", "dialled", "facts", "handler", "network", "other", "process", "slowness")

    other: End

    def __init__(self, network: Network, process: Process, handler: Handler) -> None:
        self.network, self.process, self.handler = network, process, handler
        self.facts: Any = None     # what the handler remembers about it, once the first words are said
        self.dialled: Any = None   # whom its process meant to reach
        self.slowness = 0.0        # seconds that a frame may take longer than elsewhere
        self._alive = True         # the connection carries frames to this side
        self._here = True          # its process has not closed it, and has not heard of its end
        self._last = 0.0           # when the last frame from here arrives
        process.ends[self] = None

    @property
    def is_open(self) -> bool:
        """Whether its process may still use it."""
        return self._here

    def send(self, frame: Any) -> None:
        """Say it; it arrives in order, or the connection breaks."""
        if self._here and self._alive:
            self._carry(frame)

    def close(self) -> None:
        """Its own process is through with it; the other side hears of it in order."""
        if self._here:
            self._here = False
            del self.process.ends[self]
            if self._alive:
                self._carry(_FINISHED)
            self._alive = False

    def fail(self, reason: str) -> None:
        """The network breaks it, as seen from this side."""
        if self._alive:
            self._alive = False
            self.process.run(self._broke, reason)

    def die(self, silently: bool) -> None:
        """Its process is no more. The kernel says so to the other side, unless the whole machine is gone."""
        if self._alive and not silently:
            self._carry(_FINISHED)
        self._alive = self._here = False

    def _carry(self, frame: Any) -> None:
        network, other = self.network, self.other
        moment = max(self._last, network.passable(self.process.host, other.process.host) + network.delay())
        if self.slowness:
            moment += self.slowness * network.lots.random()
        if moment < math.inf:
            self._last = moment
            network.clock.at(moment, other._arrive, frame)

    def _arrive(self, frame: Any) -> None:
        if frame is _FINISHED:
            self.fail("closed by the other side")
        elif self._alive:
            self.process.run(self._hand, frame)
        elif not self.other._alive:
            return
        else:
            self.other.fail("reset by the other side")

    def _hand(self, frame: Any) -> None:
        if self._here:
            self.handler.received(self, frame)

    def _broke(self, reason: str) -> None:
        if self._here:
            self._here = False
            del self.process.ends[self]
            self.handler.broke(self, reason)


class Network:
    """Everything between processes."""

    def __init__(self, clock: Clock, lots: Random, delay_seconds: float) -> None:
        self.clock, self.lots = clock, lots
        self._delay = delay_seconds
        self._cuts: dict[tuple[str, str], float] = {}      # from and to: closed until then
        self._listeners: dict[str, Process] = {}           # by host; one process listens on each

    def delay(self) -> float:
        """How long one frame takes."""
        return self._delay * (0.5 + self.lots.random() ** 4 * 8)

    def passable(self, source: str, target: str) -> float:
        """When a frame said now can set out."""
        return max(self.clock.now, self._cuts.get((source, target), 0.0))

    def listen(self, process: Process) -> None:
        """This process answers whoever dials its host."""
        self._listeners[process.host] = process

    def listener(self, host: str) -> Process | None:
        """Who answers there, dead or alive."""
        return self._listeners.get(host)

    def cut(self, source: str, target: str, until: float) -> None:
        """Nothing passes that way until then; who notices closes."""
        self._cuts[source, target] = max(until, self._cuts.get((source, target), 0.0))

    def notice(self, ends: list[End], until: float) -> None:
        """Let the keepalive of these ends find out about a cut that lasts."""
        for end in ends:
            moment = self.clock.now + self.lots.uniform(*KEEPALIVE_SECONDS)
            if moment < until:
                self.clock.at(moment, end.fail, "timed out")
                self.clock.at(until + self.lots.uniform(0.1, KEEPALIVE_SECONDS[0]), self._answer_probe, end)

    @staticmethod
    def _answer_probe(end: End) -> None:
        """The cut has healed: the keepalive of the other side finds that this one has given up."""
        if not end._alive:
            end.other.fail("reset by the other side")

    def reset(self, end: End) -> None:
        """Break a connection at once; what is on its way is lost."""
        end.fail("reset")
        self.clock.after(self.delay(), end.other.fail, "reset")

    def dial(self, process: Process, host: str, handler: Handler, opened: Callable[[End], None], failed: Callable[[str], None]) -> None:
        """Open a connection; `opened` before anything is received on it, or `failed`."""
        listener = self._listeners.get(host)
        forth, back = self.passable(process.host, host), self.passable(host, process.host)
        there = max(forth, back) + 2 * self.delay()
        limit = self.clock.now + HANDSHAKE_SECONDS
        if listener is None or there > limit or listener.vanished:
            self.clock.at(limit, process.run, failed, "timed out")
        else:
            self.clock.at(there, self._connect, process, host, handler, opened, failed)

    def _connect(self, process: Process, host: str, handler: Handler, opened: Callable[[End], None], failed: Callable[[str], None]) -> None:
        listener = self._listeners[host]
        if not process.alive:
            return
        if not listener.alive:
            process.run(failed, "timed out" if listener.vanished else "refused")
            return
        here, there = End(self, process, handler), End(self, listener, listener.acceptor)
        here.other, there.other = there, here
        process.run(opened, here)
        self.clock.after(HANDSHAKE_SECONDS, process.run, self._too_slow, here)

    def _too_slow(self, end: End) -> None:
        """A shell that has not heard the first word by now gives up; those that have set `facts`."""
        if end.is_open and end.facts is None:
            end.close()
            end.handler.broke(end, "no answer within the handshake's time")
