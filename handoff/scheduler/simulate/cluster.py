"""What a simulated cluster is made of: nodes with capacities and speeds, and links between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from handoff.quoting import quoted
from handoff.resources import Amounts, amounts


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node: what it offers, how fast it is (1.0: the usual speed), when it is there (seconds after the start)."""

    name: str
    capacity: Amounts
    speed: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()
    joins_at: float = 0.0
    lost_at: float = float("inf")
    processes: int = 0                # for what takes less than a core, or GPU; 0: as many as is usual
    gpus: tuple[tuple[str, int], ...] = ()   # (kind, memory in steps) of each; empty: not known


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """All nodes, and the network between them: full-duplex links that concurrent transfers share fairly."""

    nodes: tuple[NodeSpec, ...]
    bandwidth: float = 1.25e9         # bytes per second, of each node's link, either way
    latency: float = 0.0002           # seconds that any message takes
    overhead: float = 0.0             # seconds that each task costs its node beside its own
    deciding: float = 0.0             # seconds from when the coordinator hears of something until it says what follows
    name: str = ""
    rates: Mapping[tuple[str, str], float] = field(default_factory=dict)   # pairs of nodes whose connection is slower than their links
    shared: Amounts = ()              # what the whole cluster shares, such as licences

    def with_nodes(self, *more: NodeSpec) -> ClusterSpec:
        """The same with more nodes."""
        return replace(self, nodes=(*self.nodes, *more))

    def without(self, *names: str) -> ClusterSpec:
        """The same without these nodes. Raises ValueError for a name that is not there."""
        present = {node.name for node in self.nodes}
        for name in names:
            if name not in present:
                raise ValueError(f"there is no node {quoted(name)}; nodes that are here: {', '.join(sorted(present)) or 'none'}")
        return replace(self, nodes=tuple(node for node in self.nodes if node.name not in names))


def node(name: str, cost: Mapping[str, float | int | str], speed: float = 1.0) -> NodeSpec:
    """A node as people write it: node("a", {"cpu": 4, "memory": "16 GB"})."""
    return NodeSpec(name, amounts(cost), speed)
