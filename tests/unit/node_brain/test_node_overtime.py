"""The time that a task may take, where it is one of several in a message."""

from __future__ import annotations

from typing import Any

from handoff.ids import COORDINATOR
from handoff.machine import Received
from handoff.messages import Failed
from handoff.node.events import Execute, Look


def test_the_time_of_each_task_of_a_batch_is_its_own(hand: Any) -> None:
    """However long the others took. Only the one that runs over its time fails; the others are given anew, as the same attempt."""
    node = hand({"cpu": 1})
    node.learn("slow")
    node.plan(node.independent(range(4)), node.kind("slow"))   # known to be short
    node.finish_all()
    limited = node.kind("slow", timeout=1.0)
    node.plan(node.independent(range(10, 14)), limited)
    [(worker, batch)] = [(effect.worker, effect.tasks) for effect in node.last_of(Execute)]
    assert batch == (10, 11, 12, 13)
    node.wait(0.8)
    node.finish(10)
    node.wait(0.9)
    node.finish(11)
    node.wait(0.95)
    assert node.killed == [] and node.said(Failed) == []

    node.wait(0.1)

    assert node.killed == [(worker, "timeout")]
    assert [(failed.task, failed.attempt, failed.cause) for failed in node.said(Failed)] == [(12, 1, "timeout")]
    node.die(worker, 12, reason="killed: timeout")
    node.warm_up()
    assert [(effect.tasks, effect.attempts) for effect in node.all if isinstance(effect, Execute)][-1] == ((13,), (1,))
    node.finish(13)
    assert node.said(Failed) == [] and node.free() == {"cpu": 1}


def test_a_shorter_timeout_behind_a_longer_one_is_kept(hand: Any) -> None:
    """Tasks with other timeouts, and without, go in the same batch; each has its own."""
    node = hand({"cpu": 1})
    for code in ("patient", "slow", "hasty"):
        node.learn(code)
    messages = [node.plan_message({task: []}, what) for task, what in enumerate(
        (node.kind("patient", timeout=60.0), node.kind("slow"), node.kind("hasty", timeout=0.5)))]
    node.happen(*[Received(COORDINATOR, message) for message in messages])
    assert node.given() == [(0, 1, 2)]
    node.wait(10.0)
    node.finish(0)
    node.wait(10.0)
    node.finish(1)
    node.wait(0.4)
    assert node.killed == []

    node.wait(0.2)

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(2, "timeout")]


def test_long_timeouts_cost_nothing_while_tasks_are_short(hand: Any) -> None:
    """Nobody looks what a worker does before something that it has could be over its time."""
    node = hand({"cpu": 1})
    node.learn("f", seconds=0.0001)
    node.plan(node.independent(range(1000)), node.kind("f", timeout=60.0))
    while node.holds:
        node.wait(0.001)
        assert node.last_of(Look) == []
        node.finish_all(0.0001)
    node.wait(200.0)

    assert len([effect for effect in node.all if isinstance(effect, Look)]) == 0
    assert len([effect for effect in node.all if isinstance(effect, Execute)]) < 60
