"""Recorded workflows: generated the same each time, replayed beside their lower bound, and what is no workflow is explained."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "scripts" / "examples" / "workflow"
NAMES = ("mosaic.json", "map-reduce.json")


def replay(*arguments: object, here: Path) -> subprocess.CompletedProcess[str]:
    """The script as a user starts it."""
    return subprocess.run(
        [sys.executable, EXAMPLE / "replay.py", *map(str, arguments)], env={**os.environ, "COLUMNS": "160"}, cwd=here,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
    )


def test_the_generator_writes_the_files_beside_it(tmp_path: Path) -> None:
    """The same bytes each time, and those that are here."""
    shutil.copy(EXAMPLE / "generate.py", tmp_path)
    for hash_seed in ("1", "2"):
        subprocess.run(
            [sys.executable, tmp_path / "generate.py"], env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True, capture_output=True,
            timeout=60,
        )
        for name in NAMES:
            assert (tmp_path / name).read_bytes() == (EXAMPLE / name).read_bytes(), name


@pytest.mark.parametrize(("name", "tasks"), [("mosaic.json", 95), ("map-reduce.json", 50)])
def test_the_files_are_graphs_in_order(name: str, tasks: int) -> None:
    """Parents come before children, and everything has a duration and a size."""
    flow = json.loads((EXAMPLE / name).read_text())
    assert len(flow["tasks"]) == tasks
    for position, task in enumerate(flow["tasks"]):
        assert task["id"] == position and all(parent < position for parent in task["inputs"])
        assert task["runtime_s"] > 0 and task["output_bytes"] > 0 and task["cpus"] >= 1 and task["memory_mb"] > 0


def test_a_replay_prints_makespan_bound_and_ratio(tmp_path: Path) -> None:
    """Three numbers that fit each other; nothing is faster than its lower bound."""
    ran = replay("map-reduce.json", "--scale", 0.01, "--nodes", 2, "--cpus", 4, here=tmp_path)

    assert (ran.returncode, ran.stderr) == (0, "")
    said = {name: float(value) for name, value in re.findall(r"^(makespan|lower bound|ratio) +([\d.]+)", ran.stdout, re.MULTILINE)}
    found = re.search(r"critical path ([\d.]+) s, area ([\d.]+) s", ran.stdout)
    assert found is not None and ran.stdout.startswith("50 tasks, ")
    assert said["lower bound"] == max(float(found[1]), float(found[2])) > 0
    assert said["ratio"] >= 1
    assert said["ratio"] == pytest.approx(said["makespan"] / said["lower bound"], rel=0.01)
    tasks = json.loads((EXAMPLE / "map-reduce.json").read_text())["tasks"]
    assert float(found[2]) == pytest.approx(sum(task["runtime_s"] * task["cpus"] for task in tasks) * 0.01 / 8, abs=0.001)


TASK = {"id": 0, "fn": "f", "runtime_s": 1, "cpus": 1, "memory_mb": 1, "inputs": [], "output_bytes": 1}


@pytest.mark.parametrize(("content", "said"), [
    ("no json", "is not a workflow file"),
    ("[1, 2]", "is not a workflow file"),
    ('{"tasks": 3}', "is not a workflow file"),
    ('{"tasks": [5]}', "task 0 is not a task: 5"),
    (json.dumps({"tasks": [{"id": 0}]}), "task 0 lacks cpus, fn, inputs, memory_mb, output_bytes, runtime_s"),
    (json.dumps({"tasks": [{**TASK, "runtime_s": "soon"}]}), "task 0: runtime_s is 'soon', not a number from 0 on"),
    (json.dumps({"tasks": [{**TASK, "output_bytes": -1}]}), "task 0: output_bytes is -1, not a number from 0 on"),
    (json.dumps({"tasks": [{**TASK, "inputs": [7]}]}), "task 0: its input 7 is no task before it"),
    (json.dumps({"tasks": [TASK, TASK]}), "task 1: the id 0 is used twice"),
    (b"\xff\xfe\xfa", "is not a workflow file"),
])
def test_a_bad_file_is_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    """It names the file and what is wrong in it; status 2."""
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    ran = replay(path, here=tmp_path)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("replay: ") and str(path) in ran.stderr and said in ran.stderr and ran.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """Looked for here and beside the script."""
    ran = replay("nowhere.json", here=tmp_path)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("replay: ") and "nowhere.json" in ran.stderr and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--scale", "-1"), ("--nodes", "0"), ("--cpus", "0"), ("--byte-scale", "nan")])
def test_options_that_make_no_sense_are_one_line(tmp_path: Path, arguments: tuple[str, str]) -> None:
    """The option is named; status 2."""
    ran = replay("mosaic.json", *arguments, here=tmp_path)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"replay.py: error: argument {arguments[0]}" in ran.stderr.splitlines()[-1]
