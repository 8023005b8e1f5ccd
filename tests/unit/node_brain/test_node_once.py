"""Tasks that may not run again: what may have begun with a worker that is gone does not begin anew."""

from __future__ import annotations

from typing import Any

import pytest

from handoff.ids import COORDINATOR, RunId
from handoff.machine import Received
from handoff.messages import EndRun, Failed
from handoff.node.events import Execute
from handoff.program import Flag

ONCE = {"max_retries": 0}


def test_what_may_have_begun_never_begins_again(hand: Any) -> None:
    """A worker dies. What ran fails, and so does what came before it and was not told of; the rest is given anew."""
    node = hand({"cpu": 1})
    node.learn("f")
    node.plan(node.independent(range(5)), node.kind("f", **ONCE))
    assert node.given() == [(0, 1, 2, 3, 4)]
    assert node.last_of(Execute)[0].urgent == (0, 1, 2, 3, 4)   # each end is told soon
    worker = node.worker_of(0)
    node.finish(0)

    node.die(worker, 2)

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(2, "crash"), (1, "crash")]
    node.warm_up()
    assert node.given() == [(3, 4)]


def test_what_a_worker_may_have_finished_unheard_does_not_begin_again(hand: Any) -> None:
    """What it said could not be taken in, as where the node has too many files open, and it is idle when it is ended for that."""
    node = hand({"cpu": 1})
    node.learn("f")
    node.plan(node.independent(range(3)), node.kind("f", **ONCE))

    node.die(node.worker_of(0), is_garbled=True)

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(0, "crash"), (1, "crash"), (2, "crash")]
    node.warm_up()
    assert node.given() == []


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


@pytest.mark.parametrize("stubborn", ["runs too long", "is of a run that is over"])
def test_a_coroutine_that_is_ended_for_the_sake_of_another_does_not_begin_again(hand: Any, stubborn: str) -> None:
    """All of them run in one process, which goes when one of them does not end. What may run again is given anew."""
    node = hand({"cpu": 3}, kill_grace_seconds=0.5)
    coroutine = {"flags": int(Flag.ASYNC), "cost": {"cpu": 0.5}}
    node.plan({0: []}, node.kind("stubborn", timeout=1.0, **coroutine))
    for task, retries in ((1, {}), (2, ONCE)):
        node.plan({task: []}, node.kind("patient", **coroutine, **retries), run=RunId(2))
    node.warm_up()
    worker = node.worker_of(0)
    if stubborn == "is of a run that is over":
        node.happen(Received(COORDINATOR, EndRun(node.RUN)))

    node.wait(1.6)

    assert [killed for killed, _ in node.killed] == [worker]
    assert [(failed.task, failed.cause) for failed in node.said(Failed) if failed.run == 2] == [(2, "crash")]
    node.die(worker)
    node.warm_up()
    assert [effect.tasks for effect in node.last_of(Execute)] == [(1,)]


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
