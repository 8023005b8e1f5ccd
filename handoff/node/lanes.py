"""Where ready tasks wait for room: one lane for each cost and mode, the most urgent first."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING, TypeAlias

from handoff.ids import RunId, WorkerId
from handoff.node.claims import FREE_SLOT
from handoff.node.gpus import demand
from handoff.node.tables import Mode, Table
from handoff.resources import SCALE, Amounts, is_gpu, split

if TYPE_CHECKING:
    from handoff.node.crew import Worker

Key: TypeAlias = tuple[float, int, RunId, int]  # minus urgency, order (ours, unique), run, task

SWEEP_AT = 1000   # so many places of tasks that are gone do no harm
LANES_MAX = 1024  # more than this many costs, ever, or twice as many as are in use: lanes that nobody uses are forgotten


class Limit:
    """How many tasks of one run execute here, and how many may. A worker counts as one, whatever it has, but for that of
    coroutines that run side by side: there each task does.
    """

    __slots__ = ("most", "running")

    def __init__(self, most: int) -> None:
        self.most = most      # as the last plan said
        self.running = 0

    @property
    def left(self) -> int:
        """How many more may execute."""
        return max(0, self.most - self.running)


class Lane:
    """Ready tasks of one cost and mode, from all runs but those that may have only so many at once: these have lanes of their own.

    They come in strips, each sorted, the first at its end, as a plan brings them. One strip is in use; a heap keeps the others by their
    first. A task that is gone since (recalled, its run ended) is skipped when it comes to the front.
    """

    __slots__ = (
        "bypassed", "cost", "count", "current", "fresh", "granted", "has_coroutines", "held", "hungry", "is_batched", "is_joinable",
        "is_joint", "is_small", "is_timed", "limit", "mode", "strips",
    )

    def __init__(self, cost: Amounts, granted: Amounts, mode: Mode, limit: Limit | None = None) -> None:
        self.cost, self.mode = cost, mode          # what is claimed on this node
        self.limit = limit                         # of the run that it belongs to; None: it is for all that have none
        self.is_batched = mode.is_batched
        # Its tasks may go in one message with those of other costs: it takes no GPUs, which go with a process, and only what nodes have.
        self.is_joinable = self.is_batched and bool(cost) and cost == granted and limit is None and demand(cost) is None
        # It takes one of a limited number of processes: what takes a whole core or GPU, or nothing, is counted by that.
        self.is_small = mode is not Mode.ASYNC and not any(
            name == FREE_SLOT or (steps >= SCALE and (name == "cpu" or is_gpu(name))) for name, steps in cost)
        self.is_joint = False                      # it is the claim of such a message, and nothing waits in it
        self.is_timed = False                      # some kind that was ever here has a timeout
        self.has_coroutines = False                # some kind that was ever here is one
        self.granted = granted                     # what the function is told that it got: the cluster's part as well
        self.count = 0                             # tasks that are still ready
        self.bypassed = 0                          # how often the first was overtaken by a claim that kept from it what it needs
        self.fresh: list[Key] = []                 # came in this turn, not sorted yet
        self.held = 0                              # keys in the strips, of tasks that are gone too
        self.current: list[Key] = []               # the strip in use
        self.strips: list[tuple[Key, list[Key]]] = []
        self.hungry: dict[WorkerId, Worker] = {}   # workers with a claim of this cost that may be given more

    def head(self, runs: Mapping[RunId, Table]) -> Key | None:
        """The most urgent task that is still ready."""
        fresh, strips = self.fresh, self.strips
        if fresh:
            fresh.sort(reverse=True)
            heappush(strips, (fresh[-1], fresh))
            self.held += len(fresh)
            self.fresh = []
        current = self.current
        while True:
            if strips and (not current or strips[0][0] < current[-1]):
                current = heapreplace(strips, (current[-1], current))[1] if current else heappop(strips)[1]
                self.current = current
            if not current:
                return None
            key = current[-1]
            table = runs.get(key[2])
            if table is not None and table.ready.get(key[3]) == key[1]:
                return key
            current.pop()
            self.held -= 1

    def clear(self) -> None:
        """Nobody waits here any more: forget the places of those that are gone."""
        self.strips, self.current, self.fresh, self.held = [], [], [], 0

    def leave(self) -> None:
        """One that was ready goes without having started. Who comes when nobody is left was not overtaken yet."""
        self.count -= 1
        if not self.count:
            self.bypassed = 0

    def sweep(self, runs: Mapping[RunId, Table]) -> None:
        """Forget the places of tasks that are gone, once they outnumber those that are not."""
        if self.held <= 2 * self.count + SWEEP_AT:
            return
        places = self.current + [key for _, strip in self.strips for key in strip]
        self.strips, self.current, self.held = [], [], 0
        self.fresh += [key for key in places if key[2] in runs and runs[key[2]].ready.get(key[3]) == key[1]]


class Lanes:
    """All lanes; those with something in them are `active`."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[Amounts, Mode, Limit | None], Lane] = {}
        self.active: dict[Lane, None] = {}
        self._sweep_at = LANES_MAX

    def of(self, cost: Amounts, mode: Mode, limit: Limit | None = None) -> Lane:
        """The lane for this cost and mode, and for the run with this limit.

        What costs a node nothing takes a slot, of which there are a few per core.
        """
        lane = self._lanes.get((cost, mode, limit))
        if lane is None:
            if len(self._lanes) >= self._sweep_at:
                self._lanes = {name: each for name, each in self._lanes.items() if each.count or each.hungry}
                self._sweep_at = max(LANES_MAX, 2 * len(self._lanes))
            here, _ = split(cost)
            if not here and mode is not Mode.ASYNC:
                here = ((FREE_SLOT, 1),)
            lane = self._lanes[cost, mode, limit] = Lane(here, cost, mode, limit)
        return lane
