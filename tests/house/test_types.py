"""What type checkers know of the front door: the value of a call is what its function returns."""

from __future__ import annotations

import subprocess
import sys
from inspect import signature
from pathlib import Path

from handoff.client.client import Client
from handoff.embedded import PlanOptions, RunOptions

PROGRAM = """
import handoff
from typing import assert_type

def text(x: int) -> str: return str(x)
async def later(x: int) -> bytes: return b""
class Thing: ...
@handoff.function(cost={"cpu": 2})
def bound() -> float: return 1.0

def stage(dag: handoff.DAG, photo: handoff.Reference) -> handoff.Reference:
    return dag.call(text, photo)

def embedded(dag: handoff.DAG) -> None:
    handoff.execute(dag, returns=["a"], max_retries=0, timeout=3.0, output=lambda function, node, stream, line: None)
    handoff.plan(dag, allocator="heft")

def blocking(client: handoff.Client) -> None:
    assert_type(client.submit(text, 1, cost={"cpu": 2}).result(), str)
    assert_type(client.submit(later, 1).result(), bytes)
    assert_type(client.submit(Thing).result(), Thing)
    assert_type(client.submit(bound).result(), float)
    assert_type(handoff.submit(later, 1).result(), bytes)
    assert_type(list(client.map(text, [1])), list[str])
    assert_type(list(client.map(later, [1])), list[bytes])

async def awaited(client: handoff.aio.Client) -> None:
    assert_type(await client.submit(text, 1), str)
    assert_type(await client.submit(later, 1), bytes)
    assert_type([each async for each in client.map(text, [1])], list[str])
"""


def test_the_value_of_a_call_has_the_type_that_its_function_returns(tmp_path: Path) -> None:
    """Of coroutine functions, classes and decorated ones, too, and whatever options go with the arguments."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", tmp_path / "program.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_options_of_the_embedded_cluster_are_those_of_a_client(tmp_path: Path) -> None:
    """Each of them, and a type checker finds one that is misspelt."""
    for options, method in ((RunOptions, Client.execute), (PlanOptions, Client.plan)):
        assert [*options.__annotations__] == [*signature(method).parameters][2:]
    (tmp_path / "program.py").write_text("import handoff\nhandoff.execute(handoff.DAG(), retruns=[1])\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", tmp_path / "program.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 'Unexpected keyword argument "retruns"' in done.stdout
