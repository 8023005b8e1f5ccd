"""What plans say of limits: memory that is not enough, and what the whole cluster shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planned import Outlook

from handoff import DAG, Function, Plan, errors
from handoff.client.story.report import report_of


def work(*data: Any) -> None:
    """It does nothing: nothing runs."""


def large(**cost: float) -> DAG:
    """Four results of 300 MB, which one function takes together."""
    dag = DAG("large")
    for number in range(4):
        dag.add(Function(number, [], work, node="a", expected_seconds=1.0, expected_bytes=300e6))
    return dag.add(Function("end", list(range(4)), work, node="a", cost={"cpu": 1, **cost}, expected_seconds=1.0, expected_bytes=0))


def test_a_node_with_too_little_memory_for_its_results_is_named(tmp_path: Path) -> None:
    """With how much is lacking: in the notes, in the table, in a notebook, and where the plan was kept."""
    plan = Outlook(a={"cpu": 1, "memory": 1000}, b={"cpu": 1, "memory": 1000}).plan(large(memory=100))

    assert plan.peak_memory["a"] == pytest.approx(1300.0)
    start = "more memory than there is would be taken, by running functions and results together: "
    assert plan.notes == (f"{start}on 'a' by 300 MB (it has 1 GB)",)
    assert plan.notes[0] in str(plan) and "1.3 GB, of 1 GB" in str(plan)
    assert "by 300 MB (it has 1 GB)" in plan._repr_html_()
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json").notes == plan.notes


def test_where_memory_is_enough_nothing_is_said_of_it() -> None:
    """Nor where a node does not say how much it has."""
    for node in ({"cpu": 1, "memory": 1300}, {"cpu": 1}):
        plan = Outlook(a=node).plan(large())
        assert plan.notes == () and ", of " not in str(plan)


def test_a_licence_that_is_waited_for_is_named() -> None:
    """Though there is room, and the row of the plan in which it is was taken by the one that gave the licence back."""
    dag = DAG("licensed")
    for number in range(3):
        dag.add(Function(number, [], work, cost={"cpu": 1, "cluster:licence": 1}, expected_seconds=1.0, expected_bytes=0))
    dag.add(Function("free", [], work, cost={"cpu": 1}, expected_seconds=0.5, expected_bytes=0))

    plan = Outlook(a={"cpu": 2}, b={"cpu": 2}, cluster={"licence": 1}).plan(dag)

    first, second, third = plan.critical_path
    assert (first.reason, plan.makespan) == ("the submission", pytest.approx(3.0, abs=0.01))
    assert second.reason == f"cluster:licence, after {first.name}"
    assert third.reason == f"cluster:licence, after {second.name}"
    assert f"cluster:licence, after {first.name}" in str(plan)


def test_room_is_named_where_licences_are_left() -> None:
    """It is the cores that are waited for."""
    dag = DAG("licensed")
    for number in range(2):
        dag.add(Function(number, [], work, cost={"cpu": 1, "cluster:licence": 1}, expected_seconds=1.0, expected_bytes=0))

    plan = Outlook(a={"cpu": 1}, cluster={"licence": 2}).plan(dag)

    assert [leg.reason for leg in plan.critical_path] == ["the submission", f"room, after {plan.critical_path[0].name}"]


def test_one_is_counted_as_one() -> None:
    """In what people read of a plan, and of what happened."""
    dag = DAG("single").add(Function(0, [], work, expected_seconds=1.0))
    plan = Outlook(a={"cpu": 1}).plan(dag)
    assert repr(plan) == "<Plan of 'single': 1 function on 1 node, 1 s>"
    assert "; 1 function on 1 node, " in str(plan)
    assert "1 of 1 function ran where planned" in str(plan.compare(plan.timeline))
    assert " s, 1 function, " in str(report_of(plan.story))


def test_one_more_node_helps_a_plan_where_memory_is_what_lacks() -> None:
    """Six that take nearly half of the memory each, and few of the cores: two at a time, and four on two such nodes."""
    dag = DAG("six")
    for number in range(6):
        dag.add(Function(number, [], work, cost={"cpu": 0.1, "memory": 1900}, expected_seconds=1.0, expected_bytes=0))
    plan = Outlook(a={"cpu": 8, "memory": 4000}).plan(dag)

    found = {change.what: change.saved for change in report_of(plan.story).changes}
    assert found["one more node like a (8 cores)"] == pytest.approx(1.0, rel=0.05)


def small(count: int) -> DAG:
    """So many of a second each that take next to nothing, but each a process."""
    dag = DAG("small")
    for number in range(count):
        dag.add(Function(number, [], work, cost={"cpu": 0.001}, expected_seconds=1.0, expected_bytes=0))
    return dag


def test_no_plan_can_beat_the_processes_that_there_are() -> None:
    """Six on two nodes with a process each: three rounds at best."""
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}, processes=1).plan(small(6))
    assert plan.makespan == pytest.approx(3.0, abs=0.1) and plan.lower_bound == pytest.approx(3.0)


def test_a_sweep_gives_each_core_as_many_processes_as_it_has() -> None:
    """Whoever set another number for a node has it for the cores that are tried, too."""
    plan = Outlook(a={"cpu": 2}, processes=4).plan(small(8))
    assert list(plan.sweep(cpus=[1, 2, 4]).makespans.values()) == pytest.approx([4.0, 2.0, 1.0], abs=0.1)


def test_a_sweep_says_with_which_step_a_function_has_no_node_left() -> None:
    """Of several steps one is too small; the error keeps its class and its function."""
    dag = DAG("wide").add(Function("f", [], str, cost={"cpu": 2}))
    with pytest.raises(errors.AllocationError, match="sweep: with cpus=1, 'wide' can't be planned: function 'f': str needs") as caught:
        Outlook(a={"cpu": 4}).plan(dag).sweep(cpus=[4, 2, 1])
    assert caught.value.function == "f"

    pinned = DAG("pinned").add(Function("f", [], str, node="b"))
    with pytest.raises(errors.NodeTimeout, match=r"sweep: with nodes=1, 'pinned' can't be planned: .*'b', which is not there"):
        Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(pinned).sweep(nodes=[2, 1])


def test_long_names_are_cut_in_sentences() -> None:
    """A line that nobody can read to its end tells nothing."""
    name = "x" * 10_000
    dag = DAG(name).add(Function(name, [], str, cost={"cpu": 2}))
    plan = Outlook(a={"cpu": 4}).plan(dag)
    assert len(str(plan)) < 2000
    with pytest.raises(errors.AllocationError) as caught:
        plan.sweep(cpus=[1])
    assert len(str(caught.value)) < 1500
