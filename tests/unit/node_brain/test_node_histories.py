"""Random histories of a node: every planned attempt ends exactly once, claims fit and come free, and nothing runs without its inputs."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from handoff.columns import Blobs, floats, ints
from handoff.ids import COORDINATOR, PeerId, RunId, WorkerId
from handoff.machine import Dropped, Lost, Received, Resumed, Send, Tick
from handoff.messages import Absent, EndRun, Failed, Plan, Recall, Recalled, Redirect, Release, Report, Want
from handoff.node.brain import NodeBrain
from handoff.node.events import (
    Arrived,
    Broke,
    CancelTask,
    Drop,
    DropRun,
    Execute,
    Finished,
    HandBack,
    HandedBack,
    Kill,
    Look,
    Spawn,
    Started,
    Welcomed,
    WorkerDeaf,
    WorkerGone,
    WorkerReady,
)
from handoff.program import Flag, Kind
from handoff.resources import SCALE, Amounts
from handoff.settings import NodeSettings

ME, PEERS = PeerId(50), (PeerId(51), PeerId(52))
CAPACITY: Amounts = (("cpu", 2 * SCALE), ("gpu", 3 * SCALE), ("gpu:a100", SCALE), ("gpu_memory", 90 * SCALE), ("memory", 90 * SCALE))
GPUS = ("a100", "", "")   # the kind of each
KINDS = (
    Kind((b"a",), "a", cost=(("cpu", SCALE),)),
    Kind((b"b",), "b", cost=(("cpu", SCALE),), flags=int(Flag.OUTPUT)),
    Kind((b"c",), "c", cost=(("cpu", SCALE // 2),)),
    Kind((b"d",), "d", cost=()),
    Kind((b"e",), "e", cost=(("cpu", 2 * SCALE),)),
    Kind((b"f",), "f", cost=(("cpu", SCALE // 4), ("gpu", SCALE)), max_retries=0),
    Kind((b"g",), "g", cost=(("cpu", SCALE // 4),), flags=int(Flag.ASYNC), timeout=3.0),
    Kind((b"h",), "h", cost=(("cpu", SCALE),), timeout=2.0),
    Kind((b"i",), "i", cost=(("gpu:a100", SCALE // 3),)),
    Kind((b"j",), "j", cost=(("gpu", 6_000), ("gpu_memory", 20 * SCALE))),
    Kind((b"k",), "k", cost=(("gpu", 2 * SCALE),), alternatives=((("cpu", SCALE),), (("gpu_memory", 10 * SCALE),))),
    Kind((b"l",), "l", cost=(("cluster:license", SCALE), ("gpu", SCALE // 4)), flags=int(Flag.ASYNC)),
    Kind((b"m",), "m", cost=(("cluster:license", SCALE),)),
    Kind((b"o",), "o", cost=(("cpu", SCALE),), flags=int(Flag.ASYNC), timeout=2.0),
    Kind((b"p",), "p", cost=(("cpu", SCALE),), flags=int(Flag.ASYNC), max_retries=0),
    *[Kind((b"n",), "n", cost=(("cpu", SCALE), ("memory", each * SCALE))) for each in (10, 20, 30, 60)],
)
TASKS = 12  # a run's tasks; odd inputs may be remote


def _is_stubborn(each: tuple[int, int, int, Kind, tuple[int, ...], Execute]) -> bool:
    """Whether it does not end when it is asked: functions, and some coroutines."""
    run, task, _, kind, *_ = each
    return not kind.flags & Flag.ASYNC or (run + task) % 5 == 0


class World:
    """Everything around one brain, and what it ought to have said."""

    def __init__(self) -> None:
        self.now = 0.0
        self.brain = NodeBrain(NodeSettings(batch_max=6, bypass_max=3), CAPACITY)
        self.trace = hashlib.blake2b()
        self.starting: list[WorkerId] = []
        # What each worker has still to do: run, task, attempt, kind, inputs from the same message, what was granted
        self.queues: dict[WorkerId, list[tuple[int, int, int, Kind, tuple[int, ...], Execute]]] = {}
        self.bound: dict[WorkerId, tuple[int, ...]] = {}      # the GPUs that each worker had first
        self.choices: dict[tuple[int, int], int] = {}         # alternatives that were chosen
        self.dying: dict[WorkerId, str] = {}
        self.store: dict[tuple[int, int], None] = {}
        self.asked: dict[tuple[int, int, int], None] = {}     # (peer, run, task)
        self.open: dict[tuple[int, int], int] = {}            # planned and not over: attempt
        self.attempts: dict[tuple[int, int], int] = {}
        self.over: list[int] = []
        self.deaf: list[WorkerId] = []                        # workers that begin nothing
        self.later: list[Any] = []                            # what cancelled coroutines, and workers that stood still, will say
        self.next_run = 1
        self.kinds: dict[int, dict[int, None]] = {}
        self.happen(Tick())
        self.happen(Welcomed(ME))

    def happen(self, *events: Any) -> None:
        for event in events:
            self.brain.take(self.now, event)
        effects = self.brain.settle(self.now)
        self.trace.update(repr((events, effects)).encode())
        for effect in effects:
            self.perform(effect)
        self.brain.check()
        self.check_capacity()

    def perform(self, effect: Any) -> None:
        match effect:
            case Spawn(worker):
                self.starting.append(worker)
            case Kill(worker, reason):
                self.dying[worker] = reason
            case Execute():
                self.give(effect)
                self.later += [
                    Started(effect.worker, effect.run, task, self.now)
                    for task, kind in zip(effect.tasks, effect.kinds, strict=True) if kind.timeout and effect.is_at_once
                ]
            case Look(worker):
                for run, task, *_ in self.queues[worker][:1]:   # some have run for long, some are still being loaded
                    self.later.append(Started(worker, RunId(run), task, (self.now - 100.0, self.now, None)[task % 3]))
            case CancelTask(worker, run, tasks):
                for each in [each for each in self.queues[worker] if each[0] == run and each[1] in tasks and not _is_stubborn(each)]:
                    self.queues[worker].remove(each)
                    self.later.append(Broke(worker, run, each[1], each[2], "cancelled", "", "", "", 0.0))
            case HandBack(worker):
                queue = self.queues[worker]
                is_deaf = bool(queue) and not queue[0][5].is_at_once and queue[0][1] % 4 == 0   # some have not even begun the first
                self.queues[worker], left = queue[: not is_deaf], queue[not is_deaf :]
                if is_deaf:
                    self.deaf.append(worker)
                    self.later.append(WorkerDeaf(worker))
                self.later += [HandedBack(worker, RunId(run), (task,)) for run, task, *_ in left]
            case Drop(run, tasks):
                for task in tasks:
                    self.store.pop((run, task), None)
            case DropRun(run):
                self.store = {key: None for key in self.store if key[0] != run}
            case Send(peer, Want(run, tasks)):
                assert peer != ME
                self.asked.update({(peer, run, task): None for task in tasks})
            case Send(_, Report(run, tasks, attempts)):
                for task, attempt in zip(tasks, attempts, strict=True):
                    self.end(run, task, attempt)
                    assert (run, task) in self.store
            case Send(_, Failed(run, task, attempt)):
                self.end(run, task, attempt)
            case Send(_, Recalled(run, tasks, attempts)):
                for task, attempt in zip(tasks, attempts, strict=True):
                    held = [each[:2] for worker, queue in self.queues.items() if worker not in self.dying for each in queue]
                    assert (run, task) not in held
                    self.end(run, task, attempt)

    def end(self, run: int, task: int, attempt: int) -> None:
        """An attempt is over: it was planned, is the latest, and was not over before. Unless it ended unreported, and was planned anew."""
        if attempt < self.attempts.get((run, task), 0):
            return
        assert self.open.pop((run, task), None) == attempt

    def give(self, effect: Execute) -> None:
        assert effect.worker in self.queues and effect.worker not in self.dying
        made: list[int] = []
        is_asyncio = effect.is_at_once
        assert is_asyncio or self.bound.setdefault(effect.worker, effect.gpus) == effect.gpus, "CUDA looks only once"
        costs = effect.costs or (effect.cost,) * len(effect.tasks)
        for task, attempt, kind, inputs, cost in zip(effect.tasks, effect.attempts, effect.kinds, effect.inputs, costs, strict=True):
            assert self.open.get((effect.run, task)) == attempt
            for each in inputs:
                assert (effect.run, each) in self.store or each in made, "a task was given without its inputs"
            inside = tuple(each for each in inputs if each in made)
            made.append(task)
            chosen = self.choices.get((effect.run, task))
            assert is_asyncio or cost == (kind.cost if chosen is None else kind.alternatives[chosen])
            self.queues[effect.worker].append((effect.run, task, attempt, kind, inside, replace(effect, cost=cost)))

    def check_capacity(self) -> None:
        """What workers execute now fits the node."""
        used: dict[str, int] = {}
        free = [SCALE] * len(GPUS)
        memory = [30 * SCALE] * len(GPUS)
        for queue in self.queues.values():
            running = [each for each in queue if each[5].is_at_once] or queue[:1]
            for each in running:
                cost = dict(each[5].cost or each[3].cost)
                for name, amount in cost.items():
                    used[name] = used.get(name, 0) + amount
                wanted = cost.get("gpu", cost.get("gpu:a100", 0))
                assert len(each[5].gpus) == max(wanted // SCALE, 1 if wanted or "gpu_memory" in cost else 0)
                for index in each[5].gpus:
                    free[index] -= min(wanted, SCALE)
                    memory[index] -= cost.get("gpu_memory", 0)
                    assert "gpu:a100" not in cost or GPUS[index] == "a100", "a GPU of another kind"
        for name, amount in CAPACITY:
            assert used.get(name, 0) <= amount, f"{name} is over-committed"
        assert min(free) >= 0 and min(memory) >= 0, "a GPU is over-committed"

    # ── what may happen ─────────────────────────────────────────────────────

    def plan(self, dice: random.Random) -> None:
        run = self.next_run
        if dice.random() < 0.3 or run not in self.kinds:
            run = self.next_run = self.next_run + 1
            self.kinds[run] = {}
        tasks = sorted(dice.sample(range(1, TASKS), dice.randint(1, 8)))
        tasks = [task for task in tasks if (run, task) not in self.open or dice.random() < 0.2]
        columns: list[tuple[int, int, int, list[int], list[int]]] = []
        for task in tasks:
            attempt = self.attempts.get((run, task), 0) + 1
            self.attempts[run, task] = self.open[run, task] = attempt
            shape = random.Random(run * 1000 + task)  # a task's inputs and kind are always the same
            inputs = [shape.randrange(task) for _ in range(shape.choice((0, 0, 1, 1, 2, 3)))]
            sources = [ME if (run, each) in self.open or (run, each) in self.store else dice.choice(PEERS) for each in inputs]
            columns.append((task, attempt, shape.randrange(len(KINDS)), inputs, sources))
            others = len(KINDS[columns[-1][2]].alternatives)
            if others and dice.random() < 0.6:
                self.choices[run, task] = dice.randrange(others)
            elif others:
                self.choices.pop((run, task), None)
        new = [index for _, _, index, *_ in columns if index not in self.kinds[run]]
        self.kinds[run].update(dict.fromkeys(new))
        self.happen(Received(COORDINATOR, Plan(
            RunId(run), ints(c[0] for c in columns), ints(c[1] for c in columns), ints(c[2] for c in columns),
            Blobs.of(b"" for _ in columns), ints(len(c[3]) for c in columns), ints(i for c in columns for i in c[3]),
            ints(s for c in columns for s in c[4]), floats(dice.random() for _ in columns),
            new_kinds=tuple((index, KINDS[index]) for index in dict.fromkeys(new)),
            choices=ints(each for task, *_ in columns if (run, task) in self.choices for each in (task, self.choices[run, task])))))

    def work(self, dice: random.Random, calm: bool = False) -> None:
        """One worker gets something done, or fails at it."""
        busy = [worker for worker, queue in self.queues.items() if queue and (worker not in self.dying or not calm)]
        if not busy:
            return
        worker = dice.choice(busy)
        queue, fate = self.queues[worker], 0.0 if calm else dice.random()
        if fate < 0.7:
            self.succeed(worker, queue, dice.randint(1, len(queue)) if not calm else 1)
        elif fate < 0.85:
            run, task, attempt, *_ = queue.pop(0)
            broken = {task}
            for each in list(queue):  # what takes it in the same message is skipped without a word
                if each[0] == run and not broken.isdisjoint(each[4]):
                    broken.add(each[1])
                    queue.remove(each)
            self.happen(Broke(worker, RunId(run), task, attempt, "exception", "E", "e", "", 0.1))
        elif fate < 0.95:
            running = [each[:2] for each in queue if each[5].is_at_once]
            running = running or ([queue[0][:2]] if dice.random() < 0.8 else [])
            self.bury(worker, "died", tuple((RunId(run), task) for run, task in running))

    def succeed(self, worker: WorkerId, queue: list[Any], count: int) -> None:
        events: list[Any] = []
        for _ in range(count):
            run, task, attempt, *_ = queue.pop(0)
            self.store[run, task] = None
            if events and events[-1].run == run:
                last = events.pop()
                events.append(Finished(worker, last.run, (*last.tasks, task), (*last.attempts, attempt), (*last.nbytes, 9),
                                       (*last.seconds, 1e-4), (*last.ended, self.now)))
            else:
                events.append(Finished(worker, RunId(run), (task,), (attempt,), (9,), (1e-4,), (self.now,)))
        self.happen(*events)

    def bury(self, worker: WorkerId, reason: str, running: tuple[tuple[RunId, int], ...] = ()) -> None:
        self.queues.pop(worker, None)
        self.dying.pop(worker, None)
        if worker in self.starting:
            self.starting.remove(worker)
        self.happen(WorkerGone(worker, reason, running))

    def turn(self) -> None:
        """Killed workers end, new ones get ready, coroutines answer."""
        answers, self.later = self.later, []
        if answers:
            self.happen(*answers)
        hearing = [worker for worker in self.deaf if (self.next_run + worker) % 3]   # again, after a while; some never do
        self.deaf = [worker for worker in self.deaf if worker not in hearing]
        self.happen(*map(WorkerReady, hearing))
        for worker, reason in list(self.dying.items()):
            self.bury(worker, reason)
        ready, self.starting = self.starting, []
        self.queues.update({worker: [] for worker in ready})
        if ready:
            self.happen(*[WorkerReady(worker) for worker in ready])

    def tick(self) -> None:
        if self.brain.deadline is not None:
            self.now = max(self.now, self.brain.deadline)
            self.happen(Tick())
            if self.brain._state.me is None:  # an orphan for too long: everything was void
                self.welcome()

    def arrive(self, dice: random.Random) -> None:
        if self.asked:
            peer, run, task = dice.choice(list(self.asked))
            del self.asked[peer, run, task]
            self.store[run, task] = None
            self.happen(Arrived(PeerId(peer), RunId(run), (task,), (9,)))

    def recall(self, dice: random.Random) -> None:
        if self.open:
            (run, task), attempt = dice.choice(list(self.open.items()))
            self.happen(Received(COORDINATOR, Recall(RunId(run), ints([task]), ints([attempt - (dice.random() < 0.1)]))))

    def release(self, dice: random.Random) -> None:
        """Sometimes too early: then the node asks again. What is not reported yet, nobody can release."""
        known = [key for key in self.store if key not in self.open]
        if known:
            run, task = dice.choice(known)
            self.happen(Received(COORDINATOR, Release(RunId(run), ints([task]))))

    def redirect(self, dice: random.Random) -> None:
        if self.asked:
            _, run, task = dice.choice(list(self.asked))
            self.happen(Received(COORDINATOR, Redirect(RunId(run), ints([task]), ints([dice.choice(PEERS)]))))

    def trouble(self, dice: random.Random) -> None:
        """Links break and come back; peers have nothing; peers ask."""
        run = RunId(max(1, self.next_run - dice.randrange(3)))
        peer = dice.choice(PEERS)
        self.happen(dice.choice((
            Lost(peer, "reset"), Dropped(COORDINATOR), Resumed(COORDINATOR),
            Received(peer, Want(run, ints([dice.randrange(TASKS)]))),
            Received(peer, Absent(run, ints([dice.randrange(TASKS)]))),
        )))

    def end_run(self, dice: random.Random) -> None:
        if self.kinds:
            run = dice.choice(list(self.kinds))
            del self.kinds[run]
            self.forget(run)
            self.happen(Received(COORDINATOR, EndRun(RunId(run))))
            self.turn()
            over = self.now + self.brain._state.settings.kill_grace_seconds
            while self.now < over and self.has(run):   # coroutines that do not end when they are asked
                self.tick()
                self.turn()
            assert not self.has(run)

    def has(self, run: int) -> bool:
        """Whether any worker has something of this run still."""
        return any(each[0] == run for queue in self.queues.values() for each in queue)

    def forget(self, run: int) -> None:
        self.open = {key: attempt for key, attempt in self.open.items() if key[0] != run}
        self.asked = {key: None for key in self.asked if key[1] != run}

    def welcome(self) -> None:
        self.open, self.asked, self.kinds = {}, {}, {}
        self.next_run += 1
        self.happen(Welcomed(ME))

    def calm_down(self) -> None:
        """All that is planned can end now: inputs come, workers work. Then everything is over, and everything is free."""
        dice = random.Random(0)
        self.happen(Resumed(COORDINATOR))
        for _ in range(600):
            self.turn()
            for run, table in list(self.brain._state.runs.items()):
                stuck = [task for task in table.waiters if task not in table.asked and (run, task) not in self.open]
                if stuck:
                    self.happen(Received(COORDINATOR, Redirect(run, ints(stuck), ints([PEERS[0]] * len(stuck)))))
            while self.asked:
                self.arrive(dice)
            while any(self.queues.values()) and not self.dying:
                self.work(dice, calm=True)
            if not self.open and not self.dying and not self.starting:
                break
            self.tick()
        assert not self.open, f"never ended: {self.open}"
        assert self.brain._claims.free == self.brain._claims.capacity
        assert self.brain._claims.gpus.free == [SCALE] * len(GPUS) and self.brain._claims.gpus.memory == [30 * SCALE] * len(GPUS)


STEPS = ("plan", "plan", "work", "work", "work", "arrive", "arrive", "turn", "turn", "tick", "recall", "release", "redirect", "trouble",
         "end_run", "welcome")


def step(world: World, name: str, dice: random.Random) -> None:
    """One thing happens."""
    if name == "welcome" and dice.random() < 0.8:
        name = "work"
    method = getattr(world, name)
    if name in ("turn", "tick", "welcome"):
        method()
    else:
        method(dice)


class Histories(RuleBasedStateMachine):
    """Hypothesis chooses what happens."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.world.turn()

    @rule(name=st.sampled_from(STEPS), seed=st.integers(0, 2**20))
    def happen(self, name: str, seed: int) -> None:
        step(self.world, name, random.Random(seed))

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.brain.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.calm_down()


Histories.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestHistories = Histories.TestCase


def history(seed: int, length: int = 150) -> World:
    """A history from one seed."""
    dice = random.Random(seed)
    world = World()
    world.turn()
    for _ in range(length):
        step(world, dice.choice(STEPS), dice)
    return world


@pytest.mark.parametrize("seed", range(40))
def test_long_histories_end_well(seed: int) -> None:
    """After anything that may happen, every attempt still ends exactly once, and everything is free again."""
    history(seed).calm_down()


def test_the_same_events_give_the_same_effects_anywhere() -> None:
    """One history, told in processes with different hash seeds, is the same to the last word."""
    program = (f"import importlib.util as u, sys; s = u.spec_from_file_location('histories', {__file__!r}); "
               "m = u.module_from_spec(s); sys.modules['histories'] = m; s.loader.exec_module(m); "
               "print(''.join(m.history(s, 80).trace.hexdigest() for s in range(3)))")
    told = []
    for hash_seed in "0", "1", "2":
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
        told.append(subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout)

    assert told[0] == told[1] == told[2] != ""
