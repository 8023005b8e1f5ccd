"""Which GPUs a claim gets: whole ones take free GPUs, parts share one and never straddle two, so no GPU is ever given away twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from handoff.resources import GPU, GPU_KIND, GPU_MEMORY, SCALE, Amounts, is_gpu, shown


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this node; its index is its place among them."""

    kind: str = ""          # "a100"; empty: not known
    memory: int = 0         # MB, in steps; 0: not known
    device: str = ""        # what CUDA_VISIBLE_DEVICES calls it; empty: its index


def gpus_of(capacity: Amounts) -> tuple[Gpu, ...]:
    """The GPUs that a declared capacity means: kinds in the order of their names, then those of no kind; memory is shared evenly."""
    amounts = dict(capacity)
    kinds = [name.removeprefix(GPU_KIND) for name, steps in capacity if name.startswith(GPU_KIND) for _ in range(steps // SCALE)]
    count = max(len(kinds), amounts.get(GPU, 0) // SCALE)
    memory = amounts.get(GPU_MEMORY, 0) // count if count else 0
    return tuple(Gpu(kind, memory, str(index)) for index, kind in enumerate(kinds + [""] * (count - len(kinds))))


class Demand(NamedTuple):
    """What a cost asks of GPUs."""

    kind: str               # empty: any
    steps: int              # below SCALE: a part of one, 0: none of its time, but memory; else whole ones
    memory: int             # of all of them together


def demand(cost: Amounts) -> Demand | None:
    """What a cost asks of GPUs; None when nothing."""
    found, memory = None, 0
    for name, steps in cost:
        if is_gpu(name):
            found = (name.removeprefix(GPU_KIND) if name != GPU else "", steps)
        elif name == GPU_MEMORY:
            memory = steps
    if found is None:
        return Demand("", 0, memory) if memory else None
    return Demand(*found, memory)


class Gpus:
    """How much of each GPU is free."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self.all = tuple(gpus)
        self.free = [SCALE] * len(self.all)
        self.memory = [each.memory for each in self.all]

    def pick(self, wanted: Demand) -> tuple[int, ...] | None:
        """The GPUs that a claim would get now: the lowest free ones, or for a part the fullest in which it fits. None: it does not fit."""
        able = [index for index, each in enumerate(self.all) if wanted.kind in ("", each.kind) and self._fits(index, wanted)]
        if wanted.steps < SCALE:
            return (min(able, key=lambda index: (self.free[index], index)),) if able else None
        count = wanted.steps // SCALE
        return tuple(able[:count]) if len(able) >= count else None

    def _fits(self, index: int, wanted: Demand) -> bool:
        free, memory = self.free[index], self.memory[index]
        if wanted.steps < SCALE:
            return free >= max(1, wanted.steps) and memory >= wanted.memory
        return free == SCALE and memory == self.all[index].memory and memory * (wanted.steps // SCALE) >= wanted.memory

    def how_many(self, wanted: Demand) -> int:
        """How many such claims fit now."""
        able = [index for index, each in enumerate(self.all) if wanted.kind in ("", each.kind) and self._fits(index, wanted)]
        if wanted.steps >= SCALE:
            return len(able) // (wanted.steps // SCALE)
        memory = max(1, wanted.memory)
        return sum(min(self.free[index] // max(1, wanted.steps), self.memory[index] // memory or SCALE) for index in able)

    def take(self, wanted: Demand, given: tuple[int, ...]) -> None:
        """Claim these."""
        for index in given:
            whole = wanted.steps >= SCALE
            self.free[index] -= SCALE if whole else wanted.steps
            self.memory[index] -= self.all[index].memory if whole else wanted.memory

    def give_back(self, wanted: Demand, given: tuple[int, ...]) -> None:
        """End that claim."""
        for index in given:
            whole = wanted.steps >= SCALE
            self.free[index] += SCALE if whole else wanted.steps
            self.memory[index] += self.all[index].memory if whole else wanted.memory

    def beyond(self, wanted: Demand) -> str:
        """What this asks of one GPU beyond what any here has, in words; empty when it can be met."""
        if not self.all or Gpus(self.all).pick(wanted) is not None:
            return ""
        count = max(1, wanted.steps // SCALE)
        able = [each.memory for each in self.all if wanted.kind in ("", each.kind)]
        enough = sorted(able)[-count] if len(able) >= count else 0
        return f"{GPU_MEMORY}={shown(wanted.memory // count)} on each GPU that it takes, where this node has {shown(enough)}"
