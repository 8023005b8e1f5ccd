"""All benchmarks by name, each a function of how much is to be measured; what each does is its first sentence."""

from __future__ import annotations

from collections.abc import Callable

import brains
import intermediates
import many
import measures
import memory
import processes
import scale
import shuffle
import stencil
from figures import Effort, Figure

ALL: dict[str, Callable[[Effort], list[Figure]]] = {
    "throughput": many.throughput,
    "tree": many.reduction,
    "chains": many.chains,
    "latency": many.latency,
    "again": many.again,
    "stencil": stencil.stencil,
    "shuffle": shuffle.shuffle,
    "transfer": measures.transfer,
    "wanted": measures.wanted,
    "startup": processes.startup,
    "idle": processes.idle,
    "memory": memory.memory,
    "intermediates": intermediates.intermediates,
    "slow": processes.slow,
    "brains": brains.brains,
    "scale": scale.scale,
}
