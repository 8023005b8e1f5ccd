"""What is free on this node now, in exact amounts, which GPUs go with a claim, and who may overtake whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handoff.node.gpus import Demand, Gpu, Gpus, demand, gpus_of
from handoff.node.tracker import ResourceTracker, available
from handoff.resources import GPU, GPU_KIND, SCALE, Amounts, contradiction, is_gpu, shown

FREE_SLOT = ""  # a resource of our own, of which a task that costs nothing takes one: no user's resource has an empty name


class Claims:
    """Amounts taken by what runs. The node is the authority: what does not fit here and now does not start.

    What fits is for this count to say, or for a tracker of the user's own: then the count goes on beside it, and may say that less than
    nothing is free. GPUs, and places for what costs nothing, are given out by this count alone.
    """

    def __init__(
        self, capacity: Amounts, free_slots: int, gpus: Sequence[Gpu] | None = None, tracker: ResourceTracker | None = None,
        failed: Callable[[ResourceTracker, Exception], None] = lambda tracker, error: None,
    ) -> None:
        self.capacity = {**dict(capacity), FREE_SLOT: free_slots}
        self.free = dict(self.capacity)
        self.gpus = Gpus(gpus_of(capacity) if gpus is None else gpus)
        self.has_gpus = bool(self.gpus.all)
        self.is_exact = tracker is None        # nothing was ever given away that this count did not have
        self._tracker, self._failed = tracker, failed
        self._out = 0                          # claims that the tracker knows of
        self._put_off: set[Amounts] = set()    # costs that it refused last while nothing ran: they wait for something else than room
        self._demands: dict[Amounts, Demand | None] = {}

    def fits(self, cost: Amounts) -> bool:
        """Whether this much is free now."""
        if self._tracker is not None:
            return self._permits(self._tracker, cost)
        free = self.free
        for name, amount in cost:
            if free.get(name, 0) < amount:
                return False
        return not self.has_gpus or (wanted := self._demand(cost)) is None or self.gpus.pick(wanted) is not None

    def how_many(self, cost: Amounts) -> int:
        """How many claims of this size fit now, at most a thousand. A tracker is asked about one: if that fits, it is at least one."""
        free = self.free
        count = min((free.get(name, 0) // amount for name, amount in cost), default=1000)
        if self.has_gpus and (wanted := self._demand(cost)) is not None:
            count = min(count, self.gpus.how_many(wanted))
        if self._tracker is not None:
            return max(1, count) if self._permits(self._tracker, cost) else 0
        return max(0, count)    # below nothing after a tracker that gave away more

    def at_once(self, cost: Amounts) -> int:
        """How many claims of this size the whole node holds, GPUs aside."""
        return min((self.capacity.get(name, 0) // amount for name, amount in cost), default=1000)

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
        for name, amount in self.charges(cost, given) if given else cost:
            free[name] -= amount
        if self._tracker is not None:
            self._out += 1
            self._tell(self._tracker, self._tracker.take, cost, given)
        return given

    def give_back(self, cost: Amounts, given: tuple[int, ...] = ()) -> None:
        """End a claim that was given these GPUs."""
        free = self.free
        if given:
            wanted = self._demand(cost)
            assert wanted is not None
            self.gpus.give_back(wanted, given)
        for name, amount in self.charges(cost, given) if given else cost:
            free[name] += amount
        if self._tracker is not None:
            self._out -= 1
            self._tell(self._tracker, self._tracker.give_back, cost, given)

    def charges(self, cost: Amounts, given: tuple[int, ...]) -> Amounts:
        """All that a claim takes: a GPU of some kind is one of all GPUs, and any GPU is one of its kind."""
        if not given:
            return cost
        found = [each for each in cost if not is_gpu(each[0])]
        for name, amount in cost:
            if is_gpu(name):
                each = amount if amount < SCALE else SCALE
                found.append((GPU, each * len(given)))
                kinds = [GPU_KIND + self.gpus.all[index].kind for index in given]
                found += [(kind, each) for kind in kinds if kind in self.capacity]
        return tuple(found)

    def beyond(self, cost: Amounts) -> str:
        """What a cost asks beyond all that this node has, in words; empty when it can be met."""
        if wrong := contradiction(cost):
            return f"what no node can grant ({wrong})"
        capacity = self.capacity
        lacks = [f"{name}={shown(amount)}, where this node has {shown(capacity.get(name, 0))}"
                 for name, amount in cost if capacity.get(name, 0) < amount]
        wanted = self._demand(cost)
        if not lacks and wanted is not None:
            lacks = [text for text in (self.gpus.beyond(wanted),) if text]
        return ", ".join(lacks)

    def delays(self, cost: Amounts, large: Amounts) -> bool:
        """Whether a claim of `cost` would leave less than `large` needs, of something that both need."""
        if self._tracker is not None:
            return self._contend(cost, large)
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
        if self._tracker is not None:
            return self._contend(cost, large)
        free, needs = self.free, dict(large)
        if any(name in needs and free.get(name, 0) < needs[name] for name, _ in cost):
            return True
        if not self.has_gpus or self._demand(cost) is None:
            return False
        theirs = self._demand(large)
        return theirs is not None and self.gpus.pick(theirs) is None

    def amounts(self) -> Amounts:
        """What is free, as it is told to the coordinator."""
        if (tracker := self._tracker) is not None:
            try:
                said = available(tracker)
            except Exception as error:
                self._give_up(tracker, error)
            else:
                if said is not None:
                    return said
        return tuple(sorted((name, amount) for name, amount in self.free.items() if name != FREE_SLOT and amount > 0))

    # ── parts ───────────────────────────────────────────────────────────────

    def _demand(self, cost: Amounts) -> Demand | None:
        known = self._demands.get(cost, self)
        if known is self:
            if len(self._demands) > DEMANDS_MAX:
                self._demands.clear()
            known = self._demands[cost] = demand(cost)
        return known  # type: ignore[return-value]  # self stands for "not known yet"

    def _permits(self, tracker: ResourceTracker, cost: Amounts) -> bool:
        """What the user's own tracker says of what is there to be given out."""
        wanted = self._demand(cost) if self.has_gpus else None
        if wanted is not None and self.gpus.pick(wanted) is None:
            return False
        if any(name == FREE_SLOT and self.free[name] < amount for name, amount in cost):
            return False
        try:
            fits = bool(tracker.fits(_said(cost)))
        except Exception as error:   # it may be wrong, but not stop the node
            self._give_up(tracker, error)
            return self.fits(cost)
        if fits:
            self._put_off.discard(cost)
        elif not self._out and len(self._put_off) < DEMANDS_MAX:
            self._put_off.add(cost)
        return fits

    def _contend(self, cost: Amounts, large: Amounts) -> bool:
        """Whether `cost` keeps `large` waiting, for all that is known of a tracker's reasons: when both name a resource.

        What it refuses even while nothing runs waits for something else (for the night, for example), and nobody is in its way.
        """
        return large not in self._put_off and not {name for name, _ in cost}.isdisjoint(name for name, _ in large)

    def _tell(
        self, tracker: ResourceTracker, what: Callable[[Amounts, tuple[int, ...]], None], cost: Amounts, given: tuple[int, ...]
    ) -> None:
        try:
            what(_said(cost), given)
        except Exception as error:
            self._give_up(tracker, error)

    def _give_up(self, tracker: ResourceTracker, error: Exception) -> None:
        self._tracker = None
        self._failed(tracker, error)


DEMANDS_MAX = 1024   # costs of which something is worked out and remembered


def _said(cost: Amounts) -> Amounts:
    return tuple([each for each in cost if each[0] != FREE_SLOT])
