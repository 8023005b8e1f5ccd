"""What is too large to be said is said in few words, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handoff.columns import ints
from handoff.coordinator.shortened import TEXT_MAX, shortened
from handoff.ids import RunId
from handoff.messages import Answer, EndRun, Message, Output, Progress, Refused, RunFailed

RUN, LONG = RunId(3), "x" * (TEXT_MAX + 5)
CUT = "x" * TEXT_MAX + "... (5 more characters)"


@pytest.mark.parametrize(("message", "instead"), [
    (Answer(7, [1]), Refused("ProtocolError", "the answer is too large to be sent: why", 7)),
    (Refused("AllocationError", LONG, 7, 2), Refused("AllocationError", CUT, 7, 2)),
    (Progress(RUN, 1, 2, 3, LONG), Progress(RUN, 1, 2, 3, CUT)),
    (RunFailed(RUN, "FunctionFailed", LONG, 4, "n", 2, LONG, LONG, b"body"),
     RunFailed(RUN, "FunctionFailed", CUT, 4, "n", 2, CUT, CUT, b"body")),
    (Output(RUN, ints([4, 5]), ("log", "log"), (LONG, "b"), "n"),
     Output(RUN, ints([4]), ("stderr",), ("[2 lines left out: together they are too large to be sent]",), "n")),
    (EndRun(RUN), None),
])
def test_what_is_said_instead(message: Message, instead: Message | None) -> None:
    """Texts are cut, what tells who and what stays."""
    assert shortened(message, "why") == instead


def test_short_texts_stay_as_they_are() -> None:
    """Only what is long is cut."""
    failed = RunFailed(RUN, "FunctionFailed", LONG, traceback="line")
    assert shortened(failed, "why") == replace(failed, text=CUT)
