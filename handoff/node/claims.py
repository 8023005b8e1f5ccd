"""What is free on this node now, in exact amounts, and who may overtake whom."""

from __future__ import annotations

from handoff.resources import Amounts, shown

FREE_SLOT = ""  # a resource of our own, of which a task that costs nothing takes one: no user's resource has an empty name


class Claims:
    """Amounts taken by what runs. The node is the authority: what does not fit here and now does not start."""

    def __init__(self, capacity: Amounts, free_slots: int) -> None:
        self.capacity = {**dict(capacity), FREE_SLOT: free_slots}
        self.free = dict(self.capacity)

    def fits(self, cost: Amounts) -> bool:
        """Whether this much is free now."""
        free = self.free
        return all(free.get(name, 0) >= amount for name, amount in cost)

    def how_many(self, cost: Amounts) -> int:
        """How many claims of this size fit now, at most a thousand."""
        free = self.free
        return min((free.get(name, 0) // amount for name, amount in cost), default=1000)

    def take(self, cost: Amounts) -> None:
        """Claim it; the caller has seen that it fits."""
        free = self.free
        for name, amount in cost:
            free[name] -= amount

    def give_back(self, cost: Amounts) -> None:
        """End a claim."""
        free = self.free
        for name, amount in cost:
            free[name] += amount

    def beyond(self, cost: Amounts) -> str:
        """What a cost asks beyond all that this node has, in words; empty when it can be met."""
        capacity = self.capacity
        return ", ".join(f"{name}={shown(amount)}, where this node has {shown(capacity.get(name, 0))}"
                         for name, amount in cost if capacity.get(name, 0) < amount)

    def delays(self, cost: Amounts, large: Amounts) -> bool:
        """Whether a claim of `cost` would leave less than `large` needs, of something that both need."""
        free, needs = self.free, dict(large)
        return any(name in needs and free.get(name, 0) - amount < needs[name] for name, amount in cost)

    def prolongs(self, cost: Amounts, large: Amounts) -> bool:
        """Whether to go on with a claim of `cost` keeps from `large` something that it lacks."""
        free, needs = self.free, dict(large)
        return any(name in needs and free.get(name, 0) < needs[name] for name, _ in cost)

    def amounts(self) -> Amounts:
        """What is free, as it is told to the coordinator."""
        return tuple(sorted((name, amount) for name, amount in self.free.items() if name != FREE_SLOT and amount > 0))
