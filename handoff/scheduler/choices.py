"""Tasks with a choice of costs: each goes where it would be done first, by the cost that it would be done first with.

What each cost comes to in time is learned apart, since that is why there is a choice: a GPU is quicker than eight cores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handoff.scheduler import starvation
from handoff.scheduler.inputs import Inputs, fetch, inputs_of
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import WAITING, Run
from handoff.scheduler.wishes import NEAR, able_nodes, wanted_near

if TYPE_CHECKING:
    from handoff.scheduler.allocator import Desk
    from handoff.scheduler.bookings import Bookings
    from handoff.scheduler.nodes import Node

PATIENCE = 64   # tasks that find no room before the rest is not looked at
BETA = 2.0      # as in `greedy.py`


def serve_choices(now: float, desk: Desk, shape: Shape, booked: Bookings) -> bool:
    """Place what has room, with its inputs there; the rest is offered again when something changes, or when this is True: after others."""
    ledger, bound = desk.ledger, desk.next_rank(shape)
    aside: list[int] = []
    placed, again = 0, False
    while len(aside) < PATIENCE and (head := desk.head(shape)) is not None:
        run, task = head
        if desk.is_full(run):
            break
        if placed and ((bound is not None and shape.head() >> 64 > bound) or desk.is_behind(shape)):
            again = True
            break
        key = shape.pop()
        if run.linked and run.missing[task]:
            run.state[task] = WAITING   # it comes back when its inputs exist
            continue
        inputs = inputs_of(ledger, run, task, now) if run.linked and run.fan_in[task] else None
        able = able_nodes(desk, run, task, shape, inputs) if desk.settle_consumer(run, task) else []
        able = desk.nodes_for(shape) if able is None else able
        best = _best(now, desk, run, task, shape, able, inputs, booked)
        if best is not None and best[1] <= now:
            _, _, alternative, node = best
            if inputs is not None:
                fetch(ledger, node, inputs, now)
            ledger.plan(now, run, task, node, held=True, alternative=alternative)
            ledger.memory.note(run, task, node.peer, inputs)
            placed += 1
        elif able and run.attempt[task] and run.blocks_planned(task) and desk.choice(shape, able[0], is_waiting=True) is not None:
            # Planned tasks wait for it, maybe those that take up all the room: it must not wait for them.
            ledger.plan(now, run, task, able[0], held=False, alternative=desk.choice(shape, able[0], is_waiting=True) or 0)
            placed += 1
        else:
            aside.append(key)
            if best is not None:
                booked.add(best[3], best[0], shape.needs[best[2]])
    shape.put_back(aside)
    shape.is_tried |= placed > 0
    if not len(shape):
        shape.listed = False
    starvation.watch(now, desk, shape, placed)
    return again


def _best(
    now: float, desk: Desk, run: Run, task: int, shape: Shape, nodes: list[Node], inputs: Inputs | None,
    booked: Bookings,
) -> tuple[float, float, int, Node] | None:
    """(when it would be done, when it would start, with which cost, where) of the best; of equal ones the preferred cost.

    A cost that was never tried is taken to be as quick as the quickest that was (`seconds_at`): so each is tried when there is room for it.
    """
    ledger = desk.ledger
    is_known = any(function.count for function in shape.functions)
    near = wanted_near(desk, run, task) if run.near else ()
    best: tuple[float, float, int, Node] | None = None
    for alternative, need in enumerate(shape.needs):
        if ledger.cluster_room(shape, alternative) <= 0:
            continue
        usual = ledger.foresight.seconds_at(run, task, shape, alternative)
        for node in nodes:
            if not node.can_hold(need):
                continue
            start = now if node.has_room(need) else booked.room_at(node, need, now)
            if start > now and not is_known:
                continue        # nothing is known yet: what has room is taken
            arrival, moving = inputs.arrival(ledger, node) if inputs is not None else (now, 0.0)
            end = max(start, arrival) + usual / node.speed * (1.0 - NEAR * (node.peer in near)) + BETA * moving
            if best is None or end < best[0]:
                best = (end, start, alternative, node)
    return best
