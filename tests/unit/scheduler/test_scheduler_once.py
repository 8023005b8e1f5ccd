"""max_retries=0 says that a function never runs twice: where its result is needed again and is gone, the run fails instead."""

from __future__ import annotations

import pytest
from scheduler_story import Cluster, Flag, RunDone, RunFailed, Unreachable, ints, kind, many, program

from handoff.messages import Alive, Forget, Missing
from handoff.scheduler import losses

ONCE = kind("once", flags=Flag(0), max_retries=0)
OTHER = kind("other", flags=Flag(0))


def failure(cluster: Cluster) -> RunFailed:
    """The one that the client was told last."""
    (failed,) = cluster.told(RunFailed, "client")
    assert isinstance(failed, RunFailed)
    return failed


def test_a_result_that_is_lost_while_it_is_needed_fails_its_run() -> None:
    """It was made, so it ran: to make it again would be the second time."""
    cluster = Cluster().client().join("n1").join("n2")
    cluster.submit(program([(ONCE, ()), (kind("take", node="n3"), (0,))]), wait_for_nodes=True)
    cluster.done(0)
    cluster.lose(cluster.where(0))
    failed = failure(cluster)
    assert (failed.code, failed.task) == ("NodeLost", 0) and "once may not run again (max_retries=0)" in failed.text
    assert not cluster.plans() and not cluster.scheduler.ledger.runs and not cluster.scheduler.ledger.lost


def test_what_is_made_again_from_such_a_result_fails_its_run_where_that_is_let_go() -> None:
    """The lost result may be made again, but not what it is made of."""
    cluster = Cluster().client().join("n1").join("n2")
    cluster.submit(program([(ONCE, ()), (OTHER, (0,)), (kind("take", node="n3"), (1,))]), wait_for_nodes=True)
    cluster.done(0)
    cluster.done(1)
    cluster.wait(1.0)
    cluster.lose(cluster.where(1))
    assert failure(cluster).task == 0


def test_why_a_run_fails_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were to go to the node that is lost: for each of them it would be looked at all that their inputs are made of."""
    asked, may_not = [], losses._may_not
    monkeypatch.setattr(losses, "_may_not", lambda run, tasks: (asked.append(list(tasks)), may_not(run, tasks))[1])
    cluster = Cluster().client().join("n1").join("n2", labels={"zone": "x"}, cpu=2)
    step, take = kind("step", {}, flags=Flag.SERIALIZER), kind("take", where=(("zone", "x"),))
    pairs = [(step, (1,)), (take, (2, 0)), (step, (1,)), (take, (4, 0))]
    run = cluster.submit(program([(kind("absent", node="n3"), ()), (kind("once", node="n1", max_retries=0, flags=Flag(0)), ()), *pairs]),
                         wait_for_nodes=True)
    for tasks in (1,), (2, 4):
        cluster.done(*tasks)
    assert [*cluster.scheduler.ledger.runs[run].promised.items()] == [(3, cluster.peers["n2"]), (5, cluster.peers["n2"])]
    cluster.lose("n2")
    assert failure(cluster).task == 1 and asked == [[2]]


def test_what_is_lost_beside_it_is_made_again() -> None:
    """It is still there, and so are the others' retries."""
    cluster = Cluster().client().join("n1").join("n2")
    far = kind("far", node="n1", flags=Flag(0), max_retries=0)
    lost, take = kind("lost", node="n2", flags=Flag(0)), kind("take", node="n3")
    run = cluster.submit(program([(far, ()), (lost, (0,)), (take, (0, 1))]), wait_for_nodes=True)
    cluster.done(0)
    cluster.done(1)
    cluster.lose("n2")
    cluster.join("n2")
    assert cluster.attempt(1) == 2 and run in cluster.scheduler.ledger.runs
    cluster.join("n3")
    cluster.done(1)
    cluster.done(2)
    assert cluster.told(RunDone) and cluster.attempt(0) == 1


@pytest.mark.parametrize("detach", [False, True])
def test_an_output_that_is_asked_for_after_its_node_is_gone_is_not_made_again(detach: bool) -> None:
    """The run is over; who looks at the value is told why there is none."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(many(1, kind("once", max_retries=0)), detach=detach)
    cluster.done(0)
    assert cluster.told(RunDone)
    cluster.lose(cluster.where(0))
    assert not cluster.told(RunFailed)
    cluster.hear("client", Missing(run, ints([0])))
    assert failure(cluster).code == "NodeLost" and not cluster.plans()
    cluster.hear("client", Forget(run))
    assert not cluster.scheduler.ledger.runs


def test_outputs_of_a_detached_run_without_a_client_are_not_made_again() -> None:
    """Who attaches later is told so."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(many(1, kind("once", max_retries=0)), detach=True)
    cluster.done(0)
    cluster.lose("client")
    assert run in cluster.scheduler.ledger.runs
    cluster.lose(cluster.where(0))
    assert not cluster.plans() and cluster.scheduler.ledger.past.failed[run][0].code == "NodeLost"


@pytest.mark.parametrize("is_done", [False, True])
def test_what_another_node_can_not_reach_is_not_made_elsewhere(is_done: bool) -> None:
    """Neither what may run there now nor what has run: others could make it, but it is asked for where it is, until that is too long."""
    cluster = Cluster().client().join("n1").join("n2", cpu=1, gpu=1)
    short = kind("once", flags=Flag(0), max_retries=0)
    cluster.submit(many(100, short))
    cluster.finish()
    run = cluster.submit(program([(short, ()), (kind("need", cost={"gpu": 1}), (0,))]))
    if is_done:
        cluster.done(0, run=run)
    assert (cluster.where(0, run), cluster.where(1, run)) == ("n1", "n2")
    for _ in range(5):
        assert not [message for _, message in cluster.said if isinstance(message, RunFailed)]
        cluster.hear("n2", Unreachable(run, cluster.peers["n1"], ints([0])))
        assert not cluster.plans() or cluster.plans() == [1]
        for _ in range(5):
            cluster.wait(2.0)
            for name in ("n1", "n2"):
                cluster.hear(name, Alive())
    assert cluster.attempt(0, run) == 1
    assert [message.code for _, message in cluster.said if isinstance(message, RunFailed)] == ["NodeTimeout"]
