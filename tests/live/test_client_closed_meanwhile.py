"""A client that one thread closes while another asks for something: whoever asked is told, and nobody is left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import numpy as np
import pytest
from witness import PATIENCE_SECONDS

import handoff
from handoff import errors
from handoff.messages import Message, Want


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """One node."""
    with handoff.LocalCluster(nodes=1, cpus=1, memory=1000) as made:
        yield made


def one() -> handoff.DAG:
    """A graph of one function."""
    dag = handoff.DAG()
    dag.call(abs, -1, id="one")
    return dag


def answer_in_time(ask: Callable[[], Any]) -> Any:
    """What asking gives, or raises, in a thread of its own."""
    told: Queue[Any] = Queue()

    def answer() -> None:
        try:
            told.put(ask())
        except BaseException as error:
            told.put(error)

    threading.Thread(target=answer, daemon=True).start()
    return told.get(timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("ask", [
    lambda client: client.submit(abs, -1).result(), lambda client: client.nodes(), lambda client: client.attach(3),
    lambda client: client.execute(one()), lambda client: client.start(one()),
], ids=["submit", "nodes", "attach", "execute", "start"])
def test_what_is_asked_for_in_the_moment_of_the_end_is_answered(cluster: handoff.LocalCluster, ask: Callable[[Any], Any]) -> None:
    """The client was open when that was looked at, and is closed when it is asked."""
    client = cluster.client()
    core: Any = client._core
    states, questions = core.states, core._questions

    class ClosedBefore(dict[int, Any]):
        """Where what is asked for is written down."""

        def __setitem__(self, token: int, asked: Any) -> None:
            client.close()
            super().__setitem__(token, asked)

    core.states, core._questions = ClosedBefore(states), ClosedBefore(questions)
    found = answer_in_time(lambda: ask(client))
    assert isinstance(found, errors.ConnectionLost)


def test_who_fetches_a_large_value_is_told_that_the_client_is_closed(cluster: handoff.LocalCluster) -> None:
    """Its run is well over, and the value was on its way."""
    client = cluster.client()
    dag = handoff.DAG()
    dag.call(np.zeros, 500_000, id="large")
    result = client.execute(dag)
    links: Any = client._core._links
    send = links.send

    def closing(peer: Any, message: Message) -> None:
        """The node is never asked for it."""
        if isinstance(message, Want):
            threading.Thread(target=client.close).start()
        else:
            send(peer, message)

    links.send = closing
    found = answer_in_time(lambda: result["large"])
    assert isinstance(found, errors.ResultLost)
