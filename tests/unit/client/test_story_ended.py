"""Stories of runs that failed or were cancelled: why, what ran in vain, what was not done; and no advice that makes no sense."""

from __future__ import annotations

import json
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from trace_format import check_trace

from handoff import DAG, Function
from handoff.client.events import Failure
from handoff.client.lower import lower
from handoff.client.state import Graph
from handoff.client.story.page import data_of, page_of, picture_of_story
from handoff.client.story.records import Done, Ending, Story, Undone
from handoff.client.story.report import report_of
from handoff.client.story.telling import story_of
from handoff.client.story.trace import trace_of
from handoff.scheduler.runs import AHEAD, DELAYED, GONE, HELD, READY, WAITING


def load(*data: Any) -> None:
    """It does nothing: nothing runs."""


def work(*data: Any) -> None:
    """Nor does this."""


IDS = ("loaded", "broken", "runs", "short", "pauses", "ready", "last")


def told(code: str = "FunctionFailed", text: str = "work failed on node 'n'", task: int = 1) -> Story:
    """One is done after 1 s, one fails at 3 s in its second attempt, one runs from 1.5 s on; others are elsewhere, and one waits."""
    dag = DAG("bad").add(Function("loaded", [], load))
    for name in IDS[1:-1]:
        dag.add(Function(name, ["loaded"], work))
    dag.add(Function("last", ["broken"], load))
    lowered = lower(dag)
    program = lowered.program
    assert [lowered.ids[number] for number in range(7)] == list(IDS)
    graph = Graph("bad", lowered.ids, lowered.outputs, lowered.number, kinds=program.kinds, kind=program.kind, fan_in=program.fan_in,
                  inputs=program.inputs)
    over: Future[None] = Future()
    over.set_result(None)
    state: Any = SimpleNamespace(graph=graph, run=4, done=None, failure=Failure(code, text, task), over=over,
                                 name_of=lambda number: lowered.ids[number])
    return story_of(state, {
        "task": [0], "node": ["n"], "attempt": [1], "started": [0.0], "seconds": [1.0], "nbytes": [1], "worker": [1], "waited": [0.0],
        "planned": [0.0], "took": [], "shared": {}, "until": 3.0, "stays": [["n", 0.0, 3.0, 2.0], ["idle", 0.0, 3.0, 1.0]], "limit": 0,
        "has": {}, "vain": [[1, "n", 1.0, 0.5], [1, "n", 2.0, 1.0]], "running": [[2, "n", 1.5]],
        "ended": {"code": code, "text": text, "task": task, "node": "n", "attempt": 2,
                  "states": bytes([GONE, WAITING, HELD, AHEAD, DELAYED, READY, WAITING])},
    })


def test_a_report_of_a_failed_run_says_what_failed_and_what_was_not_done() -> None:
    """And counts what ran as long as it did; it has no advice: a faster function would only have failed sooner."""
    report = report_of(told())
    text = str(report)

    assert text.startswith("Run 4 of 'bad' failed after 3.000 s: 1 of 7 functions done\n"
                           "FunctionFailed: function 'broken': work failed on node 'n'\n")
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert rows[rows.index("Attempts without a result, the last first") + 2:][:3] == [
        "broken came to nothing n 2.000 1.000", "runs still ran at the end n 1.500 1.500", "broken came to nothing n 1.000 0.500"]
    assert rows[rows.index("Not done when it ended") + 1:][:4] == [
        "failed running with a node ready waiting for inputs", "work 1 1 1 2 0", "load 0 0 0 0 1", "all of it 1 1 1 2 1"]
    assert not report.changes and "shortened" not in text and "Critical path" not in text
    assert (report.is_over, report.until) == (False, 3.0)
    there = {use.node: use for use in report.nodes}
    assert there["n"].running == pytest.approx(1.0 + 1.5 + 1.5) and there["n"].in_vain == pytest.approx(1.5)
    assert there["idle"].idle == pytest.approx(3.0)
    html = report._repr_html_()
    assert "FunctionFailed: function &#x27;broken&#x27;" in html and "shortened" not in html


def test_a_cancelled_run_says_so() -> None:
    """No function failed, whatever its number."""
    report = report_of(told("RunCancelled", "the run was cancelled by its client", 0xFFFFFFFF))
    assert str(report).startswith("Run 4 of 'bad' was cancelled after 3.000 s: 1 of 7 functions done\n"
                                  "RunCancelled: the run was cancelled by its client\n")
    assert report.ending is not None and [left.failed for left in report.ending.left] == [0, 0]


def test_a_trace_shows_what_came_to_nothing() -> None:
    """In rows of their own, since their workers are not known; and says how the run ended."""
    trace = trace_of(told())
    check_trace(trace)
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    slices = [(names[event["tid"]], event["name"], event["ts"], event["dur"]) for event in trace["traceEvents"] if event["ph"] == "X"]
    assert sorted(slices) == [
        ("not done", "broken: came to nothing", 1e6, 0.5e6), ("not done", "runs: still ran at the end", 1.5e6, 1.5e6),
        ("not done · 2", "broken: came to nothing", 2e6, 1e6), ("worker 1", "loaded", 0.0, 1e6)]
    assert trace["otherData"]["ended"] == "failed" and trace["otherData"]["ended_seconds"] == 3.0
    assert "'broken'" in trace["otherData"]["why"]


def test_a_page_shows_it_as_well() -> None:
    """The timeline is as long as the run was, and what came to nothing does not count as done."""
    story = told()
    data = data_of(story, report_of(story))
    assert (data["seconds"], data["ended"], data["done"], len(data["name"])) == (3.0, "failed", 1, 4)
    assert data["path"] == [0] and data["inputs"] == [[], [], [], []]
    assert {len(column) for name, column in data.items() if name in ("row", "started", "took", "attempt", "nbytes", "waited")} == {4}
    assert json.dumps(data["ended"]) in page_of(story)


def test_its_graph_shows_all_functions_each_as_far_as_it_came() -> None:
    """What is done comes first; what failed is told from what still ran, from what a node had, and from what was never begun."""
    picture = picture_of_story(told(), [])
    assert [(box.label, box.kind, box.detail) for box in picture.boxes] == [
        ("loaded", "regular", "1 s · n"), ("broken", "failed", "failed"), ("runs", "cut", "still ran at the end"),
        ("short", "cut", "with a node, not done"), ("pauses", "undone", "never begun"), ("ready", "undone", "never begun"),
        ("last", "undone", "never begun")]
    assert [(arrow.source, arrow.target) for arrow in picture.arrows] == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 6)]
    assert "function 'broken': work failed on node 'n'" in picture.boxes[1].tip
    text = page_of(told())
    graph = text[text.index("<svg"):text.index("</svg>")]
    assert graph.count('stroke="#d1342b" stroke-width="2.6"') == 2       # what failed, and the way to what was done last
    assert graph.count(">never begun<") == 3 and graph.count('stroke-dasharray="7 3"') == 2


def test_what_was_tried_in_vain_was_begun() -> None:
    """Though it had nothing but a pause before it when the run was cancelled."""
    story = told("RunCancelled", "the run was cancelled by its client", 0xFFFFFFFF)
    assert {box.label: (box.kind, box.detail) for box in picture_of_story(story, []).boxes}["broken"] == ("cut", "came to nothing")


def test_what_waited_at_its_node_for_an_input_was_not_begun() -> None:
    """Of what has its inputs only the node knows."""
    undone = [Undone(0, "first", "work", "running"), Undone(1, "next", "work", "placed", [0])]
    story = Story("chain", [], {"n": 1.0}, is_over=False, until=2.0, ending=Ending("cancelled", "why", [], undone))
    assert [box.detail for box in picture_of_story(story, []).boxes] == ["still ran at the end", "never begun"]


def test_very_many_functions_that_were_not_done_are_drawn_by_name() -> None:
    """Apart from those of their name that were done."""
    undone = [Undone(task, str(task), "work", "waiting") for task in range(1, 500)]
    done = Done(0, "0", "work", "n", 1, 0.0, 1.0)
    story = Story("many", [done], {"n": 1.0}, is_over=False, until=2.0, ending=Ending("cancelled", "why", [], undone))
    text = page_of(story)
    assert "500 functions, drawn by name" in text and ">499 functions never begun<" in text and ">work<" in text


def test_a_run_that_failed_before_anything_was_done_has_a_report() -> None:
    """Without a path: there is none."""
    story = told()
    nothing = Story("none", [], {"n": 1.0}, is_over=False, until=2.0, ending=story.ending)
    text = str(report_of(nothing))
    assert text.startswith("Run 0 of 'none' failed after 2.000 s: 0 of 6 functions done\n") and "The way to" not in text
