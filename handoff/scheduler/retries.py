"""What follows from a failed attempt: another one after a pause, or the end."""

from __future__ import annotations

from handoff.messages import Failed
from handoff.program import Kind
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import Run
from handoff.settings import SchedulerSettings

HOPELESS = ("unpicklable",)   # the next attempt would end the same


def count_failure(run: Run, kind: Kind, failed: Failed, settings: SchedulerSettings) -> bool:
    """Count this failure; True when the task may be tried again."""
    task = failed.task
    failures = run.failures[task] = run.failures.get(task, 0) + 1
    if failed.cause == "crash":
        crashes = run.crashes[task] = run.crashes.get(task, 0) + 1
        if crashes >= settings.crash_limit:
            return False
    return failures <= kind.max_retries and failed.cause not in HOPELESS


def note_vain(now: float, run: Run, node: Node, failed: Failed) -> None:
    """Remember how long that attempt ran. Of one that took its worker with it, the node does not say: it had its room since then."""
    if run.is_current(node.peer, failed.task, failed.attempt) or run.twins.get(failed.task) == (node.peer, failed.attempt):
        began = now - failed.seconds
        if failed.cause == "crash" and (run.run, failed.task) in node.holding:
            began = node.holding[run.run, failed.task][0]
        run.note_vain(failed.task, node.peer, began, now)


def pause(failures: int, settings: SchedulerSettings) -> float:
    """Seconds before the attempt after so many failures."""
    return float(min(settings.retry_seconds_max, settings.retry_seconds * 2.0 ** (min(failures, 60) - 1)))


def sentence(kind: Kind, failed: Failed, node: str, tried: int) -> str:
    """What happened, to what, where: for people."""
    how = {
        "crash": "killed its worker",
        "timeout": "took longer than it may",
        "unpicklable": "gave a result that can't be sent",
        "unloadable": "could not be loaded",
    }.get(failed.cause, "failed")
    what = ": ".join(part for part in (failed.type, failed.text) if part)
    tries = f"in attempt {tried}" if tried > 1 else "in its only attempt"
    return f"{kind.name} {how} on node {node!r} {tries}" + (f": {what}" if what else "")
