"""The benchmarks as a user starts them: one quick one, as JSON."""

from __future__ import annotations

import json
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
    assert set(record["machine"]) == {"python", "system", "processor", "cores"}


def test_an_unknown_benchmark_is_named_with_those_there_are() -> None:
    """In the last line; status 2."""
    ran = subprocess.run([sys.executable, MAIN, "speed"], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith(
        "no benchmark is called speed; there are throughput, chains, latency, startup, transfer, allocators, decisions"
    )
