"""Where a coordinator is, as people write it: "host:port", "host", "[::1]:7070"."""

from __future__ import annotations

import re

from handoff.errors import ConfigError

DEFAULT_PORT = 7070
DEFAULT = f"127.0.0.1:{DEFAULT_PORT}"
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/\[\]@]+))(?::(?P<port>[0-9]{1,5}))?")


def parse_address(text: str, where: str = "address") -> tuple[str, int]:
    """Host and port; the port is 7070 when it is not said. The ConfigError says what is wrong and shows a right one."""
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if match is None:
        hint = f'; write IPv6 in brackets: "[{text}]:{DEFAULT_PORT}"' if text.count(":") > 1 and "/" not in text else ""
        raise ConfigError(f'{where} {text!r} is not an address; write "host:port", such as "{DEFAULT}"{hint}')
    if not 1 <= port <= 65535:
        raise ConfigError(f"{where} {text!r}: port {port} is not between 1 and 65535")
    return match["six"] or match["host"], port
