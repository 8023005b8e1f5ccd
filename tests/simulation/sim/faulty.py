"""Nodes on which no worker comes up, watched from outside: as long as they say so, they get no work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handoff.ids import PeerId
from handoff.messages import Alive, Message, Plan

if TYPE_CHECKING:
    from sim.oracles import Oracles


class Unfit(AssertionError):
    """A node got work on which nothing can run."""


class Faulty:
    """All nodes that are, or once were."""

    def __init__(self, oracles: Oracles) -> None:
        self.oracles = oracles
        self.now: dict[int, str] = {}
        self.has_been = False        # any

    def heard(self, peer: PeerId, alive: Alive) -> None:
        """A heartbeat."""
        if alive.fault:
            self.now[peer], self.has_been = alive.fault, True
            self.oracles.departures.unbound()     # what is bound to it may go elsewhere, with each that it has not begun
        elif self.now.pop(peer, None) is not None:
            self.oracles.departures.unbound()

    def said(self, peer: PeerId, message: Message) -> None:
        """The coordinator said this."""
        if isinstance(message, Plan) and peer in self.now:
            raise Unfit(f"{self.oracles.names[peer]} says that {self.now[peer]}, and gets {message}")
