"""Tasks that may be planned now, grouped by shape: a cluster that is full for one of them is full for all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from heapq import heapify, heappush
from typing import TYPE_CHECKING

from handoff.ids import RunId
from handoff.program import Flag, Kind
from handoff.resources import Amounts
from handoff.scheduler.crowds import Crowd, Crowds, Gang, magnitude
from handoff.scheduler.estimates import Estimates, Function
from handoff.scheduler.fairness import Account, Accounts
from handoff.scheduler.groups import Eligible
from handoff.scheduler.needs import OURS, counted_of, needs_of
from handoff.scheduler.queue import Queue

if TYPE_CHECKING:
    from handoff.scheduler.nodes import Node
    from handoff.scheduler.runs import Run

RANK_TOP = (1 << 44) - 1             # ranks are counted in microseconds: the longest is half a year
FAMILY_APART = 16    # functions that differ in bound values alone and are learned apart; of more, the others are as one
ELIGIBLE_MAX = 128   # needs, labels and pins of which the nodes are remembered; shapes keep theirs
RESTING_MAX = 8      # shapes of single calls that are kept though no run uses them: to make one took two fifths of taking in such a call


class Shape(Queue):
    """The queue of tasks that are alike to the allocator: equal costs, labels, spread, priority, pin and function."""

    __slots__ = (
        "account", "ahead", "blocked_since", "cleared", "cluster", "cost", "crowd", "eligible", "family", "function", "functions", "gang",
        "gone", "gone_keys", "held", "identity", "is_told", "is_tried", "limited", "listed", "may_rest", "need", "needs", "node", "number",
        "priority", "runs", "spread", "stake", "where",
    )

    def __init__(self, identity: tuple[object, ...], number: int, kind: Kind, functions: list[Function], account: Account,
                 eligible: Eligible) -> None:
        super().__init__()
        self.identity = identity
        self.number = number                # in order of appearance: the last tie-break
        self.cost = kind.cost
        self.needs = needs_of(kind)         # on a node: for its cost, then for each alternative
        self.need: Amounts = self.needs[0]
        self.cluster = counted_of(kind)     # what the whole cluster counts, likewise; empty when none needs any of it
        self.where = kind.where             # labels that its node must have
        self.spread = kind.spread
        self.priority = kind.priority
        self.node = kind.node               # the name of the only node, or empty
        self.functions = functions          # what is known of it, with each of its costs
        self.function = functions[0]
        self.account = account              # whose share it counts for
        self.stake = account.stake(self.needs)   # where its tasks that are with nodes count for that
        self.runs = 0                       # runs that use it
        self.limited: Run | None = None     # the only one, where that has a limit of its own
        self.family: tuple[object, ...] | None = None   # in which it counts as one of few
        self.gone: dict[int, None] = {}     # runs that are over, of which keys may be left, and ...
        self.gone_keys = 0                  # ... how many at most
        self.ahead = 0                      # tasks that are planned ahead, on all nodes
        self.held = 0                       # tasks whose cost is committed
        self.is_tried = False               # something of it was placed
        self.is_told = False                # a run that uses it tells how long its tasks will take
        self.listed = False                 # looked at in this pass
        self.may_rest = False               # it is kept for a while when no run uses it: the next single call may have it
        self.gang: Gang                     # those that are nearly like it, and ...
        self.crowd: Crowd                   # ... of these, the ones of which a pass looks at a few
        self.eligible = eligible            # which nodes could ever hold it: shared with all shapes of equal needs, labels and pin
        self.blocked_since: float | None = None  # its head has not found room since then
        self.cleared: int | None = None          # the node that is being cleared for it

    def first(self) -> int:
        """Its most urgent key; the first task of a function never seen goes before all others, since it teaches."""
        return self.head() if self.is_tried or self.function.count else -1

    def rekey(self, run: RunId, key: Callable[[int], int]) -> None:
        """See `Queue`."""
        super().rekey(run, key)
        if self.crowd.is_shared:
            self.crowd.note(self)     # what is less urgent now is found when it comes up
        else:
            self.crowd.is_stale = True

    def __repr__(self) -> str:
        return f"Shape({self.identity!r}, {len(self)} ready)"


def claims_of(shape: Shape) -> list[int]:
    """How much memory such a task claims, for each of its costs."""
    return [amount for need in shape.needs for name, amount in need if name == "memory"]


class Ready:
    """All shapes, and in which order they are offered."""

    def __init__(self, estimates: Estimates, is_early: Callable[[Function], bool]) -> None:
        """`is_early` tells whether what is known of a function allows to plan its tasks ahead."""
        self.estimates = estimates
        self.shapes: dict[tuple[object, ...], Shape] = {}
        self.is_whole = False                # each pass looks at every shape, however many are nearly alike
        self.is_cut = False                  # this one does not
        self.offered: list[Shape] = []       # shapes that had tasks when it began, as far as it looks at them
        self.heads: list[tuple[int, int, int, int, Shape]] = []   # (-priority, level, head, number, shape): what is offered in this pass
        self.accounts = Accounts()
        self.now = 0.0                       # of the pass
        self.is_contended = False            # several accounts have tasks that wait
        self.wanted: dict[str, int] = {}     # resources beside cores and memory: how many unfinished tasks need them, and ...
        self.claims: list[int] = []          # of memory, by shapes that are new since the nodes were grouped
        self.wants = 0                       # ... how often it changed whether any does
        self._next = 0
        self._families: dict[tuple[object, ...], int] = {}        # how many of its functions have shapes of their own
        self._crowds = Crowds(is_early)
        self.mixed = self._crowds.mixed      # functions of which `learned` has to be told
        self._eligible: dict[tuple[object, ...], Eligible] = {}   # kept when their shapes go: the next run often has equal ones
        self._resting: dict[Shape, None] = {}                     # those that no run uses, the longest unused first

    def all_claims(self) -> list[int]:
        """How much memory tasks claim, of whatever some run has."""
        return [claim for shape in self.shapes.values() if shape.runs for claim in claims_of(shape)]

    def is_idle(self, nodes: Collection[Node]) -> bool:
        """Nothing waits for a place, and nothing is planned ahead, on any of all nodes, that might be better elsewhere."""
        return self._crowds.is_empty() and not self.is_ahead(nodes)

    def is_ahead(self, nodes: Collection[Node]) -> bool:
        """Whether anything is planned ahead, on any of all nodes."""
        for each in nodes if len(nodes) < len(self.shapes) else self.shapes.values():    # asked in each turn: no generator
            if each.ahead:
                return True
        return False

    def shape(self, kind: Kind, run: Run) -> Shape:
        """The shape of this kind (shared with other runs of the account); the caller says `release` when its run is over."""
        only_run, account = run.run if run.max_concurrency or run.following is not None else 0, self.accounts.of(run)
        special = kind.flags & (Flag.OBJECT | Flag.SERIALIZER | Flag.ALONE)
        placed = (account.key, only_run, kind.priority, kind.cost, kind.alternatives, kind.node, kind.where, kind.spread, special)
        codes = kind.codes or (kind.name.encode(errors="surrogatepass"),)
        found, family = self.shapes.get((codes, placed)), None
        if found is not None and not found.runs:
            found = self._used_again(found)
        if found is None and kind.family:
            family = (kind.family, placed)
            if self._families.get(family, 0) >= FAMILY_APART:
                codes = (kind.family,)
                found, family = self.shapes.get((codes, placed)), None
        if found is None:
            self._next += 1
            functions = [self.estimates.of(codes, kind.name)]
            for number in range(len(kind.alternatives)):
                functions.append(self.estimates.of((*codes, b"%d" % (number + 1)), f"{kind.name} with its cost {number + 2}"))
            identity = (codes, placed)
            found = self.shapes[identity] = Shape(identity, self._next, kind, functions, account, self._eligible_for(kind))
            self.claims += claims_of(found)
            found.is_told = bool(run.told)
            found.limited = run if run.max_concurrency else None
            # Where a plan is followed, each shape is looked at by itself.
            is_alone = self.is_whole or run.following is not None
            sizes = tuple([magnitude(need) for need in found.needs])
            like = identity if is_alone else (kind.node, kind.where, special, sizes, found.cluster)
            for shape in self._crowds.join(found, like, (account.key, only_run), (codes, kind.priority, kind.spread)):
                self._offer(shape)
            found.family = family
            found.may_rest = run.values_only and not (family or only_run)
            if family is not None:
                self._families[family] = self._families.get(family, 0) + 1
        found.runs += 1
        found.is_told |= bool(run.told)
        return found

    def learned(self, function: Function) -> None:
        """More is known of it."""
        for shape in self._crowds.learned(function):
            self._offer(shape)

    def _eligible_for(self, kind: Kind) -> Eligible:
        key = (needs_of(kind), kind.where, kind.node)
        found = self._eligible.get(key)
        if found is None:
            if len(self._eligible) >= ELIGIBLE_MAX:
                self._eligible.clear()
            found = self._eligible[key] = Eligible()
            found.scarce = tuple(dict.fromkeys([name for need in key[0] for name, _ in need if name not in ("cpu", "memory", *OURS)]))
        return found

    def want(self, shape: Shape, tasks: int) -> None:
        """So many more unfinished tasks, or fewer, need what this shape needs beside cores and memory."""
        for name in shape.eligible.scarce:
            before = self.wanted.pop(name, 0)
            if before + tasks:
                self.wanted[name] = before + tasks
            self.wants += not before or not before + tasks

    def release(self, shape: Shape, run: RunId, waiting: int) -> None:
        """This run does not use the shape any more. So many keys of it may be left: they go when they come up, or when they are most."""
        shape.runs -= 1
        if not shape.runs:
            if shape.may_rest:
                self._rest(shape)
            else:
                self._remove(shape)
            return
        if not waiting:
            return
        shape.gone[run] = None
        shape.gone_keys += waiting
        if shape.gone_keys * 2 >= len(shape):
            shape.drop(shape.gone)
            shape.gone.clear()
            shape.gone_keys = 0
            if not len(shape):
                shape.blocked_since = shape.cleared = None    # who comes next has not waited yet

    def _rest(self, shape: Shape) -> None:
        """It is as new, and stays for a while: single calls come one by one, each with the shape of the one before."""
        shape.clear()
        shape.gone.clear()
        shape.gone_keys = 0
        shape.blocked_since = shape.cleared = None
        shape.is_tried = shape.is_told = False
        shape.account.settle()      # it is kept with it, and may have had all while others waited
        self._resting[shape] = None
        if len(self._resting) > RESTING_MAX:
            oldest = next(iter(self._resting))
            del self._resting[oldest]
            self._remove(oldest)

    def _used_again(self, shape: Shape) -> Shape | None:
        """A run comes that has the shape of one that has gone; None: what was known of its function is forgotten, and a new one is due."""
        del self._resting[shape]
        for function in shape.functions:
            if not self.estimates.meet(function):
                self._remove(shape)
                return None
        self.claims += claims_of(shape)
        return shape

    def _remove(self, shape: Shape) -> None:
        shape.clear()
        del self.shapes[shape.identity]
        self._crowds.leave(shape)
        if shape.family is not None:
            self._families[shape.family] -= 1
            if not self._families[shape.family]:
                del self._families[shape.family]
        self.accounts.close(shape)

    def push(self, shape: Shape, key: int) -> None:
        """One more task may be planned."""
        heappush(shape.heap, key)
        if not shape.listed:
            self._offer(shape)

    def extend(self, shape: Shape, keys: Sequence[int]) -> None:
        """Many more tasks may be planned."""
        shape.extend(keys)
        if not shape.listed and (shape.stack or shape.heap):
            self._offer(shape)

    def _offer(self, shape: Shape) -> None:
        crowd = shape.crowd
        self._crowds.filled[crowd] = None
        if crowd.may_show(shape):
            shape.listed = True
            heappush(self.heads, self._entry(shape))
        else:
            crowd.note(shape)
            crowd.is_cut = self.is_cut = True

    def open(self, now: float, portion: Callable[[tuple[Amounts, ...]], float]) -> None:
        """A new pass: every shape with tasks is offered again. `portion` says what part of the cluster a task with these needs takes."""
        self.now = now
        self.offered = waiting = []
        self.is_cut = False
        empty = []
        for crowd in self._crowds.filled:
            shown = crowd.open(now)
            for shape in shown:
                shape.settle()
            waiting += shown
            self.is_cut |= crowd.is_cut
            if not shown and not crowd.keeps_back:
                empty.append(crowd)
        for crowd in empty:
            del self._crowds.filled[crowd]
        accounts = {shape.account: None for shape in waiting} if len(waiting) > 1 else {}
        self.is_contended = len(accounts) > 1
        for account in accounts if self.is_contended else ():
            for needs, stake in account.stakes.items():
                stake.weigh(portion(needs))
        self.heads = [self._entry(shape) for shape in waiting]
        heapify(self.heads)

    def close(self) -> None:
        """The pass is over."""
        if self.is_contended:
            self.accounts.settle()

    def _entry(self, shape: Shape) -> tuple[int, int, int, int, Shape]:
        return (-shape.priority, shape.account.level(self.now) if self.is_contended else 0, shape.first(), shape.number, shape)

    def again(self, shape: Shape) -> None:
        """Offer this shape again in this pass."""
        if len(shape):
            heappush(self.heads, self._entry(shape))
            if shape.crowd.is_shared and shape.crowd.is_cut:
                self._show_another(shape.crowd)     # of an account that may have less than this one has by now
        else:
            self.run_out(shape)

    def look_again(self, run: Run) -> None:
        """Its own limit may keep these back no longer."""
        for shape in run.kept_back:
            if not shape.listed:
                shape.crowd.note(shape)
        run.kept_back.clear()

    def may_come_up(self, shape: Shape) -> bool:
        """Whether some pass looks at it: while it has tasks, one must."""
        return shape.crowd in self._crowds.filled and shape.crowd.knows(shape)

    def run_out(self, shape: Shape) -> None:
        """It has no more tasks: another one of its crowd comes up."""
        shape.listed = False
        if shape.crowd.is_cut:
            self._show_another(shape.crowd)

    def pass_by(self, shape: Shape) -> None:
        """It can't use the room that there is: another one of its crowd may."""
        crowd = shape.crowd
        if crowd.is_cut and crowd.more:
            crowd.more -= 1
            self._show_another(crowd)

    def _show_another(self, crowd: Crowd) -> None:
        another = crowd.one_more()
        if another is not None:
            heappush(self.heads, self._entry(another))
