"""Which tasks of different costs go to a worker in one message, where there are few of each: under the largest of their costs.

Each by itself would cost a message and a turn, when every task has a cost of its own, as where memory follows the size of an input.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop

from handoff.ids import RunId
from handoff.node.claims import Claims
from handoff.node.lanes import Key, Lane
from handoff.node.tables import HANDLING, Table
from handoff.resources import Amounts, covers


class Company:
    """Lanes that are served together, the most urgent first, and what all of them claim."""

    __slots__ = ("cost", "lanes")

    def __init__(self, key: Key, lane: Lane) -> None:
        self.lanes: list[tuple[Key, Lane]] = [(key, lane)]
        self.cost = lane.cost

    def gather(
        self, heap: list[tuple[Key, Lane]], runs: Mapping[RunId, Table], claims: Claims, claim: Lane | None, sharers: int, most: float,
    ) -> None:
        """Take from the heap, while the next is short, of the same run and mode, and fits with the others into `claim`; or, where there is
        none yet, into what is free, `sharers` times. The node is to run as many of each at once as it could if each claimed its own cost.
        """
        key, lane = self.lanes[0]
        if not (lane.is_joinable and claims.is_exact):
            return
        run, mode, limit = key[2], lane.mode, -(-(1 + len(heap)) // sharers)
        seconds = _seconds(key, lane, runs)
        while heap and seconds < most and len(self.lanes) < limit:
            key, lane = heap[0]
            seconds += _seconds(key, lane, runs)
            if key[2] != run or lane.mode is not mode or not lane.is_joinable or seconds > most:
                return
            if claim is not None:
                if not would_do(claims, claim.cost, lane.cost):
                    return
            else:
                joint = joined(self.cost, lane.cost)
                if joint != self.cost and claims.how_many(joint) < sharers:
                    return
                if not (would_do(claims, joint, self.cost) and would_do(claims, joint, lane.cost)):
                    return
                self.cost = joint
            self.lanes.append(heappop(heap))


def would_do(claims: Claims, claim: Amounts, cost: Amounts) -> bool:
    """Whether it may run under this claim: that is no less, and the node holds as many of them."""
    return covers(claim, cost) and claims.at_once(claim) >= claims.at_once(cost)


def joined(cost: Amounts, other: Amounts) -> Amounts:
    """The least that covers both."""
    if cost == other:
        return cost
    most = dict(cost)
    for name, amount in other:
        most[name] = max(amount, most.get(name, 0))
    return tuple(sorted(most.items()))


def _seconds(key: Key, lane: Lane, runs: Mapping[RunId, Table]) -> float:
    """How long all of the lane takes, as far as its first tells."""
    return runs[key[2]].plans[key[3]][HANDLING].pace.seconds * lane.count
