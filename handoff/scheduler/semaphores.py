"""What the whole cluster shares and no node has, such as licences: taken when a task is planned, given back when it is over."""

from __future__ import annotations

from handoff.resources import CLUSTER, Amounts, describe
from handoff.scheduler.ready import Shape

PLENTY = 1 << 30


class Semaphores:
    """The amounts that were declared, and what is left of them."""

    def __init__(self, declared: Amounts = ()) -> None:
        self.declared: dict[str, int] = dict(declared)
        self.free: dict[str, int] = dict(declared)
        self.kept: dict[str, tuple[Shape, int]] = {}    # what nobody else gets in this pass, for a task that has waited long

    def room(self, shape: Shape, alternative: int = 0) -> int:
        """How many more tasks of this shape the cluster's amounts allow now."""
        if not shape.cluster:
            return PLENTY
        return max(0, min([self._left(name, shape) // amount for name, amount in shape.cluster[alternative]], default=PLENTY))

    def keep(self, shape: Shape, alternative: int = 0) -> bool:
        """It has waited long: small tasks would take every bit for ever, so nobody else gets so much before it, at that of its costs.

        False when it comes behind others for which something is kept: all that there is would not do for both.
        """
        is_next = True
        for name, amount in shape.cluster[alternative]:
            other, kept = self.kept.setdefault(name, (shape, amount))
            is_next &= other is shape or not len(other) or self.declared.get(name, 0) - kept >= amount
        return is_next

    def _left(self, name: str, shape: Shape) -> int:
        """What is free of it, less what is kept for others."""
        left, kept = self.free.get(name, 0), self.kept.get(name)
        if kept is not None and kept[0] is not shape and len(kept[0]):      # else it waits no more
            left -= kept[1]
        return left

    def take(self, need: Amounts, count: int = 1) -> None:
        """So many tasks were planned."""
        for name, amount in need:
            self.free[name] -= amount * count

    def give(self, need: Amounts, count: int = 1) -> None:
        """They are over, or taken back."""
        for name, amount in need:
            self.free[name] += amount * count

    def can_ever(self, need: Amounts) -> bool:
        """Whether so much was declared."""
        return all(self.declared.get(name, 0) >= amount for name, amount in need)

    def withheld(self, shape: Shape) -> list[tuple[str, bool]]:
        """For each of its costs: what of it can't be had now, in words, or ""; and whether that is only kept for others that wait."""
        found = []
        for need in shape.cluster:
            taken = [(CLUSTER + name, amount) for name, amount in need if self.free.get(name, 0) < amount]
            kept = [(CLUSTER + name, amount) for name, amount in need if self._left(name, shape) < amount]
            short = tuple(taken or kept)
            found.append((describe(short) if short else "", not taken))
        return found
