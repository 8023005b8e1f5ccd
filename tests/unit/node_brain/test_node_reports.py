"""What a node reports of tasks that are done: which worker ran each, and how long it waited after all it takes was here."""

from __future__ import annotations

from typing import Any

import pytest

from handoff.messages import Report
from handoff.node.tables import TEACHES


def told(node: Any) -> dict[int, tuple[int, float]]:
    """Per task of the last turn's reports: worker, seconds waited."""
    return {task: (worker, waited) for report in node.said(Report)
            for task, worker, waited in zip(report.tasks, report.workers, report.waited, strict=True)}


def test_waiting_counts_from_the_last_input_to_the_start(hand: Any) -> None:
    """An input that comes at 2, a start at 2: no waiting. A task planned at 0 that starts at 3, behind another: three seconds."""
    node = hand({"cpu": 1})
    node.plan({0: []}, urgency=2.0)
    node.plan({1: [], 2: [9]}, urgency={1: 1.5, 2: 1.0}, sources={9: node.PEER})
    worker = node.worker_of(0)
    node.wait(2.0)
    node.arrive(9)
    node.wait(1.0)
    node.finish(0, seconds=3.0)
    assert told(node) == {0: (worker, 0.0)}
    node.wait(1.0)
    node.finish(1, seconds=1.0)
    assert told(node) == {1: (worker, pytest.approx(3.0))}
    node.wait(1.0)
    node.finish(2, seconds=0.5)
    assert told(node) == {2: (worker, pytest.approx(2.5))}


def test_each_worker_has_its_number(hand: Any) -> None:
    """Stable while it lives; two that run at once differ."""
    node = hand({"cpu": 2})
    node.plan({0: [], 1: []})
    first, second = node.worker_of(0), node.worker_of(1)
    node.happen(node.finished_event(0), node.finished_event(1))
    assert {task: worker for task, (worker, _) in told(node).items()} == {0: first, 1: second}
    assert first != second and min(first, second) >= 1


def test_what_is_chained_to_its_input_did_not_wait(hand: Any) -> None:
    """It is given before its input is made, and starts when that is."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: [], 1: [0]})
    assert [task for _, task in node.executed[-2:]] == [0, 1]
    node.wait(1.0)
    node.happen(node.finished_event(0, 1, seconds=0.25))
    assert [waited for _, waited in told(node).values()] == [pytest.approx(0.75), 0.0]


def test_waiting_starts_anew_when_a_task_comes_back(hand: Any) -> None:
    """A crash of the worker beside it; or a recall, after which it is planned here once more."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []})
    node.wait(5.0)
    node.recall([1])
    node.plan({1: []}, attempt=2)
    node.wait(1.0)
    node.finish(0, seconds=6.0)
    node.wait(1.0)
    node.finish(1, seconds=1.0)
    assert told(node)[1][1] == pytest.approx(1.0)


def test_an_uploaded_value_ran_on_no_worker(hand: Any) -> None:
    """Worker 0, no waiting."""
    from handoff.program import Flag

    node = hand()
    node.join(node.CLIENT, "client")
    node.plan({0: []}, node.kind(cost={}, flags=Flag.OBJECT))
    node.arrive(0, peer=node.CLIENT)
    assert told(node) == {0: (0, 0.0)}


def teach(node: Any) -> None:
    """The first ends of a run are told at once."""
    node.learn(seconds=0.002)
    for task in range(100, 100 + TEACHES):
        node.plan({task: []})
        node.finish(task, seconds=0.002)
        assert node.reported() == [task]


def test_ends_of_short_tasks_are_told_together(hand: Any) -> None:
    """As long as more of the run lies here than has ended; report_seconds after the first of them at the latest."""
    node = hand({"cpu": 1}, batch_max=1)
    teach(node)
    node.plan(node.independent(range(10)))
    node.finish(0, seconds=0.002)
    assert node.reported() == []
    node.wait(0.001)
    node.finish(1, seconds=0.002)
    assert node.reported() == []
    node.wait(node.settings.report_seconds)
    assert node.reported() == [0, 1]


def test_what_may_need_new_plans_is_told_at_once(hand: Any) -> None:
    """Half of what lay here has ended; or a task that was not short."""
    node = hand({"cpu": 1}, batch_max=1)
    teach(node)
    node.plan(node.independent(range(5)))
    said = []
    for task in range(5):
        node.finish(task, seconds=0.002)
        said.append(node.reported())
    assert said == [[], [0, 1], [2], [3], [4]]
    node.plan(node.independent(range(5, 15)))
    node.finish(5, seconds=0.02)
    assert node.reported() == [5]
