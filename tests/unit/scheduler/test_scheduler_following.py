"""Runs that follow a plan: exactly, as long as its nodes are there and in time; what departs from it is told, and why."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from scheduler_story import Ask, Cluster, Flag, chain, floats, ints, kind, many, program

from handoff.messages import Alive, Answer, Failed, RunDone
from handoff.program import Program
from handoff.resources import amounts
from handoff.scheduler.first_fit import FirstFit
from handoff.scheduler.heft import Heft
from handoff.scheduler.round_robin import RoundRobin

NOBODY = 0xFFFFFFFF


def cluster(*names: str, allocator: Any = None, **capacity: float) -> Cluster:
    """Nodes of one core each, unless told otherwise, and a client."""
    made = Cluster(allocator, suspect_seconds=1e6, lost_seconds=1e6)
    for name in names:
        made.join(name, **(capacity or {"cpu": 1}))
    return made.client()


def follow(where: str, names: str = "ab", ranks: Any = None, order: str = "") -> dict[str, Any]:
    """The plan in which each task goes to the node of its letter ("." is free), in the order of their numbers or of `ranks`."""
    ranks = ranks or range(len(where), 0, -1)
    return {"follow": ints(NOBODY if each == "." else names.index(each) for each in where), "follow_names": tuple(names),
            "follow_ranks": floats(ranks)}


def ask(made: Cluster, topic: str, run: int = 1, task: int = 0) -> Any:
    """The answer to a question about a run."""
    made.hear("client", Ask(9, topic, run, task))  # type: ignore[arg-type]
    return next(message.data for name, message in made.last if isinstance(message, Answer))


def timed(what: Program, *seconds: float) -> Program:
    """The same with expected seconds."""
    from dataclasses import replace

    return replace(what, seconds=floats(seconds))


@pytest.mark.parametrize("allocator", [None, FirstFit, RoundRobin, Heft], ids=["greedy", "first fit", "round robin", "heft"])
def test_each_task_goes_where_the_plan_says(allocator: Any) -> None:
    """Whatever the allocator would do: all on the last node, in the order of the plan."""
    made = cluster("a", "b", allocator=allocator and allocator())
    made.submit(many(3), **follow("bbb", ranks=[1.0, 3.0, 2.0]))
    order = []
    for _ in range(3):
        planned = [task for (_, task) in made.planned if not made.scheduler.ledger.runs[1].state[task] >= 5]
        assert {made.where(task) for task in planned} == {"b"}
        urgent = max(planned, key=lambda task: [1.0, 3.0, 2.0][task])
        order.append(urgent)
        made.done(urgent)
    assert order == [1, 2, 0]
    assert made.told(RunDone)
    assert ask(made, "corrections") == []


def test_the_order_on_a_node_is_that_of_the_plan() -> None:
    """A node of one core gets them one by one by rank, though the graph alone would have the long chain first."""
    made = cluster("a", "b")
    what = timed(program([(kind("one"), ()), (kind("two"), ()), (kind("two"), (1,)), (kind("two"), (2,))]), 1, 1, 1, 1)
    made.submit(what, **follow("aaab", ranks=[4.0, 3.0, 2.0, 1.0]))
    assert made.plans("a") == [0] and made.plans("b") == []
    made.done(0)
    assert made.plans("a") == [1]


def test_a_node_waits_for_what_was_planned_there() -> None:
    """The other one idles rather than take what the plan gives to a busy node that is on time."""
    made = cluster("a", "b")
    made.submit(timed(many(2), 10.0, 10.0), **follow("aa", ranks=[20.0, 10.0]))
    assert made.plans() == [0]
    made.wait(9.0)
    assert made.plans() == []
    made.done(0)
    assert made.plans("a") == [1]


def test_a_later_one_does_not_begin_while_an_earlier_one_waits_for_its_inputs() -> None:
    """Until its own time comes: it would take the room that the earlier one needs soon. Nothing else has to happen for that."""
    made = cluster("a", "b")
    what = timed(program([(kind("far"), ()), (kind("near"), (0,)), (kind("later"), ())]), 10.0, 1.0, 5.0)
    made.submit(what, **follow("baa", ranks=[8.0, 6.0, 5.0]))    # the first one takes longer than the plan says
    assert made.plans() == [0]
    made.wait(1.5)
    assert (1, 2) not in made.planned
    made.wait(1.6)      # it was planned to start at 3
    assert made.where(2) == "a" and (1, 1) not in made.planned


def test_what_goes_quicker_than_planned_goes_on_in_order() -> None:
    """Nobody waits for a time that was only guessed when all that comes before is placed."""
    made = cluster("a")
    made.submit(timed(many(3), 100.0, 100.0, 100.0), **follow("aaa", names="a", ranks=[300.0, 200.0, 100.0]))
    for task in range(3):
        assert made.plans("a") == [task]
        made.done(task)
    assert made.now == 0.0 and made.told(RunDone)


def test_what_is_far_too_late_departs_for_a_node_that_has_nothing_to_do() -> None:
    """The first task takes many times as long as planned; the second one goes elsewhere, and it is said why."""
    made = cluster("a", "b")
    made.submit(timed(many(2), 1.0, 1.0), **follow("aa", ranks=[2.0, 1.0]))
    made.wait(10.9)      # planned to start at 1: ten times its second is not over
    assert made.where(0) == "a" and (1, 1) not in made.planned
    made.wait(0.2)
    assert made.where(1) == "b"
    task, planned, node, why = ask(made, "corrections")[0]
    assert (task, planned, node) == (1, "a", "b")
    assert "behind the plan" in why and "'b' had nothing to do" in why


def test_nothing_departs_while_all_are_busy() -> None:
    """However late it is: no other node could do it sooner."""
    made = cluster("a", "b")
    made.submit(timed(many(3), 1.0, 100.0, 1.0), **follow("aba", ranks=[2.0, 2.0, 1.0]))
    made.wait(50.0)
    assert (1, 2) not in made.planned
    made.done(1)
    made.wait(1.0)
    assert made.where(2) == "b"


def test_who_ran_on_the_planned_node_when_it_came_back_is_in_its_place() -> None:
    """A new process of the same name: that is where the plan says."""
    made = cluster("a")
    made.submit(timed(many(1), 1.0), wait_for_nodes=True, **follow("a", names="a"))
    made.lose("a")
    made.join("a")
    assert made.where(0) == "a" and made.attempt(0) == 2
    assert ask(made, "corrections") == []


def test_a_lost_node_frees_what_was_planned_there() -> None:
    """What ran there and what was to run there goes to the other, and both are told; what others did is not."""
    made = cluster("a", "b")
    made.submit(timed(many(4), 1.0, 1.0, 1.0, 1.0), **follow("abab", ranks=[4.0, 4.0, 2.0, 2.0]))
    made.lose("a")
    made.finish()
    assert [made.where(task) for task in range(4)] == ["b"] * 4
    told = ask(made, "corrections")
    assert [row[:3] for row in told] == [[0, "a", "b"], [2, "a", "b"]]
    assert all(why == "node 'a' is gone" for *_, why in told)


def test_a_silent_node_is_not_waited_for() -> None:
    """One that can't be heard gets nothing new, so the plan is corrected before it is given up."""
    made = cluster("a", "b")
    made.submit(timed(many(2), 1.0, 1.0), **follow("aa", ranks=[2.0, 1.0]))
    made.drop("a")
    made.wait(0.2)
    assert made.where(1) == "b"
    assert ask(made, "corrections")[0][3] == "node 'a' can not be heard"


def test_a_node_that_could_not_load_it_is_left() -> None:
    """The module may be elsewhere."""
    made = cluster("a", "b")
    made.submit(many(1), **follow("a"))
    made.fail(0, cause="unloadable")
    made.wait(1.0)
    assert made.where(0) == "b"
    assert ask(made, "corrections")[0][:3] == [0, "a", "b"]


def test_a_failed_attempt_is_made_again_where_the_plan_says() -> None:
    """An exception is no reason to depart."""
    made = cluster("a", "b")
    made.submit(many(1), **follow("b"))
    made.fail(0)
    made.wait(1.0)
    assert made.where(0) == "b" and made.attempt(0) == 2


def test_a_task_that_killed_workers_keeps_its_place() -> None:
    """It gets a worker of its own, on the node of the plan."""
    made = cluster("a", "b")
    made.submit(many(1, kind(max_retries=5)), **follow("b"))
    for _ in range(2):
        made.fail(0, cause="crash")
        made.wait(1.0)
    assert made.where(0) == "b" and made.attempt(0) == 3
    made.lose("b")
    assert made.where(0) == "a"


def test_what_the_plan_does_not_place_is_placed_as_ever() -> None:
    """A plan may leave tasks out."""
    made = cluster("a", "b")
    made.submit(many(2), **follow("b.", ranks=[2.0, 1.0]))
    assert made.where(0) == "b" and made.where(1) == "a"


def test_tasks_that_share_a_node_stay_together() -> None:
    """When their node is lost, the whole group goes to one other."""
    made = cluster("a", "b", "c", cpu=2)
    what = program([(kind("x"), ()), (kind("y"), ())], groups=[[0, 1]])
    made.submit(what, **follow("cc", names="abc"))
    assert made.where(0) == made.where(1) == "c"
    made.lose("c")
    assert made.where(0) == made.where(1) != "c"


def test_a_serializer_stands_beside_its_producer_and_knows_the_planned_consumer() -> None:
    """The consumer is promised to the node of the plan."""
    made = cluster("a", "b")
    step = kind("step", flags=Flag.SERIALIZER)
    made.submit(program([(kind("make"), ()), (step, (0,)), (kind("take"), (1,))]), **follow("aab", ranks=[3.0, 2.0, 1.0]))
    made.done(0)
    made.done(1)
    made.finish()
    assert [made.where(task) for task in range(3)] == ["a", "a", "b"]
    assert ask(made, "corrections") == []


def test_a_chain_that_was_planned_over_two_nodes_goes_to_and_fro() -> None:
    """Though it would be done sooner on one."""
    made = cluster("a", "b")
    made.submit(chain(4), **follow("abab"))
    made.finish()
    assert [made.where(task) for task in range(4)] == list("abab")


def test_a_plan_with_a_node_that_is_not_there_is_refused() -> None:
    """Before anything runs, with the nodes that are."""
    made = cluster("a", "b")
    with pytest.raises(RuntimeError, match=r"AllocationError: the plan can't be followed.*'z', which is not there.*'a', 'b'"):
        made.submit(many(1), **follow("z", names="az"))
    assert not made.scheduler.ledger.runs and not made.scheduler.ledger.codes.uses


@pytest.mark.parametrize("columns", [
    {"follow": ints([0]), "follow_names": ("a",), "follow_ranks": floats([1.0])},
    {"follow": ints([0, 7]), "follow_names": ("a",), "follow_ranks": floats([1.0, 1.0])},
    {"follow": ints([0, 0]), "follow_names": ("a",), "follow_ranks": floats()},
])
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any]) -> None:
    """Too short, or a place that has no name."""
    made = cluster("a")
    with pytest.raises(RuntimeError, match="ProtocolError"):
        made.submit(many(2), **columns)


@pytest.mark.parametrize("rank", [nan, inf, -inf, 1e306])
def test_a_plan_with_times_that_are_none_is_refused(rank: float) -> None:
    """It would end the coordinator, for all its clients."""
    made = cluster("a")
    with pytest.raises(RuntimeError, match="ProtocolError: the plan has a time that is"):
        made.submit(many(2), **follow("aa", names="a", ranks=[1.0, rank]))
    assert not made.scheduler.ledger.runs and not made.scheduler.ledger.codes.uses


def test_a_followed_run_leaves_nothing_behind() -> None:
    """Shapes that were made for its plan go with it."""
    made = cluster("a", "b")
    made.submit(many(40), **follow("ab" * 20))
    made.finish()
    from scheduler_story import Forget

    made.hear("client", Forget(1))  # type: ignore[arg-type]
    ledger = made.scheduler.ledger
    assert not ledger.following and not ledger.ready.shapes and not ledger.runs


def test_a_drained_node_is_left_as_its_turn_comes() -> None:
    """What it has begun it ends; what was to come goes elsewhere."""
    from handoff.messages import Drain

    made = cluster("a", "b")
    made.submit(timed(many(3), 1.0, 1.0, 1.0), **follow("aaa", ranks=[3.0, 2.0, 1.0]))
    made.hear("client", Drain("a"))
    made.wait(0.2)
    assert made.where(0) == "a" and made.where(1) == "b"
    assert ask(made, "corrections")[0][3] == "node 'a' drains"


def test_a_faulty_node_is_left_as_its_turn_comes() -> None:
    """And it is not said to be silent."""
    made = cluster("a", "b")
    made.hear("a", Alive(fault="its workers end as they start"))
    made.submit(timed(many(2), 1.0, 1.0), **follow("aa", ranks=[2.0, 1.0]))
    made.wait(0.2)
    assert made.where(0) == "b"
    assert ask(made, "corrections")[0][3] == "node 'a' can run nothing now"


def test_other_runs_go_on_as_ever_beside_a_followed_one() -> None:
    """They share code and functions, and take what is free."""
    made = cluster("a", "b")
    made.submit(timed(many(2), 10.0, 10.0), **follow("aa", ranks=[20.0, 10.0]))
    second = made.submit(timed(many(2), 1.0, 1.0))
    assert made.where(0, second) == "b"
    made.done(0, run=second)
    assert made.where(1, second) == "b"
    assert not isinstance(made.last, Failed)


@pytest.mark.parametrize("alternatives", [(), (amounts({"gpu": 1}),)], ids=["one cost", "two costs"])
def test_small_ones_do_not_take_the_room_that_an_earlier_large_one_waits_for(alternatives: Any) -> None:
    """The plan: two of four cores for a second, then all four for one, then small ones of three seconds; a choice of costs or not."""
    made = cluster("a", cpu=4)
    small = kind("small", {"cpu": 1}, alternatives=alternatives)
    what = program([(kind("first", {"cpu": 2}), ()), (kind("wide", {"cpu": 4}), ()), *[(small, ())] * 4])
    run = made.submit(timed(what, 1.0, 1.0, *[3.0] * 4), **follow("a" * 6, "a", ranks=[5.0, 4.0, *[3.0] * 4]))
    table = made.scheduler.ledger.runs[run]
    assert [task for task in range(6) if table.is_planned(task)] == [0]
    made.wait(1.0)
    made.done(0, seconds=1.0)
    assert [task for task in range(6) if table.is_planned(task)] == [1]
    made.wait(1.0)
    made.done(1, seconds=1.0)
    assert [task for task in range(6) if table.is_planned(task)] == [2, 3, 4, 5]


@pytest.mark.parametrize(("fields", "why"), [
    ({"where": (("zone", "x"),)}, "it can't be there: no label zone=x"),
    ({"cost": {"cpu": 2}}, "it can't be there: too small: cpu=2 of 1"),
    ({"cost": {"gpu:a100": 1}}, "it can't be there: too small: gpu:a100=1 of 0"),
])
def test_it_is_said_truly_why_a_planned_node_can_not_have_it(fields: Any, why: str) -> None:
    """Where only its labels are in the way, it is not for want of room."""
    made = cluster("a")
    made.join("b", labels={"zone": "x"}, cpu=2, gpu=1, **{"gpu:a100": 1})
    made.submit(many(1, kind(**fields)), **follow("a"))
    assert ask(made, "corrections") == [[0, "a", "b", why]]


def test_what_has_to_be_on_one_node_with_others_is_told_why_that_can_not_be_the_planned_one() -> None:
    """Their labels, or what they take."""
    for fields, lacks in ({"where": (("zone", "x"),)}, "without a label"), ({"cost": {"cpu": 2}}, "too small"):
        made = cluster("a")
        made.join("b", labels={"zone": "x"}, cpu=2)
        made.submit(program([(kind("one"), ()), (kind("two", **fields), ())], groups=[[0, 1]]), **follow("aa"))  # type: ignore[arg-type]
        assert ask(made, "corrections")[0] == [0, "a", "b", f"it can't be there: {lacks} for what has to be on one node with it"]


def test_how_a_run_that_failed_departed_from_its_plan_can_still_be_asked() -> None:
    """As long as it is kept at all; and where it says nothing, the plan was followed."""
    made = cluster("a", "b")
    made.submit(program([(kind(where=(("zone", "x"),)), ()), (kind(max_retries=0), ())]), wait_for_nodes=True, **follow("ab"))
    made.join("c", labels={"zone": "x"}, cpu=1)
    made.wait(0.5)
    made.fail(1)
    assert ask(made, "corrections") == [[0, "a", "c", "it can't be there: no label zone=x"]]
    said = ask(made, "explain", task=0)
    assert (said["state"], said["plan"], said["departed"]) == ("running", "a", "it can't be there: no label zone=x")
    assert (ask(made, "explain", task=1)["plan"], ask(made, "explain", task=1)["departed"]) == ("b", "")
