"""Nodes that can't reach each other, a firewall between them: what can run nowhere else is not waited for in silence."""

from __future__ import annotations

import pytest
from scheduler_story import Cluster, Flag, RunFailed, Unreachable, ints, kind, many, program

from handoff.ids import RunId
from handoff.machine import Note, Received
from handoff.messages import Alive
from handoff.scheduler import apart


def failures(cluster: Cluster) -> list[RunFailed]:
    """What the client was told."""
    return [message for _, message in cluster.said if isinstance(message, RunFailed)]


def made_apart(**wishes: object) -> Cluster:
    """What n1 has made is needed by a task that is planned on n2."""
    cluster = Cluster().client().join("n1").join("n2", cpu=1, gpu=1)
    cluster.submit(program([(kind("make", node="n1", flags=Flag(0)), ()), (kind("need", **wishes), (0,))]))  # type: ignore[arg-type]
    cluster.done(0)
    assert cluster.where(1) == "n2"
    return cluster


def complain(cluster: Cluster, times: int) -> None:
    """n2 says it, as it does every ten seconds or so."""
    for _ in range(times):
        cluster.hear("n2", Unreachable(RunId(1), cluster.peers["n1"], ints([0])))
        for _ in range(5):
            cluster.wait(2.0)
            for name in ("n1", "n2"):
                cluster.hear(name, Alive())


@pytest.mark.parametrize(("wishes", "times"), [({"node": "n2"}, 4), ({"cost": {"gpu": 1}}, 5)])
def test_a_run_whose_nodes_stay_apart_fails_after_a_while(wishes: dict[str, object], times: int) -> None:
    """It asks again as long as a pinned node would be waited for, then the error names both. If not pinned, it looks for another first."""
    cluster = made_apart(**wishes)
    complain(cluster, times - 1)
    assert not failures(cluster)
    complain(cluster, 1)
    (failed,) = failures(cluster)
    assert (failed.code, failed.task, failed.node) == ("NodeTimeout", 1, "n2")
    assert all(part in failed.text for part in (
        "need has to run on node 'n2'", "its input make is to come from node 'n1', which 'n2' could not reach", "for 30 s"))


def test_a_run_that_waits_for_nodes_waits_for_their_network_too() -> None:
    """`wait_for_nodes=True`: whoever said so mends the firewall meanwhile."""
    cluster = Cluster().client().join("n1").join("n2")
    tasks = [(kind("make", node="n1", flags=Flag(0)), ()), (kind("need", node="n2"), (0,))]
    cluster.submit(program(tasks), wait_for_nodes=True)
    cluster.done(0)
    complain(cluster, 9)
    assert not failures(cluster)
    cluster.finish()


def test_a_daemon_that_was_started_again_has_all_the_time_to_reach_the_other() -> None:
    """What the one before it could not reach, long ago and for a moment, says nothing of the new one."""
    cluster = made_apart(node="n2")
    complain(cluster, 1)
    for _ in range(10):
        cluster.wait(4.0)
        for name in ("n1", "n2"):
            cluster.hear(name, Alive())
    cluster.lose("n2")
    cluster.join("n2", cpu=1, gpu=1)
    assert cluster.where(1) == "n2"
    complain(cluster, 3)
    assert not failures(cluster)
    complain(cluster, 1)
    assert failures(cluster)


def chosen(cluster: Cluster, cost: int = 4) -> str:
    """Where a run goes that takes from n1 what n1 alone can make, when n2 has most room."""
    run = cluster.submit(program([(kind("make", node="n1", flags=Flag(0)), ()), (kind("need", cost={"cpu": cost}), (0,))]))
    cluster.done(0, run=run)
    where = cluster.where(1, run=run)
    cluster.done(1, run=run)
    return where


def wait(cluster: Cluster, seconds: float) -> None:
    """All nodes are heard."""
    for _ in range(int(seconds / 4)):
        cluster.wait(4.0)
        for name in ("n1", "n2", "n3"):
            cluster.hear(name, Alive())


@pytest.mark.parametrize("event", ["stays", "time", "n1", "n2", "back"])
def test_who_could_not_reach_a_node_is_given_nothing_that_lies_there(event: str) -> None:
    """The next run does not wait to find that out anew; until either node comes back, as another process or not, or minutes have passed."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=8).join("n3", cpu=4)
    assert chosen(cluster, cost=5) == "n2"
    run = cluster.submit(program([(kind("make", node="n1", flags=Flag(0)), ()), (kind("need", cost={"cpu": 3}, node="n2"), (0,))]))
    cluster.done(0, run=run)
    cluster.hear("n2", Unreachable(run, cluster.peers["n1"], ints([0])))
    cluster.done(1, run=run)
    if event == "time":
        wait(cluster, 320.0)
    elif event == "back":
        cluster.drop("n1")
        cluster.resume("n1")
    elif event != "stays":
        cluster.lose(event)
        cluster.join(event, cpu={"n1": 1, "n2": 8}[event])
    assert bool(cluster.scheduler.ledger.apart) is (event == "stays")
    found = {chosen(cluster), chosen(cluster)}
    assert found == {"n3"} if event == "stays" else "n2" in found or event == "n2"     # a node that came later is taken later
    assert chosen(cluster, cost=5) == "n2"      # nobody else could have it, and perhaps it can be had by now


@pytest.mark.parametrize("maker", ["n1", "n2"])
def test_who_has_a_result_no_more_is_not_out_of_reach(maker: str) -> None:
    """It said so itself, or was the node that asks: what comes next may lie there and be taken from there."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=8).join("n3", cpu=4)
    run = cluster.submit(program([(kind("make", node=maker, flags=Flag(0)), ()), (kind("need", node="n2"), (0,))]))
    cluster.done(0, run=run)
    cluster.hear("n2", Unreachable(run, cluster.peers[maker], ints([0]), is_absent=True))
    cluster.done(1, run=run)

    assert not cluster.scheduler.ledger.apart
    assert chosen(cluster, cost=5) == chosen(cluster, cost=4) == "n2"


def test_what_a_pinned_function_takes_is_made_where_that_can_have_it() -> None:
    """n2 could have nothing from n1, which has most room: what n2 alone may take is not made there, with inputs or without; all else is."""
    cluster = Cluster().client().join("n1", cpu=8).join("n2", cpu=1).join("n3", cpu=4)
    apart.note(cluster.scheduler.ledger, cluster.now, cluster.peers["n1"], cluster.peers["n2"])
    wide = kind("make", cost={"cpu": 4})
    first, free, second, last = (wide, ()), (wide, ()), (wide, (1,)), (kind("need", node="n2"), (0, 2))
    run = cluster.submit(program([first, free, second, last]))
    assert [cluster.where(task, run=run) for task in (0, 1)] == ["n3", "n1"]
    cluster.done(0, 1, run=run)
    assert cluster.where(2, run=run) == "n3"


def noted(cluster: Cluster, is_absent: bool) -> list[str]:
    """What the log says when n2 has it that a result of n1 can't be had."""
    said = Received(cluster.peers["n2"], Unreachable(RunId(1), cluster.peers["n1"], ints([0]), is_absent=is_absent))
    return [effect.event for effect in cluster.scheduler.handle(cluster.now, said) if isinstance(effect, Note)]


def test_who_said_that_it_has_a_result_no_more_was_reached() -> None:
    """So the log says, and the error, when that does not change: nobody is to look for a firewall."""
    assert noted(made_apart(node="n2"), is_absent=False) == ["node.cut_off"]
    cluster = made_apart(node="n2")
    assert noted(cluster, is_absent=True) == ["results.absent"]
    for _ in range(4):
        cluster.hear("n2", Unreachable(RunId(1), cluster.peers["n1"], ints([0]), is_absent=True))
        for _ in range(5):
            cluster.wait(2.0)
            for name in ("n1", "n2"):
                cluster.hear(name, Alive())
    (failed,) = failures(cluster)
    assert failed.text == (
        "need has to run on node 'n2', and its input make is to come from node 'n1', which said for 30 s that it does not have it")


def test_what_is_planned_in_one_pass_with_its_input_keeps_to_that_as_well() -> None:
    """Tasks of one function, which take each other's results: where the first one went was decided a moment ago."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=8).join("n3", cpu=2)
    cluster.finish(cluster.submit(many(60)), seconds=0.015)
    ledger, far = cluster.scheduler.ledger, cluster.peers["n2"]
    for near in (cluster.peers["n1"], cluster.peers["n3"]):
        apart.note(ledger, cluster.now, near, far)
        apart.note(ledger, cluster.now, far, near)

    run = cluster.submit(program([(kind(), ()), *[(kind(), (0,))] * 8]))
    cluster.done(0, run=run, seconds=0.015)

    table = ledger.runs[run]
    planned = [table.node[task] for task in range(1, 9) if table.is_planned(task)]
    assert planned and {peer == far for peer in planned} == {table.node[0] == far}


def serialized(**wishes: object) -> Cluster:
    """What n1 has made is serialized there for what is planned on n2; n3 could have that as well."""
    cluster = Cluster().client().join("n1").join("n2", cpu=2).join("n3", cpu=2)
    use = kind("use", {"cpu": 2}, **wishes)  # type: ignore[arg-type]
    cluster.submit(program([(kind("make", node="n1", flags=Flag(0)), ()), (kind("between", {}, flags=Flag.SERIALIZER), (0,)), (use, (1,))]))
    cluster.done(0)
    cluster.done(1)
    assert [cluster.where(task) for task in (1, 2)] == ["n1", "n2"]
    return cluster


def test_what_is_serialized_for_a_node_that_can_not_have_it_is_serialized_for_another() -> None:
    """A serializer is where its input is: made again for the same node it came to nothing, and again, for ever."""
    cluster = serialized()
    cluster.hear("n2", Unreachable(RunId(1), cluster.peers["n1"], ints([1])))
    assert cluster.where(2) == "n3"
    cluster.finish()


def test_where_there_is_no_other_the_run_fails_after_a_while() -> None:
    """Its consumer is pinned: as with any result that can't come there."""
    cluster = serialized(node="n2")
    for _ in range(4):
        assert not failures(cluster)
        cluster.hear("n2", Unreachable(RunId(1), cluster.peers["n1"], ints([1])))
        for _ in range(5):
            cluster.wait(2.0)
            for name in ("n1", "n2", "n3"):
                cluster.hear(name, Alive())
    (failed,) = failures(cluster)
    assert (failed.code, failed.task, failed.node) == ("NodeTimeout", 2, "n2")


def test_two_outages_are_not_one_long_one() -> None:
    """Cut off for a moment, and half an hour later once more: nobody has waited for so long."""
    cluster = Cluster().client().join("n1").join("n2")
    cluster.submit(program([(kind("make", node="n1", flags=Flag(0)), ()), (kind("need", node="n2"), (0,))]))
    cluster.done(0)
    for _ in range(3):
        complain(cluster, 2)
        for _ in range(900):
            cluster.wait(2.0)
            for name in ("n1", "n2"):
                cluster.hear(name, Alive())
    assert not failures(cluster)
    complain(cluster, 4)
    assert len(failures(cluster)) == 1
