"""Large results that are being written: who takes them is placed meanwhile, so that the bytes have somewhere to go when they are there."""

from __future__ import annotations

from handoff.messages import Coming
from handoff.scheduler.foresight import WRITTEN_PER_SECOND
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import AHEAD, HELD, Run


def take_word(now: float, ledger: Ledger, node: Node, said: Coming) -> Run | None:
    """A node says that a result of so many bytes is being written there; the run, if that means anything."""
    run, task = ledger.runs.get(said.run), said.task
    if run is None or not run.linked or task >= run.total or run.node[task] != node.peer or run.attempt[task] != said.attempt:
        return None
    if not AHEAD <= run.state[task] <= HELD:
        return None
    run.nearly[task] = said.attempt
    run.nbytes[task] = said.nbytes
    run.started[task] = now + said.nbytes / WRITTEN_PER_SECOND - run.submitted + (run.started[task] - run.ends_at(task))
    for each in run.consumers_of(task):
        if run.missing[each]:
            ledger.consider(run, each)
    return run


def put_off(now: float, ledger: Ledger, run: Run, task: int) -> None:
    """All that it takes is there now: it has not begun before, however long that was being written."""
    node = ledger.nodes[run.node[task]]
    since, shape, seconds, need, is_early = node.holding[run.run, task]
    if since < now:
        node.holding[run.run, task] = (now, shape, seconds, need, is_early)
        node.ends = None
        node.note_change()
