"""Code is called the same in every process, so that what was learned of it holds for the next client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handoff.scheduler.estimates import Estimates

MODULE = '''
def by_reference(x):
    return x
'''

MAIN = '''
import functools, json, sys
from library import by_reference
from handoff.client.code import CodeTable

FACTOR = 3
TABLE = {"one": 1, "two": [2, 2.5], "three": (b"3", None, "drei")}

def by_value(x, scale=2, *, names=("a", "b")):
    """Takes globals, calls another one, and has a local class."""
    class Local:
        def method(self):
            return FACTOR
    return inner(x) * scale * Local().method() + len(TABLE) + sum(value for value in range(x) if value % 2)

def inner(x):
    return x if x < 2 else inner(x - 1)

def closed_over(number, text):
    def closure(x):
        return [number, text, x]
    return closure

class Model:
    def __init__(self):
        self.weights = [0.5] * 10
    def __call__(self, x):
        return x
    def predict(self, x):
        return self.weights[x]

async def coroutine(x):
    return x

def with_a_set(x):
    return x in {"alpha", "beta", "gamma", "delta", "epsilon"}

codes = [by_reference, by_value, closed_over(1, "one"), lambda x: x + 1, functools.partial(inner, scale=5), coroutine, len, str.upper,
         with_a_set, Model(), Model().predict]
table = CodeTable()
print(json.dumps([[code.name, code.digest.hex()] for code in (table.add(each, "test") for each in codes)]))
'''


def digests(directory: Path, hash_seed: int) -> list[tuple[str, str]]:
    """Names and digests of some code, by a client process of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": f"{directory}:{Path(__file__).parents[3]}"}
    ran = subprocess.run([sys.executable, "main.py"], cwd=directory, env=environment, capture_output=True, text=True, check=True)
    return [(name, digest) for name, digest in json.loads(ran.stdout)]


def test_two_client_processes_call_code_the_same(tmp_path: Path) -> None:
    """By reference and by value, closures, lambdas and partials."""
    (tmp_path / "library.py").write_text(MODULE)
    (tmp_path / "main.py").write_text(MAIN)
    first, second = digests(tmp_path, 1), digests(tmp_path, 2)
    assert first[:-3] == second[:-3]
    assert len({digest for _, digest in first}) == len(first)


def test_code_is_the_same_wherever_its_file_lies(tmp_path: Path) -> None:
    """What was learned of a script holds for a copy of it in another directory; only its tracebacks tell them apart."""
    found = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "library.py").write_text(MODULE)
        (tmp_path / name / "main.py").write_text(MAIN)
        found.append(digests(tmp_path / name, 1))
    assert found[0][:-3] == found[1][:-3]


def test_code_that_no_two_processes_call_the_same_keeps_its_name(tmp_path: Path) -> None:
    """A set has another order in each process, and a class that goes by value another identity. The name is the same, and what was
    learned of a function of this name is where the next one begins."""
    (tmp_path / "library.py").write_text(MODULE)
    (tmp_path / "main.py").write_text(MAIN)
    estimates = Estimates()
    for seed in (1, 2):
        for name, digest in digests(tmp_path, seed)[-3:]:
            function = estimates.of((bytes.fromhex(digest),), name)
            if seed == 1:
                estimates.observe(function, [0.25] * 10, [100] * 10)
            assert function.seconds == pytest.approx(0.25), name


def test_changed_code_has_another_digest(tmp_path: Path) -> None:
    """A function that goes by value, and one that it calls: both count. One that goes by name is the same whatever its module says."""
    (tmp_path / "library.py").write_text(MODULE)
    (tmp_path / "main.py").write_text(MAIN)
    first = dict(digests(tmp_path, 1))
    (tmp_path / "library.py").write_text(MODULE.replace("return x", "return x + 1"))
    (tmp_path / "main.py").write_text(MAIN.replace("inner(x - 1)", "inner(x - 2)"))
    second = dict(digests(tmp_path, 1))
    assert [name for name, digest in first.items() if second[name] != digest and "Model" not in name] == ["by_value", "inner"]
