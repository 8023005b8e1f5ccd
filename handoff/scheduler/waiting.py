"""Runs that need what no node offers now: they wait for it a while, then fail with a sentence that says what was missing."""

from __future__ import annotations

from handoff.messages import RunFailed
from handoff.scheduler.endings import fail
from handoff.scheduler.feasible import OR_WAIT, Obstacle, obstacle
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import FAULT
from handoff.scheduler.runs import DELAYED, READY, WAITING, Run

WAITED = "; waited "     # what follows it is for who did wait


def see_what_is_unmet_everywhere(ledger: Ledger, now: float, is_one_more: bool = False) -> None:
    """A node came or went: look at all runs. When it is one more beside others, only those that lack something may see a difference."""
    for run in list(ledger.runs.values()):
        if run.unmet or run.unmet_since or not is_one_more:
            see_what_is_unmet(ledger, now, run)


def see_what_is_unmet(ledger: Ledger, now: float, run: Run) -> None:
    """Note what a run needs and no node offers, and since when; it is given up after a while."""
    found = None if run.done == run.total else _obstacle(ledger, run)
    before, run.unmet = run.unmet, found.text if found is not None else ""
    if run.wait_for_nodes:
        run.unmet = run.unmet.removesuffix(OR_WAIT)
    # Each for itself: nodes that are away one after the other, each for a while, are not one that is away for long.
    run.unmet_since = {kind: since for kind, since in run.unmet_since.items() if found is not None and _still(ledger, run, kind)}
    if found is not None and found.kind not in run.unmet_since:
        run.unmet_since[found.kind] = now
        if not run.wait_for_nodes:
            ledger.remind(now + ledger.settings.node_timeout_seconds, "unmet", run.run)
    if before != run.unmet:
        ledger.touch(run)


def _still(ledger: Ledger, run: Run, kind: int) -> Obstacle | None:
    found = _obstacle(ledger, run, kind)
    return found if found is not None and found.kind == kind else None


def _obstacle(ledger: Ledger, run: Run, only: int | None = None) -> Obstacle | None:
    """What is in the way of any of its kinds, or of this one."""
    kinds = sorted({run.program_kind(index) for index, left in enumerate(run.left) if left})
    if only is not None:
        kinds = [only] if only in kinds else []
    staying, away = list(ledger.nodes.values()), []
    if ledger.leaving or any(map(FAULT, staying)):
        # What is planned on a node that leaves ends there: only what is not planned yet needs another.
        open_kinds = {run.program_kind(run.kind[task]) for task in run.tasks_in(WAITING, READY, DELAYED)}
        kinds = [index for index in kinds if index in open_kinds]
        away = [node for node in staying if node.leaves or node.fault]
        staying = [node for node in staying if not (node.leaves or node.fault)]
    return obstacle(run.program, kinds, staying, ledger.cluster, away)


def give_up_waiting(ledger: Ledger, now: float, run: Run) -> None:
    """The time of something that it needs is over: fail it, unless that is there by now."""
    seconds = ledger.settings.node_timeout_seconds
    for kind, since in run.unmet_since.items():
        found = _still(ledger, run, kind) if now >= since + seconds else None
        if found is not None:
            text = f"{found.text}{WAITED}{seconds:g} s"
            fail(ledger, now, run, RunFailed(run.run, found.code, text, run.program.kind.index(found.kind)))
            return
