"""Shares: of equal priority, who has the least of the cluster for its weight is served next.

A large run has an account of its own; the small ones of a client share one. What an account has is its dominant share: of what its tasks
that are with nodes take, the resource of which that is the largest part of the cluster. Source: A. Ghodsi and others, "Dominant Resource
Fairness", NSDI 2011. What it had lately counts more than what it has just now: with two cores and weights of one and three, shares of the
moment would be one core each for ever. Nobody is ever kept from what nobody else wants.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

from handoff.resources import Amounts

if TYPE_CHECKING:
    from handoff.scheduler.ready import Shape
    from handoff.scheduler.runs import Run

LATELY_SECONDS = 10.0   # shares of the past fade with this time constant
LATELY = 8.0            # and count so many times as much as the share of the moment: that comes in whole cores, so it is off by up to one
SMALL_RUN = 16      # runs of at most so many tasks share the account of their client


class Stake:
    """What an account has with nodes of tasks that need the same, counted for all their shapes: of these there may be one for each task."""

    __slots__ = ("account", "moved", "planned", "portion", "shapes")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.moved = account.moved
        self.planned = 0        # tasks that are with nodes; who changes that says so in `moved`
        self.portion = 0.0      # of the cluster, that one of them takes, where there is more than one account
        self.shapes = 0         # of its account, that need this

    def weigh(self, portion: float) -> None:
        """One of them takes this part of the cluster."""
        if portion != self.portion:
            self.portion = portion
            self.moved[self.account] = None


class Account:
    """Whose tasks are counted together."""

    __slots__ = ("_at", "_lately", "_share", "key", "moved", "stakes", "weight")

    def __init__(self, key: tuple[int, int, float], weight: float, moved: dict[Account, None]) -> None:
        self.key = key
        self.weight = weight
        self.moved = moved      # the accounts that have more or less since they were settled
        self.stakes: dict[tuple[Amounts, ...], Stake] = {}   # by what its tasks need, at each of their costs
        self._share = 0.0       # when it was last settled
        self._lately = 0.0      # its share, averaged over the last seconds
        self._at = 0.0          # as of then

    def level(self, now: float) -> int:
        """What it has and had for its weight, in millionths of the cluster."""
        if now > self._at:
            fading = exp((self._at - now) / LATELY_SECONDS)
            self._lately = self._lately * fading + self._share * (1.0 - fading)
            self._at = now
        return int(min(1e15, 1e6 * (LATELY * self._lately + self._taken()) / self.weight))

    def stake(self, needs: tuple[Amounts, ...]) -> Stake:
        """Where the tasks of a new shape are counted."""
        found = self.stakes.get(needs)
        if found is None:
            found = self.stakes[needs] = Stake(self)
        found.shapes += 1
        return found

    def settle(self) -> None:
        """A pass is over: what it has now it has until the next one."""
        self._share = self._taken()

    def _taken(self) -> float:
        return sum([stake.planned * stake.portion for stake in self.stakes.values()])


class Accounts:
    """All that have shapes."""

    def __init__(self) -> None:
        self.open: dict[tuple[int, int, float], Account] = {}
        self._moved: dict[Account, None] = {}

    def of(self, run: Run) -> Account:
        """That of a run."""
        is_small = run.total <= SMALL_RUN and run.client is not None
        key = (run.client or 0, 0 if is_small else run.run, run.weight)
        found = self.open.get(key)
        if found is None:
            found = self.open[key] = Account(key, run.weight, self._moved)
        return found

    def settle(self) -> None:
        """A pass is over: of the others nothing has changed."""
        for account in self._moved:
            account.settle()
        self._moved.clear()

    def close(self, shape: Shape) -> None:
        """No run uses this shape any more."""
        account = shape.account
        shape.stake.shapes -= 1
        if not shape.stake.shapes:
            del account.stakes[shape.needs]
            self._moved[account] = None
        if not account.stakes:
            del self.open[account.key]
            self._moved.pop(account, None)
