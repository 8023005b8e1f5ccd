"""What a plan is made of: the program, what the coordinator knows of its functions, and the nodes, which may be changed to ask what if."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from math import ceil
from numbers import Integral
from typing import TYPE_CHECKING, Any

from handoff.columns import Blobs
from handoff.errors import AllocationError, ConfigError
from handoff.program import Kind, Program
from handoff.quoting import quoted
from handoff.resources import CLUSTER, GPU, SCALE, Amounts, is_gpu, offered, shown
from handoff.scheduler.allocator import Allocator
from handoff.scheduler.needs import devices_of
from handoff.scheduler.shipped import SHIPPED
from handoff.scheduler.simulate.cluster import ClusterSpec, NodeSpec

if TYPE_CHECKING:
    from handoff.client.lower import Lowered

COUNT_SHOWN = 10**18      # with commas; Python refuses to write longer ones so
NODES_MAX = 10_000                   # of a plan; more are a slip of the pen
PAIRS_MAX = 10_000                   # pairs of nodes whose links are told apart; in larger clusters all are taken for average


@dataclass(frozen=True)
class Basis:
    """All that is needed to work a plan out, without a cluster."""

    name: str                                       # of the graph
    ids: Sequence[Hashable | None]                  # per task: its function's id; None for a hidden one
    hidden: Mapping[int, str]                       # what the hidden tasks are
    program: Program                                # literals without their bytes
    functions: Sequence[Mapping[str, Any]]          # per kind, alternative and family: what was learned, as the coordinator says it
    cluster: ClusterSpec
    allocator: str
    make_allocator: Callable[[], Allocator] | None  # None: it is known by name only, and nothing more can be worked out
    max_concurrency: int = 0
    notes: tuple[str, ...] = ()                     # what a reader should know

    def name_of(self, task: int) -> Hashable:
        """The function of a task, also of a hidden one."""
        return self.hidden[task] if task in self.hidden else self.ids[task]

    def kind_of(self, task: int) -> Kind:
        """What its function is."""
        return self.program.kinds[self.program.kind[task]]

    # ── other clusters ───────────────────────────────────────────────────────

    def with_nodes(self, what: int | Mapping[str, float | int | str], count: int) -> Basis:
        """With more nodes: so many copies of the usual one, or `count` that have that much."""
        if isinstance(what, Mapping):
            like = NodeSpec("", _said(what))
        else:
            if count != 1:
                raise ConfigError(f"with_nodes: {quoted(what)} says how many already, and count={quoted(count)} as well; "
                                  'count goes with what a node has, as in with_nodes({"cpu": 8}, count=2)')
            count = what
            like = self._usual()
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ConfigError(f"with_nodes: {quoted(count)} is no number of nodes to add; say 1 or more, or use without() to take "
                              "nodes away")
        count = int(count)
        _check_number("with_nodes", len(self.cluster.nodes) + count)
        taken = {node.name for node in self.cluster.nodes}
        names = (name for number in range(1, len(taken) + count + 1) if (name := f"new-{number}") not in taken)
        return self._with(self.cluster.with_nodes(*(replace(like, name=name) for name, _ in zip(names, range(count), strict=False))))

    def without(self, names: Sequence[str]) -> Basis:
        """Without these nodes."""
        for name in names:
            if not isinstance(name, str):
                raise ConfigError(f'without: {quoted(name)} is not the name of a node; write one or several, such as without("a", "b")')
        if not names:
            raise ConfigError('without: no node is named; write one or several, such as without("a", "b")')
        try:
            left = self.cluster.without(*names)
        except ValueError as wrong:
            raise ConfigError(f"without: {wrong}") from None
        if not left.nodes:
            raise AllocationError(f"without: no node is left to plan {quoted(self.name)} for")
        return self._with(left)

    def with_cpus(self, cpus: float) -> Basis:
        """Each node with so many cores."""
        try:
            steps = dict(offered({"cpu": cpus}))["cpu"]
        except ValueError as wrong:
            raise ConfigError(f"sweep: {wrong}") from None
        return self._with(replace(self.cluster, nodes=tuple(
            replace(node, capacity=(capacity := _amounts({**dict(node.capacity), "cpu": steps})),
                    processes=ceil(node.processes * devices_of(capacity) / devices_of(node.capacity))) for node in self.cluster.nodes)))

    def with_count(self, count: int) -> Basis:
        """With so many nodes in all: the first ones by name, whichever joined first, and then copies of the usual one."""
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ConfigError(f"sweep: nodes={quoted(count)} is no number of nodes; each is 1 or more")
        count = int(count)
        _check_number("sweep", count)
        nodes = self.cluster.nodes
        if count <= len(nodes):
            first = sorted(node.name for node in nodes)[:count]
            return self._with(replace(self.cluster, nodes=tuple(node for node in nodes if node.name in first)))
        return self.with_nodes(count - len(nodes), 1)

    def _usual(self) -> NodeSpec:
        """The node of which there are most; of several such, the largest."""
        if not self.cluster.nodes:
            raise ConfigError("with_nodes: there is no node to copy; say what the new ones have, such as {'cpu': 8, 'memory': '32 GB'}")
        alike = Counter((node.capacity, node.labels) for node in self.cluster.nodes)
        return max(self.cluster.nodes, key=lambda node: (alike[node.capacity, node.labels], dict(node.capacity).get("cpu", 0)))

    def _with(self, cluster: ClusterSpec) -> Basis:
        return replace(self, cluster=cluster)


def _said(what: Mapping[str, float | int | str]) -> Amounts:
    """What a new node is said to have; a GPU of a kind is one of all."""
    try:
        has = dict(offered(what))
    except ValueError as wrong:
        raise ConfigError(f"with_nodes: {wrong}") from None
    if "cpu" not in has:
        raise ConfigError(f"with_nodes: {quoted(dict(what))} names no cores, and every node has some; "
                          "write such as {'cpu': 8, 'memory': '32 GB'}")
    kinds = 0
    for name, steps in has.items():
        if name.startswith(CLUSTER):
            raise ConfigError(f"with_nodes: {name} is what the whole cluster shares, and on no node; leave it out")
        if is_gpu(name) and steps % SCALE:
            raise ConfigError(f"with_nodes: {name}={shown(steps)}: a node has whole GPUs, of which functions may ask for parts")
        kinds += steps if is_gpu(name) and name != GPU else 0
    return _amounts({**has, GPU: max(kinds, has.get(GPU, 0))} if kinds else has)


def _check_number(of: str, count: int) -> None:
    if count > NODES_MAX:
        said = f"{count:,}" if count <= COUNT_SHOWN else quoted(count)
        raise ConfigError(f"{of}: {said} nodes are absurd; a plan can be made for {NODES_MAX:,}")


def alternatives_of(kinds: Sequence[Kind]) -> list[tuple[int, int, Kind]]:
    """(kind, alternative from 0, what stands for it): the cluster learns each cost of a function apart, under codes of its own."""
    return [
        (index, number, Kind((*(kind.codes or (kind.name.encode(),)), b"%d" % (number + 1)), f"{kind.name} with its cost {number + 2}"))
        for index, kind in enumerate(kinds) for number in range(len(kind.alternatives))
    ]


def families_of(kinds: Sequence[Kind]) -> list[Kind]:
    """What stands for each family of functions: of large ones the cluster learns as of one function."""
    return [Kind((family,), name) for family, name in {kind.family: kind.name for kind in reversed(kinds) if kind.family}.items()]


def basis_of(lowered: Lowered, name: str, outlook: Mapping[str, Any], allocator: str | Callable[[], Allocator] | None,
             max_concurrency: int = 0) -> Basis:
    """From a lowered graph and the coordinator's outlook. Raises AllocationError when there is no node, ConfigError for an allocator."""
    program = lowered.program
    notes = ["for an idle cluster: what runs on it now is left out"] if any(node["planned"] for node in outlook["nodes"]) else []
    away = [node["name"] for node in outlook["nodes"] if node["state"] != "ready"]
    if away:
        notes.append(f"without {', '.join(map(repr, away))}, which can't be given work now")
    cluster = cluster_of(outlook)
    if not cluster.nodes:
        raise AllocationError(f"there is nothing to plan {quoted(name)} for: " + (
            f"no node can be given work now ({', '.join(map(repr, away))} can't be heard, or drain)" if away else "no node is there"))
    said, make = allocator_of(allocator if allocator is not None else outlook["allocator"])
    if make is None and allocator is not None:
        raise ConfigError(f"allocator={quoted(allocator)} is none that comes with Handoff; these do: {', '.join(SHIPPED)}. "
                          "One of your own is given as its class")
    if make is None:
        notes.append(f"placed by the default allocator: {said}, which the cluster uses, is not known here")
        said, make = allocator_of("greedy")
    return Basis(
        name, tuple(lowered.ids), dict(lowered.hidden),
        replace(program, codes=tuple((digest, 0) for digest, _ in program.codes), literals=Blobs(program.literals.sizes, b"")),
        outlook["functions"], cluster, said, make, max_concurrency, tuple(notes),
    )


def allocator_of(said: str | Callable[[], Allocator]) -> tuple[str, Callable[[], Allocator] | None]:
    """The name of an allocator, and how to make one; None for a name that means nothing here."""
    if not isinstance(said, str):
        if not callable(said):
            raise ConfigError(f"allocator={quoted(said)} is neither a name ({', '.join(SHIPPED)}) nor a class of an allocator")
        try:
            made = said()
        except Exception as error:
            raise ConfigError(f"allocator={quoted(said)} makes no allocator when it is called without arguments: "
                              f"{type(error).__name__}: {error}") from error
        if not callable(getattr(made, "allocate", None)):
            raise ConfigError(f"allocator={quoted(said)} makes no allocator: it has no method allocate(now, desk)")
        return getattr(said, "__name__", type(said).__name__), said
    for name, place in SHIPPED.items():
        module, _, of = place.partition(":")
        if said in (name, of):
            return name, getattr(import_module(module), of)
    return said, None


def cluster_of(outlook: Mapping[str, Any]) -> ClusterSpec:
    """The nodes that take work, and the network as it was measured."""
    nodes = tuple(
        NodeSpec(node["name"], _amounts(node["capacity"]), node["speed"], tuple(sorted(node["labels"].items())),
                 processes=node.get("processes", 0), gpus=tuple([(kind, memory) for kind, memory in node.get("gpus", ())]))
        for node in outlook["nodes"] if node["state"] == "ready"
    )
    default = outlook["links"]["default"]
    pairs = {(source, target): rate for source, target, rate in outlook["links"]["pairs"]}
    fastest = max(default, *pairs.values()) if pairs else default
    rates: dict[tuple[str, str], float] = {}
    if pairs and len(nodes) ** 2 <= PAIRS_MAX:    # links are as wide as the fastest pair shows; each pair has what was measured for it
        rates = {(source.name, target.name): pairs.get((source.name, target.name), default)
                 for source in nodes for target in nodes if source is not target}
    else:
        fastest = default
    return ClusterSpec(nodes, fastest, outlook["round_trip"] / 2, rates=rates, shared=_amounts(outlook.get("cluster", {})))


def _amounts(steps: Mapping[str, int]) -> Amounts:
    return tuple(sorted(steps.items()))
