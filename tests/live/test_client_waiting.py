"""Waiting where nothing could ever come: in callbacks, which run on the client's own thread, and after a fork; and for ever."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from queue import Queue
from typing import Any

import numpy as np
import pytest
from witness import PATIENCE_SECONDS

import handoff
from handoff import errors


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """One node."""
    with handoff.LocalCluster(nodes=1, cpus=1, memory=1000) as made:
        yield made


@pytest.fixture
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


def one() -> handoff.DAG:
    """A graph of one function."""
    dag = handoff.DAG()
    dag.call(abs, -1, id="one")
    return dag


def answer_of(ask: Callable[[], Any]) -> Any:
    """What it gives, or raises."""
    try:
        return ask()
    except BaseException as error:
        return error


def in_callback(client: handoff.Client, ask: Callable[[], Any]) -> Any:
    """The same of what is asked in a callback."""
    told: Queue[Any] = Queue()
    client.submit(abs, -2).add_done_callback(lambda done: told.put(answer_of(ask)))
    return told.get(timeout=30)


def test_a_callback_can_not_wait_for_its_own_client(client: handoff.Client) -> None:
    """One sentence instead of a client that stands still for ever; what does not wait is allowed; the client goes on."""
    run = client.start(one())
    asked: list[Callable[[], Any]] = [
        client.nodes, client.runs, lambda: client.execute(one()), lambda: client.start(one()), lambda: client.plan(one()),
        lambda: client.submit(abs, -3).result(), lambda: list(client.map(abs, [-1])), lambda: client.attach(run.id), client.close,
        lambda: client.drain("node-1"), lambda: client.cancel(run.id), run.report, run.timeline, lambda: run.explain("one"),
    ]
    for ask in asked:
        told = in_callback(client, ask)
        assert isinstance(told, errors.WrongThread) and "the client's own thread" in str(told), told
    later = in_callback(client, lambda: client.submit(abs, -4))
    assert later.result(30) == 4
    assert [node.name for node in client.nodes()] == ["node-1"]


def test_a_close_that_was_refused_in_a_callback_can_be_made_later(cluster: handoff.LocalCluster) -> None:
    """It has closed nothing."""
    client = cluster.client()
    assert isinstance(in_callback(client, client.close), errors.WrongThread)
    assert client.submit(abs, -5).result(30) == 5
    client.close()
    with pytest.raises(errors.ConnectionLost):
        client.nodes()


def test_a_run_says_in_a_forked_child_that_it_can_not_be_waited_for(client: handoff.Client) -> None:
    """Its client's thread is in the parent, which goes on with it."""
    dag = handoff.DAG()
    dag.call(time.sleep, 1.0, id="nap")
    run, call = client.start(dag), client.submit(time.sleep, 0.5)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        told = [answer_of(ask) for ask in (run.result, run.cancel, run.status, lambda: list(run.as_completed()), call.result)]
        os.write(writing, "\n".join(f"{type(each).__name__}: {each}" for each in told).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().splitlines()
    os.waitpid(child, 0)
    assert len(lines) == 5
    assert all(line.startswith("ConnectionLost: ") and "before a fork" in line for line in lines)
    assert run.result(30)["nap"] is None


def test_endless_patience_is_for_ever(cluster: handoff.LocalCluster) -> None:
    """More seconds than clocks count are no error."""
    with cluster.client(timeout=float("inf")) as client:
        assert client.submit(abs, -1).result(float("inf")) == 1
        assert client.start(one()).result(1e30)["one"] == 1
        assert list(client.map(abs, [-1, -2], timeout=1e12)) == [1, 2]


def test_patience_is_any_number(cluster: handoff.LocalCluster) -> None:
    """Of numpy, or a fraction; what is none is refused by name, also where nothing is waited for any more."""
    seconds: Any = np.float32(20)
    with cluster.client(timeout=seconds) as client:
        future = client.submit(abs, -1)
        assert future.result(seconds) == 1
        assert future.exception(seconds) is None
        with pytest.raises(errors.ResultTimeout, match=r"not over after 0\.125 s"):
            client.submit(time.sleep, 1).result(Fraction(1, 8))  # type: ignore[arg-type]
        for wrong in ("3", True, float("nan")):
            for wait in (future.result, future.exception, client.start(one()).result):
                with pytest.raises(errors.ConfigError, match=f"timeout={wrong!r}: the seconds to wait"):
                    wait(wrong)  # type: ignore[arg-type]


def test_whose_patience_ends_is_told_what_a_single_call_waits_for(client: handoff.Client) -> None:
    """A node that is not there, say: nothing else would tell of it before it is given up."""
    future = client.submit(abs, -1, node="nowhere")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "it waits" not in (told := str(answer_of(lambda: future.result(0.05)))):
        assert time.monotonic() < deadline, told
    assert told == ("'abs' is not over after 0.05 s; it waits: abs waits for node 'nowhere', which is not there; present: 'node-1'; "
                    "it goes on")
    assert future.cancel()
