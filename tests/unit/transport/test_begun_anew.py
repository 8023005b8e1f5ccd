"""A client that begins anew has nothing to do with its former session, though the answer to its last call may be on its way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from handoff.ids import PeerId
from handoff.messages import PROTOCOL, Hello, Welcome
from handoff.settings import WireSettings
from handoff.transport.session_client import SessionClient


async def test_a_former_session_that_is_resumed_too_late_is_left() -> None:
    """Its numbers would be taken for those of a fresh one, and the connection ended for nonsense."""
    happened: list[Any] = []
    nobody: Any = SimpleNamespace(role="client")
    session = SessionClient(
        ("127.0.0.1", 1), nobody, WireSettings(reconnect_seconds=60.0), lambda: Hello(PROTOCOL, "0", "3", "client", "me", b""),
        emit=happened.append, on_welcome=happened.append)
    session.begin_anew("given up")
    closed: list[str] = []
    late: Any = SimpleNamespace(welcome=Welcome(PeerId(5), resumed=True), close=lambda reason, bye: closed.append(reason))

    session.opened(late)

    assert closed == ["not needed any more"] and session.link is None and happened == []
    await session.close()


async def test_who_is_in_does_not_dial_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a call from before was a welcome to a fresh session: a second call would end that, and all that was said in it."""
    dialled: list[Any] = []
    nobody: Any = SimpleNamespace(role="client")
    session = SessionClient(
        ("127.0.0.1", 1), nobody, WireSettings(reconnect_seconds=1e-9), lambda: Hello(PROTOCOL, "0", "3", "client", "me", b""),
        emit=lambda event: None, on_welcome=lambda welcome: None)

    async def dial(settings: WireSettings) -> None:
        dialled.append(settings)

    monkeypatch.setattr(session, "_dial", dial)
    session.begin_anew("given up")
    assert session._redialling is not None
    fresh: Any = SimpleNamespace(welcome=Welcome(PeerId(5)), attach=lambda session, received: None, close=lambda reason, bye: None)
    session.opened(fresh)
    await session._redialling
    assert dialled == []
    session._link = None
