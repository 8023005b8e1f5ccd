"""Nodes that drain, watched from outside: they get no new work, and go when nothing that is needed goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handoff.ids import PeerId, RunId
from handoff.messages import Drain, Failed, Message, Plan, Recalled
from handoff.program import Flag

if TYPE_CHECKING:
    from sim.node import Node
    from sim.oracles import Oracles


class Departed(AssertionError):
    """A node got work that it may not have, or left when it may not."""


class Departures:
    """All nodes that drain or have drained."""

    def __init__(self, oracles: Oracles) -> None:
        self.oracles = oracles
        self.draining: dict[int, None] = {}

    def begin(self, asker: PeerId, drain: Drain) -> None:
        """From now on a node gets no new work."""
        names, lost = self.oracles.names, self.oracles.lost
        for peer in self.oracles.node_peers:
            if peer not in lost and (names[peer] == drain.name or (not drain.name and peer == asker)):
                self.draining[peer] = None
                self.unbound()

    def joined(self) -> None:
        """A node came, which may take over what was bound to one that drains."""
        if any(peer not in self.oracles.lost for peer in self.draining):
            self.unbound()

    def heard(self, peer: PeerId, message: Message) -> None:
        """The coordinator was told of attempts."""
        if isinstance(message, (Failed, Recalled)) and peer in self.draining:
            self.unbound()

    def said(self, peer: PeerId, message: Message) -> None:
        """The coordinator said this."""
        if isinstance(message, Plan) and peer in self.draining:
            raise Departed(f"{self.oracles.names[peer]} drains, and gets {message}")

    def end(self, peer: PeerId) -> None:
        """The node may leave, before its time is over: nothing is lost with it."""
        oracles, name = self.oracles, self.oracles.names[peer]
        if peer not in self.draining:
            raise Departed(f"{name} is let go, though nobody asked for it")
        oracles.lost[peer] = oracles.clock.now
        node = oracles.nodes.get(peer)
        if node is None or not node.alive:
            return
        busy = [key for key in oracles.claims.busy(node) if self._is_sure(key[0]) and oracles.attempts.is_open(*key)]
        needed = [key for key in node.store if self._is_sure(key[0]) and self._is_needed(node, *key)]
        if busy or needed:
            raise Departed(f"{name} is let go, while it executes {busy}, and its results {needed} are needed")

    def _is_sure(self, run: RunId) -> bool:
        """Whether the run goes on, and nothing was lost that would have made its tasks and results move."""
        return run not in self.oracles.ended and not self.oracles.watches[run].losses

    def _is_needed(self, node: Node, run: RunId, task: int) -> bool:
        """Whether this result is nowhere else, and is an output or waited for."""
        watch = self.oracles.watches[run]
        if list(watch.made_on.get(task, ())) != [node.host] or self.oracles.attempts.is_doubled(run, task):
            return False
        return task in watch.job.outputs or any(not watch.ended_well[each] for each in watch.job.consumers[task])

    def unbound(self) -> None:
        """What was serialized for a node that drains is serialized again for another one."""
        self.oracles.attempts.upset()
        for watch in self.oracles.watches.values():
            watch.losses += any(watch.job.kind(task).flags & Flag.SERIALIZER for task in range(len(watch.job.seconds)))
