"""Large tasks must not wait for ever while small ones take every gap: a node is cleared, and licences are kept, for what waits too long.

What is kept is kept for one pass, and decided anew in the next: for a task that has gone, or can't start, nothing stays kept.
"""

from __future__ import annotations

from handoff.resources import Amounts
from handoff.scheduler.allocator import Desk
from handoff.scheduler.inputs import inputs_of
from handoff.scheduler.needs import COUNTED
from handoff.scheduler.nodes import Node
from handoff.scheduler.ready import Shape
from handoff.scheduler.wishes import able_nodes

STARVED_SECONDS = 1.0    # a task that has not found room for so long gets a node cleared for it
STARVED_TASKS = 8        # so many usual tasks long at least, before more urgent ones find that node closed, too


def watch(now: float, desk: Desk, shape: Shape, placed: int) -> None:
    """Small tasks would take every gap for ever: the node that is free first takes nothing else until a large one has run."""
    head = None if placed else desk.head(shape)
    if head is None or desk.is_full(head[0]):    # what its own run's limit keeps back does not starve
        shape.blocked_since = shape.cleared = None
    elif shape.blocked_since is None:
        shape.blocked_since = now
    elif now - shape.blocked_since > STARVED_SECONDS and not desk.are_alike:
        _keep(now, desk, shape)


def keep_for_starved(now: float, desk: Desk) -> None:
    """Before anything is placed, or more urgent small tasks would take again what has just become free; priorities stand above that."""
    ready = desk.ledger.ready
    waiting = ready.offered
    desk.are_alike = _are_alike(waiting) and not (
        ready.is_cut and any(shape.crowd.is_cut and not shape.crowd.is_alike() for shape in waiting))
    if desk.are_alike:
        return
    patience = max(STARVED_SECONDS, STARVED_TASKS * desk.ledger.estimates.all.seconds)
    starved = [shape for shape in waiting if shape.blocked_since is not None and now - shape.blocked_since > patience]
    if starved:
        highest = max([shape.priority for shape in waiting if _may_start(desk, shape)], default=0)
        for shape in starved:
            if shape.priority >= highest:
                _keep(now, desk, shape)


def _are_alike(waiting: list[Shape]) -> bool:
    """Where all that wait need the same, there are no small ones that take the gaps of large ones. Looked at in each pass: no generator."""
    for shape in waiting:
        if shape.cluster or shape.eligible is not waiting[0].eligible:
            return False
    return True


def let_go(desk: Desk) -> bool:
    """What was kept for those that have found a place is free for all others, which passed it by in this pass; whether there is any."""
    if not (desk.reserved or desk.ledger.cluster.kept):
        return False
    peers = [peer for peer, shape in desk.reserved.items() if shape.blocked_since is None]
    names = [name for name, (shape, _) in desk.ledger.cluster.kept.items() if shape.blocked_since is None]
    for peer in peers:
        desk.favoured.pop(desk.reserved.pop(peer), None)
    for name in names:
        del desk.ledger.cluster.kept[name]
    return bool(peers or names)


def _may_start(desk: Desk, shape: Shape) -> bool:
    head = desk.head(shape)
    return head is not None and not desk.is_full(head[0]) and bool(desk.able_for(shape))


def _keep(now: float, desk: Desk, shape: Shape) -> None:
    """What its most urgent task needs: the licences of a cost that some node can meet, and a node, if none has room."""
    head, ledger = desk.head(shape), desk.ledger
    if head is None or desk.is_full(head[0]):
        return
    run, task = head
    if len(desk.reserved) == len(desk.nodes) and not (shape.cluster and (run.followed or shape in desk.favoured)):
        return
    inputs = inputs_of(ledger, run, task, now) if run.linked and run.fan_in[task] else None
    nodes = able_nodes(desk, run, task, shape, inputs)
    able = [(node, number) for node in (desk.nodes_for(shape) if nodes is None else nodes)
            for number, need in enumerate(shape.needs) if node.can_hold(need)]
    if not able:
        return     # also where it waits for memory: nobody who would free some may be kept out
    if shape.cluster and not ledger.cluster.keep(shape, min(number for _, number in able)):
        return     # nor may it keep a node from the one that has its licences first: neither would ever begin
    ready = [node for node, number in able if node.has_room(_contended(shape.needs[number]))]
    before = next((node for node, _ in able if node.peer == shape.cleared), None)
    if before is not None:         # it is kept until it is empty enough, and once more: who is more urgent would take it just then
        _reserve(desk, before, shape)
        if before in ready and ledger.cluster_room(shape) > 0:
            shape.cleared = None
    elif not ready:
        first, _ = min(able, key=lambda each: (each[0].room_at(shape.needs[each[1]], now), each[0].peer))
        _reserve(desk, first, shape)
        shape.cleared = first.peer


def _contended(need: Amounts) -> Amounts:
    """That of which others may take less, and so fill every gap: not what each takes one of, which goes to whoever is next."""
    return tuple([each for each in need if each[0] not in COUNTED])


def _reserve(desk: Desk, node: Node, shape: Shape) -> None:
    if desk.reserved.setdefault(node.peer, shape) is shape:
        desk.favoured[shape] = None
