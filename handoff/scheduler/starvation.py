"""Large tasks must not wait for ever while small ones take every gap: a node is cleared, and licences are kept, for what waits too long.

What is kept is kept for one pass, and decided anew in the next: for a task that has gone, or can't start, nothing stays kept.
"""

from __future__ import annotations

from handoff.scheduler.allocator import Desk
from handoff.scheduler.ready import Shape

STARVED_SECONDS = 1.0    # a task that has not found room for so long gets a node cleared for it
STARVED_TASKS = 8        # so many usual tasks long at least, before more urgent ones find that node closed, too


def watch(now: float, desk: Desk, shape: Shape, placed: int) -> None:
    """Small tasks would take every gap for ever: the node that is free first takes nothing else until a large one has run."""
    head = None if placed else desk.head(shape)
    if head is None or desk.is_full(head[0]):    # what its own run's limit keeps back does not starve
        shape.blocked_since = None
    elif shape.blocked_since is None:
        shape.blocked_since = now
    elif now - shape.blocked_since > STARVED_SECONDS and not desk.are_alike:
        _keep(now, desk, shape)


def keep_for_starved(now: float, desk: Desk) -> None:
    """Before anything is placed, or more urgent small tasks would take again what has just become free; priorities stand above that."""
    desk.ledger.cluster.kept.clear()
    waiting = [shape for shape in desk.ledger.ready.shapes.values() if len(shape)]
    # Where all that wait need the same, there are no small ones that take the gaps of large ones.
    desk.are_alike = all(shape.eligible is waiting[0].eligible and not shape.cluster for shape in waiting)
    if desk.are_alike:
        return
    patience = max(STARVED_SECONDS, STARVED_TASKS * desk.ledger.estimates.all.seconds)
    starved = [shape for shape in waiting if shape.blocked_since is not None and now - shape.blocked_since > patience]
    if starved:
        highest = max([shape.priority for shape in waiting])
        for shape in starved:
            if shape.priority == highest:
                _keep(now, desk, shape)


def _keep(now: float, desk: Desk, shape: Shape) -> None:
    """What its most urgent task needs: the licences of a cost that some node can meet, and a node, if none has room."""
    head = desk.head(shape)
    if head is None or desk.is_full(head[0]):
        return
    only = desk.ledger.allowed(*head)
    able = [(node, number) for node in desk.nodes_for(shape) if only is None or node.peer == only
            for number, need in enumerate(shape.needs) if node.can_hold(need)]
    if not able:
        return
    if shape.cluster:
        desk.ledger.cluster.keep(shape, min(number for _, number in able))
    if not any(node.has_room(shape.needs[number]) for node, number in able):
        first, _ = min(able, key=lambda each: (each[0].room_at(shape.needs[each[1]], now), each[0].peer))
        desk.reserved.setdefault(first.peer, shape)
