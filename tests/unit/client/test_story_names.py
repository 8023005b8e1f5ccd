"""Ids that look alike as text are told apart wherever people read of them."""

from __future__ import annotations

from typing import Any

from planned import Outlook

from handoff import DAG, Function
from handoff.client.story.report import report_of


def work(*data: Any) -> None:
    """It does nothing: nothing runs."""


def alike() -> DAG:
    """A chain of 1, "1" and "", and nothing that says which is which but their types."""
    dag = DAG("alike")
    for id, args in ((1, []), ("1", [1]), ("", ["1"])):
        dag.add(Function(id, args, work, expected_seconds=1.0, expected_bytes=10))
    return dag


def test_a_plan_and_its_comparison_tell_them_apart() -> None:
    """In the path with its reasons, in the table of functions, and beside what happened."""
    plan = Outlook(a={"cpu": 1}).plan(alike())
    assert [leg.name for leg in plan.critical_path] == ["1", "'1'", "''"]
    assert [leg.reason for leg in plan.critical_path] == ["the submission", "input 1", "input '1'"]
    for text in (str(plan), str(plan.compare(plan.timeline))):
        assert {"1", "'1'", "''"} <= {line.split()[0] for line in text.splitlines() if line.startswith("  ")}
    assert [record.function for record in plan.timeline] == [1, "1", ""]


def test_a_report_tells_them_apart() -> None:
    """As the plan does."""
    assert [leg.name for leg in report_of(Outlook(a={"cpu": 1}).plan(alike()).story).critical_path] == ["1", "'1'", "''"]
