"""Which GPUs a function gets, in which process it runs with them, and that no GPU is given away twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.columns import ints
from handoff.ids import COORDINATOR
from handoff.machine import Received
from handoff.messages import Failed, Plan
from handoff.node.claims import Claims
from handoff.node.events import Execute
from handoff.node.gpus import Gpu, gpus_of
from handoff.program import Kind
from handoff.resources import SCALE, Amounts, amounts, costs, plain

MIXED = (Gpu("a100", 40 * SCALE), Gpu("h100", 80 * SCALE), Gpu("a100", 40 * SCALE), Gpu("", 0))
CAPACITY = amounts({"gpu": 4, "gpu:a100": 2, "gpu:h100": 1, "gpu_memory": 160, "cpu": 4})


def claims(gpus: tuple[Gpu, ...] = MIXED) -> Claims:
    """A node with two a100, an h100 and one more."""
    return Claims(CAPACITY, 4, gpus)


def take(of: Claims, **cost: Any) -> tuple[int, ...]:
    """Claim this, which fits."""
    wanted, = costs({name.replace("_of_", ":"): amount for name, amount in cost.items()})
    assert of.fits(wanted)
    return of.take(wanted)


def fits(of: Claims, **cost: Any) -> bool:
    """Whether this fits."""
    wanted, = costs({name.replace("_of_", ":"): amount for name, amount in cost.items()})
    return of.fits(wanted)


def test_whole_gpus_are_the_lowest_free_ones() -> None:
    """Of any kind, or of the kind that is asked for."""
    node = claims()

    assert take(node, gpu_of_h100=1) == (1,)
    assert take(node, gpu=2) == (0, 2)
    assert not fits(node, gpu_of_a100=1)
    assert not fits(node, gpu=2)
    assert take(node, gpu=1) == (3,)


def test_parts_fill_up_the_fullest_gpu_and_never_straddle_two() -> None:
    """0.6 and 0.6 need two GPUs; 0.3 goes where less is left; 0.5 does not fit into what two have left together."""
    node = Claims(amounts({"gpu": 2}), 1)

    assert [take(node, gpu=0.6), take(node, gpu=0.6), take(node, gpu=0.3)] == [(0,), (1,), (0,)]
    assert not fits(node, gpu=0.5)
    assert [take(node, gpu=0.1), take(node, gpu=0.4)] == [(0,), (1,)]
    assert not fits(node, gpu=0.0001)


def test_any_gpu_is_one_of_its_kind_and_the_reverse() -> None:
    """What is said to be free counts both."""
    node = claims()
    take(node, gpu=1)
    take(node, gpu_of_a100=0.5)

    assert plain(node.amounts()) == {"cpu": 4, "gpu": 2.5, "gpu:a100": 0.5, "gpu:h100": 1, "gpu_memory": 160}


def test_memory_is_that_of_the_gpu_that_is_given() -> None:
    """A part needs the memory on its one GPU; memory alone takes some of one GPU that nobody has whole."""
    node = claims()

    assert take(node, gpu=0.25, gpu_memory=60) == (1,)
    assert take(node, gpu=0.25, gpu_memory=30) == (0,)
    assert take(node, gpu=0.25, gpu_memory=30) == (2,)
    assert not fits(node, gpu=0.25, gpu_memory=30)
    assert take(node, gpu_memory=20) == (1,)
    assert not fits(node, gpu_memory=20)


def test_a_whole_gpu_is_not_given_while_somebody_uses_its_memory() -> None:
    """And its memory belongs to who has it whole."""
    node = claims((Gpu("", 40 * SCALE),))
    cost = amounts({"gpu_memory": 10})
    given = node.take(cost)

    assert given == (0,) and not fits(node, gpu=1)
    node.give_back(cost, given)
    assert take(node, gpu=1) == (0,)
    assert not fits(node, gpu_memory=10)


@pytest.mark.parametrize(("cost", "text"), [
    ({"gpu": 5}, "gpu=5, where this node has 4"),
    ({"gpu:t4": 1}, "gpu:t4=1, where this node has 0"),
    ({"gpu": 0.5, "gpu_memory": 100}, "gpu_memory=100 on each GPU that it takes, where this node has 80"),
    ({"gpu:a100": 2, "gpu_memory": 100}, "gpu_memory=50 on each GPU that it takes, where this node has 40"),
    ({"gpu:a100": 2, "gpu_memory": 80}, ""),
])
def test_what_a_node_can_never_give_is_said(cost: dict[str, float], text: str) -> None:
    """Also what all GPUs have together, but no single one."""
    assert claims().beyond(amounts(cost)) == text


def test_declared_gpus_are_laid_out() -> None:
    """Kinds by name, then the others, with the memory shared evenly."""
    found = gpus_of(amounts({"gpu": 3, "gpu:b": 1, "gpu:a": 1, "gpu_memory": 30}))

    assert found == (Gpu("a", 10 * SCALE, "0"), Gpu("b", 10 * SCALE, "1"), Gpu("", 10 * SCALE, "2"))
    assert gpus_of(amounts({"cpu": 1})) == ()


COSTS = [amounts(each) for each in (
    {"gpu": 1}, {"gpu": 2}, {"gpu": 0.5}, {"gpu": 0.3, "cpu": 1}, {"gpu:a100": 1}, {"gpu:a100": 0.7, "gpu_memory": 25}, {"gpu_memory": 30},
    {"gpu:h100": 0.2}, {"cpu": 2}, {"gpu:a100": 2, "gpu_memory": 80},
)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=60))
def test_whatever_is_claimed_and_given_back_adds_up(steps: list[tuple[bool, int]]) -> None:
    """After any sequence each GPU's parts are within one, what is said to be free is what is free, and in the end all of it is."""
    node, held = claims(), []
    for is_claim, number in steps:
        cost = COSTS[number % len(COSTS)]
        if is_claim and node.fits(cost):
            assert node.how_many(cost) >= 1
            held.append((cost, node.take(cost)))
        elif is_claim:
            assert node.how_many(cost) == 0
        elif held:
            node.give_back(*held.pop(number % len(held)))
        used = [sum(min(SCALE, dict(cost).get("gpu", dict(cost).get("gpu:a100", dict(cost).get("gpu:h100", 0))))
                    for cost, gpus in held if index in gpus) for index in range(4)]
        assert node.gpus.free == [SCALE - each for each in used]
        assert min(node.gpus.free) >= 0 and min(node.gpus.memory) >= 0 and min(node.free.values()) >= 0
        assert node.free["gpu"] == sum(node.gpus.free)
        assert node.free["gpu:a100"] == node.gpus.free[0] + node.gpus.free[2]
        alone = [index for cost, gpus in held for index in gpus if dict(cost).get("gpu", dict(cost).get("gpu:a100", 0)) >= SCALE]
        assert len(alone) == len(set(alone))
    for each in held:
        node.give_back(*each)
    assert node.free == node.capacity and node.gpus.free == [SCALE] * 4 and node.gpus.memory == [each.memory for each in MIXED]


# ── in the node's brain ─────────────────────────────────────────────────────


def executed(hand: Any) -> list[Execute]:
    """The batches given in the last turn."""
    return [effect for effect in hand.last if isinstance(effect, Execute)]


def test_a_worker_keeps_the_gpus_that_it_had_first(hand: Callable[..., Any]) -> None:
    """CUDA looks only once: the same process serves the same GPU again, and never another or none."""
    node = hand({"cpu": 3, "gpu": 2})
    gpu, cpu = node.kind("g", {"gpu": 1}), node.kind("c", {"cpu": 1})

    node.plan({0: []}, gpu)
    first = executed(node)[0]
    assert (first.gpus, first.cost) == ((0,), (("gpu", SCALE),))
    node.finish(0)
    node.plan({1: []}, gpu)
    assert (executed(node)[0].worker, executed(node)[0].gpus) == (first.worker, (0,))
    node.plan({2: []}, gpu)
    assert (executed(node)[0].worker != first.worker, executed(node)[0].gpus) == (True, (1,))
    node.finish(1)
    node.plan({3: []}, cpu)
    assert (executed(node)[0].worker != first.worker, executed(node)[0].gpus) == (True, ())


def test_a_worker_that_ran_without_gpus_is_not_given_any(hand: Callable[..., Any]) -> None:
    """It may have looked at all of them; a new worker is started for the function, though there are idle ones."""
    node = hand({"cpu": 1, "gpu": 1})
    node.plan({0: []}, node.kind("c", {"cpu": 1}))
    used = node.worker_of(0)
    node.finish(0)

    node.plan({1: []}, node.kind("g", {"gpu": 1}))
    assert not executed(node)
    node.warm_up()
    assert executed(node)[0].worker != used


def test_at_the_limit_of_workers_one_is_replaced(hand: Callable[..., Any]) -> None:
    """A node does not grow without end because GPUs are asked for in ever new combinations: the longest idle one goes."""
    node = hand({"cpu": 1, "gpu": 2}, workers_max_per_cpu=1)
    node.plan({0: []}, node.kind("c", {"cpu": 1}))
    plain_worker = node.worker_of(0)
    node.finish(0)
    for task in (1, 2):
        node.plan({task: []}, node.kind("part", {"gpu": 0.6}))
        node.wait(1)
        node.warm_up()
    assert node.worker_of(1) != node.worker_of(2)
    node.finish(1)
    node.finish(2)

    node.plan({3: []}, node.kind("both", {"gpu": 2}))
    assert [worker for worker, _ in node.killed] == [plain_worker]
    node.die(plain_worker)
    node.warm_up()
    assert executed(node)[0].gpus == (0, 1)


def test_at_the_limit_of_workers_the_last_idle_one_may_get_work_instead(hand: Callable[..., Any]) -> None:
    """It was bound to another GPU than the first one needs, and then there is nobody to replace."""
    node = hand({"cpu": 1, "gpu": 2, "memory": 10}, workers_max_per_cpu=1)
    one = node.kind("one", {"gpu": 1})
    node.plan({0: []}, one)
    node.finish(0)
    for task in (1, 2):
        node.plan({task: []}, node.kind(f"small{task}", {"memory": task}))
        node.wait(1)
        node.warm_up()
    assert len(node.brain._crew.workers) == node.brain._crew.most and len(node.brain._crew.idle) == 1

    both = node.plan_message({3: []}, node.kind("both", {"gpu": 2}), urgency=5.0)
    node.happen(Received(COORDINATOR, both), Received(COORDINATOR, node.plan_message({4: []}, one)))
    assert executed(node)[0].tasks == (4,) and not node.killed


def test_each_gpu_has_a_worker_however_few_cores_there_are(hand: Callable[..., Any]) -> None:
    """Functions that cost no core are not held up for want of processes."""
    node = hand({"cpu": 1, "gpu": 8})
    node.plan(node.independent(range(8)), node.kind("g", {"gpu": 1}))
    for _ in range(8):
        node.wait(0.1)
        node.warm_up()

    assert sorted(worker.gpus for worker in node.brain._crew.workers.values() if worker.batches) == [(index,) for index in range(8)]


def test_short_functions_do_not_wait_behind_long_ones_for_a_process(hand: Callable[..., Any]) -> None:
    """A GPU is free, all workers compute on the cores for long: after a while of standstill one more is started."""
    node = hand({"cpu": 1, "gpu": 1})
    node.learn("g", 1e-3)
    node.plan({0: []}, node.kind("long", {"cpu": 1}))
    node.plan({1: []}, node.kind("g", {"gpu": 1}))
    assert (1, 1) not in node.holds
    node.wait(0.6)
    node.warm_up()

    assert {(1, 0), (1, 1)} <= set(node.holds)


def test_a_whole_gpu_is_cleared_of_idle_workers(hand: Callable[..., Any]) -> None:
    """What an idle process keeps in the GPU's memory would be missing to the next one."""
    node = hand({"cpu": 4, "gpu": 2})
    node.plan({0: []}, node.kind("one", {"gpu": 1}))
    before = node.worker_of(0)
    node.finish(0)

    node.plan({1: []}, node.kind("both", {"gpu": 2}))
    assert node.killed == [(before, "its GPUs are given to another worker")]
    assert executed(node)[0].gpus == (0, 1)


def test_coroutines_with_gpus_have_a_process_each(hand: Callable[..., Any]) -> None:
    """Which GPUs are visible is one thing for a whole process, so they do not share the one for coroutines."""
    node = hand({"cpu": 2, "gpu": 2})
    node.plan({0: [], 1: []}, node.kind("co", {"gpu": 1}, flags=2))

    assert sorted(effect.gpus for effect in executed(node)) == [(0,), (1,)]
    assert len({effect.worker for effect in executed(node)}) == 2


def test_the_chosen_alternative_is_claimed(hand: Callable[..., Any]) -> None:
    """A plan names which cost a task is to claim; where it says nothing it is the preferred one."""
    node = hand({"cpu": 4, "gpu": 1})
    kind = node.kind("k", {"gpu": 1}, alternatives=(amounts({"cpu": 3}), amounts({"cpu": 1, "cluster:license": 1})))

    node.plan({0: [], 1: [], 2: []}, kind, choices={1: 0, 2: 1})
    granted = {effect.tasks[0]: effect.cost for effect in executed(node)}
    assert granted == {0: amounts({"gpu": 1}), 1: amounts({"cpu": 3}), 2: amounts({"cpu": 1, "cluster:license": 1})}
    assert node.free() == {}
    node.finish(1)
    assert node.free() == {"cpu": 3}


def test_an_alternative_that_does_not_exist_is_refused(hand: Callable[..., Any]) -> None:
    """It is better told than waited for."""
    node = hand()
    node.plan({0: []}, node.kind("k"), choices={0: 0})

    assert "this is a bug in Handoff" in node.said(Failed)[0].text


def test_a_later_attempt_may_claim_another_alternative(hand: Callable[..., Any]) -> None:
    """A task that waits for room is found among those of its new cost."""
    node = hand({"cpu": 2, "gpu": 1})
    kind = node.kind("k", {"gpu": 1}, alternatives=(amounts({"cpu": 1}),))
    node.plan({0: [], 1: []}, kind)
    assert node.given() == [(0,)]

    node.plan({1: []}, kind, attempt=2, choices={1: 0})
    assert node.given() == [(1,)]
    assert node.worker_of(1) != node.worker_of(0)
    assert node.free() == {"cpu": 1}


def test_the_cluster_s_part_of_a_cost_takes_nothing_on_a_node(hand: Callable[..., Any]) -> None:
    """It takes one of the places for functions without a cost, of which there are so many per core."""
    node = hand({"cpu": 1}, workers_max_per_cpu=20)
    node.plan(node.independent(range(9)), node.kind("k", {"cluster:license": 1}))
    node.wait(1)
    node.warm_up()

    assert sum(len(tasks) for tasks in node.given()) + 1 == 4
    assert node.free() == {"cpu": 1}


def test_plans_without_choices_stay_as_they_are(hand: Callable[..., Any]) -> None:
    """Nothing is looked up where nothing was chosen."""
    node = hand()
    message = node.plan_message({0: []})
    assert isinstance(message, Plan) and message.choices == ints()


@pytest.mark.parametrize("cost", [
    (("gpu", 10_000), ("gpu:a100", 10_000)), (("gpu", 15_000),), (("gpu", 5_000), ("gpu", 5_000)), (("cpu", -10_000), ("gpu", 10_000)),
])
def test_a_plan_of_what_no_node_can_grant_is_answered(hand: Any, cost: Amounts) -> None:
    """The books hold: nothing of it starts, who planned it is told why, and what comes next has all GPUs."""
    node = hand({"cpu": 2, "gpu": 2, "gpu:a100": 2})
    node.plan({0: []}, Kind((b"f",), "foreign", cost=cost))
    (failed,) = node.said(Failed)
    assert failed.cause == "unloadable" and failed.text.startswith("foreign asks for what no node can grant (")
    assert not node.executed

    node.plan({1: []}, node.kind("whole", {"gpu": 2}))
    assert node.executed == [(node.RUN, 1)]
    node.finish(1)
    assert node.free() == {"cpu": 2, "gpu": 2, "gpu:a100": 2}


def test_a_kind_of_gpu_that_was_not_offered_is_not_counted() -> None:
    """Its driver names one, and the node offers GPUs alone: the claim is of these."""
    one = amounts({"gpu": 1})
    books = Claims(one, 4, [Gpu("a100", 0, "0")])
    taken = books.take(one)
    assert taken == (0,) and books.free["gpu"] == 0
    books.give_back(one, taken)
    assert books.free["gpu"] == SCALE
