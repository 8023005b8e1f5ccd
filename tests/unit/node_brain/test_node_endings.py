"""How tasks end on a node: finished, broken, out of time, or with their worker."""

from __future__ import annotations

from typing import Any

import pytest

from handoff.ids import COORDINATOR, RunId, WorkerId
from handoff.machine import Tick
from handoff.messages import Alive, Failed, Report
from handoff.node.events import Broke, Drop, Finished, Kill, Spawn
from handoff.program import Flag


def test_one_report_for_each_run_and_turn(hand: Any) -> None:
    """What finishes in one turn is reported in one message a run, with sizes, durations and ages."""
    node = hand()
    node.learn()
    node.plan({0: [], 1: [], 2: []})
    node.plan({0: []}, run=RunId(2))
    node.now = 5.0
    events = [node.finished_event(0, 1, nbytes=77, seconds=0.5), node.finished_event(2), node.finished_event(0, run=RunId(2))]
    node.now = 7.0
    node.happen(*events)
    first, second = node.said(Report, COORDINATOR)

    assert (first.run, list(first.tasks), list(first.attempts)) == (1, [0, 1, 2], [1, 1, 1])
    assert list(first.nbytes) == [77, 77, 10]
    assert list(first.seconds) == [0.5, 0.5, 1e-5]
    assert list(first.ages) == [2.0, 2.0, 2.0]
    assert (second.run, list(second.tasks)) == (2, [0])


def test_an_exception_is_passed_on(hand: Any) -> None:
    """A broken attempt is reported with everything the worker said, and its worker goes on."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []}, attempt=4)
    node.broke(0)

    assert node.said(Failed) == [Failed(node.RUN, 0, 4, "exception", "ValueError", "no", "trace", 0.1, b"pickle")]
    assert node.given() == [(1,)]


def test_the_others_of_a_batch_survive_a_broken_one(hand: Any) -> None:
    """Only the broken task of a message fails."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: [], 1: [], 2: []})
    node.broke(1)
    node.finish(0, 2)

    assert node.reported() == [0, 2]
    assert node.free() == {"cpu": 1}


def test_who_was_running_is_blamed_for_a_crash(hand: Any) -> None:
    """The running task fails with the signal named; bystanders run again without a word; a new worker starts."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: [], 1: [], 2: []})
    worker = node.worker_of(0)
    node.finish(0)
    node.die(worker, 1)
    (failed,) = node.said(Failed)

    assert (failed.task, failed.attempt, failed.cause) == (1, 1, "crash")
    assert "SIGSEGV" in failed.text
    assert len(node.last_of(Spawn)) == 1
    node.warm_up()
    assert node.given() == [(2,)]


def test_chained_bystanders_wait_for_their_producer_again(hand: Any) -> None:
    """When the producer of a chain crashes, its followers in the same message wait for it."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: [], 1: [0], 2: [1]})
    node.die(node.worker_of(0), 0)
    node.warm_up()
    assert node.given() == []
    node.plan({0: []}, attempt=2)

    assert node.given() == [(0, 1, 2)]


def test_a_worker_that_keeps_dying_unseen_is_blamed_on_the_first_in_line(hand: Any) -> None:
    """When nothing was seen to run three times in a row, the first in line fails, so that nothing goes on for ever."""
    node = hand({"cpu": 1})
    node.plan({0: []})
    for _ in range(2):
        node.die(node.worker_of(0))
        assert node.said(Failed) == []
        node.warm_up()
    node.die(node.worker_of(0))

    assert [failed.cause for failed in node.said(Failed)] == ["crash"]


def test_a_claim_is_released_once_when_its_worker_is_gone(hand: Any) -> None:
    """The claim lasts until the process is gone, not longer."""
    node = hand({"cpu": 2})
    node.plan({0: []}, node.kind("f", timeout=1.0))
    worker = node.worker_of(0)
    node.now = 1.0
    node.happen(Tick())
    assert node.free() == {"cpu": 1}
    node.die(worker, 0, reason="killed: timeout")

    assert node.free() == {"cpu": 2}
    assert node.said(Failed) == []


def test_a_task_over_its_time_is_killed(hand: Any) -> None:
    """A synchronous task over its limit is killed with its worker, and fails with the limit named; a new worker starts at once."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []}, node.kind("slow", timeout=2.5))
    worker = node.worker_of(0)
    node.wait(2.4)
    assert node.said(Failed) == []
    node.wait(0.2)
    (failed,) = node.said(Failed)

    assert node.killed == [(worker, "timeout")]
    assert (failed.task, failed.cause) == (0, "timeout") and "2.5 s" in failed.text and "slow" in failed.text
    assert len(node.last_of(Spawn)) == 1


def test_time_counts_from_when_the_code_is_loaded(hand: Any) -> None:
    """A worker that imports slowly does not use up the time of the function; but it may not load for ever either."""
    node = hand({"cpu": 1}, loads=False, load_seconds=20.0)
    node.plan({0: [], 1: []}, node.kind("slow", timeout=1.0))
    node.wait(15.0)
    worker = node.worker_of(0)
    node.loads, node.began[node.RUN, 0] = True, node.now
    node.wait(0.9)
    assert node.said(Failed) == [] and node.killed == []
    node.wait(0.2)
    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(0, "timeout")]
    node.die(worker, 0, reason="killed: timeout")
    node.loads = False
    node.warm_up()
    node.wait(21.1)
    [failed] = node.said(Failed)
    assert (failed.task, failed.cause) == (1, "timeout") and "not loaded within 20 s" in failed.text


def test_a_finished_task_has_no_time_limit_any_more(hand: Any) -> None:
    """The alarm of a task that ended is silent."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []}, node.kind("slow", timeout=1.0))
    node.finish(0)
    node.wait(0.9)

    assert node.killed == []
    node.wait(0.2)
    assert [failed.task for failed in node.said(Failed)] == [1]


def test_news_of_a_killed_task_changes_nothing(hand: Any) -> None:
    """What a worker finished in the moment of being killed for its time is not believed, and its value is freed."""
    node = hand({"cpu": 1})
    node.plan({0: []}, node.kind("slow", timeout=1.0))
    held = dict(node.holds)
    late = node.finished_event(0)
    node.holds.update(held)
    node.wait(1.1)
    node.happen(late)

    assert node.said(Report) == []
    assert node.last_of(Drop) == [Drop(node.RUN, (0,))]


def test_a_coroutine_over_its_time_is_asked_to_end_first(hand: Any) -> None:
    """One of several side by side is cancelled, and its answer is a timeout; the others on its worker go on."""
    node = hand({"cpu": 2})
    node.plan({0: []}, node.kind("limited", {"cpu": 0.5}, timeout=1.0, flags=int(Flag.ASYNC)))
    node.plan({1: []}, node.kind("patient", {"cpu": 0.5}, flags=int(Flag.ASYNC)))
    node.warm_up()
    node.wait(1.0)
    assert node.cancelled == [0] and node.killed == []
    node.broke(0, "cancelled")

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(0, "timeout")]
    node.finish(1)
    assert node.reported() == [1]


def test_a_coroutine_that_will_not_end_is_killed_with_its_worker(hand: Any) -> None:
    """After the grace its worker is killed; other coroutines there run again and are not blamed."""
    node = hand({"cpu": 2}, kill_grace_seconds=0.5)
    node.plan({0: []}, node.kind("stubborn", {"cpu": 0.5}, timeout=1.0, flags=int(Flag.ASYNC)))
    node.plan({1: []}, node.kind("patient", {"cpu": 0.5}, flags=int(Flag.ASYNC)))
    node.warm_up()
    worker = node.worker_of(0)
    node.wait(1.6)
    assert node.killed == [(worker, "timeout")]
    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(0, "timeout")]
    node.die(worker, 0, 1, reason="killed: timeout")
    assert node.said(Failed) == []
    node.warm_up()

    assert node.free() == {"cpu": 1.5} and list(node.holds) == [(1, 1)]


def test_coroutines_that_were_running_are_blamed_for_a_crash(hand: Any) -> None:
    """All coroutines side by side in a dead worker were executing, so all of them fail."""
    node = hand({"cpu": 2})
    node.plan({0: [], 1: []}, node.kind("co", {"cpu": 0.5}, flags=int(Flag.ASYNC)))
    node.warm_up()
    node.die(node.worker_of(0), 0, 1)

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(0, "crash"), (1, "crash")]
    assert node.free() == {"cpu": 2}


def test_workers_that_keep_dying_come_back_slowly(hand: Any) -> None:
    """Ten deaths in ten seconds without a finished task: new workers start one at a time, after growing pauses up to 30 s."""
    node = hand({"cpu": 1})
    worker = node.workers[0]
    for _ in range(9):
        node.die(worker)
        (spawn,) = node.last_of(Spawn)
        worker = spawn.worker
    node.die(worker)
    pauses = []
    for _ in range(7):
        assert node.last_of(Spawn) == []
        before = node.now
        while not node.last_of(Spawn):
            node.now = node.brain.deadline
            node.happen(Tick())
        pauses.append(node.now - before)
        node.die(node.last_of(Spawn)[0].worker)

    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30])


def test_a_node_answers_honestly_while_its_workers_die(hand: Any) -> None:
    """Crashes are reported and heartbeats go on, while new workers come slowly; one finished task ends the caution."""
    node = hand({"cpu": 1})
    for attempt in range(1, 12):
        node.plan({0: []}, attempt=attempt)
        while not node.holds:
            node.now = node.brain.deadline
            node.happen(Tick())
            node.warm_up()
        node.die(node.worker_of(0), 0)
        assert [(failed.attempt, failed.cause) for failed in node.said(Failed)] == [(attempt, "crash")]
        node.warm_up()
    node.wait(1.0)
    assert any(isinstance(effect.message, Alive) for effect in node.last if hasattr(effect, "message"))
    node.wait(5.0)
    node.warm_up()
    node.plan({0: []}, attempt=20)
    while not node.holds:
        node.wait(1.0)
        node.warm_up()
    node.finish(0)
    node.die(max(node.brain._crew.workers))

    assert len(node.last_of(Spawn)) == 1


def test_a_later_attempt_replaces_an_earlier_one(hand: Any) -> None:
    """A plan with a higher attempt counts from then on; a lower or equal one is ignored."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []})
    node.plan({1: []}, attempt=3)
    node.plan({1: []}, attempt=2)
    node.finish(0)
    node.finish(1)

    (report,) = node.said(Report)
    assert (list(report.tasks), list(report.attempts)) == ([1], [3])


def test_the_running_attempt_that_was_replaced_is_not_reported(hand: Any) -> None:
    """What runs while a higher attempt is planned serves its consumers, and the new attempt runs as it was told."""
    node = hand({"cpu": 1})
    node.plan({0: []})
    node.plan({0: []}, attempt=2)
    node.finish(0)
    assert node.reported() == []
    assert node.given() == [(0,)]
    node.finish(0)

    assert [list(report.attempts) for report in node.said(Report)] == [[2]]


def test_a_failure_of_a_replaced_attempt_is_not_told(hand: Any) -> None:
    """The old attempt's exception or crash is nobody's business; the new one runs."""
    node = hand({"cpu": 1})
    node.plan({0: []})
    node.plan({0: []}, attempt=2)
    node.broke(0)
    assert node.said(Failed) == [] and node.given() == [(0,)]
    node.plan({0: []}, attempt=3)
    node.die(node.worker_of(0), 0)

    assert node.said(Failed) == []
    node.warm_up()
    assert node.given() == [(0,)]


def test_a_task_whose_result_is_here_runs_when_told(hand: Any) -> None:
    """A new plan of a finished task means that the coordinator wants it again."""
    node = hand()
    node.plan({0: []})
    node.finish(0)
    node.plan({0: []}, attempt=2)
    node.finish(0)

    assert [list(report.attempts) for report in node.said(Report)] == [[2]]


def test_strangers_and_late_news_are_harmless(hand: Any) -> None:
    """Events about workers, runs and tasks that are not known, or twice, change nothing."""
    node = hand()
    node.plan({0: []})
    event = node.finished_event(0)
    node.happen(event)
    node.happen(event)
    assert node.said(Report) == []
    node.happen(Finished(WorkerId(99), node.RUN, (0,), (1,), (1,), (0.1,), (0.0,)))
    node.happen(Finished(event.worker, RunId(55), (0,), (1,), (1,), (0.1,), (0.0,)))
    assert node.last_of(Drop) == [Drop(RunId(55), (0,))]
    node.happen(Broke(WorkerId(99), node.RUN, 0, 1, "exception", "", "", "", 0.0))
    node.happen(Broke(event.worker, node.RUN, 0, 1, "skipped", "", "", "", 0.0))
    node.die(WorkerId(99), 0)

    assert [effect for effect in node.last if isinstance(effect, Kill)] == []
    assert node.said(Failed) == []
