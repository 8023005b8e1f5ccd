"""What plans say of functions with a choice of costs, and of those that take no cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planned import Outlook

from handoff import DAG, Function, Plan
from handoff.client.lower import lower
from handoff.client.planning.shown import node_rows
from handoff.client.story.causes import causes_of
from handoff.client.story.usage import usage_of


def work(*data: Any) -> None:
    """It does nothing: nothing runs."""


def chain(**more: Any) -> DAG:
    """Two seconds, on three cores or, where there are fewer, on one."""
    dag = DAG("chain").add(Function("a", [], work, cost=[{"cpu": 3}, {"cpu": 1}], expected_seconds=1.0, **more))
    return dag.add(Function("b", ["a"], work, cost=[{"cpu": 3}, {"cpu": 1}], expected_seconds=1.0, **more))


def test_a_node_is_as_busy_as_the_costs_that_were_chosen_there(tmp_path: Path) -> None:
    """One core of one: the first cost was never taken. So it is where the plan was kept."""
    plan = Outlook(n={"cpu": 1}).plan(chain())
    plan.save(tmp_path / "plan.json")
    for each in (plan, Plan.load(tmp_path / "plan.json")):
        [row] = node_rows(each)
        assert row[4] == "100 %"
        [use] = usage_of(each.story, causes_of(each.story))
        assert (use.slots, use.running) == (1.0, pytest.approx(2.0, abs=0.005))


def test_licences_are_held_by_who_chose_them() -> None:
    """The critical path does not lead over a licence that nobody took."""
    dag = DAG("two")
    for name in ("a", "b"):
        dag.add(Function(name, [], work, cost=[{"cpu": 1, "gpu": 1, "cluster:licence": 1}, {"cpu": 1}], expected_seconds=1.0))
    plan = Outlook(cluster={"licence": 1}, n={"cpu": 2}).plan(dag)
    assert all(done.shared == () for done in plan.story.tasks.values())


def test_what_takes_no_cores_keeps_none_busy() -> None:
    """Four at once, on a node of one core."""
    dag = DAG("waits")
    for number in range(4):
        dag.add(Function(number, [], work, cost={}, expected_seconds=1.0))
    plan = Outlook(n={"cpu": 1}).plan(dag)
    [row] = node_rows(plan)
    assert plan.makespan < 4.0 and row[4] == "0 %"


def test_no_plan_is_shorter_than_its_lower_bound() -> None:
    """Where another cost than the first is the quicker one, too."""
    dag = DAG("quick").add(Function("x", [], work, cost=[{"cpu": 1}, {"gpu": 1}]))
    outlook = Outlook(n={"cpu": 1, "gpu": 1})
    estimates = outlook.scheduler.ledger.estimates
    [kind] = lower(dag).program.kinds
    estimates.observe(estimates.of(kind.codes, kind.name), [4.0] * 20, [100] * 20)
    estimates.observe(estimates.of((*kind.codes, b"1"), kind.name), [1.0] * 20, [100] * 20)
    plan = outlook.plan(dag)
    assert plan.lower_bound <= plan.makespan < 2.0
