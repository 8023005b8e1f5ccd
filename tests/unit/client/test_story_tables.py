"""Numbers and names within tables and sentences for people."""

from __future__ import annotations

import pytest
from planned import Outlook

from handoff import DAG, Function
from handoff.client.story.records import Done, Story
from handoff.client.story.report import report_of
from handoff.client.story.tables import amount, brief


@pytest.mark.parametrize(("nbytes", "said"), [
    (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_400, "999 kB"), (999_500, "1 MB"), (999_999_999, "1 GB"), (1.234e15, "1,234 TB"),
])
def test_sizes_have_no_exponents(nbytes: float, said: str) -> None:
    """Also where rounding makes a thousand of them."""
    assert amount(nbytes) == said


@pytest.mark.parametrize(("value", "said"), [(0.01234, "0.0123"), (1.5, "1.5"), (999.4, "999"), (999.6, "1000"), (43210.9, "43211")])
def test_seconds_have_no_exponents(value: float, said: str) -> None:
    """Hours are written as seconds, too."""
    assert brief(value) == said


def test_a_run_of_hours_is_told_of_in_plain_seconds() -> None:
    """What would have saved how much, and how that was estimated."""
    bag = [Done(task, f"t{task}", "f", "n1", 1, 2000.0 * task, 2000.0, waited=2000.0 * task) for task in range(6)]
    text = str(report_of(Story("s", bag, {"n1": 1.0})))
    assert "placed anew with its durations, where each ends first: 12000 s without it, 6000 s with it" in text and "e+0" not in text
    dag = DAG()
    dag.add(Function("f", code=len, expected_seconds=4321.0))
    plan = Outlook(node={"cpu": 1}).plan(dag)
    assert "4321 s>" in repr(plan) and "e+0" not in plan.to_mermaid() + plan._repr_html_()


def test_names_that_no_line_or_file_could_hold_are_cleaned() -> None:
    """Line breaks, control characters and lone surrogates of a function's name, in every sentence and table."""
    evil = "a\nb\x00\ud800"

    def function() -> None:
        """Never called."""

    function.__name__ = function.__qualname__ = evil
    dag = DAG(evil)
    dag.add(Function(evil, code=function))
    plan = Outlook(node={"cpu": 1}).plan(dag)
    bag = [Done(task, f"{evil}{task}", evil, "n1", 1, float(task), 9.0 if task == 5 else 1.0) for task in range(6)]
    report = report_of(Story(evil, bag, {"n1": 1.0}))
    assert any(evil in change.what for change in report.changes) and evil in plan.unknown
    for text in (str(plan), plan._repr_html_(), str(report), report._repr_html_(), str(plan.compare(plan.timeline)),
                 plan.compare(plan.timeline)._repr_html_()):
        text.encode()
        assert "\x00" not in text and (text.startswith("<div") or "a\nb" not in text)     # a drawing's tips have lines
