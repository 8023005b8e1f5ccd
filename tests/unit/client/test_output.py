"""What functions print is shown by the client's thread, which must not wait for whoever should read it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from io import StringIO
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

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> None:
        self._fd, written = os.pipe()
        os.set_blocking(self._fd, False)
        self._stdout = os.fdopen(written, "w", encoding=encoding)
        monkeypatch.setattr(sys, "stdout", self._stdout)
        monkeypatch.setattr(output, "SCREENS", {"stdout": Screen("stdout")})
        self.later: list[Callable[[], Any]] = []

    def show(self, first: int, count: int, text: str = "x" * 90) -> None:
        """Lines with numbers."""
        state: Any = SimpleNamespace(output=None, name_of=str)
        tasks = range(first, first + count)
        show(state, Output(RunId(1), ints(tasks), ("stdout",) * count, (text,) * count, "n"), lambda seconds, what: self.later.append(what))

    def read(self, most: int = 1 << 30) -> str:
        """What has come."""
        found = b""
        try:
            while data := os.read(self._fd, min(1 << 20, most - len(found))):
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


def test_what_the_caller_printed_before_has_room_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lie in the stream, up to 8 kB, and is written with the next line: the client's thread would wait for that, too."""
    with closing(Reader(monkeypatch)) as reader:
        os.set_blocking(sys.stdout.fileno(), False)       # what would wait is lost instead
        reader.show(0, COUNT)
        print("y" * 8000)
        found = reader.read(4096)
        reader.later.pop()()
        assert reader.later
        lines = (found + reader.read_all()).splitlines()
        lines.remove("y" * 8000)
        assert numbers("\n".join(lines)) == list(range(COUNT))


def test_a_line_longer_than_a_pipe_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one line in the end."""
    with closing(Reader(monkeypatch)) as reader:
        reader.show(0, 1, "y" * 300_000)
        assert reader.later
        assert reader.read_all() == f"[0 @ n] {'y' * 300_000}\n"


def test_a_client_that_ends_shows_all_and_leaves_nothing_to_its_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waited is written when there is room, and the next client that shows something can."""
    with closing(Reader(monkeypatch)) as reader:
        reader.show(0, 500)
        found = reader.read()
        finish()
        assert numbers(found + reader.read()) == list(range(500))
        del reader.later[:]                  # they end with the loop of that client
        reader.show(0, COUNT)
        assert reader.later and numbers(reader.read_all()) == list(range(COUNT))


def test_a_stream_that_broke_while_a_client_ended_keeps_nothing_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes to a file, or anew to a terminal, sees what comes then."""
    with closing(Reader(monkeypatch)) as reader:
        reader.show(0, COUNT)
        monkeypatch.setattr(sys, "stdout", Broken())
        finish()
        shown = StringIO()
        monkeypatch.setattr(sys, "stdout", shown)
        reader.show(7, 1)
        assert numbers(shown.getvalue()) == [7]


class Broken(StringIO):
    """A stream of somebody's own."""

    def write(self, text: str) -> int:
        """It may raise anything."""
        raise RuntimeError("broken")


@pytest.mark.parametrize("number", [-1, None])
def test_a_stream_without_a_descriptor_can_be_written_to(monkeypatch: pytest.MonkeyPatch, number: Any) -> None:
    """Some say so by a number that is none."""
    shown = StringIO()
    monkeypatch.setattr(shown, "fileno", lambda: number, raising=False)
    with closing(Reader(monkeypatch)) as reader:
        monkeypatch.setattr(sys, "stdout", shown)
        reader.show(7, 1)
        assert numbers(shown.getvalue()) == [7]


def test_what_two_clients_count_at_once_is_none_when_all_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else lines would be left out in the end, for which there is room."""
    class Line(str):
        """While this one is counted, another client shows something."""

        lengths = 0

        def __len__(self) -> int:
            self.lengths += 1
            if self.lengths == 2:
                screen.show(["another\n"], later)
            return super().__len__()

    with closing(Reader(monkeypatch)) as reader:
        screen, later = output.SCREENS["stdout"], lambda seconds, what: reader.later.append(what)
        screen.show([Line("one\n")], later)
        assert reader.read_all() == "another\none\n"
        assert not screen._waiting


def test_a_forked_process_has_no_lines_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be shown twice, and what a client there is to show would wait for a timer that is not there."""
    with closing(Reader(monkeypatch)) as reader:
        reader.show(0, COUNT)
        child = os.fork()
        if not child:
            shown = sys.stdout = StringIO()
            try:
                reader.show(7, 1)
            finally:
                os._exit(0 if shown.getvalue() == f"[7 @ n] {'x' * 90}\n" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert numbers(reader.read_all()) == list(range(COUNT))


@pytest.mark.parametrize(("encoding", "text", "shown"), [
    ("ascii", "gr\u00fcn", "gr\\xfcn"), ("cp1252", "gr\u00fcn \u2192", "gr\u00fcn \\u2192"), ("utf-8", "half \ud800", "half \\ud800"),
])
def test_a_line_that_can_not_be_encoded_costs_no_other(monkeypatch: pytest.MonkeyPatch, encoding: str, text: str, shown: str) -> None:
    """Nor itself: what its stream has no bytes for is written as Python writes it. Lines that wait behind it are shown as well."""
    with closing(Reader(monkeypatch, encoding)) as reader:
        reader.show(0, 1)
        reader.read()
        reader.show(1, 1, text)
        reader.show(2, 1, "after it")
        while reader.later:
            reader.later.pop()()
        assert os.read(reader._fd, 1000).decode(encoding) == f"[1 @ n] {shown}\n[2 @ n] after it\n"
