"""The simplest allocator: every task goes to the first node, by name, that has room for it."""

from __future__ import annotations

from handoff.scheduler.allocator import Desk


class FirstFit:
    """Knows nothing of durations or transfers. Good as an example, and as something to compare with."""

    def allocate(self, now: float, desk: Desk) -> None:
        """Place each offered task where it fits first."""
        nodes = sorted(desk.nodes, key=lambda node: node.name)
        for offer in desk.offers():
            for node in nodes:
                if desk.fits(offer, node):
                    desk.place(offer, node)
                    break
