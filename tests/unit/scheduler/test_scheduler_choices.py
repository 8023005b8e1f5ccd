"""What tasks may wish: another cost, a node near another task's, a node of their own; and what runs of equal rank get."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from counted import calls_in
from scheduler_story import Cluster, Report, floats, kind, longs, many, program

from handoff.columns import ints
from handoff.machine import Received
from handoff.messages import Forget, Missing
from handoff.resources import amounts
from handoff.scheduler.choices import EARLY_MAX
from handoff.scheduler.views import timeline

QUICK = kind("train", {"gpu": 1}, alternatives=(amounts({"cpu": 8}),))


def test_each_cost_is_tried_and_told_to_the_node() -> None:
    """Of two tasks, with one GPU, one takes the GPU, and the plan of the other says that it takes the cores."""
    cluster = Cluster().client().join("gpu", cpu=1, gpu=1).join("cpu", cpu=8)
    run = cluster.submit(many(2, QUICK))

    assert {cluster.where(0, run), cluster.where(1, run)} == {"gpu", "cpu"}
    table = cluster.scheduler.ledger.runs[run]
    assert {task: cluster.where(task, run) for task in table.choices} == dict.fromkeys(table.choices, "cpu")


def test_a_task_waits_for_the_cost_that_it_is_done_sooner_with() -> None:
    """Where the cores take a hundred times as long, the second task waits for the GPU; where they take a little longer, it does not."""
    for on_cpu, where in ((100.0, ["gpu"]), (1.5, ["gpu", "cpu"])):
        cluster = Cluster().client().join("gpu", cpu=1, gpu=1).join("cpu", cpu=8)
        for _ in range(3):
            run = cluster.submit(many(2, QUICK))
            table = cluster.scheduler.ledger.runs[run]
            while table.done < table.total:
                task = next(each for each in range(2) if table.is_planned(each))
                cluster.done(task, run=run, seconds=on_cpu if cluster.where(task, run) == "cpu" else 1.0)
            cluster.hear("client", Forget(run))
        run = cluster.submit(many(2, QUICK))
        table = cluster.scheduler.ledger.runs[run]

        assert [cluster.where(task, run) for task in range(2) if table.is_planned(task)] == where


def test_a_task_runs_near_another_where_that_costs_nothing() -> None:
    """Of two idle nodes it takes that of the task that it wants to be near; when that one is full, it takes the other at once."""
    for busy, expected in ((False, True), (True, False)):
        cluster = Cluster().client().join("n1", cpu=2).join("n2", cpu=2).join("n3", cpu=2)
        first, second = kind("first", node="n3"), kind("second")
        cluster.submit(replace(program([(first, ()), (second, ())]), near=ints([1, 0])))
        if busy:
            cluster = Cluster().client().join("n1", cpu=2).join("n3", cpu=1)
            cluster.submit(replace(program([(first, ()), (second, ())]), near=ints([1, 0])))

        assert (cluster.where(1) == "n3") is expected


def test_short_tasks_run_near_others_too() -> None:
    """Also where tasks are so short that many are placed at once; and near one that is placed later, when that can only go to one node."""
    cluster = Cluster().client().join("n1", cpu=4).join("n2", cpu=4)
    for _ in range(4):
        run = cluster.submit(many(8, kind("quick")))
        for task in range(8):
            cluster.done(task, run=run, seconds=0.0005)
    first, second = kind("quick", node="n2"), kind("quick")
    run = cluster.submit(replace(program([(second, ()), (first, ())]), near=ints([0, 1])))
    assert (cluster.where(0, run), cluster.where(1, run)) == ("n2", "n2")


def test_a_group_is_spread_over_nodes() -> None:
    """As many nodes as there are get one each before any gets a second, though the first has room for all."""
    cluster = Cluster().client().join("n1", cpu=16).join("n2", cpu=2).join("n3", cpu=2)
    run = cluster.submit(many(6, kind("replica", spread="replicas")))

    assert Counter(cluster.where(task, run) for task in range(6)) == {"n1": 2, "n2": 2, "n3": 2}


def test_one_that_is_made_again_is_spread_again() -> None:
    """When its node is lost, a replica goes where there is none yet."""
    cluster = Cluster().client().join("n1", cpu=4).join("n2", cpu=4)
    run = cluster.submit(many(2, kind("replica", spread="replicas")))
    assert {cluster.where(0, run), cluster.where(1, run)} == {"n1", "n2"}
    cluster.join("n3", cpu=4)
    lost = next(task for task in (0, 1) if cluster.where(task, run) == "n1")
    cluster.lose("n1")

    assert cluster.where(lost, run) == "n3"


def planned_of(cluster: Cluster, run: int) -> int:
    """Tasks of this run that are with nodes."""
    return cluster.scheduler.ledger.runs[run].planned


def test_runs_share_by_weight() -> None:
    """The second run comes when the first has everything; what becomes free is shared until each has its part, one to three."""
    cluster = Cluster().client().join("n1", cpu=8)
    slow = kind("slow")
    warm = cluster.submit(many(8, slow))
    cluster.finish(warm, seconds=10.0)
    first = cluster.submit(many(100, slow), weight=1.0)
    second = cluster.submit(many(100, kind("other")), weight=3.0)
    for step in range(40):
        cluster.now += 1.0
        table = cluster.scheduler.ledger.runs[first if step % 2 else second]
        running = [task for task in range(100) if table.is_planned(task)]
        if running:
            cluster.done(running[0], run=table.run, seconds=10.0)

    assert (planned_of(cluster, first), planned_of(cluster, second)) == (2, 6)


def test_a_priority_stands_above_shares() -> None:
    """A run of higher priority gets all that becomes free, whatever it has already."""
    cluster = Cluster().client().join("n1", cpu=4)
    low = cluster.submit(many(50, kind("low")))
    high = cluster.submit(many(50, kind("high", priority=1)))
    for _ in range(4):
        table = cluster.scheduler.ledger.runs[low]
        cluster.done(next(task for task in range(50) if table.is_planned(task)), run=low, seconds=10.0)

    assert (planned_of(cluster, low), planned_of(cluster, high)) == (0, 4)


def test_the_small_runs_of_a_client_share_one_account() -> None:
    """A client with a hundred single calls does not push aside one that has a large run: each gets half."""
    cluster = Cluster().client("a").client("b").join("n1", cpu=8)
    large = cluster.submit(many(100, kind("large")), "a")
    calls = [cluster.submit(many(1, kind("call")), "b") for _ in range(50)]
    for _ in range(30):
        cluster.now += 1.0
        ledger = cluster.scheduler.ledger
        longest = min(ledger.nodes[cluster.peers["n1"]].holding.items(), key=lambda item: (item[1][0], item[0]))[0]
        cluster.done(longest[1], run=longest[0], seconds=8.0)

    assert (planned_of(cluster, large), sum(cluster.scheduler.ledger.runs[run].planned for run in calls if run in ledger.runs)) == (4, 4)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_weights_mean_something_with_few_cores_too(cores: int) -> None:
    """Of their time a run of weight three gets three quarters, although at no moment it can have three quarters of them."""
    cluster = Cluster().client().join("n1", cpu=cores)
    light = cluster.submit(many(400, kind("light")), weight=1.0)
    heavy = cluster.submit(many(400, kind("heavy")), weight=3.0)
    done = Counter[int]()
    for step in range(300):
        held = cluster.scheduler.ledger.nodes[cluster.peers["n1"]].holding
        run, task = min(held, key=lambda each: (held[each][0], each))
        cluster.now += 0.5 / cores
        cluster.done(task, run=run, seconds=0.5)
        done[run] += step >= 100       # when the shares have settled

    assert sum(done.values()) == 200
    assert 0.73 <= done[heavy] / 200 <= 0.77
    assert done[light] > 0


def test_a_choice_costs_no_more_on_a_large_cluster() -> None:
    """Nodes that are alike are asked together: one report is as much work with 200 full nodes as with 20."""
    def calls(nodes: int) -> int:
        cluster = Cluster().client()
        for number in range(nodes):
            cluster.join(f"n{number}", cpu=4)
        run = cluster.submit(many(4 * nodes + 500, kind("work", {"cpu": 1}, alternatives=(amounts({"cpu": 2}),))))
        table, ledger = cluster.scheduler.ledger.runs[run], cluster.scheduler.ledger
        assert table.planned == 4 * nodes
        node = ledger.by_name["n3"]
        tasks = ints([node.tasks_of(table)[0]])
        cluster.wait(1.0)
        report = Report(run, tasks, ints([table.attempt[tasks[0]]]), longs([1]), floats([0.5]), floats([0.0]))
        count = calls_in(lambda: cluster.scheduler.handle(cluster.now, Received(node.peer, report)), "scheduler")
        assert table.planned == 4 * nodes
        return count

    assert calls(200) < 1.5 * calls(20)


def test_a_large_group_is_gone_through_once() -> None:
    """What all of it needs, and where it is pinned, is known from its beginning: a task of it costs as much as in a small group."""
    cluster = Cluster().client().join("a", cpu=2).join("b", cpu=2)
    one, other = kind("one"), kind("other", node="b")
    run = cluster.submit(program([(one, ()), (one, (0,)), (other, (1,)), (one, ()), (one, (3,))], groups=[[0, 1, 2], [3, 4]]))
    table = cluster.scheduler.ledger.runs[run]
    table.groups = ()     # who goes through it now finds nothing

    cluster.fail(3)
    cluster.wait(1.0)
    cluster.finish(run)

    assert {cluster.where(task) for task in range(3)} == {"b"}
    assert cluster.where(3) == cluster.where(4)


def test_what_is_made_again_at_its_first_cost_is_learned_for_that() -> None:
    """What it took before is over with its result."""
    cluster = Cluster().client().join("slow", cpu=8)
    run = cluster.submit(many(1, QUICK))
    cluster.done(0, seconds=10.0)
    cluster.join("quick", gpu=1, cpu=1)
    cluster.lose("slow")
    cluster.hear("client", Missing(run, ints([0])))
    first, second = cluster.scheduler.ledger.runs[run].shapes[0].functions

    cluster.done(0, seconds=0.5)

    assert (first.count, first.seconds, second.count, second.seconds) == (1, 0.5, 1, 10.0)


def test_the_timeline_tells_which_cost_was_taken() -> None:
    """Of finished tasks and of those that run: a report counts the cores that they had, not those of their first cost."""
    cluster = Cluster().client().join("gpu", cpu=1, gpu=1).join("cpu", cpu=8)
    run = cluster.submit(many(2, QUICK))
    table, ledger = cluster.scheduler.ledger.runs[run], cluster.scheduler.ledger
    on_cores = next(task for task in range(2) if cluster.where(task, run) == "cpu")
    assert timeline(ledger, table, cluster.now)["took"] == [[on_cores, 1]]
    cluster.done(0, 1, run=run, seconds=1.0)
    assert timeline(ledger, table, cluster.now)["took"] == [[on_cores, 1]]


def test_few_short_tasks_with_a_choice_are_bound_before_their_room_opens() -> None:
    """When the next one has room takes a look at all that a node has: with a thousand of these, each task cost as much as they all."""
    short = kind("short", {"gpu": 1}, alternatives=(amounts({"cpu": 1}),))
    cluster = Cluster().client().join("n1", cpu=1)
    cluster.finish(cluster.submit(many(40, short)), seconds=1e-6)
    run = cluster.submit(many(2000, short))

    assert 16 <= len(cluster.plans()) <= EARLY_MAX + 1
    cluster.finish(run, seconds=1e-6)
