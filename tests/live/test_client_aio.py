"""The same names, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from witness import PATIENCE_SECONDS, await_file

import handoff
from handoff import aio, errors


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """One node."""
    with handoff.LocalCluster(nodes=1, cpus=2, memory=1000) as made:
        yield made


@pytest.fixture
async def client(cluster: handoff.LocalCluster) -> AsyncIterator[aio.Client]:
    """A client on this test's loop."""
    async with aio.connect(cluster.address, secret=cluster.secret) as made:
        yield made


def pair(sleep: float) -> handoff.DAG:
    """A quick function and a slow one."""
    dag = handoff.DAG("pair")
    dag.call(time.sleep, 0.0, id="quick")
    dag.call(time.sleep, sleep, id="slow")
    return dag


async def test_execute(client: aio.Client) -> None:
    """Results are plain to look at, large ones included."""
    dag = handoff.DAG()
    dag.call(np.ones, 500_000, id="large")
    dag.call(int, 3, id="small")
    result = await client.execute(dag)
    assert result.results["small"] == 3
    assert result.results["large"].sum() == 500_000
    assert result.allocations["small"] == "node-1"


async def test_results_as_they_complete(client: aio.Client) -> None:
    """An async for over pairs."""
    run = await client.start(pair(0.2))
    assert run.id > 0
    assert [name async for name, _ in run.as_completed()] == ["quick", "slow"]
    assert run.done()
    assert (await run.status()).state == "done"
    assert {record.function for record in await run.timeline()} == {"quick", "slow"}
    assert run.bytes_moved == 0


async def test_the_loop_goes_on_while_results_are_awaited(client: aio.Client) -> None:
    """Two runs at once, and patience that ends."""
    first, second = await client.start(pair(0.3)), await client.start(pair(0.3))
    with pytest.raises(errors.ResultTimeout):
        await first.result(timeout=0.01)
    results = await asyncio.gather(first.result(), second.result())
    assert [set(result.results) for result in results] == [{"quick", "slow"}] * 2


async def test_submit_and_map(client: aio.Client) -> None:
    """A future to await, and an async for in the order of the items."""
    assert await client.submit(divmod, 7, 2) == (3, 1)
    assert [value async for value in client.map(abs, range(-3, 0))] == [3, 2, 1]
    with pytest.raises(errors.FunctionFailed):
        await client.submit(divmod, 1, 0, max_retries=0)


async def running(client: aio.Client, expected: bool) -> None:
    """Wait until something runs, or nothing does."""
    async with asyncio.timeout(10):
        while any(run.state == "running" for run in await client.runs()) is not expected:  # in other processes
            await asyncio.sleep(0.01)


async def test_cancelling_the_task_cancels_the_run(client: aio.Client) -> None:
    """The cluster stops working for it."""
    task = asyncio.create_task(client.execute(pair(30)))
    await running(client, True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await running(client, False)


async def test_failures_are_raised(client: aio.Client) -> None:
    """At start what is refused, in the result what failed."""
    dag = handoff.DAG()
    dag.call(int, id="huge", cost={"cpu": 99})
    with pytest.raises(errors.AllocationError, match="huge"):
        await client.start(dag)
    run = await client.start(pair(30))
    await run.cancel()
    with pytest.raises(errors.RunCancelled):
        await run.result(10)
    other = await client.start(pair(30))
    with pytest.raises(errors.ExecutionError, match="there is no run 987654"):
        await client.cancel(987654)
    await client.cancel(other.id)
    with pytest.raises(errors.RunCancelled):
        [name async for name, _ in other.as_completed()]


async def test_the_cluster_is_told_of(client: aio.Client, cluster: handoff.LocalCluster) -> None:
    """Nodes, room, attaching."""
    assert [node.name for node in await client.nodes()] == ["node-1"]
    assert not await client.resources_available("node-1", {"cpu": 3})
    other = await aio.connect(cluster.address, secret=cluster.secret)
    number = (await other.start(pair(0.2), detach=True)).id
    await other.close()
    assert set((await (await client.attach(number)).result(10)).results) == {"quick", "slow"}


def nap(seconds: float) -> float:
    """Takes time."""
    time.sleep(seconds)
    return seconds


class Unloadable:
    """Can be pickled, and never be loaded again."""

    def __reduce__(self) -> Any:
        """Loading it divides by zero."""
        return (divmod, (1, 0))


async def test_who_reads_a_map_can_be_cancelled(client: aio.Client) -> None:
    """In the midst of waiting for a value, by a cancel and by a timeout; the run of the map ends, too."""
    async def read() -> None:
        async for _ in client.map(nap, [60.0]):
            pass

    reader = asyncio.ensure_future(read())
    await asyncio.sleep(0.5)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await read()
    async with asyncio.timeout(20):
        while [run for run in await client.runs() if run.state in ("running", "waiting") and run.name == "nap"]:
            await asyncio.sleep(0.05)


async def test_a_result_that_can_not_be_loaded_is_an_error_for_who_awaits_it(client: aio.Client) -> None:
    """As for who asks for it in a thread."""
    async with asyncio.timeout(20):
        with pytest.raises(errors.ExecutionError, match="is here, but can't be loaded: ZeroDivisionError"):
            await client.submit(Unloadable)


def waits_for(path: Path) -> str:
    """Until that file is there."""
    await_file(path)
    return path.name


async def test_who_reads_a_map_takes_no_thread_of_the_loop(client: aio.Client, tmp_path: Path) -> None:
    """A loop has few, and its program may need one before a value can come."""
    loop, path = asyncio.get_running_loop(), tmp_path / "there"
    loop.set_default_executor(ThreadPoolExecutor(1))
    values = client.map(waits_for, [path])
    reader = asyncio.ensure_future(anext(values))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(run.name == "waits_for" and run.state == "running" for run in await client.runs()):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(path.touch)
        assert await reader == "there"
    assert [value async for value in values] == []


async def test_a_start_that_is_cancelled_leaves_no_run(client: aio.Client) -> None:
    """Nobody has it: nobody could cancel it later."""
    dag = handoff.DAG("nobody's")
    dag.call(nap, 60.0)
    starting = asyncio.ensure_future(client.start(dag))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(PATIENCE_SECONDS):
        while [run.state for run in await client.runs() if run.name == "nobody's"] != ["cancelled"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_connection_that_nobody_waits_for_any_more_is_closed(monkeypatch: pytest.MonkeyPatch, is_late: bool) -> None:
    """Whether it stood just then, or is there later."""
    asked, may_answer, closed = Event(), Event(), Event()

    class Made:
        """A connection."""

        def close(self) -> None:
            """Not open any more."""
            closed.set()

    def open_core(*_: Any) -> Made:
        asked.set()
        assert may_answer.wait(PATIENCE_SECONDS)
        return Made()

    monkeypatch.setattr(aio, "open_core", open_core)
    threads = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(threads)
    connecting = asyncio.ensure_future(aio.connect("nowhere:1").__aenter__())
    await asyncio.sleep(0)
    assert asked.wait(PATIENCE_SECONDS)
    if not is_late:
        may_answer.set()
        threads.submit(int).result(PATIENCE_SECONDS)     # behind it: it stands, and this loop has not heard of it
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    may_answer.set()
    assert closed.wait(PATIENCE_SECONDS)
