"""Waits decided in one pass, and when one more task would find room on a busy node: worked out once, until something changes there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handoff.resources import Amounts

if TYPE_CHECKING:
    from handoff.scheduler.nodes import Node

End = tuple[float, float, Amounts]     # as in `Node.ends_of`


class Bookings:
    """Who waits for room on which node. Kept for one pass, in which the time stands still."""

    __slots__ = ("_known", "_waits")

    def __init__(self) -> None:
        self._waits: dict[int, list[End]] = {}                             # per node, in order of decision
        self._known: dict[int, tuple[list[End], dict[Amounts, float]]] = {}  # per node: what it held then, and when which cost has room

    def clear(self) -> None:
        """A new pass begins."""
        self._waits.clear()
        self._known.clear()

    def add(self, node: Node, until: float, need: Amounts) -> None:
        """A task waits for this node, and should have ended there by then: the next one that thinks of waiting there sees it."""
        self._waits.setdefault(node.peer, []).append((until, until, need))
        self._known.pop(node.peer, None)

    def room_at(self, node: Node, need: Amounts, now: float) -> float:
        """When this will fit there, behind what waits already."""
        known = self._known.get(node.peer)
        if known is None or known[0] is not node.ends:
            known = self._known[node.peer] = (node.ends_of(now), {})
        at = known[1].get(need)
        if at is None:
            at = known[1][need] = node.room_at(need, now, self._waits.get(node.peer, ()))
        return at
