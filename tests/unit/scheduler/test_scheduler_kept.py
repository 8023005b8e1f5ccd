"""What is kept for tasks that have waited long, for whom it is not kept, and who else is kept waiting by others without need."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from scheduler_story import CPU, Cluster, RunDone, kind, many, program

from handoff.ids import RunId
from handoff.messages import Alive
from handoff.resources import amounts
from handoff.scheduler.runs import DONE

SECONDS = 0.3        # that each task takes, counted from its plan
STEP = 0.1           # between two looks


def play(cluster: Cluster, until: float, *runs: RunId, keep: RunId | None = None) -> None:
    """Planned tasks end in time, one of each run at a look, but for those of the run `keep`; nodes are heard meanwhile."""
    ledger = cluster.scheduler.ledger
    while cluster.now < until:
        cluster.wait(STEP)
        for name in [node.name for node in ledger.nodes.values()]:
            cluster.hear(name, Alive((), 0, 0))
        for number in runs:
            run = ledger.runs[number]
            due = [task for task in range(run.total) if run.is_planned(task) and not (run.linked and run.missing[task])
                   and cluster.now - run.submitted - run.given_at[task] >= SECONDS - 1e-6]
            cluster.done(*due[: 1 if number != keep else 0], run=number, seconds=SECONDS)


@pytest.mark.parametrize("where", [{"node": "nowhere"}, {"where": (("zone", "mars"),)}])
def test_no_licence_is_kept_for_what_no_node_can_run(where: dict[str, object]) -> None:
    """A task waits for a node that is not there: the two licences go on to be used by others."""
    cluster = Cluster(shared={"tape": 2}).client().join("n", cpu=4)
    small = cluster.submit(many(100, kind("small", {"cpu": 1, "cluster:tape": 1})))
    cluster.submit(many(1, kind("absent", {"cpu": 1, "cluster:tape": 2}, **where)), wait_for_nodes=True)
    play(cluster, 6.0, small)
    assert cluster.scheduler.ledger.runs[small].done >= 20


def test_no_licence_stays_kept_when_its_node_is_lost() -> None:
    """The large task had it kept; the only node that has its GPU goes, and others go on."""
    cluster = Cluster(shared={"tape": 2}).client().join("n", cpu=4).join("big", cpu=4, gpu=1)
    small = cluster.submit(many(200, kind("small", {"cpu": 1, "cluster:tape": 1}, node="n")))
    play(cluster, 0.2, small)
    cluster.submit(many(1, kind("large", {"gpu": 1, "cluster:tape": 2})), wait_for_nodes=True)
    while not cluster.scheduler.ledger.cluster.kept:     # one licence comes back at a time: it never finds both
        play(cluster, cluster.now + 0.1, small)
        assert cluster.now < 5.0
    cluster.lose("big")
    before = cluster.scheduler.ledger.runs[small].done
    play(cluster, cluster.now + 3.0, small)
    assert cluster.scheduler.ledger.runs[small].done >= before + 10


def test_no_licence_is_kept_for_a_run_that_is_at_its_own_limit() -> None:
    """It runs one at a time as it asked for: the other licence is for others."""
    cluster = Cluster(shared={"tape": 2}).client().join("n", cpu=8)
    limited = cluster.submit(many(5, kind("one", {"cpu": 1, "cluster:tape": 1})), max_concurrency=1)
    other = cluster.submit(many(100, kind("two", {"cpu": 1, "cluster:tape": 1})))
    play(cluster, 6.0, limited, other, keep=limited)
    assert cluster.scheduler.ledger.runs[other].done >= 10


def test_no_licence_is_kept_from_more_urgent_work() -> None:
    """Two licences at once never are free while urgent tasks want one each: priorities stand above patience."""
    cluster = Cluster(shared={"tape": 2}).client().join("n", cpu=8)
    urgent = cluster.submit(many(200, kind("urgent", {"cpu": 1, "cluster:tape": 1}, priority=5)))
    low = cluster.submit(many(1, kind("low", {"cpu": 1, "cluster:tape": 2})))
    play(cluster, 6.0, urgent, low)
    ledger = cluster.scheduler.ledger
    assert ledger.runs[urgent].done >= 20 and not ledger.runs[low].planned and not ledger.runs[low].done


def test_a_licence_is_kept_for_equal_priority() -> None:
    """The same without the priority: the large one has its turn."""
    cluster = Cluster(shared={"tape": 2}).client().join("n", cpu=8)
    small = cluster.submit(many(200, kind("small", {"cpu": 1, "cluster:tape": 1})))
    play(cluster, 0.2, small)
    large = cluster.submit(many(1, kind("large", {"cpu": 1, "cluster:tape": 2})))
    play(cluster, 6.0, small, large)
    ledger = cluster.scheduler.ledger
    assert ledger.runs[large].done == 1 and ledger.runs[small].done >= 20


def test_no_node_is_cleared_for_a_run_that_is_at_its_own_limit() -> None:
    """Its next task could not start there."""
    cluster = Cluster().client().join("n1", cpu=4).join("n2", cpu=4)
    limited = cluster.submit(many(3, kind("wide", {"cpu": 4})), max_concurrency=1)
    small = cluster.submit(many(400, kind("small")))
    kept = 0
    for _ in range(40):
        play(cluster, cluster.now + 0.1, small, keep=limited)
        kept += bool(cluster.scheduler.ledger.reserved)
    assert not kept


def test_the_node_is_cleared_that_a_collocated_task_must_have() -> None:
    """Another one would be cleared for nothing."""
    cluster = Cluster().client().join("n1", cpu=4).join("n2", cpu=4)
    group = cluster.submit(program([(kind("first", node="n2"), ()), (kind("wide", {"cpu": 4}), (0,))], groups=[(0, 1)]))
    small = cluster.submit(many(400, kind("small")))
    ledger = cluster.scheduler.ledger
    kept: set[str] = set()
    while ledger.runs[group].done != 2 and cluster.now < 12.0:
        play(cluster, cluster.now + 0.1, group, small)
        kept |= {ledger.nodes[peer].name for peer in ledger.reserved}
    assert ledger.runs[group].done == 2 and cluster.where(1, group) == "n2"
    assert kept <= {"n2"}


def test_a_collocated_task_whose_node_is_full_keeps_nobody_from_another() -> None:
    """Ten must run on one node, ten may run on the other: both nodes have something to do until the end."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(program([(kind(), ())] * 20, groups=[range(10)]))
    nodes = cluster.scheduler.ledger.by_name
    while not cluster.told(RunDone) and cluster.now < 30.0:
        if cluster.scheduler.ledger.runs[run].done < 18:
            assert nodes["n1"].planned and nodes["n2"].planned
        table = cluster.scheduler.ledger.runs[run]
        first = [task for task in range(20) if table.is_planned(task)][:1]
        cluster.wait(0.1)
        for name in ("n1", "n2"):
            cluster.hear(name, Alive((), 0, 0))
        cluster.done(*first, run=run, seconds=1.0)
        if table.done == 20:
            break
    assert cluster.scheduler.ledger.runs[run].done == 20


def test_a_share_counts_a_choice_of_costs_as_what_it_can_take() -> None:
    """Without a GPU in the cluster, tasks that would take one or a core are no larger than those that take a core."""
    cluster = Cluster().client("c1").client("c2").join("n1", cpu=4).join("n2", cpu=4)
    either = kind("either", {"gpu": 1}, alternatives=(amounts(CPU),))
    one, two = cluster.submit(many(400, either), client="c1"), cluster.submit(many(400, kind("core")), client="c2")
    play(cluster, 10.0, one, two)
    ledger = cluster.scheduler.ledger
    assert ledger.runs[one].done == pytest.approx(ledger.runs[two].done, rel=0.25)


@pytest.mark.parametrize("has_blocker", [False, True], ids=["alone", "beside what can't start"])
def test_large_tasks_have_their_turn_again_and_again(has_blocker: bool) -> None:
    """Small ones that are more urgent by rank wait at the moment in which the node is empty, too, and would take it all.

    An urgent task that waits for a node which is not there changes nothing.
    """
    cluster = Cluster().client().join("n", cpu=4)
    if has_blocker:
        cluster.submit(many(1, kind("absent", node="nowhere", priority=9)), wait_for_nodes=True)
    what = program([(kind("small"), ())] * 400 + [(kind("wide", {"cpu": 4}), ())] * 3)
    run = cluster.submit(replace(what, seconds=array("d", [1.0] * 400 + [0.2] * 3)))
    play(cluster, 20.0, run)
    table = cluster.scheduler.ledger.runs[run]
    assert [table.state[task] for task in range(400, 403)] == [DONE] * 3 and table.done >= 100


def test_only_the_licences_that_it_needs_are_kept_for_a_large_task() -> None:
    """It waits for its node; the nine others go on to be used."""
    cluster = Cluster(shared={"tape": 10}).client().join("n", cpu=4).join("big", cpu=8)
    cluster.submit(many(1, kind("long", {"cpu": 8}, node="big")))
    cluster.submit(many(1, kind("wide", {"cpu": 8, "cluster:tape": 1})))
    small = cluster.submit(many(100, kind("small", {"cpu": 1, "cluster:tape": 1}, node="n")))
    play(cluster, 5.0, small)
    assert cluster.scheduler.ledger.cluster.kept and cluster.scheduler.ledger.runs[small].done >= 35
