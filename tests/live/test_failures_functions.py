"""Functions that fail, take too long, or take their worker with them: what is ended, what goes on, and what the error says."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from witness import Diary, await_file, await_free, cluster_with, mark, nap, step, until, workers_of

import handoff
from handoff import DAG, Function, errors

COST = {"cpu": 1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """Two nodes; failing is done on the first, since the second has another resource."""
    nodes = [{"name": "here", "cpus": 3, "resources": {"here": 9}}, {"name": "there", "cpus": 1, "resources": {"there": 9}}]
    with cluster_with(nodes, {"scheduler.retry_seconds": 0.01}, memory=1000) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


class Unlucky(Exception):
    """A user's own."""


def fail_after(diary: str, file: str) -> None:
    """Fails as soon as the file is there."""
    mark(diary, "failing")
    await_file(file)
    raise Unlucky("no luck")


def sleep_and_write(diary: str, seconds: float, file: str) -> None:
    """Writes a file unless it is ended before."""
    mark(diary, "sleeping")
    time.sleep(seconds)
    Path(file).touch()


def test_one_exhausted_failure_ends_everything(client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """Siblings are really ended, on all nodes; dependents never start; all is free; the error tells the whole story."""
    gate, written = tmp_path / "gate", tmp_path / "written"
    dag = DAG()
    bad = dag.call(fail_after, diary.path, str(gate), id="bad", cost={"cpu": 1, "here": 1}, max_retries=2)
    for name in ("here", "there"):
        dag.call(sleep_and_write, diary.path, 2.0, f"{written}-{name}", id=f"sibling {name}", cost={"cpu": 1, name: 1})
    dag.call(nap, diary.path, "coroutine", 60, id="coroutine", cost={"cpu": 1, "here": 1})
    dag.call(step, diary.path, "dependent", bad, id="dependent")
    run = client.start(dag)
    until(lambda: diary.counts()["sleeping"] == 2 and diary.counts()["failing"] == 1, lambda: str(diary.lines()))
    diary.wait_for("coroutine began")
    gate.touch()
    with pytest.raises(errors.FunctionFailed) as caught:
        run.result(timeout=20)
    ended = time.monotonic()
    error = caught.value
    assert (error.function, error.node, error.attempt) == ("bad", "here", 3)
    assert error.type.endswith("Unlucky")
    assert type(error.__cause__).__name__ == "Unlucky"
    assert str(error.__cause__) == "no luck"
    assert isinstance(error.__cause__.__cause__, errors.RemoteTraceback)
    assert 'raise Unlucky("no luck")' in str(error.__cause__.__cause__)
    await_free(client, seconds=2)
    until(lambda: time.monotonic() > ended + 2.2)  # the siblings would have written by now
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diary", "gate"]
    assert diary.counts() == {"failing": 3, "sleeping": 2, "coroutine began": 1, "coroutine cancelled": 1}
    with pytest.raises(errors.FunctionFailed):
        list(run.as_completed())


def test_a_second_attempt_may_succeed(client: handoff.Client, diary: Diary) -> None:
    """A failure that is retried is no failure; the timeline tells of the attempt."""

    def second_time(path: str) -> str:
        mark(path, "try")
        if len(Path(path).read_text(encoding="utf-8").splitlines()) < 2:
            raise OSError("not yet")
        return "done"

    dag = DAG()
    dag.call(second_time, diary.path, id="second", max_retries=1)
    run = client.start(dag)
    assert run.result(timeout=20)["second"] == "done"
    assert [record.attempt for record in run.timeline()] == [2]


# ── time ─────────────────────────────────────────────────────────────────────


def endless(how: str) -> Callable[[str], Any]:
    """Functions that never end. They travel by value and import little: what a fresh worker loads counts as part of the attempt."""

    def began(path: str) -> None:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("began\n")

    def spin(path: str) -> None:
        began(path)
        while True:
            pass

    def doze(path: str) -> None:
        began(path)
        time.sleep(600)

    def sleep_in_c(path: str) -> None:
        """Asleep where Python can't look, with signals blocked."""
        began(path)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        ctypes.CDLL(None).sleep(600)

    async def doze_softly(path: str) -> None:
        began(path)
        await asyncio.sleep(600)

    async def doze_stubbornly(path: str) -> None:
        began(path)
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                continue

    async def spin_in_the_loop(path: str) -> None:
        began(path)
        while True:
            pass

    return {code.__name__: code for code in (spin, doze, sleep_in_c, doze_softly, doze_stubbornly, spin_in_the_loop)}[how]


@pytest.mark.parametrize("how", ["spin", "doze", "sleep_in_c", "doze_softly", "doze_stubbornly", "spin_in_the_loop"])
def test_a_function_that_takes_too_long_is_ended(client: handoff.Client, diary: Diary, how: str) -> None:
    """Whatever it does; it counts as a failed attempt, and the node goes on."""
    dag = DAG()
    dag.add(Function("long", code=endless(how), extra_args=[diary.path], timeout=0.3, max_retries=1, cost={"cpu": 1, "here": 1}))
    started = time.monotonic()
    with pytest.raises(errors.FunctionFailed, match=r"'long'.*took longer than it may.*'here'.*attempt 2") as caught:
        client.execute(dag)
    assert 0.6 <= time.monotonic() - started < 10
    assert caught.value.attempt == 2
    assert diary.counts() == {"began": 2}
    await_free(client)
    assert client.submit(os.getpid, cost={"cpu": 1, "here": 1}).result(20) > 0


def test_a_fast_function_is_not_touched_by_its_timeout(client: handoff.Client, diary: Diary) -> None:
    """Waiting for room does not count."""
    dag = DAG()
    for number in range(6):
        dag.add(Function(number, code=step, extra_args=[diary.path, "ran"], extra_kwargs={"seconds": 0.2}, timeout=0.6,
                         cost={"cpu": 3, "here": 1}))
    client.execute(dag)
    assert diary.counts() == {"ran": 6}


def test_only_the_one_of_many_that_takes_too_long_is_ended(client: handoff.Client, diary: Diary) -> None:
    """Short ones go to a worker several at a time: the others are none the worse for it, and none of them counts a failed attempt."""
    def short(number: int, path: str) -> tuple[int, int]:
        if number == 300 and handoff.current_task().attempt == 1:
            mark(path, "hangs")
            time.sleep(600)
        return number, handoff.current_task().attempt

    dag = DAG()
    for number in range(1000):
        dag.add(Function(number, code=short, extra_args=[number, diary.path], timeout=1.0, cost={"cpu": 1, "there": 1}))
    results = client.execute(dag)

    assert [results[number] for number in range(1000)] == [(number, 2 if number == 300 else 1) for number in range(1000)]
    assert diary.counts() == {"hangs": 1}
    await_free(client)


def test_a_run_that_takes_too_long_is_ended(client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """RunTimeout names the time; what ran is ended, what waited never starts."""
    dag = DAG()
    first = dag.call(sleep_and_write, diary.path, 1.5, str(tmp_path / "written"), id="first")
    dag.call(step, diary.path, "second", first, id="second")
    with pytest.raises(errors.RunTimeout, match=r"0\.5"):
        client.execute(dag, timeout=0.5)
    ended = time.monotonic()
    await_free(client, seconds=1.2)
    until(lambda: time.monotonic() > ended + 1.3)
    assert not (tmp_path / "written").exists()
    assert diary.counts() == {"sleeping": 1}


# ── worker processes that die ────────────────────────────────────────────────


def leave(diary: str, how: str) -> None:
    """Takes the process along."""
    mark(diary, "began")
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("how", "words"), [("exit", "status 7"), ("segfault", "SIGSEGV"), ("kill", "SIGKILL")])
def test_a_function_that_kills_its_worker(client: handoff.Client, diary: Diary, tmp_path: Path, how: str, words: str) -> None:
    """It is tried again, three times at most, and the error says how the worker ended. Those beside it are not blamed."""
    gate = tmp_path / "gate"
    dag = DAG()
    for number in range(20):
        dag.call(step, diary.path, f"short {number}", id=number, max_retries=1, cost={"cpu": 1, "here": 0.1})
    dag.call(step, diary.path, "beside", id="beside", gate=str(gate), max_retries=0, cost={"cpu": 1, "here": 0.1})
    beside = client.start(dag)
    diary.wait_for("beside")
    worse = DAG()
    worse.call(leave, diary.path, how, id="worse", max_retries=10, cost={"cpu": 1, "here": 0.1})
    with pytest.raises(errors.FunctionFailed, match=rf"'worse'.*killed its worker on node 'here'.*{words}") as caught:
        client.execute(worse)
    assert caught.value.attempt == 3
    gate.touch()
    assert beside.result(timeout=20)["beside"] == "beside"
    assert diary.counts() == {"began": 3, "beside": 1, **{f"short {number}": 1 for number in range(20)}}
    await_free(client)


def test_short_functions_in_one_batch_with_a_killer_are_not_blamed(client: handoff.Client, diary: Diary) -> None:
    """They are run again with max_retries=1, however often the killer strikes."""

    def perhaps(number: int, path: str) -> int:
        if number == 50:
            mark(path, "struck")
            os._exit(1)
        return number

    client.execute(_numbers(perhaps, range(50), diary.path))  # learns that they are short
    dag = _numbers(perhaps, range(100), diary.path)
    with pytest.raises(errors.FunctionFailed) as caught:
        client.execute(dag)
    assert caught.value.function == 50
    assert diary.counts() == {"struck": 2}


def _numbers(code: Any, numbers: range, path: str) -> DAG:
    dag = DAG()
    for number in numbers:
        dag.add(Function(number, code=code, extra_args=[number, path], max_retries=1, cost={"cpu": 1, "here": 0.1}))
    return dag


def test_a_worker_that_is_killed_from_outside(cluster: handoff.LocalCluster, client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """As by the kernel when memory is short: what it ran is done again, the worker is replaced."""
    gate = tmp_path / "gate"
    dag = DAG()
    dag.call(step, diary.path, "ran", id="a", gate=str(gate), cost={"cpu": 1, "here": 1})
    run = client.start(dag)
    diary.wait_for("ran")
    before = workers_of(cluster.processes["here"])
    for worker in before:
        worker.kill()
    psutil.wait_procs(before, timeout=3)
    gate.touch()
    assert run.result(timeout=20)["a"] == "ran"
    assert diary.counts() == {"ran": 2}
    until(lambda: len(workers_of(cluster.processes["here"])) >= 3, "new workers")
    await_free(client)


def stop_time() -> None:
    """As a test that replaces a clock, and forgets to put the old one back."""
    import itertools

    turns = itertools.count()
    time.monotonic = lambda: -1000.0 * next(turns)


def test_a_clock_that_a_function_left_harms_nobody() -> None:
    """Times below zero were reported of all that ran there later, and for each the coordinator ended its session with the node."""
    with handoff.LocalCluster(nodes=1, cpus=1, memory=500) as cluster, cluster.client() as client:
        client.submit(stop_time).result(timeout=20)
        assert [client.submit(abs, -number).result(timeout=20) for number in range(20)] == list(range(20))
