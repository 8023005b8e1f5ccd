"""What made room for a task: whoever held what lacked until it started, whatever that is and whichever worker ran it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from planned import Outlook

from handoff import DAG, Function
from handoff.client.story.causes import causes_of, critical_path
from handoff.client.story.changes import changes_of, replay
from handoff.client.story.lacking import lacks_of, with_more
from handoff.client.story.records import Done, Story, Vain
from handoff.client.story.report import report_of
from handoff.client.story.usage import usage_of
from handoff.resources import SCALE


def short() -> None:
    """Takes a core for a while."""


def long() -> None:
    """Takes something else for longer."""


@pytest.mark.parametrize("takes", [{"tapes": 1}, {"memory": 600}, {"gpu": 1}, {"gpu": 0.6}, {"cpu": 1, "tapes": 1}])
def test_a_plan_tells_who_held_what_lacked(takes: dict[str, Any]) -> None:
    """Three that can't run beside each other, on a node with cores to spare: workers that stood idle are not what they waited for."""
    dag = DAG()
    for number in range(3):
        dag.add(Function(f"short {number}", code=short, expected_seconds=0.2 + 0.1 * number, priority=1))
    for number in range(3):
        dag.add(Function(f"long {number}", code=long, cost=takes, expected_seconds=1.0))
    plan = Outlook(node={"cpu": 4, "memory": 1000, "gpu": 1, "tapes": 1}).plan(dag)
    assert [(leg.name, leg.reason) for leg in plan.critical_path] == [
        ("long 0", "the submission"), ("long 1", "room, after long 0"), ("long 2", "room, after long 1")]
    assert sum(leg.waiting for leg in plan.critical_path) < 0.1


def done(task: int, at: float, seconds: float, worker: int, *takes: tuple[str, float], function: str = "f") -> Done:
    """A task on n1."""
    return Done(task, f"t{task}", function, "n1", worker, at, seconds, waited=at,
                takes=[(name, amount * SCALE) for name, amount in (("cpu", 1), *takes)])


def test_who_ended_last_has_not_always_made_the_room() -> None:
    """t0 held most of the memory; t2, which held little, ended a moment after it, and t3's own worker was idle for long."""
    story = Story("s", [
        done(0, 0.0, 2.0, 1, ("memory", 600)), done(1, 0.0, 0.5, 2), done(2, 0.0, 2.001, 3, ("memory", 10)),
        done(3, 2.002, 1.0, 2, ("memory", 600), function="g"),
    ], {"n1": 4.0}, has={"n1": {"cpu": 4 * SCALE, "memory": 1000 * SCALE}})
    causes = causes_of(story)
    path = critical_path(story, causes)
    assert [(leg.name, leg.reason) for leg in path] == [("t0", "the submission"), ("t3", "room, after t0")]
    assert path[1].waiting == pytest.approx(0.002)
    found = {change.what: change.makespan for change in changes_of(story, causes, path)}
    assert found["f twice as fast"] == pytest.approx(2.002)      # of t0, whose room t3 waits for; it waited for t1's worker 1.502 s


def test_what_takes_no_cores_waits_for_none() -> None:
    """Both cores were taken until t0 ended; t2 took memory alone, of which there was enough, and was given to its node late."""
    late = Done(2, "t2", "f", "n1", 3, 1.5, 1.0, planned=1.49, takes=[("memory", 5.0 * SCALE)])
    story = Story("s", [done(0, 0.0, 1.0, 1), done(1, 0.0, 1.2, 2), late], {"n1": 2.0},
                  has={"n1": {"cpu": 2 * SCALE, "memory": 1000 * SCALE}})
    assert [leg.name for leg in critical_path(story, causes_of(story))] == ["t2"]
    assert "room" not in report_of(story).critical_path[0].reason


def test_a_path_tells_of_attempts_in_vain() -> None:
    """t1 failed twice before the attempt that counts; what a second attempt lost later is no reason."""
    vain = [Vain("n1", 1.0, 0.5, task=1), Vain("n1", 1.6, 0.5, task=1), Vain("n1", 3.5, 0.1, task=1), Vain("n1", 0.0, 0.1, task=7)]
    for planned, said in ((2.12, ""), (2.9, "; placed at 2.900 s")):
        story = Story("s", [done(0, 0.0, 1.0, 1), Done(1, "t1", "f", "n2", 1, 3.0, 1.0, (0,), planned=planned, attempt=3)],
                      {"n1": 1.0, "n2": 1.0}, vain=vain)
        assert [leg.reason for leg in critical_path(story, causes_of(story))] == ["the submission", f"input t0; 2 attempts in vain{said}"]


def test_a_path_tells_what_was_placed_late() -> None:
    """Nothing of this run had the room: another run, a limit, or a node that was still to come."""
    story = Story("s", [Done(0, "t0", "f", "n1", 1, 2.0, 1.0, planned=1.9), Done(1, "t1", "f", "n1", 1, 3.0, 1.0, (0,), planned=3.0),
                        Done(2, "t2", "f", "n1", 1, 9.0, 1.0, planned=8.9, waited=0.0)], {"n1": 1.0})
    assert [leg.reason for leg in critical_path(story, causes_of(story))] == [
        "the submission; placed at 1.900 s", "input t0", "room, after t1; placed at 8.900 s"]


def test_who_waits_for_what_is_on_its_way_does_not_wait_for_what_is_there() -> None:
    """t2 takes t0, which takes four seconds to come from n2, and t1, which was made last, where t2 runs: t1 could have been slower."""
    story = Story("s", [
        Done(0, "t0", "far", "n2", 1, 0.0, 1.0), done(1, 0.0, 2.0, 1, function="near"),
        Done(2, "t2", "join", "n1", 1, 5.0, 1.0, (0, 1), waited=0.0, planned=0.5),
    ], {"n1": 1.0, "n2": 1.0})
    causes = causes_of(story)
    path = critical_path(story, causes)
    assert [(leg.name, leg.reason, leg.moving, leg.waiting) for leg in path] == [
        ("t0", "the submission", 0.0, 0.0), ("t2", "input t0", pytest.approx(4.0), pytest.approx(0.0))]
    assert replay(story, causes, lambda each: each.seconds) == 6.0
    assert replay(story, causes, lambda each: 1.0) == 6.0                           # t1 twice as fast
    assert replay(story, causes, lambda each: each.seconds, frozenset({2})) == 3.0  # nothing moved: then it waits for t1
    use = usage_of(story, causes)[0]
    assert (use.running, use.waiting, use.moving, use.idle) == pytest.approx((3.0, 0.0, 3.0, 0.0))


def test_a_plan_does_not_blame_what_is_there_for_what_moves() -> None:
    """Of two that are made at once, one in the node of who takes both, and a bit later."""
    dag = DAG()
    for node, late in (("a", 0.1), ("b", 0.0)):
        dag.add(Function(f"made on {node}", code=long, node=node, expected_seconds=1.0 + late, expected_bytes=100e6))
    dag.add(Function("both", ["made on a", "made on b"], short, node="a", expected_seconds=0.1))
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(dag)
    assert [(leg.name, leg.reason) for leg in plan.critical_path] == [("made on b", "the submission"), ("both", "input made on b")]
    assert sum(leg.running + leg.moving + leg.waiting for leg in plan.critical_path) == pytest.approx(plan.makespan)


def test_what_was_fetched_only_when_all_was_made_waited_for_what_was_made_last() -> None:
    """t1 was made last, after it had failed twice: only then was t2 placed, where t1 is, and t0 fetched, which had lain there for long."""
    story = Story("s", [
        Done(0, "t0", "far", "n2", 1, 0.0, 1.0), done(1, 3.0, 1.0, 1, function="near"),
        Done(2, "t2", "join", "n1", 1, 5.0, 1.0, (0, 1), waited=0.0, planned=4.01),
    ], {"n1": 1.0, "n2": 1.0})
    causes = causes_of(story)
    assert [(leg.name, leg.reason) for leg in critical_path(story, causes)] == [("t1", "the submission"), ("t2", "input t1")]
    assert (causes[2].moving, causes[2].waiting) == pytest.approx((0.99, 0.01))
    assert replay(story, causes, lambda each: each.seconds) == 6.0
    assert replay(story, causes, lambda each: 0.5 if each.task == 1 else each.seconds) == 5.5


def changes(story: Story) -> dict[str, float]:
    """The makespan with each change that is told."""
    causes = causes_of(story)
    return {change.what: change.makespan for change in changes_of(story, causes, critical_path(story, causes))}


GPU_NODE = {"cpu": 4 * SCALE, "gpu": SCALE}


def test_a_run_that_took_no_time_at_all_has_nothing_to_be_shortened() -> None:
    """Not even where one of its tasks waited for a GPU: there is no part by which it would have been shorter."""
    takes = (("cpu", 10000.0), ("gpu", 10000.0))
    story = Story("nothing", [Done(0, "a", "f", "n", 1, 0.0, 0.0, takes=takes), Done(1, "b", "f", "n", 2, 0.0, 0.0, takes=takes)],
                  {"n": 2.0}, has={"n": {"cpu": 20000, "gpu": 10000}})
    causes = causes_of(story)
    causes[1] = replace(causes[1], lacked="gpu", short=10000.0)

    assert lacks_of(story, causes, critical_path(story, causes)) and changes_of(story, causes, critical_path(story, causes)) == []


@pytest.mark.parametrize("workers", [1, 4])
def test_one_more_gpu_shortens_what_waited_for_the_only_one(workers: int) -> None:
    """Four of a second each, one after the other, in one worker or in each its own: in pairs they take two."""
    story = Story("s", [done(task, task, 1.0, task % workers + 1, ("gpu", 1)) for task in range(4)], {"n1": 4.0}, has={"n1": GPU_NODE})
    assert changes(story)["1 more gpu on n1"] == pytest.approx(2.0)


def test_more_memory_shortens_what_waited_for_memory() -> None:
    """Two fit in 1000 MB, and a third of 400 MB would, had the node 200 MB more."""
    story = Story("s", [done(task, float(task >= 2), 1.0, task + 1, ("memory", 400)) for task in range(3)], {"n1": 4.0},
                  has={"n1": {"cpu": 4 * SCALE, "memory": 1000 * SCALE}})
    assert changes(story)["200 MB more memory on n1"] == pytest.approx(1.0)


def test_one_more_licence_shortens_what_waited_for_one_in_the_whole_cluster() -> None:
    """Four on two nodes, with one licence between them."""
    tasks = [Done(task, f"t{task}", "f", f"n{task % 2 + 1}", 1, float(task), 1.0, waited=float(task),
                  shared=[("license", SCALE)]) for task in range(4)]
    story = Story("s", tasks, {"n1": 4.0, "n2": 4.0}, shared={"license": SCALE})
    assert changes(story)["1 more license in the cluster"] == pytest.approx(2.0)


def test_a_gpu_more_helps_the_other_node_too_unless_its_functions_are_pinned() -> None:
    """Eight on two nodes with a GPU each: with three GPUs, three rounds; but those that are pinned to n2 still take four there."""
    for is_pinned, makespan in ((False, 3.0), (True, None)):
        tasks = [Done(task, f"t{task}", "f", f"n{task % 2 + 1}", 1, float(task // 2), 1.0, waited=float(task // 2),
                      takes=[("cpu", SCALE), ("gpu", SCALE)], is_bound=True, is_pinned=is_pinned) for task in range(8)]
        story = Story("s", tasks, {"n1": 4.0, "n2": 4.0}, has={"n1": GPU_NODE, "n2": GPU_NODE})
        found = [after for what, after in changes(story).items() if what.startswith("1 more gpu")]
        assert found == ([pytest.approx(makespan)] if makespan else [])


@pytest.mark.parametrize(("cores", "limit"), [(1, 0), (4, 1)])
def test_a_gpu_more_is_no_help_where_a_core_or_the_limit_of_the_run_lacked_too(cores: int, limit: int) -> None:
    """Whatever else each of them takes was taken as well."""
    story = Story("s", [done(task, task, 1.0, 1, ("gpu", 1)) for task in range(4)], {"n1": float(cores)}, limit=limit,
                  has={"n1": {"cpu": cores * SCALE, "gpu": SCALE}})
    assert not [what for what in changes(story) if "gpu" in what]


def test_what_was_not_kept_waiting_by_a_gpu_asks_for_none() -> None:
    """A chain on the only GPU: more of them would stand idle."""
    story = Story("s", [Done(task, f"t{task}", "f", "n1", 1, float(task), 1.0, (task - 1,) if task else (),
                             takes=[("cpu", SCALE), ("gpu", SCALE)]) for task in range(4)], {"n1": 4.0}, has={"n1": GPU_NODE})
    assert not [what for what in changes(story) if "gpu" in what]


def test_a_gpu_of_a_kind_brings_its_memory() -> None:
    """What takes all memory of the only one is alone on it, however small its part of the GPU is."""
    takes = [("gpu", 0.25), ("gpu:a100", 0.25), ("gpu_memory", 900)]
    has = {"cpu": 4 * SCALE, "gpu": SCALE, "gpu:a100": SCALE, "gpu_memory": 1000 * SCALE}
    story = Story("s", [done(task, task, 1.0, 1, *takes) for task in range(4)], {"n1": 4.0}, has={"n1": has})
    assert changes(story)["1 more gpu:a100 on n1"] == pytest.approx(2.0)


@pytest.mark.parametrize("takes", [{"tapes": 1}, {"memory": 600}, {"gpu": 1}, {"gpu": 0.6}])
def test_a_schedule_with_nothing_more_is_the_run_itself(takes: dict[str, Any]) -> None:
    """What some wait for, and what others make room for, comes to the same seconds when it is worked out from what there is."""
    dag = DAG()
    for number in range(6):
        dag.add(Function(f"short {number}", code=short, expected_seconds=0.2 + 0.1 * number))
        dag.add(Function(f"long {number}", [f"short {number}"], code=long, cost=takes, expected_seconds=1.0))
    story = Outlook(a={"cpu": 2, "memory": 1000, "gpu": 1, "tapes": 1}, b={"cpu": 2, "memory": 1000, "gpu": 1, "tapes": 1}).plan(dag).story
    causes = causes_of(story)
    assert with_more(story, causes) == pytest.approx(story.makespan, rel=0.01)
    lack, steps = next(iter(lacks_of(story, causes, critical_path(story, causes)).items()))
    assert with_more(story, causes, lack, steps) < 0.8 * story.makespan
