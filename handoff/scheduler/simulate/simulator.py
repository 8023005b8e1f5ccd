"""Runs programs on a cluster that exists on paper: the scheduler's brain decides as it always does; nodes and network are arithmetic."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any

from handoff.columns import Floats, Longs
from handoff.ids import NOBODY, PeerId, RunId
from handoff.machine import Close, Joined, Lost, Received, Send, Tick
from handoff.messages import (
    PROTOCOL,
    Accepted,
    EndRun,
    Hello,
    Plan,
    Recall,
    Recalled,
    Redirect,
    Refused,
    Release,
    Report,
    RunDone,
    RunFailed,
    Submit,
    Upload,
)
from handoff.program import Program
from handoff.scheduler.allocator import Allocator
from handoff.scheduler.scheduler import Scheduler
from handoff.scheduler.simulate.cluster import ClusterSpec
from handoff.scheduler.simulate.network import Network
from handoff.scheduler.simulate.node import PaperNode
from handoff.settings import SchedulerSettings

CLIENT = PeerId(1_000_000)


@dataclass(frozen=True, slots=True)
class Work:
    """A program, and what its tasks really take: seconds on a node of speed 1, and bytes of their results."""

    program: Program
    seconds: Floats
    nbytes: Longs
    name: str = "run"
    at: float = 0.0                   # when it is submitted
    options: Mapping[str, Any] | None = None   # further fields of Submit
    factors: Mapping[tuple[int, int], float] = field(default_factory=dict)   # (kind, alternative from 0): times the seconds of its cost


@dataclass(slots=True)
class Outcome:
    """How one program went. Times are seconds after its submission; nodes are names, per task."""

    makespan: float
    nodes: list[str]
    started: array[float]
    ended: array[float]
    failure: str = ""
    code: str = ""                    # the class of the error
    task: int = NOBODY                # the one that it is about, where there is one


@dataclass(slots=True)
class History:
    """How everything went."""

    runs: list[Outcome]
    bytes_moved: int
    moved: list[tuple[int, int, str, str, float, float, int]]   # (run index, task, from, to, asked at, there at, bytes)
    peak_resident: dict[str, int]     # bytes of results, per node
    peak_memory: dict[str, int]       # claims and results together, in steps of memory
    decision_seconds: float           # processor time that the brain took
    messages: int


class Simulator:
    """One cluster, for as many programs as one likes. The same input gives the same history."""

    def __init__(self, cluster: ClusterSpec, allocator: Allocator | None = None, settings: SchedulerSettings | None = None, *,
                 speeds_known: bool = True, prepare: Callable[[Scheduler], None] | None = None,
                 clock: Callable[[], float] = lambda: 0.0) -> None:
        """`prepare` may teach the brain what it is to know; `clock` measures the processor time of its decisions."""
        self.cluster = cluster
        self._clock = clock
        self.settings = replace(   # nodes on paper are silent when they have nothing to say
            settings or SchedulerSettings(), round_trip_seconds=2 * cluster.latency, bandwidth_bytes_per_second=cluster.bandwidth,
            suspect_seconds=float("inf"), lost_seconds=float("inf"))
        self.brain = Scheduler(self.settings, allocator, cluster=cluster.shared)
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.sequence = 0
        self.nodes: dict[int, PaperNode] = {}
        self.peers: dict[str, int] = {}
        self.submitted: dict[int, tuple[Work, Outcome]] = {}   # by token, in order
        self.work: dict[int, Work] = {}                # by run: those that were not refused
        self.outcomes: dict[int, Outcome] = {}
        self.moved: list[tuple[int, int, str, str, float, float, int]] = []
        self.moved_bytes = 0
        self.asked_at: dict[tuple[int, tuple[int, int]], float] = {}
        self.decision_seconds = 0.0
        self.messages = 0
        self.left = 0                                  # runs that are not over
        self._dirty: dict[int, None] = {}              # nodes to look at, now
        self._reports: dict[int, dict[int, list[tuple[int, int, int, float]]]] = {}
        self._brain_dirty = False
        self._tick_at = float("inf")
        self._flow_at = float("inf")
        self._speeds_known = speeds_known
        for number, spec in enumerate(cluster.nodes, 1):
            self.peers[spec.name] = number
        self.network = Network(cluster.bandwidth, {
            (self.peers[source], self.peers[target]): rate for (source, target), rate in cluster.rates.items()
            if source in self.peers and target in self.peers
        })
        for spec in cluster.nodes:
            self.at(spec.joins_at, self._join, spec)
            if spec.lost_at < float("inf"):
                self.at(spec.lost_at, self._lose, spec)
        hello = Hello(PROTOCOL, "", "", "client", "simulator", b"")
        self.at(0.0, self._tell, Joined(CLIENT, hello))
        self._prepare = prepare

    # ── the clock ───────────────────────────────────────────────────────────

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        """Do this then."""
        self.sequence += 1
        heappush(self.events, (when, self.sequence, act, args))

    def run(self, *work: Work, until: float = float("inf")) -> History:
        """Submit these and let the time pass until all are over (or `until`)."""
        for each in work:
            self.left += 1
            self.at(max(each.at, self.now), self._submit, each)
        first = True
        while self.events and self.left and self.now <= until:
            self.now = self.events[0][0]
            while self.events and self.events[0][0] <= self.now:
                _, _, act, args = heappop(self.events)
                act(*args)
            if first and self._prepare is not None:
                self._prepare(self.brain)
                first = False
            self._settle()
        return self.history()

    def history(self) -> History:
        """What happened so far."""
        names = {peer: node.spec.name for peer, node in self.nodes.items()}
        return History(
            [outcome for _, outcome in self.submitted.values()], self.moved_bytes, self.moved,
            {names[peer]: node.resident_peak for peer, node in self.nodes.items()},
            {names[peer]: node.memory_peak for peer, node in self.nodes.items()},
            self.decision_seconds, self.messages,
        )

    def _settle(self) -> None:
        """Let nodes and brain act on what happened at this moment."""
        while self._dirty:
            peer = next(iter(self._dirty))
            del self._dirty[peer]
            if peer in self.nodes:
                self._act(self.nodes[peer])
        for peer, by_run in self._reports.items():
            for run, rows in by_run.items():
                count = len(rows)
                report = Report(
                    RunId(run), array("I", [row[0] for row in rows]), array("I", [row[1] for row in rows]),
                    array("Q", [row[2] for row in rows]), array("d", [row[3] for row in rows]), array("d", bytes(8 * count)))
                self._say(peer, report)
        self._reports.clear()
        if self._brain_dirty:
            self._brain_dirty = False
            begin = self._clock()
            effects = self.brain.settle(self.now)
            self.decision_seconds += self._clock() - begin
            for effect in effects:
                self._perform(effect)
            deadline = self.brain.deadline
            if deadline is not None and deadline < self._tick_at:
                self._tick_at = deadline
                self.at(max(deadline, self.now), self._tick, deadline)
        flow_at = self.network.next_end() if self.network.flows else float("inf")
        if flow_at < float("inf") and flow_at != self._flow_at:
            self._flow_at = flow_at
            self.at(flow_at, self._flows_end, flow_at)

    def _tick(self, when: float) -> None:
        if when == self._tick_at:
            self._tick_at = float("inf")
        self._tell(Tick())

    # ── the brain ───────────────────────────────────────────────────────────

    def _tell(self, event: Any) -> None:
        begin = self._clock()
        self.brain.take(self.now, event)
        self.decision_seconds += self._clock() - begin
        self._brain_dirty = True

    def _say(self, peer: int, message: Any) -> None:
        """A node says something to the coordinator."""
        self.messages += 1
        self.at(self.now + self.cluster.latency + self.cluster.deciding, self._hear, peer, message)

    def _hear(self, peer: int, message: Any) -> None:
        if peer in self.nodes:
            self._tell(Received(PeerId(peer), message))

    def _perform(self, effect: Any) -> None:
        match effect:
            case Send(peer, message) if peer == CLIENT:
                self._answer(message)
            case Send(peer, message):
                self.messages += 1
                self.at(self.now + self.cluster.latency, self._at_node, peer, message)
            case Close(peer):
                self.nodes.pop(peer, None)

    def _answer(self, message: Any) -> None:
        match message:
            case Accepted(token, run):
                self.work[run], self.outcomes[run] = self.submitted[token]
            case RunDone(run):
                self._over(self.outcomes[run])
            case RunFailed(run):
                self._over(self.outcomes[run], message.text, message.code, message.task)
            case Refused(token=token):
                self._over(self.submitted[token][1], message.text, message.code, message.task)
            case Upload(run, tasks, nodes):
                for task, peer in zip(tasks, nodes, strict=True):
                    delay = 2 * self.cluster.latency + self.work[run].nbytes[task] / self.cluster.bandwidth
                    self.at(self.now + delay, self._uploaded, peer, (run, task))

    def _over(self, outcome: Outcome, failure: str = "", code: str = "", task: int = NOBODY) -> None:
        if outcome.makespan < 0.0:
            outcome.makespan = max(outcome.ended, default=0.0)
            outcome.failure, outcome.code, outcome.task = failure, code, task
            self.left -= 1

    def _submit(self, work: Work) -> None:
        token, total = len(self.submitted), len(work.program.kind)
        self.submitted[token] = (work, Outcome(-1.0, [""] * total, array("d", bytes(8 * total)), array("d", bytes(8 * total))))
        submit = Submit(token, work.name, work.program, body=(b"",) * 0, **(work.options or {}))
        self._tell(Received(CLIENT, submit))

    # ── nodes ───────────────────────────────────────────────────────────────

    def _join(self, spec: Any) -> None:
        peer = PeerId(self.peers[spec.name])
        self.nodes[peer] = PaperNode(peer, spec, self.settings.zero_cost_per_cpu)
        hello = Hello(PROTOCOL, "", "", "node", spec.name, b"", peer=peer, address=("10.0.0.1", peer), capacity=spec.capacity,
                      labels=spec.labels, processes=spec.processes, gpus=spec.gpus)
        self._tell(Joined(peer, hello))
        if self._speeds_known:
            self.brain.ledger.nodes[peer].declare_speed(spec.speed)

    def _lose(self, spec: Any) -> None:
        peer = self.peers[spec.name]
        self.nodes.pop(peer, None)
        for flow in self.network.drop(self.now, peer):
            if flow.target in self.nodes:
                self.nodes[flow.target].asked.pop(flow.what, None)
        self._tell(Lost(PeerId(peer), "it was to be lost now"))

    def _at_node(self, peer: int, message: Any) -> None:
        node = self.nodes.get(peer)
        if node is None:
            return
        self._dirty[peer] = None
        match message:
            case Plan():
                for value, source in node.accept(message):
                    self._ask(node, value, source)
            case Redirect(run, tasks, sources):
                for task, source in zip(tasks, sources, strict=True):
                    if node.redirect((run, task), source):
                        self._ask(node, (run, task), source)
            case Recall(run, tasks, attempts):
                back = [(task, attempt) for task, attempt in zip(tasks, attempts, strict=True) if node.recall((run, task), attempt)]
                if back:
                    self._say(peer, Recalled(run, array("I", [task for task, _ in back]), array("I", [attempt for _, attempt in back])))
            case Release(run, tasks):
                for task in tasks:
                    node.release((run, task))
            case EndRun(run):
                for value in [value for value in node.has if value[0] == run]:
                    node.release(value)

    def _act(self, node: PaperNode) -> None:
        for key in node.startable():
            run, task = key
            work, planned = self.work[run], node.plans[key]
            seconds = work.seconds[task] / node.spec.speed + self.cluster.overhead
            if planned.alternative >= 0 and work.factors:
                seconds *= work.factors.get((work.program.kind[task], planned.alternative), 1.0)
            planned.started = self.now
            self.at(self.now + seconds, self._ended, node.peer, key, planned.attempt)

    def _ended(self, peer: int, key: tuple[int, int], attempt: int) -> None:
        node = self.nodes.get(peer)
        planned = node.plans.get(key) if node is not None else None
        if node is None or planned is None or planned.attempt != attempt:
            return
        run, task = key
        work, outcome = self.work[run], self.outcomes[run]
        nbytes = int(work.nbytes[task])
        node.ended(key, nbytes)
        outcome.nodes[task] = node.spec.name
        outcome.started[task] = planned.started - work.at
        outcome.ended[task] = self.now - work.at
        seconds = self.now - planned.started - self.cluster.overhead
        self._reports.setdefault(peer, {}).setdefault(run, []).append((task, attempt, nbytes, seconds))
        self._dirty[peer] = None
        for other in node.wants.pop(key, ()):
            self._send_value(node, other, key)

    def _uploaded(self, peer: int, key: tuple[int, int]) -> None:
        node = self.nodes.get(peer)
        if node is not None and key in node.plans:
            node.plans[key].started = self.now
            self._ended(peer, key, node.plans[key].attempt)

    # ── results on their way ────────────────────────────────────────────────

    def _ask(self, node: PaperNode, value: tuple[int, int], source: int) -> None:
        self.messages += 1
        self.asked_at[node.peer, value] = self.now
        self.at(self.now + self.cluster.latency, self._wanted, source, node.peer, value)

    def _wanted(self, peer: int, by: int, value: tuple[int, int]) -> None:
        node = self.nodes.get(peer)
        if node is None:
            return
        if value in node.has:
            self._send_value(node, by, value)
        else:
            node.wants.setdefault(value, []).append(by)

    def _send_value(self, node: PaperNode, to: int, value: tuple[int, int]) -> None:
        nbytes = node.has[value]
        self.messages += 1
        if nbytes < self.cluster.latency * self.cluster.bandwidth / 8:    # so small that it only rides along
            self.at(self.now + self.cluster.latency + nbytes / self.cluster.bandwidth, self._value_there, node.peer, to, value, nbytes)
        else:
            self.at(self.now + self.cluster.latency, self._flow_starts, node.peer, to, nbytes, value)

    def _flow_starts(self, source: int, target: int, nbytes: int, value: tuple[int, int]) -> None:
        if source in self.nodes and target in self.nodes:
            self.network.start(self.now, source, target, nbytes, value)

    def _flows_end(self, when: float) -> None:
        if when == self._flow_at:
            self._flow_at = float("inf")
        for flow in self.network.finished(self.now):
            node = self.nodes.get(flow.target)
            if node is not None and flow.source in self.nodes:
                nbytes = int(self.work[flow.what[0]].nbytes[flow.what[1]])
                self._value_there(flow.source, flow.target, flow.what, nbytes)

    def _value_there(self, source: int, target: int, value: tuple[int, int], nbytes: int) -> None:
        node = self.nodes.get(target)
        if node is None:
            return
        asked = self.asked_at.pop((target, value), self.now)
        if value in node.has:
            return
        self.moved_bytes += nbytes
        giver = self.nodes[source].spec.name if source in self.nodes else ""
        self.moved.append((value[0], value[1], giver, node.spec.name, asked, self.now, nbytes))
        if node.asked.get(value) != source and value not in node.waiters:
            return    # released since
        node.arrived(value, nbytes)
        self._dirty[target] = None
        for other in node.wants.pop(value, ()):    # it hands on what others were told to ask it for
            self._send_value(node, other, value)
