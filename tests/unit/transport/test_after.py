"""What leaves when: an answer in the turn in which it was said, the report of it right behind, what nobody waits for with the next."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from handoff.columns import floats, ints, longs
from handoff.ids import RunId
from handoff.loop import this_turn
from handoff.messages import EndRun, Failed, Report, Results
from handoff.settings import WireSettings
from handoff.transport.link import Link

REPORT = Report(RunId(1), ints([0]), ints([1]), longs([1]), floats([0.0]), floats([0.0]))
RESULTS = Results(RunId(1), ints([0]), longs([1]), b"1")


def link(to: str, written: list[str]) -> Link:
    """One that stands, and notes whom it wrote to."""
    made = Link(SimpleNamespace(role="node"), WireSettings(), SimpleNamespace(), introduce=lambda *_: None, gone=lambda *_: None)
    transport: Any = SimpleNamespace(write=lambda _: written.append(to))
    made._transport, made.is_open = transport, True
    return made


async def test_a_report_leaves_when_what_somebody_waits_for_has_left() -> None:
    """Though it was said first; and it waits for nothing else."""
    written: list[str] = []
    coordinator, client = link("coordinator", written), link("client", written)
    with this_turn():
        coordinator.send(REPORT)
        client.send(RESULTS)

    assert written == ["client"]
    await asyncio.sleep(0)
    assert written == ["client", "coordinator"]


async def test_what_is_said_behind_a_report_leaves_with_it() -> None:
    """In one write, and in order."""
    written: list[str] = []
    coordinator = link("coordinator", written)
    with this_turn():
        coordinator.send(REPORT)
        coordinator.send(Failed(RunId(1), 1, 1, "exception"))
        coordinator.send(EndRun(RunId(2)))
    await asyncio.sleep(0)

    assert written == ["coordinator"] and not coordinator._outgoing
