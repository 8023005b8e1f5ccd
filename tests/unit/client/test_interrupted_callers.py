"""Ctrl-C, or a signal's handler that raises, in the midst of any call: that call is over, and all later ones are as ever."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from witness import PATIENCE_SECONDS

from handoff.client import core, source, state
from handoff.client.events import Arrived
from handoff.columns import Blobs, ints, longs
from handoff.errors import ConnectionLost
from handoff.messages import Submit
from handoff.program import Program
from handoff.wire.values import pack_plain

SUBMIT = Submit(1, "d", Program((), (), ints(), Blobs.of([]), ints(), ints()))


class Interrupt(BaseException):
    """As KeyboardInterrupt, which a test runner would take for its own."""


def is_interrupted(at: int, room: ModuleType, call: Callable[[], Any]) -> bool:
    """Make a call that is interrupted before the line with this number of those that it goes through there; whether it came so far."""
    left, before = at, sys.gettrace()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != room.__file__:
            return None
        if event == "line":
            left -= 1
            if not left:
                raise Interrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


async def take(turns: list[Callable[[], None]]) -> None:
    """As the client's loop does."""
    for turn in turns:
        turn()


def test_who_is_interrupted_does_not_leave_the_loop_asleep() -> None:
    """Whoever says something next is heard, wherever the one before was interrupted."""
    at, came_so_far = 0, True
    while came_so_far:
        at += 1
        turns: list[Callable[[], None]] = []
        loop = SimpleNamespace(call_soon_threadsafe=lambda turn, context: turns.append(turn), is_closed=lambda: False)   # noqa: B023
        client = core.Core.__new__(core.Core)
        client.__dict__.update(_closed=False, pid=os.getpid(), _inbox=deque(), _waking=False, _loop=loop)
        heard: list[str] = []
        came_so_far = is_interrupted(at, core, lambda: client.call(heard.append, "first"))   # noqa: B023
        client.call(heard.append, "second")
        asyncio.run(take(turns))
        assert heard[-1:] == ["second"], at
    assert at > 5


@pytest.mark.parametrize(("begin", "said"), [
    (lambda client, run: client.submit(run, SUBMIT), ["Start", "CancelRun", "ForgetRun"]),
    (lambda client, run: client.attach(run, 7), ["Attach", "ForgetRun"]),
])
def test_who_is_interrupted_when_a_run_was_asked_for_leaves_none_behind(begin: Callable[[Any, Any], None], said: list[str]) -> None:
    """The loop was woken, and the caller will never hold the run: one that he started is cancelled, and its values are let go."""
    turns: list[Callable[[], None]] = []

    def wake(turn: Callable[[], None], context: Any) -> None:
        turns.append(turn)
        if len(turns) == 1:
            raise Interrupt

    heard: list[str] = []
    client = core.Core.__new__(core.Core)
    client.__dict__.update(
        _closed=False, pid=os.getpid(), _inbox=deque(), _waking=False, _over=None, states={}, thread=threading.Thread(),
        _loop=SimpleNamespace(call_soon_threadsafe=wake, is_closed=lambda: False),
        _driver=SimpleNamespace(post=lambda event: heard.append(type(event).__name__)),
    )
    with pytest.raises(Interrupt):
        begin(client, state.RunState(client, 1, state.Graph("d", (), (), {})))
    asyncio.run(take(turns))
    assert heard == said and client.states[1].released


def test_a_thread_that_begins_to_read_items_ends_with_who_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will ask it for any."""
    begun: list[threading.Thread] = []

    def start(thread: threading.Thread, begin: Callable[[threading.Thread], None] = threading.Thread.start) -> None:
        begin(thread)
        begun.append(thread)
        raise Interrupt

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(Interrupt):
        source.source_of((iter([1]),))
    begun[0].join(PATIENCE_SECONDS)
    assert not begun[0].is_alive()


def test_who_is_interrupted_while_a_client_closes_leaves_no_thread() -> None:
    """It counts as closed, and would not be closed again. Other threads that wait for a run or an answer are told."""
    done: list[str] = []
    client = core.Core.__new__(core.Core)
    client.__dict__.update(_closed=False, pid=os.getpid(), thread=threading.Thread(), _end_loop=lambda: done.append("ended"), _over=None)
    run, question = state.RunState(client, 1, state.Graph("d", (), (), {})), Future[Any]()
    client.__dict__.update(states={1: run}, _questions={2: question})

    def interrupted(coroutine: Any, loop: Any) -> Any:
        coroutine.close()
        raise Interrupt

    client.__dict__["_loop"] = None
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupt):
        patch.setattr(core.asyncio, "run_coroutine_threadsafe", interrupted)
        client.close()
    assert done == ["ended"] and isinstance(run.error(), ConnectionLost) and isinstance(question.exception(0), ConnectionLost)


def test_who_is_interrupted_while_the_loop_closes_is_told() -> None:
    """Ctrl-C is never swallowed; that nobody is there any more is."""
    for error in (Interrupt(), RuntimeError("the loop is closed")):
        def wake(turn: Any, context: Any) -> None:
            raise error   # noqa: B023

        loop = SimpleNamespace(call_soon_threadsafe=wake, is_closed=lambda: True)
        client = core.Core.__new__(core.Core)
        client.__dict__.update(_closed=False, pid=os.getpid(), _inbox=deque(), _waking=False, _loop=loop)
        with pytest.raises(Interrupt) if isinstance(error, Interrupt) else nullcontext():
            client.call(print)


def run_of_two(fetch: Callable[..., None]) -> state.RunState:
    """Two functions, without a cluster."""
    client: Any = SimpleNamespace(pid=os.getpid(), thread=threading.Thread(), fetch=fetch)
    return state.RunState(client, 1, state.Graph("d", ["a", "b"], [0, 1], {"a": 0, "b": 1}))


def test_who_is_interrupted_while_looking_at_a_value_loses_none() -> None:
    """Of a message with several, all are there for who looks again."""
    def nothing_is_lost(*_: Any) -> None:
        raise AssertionError("it was here, and is asked for again")

    values = [pack_plain(number) for number in (10, 11)]
    at, came_so_far = 0, True
    while came_so_far:
        at += 1
        run = run_of_two(nothing_is_lost)
        run.arrived(Arrived(1, ints([0, 1]), longs(map(len, values)), b"".join(values)))
        came_so_far = is_interrupted(at, state, lambda: run.value(0))   # noqa: B023
        assert [run.value(0), run.value(1)] == [10, 11], at
    assert at > 10


def test_a_large_value_is_asked_for_again_by_who_was_interrupted() -> None:
    """It was not asked for the first time, and nothing would ever come."""
    asked: list[int] = []

    def fetch(token: int, task: int, future: Any) -> None:
        asked.append(task)
        if len(asked) == 1:
            raise Interrupt

    run = run_of_two(fetch)
    run.available([0], [10**7])
    with pytest.raises(Interrupt):
        run.fetch(0)
    run.fetch(0)
    assert asked == [0, 0]
