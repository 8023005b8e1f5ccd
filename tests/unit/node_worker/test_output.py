"""Printed text becomes lines with an origin, limited in size and rate."""

from __future__ import annotations

import logging
import sys

import pytest

from handoff.node import child_output
from handoff.node.child_output import LINE_CHARACTERS_MAX, LogLines, Output, Stream, printable

Line = tuple[int, int, str, str]


def recorded(origin: tuple[int, int] | None = (7, 1), limit: int = 1 << 20) -> tuple[Output, list[Line]]:
    lines: list[Line] = []
    return Output(lambda *line: lines.append(line), lambda: origin, limit), lines


def test_text_is_cut_into_lines() -> None:
    """Lines go out when they end; what is begun waits for its end or for the end of its task."""
    output, lines = recorded()
    output.write("stdout", "a\nb")
    output.write("stderr", "x")
    output.write("stdout", "c\n\n")
    assert [(stream, text) for _, _, stream, text in lines] == [("stdout", "a"), ("stdout", "bc"), ("stdout", "")]
    output.end((7, 2))
    assert len(lines) == 3
    output.end((7, 1))
    assert lines[3:] == [(7, 1, "stderr", "x")]
    assert not output.begun


def test_a_progress_bar_is_its_last_state() -> None:
    """What is overwritten by carriage returns is not told."""
    output, lines = recorded()
    output.write("stderr", "\r 10%\r 50%\r100%\r\n")
    assert lines[0][3] == "100%"


def test_a_line_without_end_is_cut() -> None:
    """Neither a long line nor one that never ends fills memory."""
    output, lines = recorded()
    output.write("stdout", "x" * (LINE_CHARACTERS_MAX + 5))
    assert lines[0][3].endswith("x… (5 more characters)")
    output.write("stdout", "")
    output.write("stdout", "\nnext\n\n")
    output.write("stdout", "y" * (LINE_CHARACTERS_MAX + 1))
    output.end((7, 1))
    assert [text[:4] for *_, text in lines[1:]] == ["next", "", "yyyy"]
    assert not output.begun


def test_lines_over_the_rate_are_counted() -> None:
    """Lines over the limit are left out, and told of at the end of the task."""
    output, lines = recorded(limit=10)
    for _ in range(5):
        output.write("stdout", "1234\n")
    output.end((7, 1))
    assert [text for *_, text in lines] == ["1234", "1234", "[3 lines were left out: a worker may write 10 bytes a second]"]


def test_what_no_task_wrote_goes_to_the_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first task there is nobody to tell."""
    output, lines = recorded(None)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    output.write("stdout", "early\n")
    assert (lines, capsys.readouterr().err) == ([], "early\n")


def test_lone_surrogates_can_travel() -> None:
    """They are written as escapes."""
    assert printable("ä\udc80") == "ä\\udc80"


def test_streams_look_like_files() -> None:
    """What programs do with sys.stdout works."""
    output, lines = recorded()
    stream = Stream(output, "stdout", 1)
    stream.buffer.write("ä\n".encode())
    stream.writelines(["b", "\n"])
    stream.flush()
    stream.close()
    stream.buffer.close()
    stream.reconfigure(line_buffering=True)
    print("after", file=stream)
    assert [text for *_, text in lines] == ["ä", "b", "after"]
    assert (stream.name, stream.encoding, stream.errors, stream.fileno(), stream.isatty(), stream.writable(), stream.buffer.writable()) == (
        "stdout", "utf-8", "backslashreplace", 1, False, True, True,
    )
    with pytest.raises(TypeError, match="must be str, not bytes"):
        stream.write(b"x")  # type: ignore[arg-type]


def test_capturing_can_be_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prints and logs of the whole process are taken, and given back."""
    output, lines = recorded()
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    child_output.capture(output)
    print("one")
    print("two", file=sys.stderr)
    logging.getLogger("a").info("three\nfour")
    logging.getLogger("a").handle(logging.LogRecord("a", logging.INFO, "", 0, "five %d", (5,), None))
    child_output.release()
    assert [(stream, text) for _, _, stream, text in lines] == [
        ("stdout", "one"), ("stderr", "two"), ("log", "INFO a: three"), ("log", "four"), ("log", "INFO a: five 5"),
    ]
    assert not [handler for handler in root.handlers if isinstance(handler, LogLines)]


def test_lines_that_threads_begin_while_a_task_ends_do_no_harm() -> None:
    """What a task has begun is looked for among what others begin: that grew while it was gone through, and a worker died."""
    output, lines = recorded()

    class Origin(tuple[int, int]):
        """While two are compared, another thread has its turn."""

        def __eq__(self, other: object) -> bool:
            output.begun[1, "stdout", (9, len(output.begun))] = "begun meanwhile"
            return tuple(self) == other

        __hash__ = tuple.__hash__

    output.begun[0, "stdout", Origin((7, 1))] = "rest"
    output.end((7, 1))
    assert lines == [(7, 1, "stdout", "rest")]
