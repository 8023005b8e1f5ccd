"""What the Chrome trace event format asks of a file, as far as traces of runs use it: checked strictly, for tests."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

Place = tuple[int, int]


def check_trace(trace: dict[str, Any]) -> None:
    """Fail with the first event that breaks the format, or that a viewer would show elsewhere than it belongs."""
    assert trace["displayTimeUnit"] in ("ms", "ns")
    events = trace["traceEvents"]
    for event in events:
        assert event["ph"] in ("X", "M", "s", "f"), event
        assert type(event["pid"]) is int and type(event["tid"]) is int, event
        assert type(event["name"]) is str, event
        if event["ph"] != "M":
            assert type(event["cat"]) is str, event
            assert _is_time(event["ts"]), event
        assert isinstance(event.get("args", {}), dict), event
    rows = _rows(events)
    _check_names(events, rows)
    _check_arrows(events, rows)


def nanoseconds(microseconds: float) -> int:
    """As viewers count."""
    return round(microseconds * 1000)


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _rows(events: list[dict[str, Any]]) -> dict[Place, list[tuple[int, int]]]:
    """The slices of each row, none of which overlaps the next."""
    rows: dict[Place, list[tuple[int, int]]] = {}
    for event in events:
        if event["ph"] == "X":
            assert _is_time(event["dur"]), event
            begin = nanoseconds(event["ts"])
            rows.setdefault((event["pid"], event["tid"]), []).append((begin, begin + nanoseconds(event["dur"])))
    for place, found in rows.items():
        found.sort()
        for before, after in pairwise(found):
            assert before[1] <= after[0], f"{before} and {after} overlap in {place}"
            assert before != after, f"two slices at {before} in {place}"
    return rows


def _check_names(events: list[dict[str, Any]], rows: dict[Place, list[tuple[int, int]]]) -> None:
    """Each process and each row that has slices is named once, and no two processes alike."""
    processes: dict[int, str] = {}
    threads: dict[Place, str] = {}
    for event in events:
        if event["ph"] != "M":
            continue
        if event["name"] == "process_name":
            assert event["pid"] not in processes, event
            processes[event["pid"]] = event["args"]["name"]
        elif event["name"] == "thread_name":
            assert (event["pid"], event["tid"]) not in threads, event
            threads[event["pid"], event["tid"]] = event["args"]["name"]
        else:
            assert event["name"] in ("process_sort_index", "thread_sort_index"), event
            assert type(event["args"]["sort_index"]) is int, event
    assert all(type(name) is str and name for name in (*processes.values(), *threads.values()))
    assert len(set(processes.values())) == len(processes)
    assert threads.keys() == rows.keys(), f"a row is not named, or not there: {threads.keys() ^ rows.keys()}"
    assert {pid for pid, _ in rows} <= processes.keys(), f"a process is not named: {rows.keys()} of {processes}"


def _check_arrows(events: list[dict[str, Any]], rows: dict[Place, list[tuple[int, int]]]) -> None:
    """Each begins within one slice and ends within another one, not before it began."""
    begins: dict[tuple[Any, ...], dict[str, Any]] = {}
    ends: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        if event["ph"] in ("s", "f"):
            assert type(event["id"]) in (int, str), event
            key = (event["cat"], event["name"], event["id"])
            kept = begins if event["ph"] == "s" else ends
            assert key not in kept, event
            kept[key] = event
            inside = [each for each in rows[event["pid"], event["tid"]] if each[0] <= nanoseconds(event["ts"]) < each[1]]
            assert len(inside) == 1, f"{event} lies in {inside}"
    assert begins.keys() == ends.keys(), f"without its other end: {begins.keys() ^ ends.keys()}"
    for key, end in ends.items():
        assert end["bp"] == "e", end
        assert nanoseconds(begins[key]["ts"]) <= nanoseconds(end["ts"]), f"{key} lands before it starts"
