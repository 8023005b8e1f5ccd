"""A node's brain under the hand of a test: say what happens, look at what it asks for. Checks the invariants after every event."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from handoff.columns import Blobs, floats, ints
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId, WorkerId
from handoff.machine import Joined, Received, Send, Tick
from handoff.messages import PROTOCOL, Alive, Hello, Plan, Recall, Release, Report
from handoff.node.brain import NodeBrain
from handoff.node.events import (
    Arrived,
    Broke,
    CancelTask,
    Execute,
    Finished,
    Kill,
    Look,
    Packing,
    Spawn,
    Started,
    Welcomed,
    WorkerGone,
    WorkerReady,
)
from handoff.program import Kind
from handoff.resources import amounts
from handoff.settings import NodeSettings

ME, PEER, OTHER, CLIENT = PeerId(7), PeerId(8), PeerId(9), PeerId(30)
RUN = RunId(1)


def kind(code: str = "f", cost: dict[str, float] | None = None, **fields: Any) -> Kind:
    """A kind of task; one cpu unless told otherwise."""
    return Kind(codes=(code.encode(),), name=code, cost=amounts({"cpu": 1} if cost is None else cost), **fields)


class Hand:
    """Plays the coordinator, the peers and the workers of one node."""

    ME, PEER, OTHER, CLIENT, RUN = ME, PEER, OTHER, CLIENT, RUN
    kind = staticmethod(kind)

    @staticmethod
    def independent(tasks: Iterable[int]) -> dict[int, list[int]]:
        """Tasks that take nothing."""
        return {task: [] for task in tasks}

    def __init__(
        self, capacity: dict[str, float] | None = None, welcome: bool = True, loads: bool = True, tracker: Any = None, **settings: Any,
    ) -> None:
        self.loads = loads                # whether timed tasks are loaded at once
        self.now = 0.0
        self.settings = replace(NodeSettings(), **settings)
        self.brain = NodeBrain(self.settings, amounts(capacity or {"cpu": 2}), tracker=tracker)
        self.last: list[Any] = []
        self.all: list[Any] = []
        self.workers: list[WorkerId] = []                # ready
        self.holds: dict[tuple[int, int], tuple[WorkerId, int]] = {}  # (run, task) -> worker, attempt
        self.executed: list[tuple[int, int]] = []        # (run, task), in order
        self.began: dict[tuple[int, int], float] = {}   # (run, task) -> when it came first among those of its worker
        self._warm = 0
        self._kinds: dict[tuple[int, Kind], int] = {}
        self._settle()
        self.warm_up()
        if welcome:
            self.happen(Welcomed(ME))

    # ── what happens ────────────────────────────────────────────────────────

    def happen(self, *events: Any) -> list[Any]:
        """These happen in one turn."""
        for event in events:
            if isinstance(event, Welcomed):
                self._kinds.clear()
            self.brain.take(self.now, event)
        return self._settle()

    def _settle(self) -> list[Any]:
        self.last = self.brain.settle(self.now)
        self.all += self.last
        for effect in self.last:
            if isinstance(effect, Execute):
                for task, attempt in zip(effect.tasks, effect.attempts, strict=True):
                    self.holds[effect.run, task] = (effect.worker, attempt)
                    self.executed.append((effect.run, task))
        self.brain.check()
        last = self.last
        timed = [(effect, task) for effect in last if isinstance(effect, Execute) and effect.is_at_once and self.loads
                 for task, kind in zip(effect.tasks, effect.kinds, strict=True) if kind.timeout]
        for effect, task in timed:  # a coroutine that is to be timed is loaded at once
            self.happen(Started(effect.worker, effect.run, task, self.now))
        first: dict[WorkerId, tuple[int, int]] = {}
        for key, (worker, _) in self.holds.items():
            if worker not in first:
                first[worker] = key
                self.began.setdefault(key, self.now)
        for effect in last:
            if isinstance(effect, Look) and effect.worker in first:
                run, task = first[effect.worker]
                last += self.happen(Started(effect.worker, RunId(run), task, self.began[run, task] if self.loads else None))
        self.last = last
        return last

    def warm_up(self) -> list[Any]:
        """Every worker that was asked for is ready."""
        spawned = [effect.worker for effect in self.all if isinstance(effect, Spawn)]
        spawned = [worker for worker in spawned if worker > self._warm]
        self._warm = max([self._warm, *spawned])
        self.workers += spawned
        return self.happen(*[WorkerReady(worker) for worker in spawned])

    def wait(self, seconds: float) -> list[Any]:
        """Time passes; the brain gets its Ticks, and each turn's effects count as the last."""
        end, said = self.now + seconds, []
        while self.brain.deadline is not None and self.brain.deadline <= end:
            self.now = max(self.now, self.brain.deadline)
            said += self.happen(Tick())
        self.now = end
        self.last = said
        return said

    def join(self, peer: PeerId, role: str) -> None:
        """A peer dials this node."""
        self.happen(Joined(peer, Hello(PROTOCOL, "0", "3.11", role, f"{role}-{peer}", b"", peer=peer)))

    # ── the coordinator ─────────────────────────────────────────────────────

    def plan_message(
        self, tasks: dict[int, list[int]], what: Kind | None = None, *, run: RunId = RUN, attempt: int = 1,
        sources: dict[int, PeerId] | None = None, urgency: float | dict[int, float] = 1.0, target: dict[int, PeerId] | None = None,
        choices: dict[int, int] | None = None, unbegun: dict[int, int] | None = None, at_most: int = 0,
    ) -> Plan:
        """A plan of these tasks with their inputs, which come from this node unless `sources` says otherwise."""
        what = what or kind()
        new = (run, what) not in self._kinds
        index = self._kinds.setdefault((run, what), len(self._kinds))
        inputs = [each for taken in tasks.values() for each in taken]
        return Plan(
            run, ints(tasks), ints([attempt] * len(tasks)), ints([index] * len(tasks)), Blobs.of(b"%d" % task for task in tasks),
            ints(map(len, tasks.values())), ints(inputs), ints((sources or {}).get(each, ME) for each in inputs),
            floats(urgency.get(task, 0.0) if isinstance(urgency, dict) else urgency for task in tasks),
            targets=ints(each for pair in (target or {}).items() for each in pair), new_kinds=((index, what),) if new else (),
            choices=ints(each for pair in (choices or {}).items() for each in pair),
            unbegun=ints(each for pair in (unbegun or {}).items() for each in pair), at_most=at_most,
        )

    def plan(self, tasks: dict[int, list[int]], what: Kind | None = None, **options: Any) -> list[Any]:
        """The coordinator plans these."""
        return self.say(COORDINATOR, self.plan_message(tasks, what, **options))

    def say(self, peer: PeerId, message: Any) -> list[Any]:
        """A message arrives."""
        return self.happen(Received(peer, message))

    def recall(self, tasks: Iterable[int], attempt: int = 1, run: RunId = RUN) -> list[Any]:
        """The coordinator wants these back."""
        tasks = list(tasks)
        return self.say(COORDINATOR, Recall(run, ints(tasks), ints([attempt] * len(tasks))))

    def release(self, *tasks: int, run: RunId = RUN) -> list[Any]:
        """The coordinator releases these."""
        return self.say(COORDINATOR, Release(run, ints(tasks)))

    # ── workers and peers ───────────────────────────────────────────────────

    def finished_event(self, *tasks: int, run: RunId = RUN, nbytes: int = 10, seconds: float = 1e-5) -> Finished:
        """What the worker that has these says when they are done."""
        worker = self.holds[run, tasks[0]][0]
        attempts = tuple(self.holds.pop((run, task))[1] for task in tasks)
        count = len(tasks)
        return Finished(worker, run, tasks, attempts, (nbytes,) * count, (seconds,) * count, (self.now,) * count)

    def finish(self, *tasks: int, **options: Any) -> list[Any]:
        """Their worker finishes these."""
        return self.happen(self.finished_event(*tasks, **options))

    def finish_all(self, seconds: float = 1e-5) -> list[Any]:
        """Everything that is given, and what follows from it, finishes."""
        said = []
        while self.holds:
            said += self.happen(*[self.finished_event(task, run=RunId(run), seconds=seconds) for run, task in list(self.holds)])
        return said

    def learn(self, code: str = "f", seconds: float = 1e-5, **options: Any) -> None:
        """The node has seen functions of this code, in a run of their own."""
        run = RunId(900 + len(self._kinds))
        self.plan({0: []}, kind(code, **options), run=run)
        self.finish(0, run=run, seconds=seconds)

    def packing_event(self, task: int, nbytes: int) -> Packing:
        """What the worker that has this says when its result is large."""
        worker, attempt = self.holds[self.RUN, task]
        return Packing(worker, self.RUN, task, attempt, nbytes)

    def broke(self, task: int, cause: str = "exception", run: RunId = RUN) -> list[Any]:
        """The task raises."""
        worker, attempt = self.holds.pop((run, task))
        return self.happen(Broke(worker, run, task, attempt, cause, "ValueError", "no", "trace", 0.1, b"pickle"))

    def die(
        self, worker: WorkerId, *running: int, reason: str = "killed by SIGSEGV", run: RunId = RUN, is_garbled: bool = False,
    ) -> list[Any]:
        """A worker process ends while these were executing."""
        for key in [key for key, (holder, _) in self.holds.items() if holder == worker]:
            del self.holds[key]
        if worker in self.workers:
            self.workers.remove(worker)
        return self.happen(WorkerGone(worker, reason, tuple((run, task) for task in running), is_garbled))

    def arrive(self, *tasks: int, peer: PeerId = PEER, run: RunId = RUN, nbytes: int = 10) -> list[Any]:
        """Values from a peer are here."""
        return self.happen(Arrived(peer, run, tasks, (nbytes,) * len(tasks)))

    def worker_of(self, task: int, run: RunId = RUN) -> WorkerId:
        """Who has this task."""
        return self.holds[run, task][0]

    # ── what was asked for ──────────────────────────────────────────────────

    def last_of(self, *types: type) -> list[Any]:
        """Effects of these types in the last turn."""
        return [effect for effect in self.last if isinstance(effect, types)]

    def said(self, message_type: type, peer: PeerId | None = None) -> list[Any]:
        """Messages of this type that were sent in the last turn."""
        return [effect.message for effect in self.last
                if isinstance(effect, Send) and isinstance(effect.message, message_type) and peer in (None, effect.peer)]

    def given(self) -> list[tuple[int, ...]]:
        """The batches given in the last turn."""
        return [effect.tasks for effect in self.last if isinstance(effect, Execute)]

    def reported(self) -> list[int]:
        """Tasks reported in the last turn."""
        return [task for report in self.said(Report) for task in report.tasks]

    def free(self) -> dict[str, float]:
        """What the next heartbeat says is free."""
        self.wait(self.settings.heartbeat_seconds)
        return {name: steps / 10_000 for name, steps in self.said(Alive)[-1].free}

    killed = property(lambda self: [(effect.worker, effect.reason) for effect in self.last_of(Kill)])
    cancelled = property(lambda self: [task for effect in self.last_of(CancelTask) for task in effect.tasks])
    nobody = NOBODY


@pytest.fixture
def hand() -> Callable[..., Hand]:
    """Makes a node: hand(capacity, **settings)."""
    return Hand
