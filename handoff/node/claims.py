"""What is free on this node now, in exact amounts, which GPUs go with a claim, and who may overtake whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handoff.node.gpus import Demand, Gpu, Gpus, demand, gpus_of
from handoff.node.tracker import ResourceTracker
from handoff.resources import GPU, GPU_KIND, SCALE, Amounts, is_gpu, shown

FREE_SLOT = ""  # a resource of our own, of which a task that costs nothing takes one: no user's resource has an empty name


class Claims:
    """Amounts taken by what runs. The node is the authority: what does not fit here and now does not start."""

    def __init__(
        self, capacity: Amounts, free_slots: int, gpus: Sequence[Gpu] | None = None, tracker: ResourceTracker | None = None,
        failed: Callable[[ResourceTracker, Exception], None] = lambda tracker, error: None,
    ) -> None:
        self.capacity = {**dict(capacity), FREE_SLOT: free_slots}
        self.free = dict(self.capacity)
        self.gpus = Gpus(gpus_of(capacity) if gpus is None else gpus)
        self.has_gpus = bool(self.gpus.all)
        self._tracker, self._failed = tracker, failed
        self._demands: dict[Amounts, Demand | None] = {}

    def fits(self, cost: Amounts) -> bool:
        """Whether this much is free now."""
        free = self.free
        for name, amount in cost:
            if free.get(name, 0) < amount:
                return False
        if self.has_gpus and (wanted := self._demand(cost)) is not None and self.gpus.pick(wanted) is None:
            return False
        return self._tracker is None or self._permits(cost)

    def how_many(self, cost: Amounts) -> int:
        """How many claims of this size fit now, at most a thousand."""
        free = self.free
        count = min((free.get(name, 0) // amount for name, amount in cost), default=1000)
        if self.has_gpus and (wanted := self._demand(cost)) is not None:
            count = min(count, self.gpus.how_many(wanted))
        return count if self._tracker is None or self._permits(cost) else 0

    def gpus_for(self, cost: Amounts) -> tuple[int, ...]:
        """The GPUs that a claim of this would get now; none when it takes none."""
        wanted = self._demand(cost)
        return (self.gpus.pick(wanted) or ()) if wanted is not None else ()

    def take(self, cost: Amounts) -> tuple[int, ...]:
        """Claim it, and answer with the GPUs that go with it; the caller has seen that it fits."""
        free, given = self.free, self.gpus_for(cost) if self.has_gpus else ()
        if given:
            wanted = self._demand(cost)
            assert wanted is not None
            self.gpus.take(wanted, given)
        for name, amount in self.charges(cost, given):
            free[name] -= amount
        if self._tracker is not None:
            self._tell(self._tracker.take, cost, given)
        return given

    def give_back(self, cost: Amounts, given: tuple[int, ...] = ()) -> None:
        """End a claim that was given these GPUs."""
        free = self.free
        if given:
            wanted = self._demand(cost)
            assert wanted is not None
            self.gpus.give_back(wanted, given)
        for name, amount in self.charges(cost, given):
            free[name] += amount
        if self._tracker is not None:
            self._tell(self._tracker.give_back, cost, given)

    def charges(self, cost: Amounts, given: tuple[int, ...]) -> Amounts:
        """All that a claim takes: a GPU of some kind is one of all GPUs, and any GPU is one of its kind."""
        if not given:
            return cost
        found = [each for each in cost if not is_gpu(each[0])]
        for name, amount in cost:
            if is_gpu(name):
                each = amount if amount < SCALE else SCALE
                found.append((GPU, each * len(given)))
                found += [(GPU_KIND + self.gpus.all[index].kind, each) for index in given if self.gpus.all[index].kind]
        return tuple(found)

    def beyond(self, cost: Amounts) -> str:
        """What a cost asks beyond all that this node has, in words; empty when it can be met."""
        capacity = self.capacity
        lacks = [f"{name}={shown(amount)}, where this node has {shown(capacity.get(name, 0))}"
                 for name, amount in cost if capacity.get(name, 0) < amount]
        wanted = self._demand(cost)
        if not lacks and wanted is not None:
            lacks = [text for text in (self.gpus.beyond(wanted),) if text]
        return ", ".join(lacks)

    def delays(self, cost: Amounts, large: Amounts) -> bool:
        """Whether a claim of `cost` would leave less than `large` needs, of something that both need."""
        free, needs = self.free, dict(large)
        if any(name in needs and free.get(name, 0) - amount < needs[name] for name, amount in cost):
            return True
        mine, theirs = (self._demand(cost), self._demand(large)) if self.has_gpus else (None, None)
        given = self.gpus.pick(mine) if mine is not None and theirs is not None else None
        if mine is None or theirs is None or given is None:
            return False
        self.gpus.take(mine, given)
        is_short = self.gpus.pick(theirs) is None
        self.gpus.give_back(mine, given)
        return is_short

    def prolongs(self, cost: Amounts, large: Amounts) -> bool:
        """Whether to go on with a claim of `cost` keeps from `large` something that it lacks."""
        free, needs = self.free, dict(large)
        if any(name in needs and free.get(name, 0) < needs[name] for name, _ in cost):
            return True
        if not self.has_gpus or self._demand(cost) is None:
            return False
        theirs = self._demand(large)
        return theirs is not None and self.gpus.pick(theirs) is None

    def amounts(self) -> Amounts:
        """What is free, as it is told to the coordinator."""
        return tuple(sorted((name, amount) for name, amount in self.free.items() if name != FREE_SLOT and amount > 0))

    # ── parts ───────────────────────────────────────────────────────────────

    def _demand(self, cost: Amounts) -> Demand | None:
        known = self._demands.get(cost, self)
        if known is self:
            if len(self._demands) > DEMANDS_MAX:
                self._demands.clear()
            known = self._demands[cost] = demand(cost)
        return known  # type: ignore[return-value]  # self stands for "not known yet"

    def _permits(self, cost: Amounts) -> bool:
        """What the user's own tracker says."""
        tracker = self._tracker
        assert tracker is not None
        try:
            return bool(tracker.fits(_said(cost)))
        except Exception as error:   # it may be wrong, but not stop the node
            self._give_up(tracker, error)
            return True

    def _tell(self, what: Callable[[Amounts, tuple[int, ...]], None], cost: Amounts, given: tuple[int, ...]) -> None:
        try:
            what(_said(cost), given)
        except Exception as error:
            assert self._tracker is not None
            self._give_up(self._tracker, error)

    def _give_up(self, tracker: ResourceTracker, error: Exception) -> None:
        self._tracker = None
        self._failed(tracker, error)


DEMANDS_MAX = 1024   # costs whose GPUs are worked out and remembered


def _said(cost: Amounts) -> Amounts:
    return tuple([each for each in cost if each[0] != FREE_SLOT])
