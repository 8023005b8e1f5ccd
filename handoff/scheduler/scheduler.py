"""The coordinator's brain: what can happen to a cluster, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop
from typing import Any

from handoff.greetings import DRAINED
from handoff.ids import PeerId, RunId
from handoff.machine import Close, Dropped, Joined, Lost, Note, Received, Resumed, Send, Unsaid
from handoff.messages import (
    Accepted,
    Alive,
    Ask,
    Bye,
    Cancel,
    Coming,
    Drain,
    Failed,
    Forget,
    Hello,
    Missing,
    Output,
    Recalled,
    Refused,
    Report,
    RunFailed,
    Submit,
    Unreachable,
)
from handoff.resources import Amounts
from handoff.scheduler import apart, draining, faults, following, forgotten, lifetimes, losses, nearing, retries, speculation, twins
from handoff.scheduler.allocator import Allocator, Desk
from handoff.scheduler.answers import answer
from handoff.scheduler.clients import Client
from handoff.scheduler.endings import complete, end, fail, fail_lost, leave_unsaid, run_out_of_time, tell_progress
from handoff.scheduler.greedy import Greedy
from handoff.scheduler.invariants import check
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.recall import recall_for_idle_nodes, recall_from_late, recall_stranded, take_back
from handoff.scheduler.reports import take_report
from handoff.scheduler.runs import DELAYED, DONE, GONE, WAITING
from handoff.scheduler.silence import Silence
from handoff.scheduler.waiting import give_up_waiting, see_what_is_unmet, see_what_is_unmet_everywhere
from handoff.settings import SchedulerSettings


class Scheduler:
    """Told what happened (`take`), it says once for all of it what to do (`settle`). `handle` does both for one event."""

    def __init__(
        self, settings: SchedulerSettings, allocator: Allocator | None = None, first_run: int = 1, cluster: Amounts = (),
    ) -> None:
        self.settings = settings
        self.allocator: Allocator = allocator or Greedy()
        self.ledger = Ledger(settings, cluster)
        self.ledger.plans_all = getattr(self.allocator, "plans_all", False)
        self.ledger.allocator = type(self.allocator).__name__
        self.ledger.ready.is_whole = not isinstance(self.allocator, Greedy)
        self._next_run = first_run
        self._silence = Silence(settings)
        self._forgotten = forgotten.Forgotten(self.ledger)
        self._coming_until: float | None = None   # from when the first comes whom a former process let in: other nodes are on their way

    # ── the shape of a brain ────────────────────────────────────────────────

    @property
    def deadline(self) -> float | None:
        """When the next pause, timeout or silence is due."""
        ledger = self.ledger
        due = min(ledger.timers[0][0] if ledger.timers else float("inf"), self._silence.look_at, self._forgotten.look_at,
                  ledger.out.say_at, ledger.out.release_at)
        return None if due == float("inf") else due

    def handle(self, now: float, event: Any) -> list[Send | Close | Note]:
        """Take one event, and do what follows."""
        self.take(now, event)
        return self.settle(now)

    def take(self, now: float, event: Any) -> None:
        """Note what happened. Of a Tick nothing is to be noted: what is due is done in `settle`."""
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
            case Unsaid(peer, message, reason):
                leave_unsaid(self.ledger, now, peer, message, reason)

    def settle(self, now: float) -> list[Send | Close | Note]:
        """Do what is due, place what can be placed, say what is to be said."""
        ledger = self.ledger
        if self._silence.look_at <= now:
            for node, reason in self._silence.look(now, ledger):
                ledger.out.close(node.peer, reason)
                self._lose_node(now, node, reason)
        while ledger.timers and ledger.timers[0][0] <= now:
            _, _, what, first, second, third = heappop(ledger.timers)
            self._remember(now, what, first, second, third)
        self._forgotten.settle(now)
        for node in draining.leavers(ledger, now) if ledger.leaving else ():   # nothing needs them, or their time is over
            ledger.out.close(node.peer, DRAINED)
            self._lose_node(now, node, "it was drained")
        if ledger.lost:
            fail_lost(ledger, now)
        if ledger.is_changed:
            ledger.is_changed = False
            if ledger.following:
                following.correct(now, ledger)
            if not (ledger.ready.is_idle(ledger.nodes.values()) and isinstance(self.allocator, Greedy)):
                self._allocate(now)
                recall_for_idle_nodes(now, ledger)
            if ledger.stranded:
                recall_stranded(ledger)
        for run in ledger.touched.values():
            if run.run in ledger.runs:
                if run.done == run.total and not run.is_over:
                    complete(ledger, now, run)
                elif run.client is not None and not run.is_over:
                    tell_progress(ledger, now, run)
        ledger.touched.clear()
        orphans = [(run, tasks[0]) for run, tasks in ledger.out.uploads.values() if run.client is None] if ledger.out.uploads else ()
        effects = ledger.out.flush(now)
        for run, task in orphans:   # after what was planned is said, so that it is taken back everywhere
            text = "a value that its client uploaded was lost with its node, and that client is gone"
            fail(ledger, now, run, RunFailed(run.run, "ResultLost", text, task))
        return effects + ledger.out.flush(now) if orphans else effects

    def check(self) -> None:
        """Raise InvariantViolation when the tables contradict each other; for tests."""
        check(self.ledger)

    # ── what nodes say ──────────────────────────────────────────────────────

    def _take_from_node(self, now: float, node: Node, message: Any) -> None:
        match message:
            case Report():
                self.ledger.touch(take_report(now, self.ledger, node, message))
            case Coming():
                self.ledger.touch(nearing.take_word(now, self.ledger, node, message))
            case Alive():
                node.free, node.running, node.queued = message.free, message.running, message.queued
                faults.hear(self.ledger, now, node, message.fault)
                if node.ahead:     # what takes longer than it should holds up the rest, and nobody else would say so
                    node.note_change()
                    self.ledger.is_changed = True
                for source, nbytes, seconds in zip(message.sources, message.moved_bytes, message.moved_seconds, strict=True):
                    if source in self.ledger.out.names:
                        self.ledger.links.observe(self.ledger.out.names[source][0], node.name, nbytes, seconds)
            case Failed():
                self._fail_attempt(now, node, message)
            case Recalled():
                take_back(self.ledger, now, node, message)
            case Unreachable():
                run = self.ledger.runs.get(message.run)
                failed = losses.unreachable(self.ledger, now, node, message)
                if run is not None and failed is not None:
                    fail(self.ledger, now, run, failed)
                self.ledger.touch(self.ledger.runs.get(message.run))
            case Output():
                if (run := self.ledger.runs.get(message.run)) is not None:
                    self.ledger.out.send(run.client, replace(message, node=node.name))
            case Drain():
                draining.begin(self.ledger, now, node, message.seconds)
            case Bye():
                self._lose(now, node.peer, message.reason or "it left")

    def _fail_attempt(self, now: float, node: Node, failed: Failed) -> None:
        run = self.ledger.runs.get(failed.run)
        if run is None:
            return
        retries.note_vain(now, run, node, failed)
        if self.ledger.lay_ghost(run, node.peer, failed.task):
            self.ledger.touch(run)
        if run.twins and twins.ended(self.ledger, run, node.peer, failed.task, failed.attempt):
            self.ledger.touch(run)
            return
        if not run.is_current(node.peer, failed.task, failed.attempt):
            return
        task = failed.task
        kind, tried = run.kinds[run.kind[task]], run.tried(task)
        self.ledger.unplan(run, task)
        if node.leaves or node.fault:
            draining.unbind(self.ledger, run, task)
        may_again = retries.count_failure(run, kind, failed, self.settings)
        if not may_again:
            self.ledger.out.note(
                "info", "task.failed", run=run.run, task=task, name=kind.name, node=node.name, attempt=tried, cause=failed.cause
            )
            fail(self.ledger, now, run, RunFailed(
                run.run, "FunctionFailed", retries.sentence(kind, failed, node.name, tried), task, node.name, tried,
                failed.type or failed.cause, failed.traceback, failed.body,
            ))
            return
        if failed.cause == "unloadable":
            run.avoid.setdefault(task, set()).add(node.peer)   # another node may have the module
        if run.crashes.get(task, 0) >= 2:
            lifetimes.make_alone(self.ledger, run, task)
        run.state[task] = DELAYED
        self.ledger.remind(now + retries.pause(run.failures[task], self.settings), "retry", run.run, task, run.attempt[task])
        self.ledger.touch(run)

    # ── what clients say ────────────────────────────────────────────────────

    def _take_from_client(self, now: float, peer: PeerId, message: Any) -> None:
        ledger = self.ledger
        match message:
            case Submit():
                self._submit(now, peer, message)
            case Forget():
                self._forgotten.hear(now, peer, message)
            case Cancel(number, reason):
                run = ledger.runs.get(number)
                if run is not None:
                    text = f"the run was {reason if reason.startswith('cancelled') else f'cancelled: {reason}' if reason else 'cancelled'}"
                    fail(ledger, now, run, RunFailed(number, "RunCancelled", text))
            case Missing(number, tasks):
                run = ledger.runs.get(number)
                if run is not None and run.client == peer:
                    losses.missing_outputs(ledger, now, run, [task for task in tasks if task < run.total])
                    self.ledger.touch(run)
            case Ask():
                self._forgotten.end(now)     # who asks is told of none of these
                answer(ledger, now, peer, message)
            case Drain():
                draining.drain_named(ledger, now, peer, message)
            case Bye(reason):
                self._lose(now, peer, reason or "it left")

    def _submit(self, now: float, peer: PeerId, submit: Submit) -> None:
        ledger, number = self.ledger, RunId(self._next_run)
        judged = lifetimes.judged(ledger, now, number, peer, submit, are_coming=now < (self._coming_until or 0.0))
        if isinstance(judged, Refused):
            ledger.out.send(peer, judged)
            return
        run, is_sure = judged
        self._next_run, self._forgotten.is_late = self._next_run + 1, True
        ledger.out.tell(run, Accepted(submit.token, number))
        lifetimes.add_run(ledger, run, (submit.follow, submit.follow_names, submit.follow_ranks) if submit.follow else None)
        ledger.clients[peer].runs[number] = None
        speculation.watch(ledger, now, run)
        if not is_sure:
            see_what_is_unmet(ledger, now, run)
        if run.timeout > 0.0:
            ledger.remind(now + run.timeout, "timeout", number)
        self.ledger.touch(run)

    # ── who comes and goes ──────────────────────────────────────────────────

    def _join(self, now: float, peer: PeerId, hello: Hello) -> None:
        ledger = self.ledger
        if hello.coordinator and self._coming_until is None:
            self._coming_until = now + self.settings.lost_seconds
        if hello.role != "node":
            client = ledger.clients[peer] = Client(peer, hello.name, hello.address[0])
            ledger.client_knows[peer] = client.knows
            return
        before = ledger.by_name.get(hello.name)
        if before is not None:
            ledger.out.close(before.peer, f"node {hello.name!r} came back as a new process")
            self._lose_node(now, before, "it came back as a new process")
        node = Node(peer, hello, now, self.settings.zero_cost_per_cpu)
        node.go_at(ledger.speeds.of(hello.name, dict(hello.capacity)))
        ledger.nodes[peer] = ledger.by_name[hello.name] = node
        ledger.past.came(node, now)
        ledger.out.names[peer] = (hello.name, hello.address)
        if ledger.leaving:
            draining.ask_back_again(ledger)
        self._silence.heard(now)
        see_what_is_unmet_everywhere(ledger, now, is_one_more=len(ledger.nodes) > len(ledger.leaving) + 1)
        self.ledger.is_changed = self.ledger.is_regrouped = True

    def _hear(self, now: float, node: Node) -> None:
        node.heard = now
        if node.state == "suspect" and node.dropped_at is None:
            node.state = node.standing()
            self.ledger.is_changed = self.ledger.is_regrouped = True
            self._silence.heard(now)

    def _drop(self, now: float, peer: PeerId) -> None:
        node = self.ledger.nodes.get(peer)
        if node is not None:
            node.dropped_at, node.state, self.ledger.is_regrouped = now, "suspect", True
            self._silence.dropped(now)
        client = self.ledger.clients.get(peer)
        if client is not None:
            client.lost_at = now + self.settings.client_grace_seconds
            self.ledger.remind(client.lost_at, "client", peer)

    def _resume(self, now: float, peer: PeerId) -> None:
        node = self.ledger.nodes.get(peer)
        if node is not None:
            node.dropped_at = None
            apart.forget_node(self.ledger, peer)    # maybe nobody could reach it
            self._hear(now, node)
        if (client := self.ledger.clients.get(peer)) is not None:
            client.lost_at = None

    def _lose(self, now: float, peer: PeerId, reason: str) -> None:
        node = self.ledger.nodes.get(peer)
        if node is not None:
            self._lose_node(now, node, reason)
        elif peer in self.ledger.clients:
            self._lose_client(now, peer)

    def _lose_node(self, now: float, node: Node, reason: str) -> None:
        if self.ledger.leaving.pop(node.peer, None) is None:
            self.ledger.out.note("warning", "node.lost", node=node.name, peer=node.peer, reason=reason)
        concerned = [run for run in self.ledger.runs.values() if node.peer in run.nodes]
        for run, failed in losses.lose_node(self.ledger, now, node, reason):
            fail(self.ledger, now, run, failed)
        following.lose(self.ledger, node)
        for run in concerned:
            self.ledger.touch(run)
        see_what_is_unmet_everywhere(self.ledger, now)
        self.ledger.is_changed = self.ledger.is_regrouped = True

    def _lose_client(self, now: float, peer: PeerId) -> None:
        self._forgotten.client_left(now, peer)
        ledger, client = self.ledger, self.ledger.clients.pop(peer)
        ledger.client_knows.pop(peer, None)
        for number in list(client.runs):
            run = ledger.runs[number]
            run.client, run.whose = None, client.name
            run.placed = set()
            if not run.detach:
                end(self.ledger, now, run, "done" if run.is_over else "cancelled")
                continue
            for task in range(run.total) if not run.plain else ():
                if run.is_object(task) and run.state[task] not in (DONE, GONE):
                    fail(self.ledger, now, run, RunFailed(number, "ResultLost", "the client left before it had uploaded all values", task))
                    break
            else:
                losses.missing_outputs(ledger, now, run, list(run.tasks_in(GONE)))
                self.ledger.touch(run)

    # ── clocks ──────────────────────────────────────────────────────────────

    def _remember(self, now: float, what: str, first: int, second: int, third: int) -> None:
        """Something is due that was noted down with `remind`."""
        run = self.ledger.runs.get(first)
        match what:
            case "retry" if run is not None and run.state[second] == DELAYED and run.attempt[second] == third:
                run.state[second] = WAITING
                self.ledger.consider(run, second)
                self.ledger.is_changed = True
            case "apart":
                apart.forget(self.ledger, first, second)
            case "near" if run is not None and run.state[second] == WAITING and not run.unplanned[second]:
                self.ledger.consider(run, second)
                self.ledger.is_changed = True
            case "late":
                recall_from_late(now, self.ledger)
            case "again":
                self.ledger.again_at = float("inf")
                self.ledger.is_changed = True
            case "timeout" if run is not None and not run.is_over:
                run_out_of_time(self.ledger, now, run)
            case "follow":
                self.ledger.is_changed = True
            case "stragglers" if run is not None:
                speculation.look(self.ledger, now, run)
            case "unmet" if run is not None:
                give_up_waiting(self.ledger, now, run)
            case "progress" if run is not None:
                run.progress_due = False
                self.ledger.touch(run, is_changed=False)
            case "client":
                client = self.ledger.clients.get(first)
                if client is not None and client.lost_at is not None and client.lost_at <= now:
                    self.ledger.out.close(client.peer, f"disconnected for {self.settings.client_grace_seconds:g} s")
                    self._lose_client(now, client.peer)

    def _allocate(self, now: float) -> None:
        try:
            self.allocator.allocate(now, Desk(now, self.ledger))
        except Exception as wrong:
            if isinstance(self.allocator, Greedy):
                raise
            # An allocator of the user's own may be wrong, but not stop the cluster.
            name, why = type(self.allocator).__name__, f"{type(wrong).__name__}: {wrong}"
            self.ledger.out.note("error", "allocator.failed", allocator=name, reason=why)
            Greedy().allocate(now, Desk(now, self.ledger))
        self.ledger.ready.close()
