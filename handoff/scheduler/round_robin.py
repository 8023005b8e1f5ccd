"""Each node in turn: the allocator that knows nothing but who had the last one."""

from __future__ import annotations

from handoff.scheduler.allocator import Desk


class RoundRobin:
    """For comparison: fair to nodes, blind to everything else but room."""

    def __init__(self) -> None:
        self._next = 0

    def allocate(self, now: float, desk: Desk) -> None:
        """Place each offered task on the next node, in the order of their names, that has room for it."""
        nodes = sorted(desk.nodes, key=lambda node: node.name)
        for offer in desk.offers():
            for step in range(len(nodes)):
                node = nodes[(self._next + step) % len(nodes)]
                if desk.fits(offer, node):
                    desk.place(offer, node)
                    self._next += step + 1
                    break
