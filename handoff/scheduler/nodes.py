"""The mirror of a node: what it offers, what it was given, and when it will have room. For planning only: the node itself admits."""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Sequence
from math import inf
from operator import attrgetter

from handoff.columns import ints
from handoff.ids import PeerId, RunId
from handoff.messages import Hello
from handoff.resources import SCALE, Amounts
from handoff.scheduler.estimates import Estimates
from handoff.scheduler.groups import step_of
from handoff.scheduler.needs import places_of
from handoff.scheduler.ready import Shape
from handoff.scheduler.room import Room
from handoff.scheduler.runs import AHEAD, HELD, Run
from handoff.scheduler.speeds import RECENT, Speed

QUEUE_WALKED = 64          # of so many tasks planned ahead it is worked out which core runs which; more are taken as one stream
SENT_SWEPT = 4096          # tasks that it was given, of a run, from which on those that have ended are swept out
LANES_MAX = 64             # cores of a node that are told apart
OVERHEAD_SECONDS = 20e-6   # what even an empty task takes of a node: messages, a queue, a worker's turn
LATE = 2.0                 # one that is late by less than so many times its time, for inputs that move, is thought to end at any moment
WHOLE = 0.75               # so much of a core that nothing is planned for is taken for one
LINDY = 0.5                # a task that is over its time is expected to take half as long again
FAULT = attrgetter("fault")    # asked of all nodes with each submission, in one call


class Node(Room):
    """What the scheduler knows about one node."""

    __slots__ = (
        "address", "ahead", "backlog", "boot", "codes", "down_at", "dropped_at", "ends", "fault", "free", "heard", "held", "holding",
        "is_stale", "kinds", "knows", "label_set", "labels", "lanes", "leaves", "moved_at", "name", "offers", "pace", "peer", "pid",
        "planned", "queue", "queued", "recalled_at", "running", "sent", "speed", "state", "step", "told", "units", "up_at",
    )

    def __init__(self, peer: PeerId, hello: Hello, now: float, zero_cost_per_cpu: int) -> None:
        self.peer = peer
        self.name = hello.name
        self.address = hello.address
        self.boot = hello.boot
        self.pid = hello.pid
        self.labels = hello.labels
        self.label_set = frozenset(hello.labels)
        cpus = -(-dict(hello.capacity).get("cpu", 0) // SCALE)
        super().__init__({**dict(hello.capacity), **places_of(hello.capacity, zero_cost_per_cpu, hello.processes)}, hello.gpus)
        self.offers = hello.capacity            # what people know of it
        self.state = "ready"                    # "ready" | "suspect": silent | "draining" | "faulty": these three get no new work
        self.leaves = False                     # it drains, whether or not it is heard just now
        self.fault = ""                         # why nothing can run there now, as it says itself
        self.heard = now                        # when it last said anything
        self.dropped_at: float | None = None    # since when its connection is broken
        self.free: Amounts = hello.capacity     # what it said is free, for people
        self.running = 0                        # what it said runs, for people
        self.queued = 0
        # What it was given and has not finished. A task is `held` (it was given because there was room: its cost is committed) or
        # `ahead` (it is short: it adds to the backlog only).
        self.held: dict[Shape, int] = {}
        self.ahead: dict[Shape, int] = {}
        # Held tasks: (run, task) -> start, what, for how long, at which cost, and whether it is early: bound before its room opens.
        self.holding: dict[tuple[int, int], tuple[float, Shape, float, Amounts, bool]] = {}
        # What is planned ahead one by one: seconds, share, when its inputs should be there (0: they are) as of its planning, start, run.
        self.queue: dict[tuple[int, int], tuple[float, float, float, float, Run]] = {}
        # Of these, the ones whose time is told, per run and kind: how many, their seconds, those times their shares, the run.
        self.told: dict[tuple[int, int], tuple[int, float, float, Run]] = {}
        self.ends: list[tuple[float, float, Amounts]] | None = None   # of the held tasks: (end, start, cost), sorted; None: not known
        self.lanes: list[float] = [0.0] * max(1, min(LANES_MAX, cpus))   # when each core is through with what was planned here, sorted
        self.down_at = self.up_at = 0.0         # when its link has moved what was decided, either way
        self.planned = 0                        # all of them
        self.is_stale = False                   # tasks ended since the backlog was worked out
        self.backlog = 0.0                      # seconds until `ahead` is worked off; worked out anew where tasks ended
        self.units: dict[Shape, float] = {}     # what one task of a shape adds to the backlog, in this pass
        self.sent: dict[RunId, array[int]] = {} # tasks planned here, per run, in order; finished ones are swept out now and then
        self.kinds: dict[RunId, set[int]] = {}  # kinds of a run that it has seen
        self.codes: set[bytes] = set()          # code that it has
        self.knows: set[int] = set()            # peers that it was told about
        self.recalled_at = float("-inf")
        self.moved_at = now                     # when it last ended something, or got something to do when it had nothing
        self.pace = Speed()                     # what its speed is learned by; `speed` is its value
        self.speed = 1.0                        # a task of one usual second takes 1/speed here
        self.step = 0                           # of the scale of speeds, by which nodes are grouped

    def standing(self) -> str:
        """Its state while it is heard."""
        return "draining" if self.leaves else "faulty" if self.fault else "ready"

    def can_run(self, shape: Shape) -> bool:
        """Whether it could run such a task, at one of its costs, when it ran nothing else."""
        return self.matches(shape.where) and any(self.can_hold(need) for need in shape.needs)

    def matches(self, where: tuple[tuple[str, str], ...]) -> bool:
        """Whether it has all these labels."""
        return not where or self.label_set.issuperset(where)

    def work_out(self, now: float, estimates: Estimates) -> None:
        """How many seconds of short work lie here, and when each core is through with what was planned."""
        self.is_stale = False
        self.units.clear()
        self.ends = None
        if not self.ahead:
            self._lay_out(now)
            return
        ahead, self.backlog, cores = self.ahead, 0.0, 0.0
        if self.told:
            ahead = dict(ahead)
            for (_, kind), (count, seconds, busy, run) in self.told.items():
                ahead[run.shapes[kind]] -= count
                self.backlog += seconds * self.share(run.shapes[kind].need)
                cores += busy
        self.backlog += sum([count * self.unit(shape, estimates) for shape, count in ahead.items()])
        cores += sum([count * self.unit(shape, estimates) for shape, count in ahead.items() if self.width(shape.need)])
        lanes = self.lanes
        count = len(lanes)
        walked = self.queue if len(self.queue) <= QUEUE_WALKED else {}
        stream = max(0.0, cores - sum([each[0] * each[1] for each in walked.values()]))
        lanes[:] = [now + stream] * count
        for end, since, cost in self.ends_of(now):
            self.occupy(self.width(cost), (end if end > now else now + LINDY * (now - since)) + stream)
        waiting = []
        for key, (seconds, share, there, start, run) in walked.items():
            if start < now:     # it should run by now
                end = start + seconds
                self.occupy(share, (end if end > now else now + LINDY * (now - start)) + stream)
            else:
                waiting.append((key, seconds, share, there, run))
        for key, seconds, share, there, run in waiting:
            start = self.book(seconds, share, there and there - run.early) - seconds
            self.queue[key] = (seconds, share, there, start, run)

    def note_told(self, run: Run, task: int, seconds: float, share: float, count: int) -> None:
        """One whose time is told is planned ahead (`count` 1), or is no more (-1)."""
        key = run.run, run.kind[task]
        before, total, busy, _ = self.told.pop(key, (0, 0.0, 0.0, run))
        if before + count:      # or what rounding left goes, too
            self.told[key] = before + count, total + count * seconds, busy + count * seconds * share, run

    def unqueue(self, run: Run, task: int) -> None:
        """It is not planned ahead here any more, if it was."""
        was = self.queue.pop((run.run, task), None)
        if was is not None and run.told and run.told[task] >= 0.0:
            self.note_told(run, task, was[0], was[1], -1)

    def _lay_out(self, now: float) -> None:
        """The same where nothing is planned ahead: the usual case of long tasks, each on its own cores."""
        self.backlog = 0.0
        count, widths = len(self.lanes), self.widths
        taken: list[float] = []
        for since, _, seconds, cost, _ in self.holding.values():      # their order is worked out where somebody asks for it
            end = since + seconds
            until = end if end > now else now + LINDY * (now - since)
            wide = (widths[cost] if cost in widths else self.width(cost)) * count
            if 0.0 < wide < 1.5:
                taken.append(until)
            else:
                taken += [until] * round(wide)
        if len(taken) > count:    # several share a core: each is on the core that is free first
            self.lanes[:] = [now] * count
            for end, since, cost in self.ends_of(now):
                self.occupy(self.width(cost), end if end > now else now + LINDY * (now - since))
            return
        taken.sort()
        self.lanes[:] = [now] * (count - len(taken)) + taken

    def occupy(self, share: float, until: float) -> None:
        """So large a part of the cores, those that are free first, is busy until then."""
        lanes = self.lanes
        if not share:
            return
        wide = max(1, round(share * len(lanes)))
        if wide == 1:
            del lanes[0]
            insort(lanes, until)
        else:
            lanes[:wide] = [until] * min(wide, len(lanes))
            lanes.sort()

    def book(self, seconds: float, share: float, there: float) -> float:
        """A task of so many seconds runs as soon as cores are free and its inputs are there; answers with its end."""
        lanes = self.lanes
        wide = share * len(lanes)
        if not share:
            return there + seconds
        if wide < 1.75:     # one core; several small ones share it: each lengthens it by its part
            part = seconds * wide if wide < 0.75 else seconds
            start = lanes[0]
            if there > start:   # the core that is free last before its inputs are there: the others have time for something else
                del lanes[bisect_right(lanes, there) - 1]
                insort(lanes, there + part)
                return there + seconds
            del lanes[0]
            insort(lanes, start + part)
            return start + seconds
        cores = min(len(lanes), int(wide + 0.25))
        start = max(lanes[cores - 1], there)
        first = max(0, bisect_right(lanes, start) - cores)
        lanes[first : first + cores] = [start + seconds] * cores
        lanes.sort()
        return start + seconds

    def leaves_a_core(self) -> bool:
        """Whether all that is planned here, what waits for inputs included, could run at once and would leave a core free.

        Not where it was told how long that takes: then it was planned for when it comes.
        """
        if not self.ahead:
            return True
        if any(shape.is_told for shape in self.ahead):
            return False
        taken = sum([count * self.share(shape.need) for shape, count in self.ahead.items()])    # what names no cpu waits its turn, too
        taken += sum([count * self.width(shape.need) for shape, count in self.held.items()])
        return (1.0 - taken) * len(self.lanes) > WHOLE

    def waits_for(self, now: float) -> float:
        """Seconds until what is planned here last has its turn: more than it adds up to, when nothing has ended for too long."""
        overdue = now - self.moved_at - self.backlog
        return max(self.backlog, self.lanes[0] - now, LINDY * overdue)

    def works_until(self, now: float) -> float:
        """When what is planned here should be done. Nodes tell now and then of what has ended: if it should have, it is taken to be done.

        Or the node that has told last would seem to have far less to do than the others, and get all that comes next.
        """
        return max(now, self.moved_at + self.backlog)

    def start_at(self, need: Amounts, now: float) -> float:
        """When a task that fits could start, behind what was planned ahead here."""
        width = self.width(need) if self.queue else 0.0
        return self.free_at(width) if width else now

    def ahead_at(self, shape: Shape, now: float, estimates: Estimates) -> float:
        """When another short task of this shape could start, planned ahead as well."""
        width = self.width(shape.need)
        return self.free_at(width) if width else now + self.ahead.get(shape, 0) * self.unit(shape, estimates)

    def free_at(self, share: float) -> float:
        """When enough cores are free for such a task."""
        lanes = self.lanes
        cores = int(share * len(lanes) + 0.25)
        return lanes[min(len(lanes), cores) - 1 if cores > 1 else 0]

    def ends_of(self, now: float) -> list[tuple[float, float, Amounts]]:
        """When the held tasks should end, as (end, start, cost), the first one first."""
        if self.ends is None:
            self.ends = sorted([(since + seconds, since, need) for since, _, seconds, need, _ in self.holding.values()])
        return self.ends

    def first_end(self, now: float) -> float:
        """When the first of the held tasks should end: at once, if it is only a little late; never, where nothing is held."""
        ends = self.ends_of(now)
        if not ends:
            return inf
        end, since, _ = ends[0]
        return max(now, end) if now - end < LATE * (end - since) else now + LINDY * (now - since)

    def unit(self, shape: Shape, estimates: Estimates) -> float:
        """What one short task of this shape adds to the backlog."""
        known = self.units.get(shape)
        if known is None:
            known = (estimates.seconds(shape.function) + OVERHEAD_SECONDS) * self.share(shape.need) / self.speed
            self.units[shape] = known
        return known

    def take(self, shape: Shape, count: int, held: bool, alternative: int = 0) -> bool:
        """So many tasks of this shape were given to it, at this one of their costs; whether it holds more now than it has room for."""
        self.planned += count
        stake = shape.stake
        stake.planned += count
        stake.moved[stake.account] = None
        if self.is_open:
            self.close()
        if held:
            self.ends = None
            shape.held += count
            self.held[shape] = self.held.get(shape, 0) + count
            is_over, committed, capacity = False, self.committed, self.capacity
            for name, amount in shape.needs[alternative]:
                all_of_it = committed[name] = committed.get(name, 0) + amount * count
                is_over |= all_of_it > capacity.get(name, 0)
            return is_over
        shape.ahead += count
        self.ahead[shape] = self.ahead.get(shape, 0) + count
        return False

    def note_change(self) -> None:
        """When it will have room is to be worked out anew."""
        if not self.is_stale:
            self.is_stale = True
            if self.group is not None:
                self.group.stale.append(self)

    def give(self, shape: Shape, count: int, held: bool, alternative: int = 0) -> None:
        """So many tasks of this shape are no longer its business."""
        self.planned -= count
        stake = shape.stake
        stake.planned -= count
        stake.moved[stake.account] = None
        self.note_change()
        where = self.held if held else self.ahead
        left = where[shape] - count
        if left:
            where[shape] = left
        else:
            del where[shape]
        if not held:
            shape.ahead -= count
        else:
            shape.held -= count
            self.ends = None
            self.freed += 1
            if self.group is not None:
                self.group.freed.append(self)
            for name, amount in shape.needs[alternative]:
                self.committed[name] -= amount * count

    def let_go(self) -> None:
        """It is lost: what it was given counts for nobody's share any more."""
        for shape, count in self.ahead.items():
            shape.ahead -= count
        for shape, count in self.held.items():
            shape.held -= count
        for shape, count in (*self.ahead.items(), *self.held.items()):
            stake = shape.stake
            stake.planned -= count
            stake.moved[stake.account] = None

    def count_as_first(self, shape: Shape, alternative: int) -> None:
        """A held task that took another alternative is about to be booked off with those that took the first."""
        for name, amount in shape.needs[0]:
            self.committed[name] = self.committed.get(name, 0) + amount
        for name, amount in shape.needs[alternative]:
            self.committed[name] -= amount

    def note_sent(self, run: Run, tasks: array[int]) -> None:
        """Remember what lies here, for recalls and for its loss; sweep out what has ended when most of it has."""
        sent = self.sent.get(run.run)
        if sent is None or len(sent) > SENT_SWEPT + 4 * self.planned:
            sent = self.sent[run.run] = ints(self.tasks_of(run) if sent else ())
        sent.extend(tasks)

    def tasks_of(self, run: Run) -> list[int]:
        """The tasks of a run that are with it, in the order in which they were given, each once."""
        state, where, peer = run.state, run.node, self.peer
        return [task for task in dict.fromkeys(self.sent.get(run.run, ())) if AHEAD <= state[task] <= HELD and where[task] == peer]

    def go_at(self, pace: Speed) -> None:
        """Be as fast as was learned of it before."""
        self.pace = pace
        self._go(step_of(pace.value))

    def learn_speed(self, away: float, count: int) -> None:
        """`count` tasks took exp(`away`) times what they should have taken on a node of this speed."""
        self.pace.learn(away, count)
        self._go(step_of(self.pace.value, self.step))

    def declare_speed(self, speed: float) -> None:
        """It is known to be so fast, which little that it does will change."""
        self.pace.value, self.pace.runs = speed, RECENT
        self._go(step_of(speed))

    def _go(self, step: int) -> None:
        if step != self.step and self.group is not None:
            self.group.is_apart = True
        self.speed, self.step = self.pace.value, step

    def room_at(self, need: Amounts, now: float, booked: Sequence[tuple[float, float, Amounts]] = ()) -> float:
        """When this will fit, by what is known of the tasks that hold their costs here; `booked` are waits, as in `ends_of`.

        Never, as far as is known, where the results that lie here leave too little.
        """
        limits, committed, at = self.limits, self.committed, now
        if limits is not self.capacity and self.is_shut(need):
            return inf
        ends = sorted([*self.ends_of(now), *booked]) if booked else self.ends_of(now)
        for name, amount in need:    # most tasks lack one thing alone: each is looked at by itself
            lacks = committed.get(name, 0) + amount - limits.get(name, 0)
            for _, _, cost in booked:
                for other, more in cost:
                    if other == name:
                        lacks += more
            if lacks <= 0:
                continue
            for end, since, cost in ends:
                if end < now:
                    end = now + LINDY * (now - since)   # over its time
                at = max(at, end)
                for other, freed in cost:
                    if other == name:
                        lacks -= freed
                if lacks <= 0:
                    break
        return at

    def __repr__(self) -> str:
        return f"Node({self.name!r}, peer {self.peer}, {self.state}, {self.planned} planned)"
