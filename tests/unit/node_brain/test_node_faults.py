"""A node whose workers end as they start: it says so, takes no work, and tries again, less and less often."""

from __future__ import annotations

from typing import Any

from handoff.machine import Note
from handoff.messages import Alive, Failed, Recalled
from handoff.node.events import Spawn, WorkerGone, WorkerLoaded, WorkerReady

WROTE = "Traceback\nImportError: no module named x"


def stillborn(node: Any) -> list[Any]:
    """All workers that were asked for in the last turn end as they start."""
    return node.happen(*[WorkerGone(each.worker, "exited with status 1", (), wrote=WROTE) for each in node.last_of(Spawn)])


def fail(node: Any) -> list[Any]:
    """Both of its first workers come up, and end; so do those that follow them, as they start. Answers with all that is said meanwhile."""
    said = node.happen(*[WorkerGone(worker, "killed by SIGTERM", ()) for worker in node.workers])
    for _ in range(2):
        said += stillborn(node)
    return said


def test_it_says_so_once_and_in_its_heartbeats(hand: Any) -> None:
    """The log hears it once, with all that one of them wrote; the coordinator at once, and with each heartbeat."""
    node = hand({"cpu": 2})
    said = fail(node)
    notes = [each for each in said if isinstance(each, Note)]
    assert [(note.level, note.event) for note in notes] == [("warning", "worker.stillborn"), ("error", "workers.fail")]
    fault = "its workers end as they start: exited with status 1, after they wrote 'ImportError: no module named x'"
    assert dict(notes[0].fields)["wrote"] == WROTE and dict(notes[1].fields)["reason"] == fault
    assert [alive.fault for alive in node.said(Alive)] == [fault]

    node.wait(5.0)
    assert {alive.fault for alive in node.said(Alive)} == {fault}
    assert not node.last_of(Note)


def test_it_tries_again_less_and_less_often(hand: Any) -> None:
    """One worker at a time, after a pause that doubles up to half a minute."""
    node = hand({"cpu": 2})
    fail(node)
    pauses = []
    for _ in range(7):
        began = node.now
        while not node.last_of(Spawn):
            node.wait(node.brain.deadline - node.now)
        pauses.append(round(node.now - began))
        assert len(node.last_of(Spawn)) == 1
        stillborn(node)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_one_that_comes_up_ends_it(hand: Any) -> None:
    """A worker that is merely ready does not: it may end yet. One that has loaded all it needs does, and the others are started at once."""
    node = hand({"cpu": 2})
    fail(node)
    while not node.last_of(Spawn):
        node.wait(node.brain.deadline - node.now)
    (spawned,) = node.last_of(Spawn)
    node.happen(WorkerReady(spawned.worker))
    assert not node.said(Alive) and not node.last_of(Note)

    node.happen(WorkerLoaded(spawned.worker))
    assert [alive.fault for alive in node.said(Alive)] == [""]
    assert [note.event for note in node.last_of(Note)] == ["workers.recovered"]
    assert len(node.last_of(Spawn)) == 1


def test_a_task_is_not_to_blame_for_workers_that_looked_at_nothing(hand: Any) -> None:
    """It was given to one after the other before these had loaded what they need: it waits, and is given back when asked for."""
    node = hand({"cpu": 1})
    node.plan({0: []})
    for _ in range(4):
        (worker,) = node.workers
        node.workers.clear()
        node.happen(WorkerGone(worker, "exited with status 1", (), wrote=""))
        assert not node.said(Failed)
        while not node.last_of(Spawn):
            node.wait(node.brain.deadline - node.now)
        node.warm_up()
    node.happen(WorkerGone(node.workers.pop(), "exited with status 1", (), wrote=""))
    node.recall([0])
    assert [list(each.tasks) for each in node.said(Recalled)] == [[0]]


def test_where_one_lives_others_may_end(hand: Any) -> None:
    """A node that has a worker which came up goes on with it."""
    node = hand({"cpu": 2})
    node.happen(*map(WorkerLoaded, node.workers))
    node.happen(WorkerGone(node.workers[0], "killed by SIGTERM", ()))
    for _ in range(5):
        stillborn(node)
    assert "workers.fail" not in [each.event for each in node.all if isinstance(each, Note)]
