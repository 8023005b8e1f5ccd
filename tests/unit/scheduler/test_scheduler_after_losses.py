"""Small stories that whole simulated clusters told first: what is released, moved and asked for again after something was lost."""

from __future__ import annotations

from scheduler_story import CPU, Cluster, Flag, Redirect, Release, RunDone, Unreachable, ints, kind, program

from handoff.ids import RunId


def test_an_output_made_again_where_it_was_to_be_fetched_is_kept() -> None:
    """A node that was to fetch an output for a dependent, and then makes it itself, is not told to drop it when the dependent is done."""
    cluster = Cluster().client().join("n1")
    cluster.submit(program([(kind("first"), ()), (kind("second", node="n2"), (0,))]))
    cluster.done(0)
    cluster.join("n2")
    cluster.lose("n1")
    cluster.done(0)
    cluster.done(1)

    assert cluster.where(0) == cluster.where(1) == "n2"
    assert not any(0 in message.tasks for name, message in cluster.said if name == "n2" and isinstance(message, Release))


def test_what_is_released_and_planned_again_in_one_pass_is_released_first() -> None:
    """A serializer whose consumer has to move is made again where it was: its first value must be gone before, and its second must stay."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=1, gpu=1).join("n3", cpu=1, gpu=1)
    start, between = kind("start", flags=0), kind("between", {}, flags=Flag.SERIALIZER)
    end = kind("end", {"cpu": 1, "gpu": 1})
    cluster.submit(program([(start, ()), (between, (0,)), (end, (1,))]))
    cluster.done(0)
    cluster.done(1)
    target = cluster.where(2)
    said = cluster.lose(target)
    home = cluster.where(1)
    beside = [(type(message).__name__, list(message.tasks)) for name, message in said if name == home and hasattr(message, "tasks")]

    assert [name for name, tasks in beside if 1 in tasks] == ["Release", "Plan"]


def test_the_allocation_names_where_a_task_ran_not_where_its_result_is() -> None:
    """When a node is lost, and another one that took a result still has it, the result moves there, but the task ran where it ran."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=1, gpu=1)
    start = kind("start", flags=0, node="n1")
    middle, end = kind("middle", {"gpu": 1}), kind("end", {"gpu": 1})
    run = cluster.submit(program([(start, ()), (middle, (0,)), (end, (0,))]))
    cluster.done(0)
    cluster.done(1)
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    cluster.lose("n1")
    cluster.finish()

    done = [message for _, message in cluster.said if isinstance(message, RunDone)][-1]
    assert done.run == run
    assert list(done.nodes) == [n1, n2, n2]


def test_a_dependent_that_can_not_move_is_told_to_ask_again() -> None:
    """Of two dependents that can't reach a pinned result, the free one moves; the other one is pinned too, and must not wait for ever."""
    cluster = Cluster().client().join("n1").join("n2", cpu=4).join("n3", cpu=4)
    start = kind("start", flags=0, node="n1")
    free, bound = kind("free", {"cpu": 2}), kind("bound", CPU, node="n2")
    cluster.submit(program([(start, ()), (free, (0,)), (bound, (0,))]))
    cluster.lose("n3")
    cluster.done(0)
    cluster.join("n4", cpu=4)
    assert cluster.where(1) == cluster.where(2) == "n2"
    cluster.hear("n2", Unreachable(RunId(1), cluster.peers["n1"], ints([0])))

    assert [(list(told.tasks), list(told.nodes)) for told in cluster.told(Redirect, "n2")] == [([0], [cluster.peers["n1"]])]
