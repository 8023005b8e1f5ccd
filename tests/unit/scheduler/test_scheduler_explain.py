"""Why a task is where it is, or does not run yet: one test for each reason, as the coordinator answers it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scheduler_story import Ask, Cluster, Refused, chain, floats, ints, kind, many, program

from handoff.messages import Answer, Drain
from handoff.program import Program
from handoff.resources import amounts
from handoff.scheduler.scheduler import Scheduler
from handoff.scheduler.views import waits_for
from handoff.settings import SchedulerSettings


def cluster(**nodes: dict[str, float]) -> Cluster:
    """Nodes by name, with what they have; and a client."""
    made = Cluster(suspect_seconds=1e6, lost_seconds=1e6)
    for name, capacity in nodes.items():
        made.join(name, **capacity)
    return made.client()


def told(what: Program, *seconds: float, nbytes: float = 0.0) -> Program:
    """The same with expected seconds and sizes."""
    return replace(what, seconds=floats(seconds), nbytes=floats([nbytes] * len(seconds)))


def explain(made: Cluster, task: int, run: int = 1) -> Any:
    """The answer."""
    made.hear("client", Ask(9, "explain", run, task))  # type: ignore[arg-type]
    return next(message.data for name, message in made.last if isinstance(message, Answer))


def reasons(made: Cluster, task: int, run: int = 1) -> dict[str, list[Any]]:
    """Why it does not run, by the first word."""
    return {what: facts for what, *facts in explain(made, task, run)["reasons"]}


ONE, TWO = {"cpu": 1}, {"cpu": 2}


def test_a_planned_task_is_compared_with_the_other_nodes() -> None:
    """Where it is first, then what is free and what is full; a node that is too small says so."""
    made = cluster(a=ONE, b=ONE, c={"cpu": 0.5})
    made.submit(told(many(2), 4.0, 3.0))
    said = explain(made, 0)
    assert (said["state"], said["node"], said["attempt"], said["reasons"]) == ("planned", "a", 1, [])
    assert (said["started"], said["seconds"]) == pytest.approx((0.0, 4.0))
    rows = {row["node"]: row for row in said["candidates"]}
    assert next(row["node"] for row in said["candidates"]) == "a"
    assert rows["a"]["finish"] == pytest.approx(4.0) and not rows["a"]["room"]
    assert rows["b"]["start"] == pytest.approx(3.0) and rows["b"]["room"] == "cpu (1 needed, 0 free)"
    assert rows["c"]["lacks"] == "too small: cpu=1 of 0.5"


def test_what_runs_is_not_said_to_begin_later() -> None:
    """Of two that began at once, the other took a tenth of what was assumed: this one has not moved to the end of its time for that."""
    made = cluster(a=ONE, b=ONE)
    made.submit(many(2))
    assumed = explain(made, 0)["seconds"]
    made.wait(assumed / 2)
    made.done(1, seconds=assumed / 10)
    said = explain(made, 0)

    assert (said["state"], said["started"], said["seconds"]) == ("planned", 0.0, assumed)


def test_moving_is_part_of_what_another_node_would_cost() -> None:
    """The input lies on one node; the other would have to fetch it first."""
    made = cluster(a=TWO, b=TWO)
    made.submit(told(chain(2), 1.0, 1.0, nbytes=500e6))
    made.done(0, nbytes=500_000_000)
    said = explain(made, 1)
    rows = {row["node"]: row for row in said["candidates"]}
    home = said["node"]
    other = "b" if home == "a" else "a"
    assert rows[home]["moving"] == 0.0 and rows[home]["bytes_here"] == 500_000_001
    assert rows[other]["moving"] == pytest.approx(1.0, rel=0.01) and rows[other]["bytes_missing"] == 500_000_001
    assert rows[other]["finish"] > rows[home]["finish"] + 0.9


def test_it_waits_for_its_inputs() -> None:
    """Each with where it is and until about when."""
    made = cluster(a=ONE)
    made.submit(told(program([(kind("x"), ()), (kind("y"), ()), (kind("z"), (0, 1))]), 5.0, 2.0, 1.0))
    said = explain(made, 2)
    assert said["state"] == "waiting" and said["node"] == ""
    assert said["reasons"] == [["inputs", 2, 0, 1]]
    inputs = {row[0]: row[1:] for row in said["inputs"]}
    assert inputs[0][:2] == ["planned", "a"] and inputs[0][3] == pytest.approx(5.0)
    assert inputs[1][:2] == ["ready", ""]


def test_it_waits_for_room() -> None:
    """On each node that could have it: what is taken, and until when."""
    made = cluster(a={"cpu": 4, "memory": 1000}, b={"cpu": 4, "memory": 400})
    large, small = kind("large", {"cpu": 1, "memory": 800}), kind("small", {"cpu": 1, "memory": 300})
    made.submit(told(program([(large, ()), (large, ()), (small, ())]), 7.0, 5.0, 1.0))
    waiting = next(task for task in (0, 1) if (1, task) not in made.planned)
    node, room, until = reasons(made, waiting)["room"][0]
    assert (node, room) == ("a", "memory (800 MB needed, 200 MB free)")
    assert until == pytest.approx(5.0 if waiting == 0 else 7.0)
    assert len(reasons(made, waiting)["room"]) == 1     # b is too small


def test_it_is_behind_more_urgent_ones() -> None:
    """As many as are ready; the one that runs does not count."""
    made = cluster(a=ONE)
    made.submit(told(program([(kind("x", priority=1), ()), (kind("y"), ()), (kind("y"), ()), (kind("y"), ())]), 1.0, 3.0, 2.0, 1.0))
    assert made.plans() == [0]
    assert [reasons(made, task).get("behind") for task in (1, 2, 3)] == [None, [1], [2]]


def test_nobody_has_what_it_needs() -> None:
    """The node that had it is gone; what the others lack is said."""
    made = cluster(a=TWO, b=ONE)
    made.submit(told(many(2, kind("wide", {"cpu": 2})), 1.0, 1.0))
    made.lose("a")
    said = explain(made, 0)
    assert ["nobody can"] in said["reasons"]
    assert [(row["node"], row["lacks"]) for row in said["candidates"]] == [("b", "too small: cpu=2 of 1")]


def test_nobody_is_there() -> None:
    """No node has joined."""
    made = Cluster().client()
    made.submit(many(1))
    assert "no nodes" in reasons(made, 0)


def test_labels_and_pins_exclude_nodes() -> None:
    """Each node says why it can't have it."""
    made = cluster(a=ONE, b=ONE)
    made.submit(many(2, kind("pinned", node="b")))
    rows = {row["node"]: row["lacks"] for row in explain(made, 1)["candidates"]}
    assert rows == {"a": "it is pinned to 'b'", "b": ""}
    assert reasons(made, 1)["only"] == ["b"] and reasons(made, 1)["room"][0][0] == "b"
    assert explain(made, 1)["pinned"] == "b"


def test_it_pauses_before_its_next_attempt() -> None:
    """Until then; how often it failed is said."""
    made = cluster(a=ONE)
    made.submit(many(1))
    made.wait(2.0)
    made.fail(0)
    said = explain(made, 0)
    assert said["state"] == "delayed" and said["failures"] == 1
    assert said["reasons"][0][0] == "paused" and 2.0 < said["reasons"][0][1] < 2.2


def test_the_run_allows_no_more_at_once() -> None:
    """There is room, but its max_concurrency is reached."""
    made = cluster(a={"cpu": 8})
    made.submit(many(3), max_concurrency=2)
    assert reasons(made, 2)["limit"] == [2]


def test_others_have_what_the_cluster_shares() -> None:
    """A licence that the coordinator counts."""
    made = cluster()
    made.scheduler = Scheduler(SchedulerSettings(), cluster=amounts({"licence": 1}))
    made = _joined(made)
    made.submit(many(2, kind("licensed", {"cpu": 1, "cluster:licence": 1})))
    waiting = 1 if (1, 0) in made.planned else 0
    assert reasons(made, waiting)["cluster"] == ["cluster:licence=1", False, True]


def test_a_licence_is_named_for_pinned_tasks_too() -> None:
    """There is room on their node: what the run waits for is not room."""
    made = cluster()
    made.scheduler = Scheduler(SchedulerSettings(), cluster=amounts({"licence": 1}))
    made = _joined(made)
    licensed = kind("licensed", {"cpu": 1, "cluster:licence": 1}, node="a")
    made.submit(many(1, licensed))
    second = made.submit(many(1, licensed))
    assert reasons(made, 0, second) == {"only": ["a"], "cluster": ["cluster:licence=1", False, True]}
    assert made.scheduler.ledger.runs[second].planned == 0
    said = waits_for(made.scheduler.ledger, made.scheduler.ledger.runs[second])
    assert said == "licensed waits for cluster:licence=1, which others of the cluster have now"


def test_a_licence_that_is_kept_for_another_is_named() -> None:
    """One is left, but one that needs two has waited for long."""
    made = cluster()
    made.scheduler = Scheduler(SchedulerSettings(suspect_seconds=1e6, lost_seconds=1e6), cluster=amounts({"licence": 2}))
    made = _joined(made)
    small, large = (kind(name, {"cpu": 1, "cluster:licence": count}) for name, count in (("small", 1), ("large", 2)))
    first = made.submit(many(1, small))
    second = made.submit(many(1, large))
    made.wait(30.0)
    third = made.submit(many(1, small))
    assert made.scheduler.ledger.runs[first].planned == 1
    assert reasons(made, 0, second)["cluster"] == ["cluster:licence=2", False, True]
    assert reasons(made, 0, third)["cluster"] == ["cluster:licence=1", True, True]


def test_a_cost_without_the_licence_may_wait_for_room() -> None:
    """Both are said, each of its cost: the licence is held, and eight cores are not free."""
    made = cluster()
    made.scheduler = Scheduler(SchedulerSettings(), cluster=amounts({"licence": 1}))
    made = _joined(made)
    made.submit(many(2, kind("licensed", {"cpu": 1, "cluster:licence": 1}, alternatives=(amounts({"cpu": 4}),))))
    waiting = 1 if (1, 0) in made.planned else 0
    said = reasons(made, waiting)
    assert said["cluster"] == ["cluster:licence=1", False, False]
    assert said["room"][0][:2] == ["a", "cpu (4 needed, 3 free)"]


def test_what_an_allocator_leaves_is_not_said_to_wait_for_room() -> None:
    """It is ready, and there is room, but an allocator of one's own places nothing."""

    class Idle:
        def allocate(self, now: float, desk: Any) -> None: ...

    made = cluster()
    made.scheduler = Scheduler(SchedulerSettings(), Idle())
    made = _joined(made)
    made.submit(many(1))
    assert reasons(made, 0) == {"left": ["Idle"]}
    said = waits_for(made.scheduler.ledger, made.scheduler.ledger.runs[1])
    assert said == "work is ready, and nodes have room for it, but the allocator Idle places it nowhere"


def _joined(made: Cluster) -> Cluster:
    made.peers.clear()
    made.names.clear()
    return made.join("a", cpu=4).client()


def test_a_silent_and_a_drained_node_can_not_have_it() -> None:
    """They are listed with why."""
    made = cluster(a=ONE, b=ONE, c=ONE)
    made.submit(many(4))
    made.drop("a")
    made.hear("client", Drain("b"))
    rows = {row["node"]: row["lacks"] for row in explain(made, 3)["candidates"]}
    assert rows == {"a": "it can't be heard", "b": "it drains", "c": ""}


def test_it_was_taken_back() -> None:
    """Its node is gone; it failed nothing."""
    made = cluster(a=ONE, b=ONE)
    made.submit(told(many(2), 5.0, 5.0))
    made.lose("a")
    assert "taken back" in reasons(made, 0)
    assert "room" in reasons(made, 0)


def test_a_done_task_says_where_and_when() -> None:
    """And compares the nodes as of now."""
    made = cluster(a=ONE, b=ONE)
    made.submit(many(2))
    made.wait(3.0)
    made.done(0, seconds=2.5)
    said = explain(made, 0)
    assert (said["state"], said["node"], said["reasons"]) == ("done", "a", [])
    assert (said["started"], said["seconds"], said["now"]) == pytest.approx((0.5, 2.5, 3.0))
    assert {row["node"] for row in said["candidates"]} == {"a", "b"}


def test_a_followed_task_names_its_plan_and_why_it_departed() -> None:
    """Both are known by then."""
    made = cluster(a=ONE, b=ONE)
    made.submit(many(2), follow=ints([1, 1]), follow_names=("a", "b"), follow_ranks=floats([2.0, 1.0]))
    assert (explain(made, 0)["plan"], explain(made, 0)["departed"], explain(made, 1)["only"]) == ("b", "", "b")
    made.lose("b")
    assert (explain(made, 0)["plan"], explain(made, 0)["departed"]) == ("b", "node 'b' is gone")


def test_a_node_that_is_not_there_is_waited_for() -> None:
    """Other nodes are no reason when it is pinned."""
    made = cluster(a=ONE)
    made.submit(many(1, kind(node="later")), wait_for_nodes=True)
    assert reasons(made, 0) == {"absent": ["later"]}


def test_what_does_not_exist_can_not_be_explained() -> None:
    """Neither a run nor a task."""
    made = cluster(a=ONE)
    made.submit(many(1))
    for run, task in ((7, 0), (1, 5)):
        made.hear("client", Ask(9, "explain", run, task))  # type: ignore[arg-type]
        assert made.told(Refused)


def test_asking_changes_nothing() -> None:
    """The same is planned whether or not somebody asks in between."""
    plain, asked = (cluster(a=TWO, b=ONE) for _ in range(2))
    for made in (plain, asked):
        made.submit(told(chain(6), *[0.5] * 6))
    for step in range(6):
        for task in range(6):
            explain(asked, task)
        for made in (plain, asked):
            made.done(step)
    assert plain.planned == asked.planned


def test_it_waits_for_memory() -> None:
    """Results take what there may be of them, though cores are free; the node says so, and there is no time at which that ends."""
    made = cluster(a={"cpu": 12, "memory": 1000})
    tasks = [*[(kind("make", flags=0), ())] * 8, *[(kind("use"), (each,)) for each in range(8)]]
    made.submit(replace(program(tasks), seconds=floats([1.0] * 16), nbytes=floats([2e8] * 8 + [10.0] * 8)))
    (node, room, start), = reasons(made, 7)["room"]
    assert (node, room) == ("a", "memory (results take 600 of 1,000 MB, or will)") and start == pytest.approx(0.0)


def test_it_is_kept_apart_from_its_like() -> None:
    """The node with room has one of its group; it waits for the other."""
    made = cluster(a=TWO, b=TWO)
    made.submit(told(program([(kind("one", spread="s", node="b", priority=5), ()), (kind("hog", TWO, node="a", priority=5), ()),
                              (kind("two", spread="s"), ())]), 0.1, 3.0, 0.1))
    assert {node: what for node, what, _ in reasons(made, 2)["room"]} == {
        "a": "cpu (1 needed, 0 free)", "b": "1 of the group 's', which is to be spread, and fewer are elsewhere"}


def test_a_node_may_be_kept_for_another() -> None:
    """One that has waited long for more room than it had."""
    made = cluster(a=TWO)
    made.submit(told(program([(kind("long"), ())]), 30.0))
    made.submit(told(program([(kind("large", TWO, priority=1), ())]), 0.5))
    made.wait(2.0)
    made.submit(told(program([(kind("small", priority=1), ())]), 0.1))
    assert "kept free for a function that has waited long" in reasons(made, 0, 3)["room"][0][1]


def test_each_of_several_costs_counts_as_long_as_it_takes() -> None:
    """A GPU takes a tenth of the time that cores take; what it took is named, and before that all costs are."""
    choice = kind("choice", {"gpu": 1}, alternatives=(amounts({"cpu": 8}),))
    made = cluster(g={"cpu": 2, "gpu": 1}, c={"cpu": 8})
    run = made.submit(many(2, choice))
    for task in range(2):
        made.done(task, run=run, seconds=0.1 if made.where(task, run) == "g" else 1.0)
    run = made.submit(many(1, choice))
    said = explain(made, 0, run)
    rows = {row["node"]: row["finish"] for row in said["candidates"]}
    assert (said["node"], said["cost"]) == ("g", "gpu=1") and rows == pytest.approx({"g": 0.1, "c": 1.0})
    run = made.submit(many(1, kind("none", {"tape": 1}, alternatives=(amounts({"cpu": 99}),))), wait_for_nodes=True)
    said = explain(made, 0, run)
    assert said["cost"] == "tape=1 or else cpu=99"
    assert {row["node"]: row["lacks"] for row in said["candidates"]} == {
        "c": "too small: tape=1 of 0 or else cpu=99 of 8", "g": "too small: tape=1 of 0 or else cpu=99 of 2"}


def test_a_finished_task_names_the_cost_that_it_took() -> None:
    """As it did while it ran."""
    made = cluster(n1={"cpu": 8})
    made.submit(many(1, kind("choice", {"gpu": 1}, alternatives=(amounts({"cpu": 8}),))))
    assert explain(made, 0)["cost"] == "cpu=8"

    made.done(0)

    assert explain(made, 0)["cost"] == "cpu=8"


def test_parts_of_gpus_are_told_as_they_were_asked_for() -> None:
    """The plan counts 0.6 of a GPU as a whole one, and one of a kind as any one; nobody asked for these."""
    made = cluster(a={"cpu": 2, "gpu": 1, "gpu:a100": 1}, b={"cpu": 2})
    made.submit(many(2, kind("part", {"gpu": 0.6})))
    rows = {row["node"]: row for row in explain(made, 1)["candidates"]}
    assert rows["a"]["room"] == "gpu (0.6 needed, 0 free)" and rows["b"]["lacks"] == "too small: gpu=0.6 of 0"
    run = made.submit(many(1, kind("part of a kind", {"gpu:a100": 0.6})))
    rows = {row["node"]: row for row in explain(made, 0, run)["candidates"]}
    assert rows["a"]["room"] == "gpu (0.6 needed, 0 free)" and rows["b"]["lacks"] == "too small: gpu:a100=0.6 of 0"
    made = cluster(a={"cpu": 2, "gpu": 1, "gpu:a100": 1})
    made.submit(many(2, kind("part of a kind", {"gpu:a100": 0.6})))
    assert explain(made, 1)["candidates"][0]["room"] == "gpu:a100 (0.6 needed, 0 free)"


def test_what_ran_is_explained_after_the_end() -> None:
    """Also where a function is told apart by what it takes: what a run counted on its way takes no room any more."""
    made = cluster(a=ONE, b=ONE)
    take = kind("take")
    run = made.submit(program([(kind("make"), ()), (take, (0,))]))
    function = made.scheduler.ledger.estimates.of(take.codes, take.name)
    for _ in range(20):
        for seconds, nbytes in ((1.0, 100), (10.0, 10_000_000)):
            function.observe_sized(seconds, nbytes)
            made.scheduler.ledger.estimates.observe(function, [seconds], [100])
    assert function.is_sized
    made.done(0, run=run, nbytes=10_000_000)
    made.done(1, run=run, seconds=9.0)

    said = explain(made, 1, run)

    assert (said["state"], said["seconds"], said["reasons"]) == ("done", 9.0, [])
    assert all(row["finish"] - row["start"] == pytest.approx(10.0, rel=0.1) for row in said["candidates"])


def test_a_node_with_room_that_is_spared_for_others_is_named() -> None:
    """It has a GPU that others need, so a task without any waits a bit for another node: that is said, and not nothing."""
    made = cluster(a={"cpu": 2, "gpu": 1}, b=ONE)
    made.submit(told(many(1, kind("train", {"gpu": 1})), 60.0))
    made.submit(told(many(1, kind("busy", node="b")), 4.0))
    made.submit(told(many(1, kind("count")), 10.0))
    assert reasons(made, 0, run=3) == {"better": ["b", "cpu (1 needed, 0 free)", pytest.approx(4.0, abs=0.01), "a"]}


def test_what_waits_for_a_node_for_its_whole_group_says_so() -> None:
    """A node has room for it, but could never have what is collocated with it: nothing but who is more urgent was said."""
    made = cluster(a=ONE)
    made.submit(program([(kind("large", TWO), ()), (kind("small"), ())], groups=[(0, 1)]), wait_for_nodes=True)
    assert reasons(made, 1) == {"nobody can": []}
    assert explain(made, 1)["candidates"][0]["lacks"] == "too small for what has to be on one node with it"


def test_what_costs_nothing_waits_for_no_core() -> None:
    """The only core is busy for four seconds; what costs nothing runs beside it, at once."""
    made = cluster(a=ONE)
    made.submit(told(program([(kind("busy"), []), (kind("free", cost={}), [])]), 4.0, 1.0))
    said = explain(made, 1)
    assert (said["state"], said["started"]) == ("planned", pytest.approx(0.0))
    assert said["candidates"][0]["start"] == pytest.approx(0.0)
