"""Long tasks that take nothing and differ in nothing, on nodes that are alike: each goes to the next node with room, and no more is asked.

Looked at one by one by the rules for all tasks, each comes to the same.
"""

from __future__ import annotations

from handoff.scheduler.allocator import Desk
from handoff.scheduler.groups import Option
from handoff.scheduler.queue import LOW
from handoff.scheduler.runs import READY
from handoff.scheduler.streams import Stream


def place(desk: Desk, stream: Stream, option: Option, bound: int | None) -> int:
    """Place those at the head for which there is room, as far as nothing else is more urgent than the second of them; how many."""
    run, shape = stream.run, stream.shape
    now, ledger, need, reserved = desk.now, desk.ledger, shape.need, desk.reserved
    state, number, seconds, is_contended = run.state, run.run, shape.function.seconds, ledger.ready.is_contended
    placed = 0
    while (key := shape.head()) >= 0:
        task = key & LOW
        if key >> 32 & LOW != number or state[task] != READY or run.shapes[run.kind[task]] is not shape:
            break
        if placed and ((bound is not None and key >> 64 > bound) or (is_contended and desk.is_behind(shape))):
            break
        node = option.open_node(need, reserved, shape)
        if node is None or node.queue:
            break
        shape.pop()
        option.turn(node, shape, need)
        ledger.plan(now, run, task, node, held=True, usual=seconds)
        placed += 1
    return placed
