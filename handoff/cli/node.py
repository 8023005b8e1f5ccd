"""`handoff-node`, the daemon's command, and `handoff node detect`, what it would offer."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of `handoff-node`. Its options are in `handoff.node.__main__`, which starts fast."""
    from handoff.node.__main__ import main as start

    sys.exit(start())


def detect() -> None:
    """Show what a node on this machine would offer, and why.

    \b
    Example:
      handoff node detect
    """
    from handoff.node.probe import detect as look
    from handoff.resources import describe

    found = look()
    sys.stdout.write("\n".join([f"offers: {describe(found.capacity)}", "", *found.reasons]) + "\n")
