"""How runs and the node's own membership begin and end."""

from __future__ import annotations

from typing import Any

from handoff.columns import ints
from handoff.ids import COORDINATOR, PeerId, RunId
from handoff.machine import Close, Dropped, Lost, Resumed
from handoff.messages import Absent, Alive, Collect, EndRun, Failed, Recalled, Release, Report, Want
from handoff.node import state
from handoff.node.events import CancelTask, Deliver, Drop, DropRun, Spawn, Welcomed
from handoff.program import Flag


def test_the_end_of_a_run_frees_everything(hand: Any) -> None:
    """Values go, queued tasks never run, workers that execute it are killed, and their claims come free."""
    node = hand({"cpu": 1})
    node.plan({0: [], 1: []})
    worker = node.worker_of(0)
    node.say(COORDINATOR, EndRun(node.RUN))
    assert node.last_of(DropRun) == [DropRun(node.RUN)]
    assert node.killed == [(worker, "the run is over")]
    assert len(node.last_of(Spawn)) == 1
    node.die(worker, 0, reason="killed: the run is over")
    assert node.said(Failed) == []
    node.warm_up()

    assert node.given() == []
    assert node.free() == {"cpu": 1}


def test_workers_of_other_runs_are_left_alone(hand: Any) -> None:
    """Only workers with tasks of that run are killed; what else they had is given to others."""
    node = hand({"cpu": 2})
    node.plan({0: []})
    node.plan({7: []}, run=RunId(2))
    ours, theirs = node.worker_of(0), node.worker_of(7, RunId(2))
    node.say(COORDINATOR, EndRun(node.RUN))
    assert node.killed == [(ours, "the run is over")]
    node.happen(node.finished_event(7, run=RunId(2)))

    assert node.reported() == [7] and theirs != ours


def test_what_shared_a_worker_with_an_ended_run_runs_again(hand: Any) -> None:
    """A worker with messages of two runs is killed for one of them; the other's tasks are not lost."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan({0: []})
    node.plan({7: []}, run=RunId(2))
    worker = node.worker_of(0)
    assert node.worker_of(7, RunId(2)) == worker
    node.say(COORDINATOR, EndRun(node.RUN))
    node.warm_up()
    node.die(worker, reason="killed: the run is over")

    assert node.executed[-1] == (2, 7)
    assert node.said(Failed) == []


def test_coroutines_of_an_ended_run_are_cancelled(hand: Any) -> None:
    """Coroutines are asked to end, others on their worker go on, and the claim is free when they have ended."""
    node = hand({"cpu": 2})
    node.plan({0: []}, node.kind("co", {"cpu": 0.5}, flags=int(Flag.ASYNC)))
    node.plan({7: []}, node.kind("co", {"cpu": 0.5}, flags=int(Flag.ASYNC)), run=RunId(2))
    node.warm_up()
    worker = node.worker_of(0)
    node.say(COORDINATOR, EndRun(node.RUN))
    assert node.last_of(CancelTask) == [CancelTask(worker, node.RUN, (0,))] and node.killed == []
    node.broke(0, "cancelled")
    assert node.said(Failed) == []
    assert node.free() == {"cpu": 1.5}
    node.finish(7, run=RunId(2))

    assert node.reported() == [7]


def test_a_coroutine_that_outlives_its_run_is_killed(hand: Any) -> None:
    """After the grace, its worker is killed; the other run's coroutine runs again."""
    node = hand({"cpu": 2}, kill_grace_seconds=0.5)
    node.plan({0: []}, node.kind("co", {"cpu": 0.5}, flags=int(Flag.ASYNC)))
    node.plan({7: []}, node.kind("co", {"cpu": 0.5}, flags=int(Flag.ASYNC)), run=RunId(2))
    node.warm_up()
    worker = node.worker_of(0)
    node.say(COORDINATOR, EndRun(node.RUN))
    node.wait(0.6)
    assert node.killed == [(worker, "the run is over")]
    node.warm_up()
    node.die(worker, reason="killed")

    assert node.executed.count((2, 7)) == 2
    assert node.free() == {"cpu": 1.5}


def test_wants_for_an_ended_run_are_absent(hand: Any) -> None:
    """A run that is over here has no results, and never will."""
    node = hand()
    node.plan({0: []})
    node.finish(0)
    node.say(COORDINATOR, EndRun(node.RUN))
    node.say(node.PEER, Want(node.RUN, ints([0])))
    assert node.said(Absent, node.PEER) == [Absent(node.RUN, ints([0]))]
    node.say(node.CLIENT, Collect(node.RUN))

    assert node.last == []


def test_wants_die_with_their_run(hand: Any) -> None:
    """What peers asked of a run is forgotten at its end."""
    node = hand()
    node.say(node.PEER, Want(node.RUN, ints([0])))
    node.say(COORDINATOR, EndRun(node.RUN))
    node.plan({0: []}, run=RunId(2))
    node.finish(0, run=RunId(2))

    assert node.last_of(Deliver) == []


def test_ended_runs_are_remembered_in_bounded_memory(hand: Any, monkeypatch: Any) -> None:
    """Of runs long gone it is known that they are older than those that are remembered."""
    monkeypatch.setattr(state, "ENDED_MAX", 10)
    node = hand()
    for run in range(1, 101):
        node.say(COORDINATOR, EndRun(RunId(run)))
    for run in (1, 50, 95):
        node.say(node.PEER, Want(RunId(run), ints([0])))
        assert node.said(Absent) == [Absent(RunId(run), ints([0]))]
    node.say(node.PEER, Want(RunId(101), ints([0])))

    assert node.said(Absent) == []
    assert len(node.brain._state._ended) == 10


def test_what_strangers_ask_for_is_bounded(hand: Any, monkeypatch: Any) -> None:
    """Wants for runs that were never planned here are kept for so many runs, then the oldest are forgotten."""
    monkeypatch.setattr(state, "STRANGERS_MAX", 5)
    node = hand()
    for run in range(1, 21):
        node.say(node.PEER, Want(RunId(run), ints([0])))

    assert list(node.brain._state.runs) == [16, 17, 18, 19, 20]


def test_a_new_welcome_voids_everything(hand: Any) -> None:
    """Welcomed again: what runs is killed, all runs are dropped, nothing of before is reported, and work starts anew."""
    node = hand({"cpu": 2})
    node.plan({0: [], 1: []})
    node.plan({5: []}, run=RunId(2))
    late = node.finished_event(0)
    node.happen(Welcomed(PeerId(12)))
    assert len(node.killed) == 2
    assert node.last_of(DropRun) == [DropRun(RunId(1)), DropRun(RunId(2))]
    assert len(node.last_of(Spawn)) == 2
    node.warm_up()
    node.happen(late)
    assert node.said(Report) == []
    for worker, _ in [(worker, 0) for worker in (1, 2)]:
        node.die(worker, reason="killed")
    node.plan({0: [1]}, sources={1: PeerId(7)})

    assert node.said(Want, PeerId(7)) == [Want(node.RUN, ints([1]))]  # who was ourselves is somebody else now
    assert node.free() == {"cpu": 2}


def test_heartbeats_tell_what_is_free(hand: Any) -> None:
    """Every heartbeat_seconds: free amounts, running and queued tasks."""
    node = hand({"cpu": 2, "memory": 10}, heartbeat_seconds=0.5)
    node.plan({0: [], 1: [], 2: [], 3: [0]})
    node.wait(2.0)
    beats = node.said(Alive, COORDINATOR)

    assert len(beats) == 4
    assert beats[-1] == Alive((("memory", 100_000),), running=2, queued=2)


def test_heartbeats_are_as_frequent_as_the_coordinator_needs_them(hand: Any) -> None:
    """A node of other settings would be silent for too long, be taken for lost, and begin its work again for ever."""
    node = hand({"cpu": 2}, heartbeat_seconds=6.0)
    node.happen(Welcomed(PeerId(2), heartbeat_seconds=0.5))
    node.wait(2.0)
    assert len(node.said(Alive, COORDINATOR)) == 4
    node.happen(Welcomed(PeerId(3), heartbeat_seconds=60.0))
    node.wait(18.0)
    assert len(node.said(Alive, COORDINATOR)) == 3


def test_a_node_works_on_without_its_coordinator(hand: Any) -> None:
    """Within orphan_seconds planned work goes on and is reported; heartbeats rest; a resumed session changes nothing else."""
    node = hand({"cpu": 1}, orphan_seconds=60.0)
    node.plan({0: [], 1: []})
    node.happen(Dropped(COORDINATOR))
    node.wait(50.0)
    assert node.said(Alive) == []
    node.finish(0)
    assert node.reported() == [0] and node.given() == [(1,)]
    node.happen(Resumed(COORDINATOR))
    assert len(node.said(Alive)) == 1
    node.wait(30.0)

    assert node.last_of(DropRun) == []


def test_an_orphan_stops_in_the_end(hand: Any) -> None:
    """After orphan_seconds everything is stopped and dropped, until the next welcome."""
    node = hand({"cpu": 1}, orphan_seconds=60.0)
    node.plan({0: []})
    worker = node.worker_of(0)
    node.happen(Dropped(COORDINATOR))
    node.wait(61.0)
    assert node.killed == [(worker, "the run is over")]
    assert node.last_of(DropRun) == [DropRun(node.RUN)]
    assert [effect.peer for effect in node.all if isinstance(effect, Close)] == [COORDINATOR]   # a session that goes on would be silence
    node.plan({1: []})
    assert node.given() == []
    node.wait(10.0)
    assert node.said(Alive) == []
    node.happen(Welcomed(PeerId(13)))

    assert len(node.said(Alive)) == 1


def test_a_lost_coordinator_stops_everything(hand: Any) -> None:
    """When the coordinator refuses to have us back, all work is void."""
    node = hand()
    node.plan({0: []})
    node.happen(Lost(COORDINATOR, "refused"))

    assert len(node.killed) == 1 and node.last_of(DropRun) == [DropRun(node.RUN)]


def test_finished_tasks_leave_nothing_behind(hand: Any) -> None:
    """Plan data goes with the task, sizes with the release, the table with the run."""
    node = hand()
    node.learn()
    node.say(COORDINATOR, EndRun(RunId(900)))
    node.plan({0: [], 1: [0], 2: [1]})
    node.finish(0, 1, 2)
    table = node.brain._state.runs[node.RUN]
    assert not (table.plans or table.ready or table.given or table.missing or table.waiters)
    node.release(0, 1, 2)
    assert table.size == {}
    assert node.last_of(Drop) == [Drop(node.RUN, (0, 1, 2))]
    node.say(COORDINATOR, EndRun(node.RUN))

    assert node.brain._state.runs == {}


def test_messages_about_unknown_runs_are_harmless(hand: Any) -> None:
    """Recalls, releases and ends of runs that are not known here change nothing."""
    node = hand()
    node.recall([1], run=RunId(5))
    assert node.said(Recalled) == []
    node.say(COORDINATOR, Release(RunId(5), ints([1])))
    node.say(node.PEER, Absent(RunId(5), ints([1])))

    assert node.last == []
