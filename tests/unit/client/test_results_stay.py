"""Results, futures and clients belong to their connection: neither a copy nor a pickle of them is made, and the error says so."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from handoff import DAG, Client, Function, RunResult, aio
from handoff.client.core import Core
from handoff.client.futures import CallFuture
from handoff.client.lower import lower
from handoff.client.run import Run
from handoff.client.state import Lease, Results
from handoff.errors import NotSerializable

TEXT = "run 7 and its results can't be copied or pickled: they belong to this process's connection to the cluster"


def leased(released: list[Any]) -> Lease:
    """Of a run without a cluster."""
    state: Any = SimpleNamespace(run=7, core=SimpleNamespace(release=released.append))
    return Lease(state)


@pytest.mark.parametrize("make", [copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("hold", [Run, Results, lambda lease: RunResult("d", 7, Results(lease), {})])
def test_what_holds_a_run_is_not_copied(make: Callable[[Any], Any], hold: Callable[[Lease], Any]) -> None:
    """One sentence, and the run is let go of once."""
    released: list[Any] = []
    held = hold(leased(released))
    with pytest.raises(TypeError, match=TEXT):
        make(held)
    assert released == []
    del held
    assert len(released) == 1


def test_results_are_no_arguments() -> None:
    """The reason is that of the results, rather than of some part deep in the connection."""
    with pytest.raises(NotSerializable, match=rf"^'f': argument 1._lease can't be sent to a node: {TEXT}"):
        lower(DAG().add(Function("f", code=len, extra_args=[Results(leased([]))])))


@pytest.mark.parametrize("client", [Client(Core.__new__(Core)), aio.Client(Core.__new__(Core))])   # none is asked for anything
def test_clients_are_no_part_of_code(client: Any) -> None:
    """A function that uses a client of its script: the variable is named, rather than a key deep in it."""
    with pytest.raises(NotSerializable, match="closure variable 'client': a client can't be copied or pickled: it is this process's conn"):
        lower(DAG().add(Function("f", code=lambda: client.nodes())))


def test_futures_are_no_arguments() -> None:
    """What to do instead is said; and a future shows how it stands."""
    state: Any = SimpleNamespace(core=None, watchers=[], graph=SimpleNamespace(dag_id="d"))
    future = CallFuture(state)
    with pytest.raises(NotSerializable, match=r"^'f': argument 1 can't be sent to a node: a future can't be copied or pickled: hand on"):
        lower(DAG().add(Function("f", code=len, extra_args=[future])))
    assert repr(future) == "<CallFuture of 'd': pending>"
    future.set_result(None)
    assert repr(future) == "<CallFuture of 'd': done>"
