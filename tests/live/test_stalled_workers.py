"""A function known to be short, one call of which does not end: the calls that were given to the same worker run elsewhere meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from witness import Diary, await_file, await_free, cluster_with, mark

import handoff
from handoff import DAG


@pytest.fixture(scope="module")
def client() -> Iterator[handoff.Client]:
    """Of one node with two cores."""
    with cluster_with(1, cpus=2, memory=1000) as cluster, cluster.client() as made:
        yield made


def short(diary: str, word: str, gate: str = "") -> str:
    """Say that it runs; one that has a gate waits for it."""
    mark(diary, word)
    if gate:
        await_file(gate)
    return word


def frozen(diary: str, word: str, sleeps: bool = False) -> str:
    """Say that it runs; one that sleeps stops its whole process, which hears nothing until somebody wakes it."""
    mark(diary, f"{word} {os.getpid()}" if sleeps else word)
    if sleeps:
        os.kill(os.getpid(), signal.SIGSTOP)
    return word


def test_a_call_that_waits_holds_up_no_other(client: handoff.Client, tmp_path: Path) -> None:
    """All others end while it waits, whichever of them it is; each runs once."""
    before = Diary(tmp_path / "before")
    for _ in range(3):
        list(client.map(short, [before.path] * 50, map(str, range(50))))
    for place in (0, 5, 39):
        diary = Diary(tmp_path / f"diary {place}")
        gate = tmp_path / f"gate {place}"
        dag = DAG()
        for number in range(60):
            dag.call(short, diary.path, str(number), str(gate) if number == place else "", id=number)
        run = client.start(dag)
        assert {name for name, _ in islice(run.as_completed(), 59)} == set(range(60)) - {place}
        assert not run.done()
        gate.touch()
        assert len(run.result(timeout=20).results) == 60
        assert diary.counts() == dict.fromkeys(map(str, range(60)), 1)
    await_free(client)


def test_a_worker_that_hears_nothing_holds_up_nobody(client: handoff.Client, tmp_path: Path) -> None:
    """Its process is stopped, so it can't be asked what it has begun, and yet its node knows."""
    before = Diary(tmp_path / "before")
    for _ in range(3):
        list(client.map(frozen, [before.path] * 50, map(str, range(50))))
    diary = Diary(tmp_path / "diary")
    dag = DAG()
    for number in range(60):
        dag.call(frozen, diary.path, str(number), number == 0, id=number)
    run = client.start(dag)
    assert {name for name, _ in islice(run.as_completed(), 59)} == set(range(1, 60))
    (asleep,) = [line.split()[1] for line in diary.lines() if " " in line]
    os.kill(int(asleep), signal.SIGCONT)
    assert len(run.result(timeout=20).results) == 60
    assert sorted(line.split()[0] for line in diary.lines()) == sorted(map(str, range(60)))
    await_free(client)
