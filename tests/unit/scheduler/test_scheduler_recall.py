"""Planned work is asked back when others could do it sooner."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scheduler_story import Cluster, kind, many, program

from handoff.columns import floats, ints
from handoff.messages import Alive, Forget, Plan, Recall, Recalled, RunFailed
from handoff.scheduler import recall
from handoff.scheduler.explain import explain
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import DONE, Run


def taught(seconds: float = 0.001) -> Cluster:
    """A node with one core that knows its work to be short."""
    cluster = Cluster().client().join("n1", cpu=1)
    run = cluster.submit(many(100))
    cluster.finish(run, seconds=seconds)
    cluster.hear("client", Forget(run))
    return cluster


def test_what_waits_behind_a_task_that_takes_far_too_long_goes_elsewhere() -> None:
    """Ten tasks of a millisecond are planned ahead; the first one hangs: the others are asked back for an idle node, and run there."""
    cluster = taught()
    run = cluster.submit(many(10))
    table = cluster.scheduler.ledger.runs[run]
    assert table.planned == 10
    cluster.join("n2", cpu=1)
    for _ in range(6):
        for name, message in list(cluster.last):
            if isinstance(message, Recall) and name == "n1":
                assert 0 not in message.tasks
                cluster.hear("n1", Recalled(message.run, message.tasks, message.attempts))
        while there := [task for task in range(10) if table.is_planned(task) and cluster.where(task, run) == "n2"]:
            cluster.done(*there, run=run, seconds=0.001)
        cluster.now += 2.0
        cluster.hear("n2", Alive())
        cluster.hear("n1", Alive())

    assert [task for task in range(10) if table.state[task] < DONE] == [0]


def test_a_task_is_never_asked_back_twice_for_one_plan() -> None:
    """A node that does not answer is not asked again and again: what it gives back late counts once."""
    cluster = taught()
    run = cluster.submit(many(10))
    cluster.join("n2", cpu=1)
    for _ in range(5):
        cluster.now += 1.0
        cluster.hear("n1", Alive())
        cluster.hear("n2", Alive())
    recalls = [message for name, message in cluster.said if isinstance(message, Recall) and name == "n1"]
    first = recalls[0]
    for message in recalls:
        cluster.hear("n1", Recalled(message.run, message.tasks, message.attempts))
    table = cluster.scheduler.ledger.runs[run]
    assert all(table.attempt[task] == 2 for task in first.tasks if table.is_planned(task))
    cluster.hear("n1", Recalled(first.run, ints(first.tasks), ints(first.attempts)))
    assert all(table.attempt[task] <= 2 for task in range(10))


def test_what_runs_where_it_is_stays_when_nobody_is_idle() -> None:
    """Without an idle core nothing is asked back."""
    cluster = taught()
    cluster.submit(many(10))
    cluster.now += 5.0
    cluster.hear("n1", Alive())

    assert not [message for _, message in cluster.said if isinstance(message, Recall)]


def test_attempts_that_never_began_are_not_counted_for_people() -> None:
    """What was given back is the first attempt for the function, for who asks, and in its failure; later ones count on from there."""
    cluster = taught()
    run = cluster.submit(many(10, kind(max_retries=1)))
    table = cluster.scheduler.ledger.runs[run]
    cluster.join("n2", cpu=1)
    [recall] = [message for name, message in cluster.last if isinstance(message, Recall) and name == "n1"]
    cluster.hear("n1", Recalled(run, recall.tasks, recall.attempts))
    plan = next(message for _, message in cluster.last if isinstance(message, Plan))
    task = plan.tasks[0]
    assert task in recall.tasks and plan.attempts[0] == 2
    assert dict(zip(plan.unbegun[::2], plan.unbegun[1::2], strict=True)) == dict.fromkeys(plan.tasks, 1)
    assert explain(cluster.scheduler.ledger, cluster.now, table, task)["attempt"] == 1
    cluster.fail(task, run=run)
    cluster.wait(0.06)
    assert table.attempt[task] == 3
    cluster.fail(task, run=run)
    [failed] = cluster.told(RunFailed)
    assert failed.attempt == 2 and "in attempt 2" in failed.text


def test_what_was_bound_early_and_turns_out_to_be_long_is_bound_anew_when_its_input_is_there() -> None:
    """All that ran was short, so what takes the result of a function never seen is planned beside that. Then others take seconds.

    It leaves that place before its input exists, and goes to the node that has nothing to do then.
    """
    cluster = taught()
    run = cluster.submit(program([(kind("load"), ()), (kind("train"), (0,))]))
    table = cluster.scheduler.ledger.runs[run]
    assert table.is_planned(1) and cluster.where(1, run) == "n1"
    cluster.join("n2", cpu=1)
    other = cluster.submit(many(1, kind("other")))
    cluster.wait(2.0)
    for name in ("n1", "n2"):
        cluster.hear(name, Alive())
    cluster.done(0, run=other, seconds=2.0)
    cluster.wait(1.0)
    recalls = [message for name, message in cluster.said if isinstance(message, Recall)]
    assert [list(message.tasks) for message in recalls[:1]] == [[1]]

    cluster.hear("n1", Recalled(run, recalls[0].tasks, recalls[0].attempts))
    assert not table.is_planned(1), "it waits for its input where all is decided"
    beside = cluster.submit(many(1, kind("beside", node="n1")))
    cluster.done(0, run=run, seconds=2.5)
    assert cluster.where(0, beside) == "n1" and cluster.where(1, run) == "n2"


def test_what_is_short_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node may have been given thousands of tasks of each run: where none of these can be long, nobody goes through them."""
    cluster = taught()
    run = cluster.submit(program([(kind("load"), ()), (kind("train"), (0,))]))
    assert cluster.scheduler.ledger.runs[run].planned == 2
    looked: list[Node] = []

    def tasks_of(node: Node, run: Run) -> list[int]:
        looked.append(node)
        return []

    monkeypatch.setattr(Node, "tasks_of", tasks_of)
    recall.recall_from_late(cluster.now, cluster.scheduler.ledger)
    assert not looked


@pytest.mark.parametrize("nodes", [1, 2])
def test_nothing_is_asked_back_for_a_node_that_has_as_much_to_do(nodes: int) -> None:
    """What names no cpu keeps its node busy as well: it is not asked back for that very node, nor to and fro between two."""
    small = kind("small", {"memory": 1})
    cluster = Cluster(suspect_seconds=1e6, lost_seconds=1e6).client()
    for number in range(nodes):
        cluster.join(f"n{number}", cpu=1, memory=1000)
    taught = cluster.submit(many(100, small))
    cluster.finish(taught, seconds=0.005)
    cluster.hear("client", Forget(taught))
    run = cluster.submit(many(400, small))
    table = cluster.scheduler.ledger.runs[run]
    for _ in range(20):
        cluster.now += 0.05
        for number in range(nodes):
            here = [task for task in range(400) if table.is_planned(task) and cluster.where(task, run) == f"n{number}"]
            cluster.done(*here[:5], run=run, seconds=0.005)
    assert table.planned and not [message for _, message in cluster.said if isinstance(message, Recall)]


@pytest.mark.parametrize(("sleepers", "memory"), [(10, 1), (1, 1000)])
def test_nothing_is_asked_back_for_a_node_that_has_no_room_for_it(sleepers: int, memory: int) -> None:
    """Its cores idle while its processes, or all of its memory, are taken: what came back would go where it was, again and again."""
    small = kind("small", {"memory": 1})
    cluster = Cluster(suspect_seconds=1e6, lost_seconds=1e6).client().join("n1", cpu=1, memory=1000)
    taught = cluster.submit(many(100, small))
    cluster.finish(taught, seconds=0.005)
    cluster.hear("client", Forget(taught))
    cluster.join("n2", cpu=1, memory=1000)
    cluster.submit(replace(many(sleepers, kind("sleep", {"memory": memory}, node="n2")), seconds=floats([500.0] * sleepers)))
    run = cluster.submit(many(200, small))
    table = cluster.scheduler.ledger.runs[run]
    for _ in range(20):
        cluster.now += 0.05
        here = [task for task in range(200) if table.is_planned(task)]
        cluster.done(*here[:5], run=run, seconds=0.005)
    assert table.planned and not [message for _, message in cluster.said if isinstance(message, Recall)]
    sleeping = cluster.scheduler.ledger.runs[run - 1]
    cluster.done(*range(sleepers), run=sleeping.run, seconds=500.0)
    assert any(isinstance(message, Recall) or name == "n2" for name, message in cluster.last)


@pytest.mark.parametrize(("told", "asked"), [((), ["n1"]), ((0.001, 0.001), [])])
def test_a_node_that_waits_for_an_input_alone_has_cores_for_others(told: tuple[float, ...], asked: list[str]) -> None:
    """One of its two cores is free, whatever comes to the other: what lies on the busy node is asked back for it.

    Not where it was told how long that takes: then it was planned for when it comes.
    """
    cluster = taught().join("n2", cpu=2)
    several = cluster.submit(many(36))
    two = program([(kind("far", node="n1", flags=0), ()), (kind("near", node="n2"), (0,))])
    run = cluster.submit(replace(two, seconds=floats(told)))
    assert cluster.where(1, run) == "n2"
    table = cluster.scheduler.ledger.runs[several]
    while here := [task for task in range(36) if table.is_planned(task) and cluster.where(task, several) == "n2"]:
        cluster.now += 0.02
        cluster.done(*here, run=several, seconds=0.001)

    assert [name for name, message in cluster.said if isinstance(message, Recall)] == asked
