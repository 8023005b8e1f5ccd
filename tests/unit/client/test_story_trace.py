"""Traces conform to the Chrome trace event format: of a run as it was recorded, of what takes no time, and of runs by chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_story_path import random_story
from trace_format import check_trace

from handoff.client.story.records import Done, Story
from handoff.client.story.trace import trace_of, write_trace

# A run on two nodes of one core: a transfer, a serializer (2), an uploaded value (4), a retry (6), coroutines (7 to 9), a chain in a batch
# (10 to 15). Rows are: function, node, worker, start, seconds, inputs, bytes, seconds waited, planned, attempt.
RECORDED: list[tuple[Any, ...]] = [
    ("make", "left", 1, 0.008265004, 0.124383642, (), 3000009, 0.003574985, 0.0, 1),
    ("size", "right", 1, 0.148859787, 0.051975231, (0,), 17, 0.000450772, 0.13342841, 1),
    ("packed", "left", 1, 0.138094923, 0.012427215, (0,), 3000009, 0.00201075, 0.13342841, 1),
    ("size", "right", 1, 0.265867033, 0.003713992, (2,), 17, 0.000400938, 0.258873224, 1),
    ("value", "left", 0, 0.042565458, 0.0, (), 6000009, 0.0, 0.0, 1),
    ("size", "left", 1, 0.153267354, 0.003073427, (4,), 17, 0.017203951, 0.13342841, 1),
    ("flaky", "right", 1, 0.202847741, 0.053590231, (), 5, 0.0005493, 0.201085538, 2),
    ("wait", "left", 2, 0.236710614, 0.10357, (), 5, 0.078827672, 0.156835312, 1),
    ("wait", "left", 2, 0.342271979, 0.101165645, (), 5, 0.000310784, 0.340594172, 1),
    ("wait", "left", 2, 0.344909671, 0.103270437, (), 5, 0.00030841, 0.443707943, 1),
    ("total", "right", 1, 0.258683453, 8.1331e-05, (6,), 5, 0.000346437, 0.257362098, 1),
    ("total", "right", 1, 0.260549257, 2.707e-05, (10,), 5, 0.000619775, 0.258873224, 1),
    ("total", "right", 1, 0.260576327, 7.862e-06, (11,), 5, 0.0, 0.258873224, 1),
    ("total", "right", 1, 0.260584189, 6.9e-06, (12,), 5, 0.0, 0.258873224, 1),
    ("total", "right", 1, 0.260591089, 7.071e-06, (13,), 5, 0.0, 0.258873224, 1),
    ("total", "right", 1, 0.2605982, 4.356e-06, (14,), 5, 0.0, 0.258873224, 1),
    ("total", "right", 1, 0.54971611, 3.0205e-05, (1, 3, 5, 7, 8, 9, 15), 5, 0.000348791, 0.527717352, 1),
]


def recorded() -> Story:
    """The story of that run."""
    return Story("small", [
        Done(task, f"{function} {task}", function, node, worker, start, seconds, inputs, nbytes, waited, planned, attempt,
             is_hidden=function in ("packed", "value"), is_shared=function == "wait")
        for task, (function, node, worker, start, seconds, inputs, nbytes, waited, planned, attempt) in enumerate(RECORDED)
    ], {"left": 1.0, "right": 1.0}, run=1, bytes_moved=6_000_018)


def test_the_trace_of_a_recorded_run_conforms(tmp_path: Path) -> None:
    """As it is read back from its file; each hand-off between workers is an arrow."""
    write_trace(recorded(), tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())

    check_trace(trace)

    events = trace["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == len(RECORDED)
    # made to looked, packed to its taker, the value to its taker; the coroutines, the one beside them, and so on to the last one
    assert sum(event["ph"] == "f" for event in events) == 3 + 4


def test_what_takes_no_time_has_slices_that_do_not_overlap() -> None:
    """Several at the same moment in one row, and each taking the result of the one before."""
    for inputs in ((), (-1,)):
        tasks = [Done(task, f"t{task}", "f", f"n{task % 3}", 1, 1.0, 0.0, [task + each for each in inputs if task]) for task in range(9)]
        check_trace(trace_of(Story("instant", tasks, {"n0": 1.0})))


def test_a_trace_of_nothing_conforms() -> None:
    """Nodes are there nevertheless."""
    check_trace(trace_of(Story("nothing", [], {"n": 1.0})))


@given(st.integers(0, 10**9))
def test_traces_conform_whatever_the_run(seed: int) -> None:
    """Noise in all that nodes report, functions that took no time."""
    check_trace(trace_of(random_story(seed)))


@pytest.mark.parametrize(("change", "text"), [
    (lambda events: events[0].update(pid="1"), "process_name"),
    (lambda events: next(each for each in events if each["ph"] == "X").update(dur=-1.0), "'dur': -1.0"),
    (lambda events: next(each for each in events if each["ph"] == "X").update(dur=1e9), "overlap"),
    (lambda events: next(each for each in events if each["ph"] == "f").update(ts=0.0), "lies in"),
    (lambda events: next(each for each in events if each["ph"] == "s").update(id=99), "without its other end"),
    (lambda events: next(each for each in events if each["ph"] == "s").update(ts=events[-1]["ts"] + 1e6), "lies in"),
    (lambda events: events.pop(0), "is not named"),
])
def test_the_check_finds_what_is_wrong(change: Any, text: str) -> None:
    """Each of these would be shown wrongly, or not at all."""
    trace = trace_of(recorded())
    change(trace["traceEvents"])
    with pytest.raises(AssertionError, match=text):
        check_trace(trace)
