"""What deciding costs: processor microseconds per task of the coordinator's brain, by the number of nodes and tasks.

The brain alone is driven: a program is submitted, plans are answered with reports of what would have ended since the last turn, all
that came in one turn at once, as a busy coordinator takes it in. Nothing else is counted: not the messages, not the nodes, not the
network (there is none: a result is everywhere when it exists). Nodes have 4 cores.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import math
import pstats
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from handoff.columns import Blobs
from handoff.ids import PeerId
from handoff.machine import Joined, Received, Send, Tick
from handoff.messages import PROTOCOL, Forget, Hello, Plan, Recall, Recalled, Report, RunDone, Submit
from handoff.program import Flag, Kind, Program
from handoff.resources import amounts
from handoff.scheduler.scheduler import Scheduler
from handoff.settings import SchedulerSettings

CLIENT = PeerId(1_000_000)
TURN_SECONDS = 0.005      # of the paper cluster, between two turns of the coordinator
CORES = 4
LAYERS = 20


@dataclass(slots=True)
class Cost:
    """What one case took; microseconds of processor time per task."""

    case: str
    nodes: int
    tasks: int
    total: float
    placing: float         # of the total: in turns' ends, where tasks are placed
    taking: float          # of the total: where reports are taken in
    submit_seconds: float  # of the total: until the program is in the tables, all together
    turns: int
    goal: str = ""


class PaperCluster:
    """Nodes without a network around a brain whose processor time is counted."""

    def __init__(self, nodes: int, speeds: tuple[float, ...], profile: cProfile.Profile | None) -> None:
        self.brain = Scheduler(SchedulerSettings(suspect_seconds=math.inf, lost_seconds=math.inf))
        self.profile = profile
        self.now = 0.0
        self.placing = self.taking = self.submit = 0.0
        self.turns = 0
        self.speed = {number: speeds[number % len(speeds)] for number in range(1, nodes + 1)}
        self.free = dict.fromkeys(self.speed, CORES * 10_000)
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
                          capacity=amounts({"cpu": CORES, "memory": 64_000}))
            self.brain.handle(0.0, Joined(PeerId(number), hello))
            self.brain.ledger.nodes[number].declare_speed(self.speed[number])

    def run(self, program: Program, seconds: array[float], nbytes: int) -> int:
        """Run it to its end; the number of the run."""
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
        effects = self._brain("submit", [Received(CLIENT, Submit(1, "bench", program, body=b""))])
        while True:
            run = self._perform(effects)
            if run:
                return run
            events = self._pass()
            effects = self._brain("taking", events)

    def forget(self, run: int) -> None:
        """Nothing is left of it."""
        self.brain.handle(self.now, Received(CLIENT, Forget(run)))

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

    def _perform(self, effects: list[Any]) -> int:
        self.answers: list[Any] = []
        for effect in effects:
            if not isinstance(effect, Send):
                continue
            peer, message = effect.peer, effect.message
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
            events.append(Received(PeerId(peer), Report(
                run, array("I", [row[0] for row in several]), array("I", [row[1] for row in several]), array("Q", [self.nbytes]) * count,
                array("d", [row[2] for row in several]), array("d", bytes(8 * count)))))
        return events or [Tick()]


def program(kinds: list[Kind], tasks: list[tuple[int, list[int]]]) -> Program:
    """Tasks as (kind, inputs)."""
    return Program(
        tuple((kind.codes[0], 0) for kind in kinds), tuple(kinds), array("I", [kind for kind, _ in tasks]), Blobs.of([b""] * len(tasks)),
        array("I", [len(inputs) for _, inputs in tasks]), array("I", [each for _, inputs in tasks for each in inputs]))


def a_kind(name: str, cost: dict[str, float], flags: int = 0) -> Kind:
    """A kind of task."""
    return Kind((name.encode(),), name, flags=flags, cost=amounts(cost))


def independent(count: int, mean: float, sigma: float = 0.3) -> tuple[Program, array[float], int]:
    """Tasks of one function without inputs."""
    draw = Random("independent")
    seconds = array("d", [mean * math.exp(draw.gauss(-sigma * sigma / 2, sigma)) for _ in range(count)])
    return program([a_kind("work", {"cpu": 1}, Flag.OUTPUT)], [(0, [])] * count), seconds, 1000


def layered(count: int) -> tuple[Program, array[float], int]:
    """Layers of four shapes; each task takes one to three results of the layer before."""
    draw = Random("layered")
    costs = {"light": {"cpu": 1}, "large": {"cpu": 1, "memory": 8000}, "wide": {"cpu": 2}, "half": {"cpu": 0.5}}
    kinds = [a_kind(name, cost) for name, cost in costs.items()]
    means = [0.15, 0.2, 0.25, 0.1]
    tasks: list[tuple[int, list[int]]] = []
    seconds = array("d")
    width = max(1, count // LAYERS)
    for task in range(count):
        of = draw.randrange(4)
        first = (task // width - 1) * width
        tasks.append((of, sorted({first + draw.randrange(width) for _ in range(draw.randint(1, 3))}) if first >= 0 else []))
        seconds.append(means[of] * math.exp(draw.gauss(-0.045, 0.3)))
    return program(kinds, tasks), seconds, 1_000_000


EQUAL, FOUR = (1.0,), (0.5, 1.0, 1.5, 3.0)
CASES: dict[str, tuple[Callable[[int], tuple[Program, array[float], int]], tuple[float, ...], str]] = {
    "no inputs": (lambda count: independent(count, 0.2), EQUAL, "<= 10"),
    "1 to 3 inputs, 4 shapes": (layered, EQUAL, "<= 20"),
    "the same, 4 speeds": (layered, FOUR, "<= 60"),
    "blocks of 0.2 ms": (lambda count: independent(count, 0.0002, 0.1), EQUAL, "<= 2 placing"),
}
SIZES = ((8, 1_000), (8, 10_000), (100, 10_000), (1_000, 10_000), (1_000, 100_000))


def measure(name: str, nodes: int, tasks: int, profile: cProfile.Profile | None = None) -> Cost:
    """One case, once."""
    make, speeds, goal = CASES[name]
    cluster = PaperCluster(nodes, speeds, None)
    if name.startswith("blocks"):      # known: it ran before
        made, seconds, nbytes = make(max(2000, nodes * 16))
        cluster.forget(cluster.run(made, seconds, nbytes))
        cluster.now += 1.0
        cluster.placing = cluster.taking = cluster.submit = 0.0
        cluster.turns = 0
    cluster.profile = profile
    made, seconds, nbytes = make(tasks)
    cluster.run(made, seconds, nbytes)
    each = 1e6 / tasks
    total = (cluster.placing + cluster.taking + cluster.submit) * each
    return Cost(name, nodes, tasks, total, cluster.placing * each, cluster.taking * each, cluster.submit, cluster.turns,
                goal if (nodes, tasks) == SIZES[-1] else "")


def main(arguments: list[str]) -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="bench decisions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many is shown (default: %(default)s)")
    parser.add_argument("--case", choices=list(CASES), action="append", help="this one alone; may be given several times")
    parser.add_argument("--nodes", type=int, help="so many nodes, with --tasks, instead of all sizes")
    parser.add_argument("--tasks", type=int, help="so many tasks")
    parser.add_argument("--quick", action="store_true", help="without the largest size, once")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    sizes = ((options.nodes or 8, options.tasks or 1_000),) if options.nodes or options.tasks else SIZES[:-2] if options.quick else SIZES
    repeat = 1 if options.quick or options.profile else options.repeat
    costs = []
    console = Console(width=max(150, Console().width))
    for name in options.case or CASES:
        for nodes, tasks in sizes:
            profile = cProfile.Profile() if options.profile else None
            costs.append(min((measure(name, nodes, tasks, profile) for _ in range(repeat)), key=lambda cost: cost.total))
            if profile is not None:
                print(f"{name}, {nodes} nodes, {tasks} tasks")
                pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(28)
    columns = ("case", "nodes", "tasks", "us/task", "placing", "taking in", "submit, ms", "turns", "goal")
    table = Table(*columns, title="Processor time of decisions")
    for cost in costs:
        table.add_row(cost.case, f"{cost.nodes:,}", f"{cost.tasks:,}", f"{cost.total:.1f}", f"{cost.placing:.1f}", f"{cost.taking:.1f}",
                      f"{cost.submit_seconds * 1e3:.0f}", f"{cost.turns:,}", cost.goal)
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")
    return 0
