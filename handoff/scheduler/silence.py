"""Nodes that are silent get no more work, then are given up. While the coordinator itself stood still, nobody was silent."""

from __future__ import annotations

from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.settings import SchedulerSettings

# A look so much later than it was due: the process was stopped, swapped out or very busy, or its machine slept. What was said meanwhile
# lies in its sockets, unread.
STOOD_STILL_SECONDS = 0.5


class Silence:
    """Who is to be looked at when."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self.suspect_after, self.lost_after = settings.suspect_seconds, settings.lost_seconds
        self.look_at = float("inf")     # when somebody may have been silent for too long

    def heard(self, now: float) -> None:
        """Somebody was, who is to be looked at again."""
        self.look_at = min(self.look_at, now + self.suspect_after)

    def dropped(self, now: float) -> None:
        """A connection broke."""
        self.look_at = min(self.look_at, now + self.lost_after)

    def look(self, now: float, ledger: Ledger) -> list[tuple[Node, str]]:
        """Who is to be given up, and why, in words; others become suspect."""
        late = now - self.look_at
        if late > STOOD_STILL_SECONDS:
            self._pardon(now, ledger, late)
        self.look_at = float("inf")
        lost = []
        for node in ledger.nodes.values():
            since = node.heard if node.dropped_at is None else node.dropped_at
            if since + self.lost_after <= now:
                lost.append((node, f"{'silent' if node.dropped_at is None else 'disconnected'} for {now - since:.1f} s"))
                continue
            if since + self.suspect_after <= now:
                node.state, ledger.is_regrouped = "suspect", True
            self.look_at = min(self.look_at, since + (self.lost_after if node.state == "suspect" else self.suspect_after))
        return lost

    @staticmethod
    def _pardon(now: float, ledger: Ledger, late: float) -> None:
        """Nobody's patience ran out meanwhile: neither that with nodes, nor that with clients whose connection broke."""
        ledger.out.note("warning", "coordinator.stood_still", seconds=round(late, 1))
        for node in ledger.nodes.values():
            node.heard = min(now, node.heard + late)
            if node.dropped_at is not None:
                node.dropped_at = min(now, node.dropped_at + late)
        for client in ledger.clients.values():
            if client.lost_at is not None:
                client.lost_at += late
                ledger.remind(client.lost_at, "client", client.peer)
