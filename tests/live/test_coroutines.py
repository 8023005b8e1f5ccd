"""Coroutines that cost a whole cpu, in real workers: one after the other, on a loop that stays."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from pathlib import Path

import pytest
from witness import Diary, await_file, await_free, cluster_with, mark, nap

import handoff
from handoff import DAG, errors


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """One worker on one node, and two on another."""
    with cluster_with([{"name": "one", "cpus": 1}, {"name": "two", "cpus": 2}]) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


async def place() -> tuple[int, int, bool]:
    """Process, loop, and whether it is the main thread, which some libraries ask for."""
    return os.getpid(), id(asyncio.get_running_loop()), threading.current_thread() is threading.main_thread()


def test_each_has_a_core_of_its_own(client: handoff.Client, tmp_path: Path) -> None:
    """It was granted one: two that compute, or that block their loop, do so beside each other."""

    async def meet(folder: str, mine: str, other: str) -> int:
        (Path(folder) / mine).touch()
        await_file(Path(folder) / other)
        return os.getpid()

    dag = DAG()
    for mine, other in ("ab", "ba"):
        dag.call(meet, str(tmp_path), mine, other, id=mine, node="two")
    assert len(set(client.execute(dag).results.values())) == 2


def test_the_loop_stays(client: handoff.Client) -> None:
    """So that a session or a client that one keeps is of use to the next; a lambda that calls one has the same loop."""
    first = client.submit(place, node="one").result(30)
    again = client.submit(lambda: place(), node="one").result(30)
    assert first == again and first[2]
    assert client.submit(lambda: asyncio.run(asyncio.sleep(0, "a loop of its own")), node="one").result(30) == "a loop of its own"
    assert client.submit(place, node="one").result(30) == first


def test_one_that_takes_too_long_leaves_its_worker_as_it_was(client: handoff.Client, diary: Diary) -> None:
    """It is asked to end, and what it kept for later is there for those behind it."""
    before = client.submit(place, node="one").result(30)
    with pytest.raises(errors.FunctionFailed, match="took longer than it may"):
        client.submit(nap, diary.path, "a", 60, node="one", timeout=0.2, max_retries=0).result(30)
    assert diary.lines() == ["a began", "a cancelled"]
    assert client.submit(place, node="one").result(30) == before


def test_one_may_close_what_it_opened_when_its_run_is_cancelled(client: handoff.Client, diary: Diary) -> None:
    """With as many awaits as that takes; it is cancelled once, and those behind it do not begin."""

    async def work(diary: str, number: int) -> None:
        mark(diary, f"{number} began")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            mark(diary, f"{number} closed")

    before = client.submit(place, node="one").result(30)
    dag = DAG()
    for number in range(3):
        dag.call(work, diary.path, number, node="one")
    run = client.start(dag)
    diary.wait_for("0 began")
    run.cancel()
    diary.wait_for("0 closed")
    await_free(client)
    assert diary.lines() == ["0 began", "0 closed"]
    assert client.submit(place, node="one").result(30) == before


def test_what_one_leaves_running_goes_on(client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """While its worker has nothing to do, and beside the next coroutine; what it prints is of the one that left it."""
    lines: list[tuple[str, str]] = []

    async def leave(diary: str, gate: str) -> None:
        async def later() -> None:
            while not Path(gate).exists():
                await asyncio.sleep(0.01)
            print("later")
            mark(diary, "later")

        asyncio.get_running_loop().kept = asyncio.create_task(later())  # type: ignore[attr-defined]

    async def after(diary: str, gate: str) -> None:
        Path(gate).touch()
        while "later" not in Path(diary).read_text(encoding="utf-8"):
            await asyncio.sleep(0.01)

    client.submit(leave, diary.path, str(tmp_path / "idle"), node="one").result(30)
    (tmp_path / "idle").touch()
    diary.wait_for("later")
    Path(diary.path).write_text("", encoding="utf-8")
    dag = DAG()
    left = dag.call(leave, diary.path, str(tmp_path / "busy"), id="leave", node="one")
    dag.call(lambda _, *args: after(*args), left, diary.path, str(tmp_path / "busy"), id="after", node="one")
    client.start(dag, output=lambda function, node, stream, text: lines.append((function, text))).result(timeout=30)
    assert lines == [("leave", "later")]


def test_what_one_sets_in_its_context_is_not_there_for_the_next(client: handoff.Client) -> None:
    """As of tasks on one loop."""

    async def note(value: int) -> int:
        import builtins

        variable: ContextVar[int] = builtins.__dict__.setdefault("noted", ContextVar("noted", default=0))
        found = variable.get()
        variable.set(value)
        return found

    dag = DAG()
    for value in range(1, 4):
        dag.call(note, value, node="one")
    assert list(client.execute(dag).results.values()) == [0, 0, 0]


def test_a_generator_that_was_left_is_closed(client: handoff.Client, diary: Diary) -> None:
    """Its `finally` may await, for which there must be a loop that runs."""

    async def first(diary: str) -> int:
        async def count() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0.01)
                mark(diary, "closed")

        async for each in count():
            return each
        return 0

    assert client.submit(first, diary.path, node="one").result(30) == 1
    diary.wait_for("closed")


def test_a_loop_that_was_closed_is_made_anew(client: handoff.Client) -> None:
    """By a function that a coroutine left it to: the worker hears what comes after, and runs it."""

    async def keep() -> None:
        import builtins

        builtins.__dict__["kept"] = asyncio.get_running_loop()

    def close() -> int:
        import builtins

        builtins.__dict__.pop("kept").close()
        return os.getpid()

    client.submit(keep, node="one").result(30)
    process = client.submit(close, node="one").result(30)
    assert client.submit(os.getpid, node="one").result(30) == process
    assert client.submit(place, node="one").result(30)[0] == process


def test_a_worker_that_lost_what_it_was_told_ends(client: handoff.Client) -> None:
    """Too many files are open for what comes with a large value: another worker runs what needs that, as where there is no loop."""

    async def open_all() -> int:
        import builtins
        import resource

        from handoff.node.child_surroundings import Surroundings

        Surroundings.unlimit = lambda self: True     # type: ignore[method-assign]   # as if it had opened all that it may without this limit
        last = os.dup(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 4, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        kept = builtins.__dict__["kept_open"] = [last]
        try:
            while True:
                kept.append(os.dup(0))
        except OSError:
            return os.getpid()

    dag = DAG()
    opened = dag.call(open_all, id="opened", node="one")
    large = dag.call(lambda _: bytes(10_000_000), opened, node="two")
    dag.call(lambda value: (len(value), os.getpid()), large, id="taken", node="one")
    results = client.execute(dag, max_retries=0).results
    assert results["taken"][0] == 10_000_000 and results["taken"][1] != results["opened"]


def test_a_worker_whose_loop_is_blocked_by_what_was_left_holds_up_nobody(client: handoff.Client, tmp_path: Path, diary: Diary) -> None:
    """What it is given begins in another, also if it may begin but once or has a timeout; and what was left goes on when it can."""

    async def leave(diary: str, beginning: str, gate: str) -> int:
        async def block() -> None:
            while not Path(beginning).exists():
                await asyncio.sleep(0.01)
            mark(diary, "blocks")
            await_file(gate, 1000)
            mark(diary, "goes on")

        asyncio.get_running_loop().kept = asyncio.create_task(block())  # type: ignore[attr-defined]
        return os.getpid()

    blocked = client.submit(leave, diary.path, str(tmp_path / "beginning"), str(tmp_path / "gate"), node="one").result(30)
    (tmp_path / "beginning").touch()
    diary.wait_for("blocks")
    assert client.submit(os.getpid, node="one", max_retries=0).result(30) != blocked
    assert client.submit(place, node="one", timeout=20).result(30)[0] != blocked
    (tmp_path / "gate").touch()
    diary.wait_for("goes on")
    await_free(client)


def test_threads_are_there_for_those_behind_one_that_shut_down_its_executor(client: handoff.Client) -> None:
    """As programs do at their end; whether coroutines run one after the other, or side by side."""

    async def use(is_last: bool) -> int:
        found = await asyncio.to_thread(os.getpid)
        if is_last:
            await asyncio.get_running_loop().shutdown_default_executor()
        return found

    for cost in (1, 0):
        processes = {client.submit(use, place != 1, node="one", cost={"cpu": cost}, max_retries=0).result(30) for place in range(4)}
        assert len(processes) == 1
