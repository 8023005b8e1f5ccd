"""A node on paper: it asks for inputs early, admits by urgency what fits, runs it for its seconds, and answers who wants the result.

The rules are those of `handoff.node.brain`; what is left out is what takes no time: workers, code, the bytes themselves.
"""

from __future__ import annotations

from heapq import heappop, heappush

from handoff.ids import NO_RUN
from handoff.messages import Plan, foremost
from handoff.program import Flag, Kind
from handoff.resources import SCALE, Amounts, covers
from handoff.scheduler.needs import needs_of, places_of
from handoff.scheduler.simulate.cluster import NodeSpec

BYPASS_MAX = 64      # as `NodeSettings.bypass_max`


class Planned:
    """A task that is planned on a node and has not ended."""

    __slots__ = ("alternative", "attempt", "cost", "inputs", "is_object", "lane", "missing", "started", "urgency")

    def __init__(self, attempt: int, cost: Amounts, inputs: tuple[int, ...], urgency: float, is_object: bool) -> None:
        self.attempt, self.cost, self.inputs, self.urgency, self.is_object = attempt, cost, inputs, urgency, is_object
        self.lane: LaneKey = (cost, NO_RUN)
        self.alternative = -1      # of its kind, at which it runs; below 0: its cost
        self.missing = 0
        self.started = -1.0


LaneKey = tuple[Amounts, int]                                        # a cost, and the run, if that may have only so many at once
Entry = tuple[float, int, tuple[int, int], Planned]                  # (-urgency, order, task, its plan)


class PaperNode:
    """State of one node of one simulated cluster; the simulator tells it the time. Keys of results are (run, task)."""

    def __init__(self, peer: int, spec: NodeSpec, zero_cost_per_cpu: int) -> None:
        self.peer, self.spec = peer, spec
        self.capacity = {**dict(spec.capacity), **places_of(spec.capacity, zero_cost_per_cpu, spec.processes)}
        self.free = dict(self.capacity)
        self.kinds: dict[tuple[int, int], Kind] = {}
        self.plans: dict[tuple[int, int], Planned] = {}
        self.waiters: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.has: dict[tuple[int, int], int] = {}                    # results here: bytes
        self.wants: dict[tuple[int, int], list[int]] = {}            # results that others wait for
        self.asked: dict[tuple[int, int], int] = {}                  # whom we asked
        self.lanes: dict[LaneKey, list[Entry]] = {}                  # what is ready, of each cost, as heaps
        self.limits: dict[int, int] = {}                             # runs that may have only so many at once here: how many more
        self.at_most: dict[int, int] = {}                            # of these: how many in all
        self.heads: list[Entry] = []                                 # of each lane the first, perhaps with some that were; a heap
        self.bypassed: dict[tuple[int, int], int] = {}
        self.order = 0
        self.resident = 0
        self.resident_peak = 0
        self.running = 0
        self.memory_peak = 0                                         # steps: what runs, and results, together

    # ── what the coordinator says ───────────────────────────────────────────

    def accept(self, plan: Plan) -> list[tuple[tuple[int, int], int]]:
        """Take in a plan; answers with what to ask for, and whom: ((run, task), peer)."""
        run = plan.run
        for index, kind in plan.new_kinds:
            self.kinds[run, index] = kind
        if plan.at_most:
            self.limits[run] = self.limits.get(run, 0) + plan.at_most - self.at_most.get(run, 0)
            self.at_most[run] = plan.at_most
        choices = dict(zip(plan.choices[::2], plan.choices[1::2], strict=True)) if plan.choices else {}
        relays = dict(zip(plan.relays[::2], plan.relays[1::2], strict=True)) if plan.relays else {}
        asks: list[tuple[tuple[int, int], int]] = []
        at = 0
        for place, task in enumerate(plan.tasks):
            count = plan.fan_in[place]
            inputs = tuple(plan.inputs[at : at + count])
            sources = plan.sources[at : at + count]
            at += count
            kind = self.kinds[run, plan.kind[place]]
            cost = needs_of(kind)[choices[task] + 1 if task in choices else 0]
            key = (run, task)
            planned = self.plans[key] = Planned(plan.attempts[place], cost, inputs, plan.urgencies[place], bool(kind.flags & Flag.OBJECT))
            planned.alternative = choices.get(task, -1)
            planned.lane = (cost, run if plan.at_most else NO_RUN)
            for each, source in dict(zip(inputs, sources, strict=True)).items():
                value = (run, each)
                if value in self.has:
                    continue
                planned.missing += 1
                self.waiters.setdefault(value, []).append(key)
                source = relays.get(each, source)
                if source != self.peer and self.asked.get(value) != source:
                    self.asked[value] = source
                    asks.append((value, source))
            if not planned.missing and not planned.is_object:
                self._ready(key, planned)
        return asks

    def redirect(self, value: tuple[int, int], source: int) -> bool:
        """It comes from there now; whether to ask."""
        if value in self.has or value not in self.waiters or source == self.peer or self.asked.get(value) == source:
            return False
        self.asked[value] = source
        return True

    def recall(self, key: tuple[int, int], attempt: int) -> bool:
        """Give it back, if it has not started."""
        planned = self.plans.get(key)
        if planned is None or planned.attempt != attempt or planned.started >= 0.0:
            return False
        del self.plans[key]
        self.bypassed.pop(key, None)
        for each in dict.fromkeys(planned.inputs):
            waiting = self.waiters.get((key[0], each))
            if waiting is not None and key in waiting:
                waiting.remove(key)
        return True

    def release(self, value: tuple[int, int]) -> None:
        """Nobody needs it any more."""
        self.resident -= self.has.pop(value, 0)

    # ── what happens here ───────────────────────────────────────────────────

    def arrived(self, value: tuple[int, int], nbytes: int) -> None:
        """A result is here, made or fetched: who waits for it comes nearer."""
        self.asked.pop(value, None)
        if value in self.has:
            return
        self.has[value] = nbytes
        self.resident += nbytes
        self.resident_peak = max(self.resident_peak, self.resident)
        self._see_memory()
        for key in self.waiters.pop(value, ()):
            planned = self.plans.get(key)
            if planned is not None:
                planned.missing -= 1
                if not planned.missing and planned.started < 0.0:
                    self._ready(key, planned)

    def startable(self) -> list[tuple[int, int]]:
        """Claim room for what may start now, the most urgent first; what does not fit is overtaken only so often.

        By the less urgent as well as by the more urgent of its priority: what was overtaken too often comes first within its priority.
        """
        heads, free, started, bypassed = self.heads, self.free, [], self.bypassed
        skipped = []
        full: set[Amounts] = set()
        seen: set[LaneKey] = set()                             # of which the first can't start now
        waiting: list[tuple[Amounts, tuple[int, int]]] = []    # what does not fit: of each cost the first
        blocked: list[Amounts] = []                            # those for which room is kept
        served: list[tuple[float, Amounts]] = []
        while heads:
            entry = heappop(heads)
            key, planned = entry[2:]
            cost = planned.cost
            lane = self.lanes[planned.lane]
            if planned.lane in seen or not lane or lane[0] is not entry:
                continue
            if self.plans.get(key) is not planned or planned.started >= 0.0 or planned.missing:
                self._leave(lane)
                continue
            if cost in full or self.limits.get(key[0], 1) <= 0:     # the same cost in another lane; or its run has as many here as it may
                seen.add(planned.lane)
                skipped.append(entry)
                continue
            fits = all(free.get(name, 0) >= amount for name, amount in cost)
            if fits and not any(self._delays(cost, large) for large in blocked):
                for name, amount in cost:
                    free[name] -= amount
                planned.started = 0.0
                started.append(key)
                if key[0] in self.limits:
                    self.limits[key[0]] -= 1
                self._leave(lane)
                for large, other in waiting:
                    if self._prolongs(cost, large):
                        bypassed[other] = bypassed.get(other, 0) + 1
                served.append((entry[0], cost))
                continue
            full.add(cost)
            seen.add(planned.lane)
            skipped.append(entry)
            if not fits:
                waiting.append((cost, key))
                first = -foremost(planned.urgency)
                passed = [small for place, small in served if place >= first and not covers(small, cost) and self._prolongs(small, cost)]
                if passed:
                    bypassed[key] = bypassed.get(key, 0) + len(passed)
                if bypassed.get(key, 0) >= BYPASS_MAX:
                    blocked.append(cost)
            if len(full) > 8:
                break
        for entry in skipped:
            if bypassed.get(entry[2], 0) >= BYPASS_MAX and entry[0] != -foremost(-entry[0]):
                self._leave(self.lanes[entry[3].lane])
                self._line_up((-foremost(-entry[0]), *entry[1:]))
            else:
                heappush(heads, entry)
        self.running += len(started)
        if started:
            self._see_memory()
        return started

    def ended(self, key: tuple[int, int], nbytes: int) -> Planned:
        """It is done: its claim is free, its result is here."""
        planned = self.plans.pop(key)
        if not planned.is_object:
            self.running -= 1
            if key[0] in self.limits:
                self.limits[key[0]] += 1
            for name, amount in planned.cost:
                self.free[name] += amount
        self.bypassed.pop(key, None)
        self.arrived(key, nbytes)
        return planned

    def _see_memory(self) -> None:
        claimed = self.capacity.get("memory", 0) - self.free.get("memory", 0)
        self.memory_peak = max(self.memory_peak, claimed + self.resident * SCALE // 1_000_000)

    def _ready(self, key: tuple[int, int], planned: Planned) -> None:
        self.order += 1
        self._line_up((-planned.urgency, self.order, key, planned))

    def _line_up(self, entry: Entry) -> None:
        lane = self.lanes.setdefault(entry[3].lane, [])
        heappush(lane, entry)
        if lane[0] is entry:
            heappush(self.heads, entry)

    def _leave(self, lane: list[Entry]) -> None:
        """The first of a lane is no more to be looked at."""
        heappop(lane)
        if lane:
            heappush(self.heads, lane[0])

    def _prolongs(self, cost: Amounts, large: Amounts) -> bool:
        needs = dict(large)
        return any(name in needs and self.free.get(name, 0) < needs[name] for name, _ in cost)

    def _delays(self, cost: Amounts, large: Amounts) -> bool:
        needs = dict(large)
        return any(name in needs and self.free.get(name, 0) - amount < needs[name] for name, amount in cost)
