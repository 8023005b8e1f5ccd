"""Stories of runs by hand: what each task waited for, how nodes spent their time, and what would have saved how much."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.client.story.causes import causes_of, critical_path
from handoff.client.story.changes import changes_of, placed_anew, replay
from handoff.client.story.records import Done, Stay, Story, Vain
from handoff.client.story.report import report_of
from handoff.client.story.usage import usage_of
from handoff.resources import SCALE


def done(task: int, at: float, seconds: float, *inputs: int, node: str = "n1", worker: int = 1, **more: Any) -> Done:
    """A task of function f, planned as soon as its inputs were there unless told otherwise."""
    more.setdefault("function", "f")
    return Done(task, f"t{task}", node=node, worker=worker, started=at, seconds=seconds, inputs=inputs, **more)


def moved() -> Story:
    """t0 on n1 (0.5 to 2), its result takes half a second to n2, where t1 waits another quarter and runs for 3; t2 is beside t0."""
    return Story("moved", [
        done(0, 0.5, 1.5, waited=0.5),
        done(1, 2.75, 3.0, 0, node="n2", waited=0.25, planned=1.0),
        done(2, 2.0, 1.0, waited=2.0),
    ], {"n1": 1.0, "n2": 2.0})


def test_a_chain_over_two_nodes_is_its_critical_path() -> None:
    """With what ran, what moved and what waited, which add up to the makespan."""
    story = moved()
    path = critical_path(story, causes_of(story))
    assert [(leg.name, leg.reason) for leg in path] == [("t0", "the submission"), ("t1", "input t0")]
    assert [(leg.running, leg.moving, leg.waiting) for leg in path] == [(1.5, 0.0, 0.5), (3.0, 0.5, pytest.approx(0.25))]
    assert story.makespan == 5.75


def test_seconds_of_nodes_are_told_apart() -> None:
    """n1 has one core, n2 two: one of which waits for t0 while the other has nothing to do."""
    story = moved()
    first, second = usage_of(story, causes_of(story))
    assert (first.node, first.slots, first.tasks) == ("n1", 1.0, 2)
    assert (first.running, first.waiting, first.moving, first.idle) == pytest.approx((2.5, 0.0, 0.0, 3.25))
    assert (second.running, second.waiting, second.moving, second.idle) == pytest.approx((3.0, 2.0, 0.5, 2 * 5.75 - 5.5))


def test_attempts_in_vain_were_running() -> None:
    """t0 failed after two seconds, paused for one, and ran for one on another node; the second of what was left is idle there."""
    story = Story("s", [done(0, 3.0, 1.0, node="n2", attempt=2)], {"n1": 1.0, "n2": 2.0},
                  vain=[Vain("n1", 0.0, 2.0), Vain("n2", 2.5, 9.0, 0.5)])
    first, second = usage_of(story, causes_of(story))
    assert (first.running, first.in_vain, first.idle) == pytest.approx((2.0, 2.0, 2.0))
    assert (second.running, second.in_vain, second.idle) == pytest.approx((1.75, 0.75, 6.25))
    assert "of it in vain" in str(report_of(story)) and "of it in vain" not in str(report_of(moved()))


def test_an_attempt_in_vain_takes_no_more_than_there_is() -> None:
    """By what is known of its times it overlaps the next one a little: the node has no second core for that."""
    story = Story("s", [done(0, 1.0, 1.0, attempt=2)], {"n1": 1.0}, vain=[Vain("n1", 0.0, 1.002), Vain("gone", 0.5, 1.0)])
    gone, use = usage_of(story, causes_of(story))
    assert (use.slots, use.running, use.in_vain) == pytest.approx((1.0, 2.0, 1.0))
    assert (gone.node, gone.slots, gone.running, gone.idle) == ("gone", 1.0, 1.0, 1.0)


def test_nodes_that_did_nothing_are_idle() -> None:
    """They were there."""
    story = Story("s", [done(0, 0.0, 1.0)], {"n1": 1.0, "n2": 4.0})
    assert [(use.node, use.idle) for use in usage_of(story, causes_of(story))] == [("n1", 0.0), ("n2", 4.0)]


def test_nodes_have_only_the_time_in_which_they_were_there() -> None:
    """n2 came after one of four seconds, n3 was there for the first and the last, n4 was lost with what it ran."""
    stays = {"n1": [Stay(0.0, 4.2, 1.0)], "n2": [Stay(1.0, 4.2, 1.0)], "n3": [Stay(3.0, 4.2, 1.0), Stay(0.0, 1.0, 1.0)],
             "n4": [Stay(0.0, 2.0, 1.0)]}
    tasks = [done(0, 0.0, 4.0), done(1, 1.0, 3.0, node="n2")]
    story = Story("s", tasks, dict.fromkeys(stays, 1.0), vain=[Vain("n4", 0.0, 2.0)], stays=stays)
    uses = [(use.node, use.there, use.running, use.idle) for use in usage_of(story, causes_of(story))]
    assert uses == [("n1", 4.0, 4.0, 0.0), ("n2", 3.0, 3.0, 0.0), ("n3", 2.0, 0.0, 2.0), ("n4", 2.0, 2.0, 0.0)]
    assert "was there" in str(report_of(story)) and "was there" not in str(report_of(moved()))


def test_a_node_that_came_back_with_more_cores_had_fewer_before() -> None:
    """One core for two seconds, three for one: five core-seconds, of which four were idle."""
    story = Story("s", [done(0, 1.0, 1.0), done(1, 3.0, 1.0, node="n2")], {"n1": 3.0, "n2": 1.0},
                  stays={"n1": [Stay(0.0, 2.0, 1.0), Stay(3.0, 4.0, 3.0)]})
    use = usage_of(story, causes_of(story))[0]
    assert (use.slots, use.there, use.running, use.idle) == (3.0, 3.0, 1.0, 4.0)


def test_a_run_that_is_not_over_runs_what_it_runs() -> None:
    """Ten seconds have passed; t0 took two of them, and another one runs since then on the other core."""
    story = Story("s", [done(0, 0.0, 2.0)], {"n1": 2.0}, is_over=False, running=[Vain("n1", 2.0, 8.0)], until=10.0)
    (use,) = usage_of(story, causes_of(story))
    assert (use.running, use.idle, use.there) == pytest.approx((10.0, 10.0, 10.0))
    assert str(report_of(story)).startswith("Run 0 of 's' so far: 10.000 s, 1 function done, the last of them after 2.000 s")


def test_a_task_behind_another_waited_for_room() -> None:
    """Its worker was busy until then, and its input long there."""
    story = Story("s", [done(0, 0.0, 1.0), done(1, 1.0, 3.0, waited=1.0), done(2, 4.25, 1.0, 0, waited=3.25)], {"n1": 1.0})
    path = critical_path(story, causes_of(story))
    assert [(leg.name, leg.reason, leg.waiting) for leg in path] == [
        ("t0", "the submission", 0.0), ("t1", "room, after t0", 0.0), ("t2", "room, after t1", 0.25)]


def test_room_may_be_made_by_another_worker() -> None:
    """A node of one core with two workers: what ended on one lets the other start. On a node with two cores it does not."""
    tasks = [done(0, 0.0, 1.0, worker=1), done(1, 1.0, 1.0, worker=2, waited=1.0)]
    full, roomy = Story("s", tasks, {"n1": 1.0}), Story("s", tasks, {"n1": 2.0})
    assert [leg.reason for leg in critical_path(full, causes_of(full))] == ["the submission", "room, after t0"]
    assert [leg.reason for leg in critical_path(roomy, causes_of(roomy))] == ["the submission"]


def test_what_was_planned_when_there_was_room_moved_after_that() -> None:
    """The input existed at 1, room at 3, the task was planned at 3.1, its input there at 3.6."""
    story = Story("s", [
        done(0, 0.0, 1.0), done(1, 0.0, 3.0, node="n2"), done(2, 3.7, 1.0, 0, node="n2", waited=0.1, planned=3.1),
    ], {"n1": 1.0, "n2": 1.0})
    leg = critical_path(story, causes_of(story))[-1]
    assert (leg.reason, leg.moving, leg.waiting) == ("room, after t1", pytest.approx(0.5), pytest.approx(0.2))


def test_a_late_transfer_is_no_lack_of_room() -> None:
    """Planned at 0, room from 1 on, the input there at 2.5: the input was the reason."""
    story = Story("s", [
        done(0, 0.0, 0.5), done(1, 0.0, 1.0, node="n2"), done(2, 2.5, 1.0, 0, node="n2", waited=0.0, planned=0.0),
    ], {"n1": 1.0, "n2": 1.0})
    leg = critical_path(story, causes_of(story))[-1]
    assert (leg.reason, leg.moving) == ("input t0", pytest.approx(2.0))


def test_an_uploaded_value_moved() -> None:
    """From the client, before the first task."""
    story = Story("s", [done(0, 0.8, 0.0, worker=0, is_hidden=True, planned=0.1), done(1, 0.8, 1.0, 0)], {"n1": 1.0})
    path = critical_path(story, causes_of(story))
    assert [(leg.name, leg.moving, leg.waiting) for leg in path] == [("t0", pytest.approx(0.7), pytest.approx(0.1)), ("t1", 0.0, 0.0)]
    assert report_of(story).functions == 1


def test_starts_that_contradict_their_causes_are_straightened() -> None:
    """Reports take their time: nothing starts before its inputs end, and a worker does one thing at a time."""
    story = Story("s", [done(0, 0.01, 1.0), done(1, 1.0, 1.0, 0, node="n2"), done(2, 0.99, 0.5)])
    assert [(each.task, each.started) for each in story.tasks.values()] == [(0, 0.01), (1, 1.01), (2, 1.01)]
    assert {each.row for each in story.tasks.values()} == {0}


def test_a_result_that_was_made_again_later_is_no_cause() -> None:
    """Its node was lost after the consumer had run: that one did not wait for the second attempt."""
    story = Story("s", [done(0, 5.0, 1.0, attempt=2), done(1, 1.0, 1.0, 0, node="n2"), done(2, 6.5, 1.0, 0, 1, node="n2")])
    assert [(each.task, each.started) for each in story.tasks.values()] == [(1, 1.0), (0, 5.0), (2, 6.5)]
    assert [leg.reason for leg in critical_path(story, causes_of(story))] == ["the submission", "input t0"]


def test_a_worker_that_runs_many_at_once_has_many_rows() -> None:
    """As few as there are at once."""
    story = Story("s", [done(task, 0.1 * task, 0.25, is_shared=True) for task in range(6)])
    assert [each.row for each in story.tasks.values()] == [0, 1, 2, 0, 1, 2]
    assert [each.started for each in story.tasks.values()] == pytest.approx([0.1 * task for task in range(6)])


def test_twice_as_fast_is_worked_out_along_the_chain() -> None:
    """a (4 s) then b (2 s): a at twice its speed saves 2 s, b 1 s."""
    story = Story("s", [done(0, 0.0, 4.0, function="a"), done(1, 4.0, 2.0, 0, function="b")], {"n1": 1.0})
    causes = causes_of(story)
    found = changes_of(story, causes, critical_path(story, causes))
    assert [(change.what, change.saved, change.makespan) for change in found] == [
        ("a twice as fast", 2.0, 4.0), ("b twice as fast", 1.0, 5.0)]


def test_what_is_not_the_only_reason_saves_less() -> None:
    """b waits for a (4 s) and c (3 s): a at twice its speed saves one second, since c is there a second later."""
    story = Story("s", [
        done(0, 0.0, 4.0, function="a"), done(1, 0.0, 3.0, function="c", node="n2"), done(2, 4.0, 1.0, 0, 1, function="b"),
    ], {"n1": 1.0, "n2": 1.0})
    causes = causes_of(story)
    first = changes_of(story, causes, critical_path(story, causes))[0]
    assert (first.what, first.saved) == ("a twice as fast", 1.0)


def test_data_in_place_saves_what_moved() -> None:
    """Three seconds of moving between two tasks of one."""
    story = Story("s", [done(0, 0.0, 1.0), done(1, 4.0, 1.0, 0, node="n2")], {"n1": 1.0, "n2": 1.0})
    causes = causes_of(story)
    first = changes_of(story, causes, critical_path(story, causes))[0]
    assert (first.what, first.saved, first.makespan) == ("no moving of data on the critical path (3 s)", 3.0, 2.0)


def test_a_straggler_is_named_with_its_median() -> None:
    """One of eight took ten times as long; the node has room for all."""
    tasks = [done(task, 0.0, 10.0 if task == 5 else 1.0, worker=task + 1) for task in range(8)]
    story = Story("s", tasks, {"n1": 8.0})
    causes = causes_of(story)
    first = changes_of(story, causes, critical_path(story, causes))[0]
    assert (first.what, first.saved) == ("t5 as fast as most of f (1 s, not 10 s)", 9.0)


def test_one_more_node_helps_a_bag_of_tasks_and_no_chain() -> None:
    """Eight seconds of independent work on two nodes; then the same as a chain."""
    bag = [done(task, task // 2, 1.0, node=f"n{task % 2 + 1}", waited=task // 2) for task in range(8)]
    story = Story("s", bag, {"n1": 1.0, "n2": 1.0})
    causes = causes_of(story)
    found = {change.what: change.saved for change in changes_of(story, causes, critical_path(story, causes))}
    assert found["one more node like n1 (1 core)"] == pytest.approx(1.0)
    chain = [done(task, task, 1.0, *([task - 1] if task else [])) for task in range(8)]
    assert placed_anew(chain, [1, 1], 0.0) == placed_anew(chain, [1, 1, 1], 0.0) == 8.0


@pytest.mark.parametrize(("more", "limit"), [({"is_bound": True}, 0), ({}, 2)])
def test_one_more_node_is_no_help_for_what_can_not_go_there(more: dict[str, bool], limit: int) -> None:
    """Pinned functions, those that wait for a GPU or a licence, and runs with a limit of their own: room was not what they lacked."""
    bag = [done(task, task // 2, 1.0, node=f"n{task % 2 + 1}", waited=task // 2, **more) for task in range(8)]
    story = Story("s", bag, {"n1": 1.0, "n2": 1.0}, limit=limit)
    causes = causes_of(story)
    assert not [change for change in changes_of(story, causes, critical_path(story, causes)) if "one more node" in change.what]


def test_one_more_node_shortens_no_chain_even_where_the_schedule_is_worse_than_the_run() -> None:
    """The run packed six seconds of work behind a chain of six; a schedule anew counts as whole cores what took none, and needs twelve."""
    tasks = [done(0, 0.0, 3.0), done(1, 3.0, 3.0, 0), *(done(task, task - 2, 1.0, worker=2) for task in range(2, 8))]
    story = Story("s", tasks, {"n1": 1.0})
    causes = causes_of(story)
    found = changes_of(story, causes, critical_path(story, causes))
    assert story.makespan == 6.0 and placed_anew(tasks, [1], 0.0) == 12.0
    assert not [change for change in found if "one more node" in change.what]


def test_what_was_planned_when_room_was_in_sight_comes_sooner_with_the_room() -> None:
    """Four in a row, each given to the node a moment before the one before it ended: at twice their speed, all take half as long."""
    story = Story("s", [done(task, task, 1.0, waited=0.1 if task else 0.0, planned=task - 0.1 if task else 0.0) for task in range(4)],
                  {"n1": 1.0})
    causes = causes_of(story)
    [first, *_] = changes_of(story, causes, critical_path(story, causes))
    assert (first.what, first.makespan) == ("f twice as fast", pytest.approx(2.0))


def test_a_schedule_anew_heeds_slots_and_moving() -> None:
    """Two cores are taken together; a result is late on another node only."""
    wide = [done(task, 0.0, 1.0, worker=task + 1, slots=2.0) for task in range(3)]
    assert placed_anew(wide, [3], 0.0) == 3.0
    assert placed_anew(wide, [4], 0.0) == 2.0
    fork = [done(0, 0.0, 1.0, nbytes=10), done(1, 1.0, 2.0, 0), done(2, 1.0, 2.0, 0)]
    assert placed_anew(fork, [1, 1], 0.1) == 4.0
    assert placed_anew(fork, [1, 1], 1.0) == 5.0


def random_story(seed: int) -> Story:
    """A run on some nodes as greedy as it gets, with noise in everything."""
    rng = random.Random(seed)
    places = [(f"n{node}", worker) for node in range(rng.randint(1, 3)) for worker in range(1, rng.randint(2, 4))]
    free = dict.fromkeys(places, 0.0)
    tasks: list[Done] = []
    for task in range(rng.randint(1, 40)):
        inputs = rng.sample(range(task), min(task, rng.randint(0, 3)))
        node, worker = rng.choice(places)
        fed = max((tasks[each].ended for each in inputs), default=0.0)
        planned = max(0.0, fed + rng.uniform(-0.5, 0.5))
        here = max(fed, planned) + (rng.uniform(0.0, 0.3) if any(tasks[each].node != node for each in inputs) else 0.0)
        start = max(here, free[node, worker]) + rng.choice([0.0, 0.01])
        tasks.append(done(task, start, rng.choice([0.0, rng.uniform(0.0, 2.0)]), *inputs, node=node, worker=worker, waited=start - here,
                          planned=planned, function=rng.choice("fgh"), nbytes=rng.randrange(1000)))
        free[node, worker] = tasks[-1].ended
    for each in tasks:
        each.started += rng.uniform(-0.002, 0.002)
    return Story("random", tasks, {node: 2.0 for node, _ in places} | {"idle": 3.0})


@settings(deadline=None)
@given(st.integers(0, 10**9))
def test_sums_hold_whatever_the_run(seed: int) -> None:
    """Legs add up to the makespan, nodes to makespan times slots; nothing is negative; with nothing changed a replay is what was."""
    story = random_story(seed)
    report, causes = report_of(story), causes_of(story)
    assert sum(leg.running + leg.moving + leg.waiting for leg in report.critical_path) == pytest.approx(story.makespan)
    assert all(min(leg.running, leg.moving, leg.waiting) >= -1e-9 for leg in report.critical_path)
    for use in report.nodes:
        assert use.running + use.waiting + use.moving + use.idle == pytest.approx(use.slots * story.makespan)
        assert min(use.running, use.waiting, use.moving, use.idle) >= -1e-9
    assert replay(story, causes, lambda each: each.seconds) == pytest.approx(story.makespan)
    assert replay(story, causes, lambda each: each.seconds / 2) <= story.makespan + 1e-9
    assert all(0 < change.saved <= story.makespan + 1e-9 for change in report.changes)
    assert [change.saved for change in report.changes] == sorted((change.saved for change in report.changes), reverse=True)


@pytest.mark.parametrize("slots", [0.25, 1.0])
def test_one_more_node_helps_where_more_ran_at_once_than_there_are_cores(slots: float) -> None:
    """Sixteen that take a quarter of a core each, or memory alone: eight at a time on two cores, and all at once on two such nodes."""
    bag = [done(task, task // 8, 1.0, worker=task % 8 + 1, waited=task // 8, slots=slots) for task in range(16)]
    story = Story("s", bag, {"n1": 2.0})
    causes = causes_of(story)
    found = {change.what: change.makespan for change in changes_of(story, causes, critical_path(story, causes))}
    assert found["one more node like n1 (2 cores)"] == pytest.approx(1.0)


def test_one_more_node_helps_where_memory_was_what_lacked() -> None:
    """Six that take nearly half of the memory each, and few of the cores: two at a time, and four on two such nodes."""
    bag = [done(task, task // 2, 1.0, worker=task % 2 + 1, waited=task // 2, slots=0.1, memory=1900.0) for task in range(6)]
    story = Story("s", bag, {"n1": 8.0}, has={"n1": {"memory": 4000 * SCALE}})
    causes = causes_of(story)
    found = {change.what: change.makespan for change in changes_of(story, causes, critical_path(story, causes))}
    assert found["one more node like n1 (8 cores)"] == pytest.approx(2.0)
