"""A cluster on paper around the coordinator's brain, whose processor time is counted.

A program is submitted, plans are answered with reports of what would have ended since the last turn, all that came in one turn at once,
as a busy coordinator takes it in. There is no network: a result is everywhere when it exists.
"""

from __future__ import annotations

import cProfile
import gc
import math
import time
from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from handoff.ids import PeerId
from handoff.machine import Joined, Received, Send, Tick
from handoff.messages import PROTOCOL, Forget, Hello, Plan, Recall, Recalled, Report, RunDone, Submit
from handoff.program import Kind, Program
from handoff.resources import amounts
from handoff.scheduler.scheduler import Scheduler
from handoff.settings import SchedulerSettings
from handoff.wire import codec

CLIENT = PeerId(1_000_000)
TURN_SECONDS = 0.005      # of the paper cluster, between two turns of the coordinator
CORES = 4                 # of a node, unless said otherwise


class PaperCluster:
    """Nodes without a network around a brain whose processor time is counted."""

    def __init__(self, nodes: int, speeds: tuple[float, ...] = (1.0,), profile: cProfile.Profile | None = None, cores: int = CORES,
                 is_spoken: bool = False) -> None:
        self.brain = Scheduler(SchedulerSettings(suspect_seconds=math.inf, lost_seconds=math.inf))
        self.profile = profile
        self.now = 0.0
        self.placing = self.taking = self.submit = 0.0
        self.turns = 0
        self.is_spoken = is_spoken            # messages are written and read, too, and the processor time of that is counted
        self.speaking = 0.0
        self.messages = self.spoken_bytes = 0
        self.speed = {number: speeds[number % len(speeds)] for number in range(1, nodes + 1)}
        self.free = dict.fromkeys(self.speed, cores * 10_000)
        self.queue: dict[int, list[tuple[float, int, int]]] = {number: [] for number in self.speed}
        self.ends: list[tuple[float, int, int, int]] = []     # (end, peer, run, task)
        self.plans: dict[tuple[int, int], tuple[int, int]] = {}   # task -> (peer, attempt): planned, not started
        self.running: dict[tuple[int, int], int] = {}         # attempt
        self.kinds: dict[tuple[int, int], Kind] = {}
        self.waits: dict[tuple[int, int], int] = {}
        self.over: set[int] = set()
        self.brain.handle(0.0, Joined(CLIENT, Hello(PROTOCOL, "", "", "client", "bench", b"")))
        for number in self.speed:
            hello = Hello(PROTOCOL, "", "", "node", f"node-{number}", b"", address=("10.0.0.1", number),
                          capacity=amounts({"cpu": cores, "memory": 16_000 * cores}))
            self.brain.handle(0.0, Joined(PeerId(number), hello))
            self.brain.ledger.nodes[number].declare_speed(self.speed[number])

    def run(self, program: Program, seconds: array[float], nbytes: int, submitted: Callable[[], None] = lambda: None) -> int:
        """Run it to its end; the number of the run. `submitted` is called when the brain has it."""
        self.seconds, self.nbytes, self.program = seconds, nbytes, program
        consumers: list[list[int]] = [[] for _ in program.kind]
        at = 0
        for task, count in enumerate(program.fan_in):
            for each in program.inputs[at : at + count]:
                consumers[each].append(task)
            at += count
        self.consumers, self.left = consumers, array("I", program.fan_in)
        self.done = bytearray(len(program.kind))
        gc.collect()
        gc.freeze()
        submit = Submit(1, "bench", program, values_only=len(program.kind) == 1, body=b"")
        effects = self._brain("submit", [Received(CLIENT, self._heard(submit))])
        submitted()
        while True:
            run = self._perform(effects)
            if run:
                return run
            events = self._pass()
            effects = self._brain("taking", events)

    def forget(self, run: int) -> None:
        """Nothing is left of it."""
        self.brain.handle(self.now, Received(CLIENT, Forget(run)))

    @property
    def deciding(self) -> float:
        """Processor seconds of the brain so far."""
        return self.placing + self.taking + self.submit

    def reset(self) -> None:
        """Count from now on."""
        self.placing = self.taking = self.submit = self.speaking = 0.0
        self.turns = self.messages = self.spoken_bytes = 0

    def _brain(self, what: str, events: list[Any]) -> list[Any]:
        brain, now, clock = self.brain, self.now, time.thread_time
        if self.profile is not None:
            self.profile.enable()
        begin = clock()
        for event in events:
            brain.take(now, event)
        middle = clock()
        effects = brain.settle(now)
        end = clock()
        if self.profile is not None:
            self.profile.disable()
        setattr(self, what, getattr(self, what) + middle - begin)
        self.placing += end - middle
        self.turns += 1
        return effects

    def _said(self, message: Any) -> None:
        """The coordinator says it."""
        self.messages += 1
        if self.is_spoken:
            begin = time.thread_time()
            header, body = codec.encode(message)
            self.speaking += time.thread_time() - begin
            self.spoken_bytes += len(header) + sum(map(len, body))

    def _heard(self, message: Any) -> Any:
        """The coordinator hears it: read from what was written of it."""
        self.messages += 1
        if not self.is_spoken:
            return message
        header, body = codec.encode(message)
        content = b"".join(body)
        self.spoken_bytes += len(header) + len(content)
        begin = time.thread_time()
        read = codec.decode(header, content)
        self.speaking += time.thread_time() - begin
        return read

    def _perform(self, effects: list[Any]) -> int:
        self.answers: list[Any] = []
        for effect in effects:
            if not isinstance(effect, Send):
                continue
            peer, message = effect.peer, effect.message
            self._said(message)
            if isinstance(message, Plan):
                for index, kind in message.new_kinds:
                    self.kinds[message.run, index] = kind
                for task, attempt, urgency in zip(message.tasks, message.attempts, message.urgencies, strict=True):
                    self.plans[message.run, task] = (peer, attempt)
                    if not self.left[task]:
                        heappush(self.queue[peer], (-urgency, task, attempt))
                    else:
                        self.waits[message.run, task] = 1
                self._start(peer, message.run)
            elif isinstance(message, Recall):
                back = [(task, attempt) for task, attempt in zip(message.tasks, message.attempts, strict=True)
                        if self.plans.get((message.run, task)) == (peer, attempt)]
                for task, _ in back:
                    del self.plans[message.run, task]
                    self.waits.pop((message.run, task), None)
                given = Recalled(message.run, array("I", [task for task, _ in back]), array("I", [attempt for _, attempt in back]))
                self.answers.append(Received(peer, given))
            elif isinstance(message, RunDone):
                return message.run
        return 0

    def _start(self, peer: int, run: int) -> None:
        """What is most urgent and fits runs."""
        queue, kinds = self.queue[peer], self.program.kind
        while queue:
            _, task, attempt = queue[0]
            if self.plans.get((run, task)) != (peer, attempt):
                heappop(queue)
                continue
            cores = dict(self.kinds[run, kinds[task]].cost)["cpu"]
            if cores > self.free[peer]:
                return
            heappop(queue)
            self.free[peer] -= cores
            del self.plans[run, task]
            self.running[run, task] = attempt
            heappush(self.ends, (self.now + self.seconds[task] / self.speed[peer], peer, run, task))

    def _pass(self) -> list[Any]:
        """Let a turn pass, or more until something ends; answers with what nodes say."""
        deadline = self.brain.deadline
        until = self.now + TURN_SECONDS
        if not self.answers:
            following = min(self.ends[0][0] if self.ends else math.inf, math.inf if deadline is None else deadline)
            if following == math.inf:
                raise RuntimeError("the run stands still")
            until = max(until, following)
        events, self.answers = self.answers, []
        rows: dict[int, list[tuple[int, int, float]]] = {}
        run = 0
        while self.ends and self.ends[0][0] <= until:
            self.now, peer, run, task = heappop(self.ends)
            self.free[peer] += dict(self.kinds[run, self.program.kind[task]].cost)["cpu"]
            attempt = self.running.pop((run, task))
            self.done[task] = 1
            rows.setdefault(peer, []).append((task, attempt, self.seconds[task] / self.speed[peer]))
            for each in self.consumers[task]:
                self.left[each] -= 1
                if not self.left[each] and self.waits.pop((run, each), 0):
                    where, tried = self.plans[run, each]
                    heappush(self.queue[where], (-1.0, each, tried))
                    if where != peer:
                        self._start(where, run)
            self._start(peer, run)
        self.now = until
        for peer, several in rows.items():
            count = len(several)
            events.append(Received(PeerId(peer), self._heard(Report(
                run, array("I", [row[0] for row in several]), array("I", [row[1] for row in several]), array("Q", [self.nbytes]) * count,
                array("d", [row[2] for row in several]), array("d", bytes(8 * count))))))
        return events or [Tick()]
