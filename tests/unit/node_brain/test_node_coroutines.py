"""Coroutines that cost a whole cpu: given to workers as functions are, and asked to end before anything is killed."""

from __future__ import annotations

from typing import Any

import pytest

from handoff.columns import ints
from handoff.ids import COORDINATOR, RunId
from handoff.machine import Received
from handoff.messages import Abandon, EndRun, Failed
from handoff.node.events import CancelTask, Execute, HandBack, HandedBack
from handoff.program import Flag

ASYNC = int(Flag.ASYNC | Flag.OUTPUT)


def coroutines(hand: Any, count: int, cpus: float = 1, **options: Any) -> Any:
    """A node with so many coroutines, known to be short, in the hands of its worker."""
    node = hand({"cpu": cpus}, kill_grace_seconds=0.5)
    node.learn("co", flags=ASYNC)
    node.all.clear()
    node.plan(node.independent(range(count)), node.kind("co", flags=ASYNC, **options))
    return node


def handed_back(node: Any) -> None:
    """The worker has begun the first that it has, and hands back the rest."""
    held = [task for _, task in node.holds][1:]
    worker = node.worker_of(held[0])
    for task in held:
        del node.holds[node.RUN, task]
    node.happen(HandedBack(worker, node.RUN, tuple(held)))


def test_short_ones_are_given_by_the_hundred(hand: Any) -> None:
    """A message for each would cost a turn each, hundreds of times what they take."""
    node = coroutines(hand, 1000)
    node.finish_all()

    given = [effect.tasks for effect in node.all if isinstance(effect, Execute)]
    assert sum(map(len, given)) == 1000 and len(given) <= 10


def test_they_follow_one_another_in_a_worker_with_functions(hand: Any) -> None:
    """A chain of both kinds is one message: what one makes is there for the next."""
    node = hand({"cpu": 1})
    node.learn("co", flags=ASYNC)
    node.learn("f")
    coroutine = node.kind("co", flags=ASYNC)
    plans = [node.plan_message({0: []}, coroutine), node.plan_message({1: [0]}), node.plan_message({2: [1]}, coroutine)]
    node.happen(*[Received(COORDINATOR, plan) for plan in plans])

    assert [(effect.tasks, effect.is_at_once) for effect in node.last_of(Execute)] == [((0, 1, 2), False)]


def test_each_that_runs_side_by_side_is_told_what_it_was_granted(hand: Any) -> None:
    """Coroutines of one message may cost different amounts; who asks for the current task's cost gets its own."""
    node = hand({"cpu": 1})
    half, least = (node.kind("co", {"cpu": cpus}, flags=ASYNC) for cpus in (0.5, 0.1))
    plans = [node.plan_message(node.independent(tasks), kind) for tasks, kind in ((range(1), half), (range(1, 3), least))]
    node.happen(*[Received(COORDINATOR, plan) for plan in plans])
    node.warm_up()

    executes = [effect for effect in node.all if isinstance(effect, Execute)]
    given = {task: cost for effect in executes for task, cost in zip(effect.tasks, effect.costs, strict=True)}
    assert given == {0: half.cost, 1: least.cost, 2: least.cost}


def test_coroutines_that_cost_the_same_are_told_so_once(hand: Any) -> None:
    """As functions are: not for each of thousands."""
    node = hand({"cpu": 1})
    kind = node.kind("co", {"cpu": 0.1}, flags=ASYNC)
    node.plan(node.independent(range(3)), kind)
    node.warm_up()

    assert [(effect.cost, effect.costs) for effect in node.all if isinstance(effect, Execute)] == [(kind.cost, ())]


@pytest.mark.parametrize("cost", [{"cpu": 0.5}, {}, {"memory": 1}])
def test_what_costs_less_than_a_cpu_runs_side_by_side(hand: Any, cost: dict[str, float]) -> None:
    """They wait most of the time."""
    node = hand({"cpu": 2, "memory": 10})
    node.plan({0: [], 1: []}, node.kind("co", cost, flags=ASYNC))
    node.warm_up()
    assert [(effect.tasks, effect.is_at_once) for effect in node.all if isinstance(effect, Execute)] == [((0, 1), True)]


def test_one_over_its_time_is_asked_to_end_and_its_worker_stays(hand: Any) -> None:
    """What waits behind it is taken back meanwhile; it answers with whatever it likes, and that is a timeout."""
    node = coroutines(hand, 3, timeout=1.0)
    worker = node.worker_of(0)
    said = node.wait(1.0)
    asked = [each for each in said if isinstance(each, (HandBack, CancelTask))]
    assert asked[-2:] == [HandBack(worker), CancelTask(worker, node.RUN, (0,))]
    handed_back(node)
    node.broke(0, "exception")

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(0, "timeout")]
    assert node.worker_of(1) == worker and node.killed == []
    node.finish(1, 2)
    node.wait(1.0)
    assert node.killed == [] and node.free() == {"cpu": 1}


def test_one_that_ends_well_although_it_was_asked_to_has_ended_well(hand: Any) -> None:
    """It had its result already, or did not want to lose it."""
    node = coroutines(hand, 1, timeout=1.0)
    node.wait(1.0)
    assert node.cancelled == [0]
    node.finish(0)
    assert node.reported() == [0] and node.said(Failed) == []


def test_one_that_does_not_end_is_killed_with_its_worker(hand: Any) -> None:
    """After the grace; nothing else was there any more."""
    node = coroutines(hand, 2, timeout=1.0)
    worker = node.worker_of(0)
    node.wait(1.0)
    handed_back(node)
    node.wait(0.6)

    assert node.killed == [(worker, "timeout")]
    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(0, "timeout")]
    node.die(worker, reason="killed: timeout")
    node.warm_up()
    assert list(node.holds) == [(1, 1)]


def test_those_of_a_run_that_is_over_are_asked_to_end(hand: Any) -> None:
    """Once, and the claim is free when they have; what they took with them is not begun."""
    node = coroutines(hand, 3)
    worker = node.worker_of(0)
    node.say(COORDINATOR, EndRun(node.RUN))
    assert node.last_of(HandBack, CancelTask) == [HandBack(worker), CancelTask(worker, node.RUN, (0, 1, 2))] and node.killed == []
    node.plan({7: []}, run=RunId(2))
    handed_back(node)
    assert (2, 7) not in node.executed
    node.broke(0, "cancelled")

    assert (2, 7) in node.executed and node.said(Failed) == []
    node.wait(1.0)
    assert node.killed == []


def test_one_that_outlives_its_run_is_killed(hand: Any) -> None:
    """After the grace."""
    node = coroutines(hand, 3)
    worker = node.worker_of(0)
    node.say(COORDINATOR, EndRun(node.RUN))
    handed_back(node)
    node.wait(0.6)
    assert node.killed == [(worker, "the run is over")]
    node.die(worker, reason="killed: the run is over")
    assert node.free() == {"cpu": 1}


def test_one_at_its_end_is_not_disturbed(hand: Any) -> None:
    """Who was asked to end because its time was over may be closing what it opened when its run ends."""
    node = coroutines(hand, 1, timeout=1.0)
    node.wait(1.0)
    assert node.cancelled == [0]
    node.say(COORDINATOR, EndRun(node.RUN))
    assert node.cancelled == []
    node.broke(0, "cancelled")
    assert node.free() == {"cpu": 1}


def test_abandoned_ones_end_whether_they_have_begun_or_not(hand: Any) -> None:
    """The one that runs is asked to, the other is not begun; what else is there goes on, and nobody is told of the two."""
    node = hand({"cpu": 1}, kill_grace_seconds=0.5)
    twice = {"flags": ASYNC | int(Flag.IDEMPOTENT)}
    node.learn("co", **twice)
    node.plan(node.independent(range(3)), node.kind("co", **twice))
    node.say(COORDINATOR, Abandon(node.RUN, ints([0, 1]), ints([1, 1])))
    assert node.cancelled == [0, 1] and node.killed == []
    handed_back(node)
    node.broke(0, "cancelled")

    assert node.said(Failed) == [] and list(node.holds) == [(1, 2)]
    node.wait(1.0)
    assert node.killed == []


def test_what_may_not_run_again_is_blamed_only_if_it_had_begun(hand: Any) -> None:
    """The worker says which one executed, as of functions."""
    node = coroutines(hand, 3, max_retries=0)
    worker = node.worker_of(0)
    node.die(worker, 0)
    assert [failed.task for failed in node.said(Failed)] == [0]
    node.warm_up()
    assert sorted(task for _, task in node.holds) == [1, 2]
