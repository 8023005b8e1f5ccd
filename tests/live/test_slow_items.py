"""Maps whose items take their time: values are there as soon as they exist, and what goes wrong with the items is told."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

import handoff
from handoff import errors

PATIENCE_SECONDS = 30.0
VARIABLE: ContextVar[str] = ContextVar("variable", default="")


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """One node."""
    with handoff.LocalCluster(1, cpus=1) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


class Dialogue:
    """Items of which each is there when the value of the one before was received."""

    def __init__(self, count: int) -> None:
        self.count, self.received = count, threading.Semaphore(1)
        self.threads: set[threading.Thread] = set()

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            assert self.received.acquire(timeout=PATIENCE_SECONDS), f"the value of item {number - 1} did not come"
            self.threads.add(threading.current_thread())
            yield number


def test_a_value_is_there_before_the_next_item(client: handoff.Client) -> None:
    """A source may wait for it."""
    items = Dialogue(5)
    values = []
    for value in client.map(lambda x: -x, items):
        values.append(value)
        items.received.release()
    assert values == [0, -1, -2, -3, -4]
    assert items.threads and threading.current_thread() not in items.threads


async def test_the_same_where_it_is_awaited(cluster: handoff.LocalCluster) -> None:
    """Nor does the loop wait."""
    items = Dialogue(3)
    async with handoff.aio.connect(cluster.address, secret=cluster.secret) as client:
        values: AsyncIterator[int] = client.map(lambda x: -x, items)
        received = []
        async for value in values:
            received.append(value)
            items.received.release()
    assert received == [0, -1, -2]


def test_items_know_the_context_of_their_reader(client: handoff.Client) -> None:
    """Though another thread reads them."""
    def items() -> Iterator[str]:
        yield VARIABLE.get()

    token = VARIABLE.set("mine")
    try:
        assert list(client.map(str.upper, items())) == ["MINE"]
    finally:
        VARIABLE.reset(token)


def test_an_error_of_the_items_comes_after_the_values_before_it(client: handoff.Client) -> None:
    """As with the builtin map."""
    def items() -> Iterator[int]:
        yield from range(50)
        raise LookupError("no more of them")

    values: list[int] = []
    with pytest.raises(LookupError, match="no more of them"):
        values.extend(client.map(abs, items()))
    received = []
    with pytest.raises(LookupError):
        for value in client.map(abs, items()):
            received.append(value)
    assert received == list(range(50))


def test_time_runs_out_for_items_too(client: handoff.Client) -> None:
    """The timeout is for the map as a whole, whatever it waits for."""
    gate = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        gate.wait(PATIENCE_SECONDS)

    values = client.map(abs, items(), timeout=1.0)
    assert next(values) == 1
    with pytest.raises(errors.ResultTimeout, match="item 1 did not come in time"):
        next(values)
    gate.set()


def test_nobody_reads_on_when_a_map_is_left(client: handoff.Client) -> None:
    """Its thread ends, and with it the generator."""
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.set()

    values: Any = client.map(abs, items())
    assert next(values) == 0
    values.close()
    assert closed.wait(PATIENCE_SECONDS)


async def test_a_map_that_is_left_before_it_began_is_ended(cluster: handoff.LocalCluster) -> None:
    """Its first items are waited for in a thread, which nobody else tells."""
    begun, gate, closed = threading.Event(), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        try:
            begun.set()
            gate.wait(PATIENCE_SECONDS)
            yield from range(1_000_000)
        finally:
            closed.set()

    async with handoff.aio.connect(cluster.address, secret=cluster.secret) as client:
        step = asyncio.ensure_future(anext(client.map(abs, items())))
        assert await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        gate.set()
        assert await asyncio.to_thread(closed.wait, PATIENCE_SECONDS)


def test_items_do_not_come_to_a_forked_process(client: handoff.Client) -> None:
    """The thread that reads them is in the other one."""
    read_first, gate = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        read_first.wait(PATIENCE_SECONDS)
        yield 2
        gate.wait(PATIENCE_SECONDS)

    values = client.map(abs, items())
    assert next(values) == 1
    read_first.set()
    assert next(values) == 2
    read, write = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(int(PATIENCE_SECONDS))     # rather than waiting for ever
        try:
            next(values)
        except errors.ConnectionLost as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        assert b"the next items of a map can't be waited for: this client was made before a fork" in said.read()
    os.waitpid(child, 0)
    gate.set()
    assert list(values) == []
