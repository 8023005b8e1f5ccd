"""Worker processes of a simulated node: they take time, and end well, fail, crash or hang as the workload says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING, Any

from handoff.ids import PeerId, RunId, WorkerId
from handoff.node.events import (
    Broke,
    CancelTask,
    Execute,
    Finished,
    HandedBack,
    Packing,
    Started,
    WorkerDeaf,
    WorkerGone,
    WorkerLoaded,
    WorkerReady,
)
from handoff.program import Flag, Kind
from handoff.resources import Amounts
from sim.watch import Bug

if TYPE_CHECKING:
    from sim.node import Node

FLUSH_SECONDS = 0.0005
TEND_SECONDS = 0.01
PACKING_PART = 0.25                 # of the tasks say that their results are large and being written,
PACKING_BYTES = (1000, 5_000_000, 3_000_000_000)   # and this large, which need not be so
SETTLED_SECONDS = 0.02    # until it is certain what a worker had begun, and so many looks
DEAF_SECONDS = 0.5        # ... until one that executes nothing is taken for deaf


@dataclass(slots=True)
class Work:
    """One task in a worker's hands."""

    run: RunId
    task: int
    attempt: int
    kind: Kind
    inputs: tuple[int, ...]
    target: PeerId
    batch: dict[int, bytes]     # values made by earlier tasks of the same message
    mates: dict[int, None]      # all tasks of the same message
    given: dict[int, bytes]     # inputs that came with the message
    literal: bytes
    cost: Amounts               # what it was granted
    is_at_once: bool            # it runs beside others
    sources: tuple[PeerId, ...] = ()   # where its inputs are said to have been made; () where nobody asks
    began: float = 0.0
    stuck: bool = False
    is_stopped: bool = False    # it counts as cut off already


class Workers:
    """All worker processes of one node."""

    def __init__(self, node: Node) -> None:
        self.node, self.lots = node, node.lots
        self.alive: dict[WorkerId, Worker] = {}
        self.barren_until = 0.0     # none that is started before then comes up

    def spawn(self, worker: WorkerId) -> None:
        """Answered by WorkerReady, now and then by WorkerGone."""
        if worker in self.alive:
            raise Bug(f"{self.node.host} spawned worker {worker} twice")
        node, clock = self.node, self.node.clock
        node.oracles.claims.lives(node, worker)
        found = self.alive[worker] = Worker(worker, node)
        if clock.now < self.barren_until:    # some get so far that they are given something, and have looked at nothing of it
            if self.lots.random() < 0.4:
                clock.after(0.03, node.run, self._ready, worker, False)
            clock.after(0.03 + 0.05 * self.lots.random(), self.stillborn, found)
        elif self.lots.random() < node.options.spawn_trouble:
            clock.after(0.05, node.run, self.gone, worker, "exited with status 1", ())
        else:
            clock.after(0.03 + 0.1 * self.lots.random(), node.run, self._ready, worker, True)

    def _ready(self, worker: WorkerId, is_loaded: bool) -> None:
        found = self.alive.get(worker)
        if found is None:
            return
        found.ready = True
        self.node.post(WorkerReady(worker))
        if is_loaded and self.node.options.is_slow_to_load:
            self.node.clock.after(0.05 * self.lots.random() ** 2, self.node.run, self._loaded, found)
        elif is_loaded:
            self._loaded(found)

    def _loaded(self, found: Worker) -> None:
        if self.alive.get(found.worker) is found:
            found.has_come_up = True
            self.node.post(WorkerLoaded(found.worker))
            found.go_on()

    def stillborn(self, found: Worker) -> None:
        """It ends as it started; all that it was given it has not looked at."""
        found.is_dead = True
        self.node.run(self.gone, found.worker, "exited with status 1", (), "no module named here")

    def struck(self, found: Worker, reason: str, is_garbled: bool = False) -> None:
        """Something from outside ends it, whatever it does; or it says what makes no sense, and its daemon ends it."""
        found.is_dead = True
        wrote = None if found.has_come_up else ""
        self.node.run(self.gone, found.worker, reason, found.running(), wrote, is_garbled)

    def execute(self, effect: Execute) -> None:
        """Hand a batch to a worker; one that died meanwhile never reads it."""
        found = self.alive.get(effect.worker)
        if found is not None:
            found.take(effect)
        elif not self.node.oracles.claims.knows(self.node, effect.worker):
            raise Bug(f"{self.node.host} gave work to worker {effect.worker}, which never was")

    def kill(self, worker: WorkerId, reason: str) -> None:
        """It ends a moment later; what it finishes until then counts."""
        if worker in self.alive:
            self.alive[worker].die()
            self.node.oracles.claims.dying(self.node, worker)
            self.node.clock.after(0.001 * self.lots.random(), self.node.run, self._killed, worker, f"killed: {reason}")

    def _killed(self, worker: WorkerId, reason: str) -> None:
        found = self.alive.get(worker)
        if found is not None:
            self.gone(worker, reason, found.running())

    def cancel(self, effect: CancelTask) -> None:
        """Cancel a coroutine, which may or may not end."""
        found = self.alive.get(effect.worker)
        if found is not None:
            self.node.clock.after(0.0002, self.node.run, found.cancel, effect.run, effect.tasks)

    def look(self, worker: WorkerId) -> None:
        """What it executes, and since when."""
        found = self.alive.get(worker)
        for work in found.executing() if found is not None else ():
            if not work.is_at_once:
                self.node.post(Started(worker, work.run, work.task, work.began))

    def hand_back(self, worker: WorkerId) -> None:
        """It begins nothing more of what it has now; a moment later the daemon knows what that is."""
        found = self.alive.get(worker)
        if found is not None:
            left = found.begin_no_more()
            seconds = DEAF_SECONDS if found.is_still and not found.running() else SETTLED_SECONDS
            self.node.clock.after(seconds, self.node.run, self._handed_back, found, left)

    def _handed_back(self, worker: Worker, left: list[Work]) -> None:
        if self.alive.get(worker.worker) is not worker:
            return
        if worker.is_stopped and worker.has_come_up and not worker.running():
            worker.is_taken_for_deaf = True
            self.node.post(WorkerDeaf(worker.worker))
            left = left + worker.begin_no_more()
        self.node.oracles.handed_back(self.node, worker.worker, left)
        for run, works in groupby(left, lambda work: work.run):
            self.node.post(HandedBack(worker.worker, run, tuple(work.task for work in works)))

    def gone(
        self, worker: WorkerId, reason: str, running: tuple[tuple[RunId, int], ...], wrote: str | None = None, is_garbled: bool = False,
    ) -> None:
        """The process ended."""
        found = self.alive.pop(worker, None)
        if found is None:
            return
        self.node.oracles.worker_gone(self.node, worker, reason, *found.unfinished(), found.unbegun() if is_garbled else [])
        self.node.post(WorkerGone(worker, reason, running, is_garbled, wrote))

    def all_gone(self) -> None:
        """The machine or the daemon died, and its workers with it."""
        for worker, found in self.alive.items():
            found.is_dead = True
            self.node.oracles.worker_gone(self.node, worker, "died with the machine", *found.unfinished())
        self.alive.clear()


class Worker:
    """One worker process."""

    def __init__(self, worker: WorkerId, node: Node) -> None:
        self.worker, self.node, self.lots = worker, node, node.lots
        self.ready = self.has_come_up = False
        self.is_dead = False                                    # whether or not its daemon has heard
        self.is_stopped = False                                 # by SIGSTOP, or in what was left there: it does nothing, and says nothing
        self.is_taken_for_deaf = False
        self.is_dying = False                                   # the daemon has asked for its end: what still ends well is nobody's
        self._queue: deque[Work] = deque()
        self._now: dict[tuple[RunId, int], Work] = {}           # executing
        self._done: list[tuple[Work, int, float, float]] = []   # ended well, and not yet said
        self._said = 0.0
        self._late: list[tuple[Callable[..., None], tuple[Any, ...]]] = []     # what waits until it goes on

    def running(self) -> tuple[tuple[RunId, int], ...]:
        """What is executing at this moment."""
        return tuple(self._now)

    def executing(self) -> list[Work]:
        """The same."""
        return list(self._now.values())

    def unfinished(self) -> tuple[list[Work], list[Work]]:
        """What is executing, and what ended well without anybody having heard."""
        return list(self._now.values()), [work for work, *_ in self._done]

    def unbegun(self) -> list[Work]:
        """What it was given and has not begun."""
        return list(self._queue)

    @property
    def is_still(self) -> bool:
        """Whether it begins nothing now."""
        return self.is_stopped or not self.has_come_up

    def stop(self) -> None:
        """It does nothing until it is let go on."""
        self.is_stopped = True

    def let_go_on(self) -> None:
        """What was to end meanwhile ends now."""
        if not self.is_stopped or self.node.workers.alive.get(self.worker) is not self or self.is_dead:
            return
        self.is_stopped = False
        if self.is_taken_for_deaf:
            self.is_taken_for_deaf = False
            self.node.run(self.node.post, WorkerReady(self.worker))
        late, self._late = self._late, []
        for action, arguments in late:
            action(*arguments)
        self.go_on()

    def _is_kept(self, action: Callable[..., None], *arguments: Any) -> bool:
        """Whether this has to wait until it goes on."""
        if self.is_stopped:
            self._late.append((action, arguments))
        return self.is_stopped

    def die(self) -> None:
        """It goes on for a moment, and nobody counts on it."""
        self.is_dying = True
        for work in self._now.values():
            self.node.oracles.stopped(work)
        for work, *_ in self._done:
            self.node.oracles.stopped(work, ended=True)

    def take(self, effect: Execute) -> None:
        """A batch arrives."""
        batch: dict[int, bytes] = {}
        mates = dict.fromkeys(effect.tasks)
        store = self.node.store
        columns = (effect.attempts, effect.kinds, effect.literals, effect.inputs, effect.sources, effect.targets)
        if any(len(column) != len(effect.tasks) for column in columns):
            raise Bug(f"{self.node.host}: columns of unequal length in {effect}")
        if not self.ready:
            raise Bug(f"{self.node.host} gave work to worker {self.worker} before it was ready")
        if self.is_taken_for_deaf:
            raise Bug(f"{self.node.host} gave work to worker {self.worker}, which is deaf")
        costs = effect.costs or (effect.cost,) * len(effect.tasks)
        for task, attempt, kind, literal, inputs, sources, target, cost in zip(effect.tasks, *columns, costs, strict=True):
            given = {source: store[effect.run, source] for source in inputs if (effect.run, source) in store}
            work = Work(effect.run, task, attempt, kind, inputs, target, batch, mates, given, literal, cost, effect.is_at_once, sources)
            self.node.oracles.given(self.node, self.worker, work)
            if effect.is_at_once and not self.is_still:
                self._begin(work)
            else:
                self._queue.append(work)
        self.go_on()

    def begin_no_more(self) -> list[Work]:
        """What it was given and has not begun."""
        left = list(self._queue)
        self._queue.clear()
        return left

    def go_on(self) -> None:
        """Begin what may begin now."""
        while self._queue and not (self.is_still or self.is_dead) and not any(not work.is_at_once for work in self._now.values()):
            self._begin(self._queue.popleft())
        if self._done and not self._queue and not self._now and not self.is_stopped:
            self._flush()    # the last of the message was skipped

    def _begin(self, work: Work) -> None:
        node, key = self.node, (work.run, work.task)
        values = work.given | work.batch   # what an earlier task of the message makes counts more than what was here
        lacking = [source for source in work.inputs if source not in values]
        if lacking and work.mates.keys() >= set(lacking):
            node.run(self._broke, work, "skipped", "", 0.0)  # an earlier task of the batch failed: this one is left out
            return
        work.began = node.clock.now
        self._now[key] = work
        if work.kind.timeout > 0 and work.is_at_once:
            node.post(Started(self.worker, work.run, work.task, node.clock.now))
        if self.is_dying:
            node.oracles.stopped(work)
        ending, seconds = node.oracles.began(node, self.worker, work, lacking, values)
        if self._done and (ending == "hang" or seconds > TEND_SECONDS) and self.lots.random() < 0.8:   # else it does not let go of the GIL
            node.clock.after(TEND_SECONDS, self._tend)
        if ending == "hang":
            work.stuck = True
        else:
            node.clock.after(seconds, self._end, work, ending)
            lots = Random(f"{work.run}/{work.task}/{work.attempt}")   # a purpose of its own
            if node.options.faults and lots.random() < PACKING_PART:   # in a calm world messages are counted
                node.clock.after(seconds * lots.random(), self._pack, work, lots.choice(PACKING_BYTES))

    def _pack(self, work: Work, nbytes: int) -> None:
        """It says that its result is so large and being written; whatever comes of that."""
        if self._now.get((work.run, work.task)) is work and self.node.workers.alive.get(self.worker) is self:
            self.node.post(Packing(self.worker, work.run, work.task, work.attempt, nbytes))

    def _end(self, work: Work, ending: str) -> None:
        """The call returns, raises, or takes the process down. Workers are processes of their own: a frozen daemon does not stop them."""
        node = self.node
        if self._now.get((work.run, work.task)) is not work or node.workers.alive.get(self.worker) is not self:
            return
        if self.is_dead or self._is_kept(self._end, work, ending):
            return
        if ending == "crash":
            node.workers.struck(self, "killed by SIGSEGV")
            return
        del self._now[(work.run, work.task)]
        now = node.clock.now
        if ending == "ok":
            value = node.oracles.value(node, work)
            work.batch[work.task] = value
            self._done.append((work, len(value), now - work.began, now))
            if not self._queue or now - self._said > FLUSH_SECONDS or work.is_at_once:
                self._flush()
        else:
            self._flush()
            node.run(self._broke, work, ending, "ValueError", now - work.began)
        self.go_on()

    def _tend(self) -> None:
        """The helper thread says what is done, while the other one is deep in a task."""
        if self.node.workers.alive.get(self.worker) is self and not self.is_dead and not self._is_kept(self._tend):
            self._flush()

    def _flush(self) -> None:
        """Say what is done. One message is about one run."""
        self._said = self.node.clock.now
        done, self._done = self._done, []
        while done:
            run = done[0][0].run
            some = [entry for entry in done if entry[0].run == run]
            done = [entry for entry in done if entry[0].run != run]
            self.node.run(self._finished, run, some)

    def _finished(self, run: RunId, some: list[tuple[Work, int, float, float]]) -> None:
        node = self.node
        for work, *_ in some:
            node.store.setdefault((run, work.task), work.batch[work.task])
            node.oracles.over(node, self.worker, work, "killed" if self.is_dying else "ok")
        for work, nbytes, *_ in some:
            node.oracles.made(node, work, nbytes)
        node.post(Finished(
            self.worker, run,
            tuple(work.task for work, *_ in some),
            tuple(work.attempt for work, *_ in some),
            tuple(nbytes for _, nbytes, _, _ in some),
            tuple(seconds for _, _, seconds, _ in some),
            tuple(ended for _, _, _, ended in some),
        ))

    def _broke(self, work: Work, cause: str, name: str, seconds: float) -> None:
        self.node.oracles.over(self.node, self.worker, work, cause)
        self.node.post(Broke(self.worker, work.run, work.task, work.attempt, cause, name, f"{cause} of the simulation", "", seconds, b"x"))

    def cancel(self, run: RunId, tasks: tuple[int, ...]) -> None:
        """Cancel coroutines; half of the stuck ones do not listen, and functions never."""
        if self.is_dead or self._is_kept(self.cancel, run, tasks):
            return
        unbegun = [work for work in self._queue if work.is_at_once and work.run == run and work.task in tasks]
        for work in unbegun:
            self._queue.remove(work)
            self._broke(work, "cancelled", "CancelledError", 0.0)
        for task in tasks:
            work = self._now.get((run, task))
            if work is None or self.node.workers.alive.get(self.worker) is not self or not work.kind.flags & Flag.ASYNC:
                continue
            if work.stuck and self.lots.random() < 0.5:
                continue
            del self._now[(run, task)]
            self._flush()
            self._broke(work, "cancelled", "CancelledError", self.node.clock.now - work.began)
        self.go_on()
