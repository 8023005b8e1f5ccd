"""Whether the nodes that are there could ever run a run, and if not, why: said in one sentence for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice, product

from handoff.program import Flag, Kind, Program
from handoff.quoting import QUOTED_MAX, cut
from handoff.resources import CLUSTER, GPU, GPU_MEMORY, SCALE, SIZED, Amounts, describe, is_gpu, shown, split
from handoff.scheduler.needs import OURS, counted_of, needs_of
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import Run
from handoff.scheduler.semaphores import Semaphores

NEAREST_MAX = 3   # nodes that are named with what they lack
CLOSE = 0.7       # how alike a name must be to be suggested: gpu and cpu are not, license and licence are
OR_WAIT = ", or run it in a graph with wait_for_nodes=True"   # the end of an advice that is no use to who does that already
BYTES_SURELY = 10_000_000 * SCALE   # of MB: ten terabytes of memory are ten megabytes, said in bytes
COSTS_MAX = 4     # combinations of alternatives of a group that are named
LISTED_MAX = 8    # names or values that are listed where none is close to what was asked for


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way. `code` names the error class; `kind` is the first one concerned."""

    code: str
    text: str
    kind: int
    is_absence: bool          # a named node is not there, which may change by itself
    is_final: bool = False    # no node that joins could change it


def obstacle(
    program: Program, kinds: Iterable[int], nodes: Sequence[Node], cluster: Semaphores, away: Sequence[Node] = (),
) -> Obstacle | None:
    """The first thing that keeps one of these kinds (or their groups) from ever running on these nodes.

    `away` are others, which drain or are faulty. Without any node, only what no node could change counts.
    """
    kinds = list(kinds)
    by_name: dict[str, Node] = {}
    absent = None
    for index in kinds:
        kind = program.kinds[index]
        if kind.node and not by_name:
            by_name = {node.name: node for node in nodes}
        counted = counted_of(kind)
        if counted and not any(map(cluster.can_ever, counted)):
            return Obstacle("AllocationError", _undeclared(kind, counted, cluster), index, False, True)
        if away and (text := _only_on_faulty(kind, nodes, away, cluster)):
            return Obstacle("NodeTimeout", text, index, True)
        if kind.node and kind.node not in by_name:
            if absent is None:      # there may be a thousand nodes to come, and as many to name
                how = "draining" if any(kind.node == node.name for node in away) else "not there"
                text = f"{kind.name} waits for node {kind.node!r}, which is {how}; {_present(nodes)}"
                absent = Obstacle("NodeTimeout", text, index, True)
            continue
        if not nodes and away:
            names = ", ".join([repr(node.name) for node in away])
            how = "drains or is faulty" if any(node.fault for node in away) else "drains"
            text = f"{kind.name} needs {describe(split(kind.cost)[0])}, and every node that is here {how}: {names}"
            return Obstacle("AllocationError", text, index, True)
        offered = [by_name[kind.node]] if kind.node else nodes
        if not any(_can_run(node, kind, cluster) for node in offered):
            is_grouped = any(program.kind[task] == index for group in program.groups for task in group)
            if is_grouped and not kind.node and (not any(node.matches(kind.where) for node in offered)
                                                 or any(_can_run(node, replace(kind, where=()), cluster) for node in offered)):
                kind = replace(kind, name=_whole_group(kind.name))   # what shares a node asks for all labels that any of it asks for
            return Obstacle("AllocationError", shortage(kind, offered, cluster, away), index, False)
    if program.groups and not by_name:
        by_name = {node.name: node for node in nodes}
    for group in program.groups:
        if not any(program.kind[task] in kinds for task in group):
            continue
        members = [program.kinds[index] for index in dict.fromkeys(program.kind[task] for task in group)]
        pinned = next((kind.node for kind in members if kind.node), "")
        offered = [by_name[pinned]] if pinned in by_name else [] if pinned else nodes
        if offered and not any(all(_can_run(node, kind, cluster) for kind in members) for node in offered):
            index = next(program.kind[task] for task in group if program.kind[task] in kinds)
            several = list(islice(product(*[(kind.cost, *kind.alternatives) for kind in members]), COSTS_MAX))
            first, *others = dict.fromkeys(map(_most, several))
            what = _whole_group(program.kinds[index].name)
            together = Kind((), what, cost=first, alternatives=tuple(others), where=members[0].where, node=pinned)
            return Obstacle("AllocationError", shortage(together, offered, cluster, away), index, False)
    return absent


def _most(costs: Iterable[Amounts]) -> Amounts:
    """Of each resource what the one needs that needs most of it: less does not do for all of them, one after the other."""
    most: dict[str, int] = {}
    for name, amount in (each for cost in costs for each in cost):
        most[name] = max(amount, most.get(name, 0))
    return tuple(sorted(most.items()))


def _whole_group(name: str) -> str:
    return f"{name} with what is collocated with it"


def _can_run(node: Node, kind: Kind, cluster: Semaphores) -> bool:
    """Whether this node, when it ran nothing else, could run such tasks with one of their costs."""
    if not node.matches(kind.where):
        return False
    if kind.flags & Flag.OBJECT:
        return True
    needs, counted = needs_of(kind), counted_of(kind)
    for number, need in enumerate(needs):
        if node.can_hold(need) and (not counted or cluster.can_ever(counted[number])):
            return True
    return False


def _only_on_faulty(kind: Kind, nodes: Sequence[Node], away: Sequence[Node], cluster: Semaphores) -> str:
    """Which faulty nodes could run such tasks, in words, where no other one can."""
    able = [node for node in away if node.fault and kind.node in ("", node.name) and _can_run(node, kind, cluster)]
    if not able or any(kind.node in ("", node.name) and _can_run(node, kind, cluster) for node in nodes):
        return ""
    shown = "; ".join(f"node {node.name!r}: {node.fault}" for node in able[:NEAREST_MAX])
    more = f"; and {len(able) - NEAREST_MAX} more" if len(able) > NEAREST_MAX else ""
    return f"{kind.name} waits for what can run nothing now: {shown}{more}"


# ── for people ──────────────────────────────────────────────────────────────


def unfit(run: Run, task: int, node: Node) -> str:
    """Why this node can't have the task, though it ran nothing else; empty when it could."""
    kind, shape = run.kinds[run.kind[task]], run.shapes[run.kind[task]]
    wrong = [f"{key}={value}" for key, value in shape.where if (key, value) not in node.label_set]
    if wrong:
        return f"no label {', '.join(wrong)}"
    if not any(node.can_hold(need) for need in shape.needs):
        costs = (kind.cost, *kind.alternatives)
        return f"too small: {' or else '.join([_too_small(node, need, cost) for need, cost in zip(shape.needs, costs, strict=True)])}"
    for other in run.group_shapes[run.group[task]] if task in run.group else ():
        if not node.can_run(other):
            return f"{'too small' if node.matches(other.where) else 'without a label'} for what has to be on one node with it"
    return ""


def _too_small(node: Node, need: Amounts, cost: Amounts) -> str:
    short = without_twice([(name, amount) for name, amount in need if name and node.capacity.get(name, 0) < amount], cost)
    said = [f"{name}={shown(asked(cost, name, amount))} of {shown(node.capacity.get(name, 0))}" for name, amount in short]
    return ", ".join(said) or "not that in one place"


def asked(cost: Amounts, name: str, steps: int) -> int:
    """How much of it the user asked for: a part of a GPU is planned as more than that, and a GPU of a kind as any GPU, too."""
    return next((amount for other, amount in cost if other == name or (name == GPU and is_gpu(other))), steps)


def without_twice(short: Sequence[tuple[str, int]], cost: Amounts) -> list[tuple[str, int]]:
    """Where GPUs of a kind are short, GPUs are, too: nobody asked for these."""
    names = {name for name, _ in short}
    twice = GPU in names and GPU not in dict(cost) and any(is_gpu(name) for name in names - {GPU})
    return [(name, steps) for name, steps in short if not (twice and name == GPU)]


def shortage(kind: Kind, nodes: Sequence[Node], cluster: Semaphores, away: Sequence[Node] = ()) -> str:
    """A kind that no node can run: what it needs, what the nearest nodes have instead, and what would help; and which of `away` could."""
    asked = " or else ".join(describe(cost) for cost in (kind.cost, *kind.alternatives))
    labels = ", ".join(f"{cut(key)}={cut(value)}" for key, value in kind.where)
    if not nodes:
        return f"{kind.name} needs {asked}{f' where {labels}' if labels else ''}, and no node is there"
    nearest = sorted(nodes, key=lambda node: (_distance(kind, node), node.name))
    if kind.node:
        others = _other_labels(kind, nearest[0])
        if others:
            return (f"{kind.name} is pinned to node {kind.node!r}, which its where ({labels}) excludes: that node has {others}. "
                    "Leave out one of the two")
        return (f"{kind.name} needs {asked} on node {kind.node!r}, which it is pinned to; that node offers "
                f"{_lacks(kind, nearest[0], cluster)}. Ask for less, or pin it to another node")
    listed = ", ".join(f"{node.name!r} ({_lacks(kind, node, cluster)})" for node in nearest[:NEAREST_MAX])
    counted = tuple(dict.fromkeys(each for cost in (kind.cost, *kind.alternatives) for each in split(cost)[1]))
    shared = (f"the whole cluster has {each}" for each in _short_of_shared(counted, cluster))
    able = [f"node {node.name!r} could, but drains" for node in away if node.leaves and _can_run(node, kind, cluster)]
    known = (*nodes, *away)
    unknown = "".join(
        f"; {each}" for each in (*_unknown_resources(kind, known), *_unknown_labels(kind, known), *shared, *able[:NEAREST_MAX]))
    where = f" on a node where {labels}" if labels else ""
    return (f"{kind.name} needs {asked}{where}, which no node can ever offer; nearest: {listed}{unknown}. "
            f"Ask for less, start a node that has it{OR_WAIT}")


def _lacks(kind: Kind, node: Node, cluster: Semaphores) -> str:
    """What a node has of that of which it has too little, and other labels than those that are asked for."""
    labels = _other_labels(kind, node)
    short = [_short(split(cost)[0], node) or ", ".join(_short_of_shared(split(cost)[1], cluster))
             for cost in (kind.cost, *kind.alternatives)]
    amounts = " or else ".join(short) if all(short) else ""
    return ", ".join(part for part in (amounts, labels) if part) or "not that in one place"


def _short(cost: Amounts, node: Node) -> str:
    capacity = node.capacity
    found = [f"{cut(name)}={shown(capacity.get(name, 0))}" for name, amount in cost if capacity.get(name, 0) < amount]
    if not found and any(name == GPU_MEMORY for name, _ in cost) and not node.can_hold(cost):
        found.append(f"{GPU_MEMORY}={shown(node.memory_per_gpu(cost))} on each GPU")
    return ", ".join(found)


def _other_labels(kind: Kind, node: Node) -> str:
    has = dict(node.labels)
    return ", ".join(f"{key}={has[key]}" if key in has else f"no label {cut(key)}" for key, value in kind.where if has.get(key) != value)


def _distance(kind: Kind, node: Node) -> tuple[int, float]:
    """How far a node is from being able: first labels, then the scarcest resource of the nearest cost."""
    has, capacity = dict(node.labels), node.capacity
    wrong = sum(has.get(key) != value for key, value in kind.where)
    ratios = [max((amount / capacity[name] if capacity.get(name) else float("inf") for name, amount in split(cost)[0]), default=0.0)
              for cost in (kind.cost, *kind.alternatives)]
    return wrong, min(ratios)


def _unknown_resources(kind: Kind, nodes: Sequence[Node]) -> Iterable[str]:
    known = list(dict.fromkeys(name for node in nodes for name, amount in node.capacity.items() if name not in OURS and amount))
    names = dict.fromkeys(name for cost in (kind.cost, *kind.alternatives) for name, _ in split(cost)[0])
    for name in names:
        if name not in known:
            yield f"no node has any {cut(name)}{_close(name, known)}"
    if any(name in SIZED and amount >= BYTES_SURELY for cost in (kind.cost, *kind.alternatives) for name, amount in cost):
        yield 'memory is said in MB, or as a size such as "2 GiB"'


def _short_of_shared(counted: Amounts, cluster: Semaphores) -> Iterable[str]:
    for name, amount in counted:
        has = cluster.declared.get(name, 0)
        if has < amount:
            yield f"{CLUSTER}{name}={shown(has)}" if has else f"no {CLUSTER}{cut(name)}"


def _unknown_labels(kind: Kind, nodes: Sequence[Node]) -> Iterable[str]:
    values: dict[str, dict[str, None]] = {}
    for node in nodes:
        for key, value in node.labels:
            values.setdefault(key, {})[value] = None
    for key, value in kind.where:
        if key not in values:
            yield f"no node has a label {cut(key)}{_close(key, values)}"
        elif value not in values[key]:
            yield f"no node has {key}={cut(value)}{_close(value, values[key])}"


def _close(word: str, known: Iterable[str]) -> str:
    known = list(known)
    as_said = {each.lower(): each for each in known}     # of names that differ in their case alone, one is meant
    close = get_close_matches(word.lower(), as_said, 1, CLOSE) if len(word) <= QUOTED_MAX else ()
    if close:
        return f" (did you mean {as_said[close[0]]}?)"
    return f" (there is {', '.join(sorted(known))})" if 0 < len(known) <= LISTED_MAX else ""


def _undeclared(kind: Kind, counted: Sequence[Amounts], cluster: Semaphores) -> str:
    need = next(need for need in counted if not cluster.can_ever(need))
    name, amount = next((name, amount) for name, amount in need if cluster.declared.get(name, 0) < amount)
    asked = " or else ".join(describe(cost) for cost in (kind.cost, *kind.alternatives))
    start = f"{kind.name} needs {asked}, but the whole cluster"
    if name in cluster.declared:
        return f"{start} has {CLUSTER}{name}={shown(cluster.declared[name])}. Ask for less, or start its coordinator with more"
    return (f"{start} has no {cut(name)}{_close(name, cluster.declared)}. Declare it where the coordinator is started: "
            f"handoff coordinator --resource {cut(name)}={shown(amount)}")


def _present(nodes: Sequence[Node]) -> str:
    return "present: " + ", ".join(sorted(repr(node.name) for node in nodes)) if nodes else "no node is present"
