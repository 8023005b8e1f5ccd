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
    elif now - shape.blocked_since > STARVED_SECONDS:
        scarce = [number for number, need in enumerate(shape.needs) if desk.ledger.cluster_room(shape, number) <= 0
                  and any(node.can_hold(need) for node in desk.nodes)] if shape.cluster else []
        if scarce:
            desk.ledger.cluster.keep(shape, scarce[0])
        else:
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
    able = [(node, need) for node in nodes for need in shape.needs if node.can_hold(need)]
    if able and not any(node.has_room(need) for node, need in able):
        first, _ = min(able, key=lambda each: (each[0].room_at(each[1], now), each[0].peer))
        desk.reserved.setdefault(first.peer, shape)
