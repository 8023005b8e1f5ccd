"""Coroutines side by side: who blocks the loop of all of them is named, once, where somebody waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from witness import PATIENCE_SECONDS, until

from handoff.node import child_watch
from handoff.node.child_async import Coroutines
from handoff.node.current import CurrentTask
from handoff.node.phrases import BLOCKED, SCATTERED


class Side:
    """Coroutines, what they say, and what came of each time that their loop was found to stand still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[list[Any]] = []
        self.lines: list[tuple[Any, ...]] = []
        self.found: list[bool] = []
        self.gate = threading.Event()
        self.count = 0
        look = Coroutines._blocked

        def blocked(coroutines: Coroutines) -> bool:
            self.found.append(look(coroutines))
            return self.found[-1]

        monkeypatch.setattr(Coroutines, "_blocked", blocked)
        monkeypatch.setattr(child_watch, "LOOK_SECONDS", 0.01)
        outbox: Any = SimpleNamespace(say=lambda said, values=(): self.said.append(said), line=lambda *line: self.lines.append(line))
        output: Any = SimpleNamespace(begun={}, dropped=0)
        self.coroutines = Coroutines(outbox, output, 1000)

    def start(self, function: Callable[[], Any], name: str = "f", load: Callable[[], Any] = lambda: None) -> int:
        """Give it one that is called so, and is loaded by this first; the number of its batch."""
        self.count += 1

        def call(_: int) -> tuple[Callable[[], Any], tuple[()], dict[str, Any]]:
            load()
            return function, (), {}

        batch: Any = SimpleNamespace(
            number=self.count, count=1, devices="", call=call, kind=lambda _: SimpleNamespace(is_timed=False),
            current=lambda _: CurrentTask(7, 40, 1, name, "here"))
        self.coroutines.start(batch)
        return self.count

    def await_end(self, batch: int) -> None:
        """Until it has ended well."""
        until(lambda: [SCATTERED, batch] in [said[:2] for said in self.said], lambda: str(self.said))

    def blocked(self) -> list[list[Any]]:
        """What it said of that."""
        return [said for said in self.said if said[0] == BLOCKED]

    async def block(self) -> None:
        """Do not await."""
        self.gate.wait(PATIENCE_SECONDS)

    async def stay(self) -> None:
        """Wait as one should."""
        await asyncio.Event().wait()


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    """One of them."""
    made = Side(monkeypatch)
    yield made
    made.gate.set()
    for batch in range(1, made.count + 1):
        made.coroutines.cancel(batch, 0)
    until(lambda: not made.coroutines._tasks, "all over")


def test_who_blocks_the_others_is_named_once(side: Side) -> None:
    """To whom it belongs, in a line, and to the node; where it is at, and how many can't go on. Not again for its next call."""
    for _ in range(2):
        side.start(side.stay)
    for _ in range(2):
        side.gate.clear()
        number = side.start(side.block, "bad")
        until(lambda told=number - 2: side.found.count(True) == told, lambda: str(side.found))  # type: ignore[misc]
        side.gate.set()
        side.await_end(number)
    [[_, function, place, waiting]] = side.blocked()
    assert (function, waiting) == ("bad", 2) and "line" in place
    [(run, task, stream, text)] = side.lines
    assert (run, task, stream) == (7, 40, "stderr") and "2 others can't go on" in text and place in text


def test_what_a_coroutine_leaves_behind_is_told_by_its_place(side: Side) -> None:
    """A task of its own that blocks is none that was given: its node hears where it is at."""
    async def leave() -> None:
        await asyncio.create_task(side.block())

    side.start(side.stay)
    side.start(leave)
    until(side.blocked, lambda: str(side.found))
    assert side.blocked()[0][1:2] + side.blocked()[0][3:] == ["", 1] and not side.lines


def test_nobody_waits_for_one_alone(side: Side) -> None:
    """It may compute as long as it likes, until another comes."""
    side.start(side.block, "bad")
    until(lambda: len(side.found) > 2, "looked at")
    assert not any(side.found) and not side.blocked()
    side.start(side.stay)
    until(side.blocked, lambda: str(side.found))
    assert side.blocked()[0][1] == "bad"


def test_loading_is_no_fault_of_a_function(side: Side) -> None:
    """An import of seconds holds up the others as well, but nothing is to be done about it."""
    side.start(side.stay)
    number = side.start(side.stay, load=lambda: side.gate.wait(PATIENCE_SECONDS))
    until(lambda: len(side.found) > 2, "looked at")
    side.gate.set()
    until(lambda: (number, 0) in side.coroutines._tasks and side.coroutines._watch._has_come, "it goes on")
    assert not side.blocked() and not side.lines


def test_a_loop_that_goes_round_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is looked at; and nothing looks any more when no coroutine is there, until one comes."""
    monkeypatch.setattr(child_watch, "LOOK_SECONDS", 0.001)
    loop: Any = SimpleNamespace(call_soon_threadsafe=lambda act: act())
    looks, found = [0], []

    def is_idle() -> bool:
        looks[0] += 1
        return looks[0] >= 10

    watch = child_watch.Watch(loop, is_idle, lambda: bool(found.append(True)))  # type: ignore[func-returns-value]
    for most in (11, 13):
        watch.begin()
        until(lambda: not watch._begun.is_set(), "at rest")
        assert looks[0] == most
    assert not found


def test_who_can_not_be_watched_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system lets us start no more threads; with the next coroutine it is tried again."""
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watch = child_watch.Watch(asyncio.new_event_loop(), lambda: True, lambda: True)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        watch.begin()
    assert watch._thread is None and not watch._begun.is_set()
    watch._loop.close()
