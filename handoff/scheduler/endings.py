"""How a run goes on and ends, and what its client hears of it."""

from __future__ import annotations

from handoff.ids import NO_RUN, PeerId
from handoff.messages import Message, Plan, Progress, RunDone, RunFailed
from handoff.scheduler import lifetimes, views
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.runs import Run


def tell_progress(ledger: Ledger, now: float, run: Run) -> None:
    """Say how far it is, but not too often. Of a single call nobody would look at it, unless it waits for what is not there."""
    if run.progress_due or (run.values_only and not run.unmet and not run.progress_said[2]):
        return
    if now < run.progress_at + ledger.settings.progress_seconds:   # added as below: a difference could round below it for ever
        run.progress_due = True
        ledger.remind(run.progress_at + ledger.settings.progress_seconds, "progress", run.run)
        return
    done, planned, total = views.counts(run)
    said = (done, planned, views.waits_for(ledger, run))
    if said != run.progress_said:
        run.progress_said, run.progress_at = said, now
        ledger.out.send(run.client, Progress(run.run, done, planned, total, said[2]))


def run_out_of_time(ledger: Ledger, now: float, run: Run) -> None:
    """It has had all its time."""
    why = views.waits_for(ledger, run)
    done, _, total = views.counts(run)
    far = f"{done} of {total} function{'s were' if total != 1 else ' was'} done{f'; {why}' if why else ''}"
    fail(ledger, now, run, RunFailed(run.run, "RunTimeout", f"the run took longer than {run.timeout:g} s; {far}"))


def complete(ledger: Ledger, now: float, run: Run) -> None:
    """Every task is done; its outputs are kept until the client says Forget."""
    run.is_over = True
    run.seconds_total = now - run.submitted
    ledger.tasks -= run.total
    run.rest()
    say_done(ledger, run)


def say_done(ledger: Ledger, run: Run) -> None:
    """Tell the client that it is over, and where everything ran."""
    if run.client is not None:
        places = run.places()
        ledger.out.introduce_to_client(run.client, places)
        ledger.out.tell(run, RunDone(run.run, places, run.bytes_moved))


def fail(ledger: Ledger, now: float, run: Run, failed: RunFailed) -> None:
    """It can't succeed any more: siblings are stopped, everything is released."""
    ledger.out.send(run.client, failed)
    if run.detach:     # its client may be gone, or have let go of it; else it says Forget when it has heard this
        ledger.past.keep_failure(failed, views.attached(run, "failed"))
    if not (run.values_only or run.is_over):     # of a single call nobody can ask what it was like; and what went well is let go of, only
        ledger.past.keep_ended(now, run, failed, views.running(ledger, run, now))
    end(ledger, now, run, "cancelled" if failed.code == "RunCancelled" else "failed")


def fail_lost(ledger: Ledger, now: float) -> None:
    """End the runs that can't go on without a result that is lost, now that all else is noted."""
    lost, ledger.lost = ledger.lost, {}
    for number, failed in lost.items():
        if number in ledger.runs:
            fail(ledger, now, ledger.runs[number], failed)


def leave_unsaid(ledger: Ledger, now: float, peer: PeerId, message: Message, reason: str) -> None:
    """That peer was not told something of a run, since it is too much for one message: the run can't go on without it."""
    node, run = ledger.nodes.get(peer), ledger.runs.get(getattr(message, "run", NO_RUN))
    if node is not None and isinstance(message, Plan):
        node.codes.difference_update([digest for digest, _ in message.codes])   # it did not get them
    if run is not None:
        fail(ledger, now, run, RunFailed(run.run, "ProtocolError", f"the run is too large to be told of: {reason}; split the graph"))


def end(ledger: Ledger, now: float, run: Run, state: str) -> None:
    """Nothing of it stays with nodes, and here a line for people."""
    ledger.past.keep(run.run, views.run_line(ledger, run, now, state))
    lifetimes.end_run(ledger, run)
    ledger.is_changed = True
