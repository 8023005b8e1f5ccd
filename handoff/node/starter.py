"""What starts next: the most urgent ready tasks whose cost fits now, in batches for workers, chains included."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf

from handoff.ids import NOBODY, PeerId, RunId
from handoff.messages import foremost
from handoff.node.clocks import Clocks
from handoff.node.company import Company, would_do
from handoff.node.crew import WORTH_SECONDS, Batch, Crew, Worker
from handoff.node.events import Execute
from handoff.node.lanes import Key, Lane
from handoff.node.overtime import Overtime
from handoff.node.stalls import Stalls
from handoff.node.state import State
from handoff.node.tables import ATTEMPT, HANDLING, INPUTS, SHOWN, Entry, Mode, Table
from handoff.node.wants import Wants
from handoff.program import Flag, Kind
from handoff.resources import covers

BLOCKED_MAX = 64  # costs that do not fit, before the node looks no further in this turn


class Draft:
    """A batch while it is being made."""

    __slots__ = ("batch", "entries", "is_narrow", "lacks", "lanes", "seconds", "table", "tasks")

    def __init__(self, batch: Batch, table: Table, lanes: dict[Lane, None], is_narrow: bool) -> None:
        self.batch, self.table = batch, table
        self.lanes = lanes                # what it takes from
        self.seconds = 0.0                # predicted
        self.is_narrow = is_narrow        # whether others could take of the same lane
        self.tasks: list[int] = []
        self.entries: list[Entry] = []
        self.lacks: dict[int, int] = {}   # per follower of what is in it: inputs that are neither here nor in it


class Starter:
    """Takes tasks from the lanes and gives them to workers."""

    def __init__(self, state: State, crew: Crew, wants: Wants, clocks: Clocks, stalls: Stalls, overtime: Overtime) -> None:
        self._state, self._crew, self._wants, self._clocks, self._stalls, self._overtime = state, crew, wants, clocks, stalls, overtime
        self._settings, self._claims = state.settings, state.claims
        self._coroutines: dict[RunId, tuple[list[int], list[Entry]]] = {}  # given to the asyncio worker in this turn
        self._heap: list[tuple[Key, Lane]] = []    # what is to be looked at in this turn, the most urgent first
        self._joint: dict[Lane, None] = {}         # claims of workers that have tasks of several costs

    def start(self, now: float) -> None:
        """Start all that can start, then see to it that there are workers for the rest."""
        state = self._state
        runs, active, bypass_max = state.runs, state.lanes.active, self._settings.bypass_max
        unserved, is_worth_it, wants_asyncio = 0, False, False
        if active:
            heap = self._heap = []
            self._joint = self._joint and {each.claim: None for each in self._crew.workers.values() if each.claim and each.claim.is_joint}
            for lane in list(active):
                key = lane.head(runs) if lane.count else None
                if key is None:
                    del active[lane]
                    if lane.held or lane.fresh:
                        lane.clear()
                else:
                    if lane.bypassed and lane.bypassed >= bypass_max:
                        key = (-foremost(-key[0]), *key[1:])
                    heap.append((key, lane))
            heapify(heap)
            blocked: list[Lane] = []
            served: list[tuple[float, Lane]] = []     # what starts in this turn: places in the order, as in keys
            while heap and len(blocked) < BLOCKED_MAX:
                key, lane = heappop(heap)
                claim = self._serve(now, lane, key, blocked)
                if claim is not None:
                    served.append((key[0], claim))
                    continue
                if served and blocked and blocked[-1] is lane:
                    self._pass_by(lane, key, served)
                if lane.mode is Mode.ASYNC:
                    wants_asyncio = True
                elif not unserved and not self._crew.idle and (not blocked or blocked[-1] is not lane):
                    unserved = min(lane.count, self._at_once(lane))
                    pace = runs[key[2]].plans[key[3]][HANDLING].pace
                    is_worth_it = pace.seconds * lane.count > WORTH_SECONDS * len(self._crew.workers)
            if self._coroutines:
                self._send_coroutines()
        self._crew.staff(now, unserved, is_worth_it, wants_asyncio)

    def _serve(self, now: float, lane: Lane, key: Key, blocked: list[Lane]) -> Lane | None:
        """Give away the first of the lane, and what goes with it, if anybody can take it; answer with the lane whose cost that claims."""
        claims, crew, cost, overtaken = self._claims, self._crew, lane.cost, blocked
        claim: Lane | None = None
        if lane.limit is not None and not lane.limit.left:
            if not lane.hungry:
                return None     # its run has as many here as it may
        elif claims.fits(cost):
            if not (crew.idle or lane.hungry or self._joint or lane.mode is Mode.ASYNC):
                return None
            if blocked:
                overtaken = [large for large in blocked if claims.delays(cost, large.cost)]
                if any(large.bypassed >= self._settings.bypass_max for large in overtaken):
                    return None
            worker: Worker | None = None
            if lane.mode is Mode.ASYNC:
                worker = crew.asyncio
                if worker is None or not worker.is_ready or len(worker.batches) >= self._settings.async_tasks_max:
                    return None
                claim = self._give(now, worker, Company(key, lane), 1)
            elif crew.idle and (not lane.is_small or crew.small < crew.most):
                worker = crew.suited(cost)
                if worker is not None:
                    sharers = min(len(crew.idle), self._at_once(lane)) if len(crew.idle) > 1 else 1
                    company = Company(key, lane)
                    if self._heap and not blocked:   # else it is to take no more than it needs
                        company.gather(self._heap, self._state.runs, claims, None, sharers, self._settings.batch_seconds)
                    claim = self._give(now, worker, company, sharers)
            if worker is not None:
                if overtaken:
                    _overtake(overtaken)
                return claim
        else:
            blocked.append(lane)
        claim = lane if lane.hungry else self._claim_for(lane)
        if claim is None or self._state.runs[key[2]].plans[key[3]][HANDLING].pace.seconds > self._settings.batch_seconds:
            return None
        overtaken = [large for large in overtaken if large is not lane and claims.prolongs(claim.cost, large.cost)]
        if any(large.bypassed >= self._settings.bypass_max for large in overtaken):
            return None
        worker = next(iter(claim.hungry.values())) if lane.mode is not Mode.ONCE else _whose_all(claim, key[2])
        if worker is None:
            return None
        sharers = len(claim.hungry)
        del claim.hungry[worker.id]  # goes to the end of the row, if it stays hungry
        company = Company(key, lane)
        if claim.is_joint:
            company.gather(self._heap, self._state.runs, claims, claim, sharers, self._settings.batch_seconds)
        self._give(now, worker, company, sharers)
        _overtake(overtaken)
        if blocked and blocked[-1] is lane:
            blocked.pop()
        return claim

    def _at_once(self, lane: Lane) -> int:
        """How many more claims of this lane fit, and may be made."""
        count = self._claims.how_many(lane.cost)
        if lane.is_small:
            count = min(count, self._crew.most - self._crew.small)
        return count if lane.limit is None else min(count, lane.limit.left)

    def _claim_for(self, lane: Lane) -> Lane | None:
        """What a worker with tasks of several costs has claimed, and would do for this lane, if that may be given more."""
        if not lane.is_joinable:
            return None
        fed = [each for each in self._joint if each.hungry and each.mode is lane.mode]
        return next((each for each in fed if would_do(self._claims, each.cost, lane.cost)), None)

    def _pass_by(self, lane: Lane, key: Key, served: list[tuple[float, Lane]]) -> None:
        """Count who went before the first of this lane by rank alone, and took of what it lacks, with less than it needs.

        Where such starts never end, its turn by rank would not come: what is free is never enough. Who asks for as much or more is not
        counted, since it had to wait for as much; nor is a higher priority.
        """
        first = -foremost(-key[0])
        for place, other in served:
            if place >= first and not covers(other.cost, lane.cost) and self._claims.prolongs(other.cost, lane.cost):
                lane.bypassed += 1

    def _give(self, now: float, worker: Worker, company: Company, sharers: int) -> Lane:
        """Make a batch and hand it over: no more than its share when several workers could take of this lane. Answers with its claim."""
        key, lane = company.lanes[0]
        run = key[2]
        table = self._state.runs[run]
        claim = worker.claim or lane
        if worker.claim is None and len(company.lanes) > 1:
            claim = Lane(company.cost, company.cost, lane.mode)
            claim.is_joint = True
            self._joint[claim] = None
        batch = Batch(worker, claim, run, (), (), 0, 0.0)
        draft = Draft(batch, table, {lane: None}, sharers > 1)
        if len(company.lanes) > 1:
            draft.lanes.update((each, None) for _, each in company.lanes)
        for first, each in company.lanes:
            room = min(len(draft.tasks) - (-each.count // sharers), self._settings.batch_max)
            following: Key | None = first
            if len(draft.tasks) < room and draft.seconds < self._settings.batch_seconds:
                following = self._collect(draft, each, first, room)
                each.bypassed = 0
            if following is not None:
                heappush(self._heap, (following, each))
        tasks, entries = draft.tasks, draft.entries
        if not tasks:  # what they take was released too early, and has been asked for again
            if worker.claim is not None:
                self._crew.feed(worker, claim)
            return claim
        attempts, kinds, literals, inputs, sources, targets, *_, tries = zip(*entries, strict=True)
        batch.tasks, batch.attempts, batch.left = tuple(tasks), attempts, len(tasks)
        self._crew.give(now, batch)
        for each in draft.lanes:
            if each.is_timed or each.has_coroutines:
                batch.has_coroutines = any(kind.flags & Flag.ASYNC for kind in kinds)
                self._time(now, batch, kinds)
                break
        if worker.is_asyncio:
            column = self._coroutines.setdefault(run, ([], []))
            column[0].append(tasks[0])
            column[1].append(entries[0])
        else:
            if batch.left > 1 or len(worker.batches) > 1:
                self._stalls.watch(now)
            elif self._stalls.deadline is None:
                self._stalls.watch_alone(now)
            costs = tuple([entry[HANDLING].lane.granted for entry in entries]) if claim.is_joint else ()
            self._state.effects.append(Execute(
                worker.id, run, batch.tasks, attempts, kinds, literals, inputs, sources, targets, lane.granted, worker.gpus or (),
                tries, costs, _awaited(table, batch) if batch.left > 1 else ()))
        return claim

    def _time(self, now: float, batch: Batch, kinds: tuple[Kind, ...]) -> None:
        """Its tasks may have timeouts. One of the coroutines side by side says when its own time runs, or that it could not be loaded
        in time.
        """
        timeouts = {kind.timeout for kind in kinds if kind.timeout > 0}
        if not timeouts:
            return
        if batch.worker.is_asyncio:
            self._clocks.set(now + self._settings.load_seconds + kinds[0].timeout, batch)
        else:
            batch.patience = min(timeouts)
            self._overtime.watch(now, batch)

    def _collect(self, draft: Draft, lane: Lane, key: Key, limit: int) -> Key | None:
        """Tasks of one run from the front of the lane: one of unknown or long duration, or several that are short together.

        Answers with who is at the front after that.
        """
        batch, table, tasks, entries = draft.batch, draft.table, draft.tasks, draft.entries
        run = table.run
        runs, plans, ready, given, waiters, size = self._state.runs, table.plans, table.ready, table.given, table.waiters, table.size
        most = self._settings.batch_seconds
        seconds, taken = draft.seconds, 0
        following: Key | None = key
        while following is not None and following[2] == run:
            task = following[3]
            entry = plans[task]
            predicted = entry[HANDLING].pace.seconds if lane.is_batched else inf
            if tasks and seconds + predicted > most:
                break
            del ready[task]
            taken += 1
            lane.current.pop()
            lane.held -= 1
            following = lane.head(runs) if lane.count > taken else None
            inputs = entry[INPUTS]
            if inputs:
                if not size.keys() >= set(inputs):
                    self._wants.again(table, task, entry, [each for each in inputs if each not in size])
                    continue
                if entry[SHOWN] and (table.redirected or table.senders):
                    entry = self._with_sources(entry, table)
            tasks.append(task)
            entries.append(entry)
            given[task] = batch
            seconds += predicted
            if task in waiters and seconds < most:
                seconds = self._chain(draft, seconds)
            if len(tasks) >= limit or seconds >= most:
                break
        lane.count -= taken
        draft.seconds = batch.seconds = seconds
        return following

    def _chain(self, draft: Draft, seconds: float) -> float:
        """Add what can follow the last task in the same worker: each takes only what is here or made before it in this batch.

        While others could take of this lane, only one follower of each: the rest is theirs.
        """
        batch, table, tasks, entries, lacks, is_narrow = draft.batch, draft.table, draft.tasks, draft.entries, draft.lacks, draft.is_narrow
        lanes, plans, given, waiters, missing, size = draft.lanes, table.plans, table.given, table.waiters, table.missing, table.size
        most, limit = self._settings.batch_seconds, self._settings.batch_max
        producers = [tasks[-1]]
        while producers:
            for follower in waiters.get(producers.pop(), ()):
                entry = plans.get(follower)
                if entry is None or follower in given or entry[HANDLING].lane not in lanes:
                    continue
                if missing[follower] > 1:
                    lacks[follower] = lacking = lacks.get(follower, missing[follower]) - 1
                    if lacking:
                        continue
                predicted = entry[HANDLING].pace.seconds
                if seconds + predicted > most:
                    continue
                if len(entry[INPUTS]) > 1 and any(each not in size and given.get(each) is not batch for each in entry[INPUTS]):
                    continue  # one of them was here and has been released
                if entry[SHOWN] and (table.redirected or table.senders):
                    entry = self._with_sources(entry, table)
                tasks.append(follower)
                entries.append(entry)
                given[follower] = batch
                batch.is_chained = True
                seconds += predicted
                if len(tasks) >= limit:
                    return seconds
                producers.append(follower)
                if is_narrow:
                    break
        return seconds

    def _send_coroutines(self) -> None:
        worker = self._crew.asyncio
        if worker is None:
            return
        for run, (tasks, entries) in self._coroutines.items():
            attempts, kinds, literals, inputs, sources, targets, *_, tries = zip(*entries, strict=True)
            costs = tuple([entry[HANDLING].lane.granted for entry in entries])
            is_same = costs.count(costs[0]) == len(costs)
            self._state.effects.append(Execute(
                worker.id, run, tuple(tasks), attempts, kinds, literals, inputs, sources, targets, costs[0], tries=tries,
                costs=() if is_same else costs, is_at_once=True))
        self._coroutines = {}

    def _with_sources(self, entry: Entry, table: Table) -> Entry:
        """The entry with the sources that the coordinator named since; of what a serializer made for us, the node where it did."""
        shown = tuple(self._source(table, each, source) for each, source in zip(entry[INPUTS], entry[SHOWN], strict=True))
        return (entry[ATTEMPT], entry[1], entry[2], entry[INPUTS], shown, *entry[5:])

    def _source(self, table: Table, task: int, planned: PeerId) -> PeerId:
        if task in table.senders:   # it may have been made again elsewhere since, or be planned to be
            sender = self._state.me if task in table.tailored else table.senders[task]
            if sender is not None and sender != NOBODY:
                return sender
        return table.redirected.get(task, planned)


def _awaited(table: Table, batch: Batch) -> tuple[int, ...]:
    """At which places of the batch there are results that somebody needs before it is over: a peer that asked, or a task here for which
    nothing else is missing then. All others may be told of together, except of what must not begin again: what is not told when the worker
    dies counts as not done.
    """
    wants, waiters, missing, given = table.wants, table.waiters, table.missing, table.given
    if batch.lane.mode is Mode.ONCE:
        return tuple(range(batch.left))
    if not (wants or waiters):
        return ()
    places: list[int] = []
    lacks: dict[int, int] = {}
    for place, task in enumerate(batch.tasks):
        is_awaited = task in wants
        for follower in waiters.get(task, ()):
            if follower in missing and given.get(follower) is not batch:
                lacks[follower] = left = lacks.get(follower, missing[follower]) - 1
                is_awaited = is_awaited or not left
        if is_awaited:
            places.append(place)
    return tuple(places)


def _overtake(overtaken: list[Lane]) -> None:
    for large in overtaken:
        large.bypassed += 1


def _whose_all(lane: Lane, run: RunId) -> Worker | None:
    """A worker that may be given more, and has nothing of other runs: at its end, then, what must not begin again need not either."""
    return next((worker for worker in lane.hungry.values() if all(batch.run == run for batch in worker.batches)), None)
