"""Who gets room, when, and who waits for it: short tasks of several cores, nodes that are late, large tasks, urgent ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scheduler_story import Cancel, Cluster, Program, floats, kind, many, program

from handoff.ids import RunId
from handoff.messages import Answer, Ask
from handoff.program import Flag, Kind
from handoff.resources import amounts, describe
from handoff.scheduler import views
from handoff.scheduler.bookings import Bookings
from handoff.scheduler.groups import step_of
from handoff.scheduler.heft import Heft


def told(what: Program, *seconds: float) -> Program:
    """The same, with what the user expects of each task."""
    return replace(what, seconds=floats(seconds), nbytes=floats([0.0] * len(seconds)))


def test_heft_gives_a_choice_of_costs_to_a_node_that_can_hold_one() -> None:
    """A GPU is preferred, no node has one: the other cost is taken, and the node is told so."""
    cluster = Cluster(Heft()).join("n1", cpu=2).client()
    cluster.submit(program([(kind("either", {"gpu": 1}, alternatives=(amounts({"cpu": 2}),)), ())]))
    plan, = cluster.last_plans()
    assert list(plan.tasks) == [0] and list(plan.choices) == [0, 0]


def test_a_short_task_of_several_cores_goes_where_there_are_so_many() -> None:
    """One node has a core that is free first, but only one; the task takes two, which the other one has."""
    cluster = Cluster().join("n1", cpu=2).join("n2", cpu=2).client()
    cluster.submit(told(program([(kind("long", node="n1"), ())]), 5.0))
    cluster.submit(told(program([(kind("wide", {"cpu": 2}), ())]), 0.005))
    assert cluster.plans(to="n2") == [0]


def test_a_short_task_is_bound_to_room_that_comes_soon_as_long_ones_are() -> None:
    """A node is full for 30 ms more: the urgent short task is there when it is not, and nothing less urgent comes first."""
    cluster = Cluster().join("n1", cpu=1).client()
    cluster.submit(told(program([(kind("first"), ())]), 0.03))
    short, long = (kind("short", priority=1), ()), (kind("long"), ())
    cluster.submit(told(program([short, long]), 0.005, 3.0))
    assert cluster.plans()[0] == 0


def test_room_that_opens_with_its_inputs_is_for_an_urgent_dependent() -> None:
    """What is less urgent has its inputs, and would be bound to that room first if the dependent were looked at any later."""
    cluster = Cluster().join("n1", cpu=1).client()
    cluster.submit(told(program([(kind("first"), ()), (kind("next"), (0,)), (kind("other"), ())]), 1.0, 5.0, 1.0))
    assert cluster.plans() == [0]
    cluster.wait(0.962)
    cluster.join("late", cpu=0.1)       # whatever happens, a pass follows
    assert (1, 1) in cluster.planned and (1, 2) not in cluster.planned


def test_a_node_with_nothing_to_do_comes_before_one_with_short_work_ahead() -> None:
    """Both have room by their claims; on one, a short task is to be run first."""
    cluster = Cluster().join("n1", cpu=1).join("n2", cpu=1).client()
    cluster.submit(told(program([(kind("short"), ())]), 0.01))
    cluster.submit(told(program([(kind("long"), ())]), 3.0))
    assert cluster.where(0, run=1) != cluster.where(0, run=2)


def test_part_of_a_core_that_is_free_is_taken_though_another_node_is_free_sooner() -> None:
    """On both nodes long tasks leave half a core; where they end first, a short one lies ahead of the second, which goes to the other."""
    cluster = Cluster().join("n1", cpu=2).join("n2", cpu=2).client()
    for name, seconds in ("n1", 5.0), ("n2", 6.0):
        cluster.submit(told(program([(kind(f"long-{name}", {"cpu": 0.75}, node=name), ())] * 2), seconds, seconds))
    short = kind("short", {"cpu": 0.25})
    cluster.submit(told(program([(short, ())]), 0.005))
    cluster.submit(told(program([(short, ())]), 0.005))
    assert sorted(cluster.where(0, run=run) for run in (3, 4)) == ["n1", "n2"]


def test_who_waits_for_a_busy_node_is_looked_at_again_when_that_node_is_late() -> None:
    """A quick node should be free soon; it is not, and the slow one with room gets the task without anything else happening."""
    cluster = Cluster().join("quick", cpu=1).join("slow", cpu=1).client()
    nodes = cluster.scheduler.ledger.by_name
    nodes["quick"].declare_speed(4.0)
    nodes["slow"].declare_speed(1.0)
    cluster.submit(told(program([(kind("work"), ())]), 4.0))
    assert cluster.where(0) == "quick"
    cluster.now = 0.9
    cluster.submit(told(program([(kind("work"), ())]), 1.0))
    assert not cluster.plans()
    cluster.wait(20.0)
    assert cluster.where(0, run=2) == "slow"


@pytest.mark.parametrize(("small", "groups"), [
    (kind("small"), ()), (kind("small", node="n1"), ()), (kind("small"), (range(200),)),
    (kind("small", {"cpu": 1, "memory": 1}, spread="s"), ()), (kind("small", alternatives=(amounts({"memory": 4}),)), ()),
])
def test_more_urgent_small_tasks_do_not_take_for_ever_what_a_large_one_waits_for(small: Kind, groups: Sequence[Sequence[int]]) -> None:
    """They have the longer way behind them, so they are offered first; after a second the node is kept for the large one: also from
    those that can run there only."""
    cluster = Cluster().join("n1", cpu=2, memory=4).client()
    large = (kind("large", {"cpu": 2}), ())
    cluster.submit(told(program([large]), 0.5))
    cluster.done(0, seconds=0.5)        # it was seen, so it is not offered first to teach
    cluster.submit(told(program([*[(small, ())] * 200, large], groups), *[9.0] * 200, 0.5))
    running = cluster.plans()
    for _ in range(190):
        if 200 in running:
            break
        cluster.now += 0.02
        cluster.done(running.pop(0), run=2, seconds=0.02)
        running += cluster.plans()
    else:
        raise AssertionError("the large one never got its turn")
    assert 1.0 < cluster.now < 2.5


def test_a_priority_stands_above_what_starved() -> None:
    """As long as more urgent tasks wait, a large one of lower priority gets no node kept for it."""
    cluster = Cluster().join("n1", cpu=2).client()
    small = [(kind("small", priority=1), ())] * 100
    cluster.submit(told(program([*small, (kind("large", {"cpu": 2}), ())]), *[9.0] * 100, 0.5))
    running = cluster.plans()
    while running and 200 not in running and len(running) > 1:
        cluster.now += 0.05
        cluster.done(running.pop(0), seconds=0.05)
        running += cluster.plans()
    assert cluster.scheduler.ledger.runs[1].done == 99 and cluster.now > 4.0


def test_what_is_less_urgent_is_bound_to_no_room_that_is_not_there_yet() -> None:
    """The urgent function is unknown, so it waits for room; the other one is known, and could be bound ahead, but is not."""
    cluster = Cluster().join("n1", cpu=1).client()
    cluster.submit(told(program([(kind("first"), ())]), 0.03))
    unknown = program([(kind("urgent", priority=1), ()), (kind("known"), ())])
    cluster.submit(told(unknown, -1.0, 0.015))
    assert not cluster.plans()
    cluster.done(0, seconds=0.03)
    assert cluster.plans()[0] == 0


def test_a_speed_that_wavers_about_the_edge_of_a_step_does_not_regroup_its_node() -> None:
    """Only a speed that has clearly left its step is on another one."""
    edge = 1.1331484530668263     # exp(0.125): between two steps
    assert step_of(edge * 0.99) == 0 and step_of(edge * 1.01) == 1
    assert step_of(edge * 1.01, before=0) == 0 and step_of(edge * 0.99, before=1) == 1
    assert step_of(1.3, before=0) == 1


def test_nodes_are_grouped_anew_when_one_turns_out_to_be_fast() -> None:
    """The invariants hold after each event; in the end the two are in groups of their own."""
    cluster = Cluster().join("n1", cpu=1).join("n2", cpu=1).client()
    cluster.submit(program([(kind("work"), ())] * 60))
    for _ in range(30):
        for name in ("n1", "n2"):
            mine = [task for task in range(60) if cluster.planned.get((1, task), ("", 0))[0] == name
                    and cluster.scheduler.ledger.runs[1].is_planned(task)] if 1 in cluster.scheduler.ledger.runs else []
            if mine:
                cluster.now += 0.1
                cluster.done(mine[0], seconds=2.0 if name == "n1" else 0.5)
    assert len(cluster.scheduler.ledger.groups) == 2


def test_who_waits_for_a_node_sees_who_waits_there_already() -> None:
    """The first finds room when the running task ends, the second when the first has ended; the third sees what was planned since."""
    cluster = Cluster().join("n1", cpu=2).client()
    cluster.submit(told(program([(kind("wide", {"cpu": 2}), ())]), 3.0))
    node, need, bookings = cluster.scheduler.ledger.by_name["n1"], amounts({"cpu": 2}), Bookings()
    assert bookings.room_at(node, need, 1.0) == 3.0
    bookings.add(node, 7.0, need)
    assert bookings.room_at(node, need, 1.0) == 7.0
    cluster.submit(told(program([(kind("pinned", node="n1", where=()), ())]), 8.0))
    held = next(iter(node.holding))
    node.holding[held] = (0.0, *node.holding[held][1:2], 9.0, *node.holding[held][3:])
    node.ends = None
    assert bookings.room_at(node, need, 1.0) == 9.0


def test_room_is_there_when_the_last_of_what_is_lacking_is() -> None:
    """A core comes free first, and so much memory when the other one has ended, and what waits there already has come and gone."""
    cluster = Cluster().join("n1", cpu=2, memory=4000).client()
    for seconds, memory in ((2.0, 1000), (5.0, 3000)):
        cluster.submit(told(program([(kind("holds", {"cpu": 1, "memory": memory}), ())]), seconds))
    node, bookings = cluster.scheduler.ledger.by_name["n1"], Bookings()
    assert node.room_at(amounts({"cpu": 1, "memory": 1000}), 0.0) == pytest.approx(2.0)
    assert node.room_at(amounts({"cpu": 1, "memory": 2000}), 0.0) == pytest.approx(5.0)
    assert node.room_at(amounts({"cpu": 2}), 0.0) == pytest.approx(5.0)
    bookings.add(node, 6.0, amounts({"cpu": 2, "memory": 1000}))
    assert bookings.room_at(node, amounts({"memory": 1000}), 0.0) == pytest.approx(5.0)
    assert bookings.room_at(node, amounts({"cpu": 1}), 0.0) == pytest.approx(6.0)


def test_a_task_for_which_nobody_has_room_keeps_nobody_from_waiting() -> None:
    """A wide task that waits for room anywhere is no reason for a narrow one not to wait for the quick node."""
    cluster = Cluster().join("quick", cpu=2).join("slow", cpu=1).client()
    nodes = cluster.scheduler.ledger.by_name
    nodes["quick"].declare_speed(4.0)
    nodes["slow"].declare_speed(1.0)
    cluster.submit(told(program([(kind("first", {"cpu": 2}), ())]), 4.0))
    assert cluster.where(0, run=1) == "quick"
    wide, narrow = (kind("wide", {"cpu": 2}), ()), (kind("narrow"), ())
    cluster.submit(told(program([wide, narrow]), 40.0, 4.0))
    assert cluster.plans(to="slow") == []


def test_how_long_a_shape_found_no_room_is_forgotten_with_what_waited() -> None:
    """Another run keeps the shape, of which nothing is ready: the next wide task has not waited yet, and no node is cleared for it."""
    cluster = Cluster(suspect_seconds=1e6, lost_seconds=1e6).client().join("n1", cpu=2)
    wide = kind("wide", {"cpu": 2})
    cluster.submit(program([(kind("later", node="later"), ()), (wide, (0,))]), wait_for_nodes=True)
    cluster.submit(many(2, kind("small")))
    cancelled = cluster.submit(many(1, wide))
    cluster.hear("client", Cancel(cancelled))
    cluster.wait(100.0)

    run = cluster.submit(many(1, wide))

    assert cluster.scheduler.ledger.runs[run].shapes[0].blocked_since == cluster.now
    assert not cluster.scheduler.ledger.reserved


@pytest.mark.parametrize("cost", [{"memory": 1}, {"cpu": 0.01}, {"gpu_memory": 1}, {"license": 1}])
def test_what_takes_no_whole_core_takes_a_process(cost: dict[str, float]) -> None:
    """Ten for each core and GPU: what is more waits for one, and goes where one is free, not all to the node that could hold all of it."""
    offers = {"cpu": 2, "memory": 1000, "gpu": 1, "gpu_memory": 1000, "license": 1000}
    cluster = Cluster().join("n1", offers=offers).join("n2", offers=offers).client()
    cluster.submit(told(many(100, kind("small", cost)), *[5.0] * 100))
    assert (len(cluster.plans(to="n1")), len(cluster.plans(to="n2"))) == (30, 30)
    cluster.hear("client", Ask(9, "explain", RunId(1), 99))
    assert cluster.told(Answer)[-1].data["candidates"][0]["room"] == "one of its 30 processes"
    assert views.waits_for(cluster.scheduler.ledger, cluster.scheduler.ledger.runs[cluster.submit(many(1, kind("late", cost)))]) == (
        f"no node has room for {describe(amounts(cost))} and a process for it, which late needs")
    cluster.submit(told(program([(kind("whole", {"cpu": 1}), ()), (kind("free", {}), ())]), 5.0, 5.0))
    assert (3, 0) in cluster.planned and (3, 1) in cluster.planned     # these need none of them


@pytest.mark.parametrize(("first", "then"), [(0, Flag.ASYNC), (Flag.ASYNC, 0)])
def test_coroutines_of_small_cost_and_processes_keep_nobody_out(first: int, then: int) -> None:
    """Coroutines run side by side in a process of their own: those that wait for functions of such a cost would wait for ever."""
    cluster = Cluster().join("n1", cpu=1, memory=2000).client()
    most = 1000 if first else 10
    cluster.submit(told(many(most + 1, kind("first", {"memory": 1}, flags=Flag.OUTPUT | first)), *[50.0] * (most + 1)))
    assert len(cluster.planned) == most
    cluster.hear("client", Ask(9, "explain", RunId(1), most))
    said = cluster.told(Answer)[-1].data["candidates"][0]["room"]
    assert said == ("one of its 1000 places for coroutines" if first else "one of its 10 processes")
    late = cluster.submit(many(1, kind("late", {"memory": 1}, flags=Flag.OUTPUT | first)))
    text = views.waits_for(cluster.scheduler.ledger, cluster.scheduler.ledger.runs[late])
    assert text == f"no node has room for memory=1 and {'a place' if first else 'a process'} for it, which late needs"
    run = cluster.submit(told(many(1, kind("then", {"memory": 1}, flags=Flag.OUTPUT | then)), 5.0))
    assert (run, 0) in cluster.planned


def test_a_coroutine_with_memory_of_a_gpu_takes_a_process() -> None:
    """It runs in a worker of its own, as a function does."""
    cluster = Cluster().join("n1", offers={"cpu": 1, "gpu": 1, "gpu_memory": 1000}).client()
    cluster.submit(told(many(100, kind("small", {"gpu_memory": 1}, flags=Flag.OUTPUT | Flag.ASYNC)), *[5.0] * 100))
    assert len(cluster.plans()) == 20


def test_no_node_is_cleared_for_what_lacks_a_process_alone() -> None:
    """Whoever ends frees one, which the first in the queue gets, and cores need none of them."""
    cluster = Cluster(suspect_seconds=1e6, lost_seconds=1e6).join("n1", cpu=2, memory=2000).client()
    cluster.submit(told(many(20, kind("sleep", {"memory": 1})), *[500.0] * 20))
    late = cluster.submit(told(many(1, kind("late", {"memory": 2})), 500.0))
    run = cluster.submit(told(many(3, kind("busy")), *[10.0] * 3))
    for _ in range(20):
        cluster.wait(0.5)
    cluster.done(0, run=run, seconds=10.0)
    assert (run, 2) in cluster.planned
    assert (late, 0) not in cluster.planned
    cluster.done(0, run=1, seconds=10.0)
    assert (late, 0) in cluster.planned


def test_a_node_says_how_many_processes_it_has() -> None:
    """Of coroutines, a hundred times as many run at once."""
    cluster = Cluster().join("n1", cpu=2, memory=1000, processes=3).client()
    cluster.submit(told(many(100, kind("small", {"memory": 1})), *[5.0] * 100))
    assert len(cluster.plans()) == 3
    cluster = Cluster().join("n1", cpu=2, memory=1000, processes=3).client()
    cluster.submit(told(many(400, kind("wait", {"memory": 1}, flags=Flag.OUTPUT | Flag.ASYNC)), *[5.0] * 400))
    assert len(cluster.plans()) == 300
