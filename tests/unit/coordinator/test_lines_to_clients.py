"""A client that takes in less than functions print loses lines, and not its runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from handoff.columns import ints
from handoff.coordinator.coordinator import Coordinator
from handoff.ids import PeerId, RunId
from handoff.machine import Joined, Lost, Send
from handoff.messages import PROTOCOL, EndRun, Hello, Message, Output
from handoff.settings import Settings, WireSettings
from handoff.trust.secret import generate

CLIENT = PeerId(3)


@pytest.fixture
async def coordinator() -> Coordinator:
    """With one client, to which what it is told is written down; `kept` says how much of that it has not taken in."""
    made = Coordinator(Settings(wire=WireSettings(unacknowledged_bytes_max=4000, acknowledge_bytes=100)), generate(), "127.0.0.1", 0)
    sessions: Any = SimpleNamespace(said=[], kept=0, host=lambda peer: "127.0.0.1")
    sessions.send = lambda peer, message: sessions.said.append(message)
    sessions.kept_bytes = lambda peer: sessions.kept
    nothing: Any = SimpleNamespace(post=lambda event: None)
    made._sessions, made._driver = sessions, nothing
    made._happened(Joined(CLIENT, Hello(PROTOCOL, "0", "3", "client", "me", b"")))
    return made


def printed(run: int, *texts: str) -> Output:
    """Lines of some task."""
    return Output(RunId(run), ints([9] * len(texts)), ("stdout",) * len(texts), texts, "alpha")


def said(coordinator: Any, *messages: Message) -> list[Any]:
    """What the client is told of these."""
    coordinator._sessions.said.clear()
    for message in messages:
        coordinator._perform(Send(CLIENT, message))
    return list(coordinator._sessions.said)


async def test_lines_are_left_out_while_too_much_is_unheard_and_told_of_afterwards(coordinator: Any) -> None:
    """Of each run with their number; all else is said as ever."""
    assert said(coordinator, printed(1, "a")) == [printed(1, "a")]
    coordinator._sessions.kept = 1001
    assert said(coordinator, printed(1, "b", "c"), printed(2, "d"), EndRun(RunId(5)), printed(1, "e")) == [EndRun(RunId(5))]
    coordinator._sessions.kept = 1000
    told = "left out: they could not be sent as fast as they came]"
    assert said(coordinator, printed(3, "f"), printed(3, "g")) == [
        Output(RunId(1), ints([9]), ("stderr",), (f"[3 lines {told}",), "alpha"),
        Output(RunId(2), ints([9]), ("stderr",), (f"[1 line {told}",), "alpha"),
        printed(3, "f"), printed(3, "g"),
    ]


async def test_who_left_is_forgotten(coordinator: Any) -> None:
    """What its functions print is nobody's."""
    coordinator._happened(Lost(CLIENT, "it left"))
    assert said(coordinator, printed(1, "a")) == [] and coordinator._lines == {}
