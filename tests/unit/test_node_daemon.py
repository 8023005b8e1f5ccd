"""The node's shell without its network: what it keeps, and what can not end it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from handoff.columns import Blobs, floats, ints
from handoff.ids import PeerId, RunId
from handoff.messages import Output, Plan, Welcome
from handoff.node.daemon import Daemon
from handoff.resources import amounts
from handoff.settings import Settings, WireSettings
from handoff.transport.session_client import SessionClient
from handoff.trust.secret import generate

RUN = RunId(1)
MEMORY = 100_000     # bytes that a coordinator may leave unacknowledged


@pytest.fixture
async def daemon() -> Daemon:
    """One that has not begun to speak to anybody."""
    settings = Settings(wire=WireSettings(unacknowledged_bytes_max=MEMORY, acknowledge_bytes=1000))
    made = Daemon(settings, generate(), ("127.0.0.1", 1), "me", amounts({"cpu": 1, "memory": 80}))
    made._session = SessionClient(("127.0.0.1", 1), made._identity, settings.wire, made._hello, made._happened, made._welcomed)
    nothing: Any = SimpleNamespace(start_anew=lambda: None, post=lambda event: None)
    made._exchange = made._driver = nothing
    return made


def plan(digest: bytes, code: bytes) -> Plan:
    """Nothing is planned, but code comes."""
    return Plan(RUN, ints(), ints(), ints(), Blobs.of([]), ints(), ints(), ints(), floats([]), codes=((digest, len(code)),), body=code)


async def test_code_goes_with_the_session_that_it_came_in(daemon: Daemon) -> None:
    """Nobody would ever say that it is to be dropped: each time that the node was given up, what it had stayed for good."""
    daemon._heard(plan(b"old", b"x" * 1000))
    daemon._welcomed(Welcome(PeerId(7), coordinator=b"c" * 16))
    daemon._heard(plan(b"new", b"y"))
    assert daemon._codes == {b"new": b"y"}


async def test_what_is_printed_is_never_the_end_of_a_node(daemon: Daemon) -> None:
    """Its coordinator is away, or slow: lines are left out, and their number is told when it hears again."""
    for _ in range(1000):
        daemon._printed(RUN, [3], ["stdout"], ["x" * 1000])
    assert daemon._refusal is None and not daemon._stopped.is_set()
    assert 0 < daemon._session.kept_bytes < MEMORY

    daemon._session.begin_anew("it hears again")
    said: list[Any] = []
    daemon._session.send = said.append  # type: ignore[method-assign]
    daemon._printed(RunId(2), [5], ["stdout"], ["more"])
    assert said[-1] == Output(RunId(2), ints([5]), ("stdout",), ("more",))
    count = int(said[0].texts[0].split()[0].strip("["))
    assert said[0] == Output(RUN, ints([3]), ("stderr",), (f"[{count} lines left out: they could not be sent as fast as they came]",))
    assert 900 < count < 1000
    await daemon._session.close()


async def test_memory_for_what_is_to_come_is_a_part_of_what_the_node_has(daemon: Daemon) -> None:
    """And not of its machine's, of which its control group may leave it little."""
    room = daemon._store.prepare(RUN, 1, 64_000_000)
    assert room is not None and room.nbytes == 10_000_000
