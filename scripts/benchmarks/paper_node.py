"""A node's brain whose coordinator, peers, client and workers are on paper: everything is answered at once."""

from __future__ import annotations

import time
from typing import Any

from handoff.columns import Blobs, floats, ints
from handoff.ids import COORDINATOR, PeerId, RunId
from handoff.machine import Joined, Received, Send, Tick
from handoff.messages import PROTOCOL, Collect, EndRun, Hello, Plan, Report, Want
from handoff.node.brain import NodeBrain
from handoff.node.events import Arrived, Execute, Finished, Spawn, Welcomed, WorkerReady
from handoff.program import Flag, Kind
from handoff.resources import amounts
from handoff.settings import NodeSettings

ME, CLIENT = PeerId(1), PeerId(2)
FIRST_PEER = 10
PLAN_TASKS = 1000        # in one plan, as many as a coordinator gives a node of two workers with short tasks
TASK_SECONDS = 1e-5
VALUE_BYTES = 10


class PaperNode:
    """Two workers. With `sources`, each task takes one result of one of so many other nodes."""

    def __init__(self, sources: int = 0) -> None:
        self.sources = sources
        self.brain = NodeBrain(NodeSettings(), amounts({"cpu": 2}))
        self.now = 0.0
        self.runs = self.reported = 0
        self.deciding = 0.0          # processor seconds of the brain
        self.messages = 0
        self._happen([Tick()])
        self._happen([Welcomed(ME)])
        self._happen([Joined(CLIENT, Hello(PROTOCOL, "", "", "client", "bench", b"", peer=CLIENT))])
        self.kind = Kind((b"code",), "nothing", flags=Flag.OUTPUT, cost=amounts({"cpu": 1}))

    def run(self, tasks: int) -> None:
        """Empty tasks to their end; then the run is forgotten."""
        self.runs += 1
        self.reported = 0
        run = RunId(self.runs)
        self._happen([Received(CLIENT, Collect(run))])
        for first in range(0, tasks, PLAN_TASKS):
            self._happen([Received(COORDINATOR, self._plan(run, range(first, min(tasks, first + PLAN_TASKS))))])
        if self.reported != tasks:
            raise AssertionError(f"{self.reported} of {tasks} tasks were reported")
        self._happen([Received(COORDINATOR, EndRun(run))])

    def _plan(self, run: RunId, tasks: range) -> Plan:
        count = len(tasks)
        inputs: range = range(0)
        numbers = ints(tasks)
        if self.sources:             # inputs have even numbers, tasks odd ones
            inputs = range(2 * tasks.start, 2 * tasks.stop, 2)
            numbers = ints(2 * each + 1 for each in tasks)
        return Plan(
            run, numbers, ints([1]) * count, ints([0]) * count, Blobs.of([b""] * count), ints([len(inputs) // count]) * count, ints(inputs),
            ints(FIRST_PEER + each // 2 % self.sources for each in inputs), floats([1.0]) * count,
            new_kinds=((0, self.kind),) if not tasks.start else ())

    def _happen(self, events: list[Any]) -> None:
        """These happen in one turn, and then whatever follows from that, turn by turn."""
        while events:
            self.now += 1e-4
            begin = time.thread_time()
            for event in events:
                self.brain.take(self.now, event)
            effects = self.brain.settle(self.now)
            self.deciding += time.thread_time() - begin
            events = self._settle(effects)

    def _settle(self, effects: list[Any]) -> list[Any]:
        """What follows at once from what the brain asks for."""
        events: list[Any] = []
        for effect in effects:
            match effect:
                case Spawn(worker):
                    events.append(WorkerReady(worker))
                case Execute(worker, run, tasks, attempts):
                    count = len(tasks)
                    sizes, seconds, ended = (VALUE_BYTES,) * count, (TASK_SECONDS,) * count, (self.now,) * count
                    events.append(Finished(worker, run, tasks, attempts, sizes, seconds, ended))
                case Send(_, Report() as report):
                    self.messages += 1
                    self.reported += len(report.tasks)
                case Send(peer, Want(run, tasks)):
                    self.messages += 1
                    events.append(Arrived(peer, run, tuple(tasks), (VALUE_BYTES,) * len(tasks)))
                case Send():
                    self.messages += 1
        return events
