"""Small arguments of which a message has no room for more: they travel beside it, several as one value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import evaluate_outputs

from handoff.client import columns
from handoff.client.lower import lower
from handoff.graph.dag import DAG
from handoff.graph.function import Function


def pair(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Shows its arguments."""
    return (*args, kwargs)


async def later(data: bytes) -> bytes:
    """Asynchronous code."""
    return data[:3]


@pytest.fixture(autouse=True)
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message has room for hardly anything."""
    monkeypatch.setattr(columns, "LITERALS_BYTES_MAX", 0)


def test_many_small_ones_are_a_few_values() -> None:
    """About ten of 3 kB are one: each by itself cost as much as a task."""
    dag = DAG()
    for number in range(200):
        dag.call(pair, bytes((number,)) * 3000, id=number)
    lowered = lower(dag)

    assert len(lowered.objects) == 20
    assert len(lowered.program.literals.data) < 200 * 300
    assert max(packed.nbytes for packed in lowered.objects.values()) <= columns.PARCEL_BYTES + 1000
    assert list(lowered.program.object_tasks) == list(lowered.objects)
    assert evaluate_outputs(lowered) == {number: (bytes((number,)) * 3000, {}) for number in range(200)}


def test_each_takes_its_own() -> None:
    """Whatever it is in: keywords, lists, arguments of inline and of coroutine functions; one that several take is there once."""
    dag, shared = DAG(), b"s" * 2000
    dag.add(Function("inline", code=pair, type="inline", extra_args=[b"i" * 5000]))
    dag.add(Function("takes", args=["inline"], code=pair, extra_args=[b"t" * 1500], extra_kwargs={"key": [b"k" * 4000, 5]}))
    dag.call(pair, shared, np.arange(200), id="array")
    dag.call(pair, shared, {"deep": (b"d" * 1100,)}, id="shared")
    dag.call(later, b"abc" * 1000, id="later")
    lowered = lower(dag)
    found = evaluate_outputs(lowered)

    assert len(lowered.objects) == 1 and next(iter(lowered.objects.values())).nbytes < 22_000
    assert found["takes"] == ((b"i" * 5000, {}), b"t" * 1500, {"key": [b"k" * 4000, 5]})
    assert found["array"][0] == shared and found["array"][1].tolist() == list(range(200))
    assert found["shared"] == (shared, {"deep": (b"d" * 1100,)}, {})
    assert found["later"] == b"abc"


def test_larger_ones_travel_alone() -> None:
    """To read it for the sake of others would cost more than it saves."""
    dag = DAG()
    for number in range(4):
        dag.call(pair, bytes((number,)) * 9000, id=number)
    dag.call(pair, b"few", id="few")
    lowered = lower(dag)

    assert len(lowered.objects) == 4 and evaluate_outputs(lowered)["few"] == (b"few", {})
