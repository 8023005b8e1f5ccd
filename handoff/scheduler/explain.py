"""Why a task is where it is, or why it is not running yet: worked out when someone asks, from the tables as they are then."""

from __future__ import annotations

from math import inf
from typing import Any

from handoff.ids import NOBODY
from handoff.program import Flag
from handoff.resources import SCALE, Amounts, describe, measured
from handoff.scheduler.feasible import asked, unfit, without_twice
from handoff.scheduler.inputs import Inputs, inputs_of
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.memory import MEGABYTE
from handoff.scheduler.needs import COROUTINES, FREE_COROUTINE, FREE_OF_COST, OURS, PROCESSES
from handoff.scheduler.nodes import Node
from handoff.scheduler.past import Ended
from handoff.scheduler.queue import LOW
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import AHEAD, DELAYED, DONE, GONE, HELD, READY, STATES, Run
from handoff.scheduler.views import cause, is_left

NODES_MAX = 32       # that are told of, those that would be done first
QUEUED_MAX = 50_000  # of so many ready tasks it is looked which are more urgent
INPUTS_MAX = 32      # that are told of, those that are missing first
COST_NOTHING = (FREE_OF_COST, FREE_COROUTINE)


def explain(ledger: Ledger, now: float, run: Run, task: int) -> dict[str, Any]:
    """As plain data; times are seconds after the submission of the run, sizes bytes.

    "reasons" say why it is not running, each as [what, facts...]: see `_reasons`. "candidates" are the nodes as they are now, with what
    each would mean for this task; of a task that is planned or done they tell what it would mean to place it now.
    """
    for stale in [node for node in ledger.nodes.values() if node.is_stale]:
        stale.work_out(now, ledger.estimates)
    kind, state = run.kinds[run.kind[task]], run.state[task]
    places = run.places()
    is_placed = AHEAD <= state <= GONE
    inputs = inputs_of(ledger, run, task, now) if run.linked and run.fan_in[task] else Inputs(run, now, now, now, 0.0, {}, [])
    inputs.there = max(inputs.there, now)
    candidates = [_candidate(ledger, now, run, task, node, inputs) for node in ledger.nodes.values()]
    here = _name(ledger, places[task]) if is_placed else ""
    candidates.sort(key=lambda each: (each["node"] != here, bool(each["lacks"]), each["finish"], each["node"]))
    expected = ledger.foresight.seconds_at(run, task, run.shapes[run.kind[task]], _chosen(run, task) if is_placed else 0)
    node = ledger.nodes.get(places[task])
    started, seconds = run.started[task], run.seconds[task]
    if AHEAD <= state <= HELD:            # until it is done, `started` is when it should end
        seconds = expected / (node.speed if node is not None else 1.0)
        started = run.ends_at(task) - seconds
        if node is not None and (given := node.holding.get((run.run, task))) is not None:
            started, seconds = given[0] - run.submitted, given[2]      # as it was thought then: what was learned since moves no start
        if state == HELD and run.shapes[run.kind[task]].needs[_chosen(run, task)] in COST_NOTHING and not inputs.total:
            started = min(started, run.given_at[task])     # it is reckoned behind what keeps the cores busy, and waits for none of it
    only = ledger.allowed(run, task)
    return {
        "task": task, "state": STATES[state], "name": kind.name, "cost": _cost(run, task, is_placed),
        "now": now - run.submitted, "node": here,
        "attempt": run.tried(task), "failures": run.failures.get(task, 0), "started": started if is_placed else 0.0,
        "seconds": seconds if is_placed else expected, "planned": run.given_at[task], "worker": run.worker[task],
        "pinned": kind.node, "where": [list(each) for each in kind.where], "only": _name(ledger, only) if only is not None else "",
        **_planned(run, task), "beside": _beside(run, task),
        "inputs": _inputs(ledger, now, run, task, places), "candidates": candidates[:NODES_MAX], "nodes": len(candidates),
        "reasons": _reasons(ledger, now, run, task, candidates) if not state >= DONE else [],
    }


def explain_ended(ledger: Ledger, ended: Ended, task: int) -> dict[str, Any]:
    """The same of a run that failed or was cancelled, as it was then. Nodes are not compared: that would be as of now.

    "state" may also be "failed", of the task that the run failed with, or "running". "reasons" say what it waited for, if it did:
    ["inputs", count, first...], ["paused"], ["unmet", what no node offered], or ["turn", most tasks of the run at once, 0: any number].
    """
    run, failed = ended.run, ended.failed
    kind, state, places = run.kinds[run.kind[task]], run.state[task], run.places()
    since = {each: started for each, _, started in ended.running}

    def word(each: int) -> str:
        now = run.state[each]
        return "failed" if each == failed.task and now < DONE else "running" if each in since else STATES[now]

    is_failed = word(task) == "failed"
    is_placed = AHEAD <= state <= GONE and not is_failed
    missing = [each for each in dict.fromkeys(run.inputs_of(task)) if run.state[each] < DONE]
    rows = [[each, word(each), _name(ledger, places[each]) if AHEAD <= run.state[each] <= HELD else "", 0, 0.0] for each in missing]
    reasons: list[list[Any]] = []
    if missing and state < DONE:
        reasons.append(["inputs", len(missing), *missing[:INPUTS_MAX]])
    elif state == DELAYED and not is_failed:
        reasons.append(["paused"])
    elif state == READY and not is_failed:
        is_unmet = run.program_kind(run.kind[task]) in run.unmet_since and run.unmet.startswith(f"{kind.name} ")   # said of one of them
        reasons.append(["unmet", run.unmet] if is_unmet else ["turn", run.max_concurrency])
    return {
        "task": task, "state": word(task), "name": kind.name, "cost": _cost(run, task, is_placed), "now": run.seconds_total,
        "node": failed.node if is_failed else _name(ledger, places[task]) if is_placed else "",
        "attempt": failed.attempt if is_failed else run.tried(task), "failures": run.failures.get(task, 0),
        "started": since.get(task, run.started[task] if state >= DONE else 0.0),
        "seconds": run.seconds[task] if state >= DONE else 0.0, "planned": run.given_at[task], "worker": run.worker[task],
        "pinned": kind.node, "where": [list(each) for each in kind.where], "only": "", **_planned(run, task),
        "beside": _beside(run, task), "inputs": rows[:INPUTS_MAX], "candidates": [], "nodes": 0,
        "reasons": reasons, "ended": cause(ended),
    }


def _candidate(ledger: Ledger, now: float, run: Run, task: int, node: Node, inputs: Inputs) -> dict[str, Any]:
    """One node: what it lacks, or when this task would start and finish there if it were placed now."""
    shape = run.shapes[run.kind[task]]
    alternative = _nearest(ledger, run, task, node, now)
    need, seconds = shape.needs[alternative], ledger.foresight.seconds_at(run, task, shape, alternative) / node.speed
    found: dict[str, Any] = {
        "node": node.name, "lacks": _lacks(ledger, run, task, node), "bytes_here": int(inputs.bytes_on.get(node.peer, 0.0)),
        "bytes_missing": max(0, int(inputs.total - inputs.bytes_on.get(node.peer, 0.0))), "speed": node.speed, "room": "",
        "start": 0.0, "moving": 0.0, "finish": 0.0,
    }
    if found["lacks"]:
        return found
    start = now
    if (node.peer, task) != (run.node[task], task) or not run.is_planned(task):
        if not node.has_room(need):
            found["room"] = _no_room(ledger, node, need, _costs(run, task)[alternative])
            start = node.room_at(need, now)
            start = start if start < inf else now      # for how long results stay nobody knows
        start = max(start, node.start_at(need, now))
        if not found["room"]:
            found["room"] = _kept(ledger, run, task, node, inputs)
    arrival, moving = inputs.arrival(ledger, node)
    start = max(start, arrival)
    found.update(start=start - run.submitted, moving=moving, finish=start + seconds - run.submitted)
    return found


def _nearest(ledger: Ledger, run: Run, task: int, node: Node, now: float) -> int:
    """Of its costs, the one with which it would be done there first; those for which the cluster has something left before the others."""
    shape = run.shapes[run.kind[task]]
    if len(shape.needs) == 1:
        return 0
    withheld = ledger.cluster.withheld(shape)
    able = [(bool(withheld and withheld[number][0]), (node.start_at(need, now) if node.has_room(need) else node.room_at(need, now))
             + ledger.foresight.seconds_at(run, task, shape, number) / node.speed, number)
            for number, need in enumerate(shape.needs) if node.can_hold(need)]
    return min(able)[2] if able else 0


def _cost(run: Run, task: int, is_placed: bool) -> str:
    """What it takes; of alternatives, the one that was chosen, or all of them."""
    several = _costs(run, task)
    return describe(several[_chosen(run, task)]) if is_placed else " or else ".join(map(describe, several))


def _costs(run: Run, task: int) -> tuple[Amounts, ...]:
    """All that it may take one of."""
    kind = run.kinds[run.kind[task]]
    return kind.cost, *kind.alternatives


def _chosen(run: Run, task: int) -> int:
    """Which of its costs it takes, or took: 0 for the first."""
    return (run.took if run.state[task] >= DONE else run.choices).get(task, 0)


def _kept(ledger: Ledger, run: Run, task: int, node: Node, inputs: Inputs) -> str:
    """What it may not have there now, though nobody runs in it: memory, and what is kept for others."""
    shape = run.shapes[run.kind[task]]
    if ledger.memory.is_short(run, task, node, inputs):
        return _full_of_results(ledger, node)
    kept = ledger.reserved.get(node.peer, shape)
    if kept is not shape and len(kept):
        return "kept free for a function that has waited long for so much room"
    if shape.spread and (others := run.spreads[shape.spread].get(node.peer, 0)) > _fewest(ledger, run, shape):
        return f"{others} of the group {shape.spread!r}, which is to be spread, and fewer are elsewhere"
    return ""


def _full_of_results(ledger: Ledger, node: Node) -> str:
    """What is taken there, though not by tasks."""
    has = node.capacity.get("memory", 0) / SCALE
    return f"memory (results take {ledger.memory.held.get(node.peer, 0.0) / MEGABYTE:,.0f} of {has:,.0f} MB, or will)"


def _fewest(ledger: Ledger, run: Run, shape: Shape) -> int:
    """Of its group, as many are on the node that has least of them."""
    able = [node for node in ledger.nodes.values() if node.state == "ready" and node.can_run(shape)]
    return min([run.spreads[shape.spread].get(node.peer, 0) for node in able], default=0)


def _lacks(ledger: Ledger, run: Run, task: int, node: Node) -> str:
    """Why this node can't have the task at all, whatever it runs; empty when it can."""
    kind = run.kinds[run.kind[task]]
    if kind.node and kind.node != node.name:
        return f"it is pinned to {kind.node!r}"
    if found := unfit(run, task, node):
        return found
    if node.state != "ready":
        return "it drains" if node.leaves else node.fault if node.state == "faulty" else "it can't be heard"
    if node.peer in run.avoid.get(task, ()):
        return "it failed to load it, or to hand it over"
    return ""


def _no_room(ledger: Ledger, node: Node, need: Amounts, cost: Amounts) -> str:
    """What is taken there."""
    if node.can_commit(need):
        return _full_of_results(ledger, node)
    free = {name: node.capacity.get(name, 0) - node.committed.get(name, 0) for name, _ in need}
    lacking = without_twice([(name, amount) for name, amount in need if name not in OURS and amount > free[name]], cost)
    short = [f"{name} ({measured(name, asked(cost, name, amount))} needed, {measured(name, max(0, free[name]))} free)"
             for name, amount in lacking]
    if not short and need[0][0] == PROCESSES:
        return f"one of its {node.capacity[PROCESSES]} processes"
    if not short and need[0][0] == COROUTINES:
        return f"one of its {node.capacity[COROUTINES]} places for coroutines"
    return ", ".join(short) or "a place for tasks that cost nothing"


def _inputs(ledger: Ledger, now: float, run: Run, task: int, places: Any) -> list[list[Any]]:
    """[task, state, node, bytes, when it should exist] of each input; what is missing first."""
    rows: list[list[Any]] = []
    for each in dict.fromkeys(run.inputs_of(task)):
        state = run.state[each]
        rows.append([each, STATES[state], _name(ledger, places[each]) if state >= AHEAD else "",
                     int(run.nbytes[each] if state >= DONE else ledger.foresight.nbytes(run, each)),
                     max(run.ends_at(each), now - run.submitted) if AHEAD <= state <= HELD else 0.0])
    rows.sort(key=lambda row: (row[1] in (STATES[DONE], STATES[GONE]), -row[3], row[0]))
    return rows[:INPUTS_MAX]


def _reasons(ledger: Ledger, now: float, run: Run, task: int, candidates: list[dict[str, Any]]) -> list[list[Any]]:
    """Why it does not run: ["inputs", count, first...], ["paused", until], ["no nodes"], ["nobody can"],
    ["absent", node], ["only", node],
    ["limit", most], ["cluster", what, whether it is kept for others, whether none of its costs does without it],
    ["room", [node, what, until]...], ["better", node, what, until, which has room and is spared], ["left", allocator], ["behind", count],
    ["taken back"]; or, though it does: ["second", node] that has a second attempt at it.
    """
    state, shape = run.state[task], run.shapes[run.kind[task]]
    found: list[list[Any]] = []
    missing = [each for each in dict.fromkeys(run.inputs_of(task)) if run.state[each] != DONE]
    if missing:
        found.append(["inputs", len(missing), *missing[:INPUTS_MAX]])
    if AHEAD <= state <= HELD:
        return [*found, ["second", _name(ledger, run.twins[task][0])]] if task in run.twins else found
    if state == DELAYED:
        due = [when for when, _, what, first, second, _ in ledger.timers if what == "retry" and (first, second) == (run.run, task)]
        return [["paused", min(due, default=now) - run.submitted]]
    if run.attempt[task] > run.failures.get(task, 0):
        found.append(["taken back"])
    if missing:
        return found
    if not any(node.state in ("ready", "faulty") for node in ledger.nodes.values()):
        return [*found, ["no nodes"]]
    able = [each for each in candidates if not each["lacks"]]
    pinned = run.kinds[run.kind[task]].node
    if pinned and pinned not in ledger.by_name:
        return [*found, ["absent", pinned]]
    if not able:
        return [*found, ["nobody can"]]
    if run.max_concurrency and run.room() <= 0:
        found.append(["limit", run.max_concurrency])
    withheld = ledger.cluster.withheld(shape)
    for what, is_kept in dict.fromkeys(each for each in withheld if each[0]):
        found.append(["cluster", what, is_kept, all(each for each, _ in withheld)])
    only = ledger.allowed(run, task)
    if only is not None:
        able = [each for each in able if each["node"] == _name(ledger, only)]
        found.append(["only", _name(ledger, only)])
    full = [[each["node"], each["room"], each["start"]] for each in able if each["room"]]
    if able and len(full) == len(able):
        found.append(["room", *full[:NODES_MAX]])
    elif state == READY and able and not found:
        best = min(able, key=lambda each: (_weighed(ledger, shape, each), each["node"]))
        if best["room"]:
            first = min(able, key=lambda each: (each["finish"], each["node"]))
            found.append(["better", best["node"], best["room"], best["start"], "" if first["room"] else first["node"]])
        elif is_left(ledger, run, task):
            found.append(["left", ledger.allocator])
    before = _more_urgent(ledger, run, task, shape) if state == READY else 0
    if before:
        found.append(["behind", before])
    return found


def _weighed(ledger: Ledger, shape: Shape, candidate: dict[str, Any]) -> float:
    """When it would be done there, and what it costs that something scarce which the node has is left unused."""
    option = shape.eligible.option_of.get(ledger.by_name[candidate["node"]].group)
    part: float = option.penalty - 1.0 if option is not None else 0.0
    return float(candidate["finish"] + part * (candidate["finish"] - candidate["start"]))


def _more_urgent(ledger: Ledger, run: Run, task: int, shape: Shape) -> int:
    """How many tasks are ready and come first; so many at least, where very many wait."""
    own = run.key(task)
    count = seen = 0
    for other in ledger.ready.shapes.values():
        if other.priority < shape.priority:
            continue
        for key in other.all_keys():
            seen += 1
            if seen > QUEUED_MAX:
                return count
            if other.priority > shape.priority or key < own:
                of = ledger.runs.get(key >> 32 & LOW)
                count += of is not None and of.state[key & LOW] == READY and of.shapes[of.kind[key & LOW]] is other
    return count


def _planned(run: Run, task: int) -> dict[str, str]:
    """What the plan says of it that its run follows, and why it departed from that."""
    following = run.following
    if following is None or following.home[task] == NOBODY:
        return {"plan": "", "departed": ""}
    return {"plan": following.names[following.home[task]], "departed": following.why.get(task, "")}


def _beside(run: Run, task: int) -> int:
    """How many others share its node, whatever it is; of a serializer: 1, what it serializes."""
    if run.kinds[run.kind[task]].flags & Flag.SERIALIZER:
        return 1
    return len(run.groups[run.group[task]]) - 1 if task in run.group else 0


def _name(ledger: Ledger, peer: int) -> str:
    return ledger.out.names[peer][0] if peer in ledger.out.names else ""
