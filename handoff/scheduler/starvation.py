"""Large tasks must not wait for ever while small ones take every gap: a node is cleared for what has not found room for too long."""

from __future__ import annotations

from handoff.scheduler.allocator import Desk
from handoff.scheduler.ready import Shape

STARVED_SECONDS = 1.0    # a task that has not found room for so long gets a node cleared for it
STARVED_TASKS = 8        # so many usual tasks long at least, before more urgent ones find that node closed, too


def watch(now: float, desk: Desk, shape: Shape, placed: int) -> None:
    """Small tasks would take every gap for ever: the node that is free first takes nothing else until a large one has run."""
    if placed or not len(shape):
        shape.blocked_since = None
        desk.ledger.cluster.served(shape)
    elif shape.blocked_since is None:
        shape.blocked_since = now
    elif shape.cluster and now - shape.blocked_since > STARVED_SECONDS and desk.ledger.cluster_room(shape) <= 0:
        desk.ledger.cluster.keep(shape)
    elif now - shape.blocked_since > STARVED_SECONDS:
        _keep_node(now, desk, shape)


def keep_for_starved(now: float, desk: Desk) -> None:
    """Before anything is placed, or more urgent small tasks would take again what has just become free; priorities stand above that."""
    waiting = [shape for shape in desk.ledger.ready.shapes.values() if len(shape)]
    patience = max(STARVED_SECONDS, STARVED_TASKS * desk.ledger.estimates.all.seconds)
    starved = [shape for shape in waiting if shape.blocked_since is not None and now - shape.blocked_since > patience]
    if starved:
        highest = max([shape.priority for shape in waiting])
        for shape in starved:
            if shape.priority == highest and not shape.cluster:
                _keep_node(now, desk, shape)


def _keep_node(now: float, desk: Desk, shape: Shape) -> None:
    nodes = desk.nodes_for(shape)
    if nodes and not any(node.has_room(shape.need) for node in nodes):
        first = min(nodes, key=lambda node: (node.room_at(shape.need, now), node.peer))
        desk.reserved.setdefault(first.peer, shape)
