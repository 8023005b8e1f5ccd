"""What a node offers, how much of it is given away, and what the results that lie there leave: whether something has room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handoff.resources import GPU, GPU_KIND, GPU_MEMORY, SCALE, Amounts, is_gpu

if TYPE_CHECKING:
    from handoff.scheduler.groups import Group

COSTS_MAX = 1024     # costs of which it is remembered which part of a node they take
SPARED = 0.1         # of its memory results may take before they count against claims, which are rounded up and seldom needed all at once


class Room:
    """The resources of one node."""

    __slots__ = (
        "capacity", "committed", "freed", "gpus", "group", "is_open", "limits", "results", "shares", "stays", "widths",
    )

    def __init__(self, capacity: dict[str, int], gpus: tuple[tuple[str, int], ...] = ()) -> None:
        """`gpus`: of each its kind and memory, where the node says so."""
        self.capacity = capacity
        self.committed: dict[str, int] = dict.fromkeys(capacity, 0)
        self.gpus = gpus or _alike(capacity)    # (kind, memory) of each; none where that is not known
        self.results = 0                        # memory that results take beside what runs
        self.stays = 0                          # that of those which no run will free: they lie there as long as somebody holds them
        self.limits = capacity                  # what may be committed: less memory where so much of it stays taken
        self.is_open = False                    # it may have one task, whatever stays
        self.group: Group | None = None         # the nodes that are as this one, while it takes work
        self.freed = 0                          # how often room opened: what was full is so until this changes
        self.shares: dict[Amounts, float] = {}  # the largest part of this node that such a cost takes
        self.widths: dict[Amounts, float] = {}  # the same of its cores

    def share(self, need: Amounts) -> float:
        """The largest part of any of the node's resources that this takes; above 1 when the node can never hold it."""
        known = self.shares.get(need)
        if known is None:
            if len(self.shares) >= COSTS_MAX:
                self.shares.clear()
            known = max((amount / self.capacity[name] if self.capacity.get(name) else 2.0 for name, amount in need), default=0.0)
            self.shares[need] = known
        return known

    def width(self, need: Amounts) -> float:
        """The part of its cores that such a task keeps busy: as `share`, but none where the cost names none, as that of a GPU function."""
        known = self.widths.get(need)
        if known is None:
            if len(self.widths) >= COSTS_MAX:
                self.widths.clear()
            known = self.widths[need] = self.share(need) if any(name in ("cpu", "") for name, _ in need) else 0.0
        return known

    def can_hold(self, need: Amounts) -> bool:
        """Whether it could run this when it ran nothing else, and held no results."""
        capacity = self.capacity
        for name, amount in need:
            if capacity.get(name, 0) < amount:
                return False
            if name == GPU_MEMORY and self.gpus and amount > self.memory_per_gpu(need) * _count(need):
                return False
        return True

    def memory_per_gpu(self, need: Amounts) -> int:
        """How much each of the GPUs has, at least, that this would get when nothing else runs: the largest of its kind."""
        count = _count(need)
        kind = next((name.removeprefix(GPU_KIND) for name, _ in need if name.startswith(GPU_KIND)), "")
        able = sorted([memory for each, memory in self.gpus if kind in ("", each)])
        return able[-count] if len(able) >= count else 0

    def has_room(self, need: Amounts) -> bool:
        """Whether this fits beside what it was given, and what stays there."""
        limits, committed = self.limits, self.committed
        for name, amount in need:    # asked several times for each task that is placed: no generator
            if name not in limits or committed[name] + amount > limits[name]:
                return False
        return True

    def slots(self, need: Amounts) -> int:
        """How many of these fit beside what it was given, and what stays there; where that had to be let in, one."""
        limits, committed = self.limits, self.committed
        fits = [(limits[name] - committed[name]) // amount if name in limits else 0 for name, amount in need]
        return max(0, min(fits, default=1 << 30)) if not self.is_open else int(self.has_room(need))

    def can_commit(self, need: Amounts) -> bool:
        """Whether this fits beside what it was given, whatever results there are."""
        capacity, committed = self.capacity, self.committed
        for name, amount in need:
            if name not in capacity or committed[name] + amount > capacity[name]:
                return False
        return True

    # ── results ─────────────────────────────────────────────────────────────

    def is_tight(self, need: Amounts) -> bool:
        """Whether results leave too little memory for this beside what it was given."""
        for name, amount in need if self.results else ():
            if name == "memory":
                return self.committed.get(name, 0) + amount > self._left(self.results)
        return False

    def is_shut(self, need: Amounts) -> bool:
        """Whether what stays leaves too little for this, even when it runs nothing else."""
        return any(name == "memory" and amount > self._left(self.stays) for name, amount in need)

    def count_results(self, steps: int, stays: int) -> None:
        """Results take so much of its memory beside what runs, and so much of it will stay taken, whatever runs."""
        self.results = max(0, steps)
        if stays != self.stays:
            opens, self.stays = stays < self.stays, stays
            self.close()
            if opens:
                self._tell_of_room()

    def open(self) -> bool:
        """From now on it may have one task, whatever stays; whether that changes anything."""
        if self.limits is self.capacity:
            return False
        self.is_open, self.limits = True, self.capacity
        self._tell_of_room()
        return True

    def close(self) -> None:
        """What stays counts."""
        left = self._left(self.stays)
        self.is_open, self.limits = False, self.capacity if left == self.capacity.get("memory", 0) else {**self.capacity, "memory": left}

    def _left(self, taken: int) -> int:
        has = self.capacity.get("memory", 0)
        return min(has, max(0, has + int(SPARED * has) - taken))

    def _tell_of_room(self) -> None:
        self.freed += 1
        if self.group is not None:
            self.group.freed.append(self)   # type: ignore[arg-type]  # it is a Node


def _count(need: Amounts) -> int:
    """How many GPUs it takes, or parts of one."""
    return max([SCALE, *[steps for name, steps in need if is_gpu(name)]]) // SCALE


def _alike(capacity: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """The GPUs of a node that says nothing of each, where they share the memory evenly; none where there are none, or of several kinds."""
    count = capacity.get(GPU, 0) // SCALE
    kinds = {name.removeprefix(GPU_KIND): steps // SCALE for name, steps in capacity.items() if name.startswith(GPU_KIND)}
    if not count or list(kinds.values()) not in ([], [count]):
        return ()
    return ((next(iter(kinds), ""), capacity.get(GPU_MEMORY, 0) // count),) * count
