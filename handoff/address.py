"""Where a coordinator is, as people write it: "host:port", "host", "[::1]:7070"; and where that puts the nodes beside it."""

from __future__ import annotations

import ipaddress
import re

from handoff.errors import ConfigError
from handoff.quoting import quoted

DEFAULT_PORT = 7070
DEFAULT = f"127.0.0.1:{DEFAULT_PORT}"
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/\[\]@]+))(?::(?P<port>[0-9]{1,5}))?")


def parse_address(text: str, where: str = "address") -> tuple[str, int]:
    """Host and port; the port is 7070 when it is not said. The ConfigError says what is wrong and shows a right one."""
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if match is None:
        hint = f'; write IPv6 in brackets: "[{text}]:{DEFAULT_PORT}"' if text.count(":") > 1 and "/" not in text and len(text) < 100 else ""
        raise ConfigError(f'{where} {quoted(text)} is not an address; write "host:port", such as "{DEFAULT}"{hint}')
    if not 1 <= port <= 65535:
        raise ConfigError(f"{where} {quoted(text)}: port {port} is not between 1 and 65535")
    return match["six"] or match["host"], port


def is_loopback(host: str) -> bool:
    """Whether only processes on the same machine come there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_same_machine(one: str, other: str) -> bool:
    """Whether these two, who came to the coordinator from these hosts, are surely on one machine."""
    one, other = (host.partition("%")[0].removeprefix("::ffff:") for host in (one, other))
    return bool(one) and (one == other or (is_loopback(one) and is_loopback(other)))


def seen_from_here(address: tuple[str, int], coordinator: str) -> tuple[str, int]:
    """Where a node is for us, who reach the coordinator at that host.

    A node that came to the coordinator over loopback is on the coordinator's machine, which is not ours when we came another way.
    """
    host, port = address
    return (coordinator, port) if is_loopback(host) and not is_loopback(coordinator) else address
