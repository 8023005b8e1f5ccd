"""Tasks with a choice of costs: each goes where the cost that it prefers has room now, else where the next one has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import WAITING

if TYPE_CHECKING:
    from handoff.scheduler.allocator import Desk

PATIENCE = 64   # tasks that find no room before the rest is not looked at


def serve_choices(now: float, desk: Desk, shape: Shape) -> None:
    """Place what has room, with its inputs there; the rest is offered again when something changes."""
    ledger = desk.ledger
    aside: list[int] = []
    while len(aside) < PATIENCE and (head := desk.head(shape)) is not None:
        run, task = head
        if desk.is_full(run):
            break
        key = shape.pop()
        if run.linked and run.missing[task]:
            run.state[task] = WAITING   # it comes back when its inputs exist
            continue
        shunned = run.avoid.get(task, ())
        able = [node for node in desk.nodes if desk.may_have(run, task, node)]
        able = [node for node in able if node.peer not in shunned] or able
        chosen = {node: alternative for node in able if (alternative := desk.choice(shape, node)) is not None}
        if chosen:
            best = min(chosen, key=lambda node: (chosen[node], node.backlog, node.planned, node.peer))
            ledger.plan(now, run, task, best, held=True, alternative=chosen[best])
        elif able and run.attempt[task] and run.blocks_planned(task) and desk.choice(shape, able[0], is_waiting=True) is not None:
            # Planned tasks wait for it, maybe those that take up all the room: it must not wait for them.
            ledger.plan(now, run, task, able[0], held=False, alternative=desk.choice(shape, able[0], is_waiting=True) or 0)
        else:
            aside.append(key)
    shape.put_back(aside)
    if not len(shape):
        shape.listed = False
