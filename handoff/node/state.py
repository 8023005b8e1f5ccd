"""What the parts of the node's brain share: the runs, what is free, the lanes, and the effects that are being gathered."""

from __future__ import annotations

from handoff.ids import NOBODY, PeerId, RunId
from handoff.node.claims import Claims
from handoff.node.lanes import Lanes, Limit
from handoff.node.tables import HANDLING, URGENCY, Entry, Handling, Pace, Table, mode_of
from handoff.program import Flag, Kind
from handoff.resources import Amounts
from handoff.settings import NodeSettings

PACES_MAX = 10_000    # codes whose durations are remembered; the oldest is forgotten
ENDED_MAX = 4096      # ended runs remembered one by one; of older ones it is known that they are older
WANTED_AHEAD = 1024   # equally urgent tasks that came before one whose result a peer waits for, and go after it
STRANGERS_MAX = 1024  # runs that somebody asked about and the coordinator never planned here; the oldest is forgotten


class State:
    """Shared by the brain and its parts; has no opinion."""

    def __init__(self, settings: NodeSettings, claims: Claims) -> None:
        self.settings, self.claims = settings, claims
        self.lanes = Lanes()
        self.now = 0.0                                    # when the event happened that is being taken
        self.me: PeerId | None = None                     # None: not welcome yet, or not any more
        self.runs: dict[RunId, Table] = {}
        self.effects: list[object] = []
        self.drops: dict[RunId, dict[int, None]] = {}     # values to free, after all that this turn sends
        self.reporting: dict[RunId, Table] = {}           # runs with something to report
        self._paces: dict[bytes, Pace] = {}
        self._ended: dict[RunId, None] = {}
        self._ended_below = 0
        self._strangers: dict[RunId, None] = {}
        self._order = 0

    # ── runs ────────────────────────────────────────────────────────────────

    def table(self, run: RunId) -> Table:
        """The run's table; a new one for a run that we hear of for the first time."""
        table = self.runs.get(run)
        if table is None:
            table = self.runs[run] = Table(run)
            self._strangers[run] = None
        return table

    def planned(self, run: RunId) -> Table:
        """The run's table, now that the coordinator has planned something of it here."""
        table = self.table(run)
        if not table.is_planned:
            table.is_planned = True
            del self._strangers[run]
            self._ended.pop(run, None)
        return table

    def strangers_beyond(self) -> list[RunId]:
        """Runs to forget, so that what strangers ask for does not pile up."""
        return list(self._strangers)[: max(0, len(self._strangers) - STRANGERS_MAX)]

    def is_over(self, run: RunId) -> bool:
        """Whether the run has ended here. Runs count upward, so one below all that we remember, and without a table, has."""
        return run not in self.runs and (run in self._ended or run < self._ended_below)

    def forget(self, run: RunId, is_over: bool = True) -> Table | None:
        """Remove the run's table, and remember that it is over, if it is: of one that only strangers spoke of, that is not known."""
        table = self.runs.pop(run, None)
        self._strangers.pop(run, None)
        self.drops.pop(run, None)
        self.reporting.pop(run, None)
        if is_over:
            self._ended[run] = None
        if len(self._ended) > ENDED_MAX:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._ended_below = max(self._ended_below, oldest)
        if table is not None:
            for task in table.ready:
                table.plans[task][HANDLING].lane.leave()
            for lane in list(self.lanes.active):
                lane.sweep(self.runs)
        return table

    def forget_endings(self) -> None:
        """Start anew: run numbers may begin again."""
        self._ended = {}
        self._ended_below = 0

    def keep_to(self, table: Table, most: int) -> None:
        """Of this run no more than so many are to execute here at once, from now on."""
        if table.limit is None:
            table.limit = Limit(most)
        table.limit.most = most

    # ── tasks ───────────────────────────────────────────────────────────────

    def handling(self, kind: Kind, cost: Amounts, limit: Limit | None) -> Handling:
        """What is to be known about tasks of a kind that claim this: the kind's cost, or one of its alternatives."""
        lane = self.lanes.of(cost, mode_of(kind, cost), limit)
        digest = kind.family or (kind.codes[0] if kind.codes else b"")
        pace = self._paces.get(digest)
        if pace is None:
            if len(self._paces) >= PACES_MAX:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[digest] = Pace()
        lane.is_timed |= kind.timeout > 0
        lane.has_coroutines |= kind.flags & Flag.ASYNC != 0
        return Handling(kind, lane, pace, self.claims.beyond(lane.cost))

    def make_ready(self, table: Table, task: int, entry: Entry) -> None:
        """Everything it takes is here: it waits for room."""
        lane = entry[HANDLING].lane
        self._order = order = self._order + 1
        if task in table.wants:
            order -= WANTED_AHEAD
        table.ready[task] = order
        table.since[task] = self.now
        lane.fresh.append((-entry[URGENCY], order, table.run, task))
        lane.count += 1
        self.lanes.active[lane] = None

    def count_down(self, table: Table, task: int) -> None:
        """A result is here: planned tasks that take it have one less to wait for."""
        plans, missing, given = table.plans, table.missing, table.given
        for follower in table.waiters.pop(task, ()):
            entry = plans.get(follower)
            if entry is None:
                continue
            lacking = missing[follower] - 1
            if lacking:
                missing[follower] = lacking
            else:
                del missing[follower]
                if follower not in given:
                    self.make_ready(table, follower, entry)

    def withdraw(self, table: Table, task: int) -> Entry:
        """Take a planned task out, wherever it waits; it is in no worker's hands."""
        entry = table.plans.pop(task)
        if table.ready.pop(task, None) is not None:
            entry[HANDLING].lane.leave()
        elif table.missing.pop(task, None) is not None:
            table.recalled[task] = None
        table.objects.pop(task, None)
        table.bereaved.pop(task, None)
        table.since.pop(task, None)
        return entry

    def fits(self, table: Table, task: int, peer: PeerId | None) -> bool:
        """Whether a result that is here is of use to that peer; what a serializer made for another one is void, and dropped."""
        if table.tailored.get(task, peer) == peer:
            return True
        self.void(table, task)
        return False

    def void(self, table: Table, task: int) -> None:
        """What is here of a serializer is not for where its consumer is to run now."""
        if task in table.senders:
            table.senders[task] = NOBODY
        if table.size.pop(task, None) is not None:
            table.tailored.pop(task, None)
            self.drop(table.run, [task])

    def drop(self, run: RunId, tasks: list[int]) -> None:
        """Free these values when the turn is over."""
        self.drops.setdefault(run, {}).update(dict.fromkeys(tasks))
