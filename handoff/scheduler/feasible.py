"""Whether the nodes that are there could ever run a run, and if not, why: said in one sentence for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from handoff.program import Program
from handoff.resources import Amounts, describe, shown
from handoff.scheduler.nodes import Node
from handoff.scheduler.ready import FREE_OF_COST


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way. `code` names the error class; `task` is the first one concerned."""

    code: str
    text: str
    kind: int
    is_absence: bool   # a named node is not there, which may change by itself


def obstacle(program: Program, kinds: Iterable[int], nodes: Sequence[Node], leaving: Sequence[str] = ()) -> Obstacle | None:
    """The first thing that keeps one of these kinds (or their groups) from ever running on these nodes; `leaving`: others, that drain."""
    kinds = list(kinds)
    by_name: dict[str, Node] = {}
    absent = None
    for index in kinds:
        kind = program.kinds[index]
        if kind.node and not by_name:
            by_name = {node.name: node for node in nodes}
        need = kind.cost or FREE_OF_COST
        if kind.node and kind.node not in by_name:
            how = "draining" if kind.node in leaving else "not there"
            text = f"{kind.name} waits for node {kind.node!r}, which is {how}; {_present(nodes)}"
            absent = absent or Obstacle("NodeTimeout", text, index, True)
            continue
        if not nodes and leaving:
            text = f"{kind.name} needs {_shown(need)}, and every node that is here drains: {', '.join(map(repr, leaving))}"
            return Obstacle("AllocationError", text, index, True)
        offered = [by_name[kind.node]] if kind.node else nodes
        if not any(node.can_hold(need) for node in offered):
            return Obstacle("AllocationError", shortage(kind.name, need, offered, kind.node), index, False)
    if program.groups and not by_name:
        by_name = {node.name: node for node in nodes}
    for group in program.groups:
        if not any(program.kind[task] in kinds for task in group):
            continue
        most: dict[str, int] = {}
        pinned = ""
        for task in group:
            kind = program.kinds[program.kind[task]]
            pinned = pinned or kind.node
            for name, amount in kind.cost:
                most[name] = max(amount, most.get(name, 0))
        need = tuple(sorted(most.items())) or FREE_OF_COST
        offered = [by_name[pinned]] if pinned in by_name else [] if pinned else nodes
        if offered and not any(node.can_hold(need) for node in offered):
            index = program.kind[group[0]]
            what = f"the {len(group)} functions that are collocated with {program.kinds[index].name}"
            return Obstacle("AllocationError", shortage(what, need, offered, pinned), index, False)
    return absent


def shortage(what: str, need: Amounts, nodes: Sequence[Node], pinned: str = "") -> str:
    """A cost that no node meets: the resource, what is needed, what the nearest node offers, and what would help."""
    if not nodes:
        return f"{what} needs {_shown(need)}, and no node has joined"
    nearest = min(nodes, key=lambda node: (_lacks(need, node), node.name))
    short = [(name, amount, nearest.capacity.get(name, 0)) for name, amount in need if nearest.capacity.get(name, 0) < amount]
    offers = ", ".join(f"{name}={shown(has)}" for name, _, has in short)
    largest = "; ".join(
        f"most {name}: {shown(best.capacity[name])} on {best.name!r}" if best.capacity.get(name) else f"no node has any {name}"
        for name, _, _ in short
        for best in [max(nodes, key=lambda node: (node.capacity.get(name, 0), node.name))]
    )
    if pinned:
        return (
            f"{what} needs {_shown(need)} on node {pinned!r}, which it is pinned to; that node offers {offers}. "
            "Ask for less, or pin it to another node"
        )
    return (
        f"{what} needs {_shown(need)}, which no node can ever offer; the nearest, {nearest.name!r}, offers {offers} ({largest}). "
        "Ask for less, start a node that has it, or submit with wait_for_nodes"
    )


def _lacks(need: Amounts, node: Node) -> float:
    return max((amount / node.capacity[name] if node.capacity.get(name) else float("inf") for name, amount in need), default=0.0)


def _shown(need: Amounts) -> str:
    return describe(tuple((name, amount) for name, amount in need if name))


def _present(nodes: Sequence[Node]) -> str:
    return "present: " + ", ".join(sorted(repr(node.name) for node in nodes)) if nodes else "no node is present"
