"""How tasks get to nodes: in plans of columns, short ones ahead, long ones late, where they are done first."""

from __future__ import annotations

from scheduler_story import Cluster, Flag, Plan, Recall, Recalled, Release, Upload, chain, floats, ints, kind, longs, many, program

from handoff.ids import RunId
from handoff.messages import Accepted, Alive, Cancel, Forget, Peers, Placed, Report, RunDone
from handoff.scheduler.outbox import RELEASE_SECONDS


def taught(*names: str, nodes: int = 1, seconds: float = 1e-4, **settings: float) -> Cluster:
    """A cluster that has run each of these functions often enough to know it."""
    cluster = Cluster(**settings).client()
    for number in range(nodes):
        cluster.join(f"n{number + 1}")
    for name in names:
        run = cluster.submit(many(40, kind(name)))
        cluster.finish(run, seconds=seconds)
        cluster.hear("client", Forget(run))
    return cluster


def test_a_plan_says_all_that_a_node_needs() -> None:
    """Tasks, attempts, kinds, literals, sources and code travel as columns in one plan; kinds and code only once."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(3))
    [plan] = cluster.told(Plan)
    assert (plan.run, list(plan.tasks), list(plan.attempts), list(plan.kind), list(plan.literals)) == (run, [0], [1], [0], [b"0"])
    assert plan.new_kinds == ((0, kind()),) and plan.codes == ((b"work", 4),) and plan.body == b"work"
    cluster.done(0)
    [plan] = cluster.told(Plan)
    assert not plan.new_kinds and not plan.codes and not plan.body
    cluster.hear("client", Cancel(run))
    cluster.submit(many(1))
    [plan] = cluster.told(Plan)
    assert plan.new_kinds and not plan.codes, "a later run sends its kinds, but not the code that the node has"


def test_the_client_is_told_which_nodes_work_for_it() -> None:
    """Before Placed the client learns who that node is, once."""
    cluster = Cluster().client().join("n1").join("n2")
    cluster.submit(many(2))
    assert [type(message) for message in cluster.told(object, "client")][:1] == [Accepted]
    introduced = [peer for message in cluster.told(Peers, "client") for peer in message.peers]
    assert introduced == [peer for message in cluster.told(Placed, "client") for peer in message.nodes] == [2, 3]
    cluster.done(0, 1)
    [done] = cluster.told(RunDone)
    assert sorted(done.nodes) == [2, 3] and not cluster.told(Peers)


def test_an_unknown_function_gets_no_more_than_there_is_room() -> None:
    """Nobody knows how long it takes: one at a time on a node with one cpu."""
    cluster = Cluster().client().join("n1").join("n2", cpu=3)
    cluster.submit(many(50))
    assert len(cluster.plans("n1")) == 1 and len(cluster.plans("n2")) == 3


def test_short_tasks_are_planned_ahead_in_one_plan_for_each_node() -> None:
    """Known to be tiny, hundreds go at once, shared out evenly."""
    cluster = taught("work", nodes=2)
    cluster.submit(many(200))
    assert len(cluster.told(Plan)) == 2
    assert (len(cluster.plans("n1")), len(cluster.plans("n2"))) == (100, 100)


def test_a_backlog_stays_below_the_horizon() -> None:
    """Of a hundred thousand tiny tasks a node gets some tens of milliseconds of work, and more when it has worked them off."""
    cluster = taught("work", nodes=2)
    run = cluster.submit(many(5000))
    first = cluster.plans("n1")
    assert 100 < len(first) < 500
    cluster.done(*first[: len(first) // 2], run=run, seconds=1e-4)
    assert len(first) / 4 < len(cluster.plans("n1")) < len(first)


def test_long_tasks_are_bound_when_there_is_room() -> None:
    """A task of a second is not planned ahead."""
    cluster = taught("work", seconds=1.0)
    run = cluster.submit(many(5))
    assert cluster.plans() == [0]
    cluster.done(0, run=run, seconds=1.0)
    assert cluster.plans() == [1]


def test_a_chain_of_short_tasks_is_planned_as_a_whole_on_one_node() -> None:
    """Dependents whose inputs are planned go along, with their node as the source."""
    cluster = taught("work", nodes=2)
    cluster.submit(chain(50))
    [plan] = cluster.told(Plan)
    assert list(plan.tasks) == list(range(50)) and set(plan.sources) == {cluster.peers[cluster.where(0, plan.run)]}


def test_a_long_dependent_waits_for_its_input() -> None:
    """Its node is chosen when the input exists."""
    cluster = taught("short", "long")
    run = cluster.submit(program([(kind("first"), ()), (kind("slow"), (0,)), (kind("slow"), (0,))]))
    assert 0 in cluster.plans()
    cluster.done(0, run=run, seconds=1.0)
    assert cluster.plans() in ([1], [2], [])


def test_the_longest_remaining_path_goes_first() -> None:
    """Of two ready tasks, the one with more behind it."""
    cluster = Cluster().client().join("n1")
    work = kind(flags=Flag.OUTPUT)
    cluster.submit(program([(work, ()), (work, ()), (work, (1,)), (work, (2,))]))
    assert cluster.plans()[0] == 1


def test_priority_stands_above_rank() -> None:
    """A user's priority goes before the longest path."""
    cluster = Cluster().client().join("n1")
    work = kind()
    cluster.submit(program([(work, ()), (kind("urgent", priority=1), ()), (work, (0,))]))
    [plan] = cluster.told(Plan)
    assert plan.tasks[0] == 1 and plan.urgencies[0] >= 1e6


def test_a_dependent_goes_where_its_large_input_is() -> None:
    """Moving 500 MB takes longer than waiting for nothing."""
    cluster = Cluster().client().join("n1", cpu=2).join("n2", cpu=2)
    run = cluster.submit(program([(kind("load"), ()), (kind("use"), (0,))]))
    home = cluster.where(0)
    if (run, 1) not in cluster.planned:
        cluster.done(0, nbytes=500_000_000)
    assert cluster.where(1) == home


def test_tasks_that_need_no_gpu_leave_the_gpu_alone() -> None:
    """A scarce resource left unused costs something."""
    cluster = Cluster().client().join("a-gpu", cpu=1, gpu=1).join("b", cpu=1)
    cluster.submit(many(1))
    assert cluster.where(0) == "b"


def test_a_pinned_task_runs_on_its_node_only() -> None:
    """Also when others are free."""
    cluster = Cluster().client().join("n1").join("n2")
    cluster.submit(many(3, kind(node="n2")))
    assert cluster.plans("n1") == [] and cluster.plans("n2") == [0]


def test_collocated_tasks_share_a_node_that_can_hold_each_of_them() -> None:
    """The first of a group picks for all: small must not go where large can't follow."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=4)
    run = cluster.submit(program([(kind("small"), ()), (kind("large", {"cpu": 3}), (0,))], groups=[(0, 1)]))
    cluster.finish(run)
    assert {cluster.where(0), cluster.where(1)} == {"n2"}


def test_max_concurrency_limits_what_is_on_nodes() -> None:
    """Never more than two of what is long are planned at once, and all get done."""
    cluster = Cluster().client().join("n1", cpu=2).join("n2", cpu=2)
    run = cluster.submit(many(10), max_concurrency=2)
    table = cluster.scheduler.ledger.runs[run]
    while not table.is_over:
        assert table.planned <= 2
        cluster.done(*[task for task in range(10) if table.is_planned(task)][:1], run=run, seconds=5.0)
    assert table.done == 10


def test_one_limited_run_does_not_block_another() -> None:
    """Runs share queues only when neither has a limit."""
    cluster = Cluster().client().join("n1", cpu=4)
    cluster.submit(many(10), max_concurrency=1)
    cluster.submit(many(10))
    assert len(cluster.plans()) == 3


def test_tasks_without_cost_are_bounded_by_the_nodes_places() -> None:
    """Four for each core, unless told otherwise."""
    cluster = Cluster(zero_cost_per_cpu=3).client().join("n1", cpu=2)
    cluster.submit(many(50, kind("free", {})))
    assert len(cluster.plans()) == 6


def test_coroutines_that_cost_nothing_are_planned_many_at_once() -> None:
    """A hundred take as much room as one function: waiting costs no core."""
    cluster = Cluster(zero_cost_per_cpu=3).client().join("n1", cpu=2)
    cluster.submit(many(700, kind("wait", {}, flags=Flag.OUTPUT | Flag.ASYNC)))
    assert len(cluster.plans()) == 600


def test_a_serializer_runs_beside_its_input_and_is_told_where_its_consumer_will_run() -> None:
    """The consumer's node is chosen first, and kept to."""
    cluster = Cluster().client().join("n1").join("n2")
    serialize = kind("serialize", {}, flags=Flag.SERIALIZER)
    run = cluster.submit(program([(kind("make", node="n1"), ()), (serialize, (0,)), (kind("take", node="n2"), (1,))]))
    targets = []
    for task in (0, 1, 2):
        for name, message in cluster.said:
            if isinstance(message, Plan) and len(message.targets):
                targets.append((name, *message.targets))
        cluster.done(task, run=run) if (run, task) in cluster.planned else None
    assert ("n1", 1, cluster.peers["n2"]) in targets
    assert cluster.where(2) == "n2"


def test_an_object_is_planned_and_the_client_is_asked_for_it() -> None:
    """Where its consumer must run."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(program([(kind("object", {}, flags=Flag.OBJECT), ()), (kind("use", node="n2"), (0,))]))
    [upload] = cluster.told(Upload, "client")
    assert (list(upload.tasks), list(upload.nodes)) == ([0], [cluster.peers["n2"]])
    cluster.done(0, run=run, seconds=0.0)
    assert cluster.where(1) == "n2"


def test_a_result_is_released_when_its_last_consumer_is_done() -> None:
    """On every node that holds it, unless the client wants it."""
    cluster = Cluster().client().join("n1").join("n2")
    mid = kind("mid", flags=Flag(0), node="n1")
    run = cluster.submit(program([(mid, ()), (kind("a", node="n1"), (0,)), (kind("b", node="n2"), (0,))]))
    cluster.done(0)
    cluster.done(1)
    assert not cluster.told(Release)
    cluster.done(2, run=run)
    said = cluster.wait(RELEASE_SECONDS)
    assert [(name, list(message.tasks)) for name, message in said if isinstance(message, Release)] == [("n1", [0]), ("n2", [0])]


def test_a_result_that_nobody_wants_is_released_soon() -> None:
    """It is no output, and has no consumer."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(1, kind(flags=Flag(0))))
    cluster.done(0)
    assert cluster.told(RunDone)
    cluster.wait(RELEASE_SECONDS)
    assert [list(message.tasks) for message in cluster.told(Release, "n1")] == [[0]]


def test_releases_go_before_the_next_plan() -> None:
    """Nobody waits for them: they are kept back for a moment, and said before a plan of their run, which may bring the same task back."""
    cluster = Cluster().client().join("n1", cpu=1)
    cluster.submit(many(2, kind(flags=Flag(0))))
    cluster.done(0)
    assert [type(message) for name, message in cluster.last if name == "n1"] == [Release, Plan]


def test_a_node_that_joins_gets_work_that_was_planned_for_others() -> None:
    """Planned, not started tasks are asked back, and planned anew."""
    cluster = taught("work", seconds=0.01)
    run = cluster.submit(many(8))
    planned = cluster.plans("n1")
    assert len(planned) >= 3
    cluster.now += 1.0
    cluster.join("n2")
    if cluster.plans("n2"):
        return   # there were tasks left for it
    [recall] = cluster.told(Recall, "n1")
    assert set(recall.tasks) < set(planned)
    cluster.hear("n1", Recalled(run, recall.tasks, recall.attempts))
    assert cluster.plans("n2") and cluster.attempt(cluster.plans("n2")[0], run) == 2


def test_a_recall_that_came_too_late_changes_nothing() -> None:
    """Recalled names what did not start; anything about another attempt is old news."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(2))
    cluster.hear("n1", Recalled(run, ints([0, 1, 9]), ints([7, 1, 1])))
    assert cluster.scheduler.ledger.runs[run].is_planned(0)


def test_reports_about_other_attempts_nodes_and_runs_change_nothing() -> None:
    """Peer and attempt must both fit."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(many(2))
    other = "n2" if cluster.where(0) == "n1" else "n1"
    cluster.done(0, node=other)
    cluster.done(0, attempt=5)
    cluster.done(0, run=run)
    cluster.done(0, run=run)
    assert cluster.scheduler.ledger.runs[run].done == 1
    cluster.hear("n1", Report(
        RunId(99), ints([0]), ints([1]), longs([1]), floats([0.0]),
        floats([0.0])))
    assert cluster.last == []


def test_a_large_task_is_not_starved_by_small_ones() -> None:
    """After a while a node is cleared for it, although more small ones are ready."""
    cluster = taught("small", seconds=0.5)
    cluster.join("big", cpu=2)
    cluster.submit(many(40, kind("small")))
    run = cluster.submit(many(1, kind("large", {"cpu": 2}, priority=1)))
    for _ in range(12):
        cluster.now += 0.5
        small = run - 1
        table = cluster.scheduler.ledger.runs[small]
        planned = [task for task in range(40) if table.is_planned(task)]
        cluster.done(*planned[:1], run=small, seconds=0.5)
        for name in ("n1", "big"):
            cluster.hear(name, Alive())
        if (run, 0) in cluster.planned:
            break
    assert cluster.where(0, run) == "big"
