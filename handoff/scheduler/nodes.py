"""The mirror of a node: what it offers, what it was given, and when it will have room. For planning only: the node itself admits."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from handoff.ids import PeerId, RunId
from handoff.messages import Hello
from handoff.resources import SCALE, Amounts
from handoff.scheduler.estimates import Estimates
from handoff.scheduler.ready import COROUTINES_PER_PLACE, Shape
from handoff.scheduler.runs import AHEAD, HELD, Run

OVERHEAD_SECONDS = 20e-6   # what even an empty task takes of a node: messages, a queue, a worker's turn
SPEED_PRIOR = 8.0          # runs at the usual speed that a node is credited with, before its own say more
LINDY = 0.5                # a task that is over its time is expected to take half as long again


class Node:
    """What the scheduler knows about one node."""

    __slots__ = (
        "address", "ahead", "backlog", "boot", "capacity", "codes", "committed", "dropped_at", "free", "freed", "heard",
        "held", "holding", "is_stale", "kinds", "knows", "labels", "name", "order", "peer", "pid", "planned", "queued",
        "recalled_at", "running", "seconds_sum", "sent", "shares", "speed", "state", "units",
    )

    def __init__(self, peer: PeerId, hello: Hello, now: float, zero_cost_per_cpu: int) -> None:
        self.peer = peer
        self.name = hello.name
        self.address = hello.address
        self.boot = hello.boot
        self.pid = hello.pid
        self.labels = hello.labels
        self.capacity: dict[str, int] = dict(hello.capacity)
        cpus = -(-self.capacity.get("cpu", 0) // SCALE)
        self.capacity[""] = max(1, zero_cost_per_cpu * max(1, cpus)) * COROUTINES_PER_PLACE  # places for tasks that cost nothing
        self.state = "ready"                    # "ready" | "suspect": gets no new work
        self.heard = now                        # when it last said anything
        self.dropped_at: float | None = None    # since when its connection is broken
        self.free: Amounts = hello.capacity     # what it said is free, for people
        self.running = 0                        # what it said runs, for people
        self.queued = 0
        # What it was given and has not finished. A task is `held` (it was given because there was room: its cost is committed) or
        # `ahead` (it is short: it adds to the backlog only).
        self.held: dict[Shape, int] = {}
        self.ahead: dict[Shape, int] = {}
        self.committed: dict[str, int] = dict.fromkeys(self.capacity, 0)
        self.holding: dict[tuple[int, int], tuple[float, Shape]] = {}  # held tasks: (run, task) -> given when, and what
        self.planned = 0                        # all of them
        self.freed = 0                          # how often room opened: what was full is so until this changes
        self.is_stale = False                   # tasks ended since the backlog was worked out
        self.backlog = 0.0                      # seconds until `ahead` is worked off; worked out anew where tasks ended
        self.shares: dict[Amounts, float] = {}  # the largest part of this node that such a cost takes
        self.units: dict[Shape, float] = {}     # what one task of a shape adds to the backlog, in this pass
        self.sent: dict[RunId, array[int]] = {} # tasks planned here, per run, in order; finished ones are swept out now and then
        self.kinds: dict[RunId, set[int]] = {}  # kinds of a run that it has seen
        self.codes: set[bytes] = set()          # code that it has
        self.knows: set[int] = set()            # peers that it was told about
        self.recalled_at = float("-inf")
        self.speed = 1.0                        # a task of one usual second takes 1/speed here
        self.seconds_sum = SPEED_PRIOR          # for the speed: what tasks took here, in usual seconds

    def share(self, need: Amounts) -> float:
        """The largest part of any of the node's resources that this takes; above 1 when the node can never hold it."""
        known = self.shares.get(need)
        if known is None:
            known = max((amount / self.capacity[name] if self.capacity.get(name) else 2.0 for name, amount in need), default=0.0)
            self.shares[need] = known
        return known

    def can_hold(self, need: Amounts) -> bool:
        """Whether it could run this when it ran nothing else."""
        capacity = self.capacity
        for name, amount in need:
            if capacity.get(name, 0) < amount:
                return False
        return True

    def has_room(self, need: Amounts) -> bool:
        """Whether this fits beside what it was given."""
        capacity, committed = self.capacity, self.committed
        for name, amount in need:
            if name not in capacity or committed[name] + amount > capacity[name]:
                return False
        return True

    def slots(self, need: Amounts) -> int:
        """How many of these fit beside what it was given."""
        capacity, committed = self.capacity, self.committed
        fits = [(capacity[name] - committed[name]) // amount if name in capacity else 0 for name, amount in need]
        return max(0, min(fits, default=1 << 30))

    def work_out_backlog(self, estimates: Estimates) -> None:
        """How many seconds of short work lie here, all resources taken together."""
        self.is_stale = False
        self.units.clear()
        self.backlog = sum([count * self.unit(shape, estimates) for shape, count in self.ahead.items()])

    def unit(self, shape: Shape, estimates: Estimates) -> float:
        """What one short task of this shape adds to the backlog."""
        known = self.units.get(shape)
        if known is None:
            known = (estimates.seconds(shape.function) + OVERHEAD_SECONDS) * self.share(shape.need) / self.speed
            self.units[shape] = known
        return known

    def take(self, shape: Shape, count: int, held: bool) -> None:
        """So many tasks of this shape were given to it."""
        self.planned += count
        if held:
            self.held[shape] = self.held.get(shape, 0) + count
            for name, amount in shape.need:
                self.committed[name] = self.committed.get(name, 0) + amount * count
        else:
            self.ahead[shape] = self.ahead.get(shape, 0) + count

    def give(self, shape: Shape, count: int, held: bool) -> None:
        """So many tasks of this shape are no longer its business."""
        self.planned -= count
        self.is_stale = True
        where = self.held if held else self.ahead
        left = where[shape] - count
        if left:
            where[shape] = left
        else:
            del where[shape]
        if held:
            self.freed += 1
            for name, amount in shape.need:
                self.committed[name] -= amount * count

    def note_sent(self, run: Run, tasks: array[int]) -> None:
        """Remember what lies here, for recalls and for its loss; sweep out what has ended when most of it has."""
        sent = self.sent.get(run.run)
        if sent is None:
            sent = self.sent[run.run] = array("I")
        elif len(sent) > 4096 + 4 * self.planned:
            sent = self.sent[run.run] = array("I", self.tasks_of(run))
        sent.extend(tasks)

    def tasks_of(self, run: Run) -> list[int]:
        """The tasks of a run that are with it, in the order in which they were given, each once."""
        state, where, peer = run.state, run.node, self.peer
        return [task for task in dict.fromkeys(self.sent.get(run.run, ())) if AHEAD <= state[task] <= HELD and where[task] == peer]

    def learn_speed(self, took: float, expected: float) -> None:
        """Tasks that usually take `expected` took `took` here."""
        if expected > 0.0 and took > 0.0:
            ratio = min(10.0, max(0.1, took / expected))
            self.seconds_sum = self.seconds_sum * 0.95 + ratio * 0.05 * SPEED_PRIOR
            self.speed = SPEED_PRIOR / self.seconds_sum

    def room_at(self, need: Amounts, now: float, estimates: Estimates, booked: Iterable[tuple[float, Amounts]] = ()) -> float:
        """When this will fit, by what is known of the tasks that hold their costs here; `booked` are waits decided in this pass."""
        capacity = self.capacity
        missing = {name: self.committed.get(name, 0) + amount - capacity.get(name, 0) for name, amount in need}
        ends = []
        for since, shape in self.holding.values():
            seconds = estimates.seconds(shape.function) / self.speed
            end = since + seconds
            ends.append((end if end > now else now + LINDY * (now - since), shape.need))
        for until, cost in booked:
            for name, amount in cost:
                if name in missing:
                    missing[name] += amount
            ends.append((until, cost))
        ends.sort()
        at = now
        for end, cost in ends:
            if all(steps <= 0 for steps in missing.values()):
                return at
            at = max(at, end)
            for name, amount in cost:
                if name in missing:
                    missing[name] -= amount
        return at

    def __repr__(self) -> str:
        return f"Node({self.name!r}, peer {self.peer}, {self.state}, {self.planned} planned)"
