"""Nodes on which nothing can run now, as they say themselves: they get no new work, and what they have not begun is planned elsewhere."""

from __future__ import annotations

from handoff.scheduler.draining import set_free
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import Run
from handoff.scheduler.waiting import see_what_is_unmet_everywhere


def hear(ledger: Ledger, now: float, node: Node, fault: str) -> None:
    """A node says why nothing can run there; or, with nothing, that all is well."""
    is_news, node.fault = bool(fault) != bool(node.fault), fault
    for run in list(ledger.runs.values()) if fault and (is_news or node.planned) else ():
        _ask_back(ledger, run, node)    # with each heartbeat: what a worker had just then came back to its node when that ended
    if not is_news:
        return
    if fault:
        ledger.out.note("warning", "node.faulty", node=node.name, reason=fault)
    else:
        ledger.out.note("info", "node.well", node=node.name)
    if node.state in ("ready", "faulty"):
        node.state = node.standing()
    see_what_is_unmet_everywhere(ledger, now)
    ledger.is_changed = ledger.is_regrouped = True


def _ask_back(ledger: Ledger, run: Run, node: Node) -> None:
    """All that it has not begun, values of its client aside, which need no worker; what was only promised to it is free, too."""
    back = [task for task in node.tasks_of(run) if not run.is_object(task)]
    if back:
        ledger.out.recall(node.peer, run, back)
    set_free(ledger, run, node.peer)
