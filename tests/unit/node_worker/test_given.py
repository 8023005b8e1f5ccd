"""How inputs are said to a worker: small ones in its batch, until together they are too many for that."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from handoff.node import given
from handoff.node.child_batch import Library
from handoff.node.given import said_inputs
from handoff.node.shared_memory import SharedValue, write_shared
from handoff.wire.values import pack, unpack

SMALL = [pack(value).join() for value in (b"one", np.arange(100, dtype=np.complex128), np.arange(9000), "four" * 10_000)]


def shared(nbytes: int) -> SharedValue:
    """A large one."""
    return write_shared([bytes(nbytes)], nbytes)


def heard(said: list[Any], mapped: dict[int, SharedValue]) -> list[Any]:
    """What a worker makes of it."""
    library = Library()
    for serial, value in mapped.items():
        library.map(serial, value.nbytes, os.dup(value.fd))
    return library.values(said)


def test_a_few_small_ones_are_said_as_they_are() -> None:
    """And of large ones the serials."""
    large = shared(10)
    assert said_inputs([SMALL[0], large, None]) == ([SMALL[0], large.serial, None], {large.serial: large}, 0)


def test_many_lie_in_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has them all the same, arrays within them aligned, and beside them what is large or is not there."""
    monkeypatch.setattr(given, "TOGETHER_BYTES", sum(map(len, SMALL)) - 1)
    large = shared(10)
    said, mapped, own = said_inputs([SMALL[0], large, *SMALL[1:3], None, SMALL[3]])
    assert not [each for each in said if isinstance(each, bytes)] and list(mapped) == [large.serial, own]
    found = heard(said, mapped)
    assert found[1].look() == bytes(10) and found[4] is None
    values = [unpack(found[place]) for place in (0, 2, 3, 5)]
    assert values[0] == b"one" and values[3] == "four" * 10_000
    assert np.array_equal(values[1], np.arange(100)) and np.array_equal(values[2], np.arange(9000))
    assert values[1].flags.aligned and values[2].ctypes.data % 64 == 0


def test_where_there_is_no_room_for_that_they_go_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor, say: the node goes on."""
    def none_left(*_: Any) -> SharedValue:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(given, "TOGETHER_BYTES", 1)
    monkeypatch.setattr(given, "write_shared", none_left)
    assert said_inputs([SMALL[0], None]) == ([SMALL[0], None], {}, 0)
