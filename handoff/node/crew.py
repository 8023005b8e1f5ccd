"""The workers as the brain knows them: who is idle, who holds which claim, when to start more, and how slowly when they keep dying."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil, inf

from handoff.ids import RunId, WorkerId
from handoff.machine import Note
from handoff.node.claims import FREE_SLOT, Claims
from handoff.node.events import Kill, Spawn
from handoff.node.lanes import Lane
from handoff.resources import SCALE, Amounts, is_gpu
from handoff.settings import NodeSettings

DEATHS_MAX = 10              # this many deaths within DEATHS_SECONDS, and nothing finished in between: new workers come slowly
DEATHS_SECONDS = 10.0
PAUSE_SECONDS_MAX = 30.0
STILLBORN_MAX = 3            # so many in a row end as they start, while none lives that came up: it is not them, it is this node
DEAF = "it begins nothing that it is given: something that was left there blocks its event loop, or its process is stopped"
SAID_CHARACTERS_MAX = 200    # of the last line that such a one wrote
PATIENCE_SECONDS = 0.02      # work must wait this long for a worker before one more is started: a start costs three times as much
WORTH_SECONDS = 0.1          # and there must be this much of it for each worker there is,
STANDSTILL_SECONDS = 0.5     # unless it fits and nothing has ended for so long: then it may wait behind something very long


@dataclass(slots=True, eq=False)
class Batch:
    """Tasks that were given to a worker in one message; on the asyncio worker, one task, which holds a claim of its own."""

    worker: Worker
    lane: Lane
    run: RunId
    tasks: tuple[int, ...]
    attempts: tuple[int, ...]
    left: int                        # tasks that have not ended
    seconds: float                   # predicted; infinite when unknown
    is_chained: bool = False         # some take what others of the same batch make
    has_coroutines: bool = False     # some of its tasks are: they can be asked to end
    is_asked_back: bool = False      # should its worker not have begun it
    patience: float = inf            # the shortest timeout among its tasks, unless it is for the asyncio worker
    due: float = 0.0                 # on the asyncio worker: when the time of its coroutine is over, once that has started
    cancelled: dict[int, str] | None = None  # per task that was asked to end: "timeout", endings.RUN_OVER, or endings.ABANDONED

    def attempt_at(self, task: int) -> int:
        """Which attempt at this one of its tasks it is."""
        return self.attempts[self.tasks.index(task)]


class Worker:
    """One process. While it has batches, it holds one claim of their cost."""

    __slots__ = (
        "batches", "claim", "gpus", "has_come_up", "has_finished", "heard", "id", "is_asyncio", "is_deaf", "is_killed", "is_ready",
        "is_stalled", "loading", "open",
    )

    def __init__(self, number: WorkerId, is_asyncio: bool, gpus: tuple[int, ...] | None) -> None:
        self.id = number
        self.gpus = gpus                                       # what it runs with, always the same; None: it has not run anything yet
        self.is_asyncio = is_asyncio
        self.is_ready = False
        self.is_killed = False
        self.has_come_up = False                               # it loaded all that it needs
        self.has_finished = False                              # anything, ever
        self.heard = 0.0                                       # when something came of what it has; at first, when it was given
        self.is_deaf = False                                   # it begins nothing: it is not idle while it has nothing
        self.is_stalled = False                                # it was asked to hand back what it has not begun, and nothing came since
        self.claim: Lane | None = None                         # whose cost it holds; the asyncio worker's batches hold their own
        self.batches: dict[Batch, None] = {}
        self.loading: tuple[Batch, int, float] | None = None   # a timed task that was seen to load its code and inputs, and since when
        self.open: dict[tuple[RunId, int], Batch] = {}         # the asyncio worker's tasks; of others, coroutines' whose run is over


class Crew:
    """All workers of this node."""

    def __init__(self, settings: NodeSettings, claims: Claims, cpus: float, effects: list[object]) -> None:
        self._settings, self._claims, self._effects = settings, claims, effects
        self.warm = max(1, ceil(cpus))                         # workers that are always there
        devices = self.warm + len(claims.gpus.all)
        self.most = max(self.warm, settings.workers_max_per_cpu * devices)   # that run what takes less than a core or GPU
        # Those that run what takes a whole one, or nothing, come on top: who waits with a little memory keeps none of these from going on.
        self._limit = self.most + devices + claims.free[FREE_SLOT]
        self.small = 0                                         # claims of what takes less
        self.workers: dict[WorkerId, Worker] = {}
        self.idle: dict[WorkerId, Worker] = {}                 # the last to become idle is the first to get work: its code is warm
        self.asyncio: Worker | None = None
        self._outgoing: Worker | None = None                   # makes room for that one
        self._living = 0                                       # neither asyncio nor killed
        self._starting = 0                                     # of these, not ready yet
        self._last = 0
        self._deaths: deque[float] = deque()
        self._pause = 0.0                                      # seconds between two starts while workers keep dying; 0: they do not
        self._start_after = 0.0
        self.fault = ""                                        # why no worker comes up here, for people; empty: they do
        self._stillborn = 0                                    # that ended as they started, since one came up
        self._tried = WorkerId(0)                              # the last that was started before the pause that we are in
        self._short_since: float | None = None                 # when work first waited for a worker, if it still does
        self._is_moving = False                                # something has ended since the last look
        self._is_short_of_fresh = False                        # something fits, but every idle worker is bound to other GPUs
        self.deadline: float | None = None

    # ── coming and going ────────────────────────────────────────────────────

    def staff(self, now: float, unserved: int, is_worth_it: bool, wants_asyncio: bool) -> None:
        """Start the workers that are missing; `unserved`: how many more could run something that fits now."""
        self.deadline = None
        if not (unserved or wants_asyncio or self._pause or self._is_short_of_fresh or self._living < self.warm):
            self._is_moving, self._short_since = False, None
            return
        if self._pause:
            if now < self._start_after:
                self.deadline = self._start_after
            elif self._starting == 0 and (self._living == 0 if self.fault else (
                self._living < self.warm or self._is_short_of_fresh or (unserved > 0 and self._living < self._limit)
            )):
                self._spawn(False)  # one at a time, to see whether they still die; what runs may wait for what would run there
        else:
            while self._living < self.warm:
                self._spawn(False)
            self._grow(now, min(unserved - self._starting, self._limit - self._living), is_worth_it)
            if self._is_short_of_fresh and not self._starting:
                if self._living >= self.most and self.idle:   # unless all of them got work since
                    self.kill(next(iter(self.idle.values())), "it is bound to GPUs that nobody asks for now")
                self._spawn(False)
        self._is_short_of_fresh = False
        may_start = not self.fault and self._outgoing is None and not (self._pause and now < self._start_after)
        if wants_asyncio and self.asyncio is None and may_start:
            self.asyncio = self._spawn(True)

    def _grow(self, now: float, more: int, is_worth_it: bool) -> None:
        patience = PATIENCE_SECONDS if is_worth_it else STANDSTILL_SECONDS
        is_moving, self._is_moving = self._is_moving, False
        if more <= 0 or (is_moving and not is_worth_it):
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        if self._short_since is None:
            return
        if now >= self._short_since + patience:
            for _ in range(more if is_worth_it else 1):
                self._spawn(False)
            self._short_since = None
        else:
            self.deadline = self._short_since + patience

    def _spawn(self, is_asyncio: bool) -> Worker:
        self._last += 1
        gpus = None if self._claims.has_gpus and not is_asyncio else ()
        worker = self.workers[WorkerId(self._last)] = Worker(WorkerId(self._last), is_asyncio, gpus)
        if not is_asyncio:
            self._living += 1
            self._starting += 1
        self._effects.append(Spawn(worker.id))
        return worker

    def ready(self, number: WorkerId) -> None:
        """A worker that was started waits for work."""
        worker = self.workers.get(number)
        if worker is not None and worker.is_deaf and not worker.is_killed:
            worker.is_deaf = False
            self._living += 1
            if worker.claim is None:
                self.idle[number] = worker
        if worker is None or worker.is_ready:
            return
        worker.is_ready = True
        if worker.is_asyncio or worker.is_killed:
            return
        self._starting -= 1
        self.idle[number] = worker

    def loaded(self, number: WorkerId) -> None:
        """A worker has come up: others can, too."""
        self._stillborn = 0
        if (worker := self.workers.get(number)) is not None:
            worker.has_come_up = True
        if self.fault:
            self.fault, self._pause = "", 0.0
            self._deaths.clear()
            self._effects.append(Note("info", "workers.recovered", (("worker", number),)))

    def kill(self, worker: Worker, reason: str) -> None:
        """End it. Its claim lasts until it is gone; a replacement may start at once."""
        worker.is_killed = True
        self._effects.append(Kill(worker.id, reason))
        self._leave(worker)

    def gone(self, now: float, worker: Worker, reason: str, wrote: str | None) -> None:
        """The process has ended: its claim is free. Deaths that we did not ask for are counted."""
        del self.workers[worker.id]
        if not worker.is_killed:
            self._leave(worker)
            if wrote is not None:
                self._bury(now, worker, reason, wrote)
            elif not worker.has_finished:
                self._mourn(now)
            if worker.is_asyncio and not worker.is_ready:
                self._make_room()
        if worker is self._outgoing:
            self._outgoing = None
        if worker.claim is not None:
            self._give_back(worker.claim, worker.gpus or ())
            worker.claim = None
        if worker.is_asyncio:
            for batch in worker.batches:
                self._give_back(batch.lane)
        worker.batches = {}

    def _make_room(self) -> None:
        """There may be no more processes or descriptors for the asyncio worker: who is idle for longest goes, unless it is always there."""
        if self.idle and self._living > self.warm:
            self._outgoing = next(iter(self.idle.values()))
            self.kill(self._outgoing, "it is idle, and beside it a worker for coroutines could not be started")

    def _leave(self, worker: Worker) -> None:
        self.idle.pop(worker.id, None)
        if worker.claim is not None:
            worker.claim.hungry.pop(worker.id, None)
        if worker is self.asyncio:
            self.asyncio = None
        elif not (worker.is_asyncio or worker.is_deaf):
            self._living -= 1
            self._starting -= not worker.is_ready

    def _mourn(self, now: float) -> None:
        deaths = self._deaths
        deaths.append(now)
        while deaths[0] < now - DEATHS_SECONDS:
            deaths.popleft()
        if self._pause or len(deaths) >= DEATHS_MAX:
            self._pause = min(PAUSE_SECONDS_MAX, self._pause * 2 or 1.0)
            self._start_after = now + self._pause

    def _bury(self, now: float, worker: Worker, reason: str, wrote: str) -> None:
        """It ended as it started. Where all do, this node is no use, and one is started now and then, to see whether it is again."""
        self._stillborn += 1
        if self._stillborn == 1:
            self._effects.append(Note("warning", "worker.stillborn", (("worker", worker.id), ("reason", reason), ("wrote", wrote))))
        if self._stillborn < STILLBORN_MAX or any(other.has_come_up and not other.is_killed for other in self.workers.values()):
            self._mourn(now)
            return
        if worker.id > self._tried:    # those that were started together tell but once
            self._tried = WorkerId(self._last)
            self._pause = min(PAUSE_SECONDS_MAX, self._pause * 2 or 1.0)
            self._start_after = now + self._pause
        said = wrote.strip().rpartition("\n")[2][:SAID_CHARACTERS_MAX]
        fault = f"its workers end as they start: {reason}" + (f", after they wrote {said!r}" if said else ", without a word")
        if not self.fault:
            note = f"it takes no work until one comes up; the next is started in {self._pause:g} s, then less and less often"
            self._effects.append(Note("error", "workers.fail", (("reason", fault), ("note", note))))
        self.fault = fault

    def proved(self, now: float, worker: Worker) -> None:
        """It finished something: workers do not just die here, and this one does not stand still."""
        worker.has_finished = self._is_moving = True
        worker.heard, worker.is_stalled = now, False
        if self._deaths:
            self._deaths.clear()
            self._pause = 0.0

    def stall(self, worker: Worker) -> None:
        """It stands still: it is given nothing more until something comes of what it has."""
        worker.is_stalled = True
        if worker.claim is not None:
            worker.claim.hungry.pop(worker.id, None)

    def deafen(self, now: float, worker: Worker) -> None:
        """It does not hear us: another may be started in its place."""
        self.stall(worker)
        worker.is_deaf, worker.heard = True, now
        self._living -= 1
        self._effects.append(Note("warning", "worker.deaf", (("worker", worker.id), ("reason", DEAF))))

    # ── work ────────────────────────────────────────────────────────────────

    def suited(self, cost: Amounts) -> Worker | None:
        """The idle worker that should run something of this cost; None: all of them are bound to other GPUs, and another will come.

        CUDA looks once per process which GPUs it may use, and what a process has put on them stays there: a worker is for the GPUs that
        it had first, or for none.
        """
        if not self._claims.has_gpus:
            return next(reversed(self.idle.values()))
        wanted, fresh = self._claims.gpus_for(cost), None
        for worker in reversed(self.idle.values()):
            if worker.gpus == wanted:
                return worker
            if worker.gpus is None and fresh is None:
                fresh = worker
        self._is_short_of_fresh |= fresh is None
        return fresh

    def _clear(self, worker: Worker, cost: Amounts) -> None:
        """What idle workers keep on GPUs that this one is given would be in its way; those that share parts of the same GPU stay."""
        is_whole = any(is_gpu(name) and steps >= SCALE for name, steps in cost)
        for other in [each for each in self.workers.values() if each.claim is None and not each.is_killed]:
            if other.gpus and not set(other.gpus).isdisjoint(worker.gpus or ()) and (is_whole or other.gpus != worker.gpus):
                self.kill(other, "its GPUs are given to another worker")

    def give(self, now: float, batch: Batch) -> None:
        """The worker has this to do now, under a claim of its cost."""
        worker = batch.worker
        worker.batches[batch] = None
        if worker.is_asyncio:
            self._take(batch.lane)
            worker.open[batch.run, batch.tasks[0]] = batch
            return
        if worker.claim is None:
            worker.claim, worker.heard = batch.lane, now
            worker.gpus = self._take(batch.lane)
            del self.idle[worker.id]
            if worker.gpus:
                self._clear(worker, batch.lane.cost)
        self.feed(worker, batch.lane)

    def take_back(self, batch: Batch) -> None:
        """The batch is over; with its worker's last one the claim ends."""
        worker = batch.worker
        if worker.is_killed:
            return  # all of it ends when the process is gone
        del worker.batches[batch]
        if worker.is_asyncio:
            self._give_back(batch.lane)
            worker.open.pop((batch.run, batch.tasks[0]), None)
        elif worker.batches:
            self.feed(worker, batch.lane)
        else:
            self._give_back(batch.lane, worker.gpus or ())
            batch.lane.hungry.pop(worker.id, None)
            worker.claim = None
            worker.is_stalled = False
            if not worker.is_deaf:
                self.idle[worker.id] = worker

    def _take(self, lane: Lane) -> tuple[int, ...]:
        if lane.limit is not None:
            lane.limit.running += 1
        self.small += lane.is_small
        return self._claims.take(lane.cost)

    def _give_back(self, lane: Lane, gpus: tuple[int, ...] = ()) -> None:
        if lane.limit is not None:
            lane.limit.running -= 1
        self.small -= lane.is_small
        self._claims.give_back(lane.cost, gpus)

    def feed(self, worker: Worker, lane: Lane) -> None:
        """Whether it may be given more, so as never to wait for us: a second batch of short tasks, and further ones while they are tiny."""
        most = self._settings.batch_seconds
        seconds = 0.0
        for batch in worker.batches:
            seconds += batch.seconds
        count = len(worker.batches)
        if lane.is_batched and not worker.is_stalled and ((count < 2 and seconds <= most) or (count < 16 and seconds < most / 4)):
            lane.hungry[worker.id] = worker
        else:
            lane.hungry.pop(worker.id, None)
