"""Something that happens once, and those who wait for it."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from handoff.client.waiting import Moment
from handoff.errors import WrongThread


def moment(thread: threading.Thread | None = None) -> Moment:
    """One of a client with this thread; of none that could be ours, if not said."""
    client: Any = SimpleNamespace(thread=thread, pid=os.getpid())
    return Moment(client)


def test_who_asks_before_and_who_asks_afterwards_hear_of_it() -> None:
    """Both have the same future, and who waits without one returns at once."""
    it = moment()
    before = it.future()
    assert not it.done() and not before.done()
    it.come()
    it.come()
    assert it.done() and before.done() and it.future() is before
    it.result(0.0)


def test_nobody_has_to_ask() -> None:
    """A future is made when it is asked for, even if all is over by then."""
    it = moment()
    it.come()
    assert it.done() and it.future().done()


def test_who_waits_no_longer_stops_nobody_else() -> None:
    """One that waits for some time, and one that cancelled."""
    it = moment()
    with pytest.raises(TimeoutError):
        it.result(0.0)
    it.future().cancel()
    it.come()
    it.result(0.0)


def test_threads_that_ask_at_once_all_hear_of_it() -> None:
    """Whoever is first makes the future, in one step; who finds it made waits for the same."""
    for _ in range(50):
        it, begin, heard = moment(), threading.Barrier(4), []

        def ask(it: Moment = it, begin: threading.Barrier = begin, heard: list[int] = heard) -> None:
            begin.wait(60.0)
            it.result(60.0)
            heard.append(1)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        begin.wait(60.0)
        it.come()
        for thread in threads:
            thread.join(60.0)
        assert len(heard) == 3


def test_the_thread_that_brings_it_can_not_wait_for_it() -> None:
    """It would wait for itself; once it has happened there is nothing to wait for."""
    it = moment(threading.current_thread())
    with pytest.raises(WrongThread):
        it.result()
    it.come()
    it.result()
