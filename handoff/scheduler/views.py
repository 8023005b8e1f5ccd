"""What people may ask, answered as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handoff.program import HIDDEN
from handoff.resources import SCALE, describe, plain
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.needs import COROUTINES, PROCESSES
from handoff.scheduler.nodes import Node
from handoff.scheduler.past import Ended
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import DELAYED, DONE, GONE, HELD, READY, Run


def nodes(ledger: Ledger) -> list[dict[str, Any]]:
    """Every node: what it offers, what is free, how it is."""
    return [
        {
            "name": node.name, "peer": node.peer, "address": list(node.address), "pid": node.pid,
            "capacity": plain(node.offers), "free": {**dict.fromkeys(dict(node.offers), 0.0), **plain(node.free)},
            "labels": dict(node.labels), "state": _state_of(node), "running": node.running, "queued": node.queued,
        }
        for node in ledger.nodes.values()
    ]


def _state_of(node: Node) -> str:
    return "waiting" if node.dropped_at is not None else node.state


def runs(ledger: Ledger, now: float) -> list[dict[str, Any]]:
    """Every run that is known, the oldest first; those that are over and forgotten as long as they are remembered."""
    return [*ledger.past.runs.values(), *(run_line(ledger, run, now) for run in ledger.runs.values())]


def counts(run: Run) -> tuple[int, int, int]:
    """How many functions are done, how many are on nodes, and how many there are: as its user counts, without uploads and serializers."""
    if not run.hidden:
        return run.done, run.planned, run.total
    total = run.total - run.hidden
    done = run.done - run.hidden + sum([left for left, kind in zip(run.left, run.kinds, strict=True) if kind.flags & HIDDEN])
    return done, min(run.planned, total - done), total     # of what is planned it is not counted how much is hidden


def run_line(ledger: Ledger, run: Run, now: float, state: str = "") -> dict[str, Any]:
    """One run in one line."""
    client = ledger.clients.get(run.client) if run.client is not None else None
    done, planned, total = counts(run)
    return {
        "run": run.run, "name": run.name, "state": state or state_of(run), "done": done, "total": total,
        "running": 0 if run.is_over else planned,
        "client": client.name if client else run.whose if state else "", "is_call": run.values_only,
        "seconds": run.seconds_total if run.is_over else now - run.submitted,
        "waits_for": "" if state else waits_for(ledger, run),
    }


def state_of(run: Run) -> str:
    """In one word."""
    return "done" if run.is_over else "running" if run.planned else "waiting"


def attached(run: Run, state: str = "") -> dict[str, Any]:
    """What a client needs to know to take over a run; the outputs as a column, which takes little where it is kept."""
    return {"name": run.name, "ids": run.ids, "total": run.total, "outputs": run.outputs(), "state": state or state_of(run)}


def graph(run: Run) -> dict[str, list[Any]]:
    """What depends on what, for a client that attached and did not write it."""
    return {
        "kinds": [{"name": kind.name, "flags": kind.flags, "cost": [list(each) for each in kind.cost], "node": kind.node,
                   "where": [list(each) for each in kind.where]} for kind in run.program.kinds],
        "kind": list(run.program.kind), "fan_in": list(run.fan_in), "inputs": list(run.inputs),
    }


def timeline(ledger: Ledger, run: Run, now: float, ended: Ended | None = None) -> dict[str, Any]:
    """What ran where, when and for how long: columns over the finished tasks. What runs; the nodes that were there; what all share.

    Of a run that failed or was cancelled, `ended`, also what became of it, and the state of each task then.
    """
    until = run.seconds_total if run.is_over or ended is not None else now - run.submitted
    stays = ledger.past.during(run.came(), run.submitted + until)
    tasks = [task for task, state in enumerate(run.state) if state in (DONE, GONE)]
    places = run.places()
    names = {peer: ledger.out.names[peer][0] for peer in dict.fromkeys(places) if peer in ledger.out.names}
    return {
        "task": tasks,
        "node": [names.get(places[task], "") for task in tasks],
        "attempt": [run.tried(task) for task in tasks] if run.unbegun else [run.attempt[task] for task in tasks],
        "started": _starts(run, tasks),
        "seconds": [run.seconds[task] for task in tasks],
        "nbytes": [run.nbytes[task] for task in tasks],
        "worker": [run.worker[task] for task in tasks],
        "waited": [run.waited[task] for task in tasks],
        "planned": [run.given_at[task] for task in tasks],
        "until": until,
        "stays": [[stay.name, max(0.0, run.seconds_at(stay.begin)), min(until, run.seconds_at(stay.end)), stay.has.get("cpu", 0) / SCALE]
                  for stay in stays],
        "has": {stay.name: dict(stay.has) for stay in sorted(stays, key=lambda stay: stay.has.get("memory", 0))},   # of a name, the largest
        "took": [list(each) for each in {**run.took, **run.choices}.items()],     # tasks that took, or take, another of their costs
        "running": running(ledger, run, now) if ended is None else ended.running,
        "ended": None if ended is None else {**cause(ended), "states": bytes(ended.run.state)},
        "shared": dict(ledger.cluster.declared), "limit": run.max_concurrency,
        "vain": [[task, _name(ledger, peer), started, spent] for task, peer, started, spent in run.vain],
    }


def cause(ended: Ended) -> dict[str, Any]:
    """What a run failed with."""
    failed = ended.failed
    return {"code": failed.code, "text": failed.text, "task": failed.task, "node": failed.node, "attempt": failed.attempt}


def running(ledger: Ledger, run: Run, now: float) -> list[tuple[int, str, float]]:
    """What has a core to itself and its inputs, with where and since when; of short tasks nobody but their nodes knows."""
    found = []
    for task in run.tasks_in(HELD):
        node = ledger.nodes.get(run.node[task])
        if node is None or (run.linked and run.missing[task]):
            continue
        since, *_, is_early = node.holding[run.run, task]
        if since < now and not is_early:
            found.append((task, node.name, max(0.0, since - run.submitted)))
    return found


def _starts(run: Run, tasks: list[int]) -> list[float]:
    """When these started, none before its inputs ended: starts are reckoned from reports, which come some milliseconds late or later."""
    started = list(run.started)
    for task in tasks if run.linked else ():
        at = started[task]
        for each in run.inputs_of(task):
            made_again = run.attempt[each] > 1 and started[each] >= at + run.seconds[task]   # after it had been taken
            if run.state[each] in (DONE, GONE) and not made_again:
                at = max(at, started[each] + run.seconds[each])
        started[task] = at
    return [started[task] for task in tasks]


def waits_for(ledger: Ledger, run: Run) -> str:
    """Why nothing of it runs, when nothing does; empty when something does, or it is over."""
    if run.is_over or run.planned or run.done == run.total:
        return ""
    if run.unmet:
        return run.unmet
    open_nodes = [node for node in ledger.nodes.values() if node.state == "ready"]
    if not open_nodes:
        silent = ", ".join(repr(node.name) for node in ledger.nodes.values() if not (node.leaves or node.fault))
        return f"waits for a node: {silent} can't be heard" if silent else "waits for a node to join"
    ready = run.state.find(READY)
    if ready >= 0:
        kind = run.kinds[run.kind[ready]]
        withheld = ledger.cluster.withheld(run.shapes[run.kind[ready]])
        if withheld and all(what for what, _ in withheld):
            others = "others of the cluster have now"
            who = "is kept for another that waits for more of it" if withheld[0][1] else others
            needed = " or else ".join(dict.fromkeys(what for what, _ in withheld))
            return f"{kind.name} waits for {needed}, which {who}"
        only = ledger.allowed(run, ready)
        if is_left(ledger, run, ready):
            return f"{kind.name} is ready, and nodes have room for it, but the allocator {ledger.allocator} places it nowhere"
        if kind.node or only is not None:
            return f"{kind.name} waits for room on node {kind.node or _name(ledger, only)!r}"
        asked = " or else ".join(map(describe, (kind.cost, *kind.alternatives)))
        counted = "".join([f" and {what} for it" for name, what in ((PROCESSES, "a process"), (COROUTINES, "a place"))
                           if _is_used_up(name, run.shapes[run.kind[ready]], open_nodes)])
        return f"no node has room for {asked}{counted}, which {kind.name} needs"
    delayed = run.state.find(DELAYED)
    if delayed >= 0:
        return f"{run.kinds[run.kind[delayed]].name} pauses before its next attempt"
    return ""


def is_left(ledger: Ledger, run: Run, task: int) -> bool:
    """Whether another allocator than the default one places a ready task nowhere, though it could be on a node that has room for it now."""
    if ledger.allocator == "Greedy":
        return False
    only, needs = ledger.allowed(run, task), run.shapes[run.kind[task]].needs
    able = [node for node in ledger.nodes.values() if node.state == "ready" and only in (None, node.peer)]
    return any(node.has_room(need) for node in able if ledger.can_run(run, task, node) for need in needs)


def _name(ledger: Ledger, peer: int | None) -> str:
    return ledger.out.names[peer][0] if peer in ledger.out.names else "?"


def _is_used_up(counted: str, shape: Shape, nodes: Sequence[Node]) -> bool:
    """Whether it needs one of these, and those that could run it have none left, whatever else they have."""
    needs_one = any(name == counted for need in shape.needs for name, _ in need)
    return needs_one and not any(node.committed[counted] < node.capacity[counted] for node in nodes if node.can_run(shape))
