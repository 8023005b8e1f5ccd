"""A process around a brain: events are taken, the brain settles, effects are performed. It can be frozen, killed, or vanish."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from handoff.machine import Tick

if TYPE_CHECKING:
    from sim.stage import Stage

TURN_SECONDS = 20e-6  # from something happening to the turn of the loop that takes it; what happens meanwhile is taken along


class Process:
    """One loop and one brain, as `handoff.loop.Driver` drives it."""

    acceptor: Any = None            # the handler of connections that others open

    def __init__(self, stage: Stage, host: str, brain: Any) -> None:
        self.stage, self.host, self.brain = stage, host, brain
        self.clock, self.lots, self.trace = stage.clock, stage.lots.machines, stage.trace
        self.options, self.oracles = stage.options, stage.oracles
        self.alive, self.vanished, self.frozen = True, False, False
        self.ends: dict[Any, None] = {}
        self._inbox: list[Any] = []
        self._backlog: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._turn_is_coming = False
        self._alarm_at: float | None = None

    def start(self) -> None:
        """Let the brain say its first words."""
        self._come_to_turn()

    def run(self, action: Callable[..., None], *arguments: Any) -> None:
        """All that happens to the process passes here: what happens while it is frozen waits in order."""
        if not self.alive:
            return
        if self.frozen:
            self._backlog.append((action, arguments))
        else:
            action(*arguments)

    def post(self, event: Any) -> None:
        """Tell the brain, in its next turn."""
        if self.alive:
            self._inbox.append(event)
            self._come_to_turn()

    def perform(self, effect: Any) -> None:
        """Do what the brain asks for."""
        raise NotImplementedError

    def settled(self) -> None:
        """A turn is over."""
        if self.options.checks:
            self.brain.check()

    def _come_to_turn(self) -> None:
        if not self._turn_is_coming:
            self._turn_is_coming = True
            self.clock.after(TURN_SECONDS * (0.1 + 4 * self.lots.random() ** 2), self.run, self._turn)

    def _turn(self) -> None:
        self._turn_is_coming = False
        now, brain, trace = self.clock.now, self.brain, self.trace
        events, self._inbox = self._inbox, []
        for event in events:
            trace.heard(now, self.host, event)
            brain.take(now, event)
        for effect in brain.settle(now):
            trace.said(now, self.host, effect)
            self.perform(effect)
        self.settled()
        deadline = brain.deadline
        if deadline is not None and deadline != self._alarm_at:
            self._alarm_at = deadline
            self.clock.at(deadline, self.run, self._alarm, deadline)
        elif deadline is None:
            self._alarm_at = None

    def _alarm(self, moment: float) -> None:
        if moment == self._alarm_at:
            self._alarm_at = None
            self.post(Tick())

    # ── faults ──────────────────────────────────────────────────────────────

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing is read."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what waited happens now, in order."""
        self.frozen = False
        while self._backlog and not self.frozen and self.alive:
            action, arguments = self._backlog.popleft()
            action(*arguments)

    def kill(self, silently: bool = False) -> None:
        """SIGKILL; silently: the machine loses power, and nobody is told."""
        self.alive, self.vanished = False, silently
        for end in list(self.ends):
            end.die(silently)
        self.ends.clear()
        self._backlog.clear()
        self._inbox.clear()
