"""Stories as people and programs read them: the report, the trace for Perfetto, the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from handoff.client.story.page import data_of, page_of, write_page
from handoff.client.story.records import Done, Story
from handoff.client.story.report import RunReport, report_of
from handoff.client.story.trace import trace_of, write_trace

EVIL = '</script><script>alert("1")</script><!-- & \'@@DATA@@ \x00\ud800 \u2028'


def story(name: str = "images") -> Story:
    """Two nodes, a transfer, an uploaded value, a retry, coroutines that overlap."""
    return Story(name, [
        Done(0, "an argument of 'a' (2,000,000 bytes)", "value", "n1", 0, 0.2, 0.0, is_hidden=True, nbytes=2_000_000),
        Done(1, "a", "load", "n1", 1, 0.25, 1.0, (0,), 500, 0.05, 0.0, 2),
        Done(2, name, "resize", "n2", 1, 1.5, 2.0, (1,), 700, 0.0, 1.25),
        Done(3, "c", "resize", "n1", 1, 1.3, 0.0, (1,), 10),
        Done(4, "d", "wait", "n2", 3, 0.5, 1.0, (), 10, is_shared=True),
        Done(5, "e", "wait", "n2", 3, 0.6, 1.0, (), 10, is_shared=True),
        Done(6, "f", "join", "n2", 1, 3.5, 0.5, (2, 4), 10),
    ], {"n1": 1.0, "n2": 2.0}, run=7, bytes_moved=500)


def slices(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The complete events."""
    return [event for event in trace["traceEvents"] if event["ph"] == "X"]


def test_the_report_is_a_table_for_people() -> None:
    """The path with its sums, the nodes, the changes with how they were estimated."""
    report = report_of(story())
    text = str(report)
    assert text.startswith("Run 7 of 'images': 4.000 s, 6 functions, 500 B moved between nodes\n")
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  n")] == ["n1", "n2"]
    assert re.search(r"\n  images +n2 #1 +2\.000 +0\.250 +0\.000 +input a\n", text)
    assert "1. resize twice as fast: 3.000 s, 1.000 s less\n     (the timeline worked out again, " in text
    assert len({len(line) for line in text.splitlines() if re.match(r"  n\d", line)}) == 1


def test_the_report_of_nothing_says_so() -> None:
    """A run without functions, or none done yet."""
    report = report_of(Story("empty", [], {"n1": 2.0}, is_over=False))
    assert (report.makespan, report.critical_path, report.changes) == (0.0, [], [])
    assert "Run 0 of 'empty' so far: 0.000 s" in str(report)
    assert "<table>" in report._repr_html_()


def test_a_long_path_is_summed_up() -> None:
    """Twenty legs are shown, and the rest counts in between."""
    tasks = [Done(each, f"t{each}", "f", "n", 1, float(each), 1.0 if each % 10 else 0.9, (each - 1,)) for each in range(100)]
    text = str(report_of(Story("chain", tasks, {"n": 1.0})))
    shown = re.findall(r"^  t\d+ ", text, re.MULTILINE)
    counted = [int(count) for count in re.findall(r"^  … (\d+) more", text, re.MULTILINE)]
    assert len(shown) == 20 and sum(counted) == 80


def test_a_report_in_a_notebook_escapes_what_people_wrote() -> None:
    """Names are text."""
    html = report_of(story(EVIL))._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html


def test_a_trace_has_a_process_for_each_node_and_a_row_for_each_worker() -> None:
    """Named, in microseconds; what overlaps on one worker is on rows of its own."""
    trace = trace_of(story())
    events = trace["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {1: "n1", 2: "n2"}
    rows = {(names[event["pid"]], event["args"]["name"]) for event in events if event["name"] == "thread_name"}
    assert rows == {("n1", "values"), ("n1", "worker 1"), ("n2", "worker 1"), ("n2", "worker 3"), ("n2", "worker 3 · 2")}
    [made] = [event for event in slices(trace) if event["name"] == "a"]
    assert (made["ts"], made["dur"], made["cat"]) == (250_000.0, 1_000_000.0, "load")
    assert made["args"] == {"function": "load", "attempt": 2, "bytes": 500, "waited_seconds": 0.05, "planned_seconds": 0.0}
    by_row: dict[Any, list[tuple[float, float]]] = {}
    for event in slices(trace):
        by_row.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for found in by_row.values():
        found.sort()
        assert all(end <= begin + 0.002 for (_, end), (begin, _) in pairwise(found))


def test_arrows_lead_from_one_slice_into_another() -> None:
    """Only where a result left the worker that made it; both ends lie inside slices of their rows."""
    trace = trace_of(story())
    begins = {event["id"]: event for event in trace["traceEvents"] if event["ph"] == "s"}
    ends = {event["id"]: event for event in trace["traceEvents"] if event["ph"] == "f"}

    def holder(event: dict[str, Any]) -> str:
        [found] = [each["name"] for each in slices(trace) if (each["pid"], each["tid"]) == (event["pid"], event["tid"])
                   and each["ts"] <= event["ts"] < each["ts"] + each["dur"]]
        return str(found)

    assert begins.keys() == ends.keys()
    arrows = {(holder(begins[number]), holder(ends[number])) for number in begins}
    assert arrows == {("an argument of 'a' (2,000,000 bytes)", "a"), ("a", "images"), ("d", "f")}
    assert all(event["bp"] == "e" for event in ends.values())
    assert all(begins[number]["ts"] <= ends[number]["ts"] for number in begins)


def test_a_trace_is_a_file_of_json(tmp_path: Path) -> None:
    """Whatever the names."""
    write_trace(story(EVIL), tmp_path / "trace.json")
    read = json.loads((tmp_path / "trace.json").read_text())
    assert sorted(read) == ["displayTimeUnit", "otherData", "traceEvents"]
    assert [event["name"] for event in slices(read) if event["cat"] == "resize"] == ["c", EVIL]


class Outline(HTMLParser):
    """The tags of a page, and the text of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


@pytest.mark.parametrize("name", ["images", EVIL])
def test_a_page_stands_by_itself(tmp_path: Path, name: str) -> None:
    """Two scripts of its own, nothing that is fetched, the data as they are; names can't add anything."""
    told = story(name)
    write_page(told, tmp_path / "run.html")
    page = (tmp_path / "run.html").read_bytes().decode()
    outline = Outline()
    outline.feed(page)
    assert [tag for tag, _ in outline.tags].count("script") == len(outline.scripts) == 2
    assert not [attributes for _, attributes in outline.tags if {"src", "href", "action", "srcset"} & set(attributes)]
    assert not [tag for tag, _ in outline.tags if tag in ("link", "img", "iframe", "object", "embed", "base")]
    assert "@import" not in page and "url(http" not in page and "fetch(" not in page
    data = json.loads(outline.scripts[0])
    assert data["name"][4] == "c" or name in data["name"]
    assert data == json.loads(json.dumps(data_of(told, report_of(told))))
    assert [tag for tag, _ in outline.tags].count("svg") == 1
    assert "default-src 'none'" in page


def test_the_title_of_a_page_is_one_line_that_any_file_can_hold() -> None:
    """A graph may be called whatever its user likes."""
    assert "<title>Run 1 of a b c</title>" in page_of(Story("a\x1bb\nc", [Done(0, "a", "f", "n1", 1, 0.0, 1.0)], {"n1": 1.0}, run=1))


def test_the_page_s_data_are_columns() -> None:
    """Over the tasks in the order of their starts; inputs and the critical path by place."""
    told = story()
    data = data_of(told, report_of(told))
    count = len(told.tasks)
    assert all(len(data[name]) == count for name in ("name", "function", "row", "started", "took", "waited", "attempt", "nbytes", "inputs"))
    assert data["started"] == sorted(data["started"])
    at = data["name"].index("f")
    assert [data["name"][each] for each in data["inputs"][at]] == ["images", "d"]
    assert [data["name"][each] for each in data["path"]] == ["an argument of 'a' (2,000,000 bytes)", "a", "images", "f"]
    assert [data["rows"][row] for row in data["row"]][at] == ["n2", "worker 1"]


def test_what_is_not_known_of_a_run_that_goes_on_is_not_told() -> None:
    """How much was moved is heard at its end: until then it is not nothing."""
    going = Story("s", [Done(0, "a", "f", "n1", 1, 0.0, 1.0)], {"n1": 1.0}, is_over=False, until=3.0)
    data = data_of(going, report_of(going))
    assert (data["over"], data["bytes"], trace_of(going)["otherData"]["bytes_moved"]) == (False, None, None)
    data = data_of(story(), report_of(story()))
    assert (data["over"], data["bytes"], trace_of(story())["otherData"]["bytes_moved"]) == (True, 500, 500)


def test_ten_thousand_functions_are_one_page() -> None:
    """Some hundred bytes a function at most, the graph as its summary."""
    tasks = [Done(each, f"part-{each}", f"f{each % 7}", f"n{each % 4}", 1 + each % 3, each * 0.01, 0.008, (each - 12,))
             for each in range(10_000)]
    page = page_of(Story("large", tasks, {f"n{node}": 3.0 for node in range(4)}))
    assert len(page) < 1_500_000
    assert "10,000 functions, drawn by name" in page


def test_the_report_is_public() -> None:
    """By the name that the front door has."""
    import handoff

    assert handoff.RunReport is RunReport
