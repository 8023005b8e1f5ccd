"""What a map takes of its items before they are read: without any cluster, since only the order of things counts."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handoff.client import mapping
from handoff.client.client import Client
from handoff.client.core import Core
from handoff.client.mapping import Begun, Mapped, Measure
from handoff.client.source import Ready, source_of

KB = 1024


class Window:
    """What a run is to a map: its values are there at once, and of one size."""

    def __init__(self, stage: Stage, items: list[Any]) -> None:
        self.graph, self.core, self._items, self._stage = self, self, items, stage
        self.outputs = range(len(items))

    def is_known(self, task: int) -> bool:
        """Whether it is there."""
        return self._stage.is_quick

    def take(self, task: int) -> tuple[Any, int]:
        """The value and its bytes."""
        return self._items[task], self._stage.value_bytes

    def cancel(self, _: object) -> None:
        """It is ended before its time."""
        self._stage.cancelled += 1

    def release(self, _: object) -> None:
        """Nobody holds it any more."""
        self._stage.released += 1


class Stage:
    """Counts what is begun."""

    def __init__(self, value_bytes: int = 10, argument_bytes: int = 10, cores: int | None = None) -> None:
        self.value_bytes, self.argument_bytes, self.cores = value_bytes, argument_bytes, cores
        self.windows: list[int] = []
        self.asked = self.cancelled = self.released = 0
        self.is_quick = True

    def begin(self, window: list[tuple[Any, ...]], first: int = 0) -> Begun:
        """A window begins."""
        self.windows.append(len(window))
        made: Any = Window(self, [item for item, in window])
        return Begun(made, self.argument_bytes * len(window))

    def ask(self) -> Any:
        """How many cores there are."""
        self.asked += 1
        return lambda: self.cores

    def map(self, items: Iterator[Any]) -> Iterator[Any]:
        """The values."""
        return Mapped(self.begin, Ready(zip(items, strict=True)), None, self.ask).values()


def test_a_map_of_nothing_is_a_mistake() -> None:
    """As it is for the builtin; nobody is asked for it."""
    with pytest.raises(TypeError, match="there is no iterable"):
        Client(Core.__new__(Core)).map(abs)


def test_windows_grow_while_values_are_small() -> None:
    """The order stays; a short map asks nobody about the cluster."""
    stage = Stage()
    assert list(stage.map(iter(range(20_000)))) == list(range(20_000))
    assert stage.windows[:2] == [mapping.FIRST] * 2 and max(stage.windows) == mapping.WINDOW
    assert sum(stage.windows) == 20_000 and stage.released == len(stage.windows) and not stage.cancelled
    short = Stage()
    assert list(short.map(iter(range(mapping.FIRST)))) == list(range(mapping.FIRST)) and not short.asked


def test_large_values_keep_windows_small() -> None:
    """What is taken and not read is a few windows of what may lie there at once, however many items there are."""
    stage, taken = Stage(value_bytes=5_000 * KB), itertools.count()
    assert list(itertools.islice(stage.map(taken), 500)) == list(range(500))
    assert max(stage.windows[2:]) == mapping.LEAST and next(taken) - 500 <= 3 * mapping.LEAST


def test_every_core_gets_something_however_large_it_is() -> None:
    """A window has as many items as there are cores."""
    stage = Stage(value_bytes=500_000 * KB, cores=100)
    assert len(list(itertools.islice(stage.map(itertools.count()), 1000))) == 1000
    assert max(stage.windows) == 100 and stage.asked == 1


def test_large_arguments_count_as_well() -> None:
    """They lie in the client and on the coordinator."""
    stage = Stage(argument_bytes=60 * KB)
    assert len(list(itertools.islice(stage.map(itertools.count()), 5000))) == 5000
    assert max(stage.windows) == mapping.WINDOW_BYTES // (60 * KB)


def test_measure_goes_by_the_larger_of_both() -> None:
    """Arguments or values."""
    measure = Measure()
    measure.items = mapping.WINDOW
    measure.saw(0, 100 * KB, 10)
    measure.saw(1, 10_000 * KB, 10)
    assert measure.window() == 32
    measure.saw(1, 0, 90)
    assert measure.window() == 327


def test_items_that_come_slowly_are_not_waited_for(monkeypatch: Any) -> None:
    """A window is closed after a moment, with what has come by then."""
    now = [0.0]
    monkeypatch.setattr(mapping.time, "monotonic", lambda: now[0])

    def slow() -> Iterator[int]:
        for number in itertools.count():
            now[0] += 0.03
            yield number

    stage = Stage()
    values = stage.map(slow())
    assert stage.windows == [2, 2]
    assert list(itertools.islice(values, 100)) == list(range(100))


def test_what_was_started_is_ended_when_nobody_reads_on() -> None:
    """Each run once, and nothing is left."""
    stage = Stage()
    values: Any = stage.map(iter(range(1000)))
    next(values)
    values.close()
    assert stage.cancelled == stage.released == len(stage.windows)


def test_more_is_taken_while_values_are_waited_for() -> None:
    """Up to what may be on its way: the cluster has room for it, and the reader would only wait."""
    stage = Stage(cores=64)
    stage.is_quick = False
    run: Any = Mapped(stage.begin, Ready(zip(itertools.count(), strict=True)), None, stage.ask)
    while run._may_take():
        run._take(lambda: False)
    assert sum(stage.windows) == 2 * mapping.FIRST + 64


def test_what_was_begun_is_ended_when_the_next_window_can_not_be() -> None:
    """As with an argument that can't be pickled: nobody has the map, and its first window would stay for as long as the client."""
    stage = Stage()

    def begin(window: list[tuple[Any, ...]], first: int) -> Begun:
        if first:
            raise ValueError("no such window")
        return stage.begin(window)

    with pytest.raises(ValueError, match="no such window"):
        Mapped(begin, Ready(zip(range(1000), strict=True)), None, stage.ask)
    assert stage.windows == [mapping.FIRST] and stage.cancelled == stage.released == 1


class Nobody(threading.Event):
    """Would never come."""

    def wait(self, timeout: float | None = None) -> bool:
        """For what was told before."""
        raise AssertionError("waits for what has happened")


class Interrupted:
    """Items of a map that is ended, by another thread, while they are waited for."""

    def __init__(self, items: list[tuple[Any, ...]]) -> None:
        self.items, self.happened, self.has_ended = items, Nobody(), False
        self.error: BaseException | None = None
        self.end: Callable[[], None] | None = None

    def take(self, most: int, seconds: float, is_due: Callable[[], bool]) -> list[tuple[Any, ...]]:
        """What came, once somebody ends it."""
        if self.end is None:
            return []
        self.end()
        self.happened.clear()
        assert is_due()
        return self.items

    def close(self) -> None:
        """Nothing is to be done."""


def test_the_end_of_a_map_is_heard_while_its_items_are_waited_for() -> None:
    """By who waited for an item; and by the window that began when the others had been ended."""
    stage, source = Stage(), Interrupted([])
    run = Mapped(stage.begin, source, None, stage.ask)
    source.end = run.end
    assert list(run.values()) == [] and not stage.windows
    stage, source = Stage(), Interrupted([(1,)])
    run = Mapped(stage.begin, source, None, stage.ask)
    source.end = run.end
    assert run._take_more() and stage.windows == [1] and stage.cancelled == 1


class Large:
    """What an iterable has in its hands."""


def test_what_an_iterable_held_that_failed_goes_with_its_error() -> None:
    """Not when the garbage collector comes by: it may be all of the memory."""
    held: list[weakref.ref[Large]] = []

    def items() -> Iterator[int]:
        large = Large()
        held.append(weakref.ref(large))
        yield 1
        raise LookupError("no more")

    stage, source = Stage(), source_of((items(),))
    gc.disable()
    try:
        try:
            list(Mapped(stage.begin, source, None, stage.ask).values())
        except LookupError:
            assert held[0]() is not None     # its traceback shows it
        source.thread.join(60.0)  # type: ignore[attr-defined]
        del source
        assert held[0]() is None
    finally:
        gc.enable()
