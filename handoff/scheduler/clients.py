"""What the scheduler knows about one client."""

from __future__ import annotations

from handoff.ids import PeerId, RunId


class Client:
    """A connection from which runs come."""

    __slots__ = ("host", "knows", "lost_at", "name", "peer", "runs")

    def __init__(self, peer: PeerId, name: str, host: str = "") -> None:
        self.peer = peer
        self.name = name
        self.host = host                       # where it is, as the coordinator sees it; empty: not known
        self.lost_at: float | None = None      # when it is given up, if it stays away
        self.knows: set[int] = set()
        self.runs: dict[RunId, None] = {}
