"""Large values that several nodes take: who fetched one, or is about to, hands it on, so that it spreads as a tree.

Without it, n nodes that take a value all fetch it over the one link of its maker. A node keeps what it fetched until `Release`, and answers
who asked for it before it came, so any node that takes the value may serve others. Each serves two at a time: over a link that is shared
fairly, that is about as quick as any number.

Nobody may wait for a node that will not have the value. So a node hands on only while something that takes the value is planned on it, or
has ended well there; when that is no longer so, those that wait for it are sent to the value's home. And nobody may wait for itself: a node
is sent to the home, or to one that took its place in the tree before it.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from handoff.ids import NOBODY
from handoff.scheduler.runs import DONE, Run

if TYPE_CHECKING:
    from handoff.scheduler.ledger import Ledger

CHILDREN = 2       # that a node serves at a time
LOOKED_AT = 8      # nodes that could serve one more, of which the best is taken


class Holder:
    """A node that has a value, or will have it."""

    __slots__ = ("active", "is_sure", "parent", "planned", "there")

    def __init__(self, parent: int, there: float) -> None:
        self.parent = parent       # whom it was told to ask; NOBODY: it is the home
        self.there = there         # when it should have the value
        self.planned = 0           # tasks planned on it that take the value
        self.active = 0            # nodes that were told to ask it, and may not have the value yet
        self.is_sure = False       # a task that takes the value ended well there


class Tree:
    """How one value spreads. Every holder's parent stands before it, or is the home."""

    __slots__ = ("holders", "home", "likely", "sure")

    def __init__(self, home: int, there: float) -> None:
        self.home = home           # where the value was made, or is being made
        self.holders: dict[int, Holder] = {home: Holder(NOBODY, there)}
        self.sure: dict[int, Holder] = dict(self.holders)    # those that could serve one more, and have the value; the home among them
        self.likely: dict[int, Holder] = {}                  # those that could, and are still to get it

    def source(self, ledger: Ledger, peer: int, nbytes: float, now: float) -> tuple[int, float]:
        """Whom that node had best ask, and when that one could begin to send."""
        nodes, rates, soon = ledger.nodes, ledger.rates, now + ledger.foresight.latency
        best, best_begin, best_end = self.home, max(now, self.holders[self.home].there), float("inf")
        for each, holder in islice(chain(self.sure.items(), self.likely.items()), LOOKED_AT):
            node = nodes.get(each)
            if node is None or node.state != "ready" or each == peer:
                continue
            begin = now if holder.is_sure or (holder.there <= now and each == self.home) else max(holder.there, soon)
            begin = max(begin, node.up_at)
            end = begin + nbytes / rates.of(each, peer)
            if end < best_end:
                best, best_begin, best_end = each, begin, end
        return best, best_begin

    def add(self, peer: int, parent: int, there: float) -> Holder:
        """That node is told to ask this parent."""
        holder = self.holders[peer] = Holder(parent, there)
        self.likely[peer] = holder
        self.serves(parent, 1)
        return holder

    def serves(self, peer: int, more: int) -> None:
        """It has so many more children."""
        holder = self.holders[peer]
        holder.active += more
        is_sure = holder.is_sure or peer == self.home
        if holder.active >= CHILDREN:
            (self.sure if is_sure else self.likely).pop(peer, None)
        elif is_sure:
            self.sure[peer] = holder
        else:
            self.likely[peer] = holder

    def has(self, peer: int) -> None:
        """That node surely has the value, and does not load its parent any more."""
        holder = self.holders[peer]
        if not holder.is_sure:
            holder.is_sure = True
            self.likely.pop(peer, None)
            self.serves(peer, 0)
            self.serves(holder.parent, -1)

    def remove(self, peer: int) -> list[int]:
        """That node hands on nothing any more; answers with those that waited for it, which are to ask at home from now on."""
        gone = self.holders.pop(peer)
        self.sure.pop(peer, None)
        self.likely.pop(peer, None)
        if not gone.is_sure:
            self.serves(gone.parent, -1)
        waiting = []
        for each, holder in self.holders.items():
            if holder.parent == peer:
                holder.parent = self.home
                if not holder.is_sure:
                    self.serves(self.home, 1)
                    waiting.append(each)
        return waiting


def join(ledger: Ledger, run: Run, value: int, peer: int, nbytes: float, now: float) -> Holder | None:
    """That node will fetch this large value: its place in the tree. None where the value does not spread so."""
    tree = run.trees.get(value)
    if tree is None:
        if run.has_remade or len(run.consumers_of(value)) <= CHILDREN:
            return None    # where something was made again, it is not known for sure who has what
        there = now if run.state[value] == DONE else run.ends_at(value) + run.submitted
        tree = run.trees[value] = Tree(run.node[value], there)
    holder = tree.holders.get(peer)
    if holder is None:
        if run.has_remade or run.ran.get(value) == peer:    # who made it has it
            return None
        source, begin = tree.source(ledger, peer, nbytes, now)
        holder = tree.add(peer, source, begin + nbytes / ledger.rates.of(source, peer))
    return holder


def send_on(ledger: Ledger, run: Run, value: int, consumer: int) -> None:
    """This dependent was planned before, and perhaps beside the value: its node fetches it from where it is now, and holds a copy then."""
    peer = run.node[consumer]
    ledger.out.redirect(peer, run.run, value, run.node[value])
    run.note_copy(value, peer)


# ── what happens to the tasks that take such values ─────────────────────────


def planned(run: Run, task: int, peer: int) -> None:
    """A task is planned there."""
    for tree in _trees_of(run, task):
        holder = tree.holders.get(peer)
        if holder is not None:
            holder.planned += 1


def took(run: Run, task: int, peer: int) -> None:
    """A task ended well there: what it took is there for sure."""
    for tree in _trees_of(run, task):
        holder = tree.holders.get(peer)
        if holder is None or peer == tree.home:
            continue
        holder.planned -= 1
        tree.has(peer)


def left(ledger: Ledger, run: Run, task: int, peer: int) -> None:
    """A task is not planned there any more, and did not end well: for its sake nothing is fetched there."""
    run.trees.pop(task, None)    # what it makes will be elsewhere; whoever takes it is told where
    for each in dict.fromkeys(run.inputs_of(task)):
        tree = run.trees.get(each)
        holder = tree.holders.get(peer) if tree is not None else None
        if tree is None or holder is None or peer == tree.home:
            continue
        holder.planned -= 1
        if not holder.planned and not holder.is_sure:
            _send_home(ledger, run, each, tree, peer)


def lose(ledger: Ledger, run: Run, peer: int) -> None:
    """A node is gone. Where it was a value's home, everybody who takes the value is told of another one."""
    for value, tree in list(run.trees.items()):
        if tree.home == peer:
            del run.trees[value]
        elif peer in tree.holders:
            _send_home(ledger, run, value, tree, peer)


def goes_home(run: Run, value: int, peer: int) -> None:
    """That node could not have the value from whom it was told to ask, and asks at home from now on."""
    tree = run.trees.get(value)
    holder = tree.holders.get(peer) if tree is not None else None
    if tree is None or holder is None or holder.parent == NOBODY:
        return
    if not holder.is_sure:
        tree.serves(holder.parent, -1)
        tree.serves(tree.home, 1)
    holder.parent = tree.home


def relays_for(run: Run, peer: int, inputs: list[int]) -> list[int]:
    """Pairs (input, node): which of these that node is to ask for elsewhere than at home."""
    pairs: list[int] = []
    for each in inputs:
        tree = run.trees.get(each)
        holder = tree.holders.get(peer) if tree is not None else None
        if tree is not None and holder is not None and holder.parent not in (NOBODY, tree.home):
            pairs += (each, holder.parent)
    return pairs


def _send_home(ledger: Ledger, run: Run, value: int, tree: Tree, peer: int) -> None:
    for each in tree.remove(peer):
        ledger.out.redirect(each, run.run, value, tree.home)


def _trees_of(run: Run, task: int) -> list[Tree]:
    return [run.trees[each] for each in dict.fromkeys(run.inputs_of(task)) if each in run.trees]
