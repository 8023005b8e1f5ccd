"""Planned work is asked back when others could do it sooner."""

from __future__ import annotations

from scheduler_story import Cluster, many

from handoff.columns import ints
from handoff.messages import Alive, Forget, Recall, Recalled
from handoff.scheduler.runs import DONE


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
