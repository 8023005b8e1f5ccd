"""What a node starts, when, and in which company."""

from __future__ import annotations

from typing import Any

import pytest
from counted import calls_in

from handoff.columns import ints
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Received
from handoff.messages import EndRun, Failed, Want
from handoff.node.events import Execute, Spawn, WorkerReady
from handoff.program import Flag, Form


def test_one_worker_per_cpu_is_warm_before_anything_else(hand: Any) -> None:
    """A node starts a worker for each cpu at its first breath, before it is welcome."""
    node = hand({"cpu": 2.5}, welcome=False)

    assert len([effect for effect in node.all if isinstance(effect, Spawn)]) == 3


def test_a_node_without_cpus_has_one_worker(hand: Any) -> None:
    """At least one worker is there."""
    assert len(hand({"memory": 5}).workers) == 1


def test_nothing_is_done_before_the_welcome(hand: Any) -> None:
    """A plan that comes before the welcome is not ours."""
    node = hand(welcome=False)
    node.plan({0: []})

    assert node.executed == []


def test_execute_tells_all_about_a_task(hand: Any) -> None:
    """Inputs, literal, kind, attempt and target travel with the task; sources only where user code may ask for them."""
    node = hand()
    tree = node.kind("tree", form=Form.TREE)
    node.plan({0: []}, attempt=3)
    node.finish(0)
    node.plan({5: [0]}, tree, attempt=2, target={5: node.OTHER})
    execute = node.last_of(Execute)[0]

    assert (execute.run, execute.tasks, execute.attempts, execute.kinds) == (node.RUN, (5,), (2,), (tree,))
    assert (execute.literals, execute.inputs, execute.sources, execute.targets) == ((b"5",), ((0,),), ((node.ME,),), (node.OTHER,))
    node.plan({6: [0]}, node.kind("plain"))
    assert node.last_of(Execute)[0].sources == ((),)
    assert node.last_of(Execute)[0].targets == (NOBODY,)


def test_attempts_that_never_began_are_not_told(hand: Any) -> None:
    """The coordinator hears of attempts by their numbers; the function is told how often it was tried, a coroutine too."""
    node = hand()
    node.plan({0: []}, attempt=4, unbegun={0: 3})
    execute = node.last_of(Execute)[0]
    assert (execute.attempts, execute.tries) == ((4,), (1,))
    node.plan({1: []}, node.kind("coroutine", flags=Flag.OUTPUT | Flag.ASYNC), attempt=4, unbegun={1: 2})
    node.warm_up()
    assert [(each.attempts, each.tries) for each in node.all if isinstance(each, Execute)][-1] == ((4,), (2,))


def test_a_task_waits_for_its_inputs(hand: Any) -> None:
    """A dependent starts once all its inputs are there, and one that takes an input twice waits for it once."""
    node = hand()
    node.plan({0: [], 1: [], 2: [0, 1, 0]})
    node.finish(0)
    assert node.given() == []
    node.finish(1)

    assert node.given() == [(2,)]


def test_the_most_urgent_starts_first_across_runs(hand: Any) -> None:
    """Urgencies are compared between plans and runs."""
    node = hand({"cpu": 1})
    node.plan({0: []})
    node.plan({1: [], 2: []}, urgency={1: 1.0, 2: 5.0})
    node.plan({7: []}, run=RunId(2), urgency=3.0)
    node.finish_all(seconds=1.0)

    assert node.executed == [(1, 0), (1, 2), (2, 7), (1, 1)]


def test_equal_urgency_keeps_the_order_of_the_plan(hand: Any) -> None:
    """Among equals the first planned is the first started."""
    node = hand({"cpu": 1})
    node.plan(node.independent(range(5)))
    node.finish_all(seconds=1.0)

    assert [task for _, task in node.executed] == [0, 1, 2, 3, 4]


def test_among_equals_goes_first_what_a_peer_waits_for(hand: Any) -> None:
    """The way to there takes longer than the others need here, and then they are ready, too. Urgency counts for more."""
    node = hand({"cpu": 1})
    node.plan({0: []})
    node.say(node.PEER, Want(node.RUN, ints([3, 5])))
    node.plan(node.independent(range(1, 6)), urgency={1: 1.0, 2: 1.0, 3: 1.0, 4: 2.0, 5: 0.5})
    node.finish_all(seconds=1.0)

    assert [task for _, task in node.executed] == [0, 4, 3, 1, 2, 5]


def test_a_cost_that_does_not_fit_waits(hand: Any) -> None:
    """Amounts are exact: what is not free now is not given."""
    node = hand({"cpu": 2, "memory": 100})
    heavy = node.kind("heavy", {"cpu": 1, "memory": 60})
    node.plan({0: [], 1: []}, heavy)
    assert node.given() == [(0,)]
    assert node.free() == {"cpu": 1, "memory": 40}
    node.finish(0)

    assert node.given() == [(1,)]


def test_a_cost_beyond_the_node_fails_at_once(hand: Any) -> None:
    """A task that can never fit is refused with the resource named, instead of waiting for ever."""
    node = hand()
    node.plan({0: []}, node.kind("big", {"cpu": 1, "gpu": 2}))
    failed = node.said(Failed)[0]

    assert failed.cause == "unloadable"
    assert "gpu=2, where this node has 0" in failed.text


def test_small_tasks_pass_a_large_one_only_so_often(hand: Any) -> None:
    """What does not fit is overtaken up to bypass_max times; then the node keeps room for it."""
    node = hand({"cpu": 2}, bypass_max=3)
    small, large = node.kind("small"), node.kind("large", {"cpu": 2})
    node.plan({0: []}, small, urgency=9.0)
    node.plan({100: []}, large, urgency=5.0)
    node.plan(node.independent(range(1, 20)), small, urgency=1.0)
    for _ in range(30):
        if (1, 100) in node.executed or not node.holds:
            break
        newest = list(node.holds)[-1][1]
        node.finish(newest, seconds=1.0)

    before = [task for _, task in node.executed].index(100)
    assert before == 1 + 3


def test_batches_of_short_tasks_do_not_starve_a_large_one(hand: Any) -> None:
    """A worker that goes on with short tasks keeps its claim, so that counts as overtaking too."""
    node = hand({"cpu": 2}, bypass_max=3, batch_max=4)
    node.learn("small")
    node.plan({1000: []}, node.kind("long"), urgency=9.0)
    node.plan({100: []}, node.kind("large", {"cpu": 2}), urgency=5.0)
    node.plan(node.independent(range(200)), node.kind("small"), urgency=1.0, run=RunId(2))
    given = []
    while any(run == 2 for run, _ in node.holds):
        first = node.holds[next(key for key in node.holds if key[0] == 2)][0]
        node.finish(*[task for (run, task), (worker, _) in node.holds.items() if run == 2 and worker == first], run=RunId(2))
        given += node.given()
    node.finish(1000, seconds=1.0)

    assert (1, 100) in node.executed
    assert len([1 for run, _ in node.executed if run == 2]) < 40


@pytest.mark.parametrize("how", ["ended", "recalled"])
def test_how_often_a_large_task_was_overtaken_goes_with_it(hand: Any, how: str) -> None:
    """The next one of its cost begins anew: it is overtaken as often as on a node without a past."""
    node = hand({"cpu": 2}, bypass_max=3)
    small, large, over = node.kind("small"), node.kind("large", {"cpu": 2}), RunId(2)
    node.plan({0: []}, small, urgency=9.0)
    node.plan({100: []}, large, urgency=5.0, run=over)
    node.plan(node.independent(range(1, 6)), small, urgency=1.0)
    while len(node.holds) > 1:
        node.finish(list(node.holds)[-1][1], seconds=1.0)      # until room is kept for the large one
    if how == "ended":
        node.say(COORDINATOR, EndRun(over))
    else:
        node.recall([100], run=over)
    node.finish_all(seconds=1.0)
    while node.holds:
        node.finish_all(seconds=1.0)

    node.plan({10: []}, small, urgency=9.0)
    node.plan({200: []}, large, urgency=5.0, run=RunId(3))
    node.plan({11: []}, small, urgency=1.0)

    assert (1, 11) in node.executed


def stream(node: Any, large_cpus: float, small: Any, urgency: float) -> int:
    """A node of 3 cpus is never without a ready small task of this urgency; how many start before one of urgency 5 with so many cpus."""
    node.plan(node.independent(range(3)), small, urgency=9.0)
    node.plan({100: []}, node.kind("large", {"cpu": large_cpus}), urgency=5.0)
    for task in range(3, 33):
        if (1, 100) in node.executed:
            break
        node.plan({task: []}, small, urgency=urgency)
        node.finish(next(iter(node.holds))[1], seconds=1.0)
    return [*node.executed, (1, 100)].index((1, 100)) - 3


def test_a_stream_of_more_urgent_small_tasks_passes_a_large_one_only_so_often(hand: Any) -> None:
    """Who starts first by rank alone overtakes as well: after bypass_max such starts the large one comes first within its priority."""
    node = hand({"cpu": 3}, bypass_max=4)

    assert stream(node, 2, node.kind("small"), urgency=6.0) == 4
    assert len(node.holds) == 2     # the cpus that became free were kept for the large one


def test_a_higher_priority_passes_a_large_task_as_often_as_it_likes(hand: Any) -> None:
    """What overtakes by its priority is not counted: priorities stand above sizes."""
    node = hand({"cpu": 3}, bypass_max=4)

    assert stream(node, 2, node.kind("small", priority=1), urgency=1e6 + 6.0) == 30


def test_who_needs_no_less_passes_as_its_rank_says(hand: Any) -> None:
    """A task that waits for no more than the others take has its turn by rank: what opens for them would do for it."""
    node = hand({"cpu": 3}, bypass_max=4)

    assert stream(node, 0.75, node.kind("small"), urgency=6.0) == 30


def test_who_takes_nothing_from_a_large_one_passes_freely(hand: Any) -> None:
    """Overtaking counts only where it delays: a task without a gpu does not wait for a busy gpu while a cpu is to spare."""
    node = hand({"cpu": 4, "gpu": 1}, bypass_max=0)
    gpu = node.kind("gpu", {"cpu": 1, "gpu": 1})
    node.plan({0: [], 1: []}, gpu, urgency=9.0)
    node.plan({10: [], 11: [], 12: []}, node.kind("plain"), urgency=1.0)

    assert [task for _, task in node.executed] == [0, 10, 11]  # of four cpus, one is in use and one is kept for task 1


def test_tasks_that_cost_nothing_are_bounded(hand: Any) -> None:
    """Of tasks without a cost, zero_cost_per_cpu run for each cpu, on more workers than usual."""
    node = hand({"cpu": 1}, workers_max_per_cpu=8)
    node.plan(node.independent(range(20)), node.kind("free", {}))
    node.wait(0.1)
    node.warm_up()

    assert len(node.holds) == 4
    assert node.free() == {"cpu": 1}


def test_tasks_that_cost_nothing_keep_nobody_from_the_cores(hand: Any) -> None:
    """They have as many workers as a core may have at most, and still one comes for the task that needs the core."""
    node = hand({"cpu": 1}, workers_max_per_cpu=4)
    node.plan(node.independent(range(4)), node.kind("free", {}))
    node.wait(0.1)
    node.warm_up()
    assert len(node.holds) == 4
    node.plan({10: []}, node.kind("work"))
    node.wait(1.0)
    node.warm_up()

    assert 10 in [task for _, task in node.executed]


@pytest.mark.parametrize("beside", [{"cpu": 1}, {"gpu": 1}, {}])
@pytest.mark.parametrize("is_small_first", [True, False])
def test_small_ones_have_the_processes_that_the_node_says(hand: Any, beside: dict[str, float], is_small_first: bool) -> None:
    """What takes a whole core or GPU, or nothing, has others, whoever came first; what is small has none of these when they are idle."""
    node = hand({"cpu": 1, "gpu": 1, "memory": 100}, workers_max_per_cpu=2)
    small, large = range(20), range(100, 101 if beside else 104)

    def settle() -> list[int]:
        """What executes when all workers that are to come have come."""
        for _ in range(20):
            node.wait(1.0)
            node.warm_up()
        return sorted(task for _, task in node.holds)

    plans = [(small, node.kind("small", {"memory": 1})), (large, node.kind("beside", beside))]
    for tasks, kind in plans if is_small_first else plans[::-1]:
        node.plan(node.independent(tasks), kind)
        settle()
    most = node.brain.processes
    assert most == 4 and settle() == [*range(most), *large]
    for task in large:
        node.finish(task)
    assert settle() == list(range(most))
    node.plan({200: []}, node.kind("beside", beside))
    assert 200 in settle()


def test_an_unknown_function_is_tried_one_at_a_time(hand: Any) -> None:
    """Before a duration is known, a worker gets one task at a time."""
    node = hand()
    node.plan(node.independent(range(10)))

    assert node.given() == [(0,), (1,)]


def test_short_tasks_travel_together_two_messages_ahead(hand: Any) -> None:
    """Known short tasks fill a message up to batch_max, and a worker holds two messages so that it never waits."""
    node = hand(batch_max=50)
    node.learn()
    node.plan(node.independent(range(1000)))

    assert [len(tasks) for tasks in node.given()] == [50, 50, 50, 50]
    assert len({effect.worker for effect in node.last_of(Execute)}) == 2
    first = node.last_of(Execute)[0]
    node.finish(*first.tasks)
    assert [(effect.worker, len(effect.tasks)) for effect in node.last_of(Execute)] == [(first.worker, 50)]


def test_a_message_holds_no_more_than_batch_seconds(hand: Any) -> None:
    """Predicted work bounds a message, and long tasks come alone and not ahead."""
    node = hand({"cpu": 1}, batch_seconds=0.003)
    node.learn("ms", seconds=0.001)
    node.learn("long", seconds=0.5)
    node.plan(node.independent(range(10)), node.kind("ms"))
    assert [len(tasks) for tasks in node.given()] == [3, 3]
    node.finish_all(seconds=0.001)
    node.plan(node.independent(range(20, 30)), node.kind("long"))

    assert [len(tasks) for tasks in node.given()] == [1]


def test_workers_are_told_whose_results_somebody_waits_for(hand: Any) -> None:
    """A peer that asked, or a task here for which nothing else is missing by then; what comes in the same message does not wait."""
    node = hand({"cpu": 1}, batch_max=4)
    node.join(node.PEER, "node")
    node.learn()
    node.plan(node.independent(range(4)))
    assert node.last_of(Execute)[0].urgent == ()
    node.finish_all()

    node.say(node.PEER, Want(node.RUN, ints([11])))
    node.plan(node.independent(range(10, 14)))
    assert node.last_of(Execute)[0].urgent == (0,)
    node.finish_all()

    other = node.kind("other", {"cpu": 0.5})   # does not go with them
    node.plan({24: [20, 21], 25: [21, 99]}, other, sources={99: node.PEER})
    node.plan({20: [], 21: [], 22: [], 23: [20]})
    effect = node.last_of(Execute)[0]
    assert {20, 21, 23} <= set(effect.tasks)
    assert [effect.tasks[place] for place in effect.urgent] == [21]   # 24 can start then; 25 still waits for something else


def test_ready_work_is_spread_over_idle_workers(hand: Any) -> None:
    """With two idle workers and ten tasks, nobody gets more than five."""
    node = hand()
    node.learn()
    node.plan(node.independent(range(10)))

    assert [len(tasks) for tasks in node.given()] == [5, 5]


def test_tasks_of_different_cost_never_share_a_claim(hand: Any) -> None:
    """A batch holds one claim, so its tasks cost the same."""
    node = hand({"cpu": 2})
    node.learn("a")
    node.learn("b", cost={"cpu": 0.5})
    node.plan({0: [], 1: []}, node.kind("a"), urgency=2.0)
    node.plan({2: [], 3: []}, node.kind("b", {"cpu": 0.5}))

    for effect in node.last_of(Execute):
        assert len({what.cost for what in effect.kinds}) == 1


def test_a_chain_stays_in_one_worker(hand: Any) -> None:
    """A dependent whose other inputs are here joins the message of its producer."""
    node = hand()
    node.learn()
    node.plan({0: [], 1: [0], 2: [1], 3: [2]})

    assert node.given() == [(0, 1, 2, 3)]
    assert node.last_of(Execute)[0].inputs == ((), (0,), (1,), (2,))


def test_a_diamond_is_given_in_an_order_that_works(hand: Any) -> None:
    """With one worker, a diamond travels in one message, each task after what it takes."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: [], 1: [0], 2: [0], 3: [1, 2]})
    (given,) = node.given()

    assert sorted(given) == [0, 1, 2, 3]
    assert given.index(3) == 3 and given.index(0) == 0


def test_followers_are_left_for_other_idle_workers(hand: Any) -> None:
    """While another worker could help, only one follower goes with its producer."""
    node = hand()
    node.learn()
    node.plan({0: [], 5: []} | {task: [0] for task in range(10, 20)}, urgency={0: 5.0, 5: 4.0})

    assert node.given() == [(0, 10), (5,)]


def test_a_broken_producer_takes_its_followers_out_of_the_batch(hand: Any) -> None:
    """What takes a broken task's result in the same message waits again; its worker is free."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: [], 1: [0], 2: [1]})
    node.broke(0)
    assert [failed.task for failed in node.said(Failed)] == [0]
    assert node.free() == {"cpu": 1}
    node.plan({0: []}, attempt=2)

    assert node.given() == [(0, 1, 2)]


def test_delicate_tasks_travel_alone(hand: Any) -> None:
    """Tasks that killed before get a message and a worker of their own."""
    node = hand({"cpu": 1})
    node.learn("f")
    node.plan({0: [], 1: [], 2: [0]}, node.kind("f", flags=int(Flag.ALONE)))

    assert node.given() == [(0,)]


@pytest.mark.parametrize("options", [{"timeout": 5.0}, {"max_retries": 0}, {"flags": int(Flag.IDEMPOTENT)}])
def test_what_users_ask_of_all_functions_costs_no_batches(hand: Any, options: dict[str, Any]) -> None:
    """With a timeout, without retries, or where a straggler may run twice, short tasks go several in a message, chains included."""
    node = hand({"cpu": 1})
    node.learn("f")
    node.plan({0: [], 1: [], 2: [0]}, node.kind("f", **options))

    assert node.given() == [(0, 2), (1,)]


def test_coroutines_share_one_worker_under_claims_of_their_own(hand: Any) -> None:
    """Coroutines run at once on a worker of their own, each with its claim, as many as fit."""
    node = hand({"cpu": 1})
    node.plan(node.independent(range(5)), node.kind("co", {"cpu": 0.25}, flags=int(Flag.ASYNC)))
    assert len(node.last_of(Spawn)) == 1 and node.given() == []
    node.warm_up()
    assert node.given() == [(0, 1, 2, 3)]
    assert node.free() == {}
    node.finish(2)

    assert node.given() == [(4,)]
    assert node.last_of(Execute)[0].worker not in node.workers[:1]


def test_coroutines_at_once_are_bounded(hand: Any) -> None:
    """No more than async_tasks_max run at once, even if they cost nothing."""
    node = hand(async_tasks_max=3)
    node.plan(node.independent(range(10)), node.kind("co", {}, flags=int(Flag.ASYNC)))
    node.warm_up()

    assert node.given() == [(0, 1, 2)]


def test_more_workers_come_for_tasks_that_cost_less_than_a_cpu(hand: Any) -> None:
    """When small claims fit and nobody is idle for a while, workers are added, up to the limit."""
    node = hand({"cpu": 1}, workers_max_per_cpu=3)
    node.plan(node.independent(range(10)), node.kind("half", {"cpu": 0.2}))
    assert node.last_of(Spawn) == []
    node.wait(0.1)
    assert len(node.last_of(Spawn)) == 2
    node.warm_up()

    assert len(node.holds) == 3


def test_a_stream_of_tiny_tasks_needs_no_more_workers(hand: Any) -> None:
    """Workers are not added for work that is over before they are warm."""
    node = hand({"cpu": 1})
    node.learn("tiny", cost={"cpu": 0.2})
    node.plan(node.independent(range(1000)), node.kind("tiny", {"cpu": 0.2}))
    spawned = []
    for task in range(10):   # even when each takes far longer than was thought
        node.wait(0.1)
        spawned += node.last_of(Spawn)
        node.finish(task)
        spawned += node.last_of(Spawn)

    assert spawned == []


def test_a_worker_that_is_ready_late_gets_work_at_once(hand: Any) -> None:
    """Ready tasks wait for the first worker that is warm."""
    node = hand({"cpu": 1}, welcome=False)
    node.die(node.workers[0])
    spawned = node.last_of(Spawn)[0].worker
    from handoff.node.events import Welcomed

    node.happen(Welcomed(PeerId(7)), Received(PeerId(0), node.plan_message({0: []})))
    assert node.given() == []
    node.happen(WorkerReady(spawned))

    assert node.given() == [(0,)]


def test_a_kind_that_was_never_described_fails(hand: Any) -> None:
    """A plan that names an unknown kind fails those tasks, and only those, instead of hanging."""
    from dataclasses import replace

    node = hand()
    message = node.plan_message({0: [], 1: [5], 2: []}, node.kind("f"))
    message = replace(message, kind=type(message.kind)("I", [0, 9, 0]))
    node.say(PeerId(0), message)

    assert [(failed.task, failed.cause) for failed in node.said(Failed)] == [(1, "unloadable")]
    assert node.given() == [(0,), (2,)]


def test_strips_of_many_plans_are_merged_by_urgency(hand: Any) -> None:
    """However plans interleave, the most urgent ready task is always the next."""
    node = hand({"cpu": 1})
    for first in range(5):
        node.plan(node.independent(range(first, 50, 5)), urgency={task: -float(task) for task in range(50)})
    node.finish_all(seconds=1.0)

    assert [task for _, task in node.executed] == [*range(50)]


def test_places_of_ended_runs_do_not_pile_up(hand: Any) -> None:
    """Runs that end while their tasks wait for room leave no lasting trace in the lanes."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []}, urgency=9.0, run=RunId(1))
    for run in range(2, 3000):
        node.happen(Received(PeerId(0), node.plan_message({0: []}, run=RunId(run))), Received(PeerId(0), EndRun(RunId(run))))
    (lane,) = node.brain._state.lanes._lanes.values()

    assert lane.count == 1
    assert lane.held + len(lane.fresh) <= 1010
    node.finish(0, run=RunId(1))
    assert node.given() == [(1,)]


def test_only_later_tasks_of_a_batch_follow_a_broken_one(hand: Any) -> None:
    """A task that took an earlier result of the broken task, before it in the same message, is not taken back."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: []})
    node.finish(0)
    node.plan({5: [0], 0: []}, attempt=2, urgency={5: 2.0, 0: 1.0})
    assert node.given() == [(5, 0)]
    node.broke(0)
    node.finish(5)

    assert node.reported() == [5]


def test_many_costs_that_do_not_fit_cost_as_much_as_each_alone(hand: Any) -> None:
    """Who would be overtaken is asked only where a worker could go on: else, each would be asked of all before it."""
    def calls(count: int) -> int:
        node = hand({"cpu": 1, "memory": 10_000})
        for task in range(count):
            node.plan({task: []}, node.kind(cost={"cpu": 1, "memory": 100 + task}))
        finished = node.finished_event(0)
        return calls_in(lambda: node.brain.handle(node.now, finished), "node")

    assert calls(60) < 2.2 * calls(30)
