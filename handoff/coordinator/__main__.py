"""`handoff coordinator`, or `python -m handoff.coordinator`: options of the coordinator's process.

Plain argparse, since an embedded cluster starts this for every program that uses one, and every import would be waited for.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from handoff.address import DEFAULT_PORT
from handoff.coordinator.coordinator import Coordinator
from handoff.files import open_streams
from handoff.log import log
from handoff.resources import CLUSTER, Amounts, offered
from handoff.scheduler.allocator import Allocator
from handoff.scheduler.shipped import SHIPPED
from handoff.service import named_in_module, parser, serve, setting, step_aside
from handoff.trust.secret import Secret

EXAMPLE = """example, two machines:
  alpha$ handoff coordinator --host 0.0.0.0            makes ~/.config/handoff/secret when there is none
  alpha$ ssh beta mkdir -p .config/handoff && scp -p ~/.config/handoff/secret beta:.config/handoff/secret
  beta$  handoff-node --coordinator alpha:7070
"""


def options(arguments: Sequence[str] | None = None, prog: str = "handoff coordinator") -> argparse.Namespace:
    """What the command line says."""
    made = parser(prog, "Start a coordinator: it knows the nodes and decides where each function runs.", EXAMPLE)
    made.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1, this machine only)")
    made.add_argument("--port", type=port, default=DEFAULT_PORT, help=f"port to listen on; 0 for any (default: {DEFAULT_PORT})")
    made.add_argument(
        "--allocator", type=allocator, metavar="NAME",
        help='what places functions on nodes: "greedy" (default), "first-fit", "round-robin", "heft", or MODULE:CLASS for one of your own')
    made.add_argument(
        "--state", metavar="DIR",
        help="where to keep what was learned of functions, nodes and links, in a directory per cluster; empty to keep nothing"
             " (default: $XDG_STATE_HOME/handoff or ~/.local/state/handoff; delete it to forget all)")
    made.add_argument(
        "--resource", metavar="NAME=AMOUNT", type=setting, action="append", default=[],
        help='what the whole cluster shares, such as license=5; functions ask for it as "cluster:license"; repeatable')
    made.add_argument("--listen-fd", type=int, help=argparse.SUPPRESS)   # an inherited socket that listens already
    said = made.parse_args(arguments)
    try:
        said.cluster = shared(said.resource)
    except ValueError as error:
        made.error(f"--resource: {error}")
    return said


def shared(said: Sequence[tuple[str, str]]) -> Amounts:
    """What the whole cluster shares; ValueError says what is wrong."""
    names = [name.removeprefix(CLUSTER) for name, _ in said]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the amount of {name} is said twice")
    return offered({name: amount for name, (_, amount) in zip(names, said, strict=True)})


def port(text: str) -> int:
    """A port, or 0."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number from 0 to 65535")
    return int(text)


def allocator(text: str) -> Allocator | None:
    """One of ours, or one of the user's own; None for the default."""
    if text == "greedy":
        return None
    try:
        made: Allocator = named_in_module(SHIPPED.get(text, text))()
        if not callable(made.allocate):
            raise TypeError("its allocate is no method")
    except Exception as error:   # whatever a user's module does when it is imported
        ours = " nor ".join(SHIPPED)
        raise argparse.ArgumentTypeError(f"{text!r} is neither {ours} nor MODULE:CLASS of an allocator: {error!r}") from error
    return made


def main(arguments: Sequence[str] | None = None, prog: str = "handoff coordinator") -> int:
    """Run a coordinator until it is stopped; the exit status."""
    open_streams()
    step_aside()
    said = options(arguments, prog)
    listening = socket.socket(fileno=said.listen_fd) if said.listen_fd is not None else None
    return serve(said, lambda settings, secret: Coordinator(
        settings, secret, said.host, said.port, listening, said.allocator, said.cluster, state_directory(said, secret),
        is_embedded=said.lifeline_fd is not None), create_secret=True)


def state_directory(said: argparse.Namespace, secret: Secret) -> Path | None:
    """Where this cluster's coordinator keeps what it learned. One whose secret is thrown away keeps nothing unless asked to."""
    is_throwaway = said.secret_fd is not None
    if said.state == "" or (said.state is None and is_throwaway):
        return None
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification says to ignore a relative path: it would mean another file in every directory.
    default = (base if base.startswith("/") else os.path.expanduser("~/.local/state")) + "/handoff"  # noqa: PTH111 - raises for no one
    if not said.state and default.startswith("~"):
        log.warning("memory.unusable", reason=f"user id {os.getuid()} has no home directory", note="name a directory with --state")
        return None
    return Path(said.state or default) / ("local" if is_throwaway else secret.cluster_id)


if __name__ == "__main__":
    sys.exit(main(prog="python -m handoff.coordinator"))
