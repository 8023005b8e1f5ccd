"""The simulated coordinator: the real scheduler brain around simulated sessions."""

from __future__ import annotations

from typing import Any

from handoff.greetings import DRAINED, STOPS
from handoff.machine import Close, Joined, Lost, Note, Received, Send
from handoff.messages import Alive, Drain, Report, RunDone
from handoff.scheduler.scheduler import Scheduler
from handoff.scheduler.views import timeline
from sim.options import LIVES
from sim.process import Process
from sim.sessions import SessionServer
from sim.stage import Stage
from sim.watch import Bug


class Coordinator(Process):
    """There is one at a time. The next one, in a later `life`, knows nothing of what was before it."""

    def __init__(self, stage: Stage, life: int = 0) -> None:
        options = stage.options
        super().__init__(stage, "coordinator", Scheduler(options.settings.scheduler, options.allocator(), options.first_run + LIVES * life))
        self.life = life
        self.sessions = self.acceptor = SessionServer(self, self._heard, stage.boot(), LIVES * life + 1)
        stage.network.listen(self)
        self._overdue: dict[str, None] = {}
        self.start()

    def stop(self) -> None:
        """SIGTERM: it says so to everybody, and ends."""
        self.sessions.close_all(STOPS)
        self.kill()

    def kill(self, silently: bool = False) -> None:
        """It ends, and with it all that it knew."""
        super().kill(silently)
        self.oracles.all_forgotten()

    def _heard(self, event: Any) -> None:
        match event:
            case Joined(peer, hello):
                self.oracles.joined(peer, hello)
            case Lost(peer):
                self.oracles.forgotten(peer)
            case Received(peer, Alive() as alive):
                self.oracles.faulty.heard(peer, alive)
            case Received(peer, Report() as report):
                self.oracles.reported(peer, report)
            case Received(peer, Drain() as drain):
                self.oracles.departures.begin(peer, drain)
            case Received(peer, message):
                self.oracles.heard(peer, message)
            case _:
                pass
        self.post(event)

    def perform(self, effect: Any) -> None:
        """As the coordinator's shell does."""
        match effect:
            case Send(peer, message):
                self.oracles.coordinator_said(peer, message)
                if isinstance(message, RunDone) and message.run in self.brain.ledger.runs:   # said later, it may be forgotten already
                    self.oracles.told(message.run, timeline(self.brain.ledger, self.brain.ledger.runs[message.run], self.clock.now))
                self.sessions.send(peer, message)
            case Close(peer, reason):
                if reason == DRAINED and self.oracles.names[peer] not in self._overdue:
                    self.oracles.departures.end(peer)
                else:
                    self.oracles.forgotten(peer)
                    self._overdue.pop(self.oracles.names.get(peer, ""), None)
                self.sessions.close(peer, reason)
            case Note(_, "node.lost"):
                self.oracles.attempts.upset()
            case Note("warning", "node.drained", fields):
                self._overdue[dict(fields)["node"]] = None   # said just before it, and others beside it, are closed
            case Note():
                pass  # for people
            case _:
                raise Bug(f"coordinator: unknown effect {effect!r}")
