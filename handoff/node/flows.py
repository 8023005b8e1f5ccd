"""How fast large values come in from each peer: their bytes, and the time in which at least one of them was on its way."""

from __future__ import annotations

from collections.abc import Callable

from handoff.ids import PeerId


class _Flow:
    """From one peer, since it was last told."""

    __slots__ = ("nbytes", "open", "seconds", "since")

    def __init__(self) -> None:
        self.nbytes = 0
        self.seconds = 0.0
        self.open = 0          # values that are on their way
        self.since = 0.0       # while there are any: the time up to here is counted


class Flows:
    """Of all peers. Two values that come at the same time are counted as one time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flows: dict[PeerId, _Flow] = {}

    def now(self) -> float:
        """By the clock of all this."""
        return self._clock()

    def came(self, peer: PeerId, nbytes: int, since: float) -> None:
        """Values that came together are here; they began to come at that time."""
        flow = self._flow(peer)
        flow.nbytes += nbytes
        if not flow.open:
            flow.seconds += self._clock() - since

    def begin(self, peer: PeerId) -> None:
        """A large value begins to come."""
        flow = self._flow(peer)
        if not flow.open:
            flow.since = self._clock()
        flow.open += 1

    def _flow(self, peer: PeerId) -> _Flow:
        flow = self._flows.get(peer)
        if flow is None:
            flow = self._flows[peer] = _Flow()
        return flow

    def moved(self, peer: PeerId, nbytes: int) -> None:
        """A piece of one is here."""
        self._flows[peer].nbytes += nbytes

    def end(self, peer: PeerId) -> None:
        """It is here, or will not come."""
        flow = self._flows[peer]
        flow.open -= 1
        if not flow.open:
            flow.seconds += self._clock() - flow.since

    def take(self) -> list[tuple[PeerId, int, float]]:
        """Per peer, bytes and seconds since the last call."""
        now, taken = self._clock(), []
        for peer, flow in list(self._flows.items()):
            if flow.open:
                flow.seconds += now - flow.since
                flow.since = now
            if flow.nbytes or flow.seconds:
                taken.append((peer, flow.nbytes, flow.seconds))
            if flow.open:
                flow.nbytes, flow.seconds = 0, 0.0
            else:
                del self._flows[peer]
        return taken
