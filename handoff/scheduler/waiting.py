"""Runs that need what no node offers now: they wait for it a while, then fail with a sentence that says what was missing."""

from __future__ import annotations

from handoff.messages import RunFailed
from handoff.scheduler.endings import fail
from handoff.scheduler.feasible import Obstacle, obstacle
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.runs import DELAYED, READY, WAITING, Run


def see_what_is_unmet_everywhere(ledger: Ledger, now: float) -> None:
    """A node came or went: look at all runs."""
    for run in list(ledger.runs.values()):
        see_what_is_unmet(ledger, now, run)


def see_what_is_unmet(ledger: Ledger, now: float, run: Run) -> None:
    """Note that a run needs what no node offers, and since when; it is given up after a while."""
    found = None if run.done == run.total else _obstacle(ledger, run)
    before, run.unmet = run.unmet, found.text if found is not None else ""
    if found is None:
        run.unmet_since = None
    elif run.unmet_since is None or not before:
        run.unmet_since = now
        if not run.wait_for_nodes:
            ledger.remind(now + ledger.settings.node_timeout_seconds, "unmet", run.run)
    if before != run.unmet:
        ledger.touch(run)


def _obstacle(ledger: Ledger, run: Run) -> Obstacle | None:
    kinds = sorted({run.program_kind(index) for index, left in enumerate(run.left) if left})
    staying, leaving = list(ledger.nodes.values()), []
    if ledger.leaving:   # what is planned on a node that leaves ends there: only what is not planned yet needs another
        open_kinds = {run.program_kind(run.kind[task]) for task in run.tasks_in(WAITING, READY, DELAYED)}
        kinds = [index for index in kinds if index in open_kinds]
        leaving = [node.name for node in staying if node.leaves]
        staying = [node for node in staying if not node.leaves]
    return obstacle(run.program, kinds, staying, ledger.cluster, leaving)


def give_up_waiting(ledger: Ledger, now: float, run: Run) -> None:
    """Its time is over: fail it, unless it has all it needs by now."""
    if run.unmet_since is None or now < run.unmet_since + ledger.settings.node_timeout_seconds:
        return
    found = _obstacle(ledger, run)
    if found is not None:
        text = f"{found.text}; waited {ledger.settings.node_timeout_seconds:g} s"
        fail(ledger, now, run, RunFailed(run.run, found.code, text, run.program.kind.index(found.kind)))
