"""Clients go by the settings of files and environment, as daemons do; no coordinator is needed to see it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import handoff
from handoff import aio, errors
from handoff.client import connect
from handoff.settings import Settings
from handoff.trust.secret import generate


class Unconnected(Exception):
    """Raised in the place of a connection, with the settings that it would have had."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, and no settings but those of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def core(address: tuple[str, int], secret: Any, settings: Settings, timeout: float) -> None:
        raise Unconnected(settings)

    monkeypatch.setattr(connect, "Core", core)
    return tmp_path


def settings_of_a_client() -> Settings:
    """What a client has, connected either way."""
    with pytest.raises(Unconnected) as blocking:
        handoff.connect("alpha:1", secret=generate())

    async def connected() -> None:
        async with aio.connect("alpha:1", secret=generate()):
            pass

    with pytest.raises(Unconnected) as awaited:
        asyncio.run(connected())
    (found,) = {*blocking.value.args, *awaited.value.args}
    return found


def test_a_client_goes_by_files_and_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is above the file; what nobody says is as ever."""
    assert settings_of_a_client() == Settings()
    (here / "handoff.toml").write_text("[client]\nnode_lost_seconds = 2\nnode_retry_seconds = 3\n")
    monkeypatch.setenv("HANDOFF_CLIENT__NODE_RETRY_SECONDS", "4")
    monkeypatch.setenv("HANDOFF_WIRE__HANDSHAKE_SECONDS", "5")

    found = settings_of_a_client()

    assert (found.client.node_lost_seconds, found.client.node_retry_seconds, found.wire.handshake_seconds) == (2.0, 4.0, 5.0)


def test_a_client_refuses_what_a_daemon_refuses(here: Path) -> None:
    """With the same words, for sections of daemons as well: the file is one."""
    file = here / "handoff.toml"
    file.write_text("[client]\nnode_lost_second = 2\n")
    with pytest.raises(errors.ConfigError, match=r"handoff.toml: unknown setting client.node_lost_second; did you mean client.node_lost_"):
        handoff.connect("alpha:1", secret=generate())
    file.write_text("[node]\nbatch_max = 0\n")
    with pytest.raises(errors.ConfigError, match=r"handoff.toml: node.batch_max = 0 must be more than zero"):
        handoff.connect("alpha:1", secret=generate())
