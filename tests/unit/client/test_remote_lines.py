"""Tracebacks from nodes get the lines of code that they do not have: that of the client's own script."""

from __future__ import annotations

from pathlib import Path

from handoff.client.failures import with_lines


def test_lines_that_only_the_client_has_are_filled_in(tmp_path: Path) -> None:
    """Frames that have their line keep it, and files that are not here either stay without."""
    script = tmp_path / "script.py"
    script.write_text("def f(x):\n    y = x + 1\n    return y / 0\n")
    frame = f'File "{script}", line 3, in f'
    told = "\n".join([
        "Traceback (most recent call last):", f"  {frame}", '  File "/there/other.py", line 7, in g', f'  File "{script}", line 2, in f',
        "    as the node has it", "ZeroDivisionError: division by zero", ""])

    assert with_lines(told) == told.replace(f"  {frame}\n", f"  {frame}\n    return y / 0\n")


def test_lines_in_a_group_of_exceptions_are_indented_as_it_is(tmp_path: Path) -> None:
    """With its bars."""
    script = tmp_path / "script.py"
    script.write_text("raise ValueError\n")
    told = f'  | Traceback (most recent call last):\n  |   File "{script}", line 1, in f\n  | ValueError'

    assert with_lines(told) == told.replace("in f\n", "in f\n  |     raise ValueError\n")


def test_a_message_that_looks_like_a_frame_does_no_harm(tmp_path: Path) -> None:
    """Whatever a user's exception says."""
    for text in ('File "", line 0', f'File "{tmp_path}", line 1', 'File "x", line ' + 5000 * "9", "", "\n\n", 'File "a\0b", line 1'):
        assert with_lines(text) == text
