"""A node that says that nothing can run there: it gets no new work, gives back what it has, and runs say what they wait for."""

from __future__ import annotations

from typing import Any

import pytest
from scheduler_story import Cluster, Flag, Recall, Recalled, RunFailed, kind, many, program

from handoff.messages import Alive, Answer, Ask

FAULT = "its workers end as they start: exited with status 3"


def ask(cluster: Cluster, topic: str) -> Any:
    """As a client is told."""
    cluster.hear("client", Ask(9, topic))
    return cluster.told(Answer, "client")[-1].data


def give_back(cluster: Cluster) -> None:
    """All nodes give back what they were just asked for."""
    for name, recall in [(name, message) for name, message in cluster.last if isinstance(message, Recall)]:
        cluster.hear(name, Recalled(recall.run, recall.tasks, recall.attempts))


def test_what_it_has_is_planned_elsewhere() -> None:
    """All that was planned there is asked back, and goes to the other node; so does what comes later."""
    cluster = Cluster().client().join("bad").join("good")
    run = cluster.submit(many(2))
    assert {cluster.where(0), cluster.where(1)} == {"bad", "good"}
    (mine,) = [task for task in (0, 1) if cluster.where(task) == "bad"]
    cluster.hear("bad", Alive(fault=FAULT))
    assert [(list(recall.tasks)) for recall in cluster.told(Recall, "bad")] == [[mine]]
    give_back(cluster)
    cluster.done(1 - mine)
    assert cluster.where(mine) == "good"
    cluster.done(mine)
    second = cluster.submit(many(4))
    cluster.finish(second)
    assert {cluster.where(task, second) for task in range(4)} == {"good"}
    assert {node["name"]: node["state"] for node in ask(cluster, "nodes")} == {"bad": "faulty", "good": "ready"}
    assert run not in cluster.scheduler.ledger.runs or cluster.scheduler.ledger.runs[run].is_over


def test_what_only_it_could_run_waits_and_says_so() -> None:
    """Whether it was planned there before or comes later; when the node is well again, it runs."""
    cluster = Cluster().client().join("bad").join("good")
    before = cluster.submit(program([(kind("pinned", node="bad"), ())]))
    cluster.hear("bad", Alive(fault=FAULT))
    give_back(cluster)
    after = cluster.submit(program([(kind("later", node="bad"), ())]))
    lines = {line["run"]: line for line in ask(cluster, "runs")}
    assert lines[before]["waits_for"] == f"pinned waits for what can run nothing now: node 'bad': {FAULT}"
    assert lines[after]["waits_for"] == f"later waits for what can run nothing now: node 'bad': {FAULT}"

    cluster.hear("bad", Alive())
    assert cluster.where(0, before) == "bad"
    cluster.done(0, run=before)
    cluster.done(0, run=after)
    assert not [each for _, each in cluster.said if isinstance(each, RunFailed)]


def test_it_is_waited_for_as_long_as_a_node_that_is_absent() -> None:
    """A run that nothing else can run fails after that time, and the error says why."""
    cluster = Cluster(suspect_seconds=1e6, lost_seconds=1e6, node_timeout_seconds=5.0).client().join("bad")
    cluster.hear("bad", Alive(fault=FAULT))
    cluster.submit(many(1))
    cluster.wait(4.0)
    assert not cluster.told(RunFailed)
    cluster.wait(2.0)
    (failed,) = cluster.told(RunFailed)
    assert (failed.code, failed.text) == ("NodeTimeout", f"work waits for what can run nothing now: node 'bad': {FAULT}; waited 5 s")


def test_what_a_worker_had_when_it_ended_is_asked_for_again() -> None:
    """It was in a worker's hands when it was asked back, and came back to its node when that ended."""
    cluster = Cluster().client().join("bad")
    cluster.submit(many(1))
    cluster.hear("bad", Alive(fault=FAULT))
    assert cluster.told(Recall, "bad")
    cluster.hear("bad", Alive(fault=FAULT))
    assert cluster.told(Recall, "bad")
    give_back(cluster)
    cluster.hear("bad", Alive(fault=FAULT))
    assert not cluster.told(Recall, "bad")


@pytest.mark.parametrize("stage", ["to serialize", "to take"])
def test_what_is_serialized_there_or_for_it_goes_elsewhere(stage: str) -> None:
    """A serializer runs beside its input, and what takes it where it was promised to; as long as nothing can run there, others do both."""
    cluster = Cluster().client().join("n1").join("n2")
    make, serialize, other = kind("make", {}, flags=Flag(0)), kind("serialize", {}, flags=Flag.SERIALIZER), kind("other", {}, flags=Flag(0))
    run = cluster.submit(program([(make, ()), (serialize, (0,)), (other, ()), (kind("take"), (1, 2))]))
    table = cluster.scheduler.ledger.runs[run]
    cluster.done(0)
    if stage == "to serialize":
        bad = cluster.where(1)
    else:
        bad = cluster.names[table.promised[3]]
        cluster.done(1)
        assert not table.is_planned(3)
    cluster.hear(bad, Alive(fault=FAULT))
    give_back(cluster)

    good = "n2" if bad == "n1" else "n1"
    assert cluster.names[table.promised[3]] == good
    cluster.finish(run)
    assert {cluster.where(1), cluster.where(3)} == {good}


def test_a_faulty_node_that_would_not_do_either_is_not_said_to_drain() -> None:
    """It is there, has too little, and no other one is."""
    cluster = Cluster().client().join("bad")
    cluster.hear("bad", Alive(fault=FAULT))
    run = cluster.submit(many(1, kind("big", {"cpu": 2})), wait_for_nodes=True)
    assert cluster.scheduler.ledger.runs[run].unmet == "big needs cpu=2, and every node that is here drains or is faulty: 'bad'"
