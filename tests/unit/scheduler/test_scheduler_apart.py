"""Nodes that can't reach each other, a firewall between them: what can run nowhere else is not waited for in silence."""

from __future__ import annotations

import pytest
from scheduler_story import Cluster, Flag, RunFailed, Unreachable, ints, kind, program

from handoff.ids import RunId
from handoff.messages import Alive


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
    assert all(part in failed.text for part in ("need has to run on node 'n2'", "its input make lies on node 'n1'", "for 30 s"))


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
