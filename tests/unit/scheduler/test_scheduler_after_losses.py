"""Small stories that whole simulated clusters told first: what is released, moved and asked for again after something was lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scheduler_story import (
    CPU,
    Cluster,
    Flag,
    Plan,
    Recall,
    Recalled,
    Redirect,
    Release,
    Report,
    RunDone,
    RunFailed,
    Unreachable,
    floats,
    ints,
    kind,
    longs,
    many,
    program,
)

from handoff.ids import RunId
from handoff.machine import Tick
from handoff.messages import Alive, EndRun, Forget, Missing
from handoff.scheduler.views import timeline


def test_an_output_made_again_where_it_was_to_be_fetched_is_kept() -> None:
    """A node that was to fetch an output for a dependent, and then makes it itself, is not told to drop it when the dependent is done."""
    cluster = Cluster().client().join("n1")
    cluster.submit(program([(kind("first"), ()), (kind("second", {}, node="n2"), (0,))]))
    cluster.done(0)
    cluster.join("n2")
    cluster.lose("n1")
    cluster.done(0)
    cluster.finish()

    assert cluster.where(0) == cluster.where(1) == "n2"
    assert not any(0 in message.tasks for name, message in cluster.said if name == "n2" and isinstance(message, Release))


def test_what_waits_for_a_lost_result_does_not_keep_the_room_that_making_it_again_needs() -> None:
    """A dependent that was given the only core is taken back when its input has to be made again on that core."""
    cluster = Cluster().client().join("n1")
    cluster.submit(program([(kind("first"), ()), (kind("second", node="n2"), (0,))]))
    cluster.done(0)
    cluster.join("n2")
    cluster.lose("n1")
    give_back(cluster)

    assert cluster.where(0) == "n2"
    cluster.finish()


def test_what_waits_for_a_lost_result_does_not_count_against_the_limit_of_its_run() -> None:
    """With one task at a time, a dependent whose input is lost gives its place to the one that makes the input again."""
    cluster = Cluster().client().join("n1", cpu=8)
    cluster.submit(program([(kind("first"), ()), (kind("second", {}, node="n2"), (0,))]), max_concurrency=1)
    cluster.done(0)
    cluster.join("n2", cpu=8)
    cluster.lose("n1")
    give_back(cluster)
    cluster.finish()

    assert cluster.attempt(0) == cluster.attempt(1) == 2


def test_what_is_given_back_twice_is_taken_back_once() -> None:
    """A dependent of two lost results is recalled once, and a node that gives a task back twice changes nothing by it."""
    cluster = Cluster().client().join("n1", cpu=2)
    cluster.submit(program([(kind("one"), ()), (kind("two"), ()), (kind("both", node="n2"), (0, 1)), (kind("end"), (2,))]))
    cluster.done(0, 1)
    cluster.join("n2")
    cluster.lose("n1")
    (recall,) = cluster.told(Recall, "n2")
    assert list(recall.tasks) == [2]
    cluster.hear("n2", Recalled(recall.run, ints([2, 2]), ints([1, 1])))
    cluster.finish()


def test_a_kind_that_no_task_is_of_can_not_be_refused() -> None:
    """A program may describe what it does not use; that nobody could run it is no reason to refuse the rest."""
    cluster = Cluster().client().join("n1")
    used, unused = kind("used"), kind("unused", {"cpu": 1000})
    cluster.submit(replace(many(1, used), kinds=(used, unused), codes=((b"used", 4), (b"unused", 6))))
    cluster.finish()


def test_a_detached_run_whose_client_came_back_as_another_can_be_forgotten() -> None:
    """A client that was away for too long is a new client to the coordinator, but may still let go of the results that it has."""
    cluster = Cluster().client("before").join("n1")
    run = cluster.submit(many(1), "before", detach=True)
    cluster.done(0)
    cluster.lose("before")
    cluster.client("after")
    cluster.hear("after", Forget(run))

    assert cluster.told(EndRun, "n1") and run not in cluster.scheduler.ledger.runs


def give_back(cluster: Cluster) -> None:
    """Nodes give back all that they are asked for."""
    for name, recall in [(name, message) for name, message in cluster.last if isinstance(message, Recall)]:
        cluster.hear(name, Recalled(recall.run, recall.tasks, recall.attempts))


def test_what_is_released_and_planned_again_in_one_pass_is_released_first() -> None:
    """A serializer whose consumer has to move is made again where it was: its first value must be gone before, and its second must stay."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=1, gpu=1).join("n3", cpu=1, gpu=1)
    start, between = kind("start", flags=0), kind("between", {}, flags=Flag.SERIALIZER)
    end = kind("end", {"cpu": 1, "gpu": 1})
    links = program([(start, ()), (between, (0,)), (end, (1,))])
    for _ in range(4):
        cluster.finish(cluster.submit(links), seconds=1e-4)
    run = cluster.submit(links)
    cluster.done(0, run=run, seconds=1e-4)
    cluster.done(1, run=run, seconds=1e-4)
    target = cluster.where(2, run)
    said = cluster.lose(target)
    home = cluster.where(1, run)
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


def test_a_client_that_misses_a_moved_output_is_told_who_has_a_copy() -> None:
    """The node that made an output is lost, another one took it as input: the client is sent there, and nothing runs again."""
    cluster = Cluster().client().join("n1").join("n2", gpu=1)
    use = kind("use", {"gpu": 1})
    run = cluster.submit(program([(kind("start", node="n1"), ()), (use, (0,)), (use, (0,))]))
    cluster.done(0)
    cluster.done(1)
    cluster.lose("n1")
    cluster.hear("client", Missing(run, ints([0])))
    [redirect] = cluster.told(Redirect, "client")

    assert (list(redirect.tasks), list(redirect.nodes)) == ([0], [cluster.peers["n2"]])
    assert cluster.attempt(0) == 1


def test_a_dependent_that_can_not_move_is_told_to_ask_again() -> None:
    """Of two dependents that can't reach a pinned result, the free one moves; the other one is pinned too, and must not wait for ever."""
    cluster = Cluster().client().join("n1").join("n2", cpu=4, license=1)
    start = kind("start", flags=0, node="n1")
    free, bound = kind("free", {"license": 1}), kind("bound", CPU, node="n2")
    cluster.submit(program([(start, ()), (free, (0,)), (bound, (0,))]))
    cluster.done(0)
    cluster.join("n3", cpu=4, license=1)
    assert cluster.where(1) == cluster.where(2) == "n2"
    cluster.hear("n2", Unreachable(RunId(1), cluster.peers["n1"], ints([0])))

    assert [(list(told.tasks), list(told.nodes)) for told in cluster.told(Redirect, "n2")] == [([0], [cluster.peers["n1"]])]


def test_what_waits_for_work_that_nobody_has_is_taken_back_with_all_that_waits_for_it() -> None:
    """Else a node could be full of what was planned ahead, so that what all of it waits for never finds a place there."""
    cluster = Cluster().client().join("n1").join("n2")
    here, there = kind("here", node="n2"), kind("there", node="n1")
    links = program([(here, ()), (there, (0,)), (here, (1,)), (there, (2,)), (here, (3,)), (here, (4,))])
    for _ in range(3):
        cluster.finish(cluster.submit(links), seconds=1e-4)
    run = cluster.submit(links)
    table = cluster.scheduler.ledger.runs[run]
    assert all(map(table.is_planned, range(6)))
    cluster.lose("n1")

    assert sorted(task for recall in cluster.told(Recall, "n2") for task in recall.tasks) == [2, 4, 5]
    give_back(cluster)
    assert [task for task in range(6) if table.is_planned(task)] == [0]
    cluster.join("n1")
    cluster.finish(run)


def test_what_may_still_run_counts_for_the_limit_of_its_run() -> None:
    """A serializer whose consumer has to move is planned anew, but may run on until its node speaks: nothing takes its place before."""
    cluster = Cluster().client().join("n1", cpu=4).join("n2", cpu=4, gpu=1).join("n3", cpu=4, gpu=1)
    start, between = kind("start", flags=0, node="n1"), kind("between", {}, flags=Flag.SERIALIZER)
    cluster.submit(program([(start, ()), (between, (0,)), (kind("end", {"gpu": 1}), (1,)), (kind("other"), ())]), max_concurrency=1)
    if cluster.planned.keys() == {(1, 3)}:
        cluster.done(3)
    cluster.done(0)
    assert cluster.where(1) == "n1"
    (target,) = cluster.scheduler.ledger.runs[1].promised.values()
    cluster.lose(cluster.names[target])

    assert cluster.attempt(1) == 1 and cluster.plans() == []
    cluster.done(1)
    assert cluster.plans() == [1] or cluster.plans() == [3]
    cluster.finish()


def test_an_output_that_a_consumer_could_not_reach_stays_with_its_maker_for_the_client() -> None:
    """Others take it from a copy from then on; but the client is to have it from the node that made it, which therefore keeps it."""
    cluster = Cluster().client().join("n1").join("n2").join("n3")
    one, other = [kind(f"take on {node}", {}, flags=Flag(0), node=node) for node in ("n2", "n3")]
    cluster.submit(program([(kind("make", node="n1"), ()), (one, (0,)), (other, (0,)), (kind("end"), (1, 2))]))
    cluster.done(0)
    cluster.done(1)
    cluster.hear("n3", Unreachable(RunId(1), cluster.peers["n1"], ints([0])))
    (redirect,) = cluster.told(Redirect, "n3")
    assert list(redirect.nodes) == [cluster.peers["n2"]]

    cluster.finish()

    assert not any(0 in message.tasks for name, message in cluster.said if name == "n1" and isinstance(message, Release))


def test_a_serializer_that_is_made_again_after_its_consumer_is_done_is_told_where_that_ran() -> None:
    """Its consumer was running when what it takes was lost, and ended well: the serializer still has a target."""
    cluster = Cluster().client().join("n1").join("n2")
    serializer = kind("serialize", {}, flags=Flag.SERIALIZER)
    cluster.submit(program([(kind("make", {}, flags=Flag(0), node="n1"), ()), (serializer, (0,)), (kind("take", node="n2"), (1,))]))
    cluster.done(0)
    cluster.done(1)
    cluster.lose("n1")
    cluster.done(2)
    cluster.join("n1")
    cluster.done(0)

    plan = [message for _, message in cluster.said if isinstance(message, Plan) and 1 in message.tasks][-1]
    assert list(plan.attempts) == [2] * len(plan.tasks)
    assert list(plan.targets) == [1, cluster.peers["n2"]]
    first = next(message for _, message in cluster.said if isinstance(message, Plan) and 2 in message.tasks)
    assert list(first.targets) == [1, cluster.peers["n2"]]     # so its node knows what was serialized for it


def test_a_result_is_not_taken_from_a_node_that_has_only_what_was_made_of_it() -> None:
    """A task took it on a node that was lost since, and its own result lives on elsewhere: what it took is not there for that reason."""
    cluster = Cluster().client().join("n1").join("n2").join("n3", cpu=4)
    first, second = kind("first", flags=0, node="n1"), kind("second", flags=0, node="n2")
    use, slow = kind("use", node="n3"), kind("slow", node="n3")
    cluster.submit(program([(first, ()), (second, (0,)), (use, (1,)), (use, (0,)), (slow, ()), (use, (1, 4))]))
    cluster.done(0)
    cluster.done(1)
    cluster.done(2)     # n3 has the result of task 1; that of task 0 is on its way there, for task 3
    cluster.lose("n2")
    assert cluster.names[cluster.scheduler.ledger.runs[RunId(1)].node[1]] == "n3"
    cluster.lose("n1")

    assert not cluster.told(Redirect, "n3")
    cluster.join("n1")
    assert cluster.plans("n1") == [0] and cluster.attempt(0) == 2
    cluster.finish()


def test_a_maker_that_could_not_be_reached_keeps_an_output_that_is_taken_there_again() -> None:
    """Others take it from a copy; what is planned where it was made takes it there, and the client may still be about to do so."""
    cluster = Cluster(relay_bytes=1).client().join("n1", cpu=8)
    for number in range(2, 6):
        cluster.join(f"n{number}")
    takers = [(kind(f"take on n{number}", node=f"n{number}", flags=0), (0,)) for number in range(1, 6)]
    late = (kind("late", node="n1", flags=0), (0, 6))
    cluster.submit(program([(kind("make", node="n1"), ()), *takers, (kind("slow", node="n1", flags=0), ()), late]))
    cluster.done(0, nbytes=100_000_000)
    cluster.done(2)
    cluster.hear("n3", Unreachable(RunId(1), cluster.peers["n1"], ints([0])))
    assert cluster.names[cluster.scheduler.ledger.runs[RunId(1)].node[0]] == "n2"
    cluster.done(6)
    assert cluster.plans("n1") == [7] and cluster.scheduler.ledger.runs[RunId(1)].is_planned(1)
    cluster.finish()

    assert not any(0 in message.tasks for name, message in cluster.said if name == "n1" and isinstance(message, Release))


def test_who_was_there_when_is_told_with_the_run() -> None:
    """n1 was lost with what it ran, n2 goes on, n3 came later, n0 was gone before. Of what no run has seen nothing stays."""
    cluster = Cluster().client().join("n0").join("n1").join("n2")
    cluster.wait(1.0)
    cluster.lose("n0")
    past = cluster.scheduler.ledger.past
    assert [stay.name for stay in past.during(0.0, 9.0)] == ["n1", "n2"]
    run = cluster.submit(many(2))
    began = cluster.now
    cluster.wait(1.0)
    cluster.lose("n1")
    cluster.wait(1.0)
    cluster.join("n3")
    cluster.wait(1.0)
    told = timeline(cluster.scheduler.ledger, cluster.scheduler.ledger.runs[run], cluster.now)
    assert told["stays"] == [["n1", 0.0, pytest.approx(1.0), 1.0], ["n2", 0.0, pytest.approx(cluster.now - began), 1.0],
                             ["n3", pytest.approx(2.0), pytest.approx(cluster.now - began), 1.0]]
    assert [(node, seconds) for _, node, _, seconds in told["vain"]] == [("n1", pytest.approx(1.0, abs=0.01))]
    assert sorted(node for _, node, _ in told["running"]) == ["n2", "n3"]
    cluster.done(0, 1)
    cluster.hear("client", Forget(run))
    cluster.lose("n2")
    assert [stay.name for stay in past.during(0.0, 9.0)] == ["n3"]


def test_while_the_coordinator_stood_still_nobody_was_silent() -> None:
    """It was stopped for a minute: what nodes said lies unread. A node that says nothing after that is lost as any other."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(many(2, kind("once", max_retries=0)))
    cluster.wait(1.0)
    cluster.drop("client")
    cluster.now += 60.0
    cluster.do(Tick())
    cluster.resume("client")
    cluster.hear("n1", Alive((), 1, 0))
    cluster.done(0, run=run, node="n1") if cluster.where(0) == "n1" else cluster.done(1, run=run, node="n1")
    assert not cluster.told(RunFailed) and len(cluster.scheduler.ledger.nodes) == 2
    for _ in range(12):
        cluster.wait(1.0)
        cluster.hear("n1", Alive((), 0, 0))
    assert [node.name for node in cluster.scheduler.ledger.nodes.values()] == ["n1"]
    assert [failed.code for _, failed in cluster.said if isinstance(failed, RunFailed)] == ["NodeLost"]


def test_what_made_a_result_that_is_made_again_was_in_vain() -> None:
    """The node that is lost with it was busy for that long, whoever makes it in the end; an upload kept nobody busy."""
    value, make = kind("value", {}, flags=Flag.OBJECT), kind("make", flags=0)
    cluster = Cluster().client().join("n1")
    run = cluster.submit(program([(value, ()), (make, (0,)), (kind("take", node="n2"), (1,))]), wait_for_nodes=True)
    cluster.done(0)
    cluster.wait(2.0)
    cluster.hear("n1", Report(run, ints([1]), ints([cluster.attempt(1)]), longs([8]), floats([1.5]), floats([0.0]), workers=ints([3])))
    cluster.lose("n1")
    cluster.join("n2")
    table = cluster.scheduler.ledger.runs[run]
    assert [(task, cluster.names[peer], *times) for task, peer, *times in table.vain] == [(1, "n1", pytest.approx(0.5), pytest.approx(1.5))]


def test_what_lies_between_the_end_of_a_run_and_its_going_on_is_not_its_own() -> None:
    """An output is made again minutes later, since it is looked at when its node is gone: the story leaves those out."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(many(1))
    home = cluster.where(0)
    cluster.now += 2.0
    cluster.done(0, seconds=2.0)
    for name in ("n1", "n2") * 100:
        cluster.now += 1.0
        cluster.hear(name, Alive())
    cluster.lose(home)
    cluster.now += 1.0
    cluster.hear("client", Missing(RunId(run), ints([0])))
    assert cluster.where(0) != home
    cluster.now += 3.0
    cluster.done(0, seconds=3.0)

    table = cluster.scheduler.ledger.runs[RunId(run)]
    told = timeline(cluster.scheduler.ledger, table, cluster.now)
    assert told["until"] == table.seconds_total == pytest.approx(5.0)
    assert told["started"] == [pytest.approx(2.0)] and told["planned"] == [pytest.approx(2.0)]
    assert {name: (begin, end) for name, begin, end, _ in told["stays"]} == {
        home: (0.0, pytest.approx(2.0)), cluster.where(0): (0.0, pytest.approx(5.0))}
