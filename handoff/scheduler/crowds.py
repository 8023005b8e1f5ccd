"""Shapes that are nearly alike: of very many, each pass looks at few, the most urgent first.

A workflow in which each task has a memory of its own, as it was once measured, has as many shapes as tasks; so has one of which each
task has code, a priority or a group to spread of its own. Where the cluster is full for some of a crowd it is full for nearly all of it.
The same holds for very many runs or clients: of these, a pass looks at those that have least of the cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from handoff.resources import Amounts

if TYPE_CHECKING:
    from handoff.scheduler.estimates import Function
    from handoff.scheduler.groups import Eligible
    from handoff.scheduler.ready import Shape

SHOWN = 8      # shapes of a crowd that a pass looks at, beside those that come up for what was placed; of so few, it looks at all
TURNED = 2     # further ones, others in each pass: what is less urgent may be a little smaller, and have room
MORE = 32      # and further ones of what is mixed in a pass, while there is room that these can't use: they wait for other nodes
APART = 64     # crowds that differ in code, priority or group to spread alone; more of them are mixed
ACCOUNTS = 64  # accounts, or runs that can't share a shape, of which each has crowds of its own; those of more are shared
CHOICES_APART = 16      # so many, where each has a choice of costs: to look at one takes ten times as long
SORTED_SECONDS = 0.25   # for so long it may stay unnoticed that an account has less than before beside the others, ...
CLOSE = 16              # ... and that it has more by such a part


def magnitude(need: Amounts) -> Amounts:
    """Equal for needs of which no amount is more than a half larger: which power of two, and in which half of the way to the next."""
    return tuple((name, amount.bit_length() * 2 + (amount >> max(0, amount.bit_length() - 2) & 1)) for name, amount in need)


class Crowd:
    """Some shapes, and which of them are looked at in this pass."""

    __slots__ = (
        "_needs",
        "_sorted_at",
        "_turns",
        "is_cut",
        "is_mixed",
        "is_shared",
        "is_stale",
        "keeps_back",
        "key",
        "members",
        "more",
        "now",
        "shown",
        "waiting",
    )

    def __init__(self, key: object, is_mixed: bool = False, is_shared: bool = False) -> None:
        self.key = key                      # in its gang
        self.is_mixed = is_mixed            # functions, priorities and groups to spread are several
        self.is_shared = is_shared          # so are accounts: those with less of the cluster come first
        self.keeps_back = False             # some are not looked at before something of their run ends, which keeps to a limit of its own
        self.members: dict[Shape, None] = {}
        self.shown: list[Shape] = []        # looked at in this pass
        self.is_cut = False                 # not all with tasks are
        self.is_stale = True                # the order of the others has to be found anew
        self.more = 0                       # further ones that this pass may look at
        self.now = 0.0                      # of the pass
        # A heap of the others, some of them several times: -priority, what its account has, key, number, shape.
        self.waiting: list[tuple[int, int, int, int, Shape]] = []
        self._turns: list[Shape] = []       # those whose turn to be looked at, however urgent, is to come
        self._needs: dict[Eligible, int] = {}   # how many members need what
        self._sorted_at = 0.0

    def open(self, now: float) -> list[Shape]:
        """A new pass: those that are looked at."""
        members, before, self.now = self.members, self.shown, now
        if len(members) <= SHOWN:
            self.is_cut, self.is_stale = False, True
            self.shown = shown = []
            for shape in members:
                shape.listed = bool(shape.stack or shape.heap)     # looked at for each shape of each pass: `len` is a call
                if shape.listed:
                    shown.append(shape)
            return shown
        for shape in before:
            shape.listed = False
        if self.is_stale or len(self.waiting) > 2 * len(members) or (self.is_shared and now > self._sorted_at + SORTED_SECONDS):
            self.is_stale = self.keeps_back = False
            self._sorted_at = now
            for shape in members:
                shape.listed = False
            self.waiting = [self._entry(shape) for shape in members if len(shape)]
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
            heappush(self.waiting, self._entry(shape))

    def _entry(self, shape: Shape) -> tuple[int, int, int, int, Shape]:
        level = shape.account.level(self.now) if self.is_shared else 0
        return -shape.priority, level, shape.first(), shape.number, shape

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
            below, level, first, number, shape = heappop(heads)
            if shape.listed or not len(shape) or shape.crowd is not self:
                continue
            if self.is_shared and shape.limited is not None and shape.limited.room() <= 0:
                self.keeps_back = True
                shape.limited.kept_back[shape] = None
                continue
            has = shape.account.level(self.now) if self.is_shared else level
            now = shape.first()
            if now > first or has > level + level // CLOSE:
                heappush(heads, (below, max(has, level), now, number, shape))
                continue
            shape.listed = True
            self.shown.append(shape)
            return shape
        return None

    def knows(self, shape: Shape) -> bool:
        """Whether it comes up in some pass, as long as it has tasks."""
        if shape.limited is not None and shape.limited.room() <= 0 and shape in shape.limited.kept_back:
            return True
        is_next = len(self.members) <= SHOWN or self.is_stale or shape in self.shown
        return is_next or any(of is shape and first <= shape.first() for _, _, first, _, of in self.waiting)

    def is_alike(self) -> bool:
        """Whether all need the same, though they are not all looked at; asked of what is shared alone."""
        return self.is_shared and len(self._needs) == 1

    def is_empty(self) -> bool:
        """Whether none of it has tasks."""
        for shapes in (self.shown, self.members):
            for shape in shapes:
                if shape.stack or shape.heap:
                    return False
        return True

    def close(self) -> None:
        """None of it is looked at until it has tasks again."""
        for shape in self.shown:
            shape.listed = False
        self.shown = []

    def enter(self, shape: Shape) -> None:
        """It belongs here from now on."""
        self.members[shape] = None
        self._needs[shape.eligible] = self._needs.get(shape.eligible, 0) + 1

    def leave(self, shape: Shape) -> None:
        """It goes, or belongs to another one from now on."""
        del self.members[shape]
        self._needs[shape.eligible] -= 1
        if not self._needs[shape.eligible]:
            del self._needs[shape.eligible]
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

    __slots__ = ("crowds", "host", "is_mixed", "is_shared", "key", "members")

    def __init__(self, host: Host, key: object, is_shared: bool = False) -> None:
        self.host = host
        self.key = key
        self.members: dict[Shape, None] = {}
        self.crowds: dict[object, Crowd] = {}
        self.is_mixed = self.is_shared = is_shared


class Host:
    """The same of all accounts: gangs of their own each, as long as these are few."""

    __slots__ = ("gangs", "key", "shared")

    def __init__(self, key: object) -> None:
        self.key = key
        self.gangs: dict[object, Gang] = {}
        self.shared: Gang | None = None     # the gang of all, since they became many


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
        self._hosts: dict[object, Host] = {}

    def join(self, shape: Shape, like: object, whose: object, own: object) -> list[Shape]:
        """A new shape, like others in this, of this account, of its own in that; those with tasks that are in another crowd now."""
        host = self._hosts.get(like)
        if host is None:
            host = self._hosts[like] = Host(like)
        gang = host.shared or host.gangs.get(whose)
        before: list[Shape] = []
        if gang is None and len(host.gangs) >= ACCOUNTS:
            before = [each for other in host.gangs.values() for each in other.members]
            gang = host.shared = Gang(host, None, is_shared=True)
        elif gang is None:
            gang = host.gangs[whose] = Gang(host, whose)
        elif not gang.is_mixed and own not in gang.crowds and len(gang.crowds) >= (APART if len(shape.needs) == 1 else CHOICES_APART):
            before = list(gang.members)
            gang.is_mixed = True
        if not gang.is_mixed:
            gang.members[shape] = None
            shape.gang = gang
            self._put(shape, own)
            return []
        for each in before:
            self._take(each)
        host.gangs = host.gangs if host.shared is None else {}
        for each in (*before, shape):
            function = each.function
            mixed = self.mixed.get(function)
            if mixed is None:
                mixed = self.mixed[function] = Mixed(self._is_early(function))
            mixed.shapes[each] = gang.members[each] = None
            each.gang = gang
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
        if gang.members:
            return
        host = gang.host
        if gang is host.shared:
            host.shared = None
        else:
            del host.gangs[gang.key]
        if not (host.gangs or host.shared):
            del self._hosts[host.key]

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
            crowd = gang.crowds[own] = Crowd(own, gang.is_mixed, gang.is_shared)
        crowd.enter(shape)
        shape.crowd = crowd

    def _take(self, shape: Shape) -> None:
        crowd = shape.crowd
        crowd.leave(shape)
        if not crowd.members:
            del shape.gang.crowds[crowd.key]
            self.filled.pop(crowd, None)
