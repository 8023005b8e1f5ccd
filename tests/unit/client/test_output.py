"""What functions print is shown by the client's thread, which must not wait for whoever should read it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from handoff.client import output
from handoff.client.output import Screen, finish, show
from handoff.columns import ints
from handoff.ids import RunId
from handoff.messages import Output

COUNT = 3000        # lines, far more than a pipe takes


class Reader:
    """The other end of this process's stdout, and what the client wants to do later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fd, written = os.pipe()
        os.set_blocking(self._fd, False)
        self._stdout = os.fdopen(written, "w")
        monkeypatch.setattr(sys, "stdout", self._stdout)
        monkeypatch.setattr(output, "SCREENS", {"stdout": Screen("stdout")})
        self.later: list[Callable[[], Any]] = []

    def show(self, first: int, count: int, text: str = "x" * 90) -> None:
        """Lines with numbers."""
        state: Any = SimpleNamespace(output=None, name_of=str)
        tasks = range(first, first + count)
        show(state, Output(RunId(1), ints(tasks), ("stdout",) * count, (text,) * count, "n"), lambda seconds, what: self.later.append(what))

    def read(self) -> str:
        """What has come."""
        found = b""
        try:
            while data := os.read(self._fd, 1 << 20):
                found += data
        except BlockingIOError:
            pass
        return found.decode()

    def read_all(self) -> str:
        """What comes until the client wants nothing more."""
        found = self.read()
        while self.later:
            self.later.pop()()
            found += self.read()
        return found

    def close(self) -> None:
        """Nobody reads any more."""
        os.close(self._fd)
        self._stdout.close()


def numbers(text: str) -> list[int]:
    """Of the lines."""
    return [int(line.split()[0][1:]) for line in text.splitlines()]


def test_lines_wait_for_who_does_not_read_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller never does, as results come by the same thread; one timer is enough for all that waits."""
    with closing(Reader(monkeypatch)) as reader:
        reader.show(0, COUNT)
        reader.show(COUNT, 10)
        assert len(reader.later) == 1
        assert numbers(reader.read_all()) == list(range(COUNT + 10))


def test_what_is_too_much_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads again is told where something is missing, and sees all that comes then."""
    with closing(Reader(monkeypatch)) as reader:
        monkeypatch.setattr(output, "WAITING_MAX", 200_000)
        reader.show(0, COUNT)
        reader.show(COUNT, COUNT)
        *shown, note = reader.read_all().splitlines()
        left = 2 * COUNT - len(shown)
        assert left > 0 and numbers("\n".join(shown)) == list(range(len(shown)))
        assert note == f"[handoff] {left:,} lines were left out here: nobody read stdout"
        reader.show(7, 1)
        assert numbers(reader.read_all()) == [7]


def test_a_line_longer_than_a_pipe_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one line in the end."""
    with closing(Reader(monkeypatch)) as reader:
        reader.show(0, 1, "y" * 300_000)
        assert reader.later
        assert reader.read_all() == f"[0 @ n] {'y' * 300_000}\n"


def test_a_client_that_ends_shows_all_and_leaves_nothing_to_its_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waited is written when there is room, and the next client that shows something can."""
    with closing(Reader(monkeypatch)) as reader:
        reader.show(0, 1000)
        found = reader.read()
        finish()
        assert numbers(found + reader.read()) == list(range(1000))
        del reader.later[:]                  # they end with the loop of that client
        reader.show(0, COUNT)
        assert reader.later and numbers(reader.read_all()) == list(range(COUNT))
