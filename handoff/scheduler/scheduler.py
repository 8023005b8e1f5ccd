"""The coordinator's brain: what can happen to a cluster, and what follows from it."""

from __future__ import annotations

from array import array
from dataclasses import replace
from heapq import heappop
from typing import Any

from handoff.errors import ProtocolError
from handoff.ids import PeerId, RunId
from handoff.log import log
from handoff.machine import Close, Dropped, Joined, Lost, Received, Resumed, Send, Tick
from handoff.messages import (
    Accepted,
    Alive,
    Answer,
    Ask,
    Bye,
    Cancel,
    Failed,
    Forget,
    Hello,
    Missing,
    Output,
    Placed,
    Progress,
    Recalled,
    Refused,
    Report,
    RunDone,
    RunFailed,
    Submit,
    Unreachable,
)
from handoff.scheduler import losses, retries, views
from handoff.scheduler.allocator import Allocator, Desk
from handoff.scheduler.feasible import obstacle
from handoff.scheduler.greedy import Greedy
from handoff.scheduler.invariants import check
from handoff.scheduler.ledger import Client, Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.recall import recall_for_idle_nodes
from handoff.scheduler.reports import take_report
from handoff.scheduler.runs import DELAYED, DONE, GONE, WAITING, Run, check_program
from handoff.settings import SchedulerSettings

HISTORY_MAX = 1000   # runs that are over and forgotten, but still listed


class Scheduler:
    """Told what happened (`take`), it says once for all of it what to do (`settle`). `handle` does both for one event."""

    def __init__(self, settings: SchedulerSettings, allocator: Allocator | None = None, first_run: int = 1) -> None:
        self.settings = settings
        self.allocator: Allocator = allocator or Greedy()
        self.ledger = Ledger(settings)
        self._next_run = first_run
        self._look_at = float("inf")                  # when to look for silent nodes again
        self._is_changed = False                      # something may be placed that could not be before
        self._touched: dict[RunId, Run] = {}          # runs about which there may be something to say
        self._kept: dict[int, tuple[RunFailed, dict[str, Any]]] = {}  # detached runs that failed: for who attaches later

    # ── the shape of a brain ────────────────────────────────────────────────

    @property
    def deadline(self) -> float | None:
        """When the next pause, timeout or silence is due."""
        due = min(self.ledger.timers[0][0] if self.ledger.timers else float("inf"), self._look_at)
        return None if due == float("inf") else due

    def handle(self, now: float, event: Any) -> list[Send | Close]:
        """Take one event, and do what follows."""
        self.take(now, event)
        return self.settle(now)

    def take(self, now: float, event: Any) -> None:
        """Note what happened."""
        match event:
            case Received(peer, message):
                node = self.ledger.nodes.get(peer)
                if node is not None:
                    self._hear(now, node)
                    self._take_from_node(now, node, message)
                elif peer in self.ledger.clients:
                    self._take_from_client(now, peer, message)
            case Joined(peer, hello):
                self._join(now, peer, hello)
            case Dropped(peer):
                self._drop(now, peer)
            case Resumed(peer):
                self._resume(now, peer)
            case Lost(peer, reason):
                self._lose(now, peer, reason)
            case Tick():
                pass   # what is due is done in `settle`

    def settle(self, now: float) -> list[Send | Close]:
        """Do what is due, place what can be placed, say what is to be said."""
        ledger = self.ledger
        if self._look_at <= now:
            self._look_for_silence(now)
        while ledger.timers and ledger.timers[0][0] <= now:
            _, _, what, first, second, third = heappop(ledger.timers)
            self._remember(now, what, first, second, third)
        if self._is_changed:
            self._is_changed = False
            self._allocate(now)
            recall_for_idle_nodes(now, ledger)
        for run in self._touched.values():
            if run.run in ledger.runs:
                if run.done == run.total and not run.is_over:
                    self._complete(now, run)
                elif run.client is not None and not run.is_over:
                    self._tell_progress(now, run)
        self._touched.clear()
        return ledger.out.flush()

    def check(self) -> None:
        """Raise InvariantViolation when the tables contradict each other; for tests."""
        check(self.ledger)

    # ── what nodes say ──────────────────────────────────────────────────────

    def _take_from_node(self, now: float, node: Node, message: Any) -> None:
        match message:
            case Report():
                run = take_report(now, self.ledger, node, message)
                if run is not None:
                    self._touch(run)
            case Alive():
                node.free, node.running, node.queued = message.free, message.running, message.queued
            case Failed():
                self._fail_attempt(now, node, message)
            case Recalled():
                self._take_back(node, message)
            case Unreachable():
                losses.unreachable(self.ledger, node, message)
                self._touch(self.ledger.runs.get(message.run))
            case Output():
                run = self.ledger.runs.get(message.run)
                if run is not None:
                    self.ledger.out.send(run.client, replace(message, node=node.name))
            case Bye():
                self._lose(now, node.peer, message.reason or "it left")

    def _fail_attempt(self, now: float, node: Node, failed: Failed) -> None:
        run = self.ledger.runs.get(failed.run)
        if run is None or not run.is_current(node.peer, failed.task, failed.attempt):
            return
        task = failed.task
        kind = run.kinds[run.kind[task]]
        self.ledger.unplan(run, task)
        may_again = retries.count_failure(run, kind, failed, self.settings)
        failures = run.failures[task]
        if not may_again:
            log.info("task.failed", run=run.run, task=task, name=kind.name, node=node.name, attempt=failures, cause=failed.cause, type=failed.type)
            self._fail(now, run, RunFailed(
                run.run, "FunctionFailed", retries.sentence(kind, failed, node.name, failures), task, node.name, failures,
                failed.type or failed.cause, failed.traceback, failed.body,
            ))
            return
        if failed.cause == "unloadable":
            run.avoid.setdefault(task, set()).add(node.peer)   # another node may have the module
        if run.crashes.get(task, 0) >= 2:
            self.ledger.make_alone(run, task)
        self.ledger.delay(run, task, now + retries.pause(failures, self.settings))
        self._touch(run)

    def _take_back(self, node: Node, recalled: Recalled) -> None:
        node.recalled_at = float("-inf")
        run = self.ledger.runs.get(recalled.run)
        if run is None:
            return
        back = [
            task for task, attempt in zip(recalled.tasks, recalled.attempts, strict=False) if run.is_current(node.peer, task, attempt)
        ]
        for task in back:
            self.ledger.unplan(run, task)
        for task in back:
            self.ledger.consider(run, task)
        self._touch(run)

    # ── what clients say ────────────────────────────────────────────────────

    def _take_from_client(self, now: float, peer: PeerId, message: Any) -> None:
        ledger = self.ledger
        match message:
            case Submit():
                self._submit(now, peer, message)
            case Forget(number):
                self._kept.pop(number, None)
                run = ledger.runs.get(number)
                if run is not None and run.client == peer:
                    self._end(now, run, "done" if run.is_over else "cancelled")
            case Cancel(number, reason):
                run = ledger.runs.get(number)
                if run is not None:
                    self._fail(now, run, RunFailed(number, "RunCancelled", f"the run was cancelled: {reason}" if reason else "the run was cancelled"))
            case Missing(number, tasks):
                run = ledger.runs.get(number)
                if run is not None and run.client == peer:
                    losses.missing_outputs(ledger, run, [task for task in tasks if task < run.total])
                    self._touch(run)
            case Ask():
                self._answer(now, peer, message)
            case Bye(reason):
                self._lose(now, peer, reason or "it left")

    def _submit(self, now: float, peer: PeerId, submit: Submit) -> None:
        ledger, program = self.ledger, submit.program
        number = RunId(self._next_run)
        total = len(program.kind)
        if ledger.tasks + total > self.settings.tasks_max:
            text = f"{total} tasks are too many: {ledger.tasks} are in unfinished runs, and {self.settings.tasks_max} may be at once (tasks_max)"
            ledger.out.send(peer, Refused("ExecutionError", text, submit.token))
            return
        try:
            check_program(program)
            run = Run(number, submit, peer, now)
            ledger.codes.add(program.codes, submit.body)
        except ProtocolError as wrong:
            ledger.out.send(peer, Refused("ProtocolError", str(wrong), submit.token))
            return
        nodes = list(ledger.nodes.values())
        if nodes and not submit.wait_for_nodes:
            found = obstacle(program, range(len(program.kinds)), nodes)
            if found is not None and not found.is_absence:
                ledger.codes.release(program.codes)
                ledger.out.send(peer, Refused(found.code, found.text, submit.token, _first(program.kind, found.kind)))
                return
        self._next_run += 1
        ledger.out.send(peer, Accepted(submit.token, number))
        ledger.add_run(run)
        ledger.clients[peer].runs[number] = None
        self._see_what_is_unmet(now, run)
        if run.timeout > 0.0:
            ledger.remind(now + run.timeout, "timeout", number)
        self._touch(run)

    def _answer(self, now: float, peer: PeerId, ask: Ask) -> None:
        ledger, run = self.ledger, self.ledger.runs.get(ask.run)
        data: Any = None
        match ask.topic:
            case "nodes":
                data = views.nodes(ledger)
            case "runs":
                data = views.runs(ledger, now)
            case "run" if run is not None:
                data = {**views.run_line(ledger, run, now), "waits_for": views.waits_for(ledger, run)}
            case "run" if ask.run in ledger.history:
                data = {**ledger.history[ask.run], "waits_for": ""}
            case "timeline" if run is not None:
                data = views.timeline(ledger, run)
            case "attach" if run is not None:
                self._attach(peer, run, ask.token)
                return
            case "attach" if ask.run in self._kept:
                failed, data = self._kept[ask.run]
                ledger.out.send(peer, Answer(ask.token, data))
                ledger.out.send(peer, failed)
                return
        if data is None:
            text = f"there is no run {ask.run}" if ask.topic in ("run", "timeline", "attach") else f"there is nothing to say about {ask.topic!r}"
            ledger.out.send(peer, Refused("ExecutionError", text, ask.token))
        else:
            ledger.out.send(peer, Answer(ask.token, data))

    def _attach(self, peer: PeerId, run: Run, token: int) -> None:
        """This client takes over the run: it is told all that the first one was told."""
        ledger = self.ledger
        if run.client in ledger.clients and run.client is not None:
            ledger.clients[run.client].runs.pop(run.run, None)
        run.client = peer
        ledger.clients[peer].runs[run.run] = None
        ledger.out.send(peer, Answer(token, self._attached(run)))
        living = [node for node in run.nodes if node in ledger.nodes]
        run.placed = set(living)
        ledger.out.introduce_to_client(peer, living)
        if living:
            ledger.out.send(peer, Placed(run.run, array("I", living)))
        for task in range(run.total) if not run.plain else ():
            if run.is_object(task) and run.is_planned(task):
                ledger.out.upload(run, task)
        if run.is_over:
            self._say_done(run)
        self._touch(run)

    @staticmethod
    def _attached(run: Run, state: str = "") -> dict[str, Any]:
        return {"ids": run.ids, "total": run.total, "outputs": list(run.outputs()), "state": state or views.state_of(run)}

    # ── who comes and goes ──────────────────────────────────────────────────

    def _join(self, now: float, peer: PeerId, hello: Hello) -> None:
        ledger = self.ledger
        if hello.role != "node":
            client = ledger.clients[peer] = Client(peer, hello.name)
            ledger.client_knows[peer] = client.knows
            return
        before = ledger.by_name.get(hello.name)
        if before is not None:
            ledger.out.close(before.peer, f"node {hello.name!r} came back as a new process")
            self._lose_node(now, before, "it came back as a new process")
        node = Node(peer, hello, now, self.settings.zero_cost_per_cpu)
        ledger.nodes[peer] = ledger.by_name[hello.name] = node
        ledger.out.names[peer] = (hello.name, hello.address)
        self._look_at = min(self._look_at, now + self.settings.suspect_seconds)
        log.info("node.joined", node=node.name, peer=peer)
        self._see_what_is_unmet_everywhere(now)
        self._is_changed = True

    def _hear(self, now: float, node: Node) -> None:
        node.heard = now
        if node.state == "suspect" and node.dropped_at is None:
            node.state = "ready"
            self._is_changed = True
            self._look_at = min(self._look_at, now + self.settings.suspect_seconds)

    def _drop(self, now: float, peer: PeerId) -> None:
        node = self.ledger.nodes.get(peer)
        if node is not None:
            node.dropped_at, node.state = now, "suspect"
            self._look_at = min(self._look_at, now + self.settings.lost_seconds)
        client = self.ledger.clients.get(peer)
        if client is not None:
            client.lost_at = now + self.settings.client_grace_seconds
            self.ledger.remind(client.lost_at, "client", peer)

    def _resume(self, now: float, peer: PeerId) -> None:
        node = self.ledger.nodes.get(peer)
        if node is not None:
            node.dropped_at = None
            self._hear(now, node)
        client = self.ledger.clients.get(peer)
        if client is not None:
            client.lost_at = None

    def _lose(self, now: float, peer: PeerId, reason: str) -> None:
        node = self.ledger.nodes.get(peer)
        if node is not None:
            self._lose_node(now, node, reason)
        elif peer in self.ledger.clients:
            self._lose_client(now, peer)

    def _lose_node(self, now: float, node: Node, reason: str) -> None:
        log.warning("node.lost", node=node.name, peer=node.peer, reason=reason)
        concerned = [run for run in self.ledger.runs.values() if node.peer in run.nodes]
        for run, failed in losses.lose_node(self.ledger, node, reason):
            self._fail(now, run, failed)
        for run in concerned:
            self._touch(run)
        self._see_what_is_unmet_everywhere(now)
        self._is_changed = True

    def _lose_client(self, now: float, peer: PeerId) -> None:
        ledger = self.ledger
        client = ledger.clients.pop(peer)
        ledger.client_knows.pop(peer, None)
        for number in list(client.runs):
            run = ledger.runs[number]
            run.client = None
            run.placed = set()
            if not run.detach:
                self._end(now, run, "cancelled")
                continue
            for task in range(run.total) if not run.plain else ():
                if run.is_object(task) and run.state[task] not in (DONE, GONE):
                    self._fail(now, run, RunFailed(number, "ResultLost", "the client left before it had uploaded all values", task))
                    break
            else:
                losses.missing_outputs(ledger, run, [task for task in run.tasks_in(GONE)])
                self._touch(run)

    def _look_for_silence(self, now: float) -> None:
        """Nodes that are silent get no more work, then are given up."""
        suspect_after, lost_after = self.settings.suspect_seconds, self.settings.lost_seconds
        self._look_at = float("inf")
        for node in list(self.ledger.nodes.values()):
            since = node.heard if node.dropped_at is None else node.dropped_at
            if since + lost_after <= now:
                reason = f"{'silent' if node.dropped_at is None else 'disconnected'} for {now - since:.1f} s"
                self.ledger.out.close(node.peer, reason)
                self._lose_node(now, node, reason)
                continue
            if since + suspect_after <= now:
                node.state = "suspect"
            self._look_at = min(self._look_at, since + (lost_after if node.state == "suspect" else suspect_after))

    # ── what a run needs and nobody offers ──────────────────────────────────

    def _see_what_is_unmet_everywhere(self, now: float) -> None:
        for run in list(self.ledger.runs.values()):
            self._see_what_is_unmet(now, run)

    def _see_what_is_unmet(self, now: float, run: Run) -> None:
        """Note that a run needs what no node offers, and since when; it is given up after a while."""
        found = None if run.done == run.total else self._obstacle(run)
        before, run.unmet = run.unmet, found.text if found is not None else ""
        if found is None:
            run.unmet_since = None
        elif run.unmet_since is None or not before:
            run.unmet_since = now
            if not run.wait_for_nodes:
                self.ledger.remind(now + self.settings.node_timeout_seconds, "unmet", run.run)
        if before != run.unmet:
            self._touch(run)

    def _obstacle(self, run: Run) -> Any:
        kinds = [index for index in range(len(run.program.kinds)) if run.left[index] or (index in run.alone and run.left[run.alone[index]])]
        return obstacle(run.program, kinds, list(self.ledger.nodes.values()))

    def _give_up_waiting(self, now: float, run: Run) -> None:
        if run.unmet_since is None or now < run.unmet_since + self.settings.node_timeout_seconds:
            return
        found = self._obstacle(run)
        if found is not None:
            text = f"{found.text}; waited {self.settings.node_timeout_seconds:g} s"
            self._fail(now, run, RunFailed(run.run, found.code, text, _first(run.program.kind, found.kind)))

    # ── clocks ──────────────────────────────────────────────────────────────

    def _remember(self, now: float, what: str, first: int, second: int, third: int) -> None:
        """Something is due that was noted down with `remind`."""
        run = self.ledger.runs.get(first)
        match what:
            case "retry" if run is not None:
                if run.state[second] == DELAYED and run.attempt[second] == third:
                    run.state[second] = WAITING
                    self.ledger.consider(run, second)
                    self._is_changed = True
            case "timeout" if run is not None and not run.is_over:
                self._fail(now, run, RunFailed(
                    run.run, "RunTimeout", f"the run took longer than {run.timeout:g} s; {run.done} of {run.total} tasks were done"))
            case "unmet" if run is not None:
                self._give_up_waiting(now, run)
            case "progress" if run is not None:
                run.progress_due = False
                self._touch(run, is_changed=False)
            case "client":
                client = self.ledger.clients.get(first)
                if client is not None and client.lost_at is not None and client.lost_at <= now:
                    self.ledger.out.close(client.peer, f"disconnected for {self.settings.client_grace_seconds:g} s")
                    self._lose_client(now, client.peer)

    def _touch(self, run: Run | None, is_changed: bool = True) -> None:
        if run is not None:
            self._touched[run.run] = run
            self._is_changed |= is_changed

    def _allocate(self, now: float) -> None:
        try:
            self.allocator.allocate(now, Desk(now, self.ledger))
        except Exception as wrong:
            if isinstance(self.allocator, Greedy):
                raise
            # An allocator of the user's own may be wrong, but not stop the cluster.
            log.error("allocator.failed", allocator=type(self.allocator).__name__, reason=f"{type(wrong).__name__}: {wrong}")
            Greedy().allocate(now, Desk(now, self.ledger))

    # ── how runs go on and end ──────────────────────────────────────────────

    def _tell_progress(self, now: float, run: Run) -> None:
        """Say how far it is, but not too often."""
        if run.progress_due:
            return
        if now < run.progress_at + self.settings.progress_seconds:   # added as below: a difference could round below it for ever
            run.progress_due = True
            self.ledger.remind(run.progress_at + self.settings.progress_seconds, "progress", run.run)
            return
        said = (run.done, run.planned, views.waits_for(self.ledger, run))
        if said != run.progress_said:
            run.progress_said, run.progress_at = said, now
            self.ledger.out.send(run.client, Progress(run.run, run.done, run.planned, run.total, said[2]))

    def _complete(self, now: float, run: Run) -> None:
        run.is_over = True
        run.seconds_total = now - run.submitted
        self.ledger.tasks -= run.total
        self._say_done(run)

    def _say_done(self, run: Run) -> None:
        if run.client is not None:
            places = run.places()
            self.ledger.out.introduce_to_client(run.client, places)
            self.ledger.out.send(run.client, RunDone(run.run, places, run.bytes_moved))

    def _fail(self, now: float, run: Run, failed: RunFailed) -> None:
        self.ledger.out.send(run.client, failed)
        if run.client is None:
            self._kept[run.run] = (failed, self._attached(run, "failed"))
            if len(self._kept) > HISTORY_MAX:
                del self._kept[next(iter(self._kept))]
        self._end(now, run, "cancelled" if failed.code == "RunCancelled" else "failed")

    def _end(self, now: float, run: Run, state: str) -> None:
        """Nothing of it stays but a line for people."""
        history = self.ledger.history
        history[run.run] = views.run_line(self.ledger, run, now, state)
        if len(history) > HISTORY_MAX:
            del history[next(iter(history))]
        self.ledger.end_run(run)
        self._is_changed = True


def _first(column: array[int], value: int) -> int:
    return column.index(value)
