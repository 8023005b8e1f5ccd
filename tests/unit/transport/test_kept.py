"""What is said to a peer whose connection broke is kept for it, if it can be said at all."""

from __future__ import annotations

import pytest

from handoff.errors import ProtocolError
from handoff.ids import RunId
from handoff.messages import Cancel, RunFailed
from handoff.settings import WireSettings
from handoff.transport.sessions import keep
from handoff.wire.session import Session

SETTINGS = WireSettings(header_bytes_max=1000, body_bytes_max=1000)


def test_what_no_message_holds_is_not_kept() -> None:
    """As over a link: the other side would take it for nonsense when it is back, and end the session."""
    session = Session(1 << 20)
    for message in (Cancel(RunId(1), "x" * 2000), RunFailed(RunId(1), "", "", body=b"x" * 2000)):
        with pytest.raises(ProtocolError, match=f"{type(message).__name__} has .* more than 1000"):
            keep(session, message, SETTINGS)
    assert (session.sent, session.kept_bytes) == (0, 0)

    keep(session, Cancel(RunId(1), "x"), SETTINGS)
    assert session.sent == 1
