"""Where a task leans to, beside where it would be done first: near what it wants to be near, and to where its result will be taken.

Who goes where he would be done first does not look ahead: of two tasks with large results that a third takes, each goes to a node of its
own, or one goes to a node that the third may not have; and then the third waits for what has to move.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from handoff.scheduler.allocator import Desk
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import AHEAD, DONE, Run
from handoff.scheduler.wishes import NEAR, wanted_near

LITTLE = 0.1       # a result that moves in less than this part of its task's time leans nowhere
CONSUMERS_MAX = 4  # nor does one that more tasks take: it will move in any case
LEVELS_MAX = 2     # from a task to what is made of its result, and to what that is taken together with
WAITS = 4.0        # times what it would gain beside the other: so long it waits there for memory, in all, however often some seems to come
INPUTS_MAX = 16    # of a task that takes more, the others are not looked at: they lie in several places


class Leaning:
    """What `leaning_of` found."""

    __slots__ = ("able", "most", "nbytes", "near", "on", "rate")

    def __init__(self, near: Collection[int]) -> None:
        self.near = near
        self.nbytes = self.rate = self.most = 0.0      # of its own result, if one task alone takes it; and how fast it would move
        self.on: dict[int, float] = {}                 # per node: bytes of what that task takes beside it
        self.able: Collection[int] | None = None       # the nodes that may have that task; None: all

    @property
    def peers(self) -> Collection[int]:
        """The nodes that it leans to, so far as they can be named."""
        return (*self.near, *self.on)

    def against(self, node: Node, spent: float) -> float:
        """Seconds that speak against this node; fewer than none speak for it."""
        found = -NEAR * spent if node.peer in self.near else 0.0
        if self.nbytes:
            here = self.on.get(node.peer, 0.0) + self.nbytes
            if self.able is not None and node.peer not in self.able:
                here = 0.0
            if here < self.most + self.nbytes:
                found += (self.most + self.nbytes - max(here, self.most)) / self.rate
        return found

    def waits_until(
        self, now: float, desk: Desk, run: Run, task: int, shape: Shape, only: Collection[Node], seconds: float, best: float,
    ) -> float:
        """When the others' node, which has no memory for it now, may have some, if to wait for that beats `best`; else 0.

        `only` are the nodes that have memory. What is next in the queue takes their place meanwhile. There may be nothing, and what ends
        there may make no room: so in all it waits no longer than is worth it.
        """
        if not run.plain or run.avoid or run.followed or shape.spread or shape.node:
            return 0.0      # it may not be for want of memory that the node is none of these
        waits = desk.ledger.memory.waits
        found, first, option_of = 0.0, best, desk.option_of(shape)
        waited = now - waits.get(run.run, {}).get(task, now)
        for peer in self.on:
            node = desk.ledger.nodes.get(peer)
            if node is None or node in only or node.group not in option_of or desk.reserved.get(peer, shape) is not shape:
                continue
            at = node.first_end(now)
            spent = seconds / node.speed * option_of[node.group].penalty
            score = spent + self.against(node, spent)
            if at + score < best and waited <= WAITS * (first - now - score):
                found, best = at, at + score
        if found:
            waits.setdefault(run.run, {}).setdefault(task, now)
        return found


def leaning_of(desk: Desk, run: Run, task: int, shape: Shape, seconds: float) -> Leaning | None:
    """Where this task, of so many seconds, leans to; None: nowhere."""
    ledger, nbytes = desk.ledger, 0.0
    if run.linked and 0 < run.consumer_starts[task + 1] - run.consumer_starts[task] <= CONSUMERS_MAX:
        nbytes = ledger.foresight.nbytes(run, task)
        if not _matters(ledger, nbytes, seconds):
            nbytes = 0.0
    if not nbytes and not run.near:
        return None     # as most do: nothing is made for them
    found = Leaning(wanted_near(desk, run, task) if run.near else ())
    if nbytes:
        found.nbytes, found.rate = nbytes, ledger.rates.usual
        _look_ahead(desk, run, task, run.consumers_of(task), found)
    return found if found.near or found.on or found.able is not None else None


def _matters(ledger: Ledger, nbytes: float, seconds: float) -> bool:
    """Whether it takes time worth speaking of to move the result of a task of so many seconds."""
    return nbytes > ledger.rates.small and nbytes > LITTLE * seconds * ledger.rates.usual


def _look_ahead(desk: Desk, run: Run, task: int, consumers: Sequence[int], found: Leaning) -> None:
    """Where those that take its result may be, and, of one that takes it alone, where its other inputs are.

    While none of these is anywhere, the same is asked for that consumer's own result: so subtrees of a reduction stay together.
    """
    ledger = desk.ledger
    for consumer in consumers:
        shape, allowed = run.shapes[run.kind[consumer]], ledger.allowed(run, consumer)
        able = desk.able_for(shape) if allowed is None else ()
        if allowed is not None or len(able) < len(desk.nodes):
            found.able = [node.peer for node in able] if allowed is None else (allowed,)
            break
    at, made = task, found.nbytes
    for level in range(LEVELS_MAX):
        if len(consumers) != 1 or run.fan_in[consumers[0]] > INPUTS_MAX or made <= ledger.rates.small:
            return
        consumer = consumers[0]
        for each in run.inputs_of(consumer):
            nbytes = ledger.foresight.nbytes(run, each) if each != at else 0.0
            if nbytes > ledger.rates.small:
                where = _first_of(run, each, level)
                for peer in (run.node[where], *run.copies.get(where, ())) if AHEAD <= run.state[where] <= DONE else ():
                    if found.able is None or peer in found.able:
                        found.on[peer] = found.on.get(peer, 0.0) + nbytes
        if found.on:
            found.nbytes, found.most = made, max(found.on.values())
            return
        at, consumers = consumer, run.consumers_of(consumer)
        made = ledger.foresight.nbytes(run, at)


def _first_of(run: Run, task: int, levels: int) -> int:
    """The first of what it is made of that is planned, at most so many levels back: where that is, it will probably be, too."""
    for _ in range(levels):
        if AHEAD <= run.state[task] <= DONE or not run.fan_in[task]:
            break
        task = run.inputs_of(task)[0]
    return task
