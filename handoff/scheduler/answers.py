"""Questions of clients are answered; a client that attaches to a run takes it over."""

from __future__ import annotations

from array import array
from typing import Any

from handoff.ids import PeerId
from handoff.messages import Answer, Ask, Placed, Refused, RunFailed
from handoff.scheduler import views
from handoff.scheduler.endings import say_done
from handoff.scheduler.explain import explain, explain_ended
from handoff.scheduler.following import corrections
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.losses import missing_outputs
from handoff.scheduler.outlook import outlook
from handoff.scheduler.runs import GONE, Run


def answer(ledger: Ledger, now: float, peer: PeerId, ask: Ask) -> None:
    run, ended = ledger.runs.get(ask.run), ledger.past.ended.get(ask.run)
    data: Any = None
    match ask.topic:
        case "nodes":
            data = views.nodes(ledger)
        case "runs":
            data = views.runs(ledger, now)
        case "run" if run is not None:
            data = views.run_line(ledger, run, now)
        case "run" if ask.run in ledger.past.runs:
            data = ledger.past.runs[ask.run]
        case "outlook":
            data = outlook(ledger, ask.codes, ask.names)
        case "timeline" if run is not None:
            data = views.timeline(ledger, run, now)
        case "timeline" if ended is not None:
            data = views.timeline(ledger, ended.run, now, ended)
        case "explain" if run is not None and 0 <= ask.task < run.total:
            data = explain(ledger, now, run, ask.task)
        case "explain" if ended is not None and 0 <= ask.task < ended.run.total:
            data = explain_ended(ledger, ended, ask.task)
        case "corrections" if run is not None:
            data = corrections(ledger, run)
        case "corrections" if ended is not None:
            data = corrections(ledger, ended.run)
        case "graph" if run is not None:
            data = views.graph(run)
        case "graph" if ended is not None:
            data = views.graph(ended.run)
        case "attach" if run is not None and not run.detach and run.client != peer:
            text = f"run {ask.run} is not detached: only the client that started it can wait for it"
            ledger.out.send(peer, Refused("ExecutionError", text, ask.token))
            return
        case "attach" if run is not None:
            attach(ledger, now, peer, run, ask.token)
            return
        case "attach" if ask.run in ledger.past.failed:
            failed, data = ledger.past.failed[ask.run]
            ledger.out.send(peer, _attached(ask.token, data))
            ledger.out.send(peer, failed)
            return
    if data is None:
        is_about_run = ask.topic in ("run", "timeline", "graph", "attach", "explain", "corrections")
        past = ledger.past.runs.get(ask.run)
        text = f"run {ask.run} is over ({past['state']}), and nothing else of it is kept" if past else f"there is no run {ask.run}"
        text = text if is_about_run else f"there is nothing to say about {ask.topic!r}"
        ledger.out.send(peer, Refused("ExecutionError", text, ask.token))
    else:
        ledger.out.send(peer, Answer(ask.token, data))


def attach(ledger: Ledger, now: float, peer: PeerId, run: Run, token: int) -> None:
    """This client takes over the run: it is told all that the first one was told, which must not wait for it in vain.

    Outputs that were lost with their nodes are made again: who had the run before may have got them, or not have wanted them any more.
    """
    if run.client in ledger.clients and run.client is not None:
        ledger.clients[run.client].runs.pop(run.run, None)
        if run.client != peer:
            ledger.out.send(run.client, RunFailed(run.run, "ExecutionError", f"run {run.run} was taken over by another client"))
    run.client = peer
    ledger.clients[peer].runs[run.run] = None
    ledger.out.send(peer, _attached(token, views.attached(run)))
    living = [node for node in run.nodes if node in ledger.nodes]
    run.placed = set(living)
    ledger.out.introduce_to_client(peer, living)
    if living:
        ledger.out.send(peer, Placed(run.run, array("I", living)))
    for task in range(run.total) if not run.plain else ():
        if run.is_object(task) and run.is_planned(task):
            ledger.out.upload(run, task)
    missing_outputs(ledger, now, run, [*run.ran, *run.tasks_in(GONE)])
    if run.is_over:
        say_done(ledger, run)
    ledger.touch(run)


def _attached(token: int, data: dict[str, Any]) -> Answer:
    return Answer(token, {**data, "outputs": list(data["outputs"])})
