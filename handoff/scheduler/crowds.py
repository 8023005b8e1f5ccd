"""Shapes that differ in how much they need alone, and little in that: of very many, each pass looks at few, the most urgent first.

A workflow in which each task has a memory of its own, as it was once measured, has as many shapes as tasks. Where the cluster is full for
some of a crowd it is full for nearly all of it.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from handoff.resources import Amounts

if TYPE_CHECKING:
    from handoff.scheduler.ready import Shape

SHOWN = 8      # shapes of a crowd that a pass looks at, beside those that come up for what was placed; of so few, it looks at all
TURNED = 2     # further ones, others in each pass: what is less urgent may be a little smaller, and have room


def magnitude(need: Amounts) -> Amounts:
    """Equal for needs of which no amount is more than a half larger: which power of two, and in which half of the way to the next."""
    return tuple((name, amount.bit_length() * 2 + (amount >> max(0, amount.bit_length() - 2) & 1)) for name, amount in need)


class Crowd:
    """Some shapes, and which of them are looked at in this pass."""

    __slots__ = ("_turns", "is_cut", "is_stale", "key", "members", "shown", "waiting")

    def __init__(self, key: tuple[object, ...]) -> None:
        self.key = key
        self.members: dict[Shape, None] = {}
        self.shown: list[Shape] = []        # looked at in this pass
        self.is_cut = False                 # not all with tasks are
        self.is_stale = True                # the order of the others has to be found anew
        self.waiting: list[tuple[int, int, Shape]] = []    # a heap of the others, some of them several times
        self._turns: list[Shape] = []       # those whose turn to be looked at, however urgent, is to come

    def open(self) -> list[Shape]:
        """A new pass: those that are looked at."""
        members, before = self.members, self.shown
        if len(members) <= SHOWN:
            self.is_cut, self.is_stale = False, True
            self.shown = shown = []
            for shape in members:
                shape.listed = len(shape) > 0
                if shape.listed:
                    shown.append(shape)
            return shown
        for shape in before:
            shape.listed = False
        if self.is_stale or len(self.waiting) > 2 * len(members):
            self.is_stale = False
            for shape in members:
                shape.listed = False
            self.waiting = [(shape.first(), shape.number, shape) for shape in members if len(shape)]
            heapify(self.waiting)
        else:
            for shape in before:
                self.note(shape)
        self.shown = []
        for _ in range(SHOWN):
            if self.one_more() is None:
                break
        self.is_cut = len(self.shown) == SHOWN
        if self.is_cut:
            self._turn()
        return self.shown

    def note(self, shape: Shape) -> None:
        """It has tasks, or a more urgent one than before."""
        if len(shape) and not self.is_stale:
            heappush(self.waiting, (shape.first(), shape.number, shape))

    def may_show(self, shape: Shape) -> bool:
        """Whether it is looked at in this pass: it has just got tasks, in its midst."""
        if len(self.members) > SHOWN and len(self.shown) >= SHOWN:
            return False
        self.shown.append(shape)
        return True

    def one_more(self) -> Shape | None:
        """The most urgent one that is not looked at yet: another has run out of tasks."""
        heads = self.waiting
        while heads:
            first, number, shape = heappop(heads)
            if shape.listed or not len(shape):
                continue
            now = shape.first()
            if now > first:
                heappush(heads, (now, number, shape))
                continue
            shape.listed = True
            self.shown.append(shape)
            return shape
        return None

    def knows(self, shape: Shape) -> bool:
        """Whether it comes up in some pass, as long as it has tasks."""
        is_next = len(self.members) <= SHOWN or self.is_stale or shape in self.shown
        return is_next or any(of is shape and first <= shape.first() for first, _, of in self.waiting)

    def _turn(self) -> None:
        if not self._turns:
            self._turns = list(self.members)
        for _ in range(min(TURNED, len(self._turns))):
            shape = self._turns.pop()
            if len(shape) and not shape.listed:
                shape.listed = True
                self.shown.append(shape)
