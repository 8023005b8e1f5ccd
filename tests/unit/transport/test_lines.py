"""What functions print, over a session whose other end does not take it in."""

from __future__ import annotations

import sys

from handoff.columns import ints
from handoff.ids import RunId
from handoff.messages import Output
from handoff.transport.lines import SHARE, Lines
from handoff.wire.fit import check_fit

KEPT_MAX = 1000
FULL = KEPT_MAX // SHARE + 1


def printed(run: int, *texts: str) -> Output:
    """These lines, by the tasks 0, 1 and so on of that run, on node n1."""
    return Output(RunId(run), ints(range(len(texts))), ("stdout",) * len(texts), texts, "n1")


def test_how_much_was_left_out_is_told_per_run() -> None:
    """When there is room again, before what comes next; by the last task that printed, and once."""
    lines = Lines(KEPT_MAX)
    assert lines.admit(printed(1, "a"), 0) == [printed(1, "a")]
    for each in printed(1, "b", "c"), printed(2, "d"), printed(1, "e"):
        assert lines.admit(each, FULL) == []
    first, second, this = lines.admit(printed(2, "f"), 0)
    assert (first.run, list(first.tasks), first.streams, first.node) == (1, [0], ("stderr",), "n1")
    assert first.texts[0].startswith("[3 lines left out") and second.texts[0].startswith("[1 line left out")
    assert this == printed(2, "f") and lines.admit(this, 0) == [this]


def test_what_is_left_out_is_not_kept() -> None:
    """Or the last lines of each run would be: a client may have thousands, and be away for minutes."""
    lines, text = Lines(KEPT_MAX), "x" * 1000
    before = sys.getrefcount(text)
    for run in range(10):
        lines.admit(printed(run, text), FULL)
    assert sys.getrefcount(text) == before


def test_of_no_lines_nothing_is_told() -> None:
    """A node may say it; told of it, in columns of different lengths, the client would end its session."""
    lines = Lines(KEPT_MAX)
    lines.admit(printed(1), FULL)
    told = lines.admit(printed(1, "a"), 0)
    assert [each.texts for each in told] == [("a",)]
    for each in told:
        check_fit(each, 0)
