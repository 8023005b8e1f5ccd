"""Of graphs the log tells the beginning and the end; of single calls only what went wrong."""

from __future__ import annotations

import logging

import pytest

from handoff.columns import Blobs, ints
from handoff.coordinator.runlog import RunLog
from handoff.ids import PeerId, RunId
from handoff.messages import Accepted, Message, Refused, RunDone, RunFailed, Submit
from handoff.program import Kind, Program

ME = PeerId(3)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is said at the level of a daemon that was told nothing else."""
    caplog.set_level(logging.INFO, "handoff")
    return caplog


def submitted(runs: RunLog, token: int, *, is_call: bool) -> None:
    """A client asks for a run of one function."""
    program = Program((), (Kind((), "f"),), ints([0]), Blobs.of([b""]), ints([0]), ints())
    runs.asked(ME, Submit(token, "name", program, values_only=is_call), "me")


def said(runs: RunLog, *messages: Message) -> None:
    """The coordinator answers."""
    for message in messages:
        runs.said(ME, message)


def events(told: pytest.LogCaptureFixture) -> list[str]:
    """The names of what was said, with their levels."""
    return [f"{record.levelname} {record.event}" for record in told.records]  # type: ignore[attr-defined]


def test_a_graph_is_told_from_its_beginning_to_its_end(told: pytest.LogCaptureFixture) -> None:
    """Of one function, too."""
    runs = RunLog()
    submitted(runs, 1, is_call=False)
    said(runs, Accepted(1, RunId(7)), RunDone(RunId(7), ints([1])))
    assert events(told) == ["INFO run.accepted", "INFO run.done"]


def test_single_calls_that_go_well_or_are_cancelled_are_no_news(told: pytest.LogCaptureFixture) -> None:
    """A thousand of them in a second were two thousand lines."""
    runs = RunLog()
    for token in range(100):
        submitted(runs, token, is_call=True)
        said(runs, Accepted(token, RunId(token + 1)))
    said(runs, *(RunDone(RunId(number), ints([1])) for number in range(1, 91)))
    submitted(runs, 100, is_call=True)
    said(runs, RunDone(RunId(101), ints([1]), token=100))     # all of it in one message
    assert not runs._asked and set(runs._calls) == set(range(91, 101))
    said(runs, *(RunFailed(RunId(number), "RunCancelled", "cancelled") for number in range(91, 101)))
    assert events(told) == []


def test_single_calls_that_fail_are_told(told: pytest.LogCaptureFixture) -> None:
    """Refused, or without a result."""
    runs = RunLog()
    for token in (1, 2):
        submitted(runs, token, is_call=True)
    said(runs, Refused("AllocationError", "no node", 1), Accepted(2, RunId(1)), RunFailed(RunId(1), "FunctionFailed", "failed"))
    assert events(told) == ["WARNING run.refused", "WARNING run.failed"]
    assert "name=name tasks=1 client=me" in told.messages[0]


def test_nothing_is_kept_of_clients_that_are_gone(told: pytest.LogCaptureFixture) -> None:
    """What is said to one that left just now is no news either."""
    runs = RunLog()
    for token in (1, 2):
        submitted(runs, token, is_call=True)
    said(runs, Accepted(1, RunId(1)))
    runs.left(ME)
    said(runs, Accepted(2, RunId(2)))
    assert events(told) == [] and not runs._asked and not runs._calls


def test_nothing_is_kept_of_a_call_that_its_client_let_go_of(told: pytest.LogCaptureFixture) -> None:
    """It is told nothing more of it: neither that it is done nor that it failed."""
    runs = RunLog()
    for token in range(100):
        submitted(runs, token, is_call=True)
        said(runs, Accepted(token, RunId(token + 1)))
        runs.forgotten([token + 1])
    assert not runs._calls and not runs._asked
