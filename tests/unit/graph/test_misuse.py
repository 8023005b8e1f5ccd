"""What is called as it can't be is one clear error of Handoff, which is a TypeError, too, and says what is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import handoff
from handoff import errors
from handoff.client.client import begin_map, begin_window
from handoff.client.source import source_of

NOBODY: Any = None       # a core that is not reached


async def awaited() -> AsyncIterator[int]:
    """Items that come when they are awaited."""
    yield 1


def calls() -> dict[str, tuple[Any, str]]:
    """Each with what its error says."""
    return {
        "function(5)": (lambda: handoff.function(5), r"^@handoff.function takes a callable, not 5$"),
        "function()(5)": (lambda: handoff.function(cost={"cpu": 1})(5), r"^@handoff.function takes a callable, not 5$"),
        "function(prio)": (lambda: handoff.function(prio=1), r"^@handoff.function does not know prio; its options are cost, "),  # type: ignore[call-overload]
        "function(len)": (lambda: handoff.function(len), r"len> can't carry options; wrap it in a function of your own"),
        "map(f)": (lambda: begin_map(NOBODY, abs, (), None, {}), r"^map takes a function and one or more iterables of items"),
        "map(f, awaited())": (lambda: source_of((awaited(),)), r"is none; nothing awaits items here: read them with `async for`"),
        "map(f, 5)": (lambda: source_of(([1], 5)), r"^map takes iterables of items, such as lists, and 5 is none$"),  # type: ignore[arg-type]
        "map(prio)": (lambda: begin_window(NOBODY, abs, [(1,)], 0, {"prio": 1}), r"^map does not know prio; its options are cost, "),
    }


@pytest.mark.parametrize("name", calls())
def test_misuse_is_told(name: str) -> None:
    """No inner function is named, and whoever catches HandoffError, or TypeError as before, catches it."""
    call, said = calls()[name]
    with pytest.raises(errors.InvalidCall, match=said) as raised:
        call()
    assert isinstance(raised.value, TypeError) and isinstance(raised.value, errors.HandoffError)


def test_what_can_be_iterated_in_the_old_way_is_taken() -> None:
    """By its indices."""

    class Items:
        def __getitem__(self, index: int) -> int:
            return [1, 2, 3][index]

    source = source_of((Items(),))  # type: ignore[arg-type]
    taken: list[Any] = []
    while not source.has_ended:
        source.happened.wait(10.0)
        taken += source.take(3, 10.0, lambda: False)
    assert taken == [(1,), (2,), (3,)]
