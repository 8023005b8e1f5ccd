"""A call's holes are filled, and what is handed on unfinished is finished first."""

from __future__ import annotations

import asyncio

from handoff.graph.calls import Call, Frame, NodeName, Quoted, Slot


def test_holes_are_filled_at_any_depth() -> None:
    """Inputs, names of nodes and inner calls; what is quoted comes through as it is."""
    frame = Frame([lambda *args, **kwargs: (args, kwargs), len], [5, 6], here="h", target="t", sources=["s0", "s1"])
    kept = [1]
    nested = [Slot(0), {"k": (Slot(1), NodeName("source", 1))}]
    call = Call(0, [nested, Quoted(kept), NodeName("here")], {"n": Call(1, ["abc"]), "t": NodeName("target")})

    args, kwargs = frame.call(call)

    assert args == ([5, {"k": (6, "s1")}], [1], "h") and args[1] is kept
    assert kwargs == {"n": 3, "t": "t"}


def test_an_inner_call_that_stands_twice_is_evaluated_once() -> None:
    """As for an inline function that a task takes twice."""
    calls: list[int] = []
    inner = Call(1, [])

    assert Frame([lambda a, b: (a, b), lambda: calls.append(0) or 7], []).call(Call(0, [inner, [inner]])) == (7, [7])  # type: ignore[func-returns-value]
    assert calls == [0]


def test_what_a_plain_function_hands_on_is_awaited() -> None:
    """A lambda that calls a coroutine function gives its value to who takes it, not the coroutine."""
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    assert Frame([lambda x: x * 10, lambda x: later(x)], []).call(Call(0, [Call(1, [1])])) == 20
