"""An allocator of one's own: runs on a cluster of processes and on paper, and is worth its thirty lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "scripts" / "examples" / "allocator"


def test_it_moves_less_than_first_fit_and_its_lanes_stay_at_home(tmp_path: Path) -> None:
    """Really run by a coordinator that was told its name; on paper, on a slow network, it beats first fit."""
    ran = subprocess.run([sys.executable, EXAMPLE / "try_it.py"], cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "really: no lane used more than 1 node; 0 bytes moved between nodes" in ran.stdout
    ratios = {name: float(value) for name, value in re.findall(r"on paper: (\w+) +([\d.]+) x", ran.stdout)}
    assert 1.0 <= ratios["FewestBytes"] < ratios["FirstFit"] and set(ratios) == {"FewestBytes", "FirstFit", "Greedy"}


def test_it_is_as_short_as_its_readme_says() -> None:
    """About thirty lines, comments and all."""
    assert len((EXAMPLE / "fewest_bytes.py").read_text().splitlines()) <= 35
