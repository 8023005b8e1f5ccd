"""Which links to nodes stand and since when; which nodes are out of reach, when each is tried again, and when it is given up."""

from __future__ import annotations

from handoff.ids import PeerId, RunId
from handoff.settings import ClientSettings

RESTARTED = "it was restarted, or the client was away for too long (scheduler.client_grace_seconds)"   # a coordinator that welcomes us anew


class Reach:
    """Moments by node. A node that has no link and that nobody waits for is not in here."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._since: dict[PeerId, float] = {}    # node -> since when no link to it could be had
        self._again: dict[PeerId, float] = {}    # node -> when to try it again
        self._stands: dict[PeerId, int] = {}     # node -> the moment from which its link stands
        self._moment = 0                         # counts links and runs, to know which came first

    @property
    def deadline(self) -> float | None:
        """When the next node is to be tried again."""
        return min(self._again.values()) if self._again else None

    def lost(self, now: float, peer: PeerId) -> bool:
        """A link broke that is needed; False when it is time to give that node up."""
        since = self._since.setdefault(peer, now)
        if now - since >= self._settings.node_lost_seconds:
            self.forget(peer)
            return False
        self._again[peer] = now + self._settings.node_retry_seconds
        return True

    def found(self, peer: PeerId) -> None:
        """There is a link to it."""
        self._since.pop(peer, None)
        self._stands[peer] = self.moment()

    def moment(self) -> int:
        """A new one, after all others."""
        self._moment += 1
        return self._moment

    def stands_since_before(self, peer: PeerId, moment: int) -> bool:
        """Whether the link to this node has stood without a break from before that moment until now."""
        return self._stands.get(peer, moment) < moment

    def broke(self, peer: PeerId) -> None:
        """The link to it is no more."""
        self._stands.pop(peer, None)

    def all_broke(self) -> None:
        """The peers have new numbers: what is known of the old ones means nothing."""
        self._stands.clear()
        self._since.clear()
        self._again.clear()

    def forget(self, peer: PeerId) -> None:
        """Nobody waits for it."""
        self._since.pop(peer, None)
        self._again.pop(peer, None)

    def due(self, now: float) -> list[PeerId]:
        """The nodes to try again now."""
        due = [peer for peer, moment in self._again.items() if moment <= now]
        for peer in due:
            del self._again[peer]
        return due


def out_of_reach(name: str, address: tuple[str, int], reason: str) -> str:
    """What people are told when a node is given up."""
    return (
        f"node {name!r} at {address[0]}:{address[1]} is out of this client's reach: {reason}; results lie there, "
        "and they go straight from nodes to clients, so its port has to be open to this machine"
    )


def anew(is_other: bool) -> str:
    """Why the coordinator welcomes this client as if it had never been there; `is_other`: another process answers than before."""
    if is_other:
        return "the coordinator was restarted, and what the process before it was to do is lost"
    return "the coordinator does not know this client any more: it was away for too long (scheduler.client_grace_seconds)"


def fate(run: RunId | None, detached: bool, is_other: bool) -> str:
    """What becomes of a run, for people whose client is welcomed anew."""
    if is_other:
        return ", this run, too: start it again"
    if not detached:
        return "; its run ended with that, and one of client.start(dag, detach=True) goes on"
    return "" if run is None else f"; run {run} goes on, and client.attach({run}) takes it over"
