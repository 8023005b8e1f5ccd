"""What callers bring along (loops, callbacks) runs into walls of its own: the client's thread, which others need, goes on."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from types import SimpleNamespace
from typing import Any

from handoff import aio
from handoff.client.events import Arrived
from handoff.client.futures import CallFuture
from handoff.client.output import show
from handoff.client.state import Graph, Lease, RunState
from handoff.columns import ints, longs
from handoff.ids import RunId
from handoff.messages import Output
from handoff.wire.values import pack_plain


def state_of(output: Any = None) -> RunState:
    """A run of two functions, without a cluster."""
    core: Any = SimpleNamespace(pid=os.getpid(), thread=threading.Thread(), release=lambda state: None)
    return RunState(core, 1, Graph("d", ["a", "b"], [0, 1], {"a": 0, "b": 1}), output=output)


def arrived(task: int) -> Arrived:
    """The value of a function."""
    value = pack_plain(task)
    return Arrived(1, ints([task]), longs([len(value)]), value)


def test_who_stopped_listening_and_closed_its_loop_is_not_told() -> None:
    """Out of `async for` by a break, and the loop closed as loops are that nobody tidies up: what comes later is no mistake."""
    state = state_of()
    completed = aio.Run(Lease(state)).as_completed()

    loop = asyncio.new_event_loop()
    state.arrived(arrived(0))
    assert loop.run_until_complete(anext(completed)) == ("a", 0)
    loop.close()
    state.arrived(arrived(1))
    assert list(state.order) == [0, 1]


def test_a_callback_that_exits_ends_nothing() -> None:
    """Of a future, and for printed lines: `sys.exit` ends the thread that it is called in, which is the client's."""
    def leave(*_: Any) -> None:
        sys.exit(3)

    state = state_of(output=leave)
    future: CallFuture[int] = CallFuture(state)
    future.add_done_callback(leave)
    state.arrived(arrived(0))
    assert future.result() == 0
    show(state, Output(RunId(1), ints([0]), ("stdout",), ("line",), "n"), lambda *_: None)


