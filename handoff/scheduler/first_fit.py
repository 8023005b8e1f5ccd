"""The simplest allocator: every function goes to the first node that has room for it; the client's own machine comes first."""

from __future__ import annotations

from handoff.ids import RunId
from handoff.scheduler.allocator import Desk
from handoff.scheduler.nodes import Node


class FirstFit:
    """Knows nothing of durations or transfers. Good as an example, and as something to compare with.

    Pinned functions are placed before all others, since they can't go elsewhere; the nodes on the machine of the client that submitted a
    run come before others, each by name.
    """

    def allocate(self, now: float, desk: Desk) -> None:
        """Place each offered task where it fits first."""
        nodes = sorted(desk.nodes, key=lambda node: node.name)
        rows: dict[RunId, list[Node]] = {}
        for is_pinned in (True, False):
            for offer in desk.offers(only_pinned=is_pinned):
                row = rows.get(offer.run)
                if row is None:
                    home = {node.peer: desk.is_home(offer.run, node) for node in nodes}
                    row = rows[offer.run] = sorted(nodes, key=lambda node: not home[node.peer])   # a stable sort: by name within each
                for node in row:
                    if desk.fits(offer, node):
                        desk.place(offer, node)
                        break
