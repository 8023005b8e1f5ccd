"""How fast values would move from node to node, at hand for every decision: what was learned of links by name, by the nodes' numbers."""

from __future__ import annotations

from collections.abc import Mapping

from handoff.scheduler.links import Links
from handoff.settings import SchedulerSettings

PAIRS_MAX = 100_000       # of nodes, of which the rate is at hand
LARGE_ROUND_TRIPS = 4.0   # what takes longer to move than this is worth a detour over a node that fetches it anyway


class Rates:
    """Worked out anew when something was learned. Rates are in bytes per second."""

    __slots__ = ("_known", "_links", "_names", "_settings", "is_uniform", "large", "small", "usual", "version")

    def __init__(self, links: Links, names: Mapping[int, tuple[str, tuple[str, int]]], settings: SchedulerSettings) -> None:
        self._links, self._names, self._settings = links, names, settings
        self._known: dict[int, float] = {}
        self.version = -1
        self.is_uniform = True      # nothing was measured yet
        self.usual = self.small = self.large = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Take in what was learned since; costs nothing when that is nothing."""
        links, settings = self._links, self._settings
        if self.version == links.version:
            return
        self.version = links.version
        self._known.clear()
        self.is_uniform = not links.pairs
        self.usual = links.default
        self.small = links.slowest * settings.round_trip_seconds / 2    # so few bytes move within the time of a message, over any link
        self.large = settings.relay_bytes or self.usual * settings.round_trip_seconds * LARGE_ROUND_TRIPS

    def of(self, source: int, target: int) -> float:
        """From one node to another, by their numbers."""
        if self.version != self._links.version:
            self.refresh()
        if self.is_uniform:
            return self.usual
        key = source << 32 | target
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= PAIRS_MAX:
                self._known.clear()     # most are of nodes that are gone
            names = self._names
            known = self._known[key] = (
                self._links.rate(names[source][0], names[target][0]) if source in names and target in names else self.usual)
        return known
