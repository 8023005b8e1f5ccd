"""What a process says of itself has a limit, which it is told at its first call and not when it calls again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handoff.errors import ConfigError, ConnectionLost
from handoff.messages import PROTOCOL, Hello
from handoff.settings import WireSettings
from handoff.transport.dial import dial
from handoff.wire import codec


async def test_what_would_be_too_long_after_a_break_is_refused_at_once() -> None:
    """Back from a break it also says whose number it has, and how far it is: it could not, and nobody was told why it stayed away."""
    nobody: Any = None
    settings = WireSettings()
    hello = Hello(PROTOCOL, "0", "3", "node", "me", b"b" * 16)
    room = settings.hello_bytes_max - len(codec.encode(hello)[0])
    near = replace(hello, labels=(("x", "y" * (room - 10)),))
    assert len(codec.encode(near)[0]) <= settings.hello_bytes_max
    with pytest.raises(ConfigError, match="fewer or shorter labels"):
        await dial(("127.0.0.1", 1), nobody, near, nobody, settings)
    with pytest.raises(ConnectionLost):
        await dial(("127.0.0.1", 1), nobody, replace(hello, labels=(("x", "y" * (room - 60)),)), nobody, settings)
