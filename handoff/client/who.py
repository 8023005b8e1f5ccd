"""Who this client is: for people who list runs, and for coordinator and nodes."""

from __future__ import annotations

import getpass
import os
import platform
import socket

from handoff.ids import PeerId
from handoff.messages import PROTOCOL, Hello
from handoff.version import VERSION


def description() -> str:
    """User, machine and process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "user"
    return f"{user}@{socket.gethostname()}/{os.getpid()}"


def greeting(name: str, boot: bytes, me: PeerId, coordinator: bytes) -> Hello:
    """Its first words: `me` is the number that the coordinator of this boot gave it, if any did."""
    return Hello(
        protocol=PROTOCOL, version=VERSION, python=".".join(platform.python_version_tuple()[:2]), role="client", name=name, boot=boot,
        pid=os.getpid(), peer=me, coordinator=coordinator,
    )
