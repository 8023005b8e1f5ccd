"""Random graphs and random events: the tables never contradict themselves, late news changes nothing, and every run ends."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduler_story import Cluster, Flag, Kind, Program, Recall, Recalled, RunDone, RunFailed, Unreachable, ints, kind, program

from handoff.messages import Alive, Forget, NodeGone, Plan
from handoff.messages import Missing as MissingOutputs
from handoff.scheduler.first_fit import FirstFit
from handoff.scheduler.runs import DONE, GONE


def random_program(draw: random.Random, nodes: list[str]) -> Program:
    """Up to 30 tasks with all that can be said about them."""
    kinds = [
        kind("out"), kind("mid", flags=Flag(0)), kind("free", {}), kind("half", {"cpu": 0.5}, flags=Flag(0)), kind("big", {"cpu": 2}),
        kind("urgent", priority=1), kind("pinned", node=draw.choice(nodes), flags=Flag(0)),
    ]
    tasks: list[tuple[Kind, tuple[int, ...]]] = []
    free: list[int] = []                 # tasks whose result anyone may take
    for _ in range(draw.randint(0, 2)):
        free.append(len(tasks))
        tasks.append((kind("object", {}, flags=Flag.OBJECT), ()))
    for _ in range(draw.randint(1, 25)):
        inputs = tuple(draw.choice(free) for _ in range(draw.choice((0, 1, 1, 2, 3)))) if free else ()
        if inputs and draw.random() < 0.15:      # through a serializer of its own
            tasks.append((kind("serialize", {}, flags=Flag.SERIALIZER), inputs[:1]))
            inputs = (len(tasks) - 1, *inputs[1:])
        free.append(len(tasks))
        tasks.append((draw.choice(kinds), inputs))
    loose = [task for task in free if not tasks[task][0].node and not tasks[task][0].flags & Flag.OBJECT]
    draw.shuffle(loose)
    groups = [sorted(loose[:3])] if len(loose) > 3 and draw.random() < 0.5 else []
    return program(tasks, groups)


class Play:
    """One random play: what the scheduler says is remembered, answered now and then, sometimes late."""

    def __init__(self, seed: int, allocator: object = None) -> None:
        self.draw = random.Random(seed)
        self.cluster = Cluster(allocator, node_timeout_seconds=50.0)
        self.names = ["n1", "n2", "n3"]
        self.living: list[str] = []
        self.joined = 0
        self.alive = True
        for name in self.names:
            self.join(name)
        self.cluster.client()
        self.old: list[tuple[str, object]] = []      # news that was true once
        self.kept: list[tuple[str, int, int]] = []   # what nodes had started when it was asked back
        self.trace = hashlib.blake2b()
        self.program = random_program(self.draw, self.names)
        self.run = self.cluster.submit(self.program, max_concurrency=self.draw.choice((0, 0, 0, 2)))
        self.absorb()

    def join(self, name: str) -> None:
        self.cluster.join(name, cpu=2.0)
        self.living.append(name)

    @property
    def table(self):
        return self.cluster.scheduler.ledger.runs.get(self.run)

    def absorb(self) -> None:
        """Look at what was said."""
        self.trace.update(repr(self.cluster.last).encode())
        said, self.cluster.last = self.cluster.last, []
        for name, message in said:
            if isinstance(message, Plan):
                assert name in self.living
                for task in message.tasks:
                    of = self.program.kinds[self.program.kind[task]]
                    assert not of.node or of.node == name
            elif isinstance(message, NodeGone):
                outputs = [task for task in range(self.table.total) if self.table.node[task] == message.node] if self.table else []
                self.cluster.hear("client", MissingOutputs(self.run, ints(outputs)))
                self.absorb()
            elif isinstance(message, Recall) and name in self.living:
                # What has started is not given back; what lacks inputs has not started.
                has_started = self.draw.random() >= 0.7
                missing = self.table.missing if self.table is not None and self.table.linked else None
                pairs = list(zip(message.tasks, message.attempts, strict=True))
                back = [pair for pair in pairs if not has_started or (missing is not None and missing[pair[0]])]
                self.kept += [(name, task, attempt) for task, attempt in pairs if (task, attempt) not in back]
                if back:
                    self.cluster.hear(name, Recalled(message.run, ints(task for task, _ in back), ints(attempt for _, attempt in back)))
                    self.absorb()
            elif isinstance(message, RunFailed):
                self.alive = False

    def planned(self) -> list[int]:
        table = self.table
        return [task for task in range(table.total) if table.is_planned(task) and not (table.linked and table.missing[task])]

    def step(self) -> None:
        """One random happening."""
        cluster, draw = self.cluster, self.draw
        ready = self.planned()
        what = draw.random()
        cluster.last = []
        if what < 0.5 and ready:
            some = [task for task in ready if draw.random() < 0.6] or ready
            for task in some:
                self.old.append((cluster.where(task), (task, cluster.attempt(task))))
            cluster.done(*some, seconds=draw.choice((1e-5, 1e-3, 0.5)))
        elif what < 0.58 and ready:
            task = draw.choice(ready)
            if self.table.failures.get(task, 0) < 2 and not self.table.is_object(task):
                cluster.fail(task, cause=draw.choice(("exception", "crash", "unloadable", "timeout")), type="E", text="no")
        elif what < 0.66 and len(self.living) > 1:
            lost = draw.choice(self.living)
            self.living.remove(lost)
            cluster.lose(lost)
        elif what < 0.76 and len(self.living) < 3:
            name = draw.choice([name for name in self.names if name not in self.living])
            self.join(name)
        elif what < 0.82 and self.table.linked:
            waiting = [task for task in range(self.table.total) if self.table.is_planned(task) and self.table.fan_in[task]]
            if waiting:
                task = draw.choice(waiting)
                source = draw.choice(self.table.inputs_of(task))
                if self.table.node[source] != self.table.node[task] and self.table.node[source] in cluster.names:
                    cluster.hear(cluster.where(task), Unreachable(self.run, self.table.node[source], ints([source])))
        elif what < 0.9 and self.old:
            name, (task, attempt) = draw.choice(self.old)
            if name in self.living and not self.table.is_current(cluster.peers[name], task, attempt):
                table = self.table
                before = (table.done, table.state[task] in (DONE, GONE), table.seconds[task])
                cluster.done(task, attempt=attempt, node=name, seconds=77.0)
                assert (table.done, table.state[task] in (DONE, GONE), table.seconds[task]) == before, "late news changed something"
        elif what < 0.93 and self.living:
            name = draw.choice(self.living)
            cluster.drop(name)
            cluster.resume(name)
        else:
            cluster.wait(draw.choice((0.01, 0.1, 1.0)))
        self.absorb()

    def end(self) -> None:
        """All is well from now on: the run must end."""
        for name in self.names:
            if name not in self.living:
                self.join(name)
                self.absorb()
        for name, task, attempt in self.kept:   # it ends, and is of no use any more
            if self.table is not None and not self.table.is_current(self.cluster.peers[name], task, attempt):
                self.cluster.done(task, attempt=attempt, node=name)
                self.absorb()
        for _ in range(2000):
            if self.table is None or self.table.is_over:
                break
            ready = self.planned()
            self.cluster.last = []
            if ready:
                self.cluster.done(*ready)
            else:
                assert self.cluster.scheduler.deadline is not None, f"stands still: {self.table}"
                self.cluster.wait(max(1e-3, self.cluster.scheduler.deadline - self.cluster.now))
                for name in self.living:
                    self.cluster.hear(name, Alive())
            self.absorb()
        else:
            raise AssertionError(f"does not end: {self.table} {list(self.table.state)}")


def play(seed: int, allocator: object = None, steps: int = 60) -> Play:
    """A whole play."""
    stage = Play(seed, allocator)
    for _ in range(steps):
        if not stage.alive or stage.table is None or stage.table.is_over:
            break
        stage.step()
    if stage.alive:
        stage.end()
    return stage


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_the_run_ends_and_nothing_is_left(seed: int) -> None:
    """After any events the invariants hold, the run is done, collocated tasks whose results exist share a node, and all claims are free."""
    stage = play(seed)
    assert stage.alive, [message for _, message in stage.cluster.said if isinstance(message, RunFailed)]
    table = stage.table
    assert table.done == table.total and table.planned == 0
    assert any(isinstance(message, RunDone) for name, message in stage.cluster.said if name == "client")
    for node in stage.cluster.scheduler.ledger.nodes.values():
        assert not any(node.committed.values()) and not node.planned and not node.ahead and not node.held
    stage.cluster.hear("client", Forget(stage.run))
    ledger = stage.cluster.scheduler.ledger
    assert not ledger.runs and not ledger.ready.shapes and not ledger.codes.uses and ledger.tasks == 0


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_first_fit_ends_every_run_as_well(seed: int) -> None:
    """The same plays with the simplest allocator behind the same protocol."""
    assert play(seed, FirstFit()).table.is_over


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_events_give_the_same_effects_under_any_hash_seed(seed: int) -> None:
    """Two processes with different hash seeds say exactly the same."""
    here = Path(__file__)
    traces = set()
    for hash_seed in ("0", "1"):
        script = (
            f"import sys; sys.path[:0] = [{str(here.parent)!r}]; import test_scheduler_random as t; print(t.play({seed}).trace.hexdigest())"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        traces.add(ran.stdout.strip())
    assert len(traces) == 1

