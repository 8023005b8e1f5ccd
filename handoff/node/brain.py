"""All that a node decides: what to ask for, what to start where, whom to send what, and what to tell the coordinator.

Reads from the top: what can happen, then what follows. `take` notes one event; `settle` acts once on all that were taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from handoff.columns import Ints
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Close, Dropped, Joined, Lost, Note, Received, Resumed, Send
from handoff.messages import Abandon, Absent, Alive, Collect, EndRun, Message, Plan, Recall, Redirect, Release, Want
from handoff.node.answers import Answers
from handoff.node.claims import Claims
from handoff.node.clocks import Clocks
from handoff.node.crew import Crew
from handoff.node.endings import Endings
from handoff.node.events import (
    Arrived,
    Broke,
    Drop,
    DropRun,
    Finished,
    HandedBack,
    Packing,
    Started,
    Welcomed,
    WorkerDeaf,
    WorkerGone,
    WorkerLoaded,
    WorkerReady,
)
from handoff.node.gpus import Gpu
from handoff.node.invariants import check
from handoff.node.overtime import Overtime
from handoff.node.plans import Plans
from handoff.node.reports import Reports
from handoff.node.stalls import Stalls
from handoff.node.starter import Starter
from handoff.node.state import State
from handoff.node.tables import TARGET
from handoff.node.tracker import ResourceTracker
from handoff.node.wants import Wants
from handoff.resources import SCALE, Amounts
from handoff.settings import NodeSettings

ORPHANED = "the coordinator was out of reach for too long: all that was planned here is void"


class NodeBrain:
    """A node's machine. It promises nothing to anybody before it is welcome, and forgets everything when it is welcomed again."""

    def __init__(
        self, settings: NodeSettings, capacity: Amounts, zero_cost_per_cpu: int = 4, gpus: Sequence[Gpu] | None = None,
        tracker: ResourceTracker | None = None,
    ) -> None:
        cpus = dict(capacity).get("cpu", 0) / SCALE
        self._settings = settings
        self._claims = Claims(capacity, zero_cost_per_cpu * max(1, ceil(cpus)), gpus, tracker, self._tracker_failed)
        self._state = State(settings, self._claims)
        self._crew = Crew(settings, self._claims, cpus, self._state.effects)
        self._clocks = Clocks()
        self._wants = Wants(self._state)
        self._clients: dict[PeerId, None] = {}
        self._answers = Answers(self._state, self._clients)
        self._reports = Reports(self._state, self._answers)
        self._plans = Plans(self._state, self._wants, self._reports)
        self._stalls = Stalls(self._state, self._crew)
        self._overtime = Overtime(self._state, self._crew)
        self._starter = Starter(self._state, self._crew, self._wants, self._clocks, self._stalls, self._overtime)
        self._endings = Endings(self._state, self._crew, self._answers, self._clocks, self._overtime)
        self._heartbeat_at: float | None = None    # None: nobody listens
        self._told_fault = ""                      # what the last heartbeat said of workers that do not come up
        self._heartbeat_seconds = settings.heartbeat_seconds   # more often where the coordinator has less patience
        self._orphaned_at: float | None = None     # when we stop working, while the coordinator is out of reach
        self.deadline: float | None = 0.0          # when it next wants a Tick; at once: the first workers are started

    @property
    def processes(self) -> int:
        """How many tasks that take less than a core, or GPU, run here at once, whatever there is of what they take."""
        return self._crew.most

    def handle(self, now: float, event: object) -> list[object]:
        """Take one event and act on it."""
        self.take(now, event)
        return self.settle(now)

    # ── what can happen ─────────────────────────────────────────────────────

    def take(self, now: float, event: object) -> None:
        """Note what happened. Alarms ring in `settle`, whatever the event was."""
        self._state.now = now
        match event:
            case Finished():
                self._endings.finished(event)
            case Received(peer, message):
                if self._state.me is not None:
                    self._hear(now, peer, message)
            case Arrived(peer, run, tasks, nbytes):
                self._arrived(peer, run, tasks, nbytes)
            case Broke():
                self._endings.broke(event)
            case HandedBack():
                self._endings.handed_back(event)
            case Started():
                self._endings.started(now, event)
            case Packing():
                self._answers.packing(event)
            case WorkerReady(worker):
                self._crew.ready(worker)
            case WorkerLoaded(worker):
                self._crew.loaded(worker)
            case WorkerDeaf(worker):
                self._stalls.deaf(now, worker)
            case WorkerGone():
                self._endings.gone(now, event)
            case Lost(peer) if peer == COORDINATOR:
                self._void(now)
            case Lost(peer):
                self._clients.pop(peer, None)
                self._answers.lost(peer)
                self._wants.lost(now, peer)
            case Joined(peer, hello):
                if hello.role == "client":
                    self._clients[peer] = None
            case Dropped(peer) if peer == COORDINATOR:
                if self._state.me is not None:
                    self._heartbeat_at = None  # heartbeats would only pile up in the session
                    self._orphaned_at = now + self._settings.orphan_seconds
            case Resumed(peer) if peer == COORDINATOR:
                if self._state.me is not None:
                    self._heartbeat_at, self._orphaned_at = now, None
            case Welcomed(me, seconds):
                self._void(now)
                self._state.me = me
                own = self._settings.heartbeat_seconds
                self._heartbeat_at, self._heartbeat_seconds = now, min(own, seconds) if seconds > 0.0 else own
            case _:
                pass  # a Tick: its alarm rings in `settle`

    def _hear(self, now: float, peer: PeerId, message: Message) -> None:
        if peer != COORDINATOR:
            if self._wants.outages:
                self._wants.heard(peer)
            match message:
                case Want(run, tasks):
                    self._answers.want(peer, run, tasks)
                    self._forget_strangers(now)
                case Collect(run):
                    self._answers.collect(peer, run)
                    self._forget_strangers(now)
                case Absent(run, tasks):
                    self._wants.absent(peer, run, tuple(tasks))
                case _:
                    pass
            return
        match message:
            case Plan():
                self._plans.accept(message)
                if message.collector in self._clients:
                    self._answers.expect(message.collector, message.run, message.token)
            case Recall():
                self._plans.recall(message)
            case Abandon():
                self._endings.abandon(now, message)
            case Redirect():
                self._wants.redirect(message)
            case Release(run, tasks):
                self._release(run, tasks)
            case EndRun(run):
                self._end(now, run)
            case _:
                pass  # Peers and code are the shell's business

    # ── what follows ────────────────────────────────────────────────────────

    def _arrived(self, peer: PeerId, run: RunId, tasks: tuple[int, ...], nbytes: tuple[int, ...]) -> None:
        """Values from elsewhere are here: those that a node was asked for, and objects, which may come before their plan."""
        state, is_client = self._state, peer in self._clients
        table = state.runs.get(run)
        if state.me is None or (table is None and (state.is_over(run) or not is_client)):
            state.drop(run, list(tasks))
            return
        if self._wants.outages:
            self._wants.heard(peer)
        if table is None:
            table = state.table(run)
        for task, count in zip(tasks, nbytes, strict=True):
            if not is_client:
                table.fetched += count
            if task in table.size:
                if table.asked.get(task) == peer and not state.fits(table, task, state.me):
                    self._wants.ask(table, task, peer)  # the place was taken by one that was made for another node
                continue
            entry = table.plans.get(task)
            if entry is not None and entry[TARGET] != NOBODY and table.asked.get(task) != peer:
                state.drop(run, [task])  # it is made here since, for where its consumer is to run now
                continue
            if not (is_client or task in table.asked or task in table.waiters or task in table.objects):
                state.drop(run, [task])  # it was asked for once, and released since
                continue
            table.asked.pop(task, None)
            table.size[task] = count
            if task in table.senders:
                table.senders[task] = peer
            if run in state.drops:
                state.drops[run].pop(task, None)
            if task in table.objects:
                self._reports.complete(table, task, count)
            state.count_down(table, task)
            if task in table.wants:
                self._answers.exists(table, task)

    def _release(self, run: RunId, tasks: Ints) -> None:
        """Nobody needs these any more. (What a task here takes nevertheless is asked for again when its turn comes.)"""
        table = self._state.runs.get(run)
        if table is None:
            return
        dropped = []
        for task in tasks:
            if table.size.pop(task, None) is not None:
                dropped.append(task)
                table.tailored.pop(task, None)
            if task in table.senders:
                table.senders[task] = NOBODY
            if task in table.asked and self._wants.released(table, task):
                dropped.append(task)      # there may be memory for it already
            table.redirected.pop(task, None)
            self._answers.released(table, task)
        if dropped:
            self._state.drop(run, dropped)

    def _end(self, now: float, run: RunId, is_over: bool = True) -> None:
        """The run is over: what runs of it is ended, all of it is forgotten."""
        self._answers.forget(run)
        table = self._state.forget(run, is_over)
        self._state.effects.append(DropRun(run))
        for worker in list(self._crew.workers.values()):
            self._endings.end(now, worker, run, table)

    def _forget_strangers(self, now: float) -> None:
        for run in self._state.strangers_beyond():
            self._end(now, run, is_over=False)   # it may come to be, or all that come may have lower numbers

    def _void(self, now: float) -> None:
        """All that came before counts for nothing: stop, free everything, and wait to be welcome."""
        state = self._state
        for run in list(state.runs):
            self._end(now, run)
        for worker in list(self._crew.workers.values()):
            if worker.batches and not worker.is_killed:
                self._endings.kill(worker, "all runs are over")
        state.forget_endings()
        self._wants.forget()
        self._clients.clear()
        state.me = None
        self._heartbeat_at = self._orphaned_at = None

    # ── acting ──────────────────────────────────────────────────────────────

    def settle(self, now: float) -> list[object]:
        """Act on all that was taken."""
        state = self._state
        state.now = now
        if self.deadline is not None and now >= self.deadline:
            self._ring(now)
        self._starter.start(now)
        wants, answers = self._wants, self._answers    # in most turns there is little of all that
        if wants.queued:
            wants.flush()
        if answers.asked:
            answers.flush()
        reports = self._reports.flush(now) if state.reporting else []
        if answers.outputs:
            answers.flush_outputs()
        state.effects.extend(reports)   # the last: a client may wait for its outputs, and every write costs as much as a decision
        if state.drops:
            for run, tasks in state.drops.items():
                if tasks:
                    state.effects.append(Drop(run, tuple(tasks)))
            state.drops = {}
        is_news = self._crew.fault != self._told_fault    # whether work is welcome here
        if self._heartbeat_at is not None and (is_news or now >= self._heartbeat_at):
            self._heartbeat_at, self._told_fault = now + self._heartbeat_seconds, self._crew.fault
            state.effects.append(Send(COORDINATOR, self._alive()))
        first = self._overtime.deadline
        for alarm in (
            self._heartbeat_at, self._orphaned_at, self._crew.deadline, self._stalls.deadline,
            self._clocks.deadline if self._clocks.alarms else None,
            wants.deadline if wants.outages else None,
            self._reports.deadline if state.reporting else None,
        ):
            if alarm is not None and (first is None or alarm < first):
                first = alarm
        self.deadline = first
        effects = state.effects[:]
        state.effects.clear()  # the list itself is shared
        return effects

    def _ring(self, now: float) -> None:
        """Whatever has waited for this moment."""
        if self._orphaned_at is not None and now >= self._orphaned_at:
            self._void(now)
            self._state.effects.append(Close(COORDINATOR, ORPHANED))    # resumed, it would be told of work that is no more
        for batch in self._clocks.due(now):
            self._endings.out_of_time(now, batch)
        self._wants.retry(now)
        self._stalls.look(now)
        self._overtime.look(now)

    def _alive(self) -> Alive:
        running = sum(len(worker.batches) if worker.is_asyncio else bool(worker.batches) for worker in self._crew.workers.values())
        planned = sum(len(table.plans) for table in self._state.runs.values())
        return Alive(self._claims.amounts(), running, max(0, planned - running), fault=self._crew.fault)

    def _tracker_failed(self, tracker: ResourceTracker, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        fields = (("tracker", type(tracker).__name__), ("reason", reason), ("note", "going on with the node's own count"))
        self._state.effects.append(Note("error", "tracker.failed", fields))

    def check(self) -> None:
        """Raise InvariantViolation unless every task is in one place and the claims are those of what runs."""
        check(self._state, self._crew)
