"""The benchmarks as a user starts them: one quick one, as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MAIN = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks" / "main.py"


def test_startup_is_measured_as_json(tmp_path: Path) -> None:
    """Nothing but JSON on stdout, with the machine and both figures."""
    ran = subprocess.run(
        [sys.executable, MAIN, "startup", "--repeat", "1", "--json", "-"], cwd=tmp_path, capture_output=True, text=True, timeout=90,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    record = json.loads(ran.stdout)
    figures = {figure["name"]: figure for figure in record["figures"]}
    assert list(figures) == ["import handoff", "import to first result of handoff.execute"]
    imported, executed = figures.values()
    assert 0 < imported["median"] < executed["median"] < 30
    assert {figure["unit"] for figure in figures.values()} == {"s"} and imported["repetitions"] == 1
    assert set(record["machine"]) == {"handoff", "python", "python_ns", "system", "processor", "cores", "load", "packages"}


def test_an_unknown_benchmark_is_named_with_those_there_are() -> None:
    """In the last line; status 2."""
    ran = subprocess.run([sys.executable, MAIN, "speed"], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith(
        "no benchmark is called speed; there are throughput, tree, chains, latency, again, stencil, shuffle, transfer, wanted, startup, "
        "idle, memory, intermediates, slow, brains, scale, allocators, decisions, simulated")


def test_allocators_are_compared_on_shapes_of_our_own(tmp_path: Path) -> None:
    """Each allocator on each case, over a lower bound that nothing beats, the same every time but for the cost of deciding."""
    rows = []
    for name in ("first.json", "second.json"):
        ran = subprocess.run(
            [sys.executable, MAIN, "allocators", "--only", "chain-and-map", "--clusters", "homogeneous,heterogeneous", "--knowledge",
             "known,learned", "--json", tmp_path / name], cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
        assert ran.returncode == 0, ran.stderr
        rows.append([{**row, "microseconds": 0} for row in json.loads((tmp_path / name).read_text())])
    assert rows[0] == rows[1] and len(rows[0]) == 2 * 2 * 4
    ratio = {(row["cluster"], row["knowledge"], row["allocator"]): row["ratio"] for row in rows[0]}
    assert min(ratio.values()) >= 1.0
    assert ratio["homogeneous", "known", "greedy"] < ratio["homogeneous", "known", "first-fit"]
    assert "makespan / HEFT that knows" in ran.stdout


def test_decisions_are_timed_in_all_cases(tmp_path: Path) -> None:
    """Microseconds per task for each of the four cases."""
    path = tmp_path / "costs.json"
    ran = subprocess.run(
        [sys.executable, MAIN, "decisions", "--nodes", "10", "--tasks", "500", "--repeat", "1", "--json", path], cwd=tmp_path,
        capture_output=True, text=True, timeout=90, check=False)
    assert ran.returncode == 0, ran.stderr
    costs = json.loads(path.read_text())
    assert [cost["case"] for cost in costs] == ["no inputs", "1 to 3 inputs, 4 shapes", "the same, 4 speeds", "blocks of 0.2 ms"]
    assert all(0 < cost["total"] < 10_000 for cost in costs)


def test_a_folder_without_workflows_is_one_line(tmp_path: Path) -> None:
    """Status 2, and the folder is named."""
    ran = subprocess.run(
        [sys.executable, MAIN, "allocators", "--workflows", tmp_path], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith(f"there are no workflow files (*.json) in {tmp_path}")


def test_a_profile_ends_as_its_benchmark_does(tmp_path: Path) -> None:
    """Although py-spy, for which a stand-in is here, ends well whatever becomes of what it looks at."""
    for name, text in {
        "scripts/profile": (MAIN.parents[1] / "profile").read_text(),
        "scripts/environment": 'cd "$(dirname "${BASH_SOURCE[0]}")/.."\n',
        "scripts/benchmarks/main.py": "import sys\nsys.exit(int(sys.argv[1]))\n",
        "bin/py-spy": '#!/usr/bin/env bash\nwhile [ "$1" != -- ]; do shift; done\n"${@:2}"\nexit 0\n',
        "bin/python": f'#!/usr/bin/env bash\nexec {sys.executable} "$@"\n',
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    for status in (0, 2):
        ran = subprocess.run([tmp_path / "scripts" / "profile", str(status)], env=environment, cwd=tmp_path, timeout=60, check=False)
        assert ran.returncode == status
