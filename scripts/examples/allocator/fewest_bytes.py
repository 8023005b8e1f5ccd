"""An allocator of one's own: each function goes where the fewest bytes of its inputs would have to be moved.

    handoff coordinator --allocator fewest_bytes:FewestBytes        (with this directory in PYTHONPATH)
    LocalCluster(nodes=3, allocator="fewest_bytes:FewestBytes")
"""

from __future__ import annotations

from handoff.scheduler.allocator import Desk, Offer
from handoff.scheduler.nodes import Node


class FewestBytes:
    """Among nodes that have room now; of equal ones the one with the least to do. It waits for nobody, so a busy home is passed by."""

    def allocate(self, now: float, desk: Desk) -> None:
        """Called whenever something changed. What is not placed is offered again the next time."""
        for offer in desk.offers():
            able = [node for node in desk.nodes if desk.fits(offer, node)]
            if able:
                desk.place(offer, min(able, key=lambda node: (self.missing(offer, node), node.planned, node.name)))

    @staticmethod
    def missing(offer: Offer, node: Node) -> int:
        """Bytes of inputs that are not on this node."""
        return sum(nbytes for holders, nbytes in offer.inputs if node.name not in holders)
