"""Where ready tasks wait for room: one lane for each cost and mode, the most urgent first."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING, TypeAlias

from handoff.ids import RunId, WorkerId
from handoff.node.claims import FREE_SLOT
from handoff.node.tables import Mode, Table
from handoff.resources import Amounts

if TYPE_CHECKING:
    from handoff.node.crew import Worker

Key: TypeAlias = tuple[float, int, RunId, int]  # minus urgency, order (ours, unique), run, task

SWEEP_AT = 1000   # so many places of tasks that are gone do no harm
LANES_MAX = 1024  # more than this many costs, ever: lanes that nobody uses are forgotten


class Lane:
    """Ready tasks of one cost and mode, from all runs.

    They come in strips, each sorted, as a plan brings them; a heap keeps the strips by their first. A task that is gone since (recalled,
    its run ended) is skipped when it comes to the front.
    """

    __slots__ = ("bypassed", "cost", "count", "fresh", "held", "hungry", "mode", "strips")

    def __init__(self, cost: Amounts, mode: Mode) -> None:
        self.cost, self.mode = cost, mode
        self.count = 0                             # tasks that are still ready
        self.bypassed = 0                          # how often the first was overtaken by a claim that delayed it
        self.fresh: list[Key] = []                 # came in this turn, not sorted yet
        self.held = 0                              # keys in the strips, of tasks that are gone too
        self.strips: list[tuple[Key, list[Key]]] = []
        self.hungry: dict[WorkerId, Worker] = {}   # workers with a claim of this cost that may be given more

    def head(self, runs: Mapping[RunId, Table]) -> Key | None:
        """The most urgent task that is still ready."""
        fresh = self.fresh
        if fresh:
            fresh.sort(reverse=True)
            heappush(self.strips, (fresh[-1], fresh))
            self.held += len(fresh)
            self.fresh = []
        strips = self.strips
        while strips:
            key = strips[0][0]
            table = runs.get(key[2])
            if table is not None and table.ready.get(key[3]) == key[1]:
                return key
            self.advance()
        return None

    def advance(self) -> None:
        """Leave the first behind."""
        strips = self.strips
        strip = strips[0][1]
        strip.pop()
        self.held -= 1
        if not strip:
            heappop(strips)
        elif len(strips) == 1:
            strips[0] = (strip[-1], strip)
        else:
            heapreplace(strips, (strip[-1], strip))

    def sweep(self, runs: Mapping[RunId, Table]) -> None:
        """Forget the places of tasks that are gone, once they outnumber those that are not."""
        if self.held <= 2 * self.count + SWEEP_AT:
            return
        alive = [key for _, strip in self.strips for key in strip if key[2] in runs and runs[key[2]].ready.get(key[3]) == key[1]]
        self.strips, self.held = [], 0
        self.fresh += alive


class Lanes:
    """All lanes; those with something in them are `active`."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[Amounts, Mode], Lane] = {}
        self.active: dict[Lane, None] = {}

    def of(self, cost: Amounts, mode: Mode) -> Lane:
        """The lane for this cost and mode. A cost of nothing takes a slot, of which there are a few per core."""
        if not cost and mode is not Mode.ASYNC:
            cost = ((FREE_SLOT, 1),)
        lane = self._lanes.get((cost, mode))
        if lane is None:
            if len(self._lanes) >= LANES_MAX:
                self._lanes = {name: each for name, each in self._lanes.items() if each.count or each.hungry}
            lane = self._lanes[cost, mode] = Lane(cost, mode)
        return lane
