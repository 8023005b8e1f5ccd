"""A function that may run twice and hangs once: the second attempt ends the waiting, and the first one is ended."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from witness import Diary, await_file, await_free, cluster_with, mark, until

from handoff import DAG, Function, current_task

HANGING = "7"


def work(diary: str, word: str, hangs: bool) -> str:
    """Quick, but for the first time that it is to hang: then it waits for what never comes."""
    mark(diary, word)
    if hangs and _is_first(diary):
        mark(diary, "hangs")
        await_file("/nonexistent", seconds=300)
    time.sleep(0.01)
    return word


async def awaited(diary: str, word: str, hangs: bool) -> str:
    """The same as a coroutine, which says so when it is cancelled."""
    mark(diary, word)
    if hangs and _is_first(diary):
        mark(diary, "hangs")
        try:
            await asyncio.sleep(300)
        except asyncio.CancelledError:
            mark(diary, "cancelled")
            raise
    await asyncio.sleep(0.01)
    return word


def _is_first(diary: str) -> bool:
    """Whether nobody was here before; leaves who is."""
    try:
        with Path(f"{diary}.pid").open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def graph(code: Any, diary: Diary) -> DAG:
    """Twelve of them, and one that takes all."""
    dag = DAG()
    for number in range(12):
        dag.add(Function(number, code=code, extra_args=[diary.path, str(number), str(number) == HANGING], speculate=True))
    dag.add(Function("all", args=list(range(12)), code="".join, argument_inclusion="as_list"))
    return dag


@pytest.mark.parametrize("code", [work, awaited])
def test_a_function_that_hangs_once_ends_soon_with_speculate(tmp_path: Path, code: Any) -> None:
    """A second attempt is made on an idle node, its value is the result, and the first one is ended, with its claim."""
    diary = Diary(tmp_path / "diary")
    with cluster_with([{"cpus": 1}, {"cpus": 1}]) as cluster, cluster.client() as client:
        began = time.monotonic()
        result = client.execute(graph(code, diary), timeout=60)

        assert time.monotonic() - began < 30
        assert result["all"] == "".join(map(str, range(12)))
        await_free(client)
        if code is awaited:
            diary.wait_for("cancelled")
        else:
            hanging = int(Path(f"{diary.path}.pid").read_text())
            until(lambda: not psutil.pid_exists(hanging), "the worker that hung is gone")
        marks = {str(number): 1 for number in range(12)} | {HANGING: 2, "hangs": 1}
        assert diary.counts() == (marks if code is work else marks | {"cancelled": 1})


def told(diary: str, hangs: bool) -> dict[str, float]:
    """What it was granted; hangs the first time that it is to."""
    if hangs and _is_first(diary):
        await_file("/nonexistent", seconds=300)
    granted = current_task()
    return dict(granted.cost) if granted else {}


def test_a_second_attempt_is_told_the_cost_that_it_has(tmp_path: Path) -> None:
    """The first one hangs where there is a key; the other node has none, but two cores."""
    diary = Diary(tmp_path / "diary")

    def several(count: int, hangs: bool) -> DAG:
        dag = DAG()
        for number in range(count):
            dag.add(Function(number, code=told, extra_args=[diary.path, hangs], speculate=True, cost=[{"cpu": 1, "key": 1}, {"cpu": 2}]))
        return dag

    with cluster_with([{"cpus": 1, "resources": {"key": 1}}]) as cluster, cluster.client() as client:
        first = client.execute(several(8, False), timeout=60)
        assert [first[number] for number in range(8)] == [{"cpu": 1.0, "key": 1.0}] * 8
        cluster.add_node(cpus=2)
        assert client.execute(several(1, True), timeout=60)[0] == {"cpu": 2.0}


def test_without_speculate_nothing_runs_twice(tmp_path: Path) -> None:
    """However long it takes: the function did not say that it may."""
    diary = Diary(tmp_path / "diary")
    dag = DAG()
    for number in range(8):
        dag.add(Function(number, code=sleep, extra_args=[diary.path, str(number), 1.5 if number == 7 else 0.01]))
    with cluster_with([{"cpus": 1}, {"cpus": 1}]) as cluster, cluster.client() as client:
        client.execute(dag, timeout=60)

    assert diary.counts() == {str(number): 1 for number in range(8)}


def sleep(diary: str, word: str, seconds: float) -> None:
    """Takes that long."""
    mark(diary, word)
    time.sleep(seconds)
