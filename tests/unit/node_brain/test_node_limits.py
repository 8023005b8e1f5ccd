"""A run of which only so many may execute at once: the node keeps to its share, whatever else fits."""

from __future__ import annotations

from typing import Any

from handoff.ids import RunId
from handoff.messages import Failed
from handoff.program import Flag

OTHER_RUN = RunId(77)


def test_one_at_a_time_is_one_worker(hand: Any) -> None:
    """Many are given to it in few messages; the other workers run what is of other runs, at the same cost."""
    node = hand({"cpu": 3})
    node.learn()
    node.plan(node.independent(range(40)), at_most=1)
    assert len({worker for worker, _ in node.holds.values()}) == 1 and len(node.executed) == 1 + 40
    node.plan(node.independent(range(2)), node.kind("slow"), run=OTHER_RUN)

    assert {node.worker_of(task, OTHER_RUN) for task in range(2)}.isdisjoint({node.worker_of(0)})
    assert len(node.given()) == 2


def test_a_larger_share_starts_more(hand: Any) -> None:
    """As soon as a plan says so, what waits is given to another worker."""
    node = hand({"cpu": 3})
    slow = node.kind("slow")
    node.plan({0: [], 1: [], 2: []}, slow, at_most=1)
    assert node.given() == [(0,)]
    node.plan({3: []}, slow, at_most=2)
    assert node.given() == [(1,)]
    node.finish(0, seconds=5.0)
    assert node.given() == [(2,)]
    node.finish(1, seconds=5.0)
    assert node.given() == [(3,)]


def test_each_coroutine_counts(hand: Any) -> None:
    """They run beside each other in one worker."""
    node = hand({"cpu": 8})
    node.plan(node.independent(range(5)), node.kind("coroutine", {"cpu": 0.5}, flags=Flag.OUTPUT | Flag.ASYNC), at_most=2)
    node.warm_up()

    assert [task for _, task in node.executed] == [0, 1]
    node.finish(1)
    assert [task for _, task in node.executed] == [0, 1, 2]


def test_a_worker_that_is_being_ended_counts_until_it_is_gone(hand: Any) -> None:
    """What it runs may still execute."""
    node = hand({"cpu": 2})
    slow = node.kind("slow", timeout=1.0)
    node.plan({0: [], 1: []}, slow, at_most=1)
    worker = node.worker_of(0)
    said = node.wait(1.1)
    assert node.killed or any(isinstance(getattr(each, "message", None), Failed) for each in said)
    assert [task for _, task in node.executed] == [0]
    node.die(worker, 0, reason="killed: timeout")
    assert [task for _, task in node.executed] == [0, 1]
