"""What a task wants beside room: to be with its group, not where it failed, apart from its like, near another, where memory is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handoff.ids import NOBODY
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import Run

if TYPE_CHECKING:
    from handoff.scheduler.allocator import Desk
    from handoff.scheduler.inputs import Inputs
    from handoff.scheduler.ledger import Ledger
    from handoff.scheduler.nodes import Node

NEAR = 0.05     # what it is worth, as a part of its time, to run near what it wants to be near


def able_nodes(desk: Desk, run: Run, task: int, shape: Shape, inputs: Inputs | None) -> list[Node] | None:
    """The nodes among which to choose: none when it must wait; None: all that its shape allows."""
    ledger = desk.ledger
    allowed = ledger.allowed(run, task)
    if allowed is not None:
        one = ledger.nodes.get(allowed)
        able = [one] if one is not None and one.state == "ready" and one.matches(shape.where) else []
        if desk.reserved.get(allowed, shape) is not shape and not run.followed and not (run.attempt[task] and run.blocks_planned(task)):
            return []    # kept for another that has waited long, unless what is planned there, too, waits for this one
        return able if run.followed else ledger.memory.with_room(desk, run, task, shape, inputs, able)
    only = preferred(desk, run, task, shape) if task in run.group or task in run.avoid or shape.spread else None
    if only is not None and desk.reserved:
        only = [node for node in only if desk.reserved.get(node.peer, shape) is shape]
    return ledger.memory.with_room(desk, run, task, shape, inputs, only)


def wishes_nothing(run: Run, shape: Shape) -> bool:
    """Whether tasks of this run and shape are all alike to the allocator, but for their inputs."""
    return run.plain and not (run.avoid or run.told or run.near or shape.spread or run.followed)


def needs_room(ledger: Ledger, run: Run, task: int, shape: Shape) -> bool:
    """Whether it waits where nobody has room, whatever else there is to know of it."""
    if run.attempt[task] or run.followed or (run.linked and run.missing[task]):
        return False
    return not ledger.foresight.reach(run, task, shape)


def preferred(desk: Desk, run: Run, task: int, shape: Shape) -> list[Node]:
    """Where it may choose, the nodes that it should have: they can hold all of its group, did not fail it, and have few of its like."""
    able = desk.able_for(shape)
    if task in run.group:
        able = [node for node in able if desk.ledger.can_run(run, task, node)]
    if task in run.avoid:
        shunned = run.avoid[task]
        able = [node for node in able if node.peer not in shunned] or able
    if shape.spread:
        counts = run.spreads[shape.spread]
        fewest = min([counts.get(node.peer, 0) for node in able], default=0)
        able = [node for node in able if counts.get(node.peer, 0) <= fewest]
    return able


def wanted_near(desk: Desk, run: Run, task: int) -> set[int]:
    """The peers of the nodes that it would like best, all else being equal; of what has no node yet: the only one that it may get."""
    found = set()
    for other in run.near.get(task, ()):
        peer = run.node[other] if run.node[other] != NOBODY else desk.ledger.allowed(run, other)
        if peer is not None and peer != NOBODY:
            found.add(peer)
    return found


def home_of_object(desk: Desk, run: Run, task: int, candidates: list[Node]) -> Node:
    """An object goes where its first consumer must run, else to the node with the least to do."""
    for consumer in run.consumers_of(task)[:1]:
        allowed = desk.ledger.allowed(run, consumer)
        for node in candidates:
            if node.peer == allowed:
                return node
    return min(candidates, key=lambda node: (node.backlog, node.planned, node.peer))
