"""Tasks that may not run again: what may have begun with a worker that is gone does not begin anew."""

from __future__ import annotations

from typing import Any

from handoff.ids import RunId
from handoff.messages import Failed
from handoff.node.events import Execute

ONCE = {"max_retries": 0}


def test_what_may_have_begun_never_begins_again(hand: Any) -> None:
    """A worker dies. What ran fails, and so does what came before it and was not told of; the rest is given anew."""
    node = hand({"cpu": 1})
    node.learn("f")
    node.plan(node.independent(range(5)), node.kind("f", **ONCE))
    assert node.given() == [(0, 1, 2, 3, 4)]
    worker = node.worker_of(0)
    node.finish(0)

    node.die(worker, 2)

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(2, "crash"), (1, "crash")]
    node.warm_up()
    assert node.given() == [(3, 4)]


def test_what_may_have_begun_beside_one_that_ran_too_long_does_not_begin_again(hand: Any) -> None:
    """While it is being ended it may go on with those behind it."""
    node = hand({"cpu": 1})
    node.learn("f")
    node.plan(node.independent(range(3)), node.kind("f", timeout=1.0, **ONCE))
    node.finish(0)

    node.wait(1.1)

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(1, "timeout"), (2, "crash")]
    node.warm_up()
    assert node.given() == []


def test_nothing_of_another_run_is_beside_what_may_not_run_again(hand: Any) -> None:
    """Its worker is ended when a run is over, or for a task's sake: that is to concern nothing that may not begin again."""
    node = hand({"cpu": 1})
    node.learn("f")
    once = node.kind("f", **ONCE)
    node.plan(node.independent(range(3)), once)
    node.plan(node.independent(range(3)), once, run=RunId(2))
    assert node.given() == []

    node.finish(0, 1, 2)

    assert [effect.run for effect in node.last_of(Execute)] == [2]
