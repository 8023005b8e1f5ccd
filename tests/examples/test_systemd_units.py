"""The units of `scripts/examples/systemd` name options that the daemons have, and leave them the time that they take to drain."""

from __future__ import annotations

import shlex
from configparser import ConfigParser, SectionProxy
from pathlib import Path

from handoff.coordinator.__main__ import options
from handoff.node.__main__ import command_line

UNITS = Path(__file__).parents[2] / "scripts" / "examples" / "systemd"


def service(name: str) -> SectionProxy:
    """How this one is run."""
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((UNITS / f"{name}.service").read_text())
    assert unit["Service"]["LoadCredential"].startswith("handoff-secret:")
    return unit["Service"]


def test_the_node_drains_before_it_is_killed() -> None:
    """It alone is told to end, and has longer than it needs."""
    node = service("handoff-node")
    command, *arguments = shlex.split(node["ExecStart"])
    said = command_line("handoff-node").parse_args(arguments)
    assert (command, said.coordinator, said.port) == ("/opt/handoff/bin/handoff-node", "alpha:7070", 7071)
    assert float(node["TimeoutStopSec"]) > said.drain_seconds
    assert (node["KillMode"], node["OOMPolicy"]) == ("mixed", "continue")


def test_the_coordinator_listens_to_other_machines_and_keeps_what_it_learns() -> None:
    """In the directory that the service manager makes for it."""
    coordinator = service("handoff-coordinator")
    _, _, *arguments = shlex.split(coordinator["ExecStart"])
    said = options(arguments)
    assert (said.host, said.state) == ("0.0.0.0", f"/var/lib/{coordinator['StateDirectory']}")
