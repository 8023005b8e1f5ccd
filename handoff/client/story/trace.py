"""A run in the Chrome trace format, for Perfetto and chrome://tracing: a process per node, a row per worker, arrows where results went."""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import PathLike
from typing import Any

from handoff.client.story.records import Story
from handoff.files import write_file

SHORTEST = 1             # nanoseconds, which viewers count in; a slice of no length would hold neither end of an arrow


def trace_of(story: Story) -> dict[str, Any]:
    """The whole file, as plain data. Times are microseconds after the submission."""
    process = {node: number for number, node in enumerate(story.nodes, 1)}
    rows = {place: number for number, place in enumerate(sorted({each.place for each in (*story.tasks.values(), *story.cut)}), 1)}
    events = [*_names(process, rows)]
    spans = _spans(story)
    for done in story.tasks.values():
        begin, end = spans[done.task]
        events.append({
            "ph": "X", "name": done.name, "cat": done.function, "pid": process[done.node], "tid": rows[done.place],
            "ts": begin / 1000, "dur": (end - begin) / 1000,
            "args": {"function": done.function, "attempt": done.attempt, "bytes": done.nbytes, "waited_seconds": round(done.waited, 6),
                     "planned_seconds": round(done.planned, 6)},
        })
    free: dict[tuple[str, int, int], int] = {}
    for cut in story.cut:
        begin = max(round(cut.started * 1e9), free.get(cut.place, 0))
        end = free[cut.place] = max(round(cut.ended * 1e9), begin + SHORTEST)
        events.append({"ph": "X", "name": cut.name, "cat": cut.function, "pid": process[cut.node], "tid": rows[cut.place],
                       "ts": begin / 1000, "dur": (end - begin) / 1000, "args": {"function": cut.function}})
    number = 0
    for done in story.tasks.values():
        for source in story.inputs_of(done):
            if (source.node, source.worker) == (done.node, done.worker):
                continue         # it stayed where it was made
            number += 1
            common = {"cat": "hand-off", "name": "hand-off", "id": number}
            events.append({"ph": "s", **common, "pid": process[source.node], "tid": rows[source.place],
                           "ts": (spans[source.task][1] - SHORTEST) / 1000, "args": {"bytes": source.nbytes}})
            events.append({"ph": "f", "bp": "e", **common, "pid": process[done.node], "tid": rows[done.place],
                           "ts": spans[done.task][0] / 1000})
    return {
        "traceEvents": events, "displayTimeUnit": "ms",
        "otherData": {"run": story.run, "graph": story.name, "seconds": story.makespan,
                      "bytes_moved": story.bytes_moved if story.is_over else None,
                      **({"ended": story.ending.state, "why": story.ending.why, "ended_seconds": story.until} if story.ending else {})},
    }


def _spans(story: Story) -> dict[int, tuple[int, int]]:
    """Per task, its begin and end in whole nanoseconds.

    What took no time is given the shortest; what follows it in its row, and what takes its result, begins a bit later. So slices of a row
    never overlap, which viewers would show as one within the other, and no arrow leads back in time.
    """
    free: dict[tuple[str, int, int], int] = {}       # per row: when its last slice ends
    spans: dict[int, tuple[int, int]] = {}
    for done in story.tasks.values():
        begin = max(round(done.started * 1e9), free.get(done.place, 0), *(spans[each][1] for each in done.inputs))
        end = free[done.place] = max(round(done.ended * 1e9), begin + SHORTEST)
        spans[done.task] = begin, end
    return spans


def _names(process: dict[str, int], rows: dict[tuple[str, int, int], int]) -> Iterator[dict[str, Any]]:
    for node, pid in process.items():
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": node}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
    for place, tid in rows.items():
        yield {"ph": "M", "name": "thread_name", "pid": process[place[0]], "tid": tid, "args": {"name": row_name(place)}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": process[place[0]], "tid": tid, "args": {"sort_index": tid}}


def row_name(place: tuple[str, int, int]) -> str:
    """What a row of a node is called."""
    _, worker, row = place
    return ("not done" if worker < 0 else "values" if not worker else f"worker {worker}") + (f" · {row + 1}" if row else "")


def write_trace(story: Story, path: str | PathLike[str]) -> None:
    """The trace as a file of JSON."""
    write_file(path, "trace", json.dumps(trace_of(story), separators=(",", ":")))
