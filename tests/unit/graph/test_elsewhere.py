"""Who comes from Dask, Ray or the original, and writes what is written there, is told what is written here."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

import handoff
from handoff import DAG, Client, aio
from handoff.client.single import SingleCalls
from handoff.errors import InvalidCall, InvalidFunction
from handoff.graph import elsewhere
from handoff.graph.options import OPTIONS


def add(a: int, b: int) -> int:
    return a + b


def takes_workers(workers: int) -> int:
    return workers


def takes_all(**keywords: int) -> int:
    return len(keywords)


@wraps(add)
def again(*args: int, retries: int = 3, **keywords: int) -> int:
    return add(*args, **keywords) if retries else 0


@pytest.mark.parametrize("name", ["remote", "get", "put", "init", "delayed", "compute", "as_completed", "gather", "discover_nodes"])
def test_names_of_the_module_that_others_have(name: str) -> None:
    """The error says what is written instead; it stays an AttributeError, so that hasattr says no."""
    assert not hasattr(handoff, name)
    with pytest.raises(AttributeError, match=re.escape(elsewhere.INSTEAD[name])):
        getattr(handoff, name)


@pytest.mark.parametrize("of", [Client.__new__(Client), aio.Client.__new__(aio.Client)], ids=["blocking", "awaited"])
def test_names_of_clients_that_others_have(of: Any) -> None:
    """The same; a name that nobody has is an ordinary error."""
    for name in ("gather", "scatter", "compute", "get_actor"):
        with pytest.raises(AttributeError, match=re.escape(elsewhere.INSTEAD[name])):
            getattr(of, name)
    with pytest.raises(AttributeError, match=r"a Client has no attribute 'nonsense'$"):
        _ = of.nonsense


@pytest.mark.parametrize("of", [Client, aio.Client])
def test_a_client_is_not_made_of_an_address(of: Any) -> None:
    """As Dask's is: it would fail later, with words that say nothing to its user."""
    with pytest.raises(InvalidCall, match=re.escape("""not made of '127.0.0.1:7070': handoff.connect("host:port")""")):
        of("127.0.0.1:7070")


def submitted(function: Callable[..., Any], **keywords: Any) -> None:
    """As `client.submit` takes it."""
    SingleCalls().lower(function, (), keywords)


def called(function: Callable[..., Any], **keywords: Any) -> None:
    """As part of a graph."""
    DAG().call(function, **keywords)


@pytest.mark.parametrize("call", [submitted, called])
def test_options_that_others_have(call: Callable[..., None]) -> None:
    """They would be handed to the function, which fails in each of its attempts: unless it takes them, they are refused."""
    with pytest.raises(InvalidFunction, match=re.escape("""does not take num_gpus; cost={"cpu": 2, "gpu": 1""")):
        call(add, a=1, b=2, num_gpus=1, cost={"cpu": 2}, timeout=3)     # not said of options that are ours
    with pytest.raises(InvalidFunction, match=re.escape("does not take workers; node=")):
        call(add, a=1, b=2, workers=["alpha"])
    with pytest.raises(InvalidFunction, match=re.escape("does not take detach; that is an option of client.start(dag)")):
        call(add, a=1, b=2, detach=True)
    call(takes_workers, workers=3)
    call(takes_all, num_gpus=3, detach=4)
    call(again, a=1, b=2, retries=5)      # for itself, not for what it wraps
    call(dict, num_gpus=3)      # written in C, without a signature


def test_options_that_are_bound_to_a_function() -> None:
    """The error names what is written instead, and all that can be."""
    bind: Any = handoff.function
    with pytest.raises(InvalidCall, match=re.escape("""does not know num_gpus; cost={"cpu": 2""")) as failed:
        bind(num_gpus=1)
    assert all(name in str(failed.value) for name in OPTIONS)


def test_what_is_told_is_true() -> None:
    """No name that we have is explained away, nor an option."""
    assert not {name for name in elsewhere.INSTEAD if name in handoff.__all__} - {"execute"}
    assert elsewhere.OPTIONS.keys().isdisjoint(OPTIONS)
    assert not {name for name in elsewhere.INSTEAD if hasattr(Client, name)} - {"execute", "start"}
