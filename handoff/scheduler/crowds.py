"""Shapes that are nearly alike: of very many, each pass looks at few, the most urgent first.

A workflow in which each task has a memory of its own, as it was once measured, has as many shapes as tasks; so has one of which each
task has code, a priority or a group to spread of its own. Where the cluster is full for some of a crowd it is full for nearly all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from handoff.resources import Amounts

if TYPE_CHECKING:
    from handoff.scheduler.estimates import Function
    from handoff.scheduler.ready import Shape

SHOWN = 8      # shapes of a crowd that a pass looks at, beside those that come up for what was placed; of so few, it looks at all
TURNED = 2     # further ones, others in each pass: what is less urgent may be a little smaller, and have room
MORE = 32      # and further ones of what is mixed in a pass, while there is room that these can't use: they wait for other nodes
APART = 64     # crowds that differ in code, priority or group to spread alone; more of them are mixed


def magnitude(need: Amounts) -> Amounts:
    """Equal for needs of which no amount is more than a half larger: which power of two, and in which half of the way to the next."""
    return tuple((name, amount.bit_length() * 2 + (amount >> max(0, amount.bit_length() - 2) & 1)) for name, amount in need)


class Crowd:
    """Some shapes, and which of them are looked at in this pass."""

    __slots__ = ("_turns", "is_cut", "is_mixed", "is_stale", "key", "members", "more", "shown", "waiting")

    def __init__(self, key: object, is_mixed: bool = False) -> None:
        self.key = key                      # in its gang
        self.is_mixed = is_mixed            # functions, priorities and groups to spread are several
        self.members: dict[Shape, None] = {}
        self.shown: list[Shape] = []        # looked at in this pass
        self.is_cut = False                 # not all with tasks are
        self.is_stale = True                # the order of the others has to be found anew
        self.more = 0                       # further ones that this pass may look at
        self.waiting: list[tuple[int, int, int, Shape]] = []    # a heap of the others, some of them several times
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
            self.waiting = [(-shape.priority, shape.first(), shape.number, shape) for shape in members if len(shape)]
            heapify(self.waiting)
        else:
            for shape in before:
                self.note(shape)
        self.shown = []
        self.more = MORE if self.is_mixed else 0
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
            heappush(self.waiting, (-shape.priority, shape.first(), shape.number, shape))

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
            below, first, number, shape = heappop(heads)
            if shape.listed or not len(shape) or shape.crowd is not self:
                continue
            now = shape.first()
            if now > first:
                heappush(heads, (below, now, number, shape))
                continue
            shape.listed = True
            self.shown.append(shape)
            return shape
        return None

    def knows(self, shape: Shape) -> bool:
        """Whether it comes up in some pass, as long as it has tasks."""
        is_next = len(self.members) <= SHOWN or self.is_stale or shape in self.shown
        return is_next or any(of is shape and first <= shape.first() for _, first, _, of in self.waiting)

    def is_empty(self) -> bool:
        """Whether none of it has tasks."""
        return not (any(map(len, self.shown)) or any(map(len, self.members)))

    def close(self) -> None:
        """None of it is looked at until it has tasks again."""
        for shape in self.shown:
            shape.listed = False
        self.shown = []

    def leave(self, shape: Shape) -> None:
        """It goes, or belongs to another one from now on."""
        del self.members[shape]
        if shape.listed:
            shape.listed = False
            self.shown = [each for each in self.shown if each is not shape]

    def _turn(self) -> None:
        if not self._turns:
            self._turns = list(self.members)
        for _ in range(min(TURNED, len(self._turns))):
            shape = self._turns.pop()
            if len(shape) and not shape.listed and shape.crowd is self:
                shape.listed = True
                self.shown.append(shape)


class Gang:
    """Shapes that need nearly the same, of the same account and on the same nodes: crowds of their own each, as long as these are few."""

    __slots__ = ("crowds", "is_mixed", "key", "members")

    def __init__(self, key: tuple[object, ...]) -> None:
        self.key = key
        self.members: dict[Shape, None] = {}
        self.crowds: dict[object, Crowd] = {}
        self.is_mixed = False


class Mixed:
    """Shapes of one function that belong to crowds of several functions."""

    __slots__ = ("is_early", "look_at", "reports", "shapes")

    def __init__(self, is_early: bool) -> None:
        self.shapes: dict[Shape, None] = {}
        self.is_early = is_early        # whether they may be planned ahead, as of ...
        self.reports = 0                # ... one of so many reports; ...
        self.look_at = 1                # ... after so many it is looked at again


class Crowds:
    """All of them, and which shape belongs to which."""

    def __init__(self, is_early: Callable[[Function], bool]) -> None:
        """`is_early` tells whether what is known of a function allows to plan it ahead: what is mixed is mixed with its like in that."""
        self.filled: dict[Crowd, None] = {}             # those of which some shape may have tasks
        self.mixed: dict[Function, Mixed] = {}
        self._is_early = is_early
        self._gangs: dict[tuple[object, ...], Gang] = {}

    def join(self, shape: Shape, like: tuple[object, ...], own: object) -> list[Shape]:
        """A new shape, like others in this, of its own in that; those that have tasks and are in another crowd now."""
        gang = self._gangs.get(like)
        if gang is None:
            gang = self._gangs[like] = Gang(like)
        gang.members[shape] = None
        shape.gang = gang
        if not gang.is_mixed and (own in gang.crowds or len(gang.crowds) < APART):
            self._put(shape, own)
            return []
        before = [] if gang.is_mixed else [each for each in gang.members if each is not shape]
        for each in before:
            self._take(each)
        gang.is_mixed = True
        for each in (*before, shape):
            function = each.function
            mixed = self.mixed.get(function)
            if mixed is None:
                mixed = self.mixed[function] = Mixed(self._is_early(function))
            mixed.shapes[each] = None
            self._put(each, mixed.is_early or each.is_told)
        return [each for each in before if len(each)]

    def leave(self, shape: Shape) -> None:
        """No run uses it any more."""
        gang = shape.gang
        self._take(shape)
        del gang.members[shape]
        if gang.is_mixed:
            mixed = self.mixed[shape.function]
            del mixed.shapes[shape]
            if not mixed.shapes:
                del self.mixed[shape.function]
        if not gang.members:
            del self._gangs[gang.key]

    def learned(self, function: Function) -> list[Shape]:
        """More is known of it: those of its shapes that have tasks and are in another crowd now.

        It is looked at less and less often: a function that is now short, now long, may have thousands of shapes.
        """
        mixed = self.mixed[function]
        mixed.reports += 1
        if mixed.reports < mixed.look_at:
            return []
        mixed.look_at += 1 + mixed.reports // 4
        before, mixed.is_early = mixed.is_early, self._is_early(function)
        if mixed.is_early == before:
            return []
        moved = [shape for shape in mixed.shapes if not shape.is_told]
        for shape in moved:
            self._take(shape)
            self._put(shape, mixed.is_early)
        return [shape for shape in moved if len(shape)]

    def is_empty(self) -> bool:
        """Whether nothing has tasks; those that have none are forgotten."""
        for crowd in list(self.filled):
            if not crowd.is_empty():
                return False
            crowd.close()
            del self.filled[crowd]
        return True

    def _put(self, shape: Shape, own: object) -> None:
        gang = shape.gang
        crowd = gang.crowds.get(own)
        if crowd is None:
            crowd = gang.crowds[own] = Crowd(own, gang.is_mixed)
        crowd.members[shape] = None
        shape.crowd = crowd

    def _take(self, shape: Shape) -> None:
        crowd = shape.crowd
        crowd.leave(shape)
        if not crowd.members:
            del shape.gang.crowds[crowd.key]
            self.filled.pop(crowd, None)
