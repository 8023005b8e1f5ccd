"""Attempts that another node's attempt has beaten: they end without a word, wherever they are, and only they."""

from __future__ import annotations

from typing import Any

from handoff.columns import ints
from handoff.ids import COORDINATOR
from handoff.messages import Abandon, Failed, Recalled, Redirect, Report, Want
from handoff.node.events import Broke
from handoff.program import Flag

TWICE = int(Flag.IDEMPOTENT)


def abandon(node: Any, *tasks: int, attempt: int = 1) -> list[Any]:
    """The coordinator has no use for these."""
    said: list[Any] = node.say(COORDINATOR, Abandon(node.RUN, ints(tasks), ints([attempt] * len(tasks))))
    return said


def is_silent(node: Any) -> bool:
    """Nothing was said about any task."""
    return not (node.said(Failed) or node.said(Report) or node.said(Recalled))


def test_what_runs_is_ended_and_nobody_is_told(hand: Any) -> None:
    """Its worker is killed, its claim is free once that is gone, and the next task takes its place."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []}, node.kind(flags=TWICE))
    worker = node.worker_of(0)

    abandon(node, 0)

    assert [killed for killed, _ in node.killed] == [worker]
    assert is_silent(node)
    node.warm_up()
    node.die(worker, 0, reason="killed")
    assert is_silent(node)
    assert node.given() == [(1,)]
    node.finish(1)
    assert node.reported() == [1]
    assert node.free() == {"cpu": 1}


def test_what_waits_is_forgotten(hand: Any) -> None:
    """Without being given back: nobody asked for it."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []}, node.kind(flags=TWICE))

    abandon(node, 1)

    assert is_silent(node)
    node.finish(0)
    assert node.given() == []


def test_what_has_ended_or_is_another_attempt_stays(hand: Any) -> None:
    """Late words change nothing: the result is kept until it is released, and a later attempt goes on."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []}, node.kind(flags=TWICE))
    node.finish(0)

    abandon(node, 0)
    abandon(node, 1, attempt=3)

    assert not node.killed
    node.finish(1)
    assert node.reported() == [1]


def test_a_coroutine_is_cancelled_and_its_neighbours_go_on(hand: Any) -> None:
    """It answers that it was cancelled, and that is all."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []}, node.kind("nap", {}, flags=int(Flag.ASYNC) | TWICE))
    node.warm_up()
    worker = node.worker_of(0)

    abandon(node, 0)

    assert node.cancelled == [0]
    node.happen(Broke(worker, node.RUN, 0, 1, "cancelled", "CancelledError", "", "", 0.1, b""))
    assert is_silent(node)
    node.finish(1)
    assert node.reported() == [1]


def test_what_takes_its_result_here_gets_it_from_the_winner(hand: Any) -> None:
    """A dependent that waits on this node asks there as soon as it is told."""
    node = hand({"cpu": 1})
    node.plan({0: []}, node.kind(flags=TWICE))
    node.plan({1: [0]}, node.kind("g"))
    worker = node.worker_of(0)
    abandon(node, 0)

    node.say(COORDINATOR, Redirect(node.RUN, ints([0]), ints([node.PEER])))

    assert [list(want.tasks) for want in node.said(Want, node.PEER)] == [[0]]
    node.warm_up()
    node.die(worker, 0, reason="killed")
    node.arrive(0)
    assert node.given() == [(1,)]


def test_only_what_may_run_twice_is_beside_what_may_run_twice(hand: Any) -> None:
    """So that ending one does no harm to others: they are given anew, and nobody is told of it."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: [], 1: [], 2: []}, node.kind(flags=TWICE))
    assert node.given() == [(0, 1, 2)]
    node.plan({3: []}, node.kind())
    assert node.given() == []
    worker = node.worker_of(1)
    node.finish(0)

    abandon(node, 1)

    assert [killed for killed, _ in node.killed] == [worker]
    assert not node.said(Failed)
    node.warm_up()
    node.die(worker, 1, reason="killed")
    assert node.given() == [(3,)] or node.given() == [(2,)]
    node.finish_all()
    assert (node.RUN, 1) not in node.executed[3:] and {(node.RUN, 2), (node.RUN, 3)} <= set(node.executed[3:])
    assert node.free() == {"cpu": 1}
