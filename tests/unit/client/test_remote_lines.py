"""Tracebacks from nodes get the lines of code that they do not have: that of the client's own script."""

from __future__ import annotations

import linecache
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from handoff.client.failures import with_lines


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that is loaded here."""
    module = ModuleType("script_of_ours")
    module.__file__ = str(tmp_path / "script.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Path(module.__file__)


def test_lines_that_only_the_client_has_are_filled_in(script: Path) -> None:
    """Frames that have their line keep it, and files that are not here either stay without."""
    script.write_text("def f(x):\n    y = x + 1\n    return y / 0\n")
    frame = f'File "{script}", line 3, in f'
    told = "\n".join([
        "Traceback (most recent call last):", f"  {frame}", '  File "/there/other.py", line 7, in g', f'  File "{script}", line 2, in f',
        "    as the node has it", "ZeroDivisionError: division by zero", ""])

    assert with_lines(told) == told.replace(f"  {frame}\n", f"  {frame}\n    return y / 0\n")


def test_lines_in_a_group_of_exceptions_are_indented_as_it_is(script: Path) -> None:
    """With its bars."""
    script.write_text("raise ValueError\n")
    told = f'  | Traceback (most recent call last):\n  |   File "{script}", line 1, in f\n  | ValueError'

    assert with_lines(told) == told.replace("in f\n", "in f\n  |     raise ValueError\n")


def test_a_cell_of_a_notebook_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in no file, and Python knows its lines."""
    monkeypatch.setitem(linecache.cache, "<cell-7>", (4, None, ["1/0\n"], "<cell-7>"))
    assert with_lines('  File "<cell-7>", line 1, in f\n') == '  File "<cell-7>", line 1, in f\n    1/0\n'


def test_no_other_file_is_read_because_an_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the text of an error may come from anywhere: a line of a secret is not to stand in a log because of it.

    Nor is a pipe or a terminal waited for: a program that is read from /dev/stdin somewhere says so in its traceback.
    """
    secret, pipe = tmp_path / "secret", tmp_path / "pipe"
    secret.write_text("hof1_abc\n")
    os.mkfifo(pipe)
    looked: list[Any] = []
    monkeypatch.setattr(linecache, "getline", lambda *about: looked.append(about) or "")
    for file in (secret, pipe, "/dev/stdin", "/dev/zero"):
        told = f'ValueError: it says\n  File "{file}", line 1, in f\n'
        assert with_lines(told) == told
    assert not looked


def test_a_message_that_looks_like_a_frame_does_no_harm(tmp_path: Path) -> None:
    """Whatever a user's exception says."""
    for text in ('File "", line 0', f'File "{tmp_path}", line 1', 'File "x", line ' + 5000 * "9", "", "\n\n", 'File "a\0b", line 1'):
        assert with_lines(text) == text


def test_modules_are_looked_through_once_for_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of its frames are in files that are not here: for each of a thousand it took seconds, on the loop of the client."""
    class Modules(dict[str, ModuleType]):
        looks = 0

        def values(self) -> Any:
            self.looks += 1
            return super().values()

    modules = Modules(sys.modules)
    monkeypatch.setattr(sys, "modules", modules)
    told = "".join(f'  File "/there/{number}.py", line 1, in f\n' for number in range(1000))
    assert with_lines(told) == told and modules.looks == 1
