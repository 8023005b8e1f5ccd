"""Bugs put in on purpose: the simulator's oracles have to find each of them, or they prove nothing about the bugs that nobody planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sim.world import Sim, SimulationFailed

from handoff.client.brain import ClientBrain
from handoff.client.table import Table
from handoff.columns import ints
from handoff.ids import COORDINATOR
from handoff.machine import Send
from handoff.messages import Cancel, Failed, Report
from handoff.node import endings as endings_module
from handoff.node.answers import Answers
from handoff.node.brain import NodeBrain
from handoff.node.claims import Claims
from handoff.node.crew import Crew, Worker
from handoff.node.endings import Endings
from handoff.node.lanes import Limit
from handoff.node.stalls import Stalls
from handoff.node.state import State
from handoff.node.wants import Wants
from handoff.scheduler import draining, faults, losses, twins
from handoff.scheduler import scheduler as scheduler_module
from handoff.scheduler.draining import Leaving
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.outbox import Outbox
from handoff.scheduler.quota import Quota
from handoff.scheduler.runs import Run
from handoff.wire.session import Session

SEEDS_MAX = 900   # a node must be lost in just the moment in which one of its tasks runs twice
Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[str, tuple[str, int, Plant]] = {}   # what is wrong -> the faults that bring it to light, where to begin, how it is put in


def plant(profile: str, first: int = 0) -> Callable[[Plant], Plant]:
    """Register a bug, to be looked for under these faults; what hardly any seed shows, from a seed on that is near one which does."""
    def registered(bug: Plant) -> Plant:
        PLANTS[bug.__name__] = (profile, first, bug)
        return bug
    return registered


def nothing(*_: Any, **__: Any) -> None:
    """Do not do it."""


@plant("trouble")
def a_node_releases_a_claim_twice(patch: pytest.MonkeyPatch) -> None:
    """What one task held is free for two."""
    original = Claims.give_back
    patch.setattr(Claims, "give_back", lambda self, *claim: (original(self, *claim), original(self, *claim)))


@plant("calm")
def a_node_never_looks_at_what_is_free(patch: pytest.MonkeyPatch) -> None:
    """Whatever is ready starts."""
    patch.setattr(Claims, "fits", lambda *_: True)


@plant("kills")
def consumers_are_not_redirected(patch: pytest.MonkeyPatch) -> None:
    """A result comes from elsewhere, and nobody who waits for it is told."""
    patch.setattr(Outbox, "redirect", nothing)


@plant("resets")
def nobody_asks_again_after_a_broken_link(patch: pytest.MonkeyPatch) -> None:
    """An input that was on its way when the link broke never comes."""
    patch.setattr(Wants, "lost", nothing)


@plant("kills")
def ancestors_are_not_made_again(patch: pytest.MonkeyPatch) -> None:
    """Only the lost result itself is remade, though what it takes is gone as well."""
    def shallow(ledger: Ledger, run: Run, tasks: list[int]) -> None:
        if new := [task for task in tasks if task not in remade]:
            remade.update(dict.fromkeys(new))
            inputs_of = Run.inputs_of
            patch.setattr(Run, "inputs_of", lambda *_: ())
            try:
                original(ledger, run, new)
            finally:
                patch.setattr(Run, "inputs_of", inputs_of)
    remade: dict[int, None] = {}
    original = losses.make_again
    patch.setattr(losses, "make_again", shallow)


@plant("trouble")
def outputs_are_released_with_the_rest(patch: pytest.MonkeyPatch) -> None:
    """An output that no task takes any more is dropped, whether or not the client has it."""
    original = Run.__init__

    def forgetful(self: Run, *arguments: Any) -> None:
        original(self, *arguments)
        self.is_output = [False] * len(self.is_output)
    patch.setattr(Run, "__init__", forgetful)


@plant("resets")
def a_resumed_session_says_nothing_again(patch: pytest.MonkeyPatch) -> None:
    """What was on its way when the connection broke is lost."""
    def silent(self: Session, received_by_peer: int) -> list[Any]:
        self.acknowledge(received_by_peer)
        return []
    patch.setattr(Session, "resume", silent)


@plant("trouble")
def nodes_are_not_told_that_a_run_is_over(patch: pytest.MonkeyPatch) -> None:
    """Its results stay for ever."""
    original = Outbox.send

    def deaf(self: Outbox, peer: Any, message: Any) -> None:
        if type(message).__name__ != "EndRun":
            original(self, peer, message)
    patch.setattr(Outbox, "send", deaf)


@plant("everything")
def a_forgotten_node_keeps_its_connection(patch: pytest.MonkeyPatch) -> None:
    """The coordinator forgets a silent node without closing: nobody tells it that it has to join anew."""
    patch.setattr(Outbox, "close", nothing)


@plant("calm")
def serializers_are_not_bound_to_a_target(patch: pytest.MonkeyPatch) -> None:
    """The consumer may go elsewhere than its serializer was told."""
    original = Ledger.allowed

    def unbound(self: Ledger, run: Run, task: int) -> int | None:
        promised, run.promised = run.promised, {}
        try:
            return original(self, run, task)
        finally:
            run.promised = promised
    patch.setattr(Ledger, "allowed", unbound)


@plant("kills")
def serializers_are_not_done_again(patch: pytest.MonkeyPatch) -> None:
    """The consumer moves, and is handed what was made for another node."""
    patch.setattr(losses, "redo_serializers", nothing)


@plant("calm")
def a_node_starts_a_task_with_its_first_input(patch: pytest.MonkeyPatch) -> None:
    """The others are not waited for."""
    original = State.count_down

    def hasty(self: State, table: Any, task: int) -> None:
        for follower in table.waiters.get(task, ()):
            if follower in table.missing:
                table.missing[follower] = 1
        original(self, table, task)
    patch.setattr(State, "count_down", hasty)


@plant("resets")
def a_node_forgets_who_collects(patch: pytest.MonkeyPatch) -> None:
    """A client that collects again after a broken link gets only what is new."""
    def collect(self: Answers, peer: Any, run: Any) -> None:
        self._state.table(run).collectors[peer] = None
    patch.setattr(Answers, "collect", collect)


@plant("trouble")
def failed_attempts_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """A function that may not run again runs again."""
    patch.setattr(scheduler_module.retries, "count_failure", lambda *_: True)


@plant("kills")
def a_client_does_not_ask_for_what_it_misses(patch: pytest.MonkeyPatch) -> None:
    """A node is gone with outputs that never came."""
    patch.setattr(Table, "missing_tasks", lambda *_: ints())


@plant("trouble")
def a_node_reports_nothing_after_a_failure(patch: pytest.MonkeyPatch) -> None:
    """The attempt that broke is never spoken of."""
    original = NodeBrain.settle

    def mute(self: NodeBrain, now: float) -> list[Any]:
        return [effect for effect in original(self, now) if type(getattr(effect, "message", None)).__name__ != "Failed"]
    patch.setattr(NodeBrain, "settle", mute)


@plant("apart")
def a_report_of_a_stale_attempt_is_believed(patch: pytest.MonkeyPatch) -> None:
    """Neither attempt nor node are compared: a task that was planned anew elsewhere is done when its first node says so."""
    original = scheduler_module.take_report

    def credulous(now: float, ledger: Ledger, node: Node, report: Report) -> Run | None:
        run = ledger.runs.get(report.run)
        for place, task in enumerate(report.tasks) if run is not None else ():
            home = ledger.nodes.get(run.node[task])
            if home is not None and home is not node and run.is_planned(task):
                column = slice(place, place + 1)
                original(now, ledger, home, replace(
                    report, tasks=report.tasks[column], attempts=ints([run.attempt[task]]), nbytes=report.nbytes[column],
                    seconds=report.seconds[column], ages=report.ages[column], fetched_bytes=0))
        return original(now, ledger, node, report)
    patch.setattr(scheduler_module, "take_report", credulous)


@plant("apart")
def news_of_a_stale_attempt_is_believed(patch: pytest.MonkeyPatch) -> None:
    """Neither attempt nor node are compared: the failure of an attempt that was given up is taken for that of the current one."""
    patch.setattr(Run, "is_current", lambda self, _peer, task, _attempt: task < self.total and self.is_planned(task))


@plant("drains")
def a_draining_node_is_let_go_with_results_that_are_needed(patch: pytest.MonkeyPatch) -> None:
    """Only its work is looked at."""
    patch.setattr(Leaving, "is_needed", lambda self, _ledger: self.node.planned > 0)


@plant("drains")
def a_draining_node_gets_new_work(patch: pytest.MonkeyPatch) -> None:
    """It is open again as soon as it is heard."""
    original = draining.begin

    def forgetful(ledger: Ledger, now: float, node: Node, seconds: float) -> None:
        original(ledger, now, node, seconds)
        node.state = "ready"
    patch.setattr(draining, "begin", forgetful)


@plant("stragglers")
def only_the_first_attempt_counts(patch: pytest.MonkeyPatch) -> None:
    """The second one wins, and is not believed; it is not ended when the first one wins, either."""
    patch.setattr(twins, "first_wins", nothing)


@plant("stragglers")
def a_second_attempt_is_never_booked_off(patch: pytest.MonkeyPatch) -> None:
    """Its claim stays for ever."""
    patch.setattr(twins, "_book_off", nothing)


@plant("lost-stragglers")
def second_attempts_are_lost_with_the_node_of_the_first(patch: pytest.MonkeyPatch) -> None:
    """A node is gone, and nobody looks where else its tasks run."""
    patch.setattr(twins, "lose", nothing)


@plant("stragglers")
def an_abandoned_attempt_stays_planned(patch: pytest.MonkeyPatch) -> None:
    """A node that has not started it runs it all the same, and may then give its place to nobody."""
    patch.setattr(Endings, "abandon", nothing)


@plant("trouble")
def what_ran_beside_a_crash_runs_again(patch: pytest.MonkeyPatch) -> None:
    """Though it may not: only what was seen to run is taken to have begun, not what ended just before."""
    patch.setattr(endings_module, "_begun", lambda batches, _: dict.fromkeys(batches, 0))


@plant("broadcasts")
def a_node_keeps_what_it_fetched_to_itself(patch: pytest.MonkeyPatch) -> None:
    """Who asked before the value came is forgotten, unless it was made here."""
    original = Answers.exists

    def selfish(self: Answers, table: Any, task: int) -> None:
        if task in table.plans:
            original(self, table, task)
        else:
            table.wants.pop(task, None)
    patch.setattr(Answers, "exists", selfish)


@plant("limits")
def a_node_does_not_keep_to_its_share_of_a_limit(patch: pytest.MonkeyPatch) -> None:
    """Whatever fits starts."""
    patch.setattr(Limit, "left", 1000)


@plant("limits")
def every_node_gets_the_whole_limit(patch: pytest.MonkeyPatch) -> None:
    """Each for itself keeps to it."""
    patch.setattr(Quota, "deal", lambda self, peers, *_: [self.most] * len(peers))


@plant("limits", first=1350)   # of 2,000 four show it
def a_share_shrinks_while_tasks_run(patch: pytest.MonkeyPatch) -> None:
    """A node that has more tasks than its share is told a smaller one, and what still runs there is not counted."""
    def hasty(self: Quota, peer: int, count: int, more: int) -> None:
        before = self.running(peer)
        self.on[peer] = self.on.get(peer, 0) + count
        self.share[peer] = max(1, more)
        self.used += self.running(peer) - before
    patch.setattr(Quota, "add", hasty)


@plant("barren")
def a_node_on_which_nothing_can_run_gets_work(patch: pytest.MonkeyPatch) -> None:
    """What it says of itself is not looked at when tasks are placed."""
    patch.setattr(Node, "standing", lambda self: "draining" if self.leaves else "ready")


@plant("barren")
def a_node_stays_faulty_for_ever(patch: pytest.MonkeyPatch) -> None:
    """A worker has come up, and nobody takes notice."""
    patch.setattr(Crew, "loaded", nothing)


@plant("barren")
def what_a_faulty_node_has_not_begun_stays_there(patch: pytest.MonkeyPatch) -> None:
    """It is not asked back, and waits for workers that do not come."""
    patch.setattr(faults, "_ask_back", nothing)


@plant("workers")
def a_deaf_worker_gets_more(patch: pytest.MonkeyPatch) -> None:
    """It begins nothing, and is taken for idle."""
    patch.setattr(Stalls, "deaf", nothing)


@plant("workers")
def a_worker_that_was_killed_takes_its_claim_along(patch: pytest.MonkeyPatch) -> None:
    """What it held is nobody's for ever."""
    original = Crew.gone

    def greedy(self: Crew, now: float, worker: Worker, reason: str, wrote: str | None) -> None:
        worker.claim = None
        original(self, now, worker, reason, wrote)
    patch.setattr(Crew, "gone", greedy)


@plant("users")
def a_client_remembers_what_it_let_go(patch: pytest.MonkeyPatch) -> None:
    """The table of a run stays under its number."""
    def half(self: ClientBrain, table: Table) -> None:
        self._tables.pop(table.token, None)
    patch.setattr(ClientBrain, "_drop", half)


@plant("workers")
def a_node_says_what_only_clients_say(patch: pytest.MonkeyPatch) -> None:
    """It ends a run of which a task has failed, by itself."""
    def presuming(self: Endings, failed: Failed) -> None:
        self._state.effects.append(Send(COORDINATOR, Cancel(failed.run)))
    patch.setattr(Endings, "_send", presuming)


@pytest.mark.parametrize("bug", PLANTS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some seed within the first few hundred shows it."""
    profile, first, put_in = PLANTS[bug]
    put_in(monkeypatch)

    with pytest.raises(SimulationFailed) as found:
        for seed in range(first, first + SEEDS_MAX):
            Sim(seed, profile, checks=False).run()

    assert not isinstance(found.value.__cause__, (TypeError, AttributeError, NameError)), "the plant itself is broken"
