"""The main job on real photographs: pixels, places, and the demo as a user starts it."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import handoff

EXAMPLE = Path(__file__).resolve().parents[2] / "scripts" / "examples" / "images"
NAMES = ("astronaut.png", "chelsea.png")
PICTURES = tuple(name.partition(".")[0] for name in NAMES)
NODES: list[dict[str, Any]] = [
    {"name": "big", "cpus": 4, "memory": "8 GB", "gpus": 0}, {"name": "gpu-box", "cpus": 4, "memory": "8 GB", "gpus": 1},
]


def example(path: Path) -> ModuleType:
    """The module of this file, which is in no package; its functions travel as names, so it stays among the modules."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images() -> Iterator[ModuleType]:
    """The example, where the workers find it, too."""
    sys.path.insert(0, str(EXAMPLE))
    yield example(EXAMPLE / "images.py")
    sys.path.remove(str(EXAMPLE))
    del sys.modules["images"]


@pytest.fixture(scope="module")
def result(images: ModuleType) -> Iterator[handoff.RunResult]:
    """All results of the graph for two photographs, from a cluster of two nodes of which one declares a GPU."""
    with handoff.LocalCluster(nodes=NODES) as cluster, cluster.client() as client:
        yield client.execute(images.images(NAMES), timeout=60)


def sharpness(pixels: Any) -> float:
    """The variance of the Laplacian, as a reference of its own."""
    gray = pixels.astype(float).mean(axis=2)
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * gray[1:-1, 1:-1]
    return float(laplacian.var())


@pytest.mark.parametrize("picture", PICTURES)
def test_every_step_has_the_shape_it_should(result: handoff.RunResult, picture: str) -> None:
    """Photographs as they are, then one size for all effects, and small ones; all RGB, eight bits."""
    loaded = result.results[f"load {picture}"]
    assert loaded.dtype == np.uint8 and loaded.ndim == 3 and loaded.shape[2] == 3
    assert loaded.std() > 20, "a photograph has contrast"
    for step in ("resize", "grayscale", "sepia", "blur", "edges"):
        assert (result.results[f"{step} {picture}"].shape, result.results[f"{step} {picture}"].dtype) == ((600, 800, 3), np.uint8), step
    assert result.results[f"thumbnail {picture}"].shape == (150, 200, 3)
    assert not loaded.flags.writeable


@pytest.mark.parametrize("picture", PICTURES)
def test_effects_do_what_they_are_called(result: handoff.RunResult, picture: str) -> None:
    """Grey has equal channels, sepia is brown, a blur takes sharpness away, and edges lie where the brightness changes."""
    resized = result.results[f"resize {picture}"]
    gray = result.results[f"grayscale {picture}"].astype(int)
    assert (gray[..., 0] == gray[..., 1]).all() and (gray[..., 1] == gray[..., 2]).all()
    weighted = resized.astype(float) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray[..., 0] - weighted).max() <= 0.5 + 1e-9
    red, green, blue = result.results[f"sepia {picture}"].reshape(-1, 3).mean(axis=0)
    assert red > green > blue
    blurred = result.results[f"blur {picture}"]
    assert sharpness(blurred) < sharpness(resized) / 10
    assert abs(float(blurred.mean()) - float(resized.mean())) < 1
    edges = result.results[f"edges {picture}"]
    assert edges.std() > 10 and edges.mean() < resized.mean()
    assert not edges[0].any() and not edges[:, -1].any(), "no neighbours, no edge"


@pytest.mark.parametrize("picture", PICTURES)
def test_the_report_measures_the_four_effects(result: handoff.RunResult, picture: str) -> None:
    """Sharpness, noise and exposure as plain numbers: the blur is the least sharp, and exposure is the mean brightness."""
    report = result.results[f"quality {picture}"]
    assert list(report) == [f"{picture}: {effect}" for effect in ("grayscale", "sepia", "blur", "edges")]
    assert all(type(number) is float and np.isfinite(number) for numbers in report.values() for number in numbers.values())
    assert min(report, key=lambda name: report[name]["sharpness"]) == f"{picture}: blur"
    assert report[f"{picture}: blur"]["noise"] < report[f"{picture}: grayscale"]["noise"]
    gray = result.results[f"grayscale {picture}"]
    assert report[f"{picture}: grayscale"]["exposure"] == pytest.approx(gray.mean() / 255, abs=1e-3)


def test_only_the_node_with_a_gpu_finds_edges(result: handoff.RunResult) -> None:
    """What asks for a GPU runs where there is one, and everything ran somewhere."""
    assert {result.allocations[f"edges {picture}"] for picture in PICTURES} == {"gpu-box"}
    assert set(result.allocations) == set(result.results)
    assert set(result.allocations.values()) <= {"big", "gpu-box"}


def test_the_saved_collage_is_the_collage(result: handoff.RunResult) -> None:
    """A PNG of the right size with the pixels of the collage: a row for each photograph, its thumbnail first."""
    sheet = result.results["collage"]
    with Image.open(io.BytesIO(result.results["save"])) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (200 * 5, 150 * len(NAMES)))
        assert np.array_equal(np.asarray(image), sheet)
    for row, picture in enumerate(PICTURES):
        below = sheet[row * 150 + 40 : row * 150 + 150]    # the captions are above
        assert np.array_equal(below[:, :200], result.results[f"thumbnail {picture}"][40:])
        gray = below[:, 200:400].astype(int)
        assert np.abs(gray[..., 0] - gray[..., 2]).max() <= 1


def test_the_demo_runs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Exit status 0, a table of what ran where, the quality report, a PNG; and no process."""
    output = tmp_path / "out.png"
    mark = str(tmp_path)

    ran = subprocess.run(
        [sys.executable, EXAMPLE / "demo.py", "--output", output], env={**os.environ, "HANDOFF_TEST_DEMO": mark, "COLUMNS": "160"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False, cwd=tmp_path,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert "Starting a coordinator and 3 nodes" in lines[0]
    table = [line for line in lines if "│" in line]
    edges = [line for line in table if line.strip("│ ").startswith("edges ")]
    assert len(edges) == 6 and all("gpu-box" in line for line in edges)
    assert sum("astronaut" in line for line in table) == 8 + 4, "its steps, and its four reports"
    assert any(line.startswith("Moved between nodes: ") and line.endswith(" MB") for line in lines)
    assert str(output) in "".join(lines[-2:])
    with Image.open(output) as image:
        assert (image.format, image.size) == ("PNG", (1000, 900))
    deadline = time.monotonic() + 10
    while left := marked(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_the_demo_says_at_once_where_it_can_not_write(tmp_path: Path) -> None:
    """Before anything is started."""
    for output, text in ((tmp_path / "no" / "x.png", f"there is no folder {tmp_path / 'no'}"), (tmp_path, "that is a folder")):
        command = [sys.executable, EXAMPLE / "demo.py", "--output", output]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.splitlines()[-1].endswith(f"error: --output {output}: {text}")


def marked(mark: str) -> list[psutil.Process]:
    """Processes that are left of a demo."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HANDOFF_TEST_DEMO") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
