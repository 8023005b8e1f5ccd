"""Short tasks of different costs: they go in one message, under the largest of their costs, where that keeps nobody from starting."""

from __future__ import annotations

from typing import Any

from handoff.ids import COORDINATOR, RunId
from handoff.machine import Received
from handoff.messages import Failed, Recall
from handoff.node.events import Execute
from handoff.program import Flag


def with_memory(node: Any, *amounts: int, run: RunId | None = None, **options: Any) -> list[Any]:
    """Tasks 0, 1, 2, ... that cost a core and this much memory, planned at once."""
    kinds = [node.kind("f", {"cpu": 1, "memory": amount}, **options) for amount in amounts]
    run = run or node.RUN
    said: list[Any] = node.happen(*[
        Received(COORDINATOR, node.plan_message({task: []}, kind, run=run, urgency=100.0 - task)) for task, kind in enumerate(kinds)])
    return said


def known(hand: Any, capacity: dict[str, float], **settings: Any) -> Any:
    """A node that knows the function to be short."""
    node = hand(capacity, **settings)
    node.learn("f")
    return node


def test_tasks_with_a_cost_each_go_in_one_message(hand: Any) -> None:
    """Each is told what it was granted; the claim is the largest of each resource, and is free when all of them ended."""
    node = known(hand, {"cpu": 1, "memory": 100})
    with_memory(node, 10, 40, 20)

    [execute] = node.last_of(Execute)
    assert execute.tasks == (0, 1, 2)
    assert [dict(cost)["memory"] for cost in execute.costs] == [100_000, 400_000, 200_000]
    assert node.free() == {"memory": 60}
    node.finish(0, 1)
    assert node.free() == {"memory": 60}
    node.finish(2)
    assert node.free() == {"cpu": 1, "memory": 100}


def test_a_thousand_costs_take_few_messages(hand: Any) -> None:
    """And a worker that has a claim which would do for them is given the next before it is through with the last."""
    node = known(hand, {"cpu": 1, "memory": 10_000})
    with_memory(node, *[1 + (task * 7919) % 1000 for task in range(1000)])
    given = [effect for effect in node.all if isinstance(effect, Execute)][1:]
    assert len(given) > 1 and len({effect.worker for effect in given}) == 1

    node.finish_all()

    assert [task for _, task in node.executed[1:]] == list(range(1000))
    assert len([effect for effect in node.all if isinstance(effect, Execute)]) < 15
    assert node.free() == {"cpu": 1, "memory": 10_000}


def test_a_common_claim_keeps_nothing_from_running_beside_it(hand: Any) -> None:
    """Of each as many run at once as if it claimed its own cost: two of 30 fit, but not two of 60."""
    node = known(hand, {"cpu": 2, "memory": 100})
    with_memory(node, 30, 60, 20, 10)

    assert [effect.tasks for effect in node.last_of(Execute) if effect.worker == node.worker_of(1)] == [(1,)]
    assert node.worker_of(0) != node.worker_of(1)
    node.finish_all()
    assert node.free() == {"cpu": 2, "memory": 100}


def test_what_waits_for_room_is_not_kept_waiting_by_common_claims(hand: Any) -> None:
    """A large one that is overtaken for long comes first, whatever smaller ones go on together."""
    node = known(hand, {"cpu": 2, "memory": 100}, bypass_max=3, batch_max=2)
    node.plan({100: []}, node.kind("slow", {"cpu": 1, "memory": 40}))
    with_memory(node, *[20 + task % 5 for task in range(200)])
    node.plan({500: []}, node.kind("large", {"cpu": 1, "memory": 90}), urgency=1000.0)
    node.finish(100)
    given = len(node.executed)
    while (node.RUN, 500) not in node.holds:
        node.finish(next(task for _, task in node.holds))

    assert len(node.executed) - given < 10


def test_only_what_may_stand_beside_it_does(hand: Any) -> None:
    """Nothing of another run, of unknown duration, with GPUs, of what the cluster shares, or that may not run again beside what may."""
    node = known(hand, {"cpu": 1, "memory": 100, "gpu": 1})
    node.learn("g", 1e-5)
    others = (
        node.kind("f", {"cpu": 1, "gpu": 0.5}), node.kind("f", {"cpu": 1, "cluster:license": 1}), node.kind("new", {"cpu": 1, "memory": 2}),
        node.kind("f", {"cpu": 1, "memory": 3}, max_retries=0), node.kind("f", {"cpu": 1, "memory": 4}, flags=int(Flag.ALONE)),
    )
    first = node.kind("f", {"cpu": 1, "memory": 1})
    for other in others:
        plans = [node.plan_message({task: []}, kind, urgency=9.0 - task) for task, kind in enumerate((first, other))]
        node.happen(*[Received(COORDINATOR, plan) for plan in plans])
        assert node.given() == [(0,)]
        node.finish(0)
        node.finish_all()
    with_memory(node, 10)
    with_memory(node, 20, run=RunId(2))
    assert all(len(effect.tasks) == 1 for effect in node.all if isinstance(effect, Execute))


def test_what_is_taken_back_or_lost_among_several_costs(hand: Any) -> None:
    """A worker dies: what ran is blamed, and the others go on under claims of their own; what was taken back does not."""
    node = known(hand, {"cpu": 1, "memory": 100})
    with_memory(node, 10, 40, 20, 30)
    assert node.given() == [(0, 1, 2, 3)]
    worker = node.worker_of(0)
    node.finish(0)

    node.die(worker, 1)

    assert [failed.task for failed in node.said(Failed)] == [1]
    node.say(COORDINATOR, Recall(node.RUN, *[type(node.plan_message({2: []}).tasks)("i", [each]) for each in (2, 1)]))
    node.warm_up()
    assert node.given() == [(3,)]
    node.finish(3)
    assert node.free() == {"cpu": 1, "memory": 100}
