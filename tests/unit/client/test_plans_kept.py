"""Plans in files: ids that are not Python's own, and files that were damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planned import Outlook

from handoff import DAG, Function, Plan, errors


def work(*args: Any) -> None:
    """Nobody calls it."""


def test_ids_of_numpy_are_kept_as_what_they_are_equal_to(tmp_path: Path) -> None:
    """A plan by them can be followed by a graph with either."""
    ids = (np.int64(1), np.str_("two"), np.float32(0.5), (np.int64(3),))
    dag = DAG("n")
    for each in ids:
        dag.add(Function(each, [], work, expected_seconds=1.0))
    Outlook(a={"cpu": 1}).plan(dag).save(tmp_path / "plan.json")
    kept = Plan.load(tmp_path / "plan.json")
    assert set(kept.allocations) == {1, "two", 0.5, (3,)} == set(ids)
    assert all(type(each) in (int, str, float, tuple) for each in kept.allocations)


DAMAGE: list[tuple[list[Any], Any]] = [
    (["foretold", "seconds"], [1]), (["foretold", "started"], ["x"] * 4), (["foretold", "nodes"], ["zz"] * 4),
    (["foretold", "nodes", 0], None), (["foretold", "nodes", 0], []), (["foretold", "workers"], None),
    (["foretold", "workers", 0], 1.5), (["foretold", "makespan"], None), (["foretold", "peak_memory"], None),
    (["foretold", "makespan"], 10**400), (["foretold", "waited", 0], float("nan")), (["foretold", "bytes_moved"], float("inf")),
    (["program", "inputs"], [99] * 3), (["program", "inputs", 0], 3), (["program", "kind"], [9] * 4),
    (["program", "fan_in", 0], 1), (["program", "literals"], [1]), (["program", "object_tasks"], []),
    (["program", "kinds", 0, "name"], 5), (["program", "kinds", 0, "cost"], [["cpu", "x"]]),
    (["program", "kinds", 0, "where"], [["a"]]), (["program", "near"], [0]), (["cluster", "nodes"], []),
    (["cluster", "nodes", 0, "name"], "b"), (["cluster", "nodes", 0, "speed"], 0),
    (["cluster", "nodes", 0, "capacity"], {"cpu": "x"}), (["cluster", "bandwidth"], -1), (["cluster", "latency"], "x"),
    (["cluster", "rates"], [["a", "b", 0]]), (["name"], 5), (["notes"], 5), (["max_concurrency"], "x"), (["functions"], []),
    (["functions", 0, "nbytes"], -1), (["functions", 0, "by_input"], [1]), (["ids", 0], [1]), (["ids", 0], {"tuple": 5}),
    (["foretold", "took"], [0, 0, 0]), (["foretold", "took"], [1] * 4), (["foretold", "took"], [-1] * 4), (["foretold", "took"], None),
    (["ids", 0], None), (["hidden"], [[0, "x"]]), (["allocator"], 5),
]


@pytest.mark.parametrize(("place", "value"), DAMAGE)
def test_a_file_that_was_damaged_is_refused(place: list[Any], value: Any, tmp_path: Path) -> None:
    """As it is read, whatever it is, rather than by who asks the plan later."""
    path = tmp_path / "plan.json"
    dag = DAG("d").add(Function("x", [], work, expected_seconds=1.0)).add(Function("y", ["x"], work, [bytes(2_000_000)]))
    Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(dag.add(Function("z", ["y"], work))).save(path)
    Plan.load(path)
    data = json.loads(path.read_text())
    *way, last = place
    part = data
    for step in way:
        part = part[step]
    part[last] = value
    path.write_text(json.dumps(data))
    with pytest.raises(errors.ConfigError, match=r"plan\.json is no plan"):
        Plan.load(path)
