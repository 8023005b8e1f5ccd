"""Who this client is, for people who list runs."""

from __future__ import annotations

import getpass
import os
import socket


def description() -> str:
    """User, machine and process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "user"
    return f"{user}@{socket.gethostname()}/{os.getpid()}"
