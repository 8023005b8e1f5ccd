"""Finding a cluster: its address, its secret, and a connection to it."""

from __future__ import annotations

import os
from pathlib import Path

from handoff.address import DEFAULT, parse_address
from handoff.client.client import Client
from handoff.client.core import Core
from handoff.client.options import patience_above_zero
from handoff.config import load_settings
from handoff.errors import ConfigError
from handoff.quoting import quoted
from handoff.trust.secret import Secret, find


def connect(address: str | None = None, *, secret: str | Path | Secret | None = None, timeout: float = 10.0) -> Client:
    """A client of the cluster whose coordinator is at `address`, "host:port".

    Without an address: what HANDOFF_COORDINATOR says, or 127.0.0.1:7070. `secret` is the path of the cluster's secret file; without it, the
    places are HANDOFF_SECRET_FILE, HANDOFF_SECRET and ~/.config/handoff/secret. Settings are those of handoff.toml and the environment,
    as for daemons; ConfigError for ones that make no sense.
    """
    return Client(open_core(address, secret, timeout))


def open_core(address: str | None, secret: str | Path | Secret | None, timeout: float) -> Core:
    """The same, without a face."""
    seconds = patience_above_zero(timeout)
    if address is not None and not isinstance(address, str):
        raise ConfigError(f'address {quoted(address)} is not an address; write "host:port", such as "{DEFAULT}"')
    if secret is not None and not isinstance(secret, (Secret, str, Path)):
        raise ConfigError(f"secret={quoted(secret)} is neither the path of a secret file nor a Secret, such as that of a LocalCluster")
    said = address or os.environ.get("HANDOFF_COORDINATOR") or DEFAULT
    where = "address" if address or "HANDOFF_COORDINATOR" not in os.environ else "HANDOFF_COORDINATOR"
    place = parse_address(said, where)
    return Core(place, secret if isinstance(secret, Secret) else find(secret), load_settings(), timeout=seconds)
