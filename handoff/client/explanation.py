"""Why a function runs where it does, why it is not running yet, or why it was not done, in words: `run.explain(id)`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from handoff.client.events import Failure
from handoff.client.failures import error_of, forgotten
from handoff.client.story.tables import Row, aligned, amount, html_table, seconds
from handoff.errors import ExecutionError, MissingFunction
from handoff.quoting import quoted

if TYPE_CHECKING:
    from handoff.client.state import RunState

EQUAL_SECONDS = 0.001    # what differs by less is shown as the same
NAMED_MAX = 5            # inputs, or nodes, that are named in a sentence

_HEAD = ("node", "start", "moving", "finish", "inputs there", "to be moved", "")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One node, as of now: what it would mean to place the function there. Seconds after the submission of the run; sizes in bytes."""

    node: str
    start: float
    moving: float                      # seconds that its inputs alone take to come there
    finish: float
    bytes_here: int                    # of its inputs
    bytes_missing: int
    room: str                          # what is taken there now; empty: there is room
    lacks: str                         # why it can't be there at all; empty: it can


@dataclass(frozen=True)
class Explanation:
    """What `run.explain(id)` gives; print it, or let a notebook show it."""

    function: Hashable
    state: str                         # "waiting", "ready", "delayed", "planned ahead", "planned", "done", "done, result gone"; as it was
                                       # when the run came to nothing, if it did: then also "running", or "failed"
    node: str                          # where it is or ran; empty while it is nowhere
    reasons: Sequence[str]             # why it is there, or why it does not run yet
    candidates: Sequence[Candidate]    # every node (of very many, those that would be done first), as of now; none once the run failed
    text: str                          # the headline

    def __str__(self) -> str:
        parts = [self.text, *(f"  {reason}" for reason in self.reasons)]
        if self.candidates:
            parts += ["", "The nodes, as of now", *aligned(_HEAD, self._rows())]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in self.reasons)
        table = html_table(_HEAD, self._rows()) if self.candidates else ""
        return f'<div class="handoff-explanation"><p>{escape(self.text)}</p><ul>{reasons}</ul>{table}</div>'

    def _rows(self) -> list[Row]:
        return [(each.node, "", "", "", "", "", each.lacks) if each.lacks else
                (each.node, seconds(each.start), seconds(each.moving), seconds(each.finish), amount(each.bytes_here),
                 amount(each.bytes_missing), f"full: {each.room}" if each.room else "") for each in self.candidates]


def task_of(state: RunState, function: Hashable) -> int:
    """Its number. Raises MissingFunction for what is not in the run."""
    try:
        return state.graph.number[function]
    except (KeyError, TypeError):
        raise MissingFunction(f"{quoted(function)} is no function of run {state.run} of {state.graph.dag_id!r} with a task of its "
                              "own: nothing "
                              "in the graph is called so, or it is an input, or inline, which runs within each that takes its result",
                              missing=function) from None


def explanation_of(state: RunState, function: Hashable, answer: Any) -> Explanation:
    """From the coordinator's answer."""
    if answer.get("ended") is not None:
        return Explanation(function, answer["state"], answer["node"], _why_it_ended(state, answer), (), _last_seen(function, answer))
    candidates = [Candidate(each["node"], each["start"], each["moving"], each["finish"], each["bytes_here"], each["bytes_missing"],
                            each["room"], _lacks(state, answer, each["lacks"])) for each in answer["candidates"]]
    is_placed = bool(answer["node"])
    reasons = [_reason(state, answer, *each) for each in answer["reasons"]]
    if is_placed:
        reasons = [*_why_here(state, answer, candidates), *reasons]
    return Explanation(function, answer["state"], answer["node"], reasons, candidates, _headline(function, answer))


def unexplained(state: RunState, function: Hashable, error: ExecutionError) -> ExecutionError:
    """Why there is no explanation, in the place of the coordinator's short answer."""
    return forgotten(f"{quoted(function)} can't be explained", state, error)


def _headline(function: Hashable, answer: Any) -> str:
    node, start, end = answer["node"], answer["started"], answer["started"] + answer["seconds"]
    tries = f", in attempt {answer['attempt']}" if answer["attempt"] > 1 else ""
    match answer["state"]:
        case "done" | "done, result gone":
            return f"{quoted(function)} ran on {node!r} from {seconds(start)} s to {seconds(end)} s{tries}"
        case "planned" | "planned ahead":
            waits = any(reason[0] == "inputs" for reason in answer["reasons"])
            is_begun = start <= answer["now"] and not waits
            word = "is to run" if not is_begun else "runs" if answer["state"] == "planned" else "runs, or is next,"   # only its node knows
            if end < answer["now"]:
                word = "is" if is_begun else word       # begun or not: that is what is not known
                return (f"{quoted(function)} {word} on {node!r}{tries}, and was thought to be over at about {seconds(max(0.0, end))} s "
                        f"(now: {seconds(answer['now'])} s): it takes longer, or waits there for room or inputs")
            return (f"{quoted(function)} {word} on {node!r}, from about {seconds(max(0.0, start))} s to about {seconds(end)} s{tries} "
                    f"(now: {seconds(answer['now'])} s)")
        case _:
            return f"{quoted(function)} is not running yet (now: {seconds(answer['now'])} s after the submission)"


def _pinned(state: RunState, answer: Any) -> str:
    """By itself, or with another function where that is."""
    task, where = answer["task"], f"pinned to {answer['pinned']!r}"
    return f"it has to be where {quoted(state.graph.beside[task])} is, which is {where}" if task in state.graph.beside else f"it is {where}"


def _lacks(state: RunState, answer: Any, said: str) -> str:
    """Why a node can't have it: the coordinator knows of no pin but its own."""
    return _pinned(state, answer) if answer["pinned"] and said == f"it is pinned to {answer['pinned']!r}" else said


def _why_here(state: RunState, answer: Any, candidates: Sequence[Candidate]) -> list[str]:
    here = answer["node"]
    if answer["pinned"] and answer["beside"]:
        others = f"{answer['beside']} other{'s' * (answer['beside'] > 1)}"
        return [f"it has to be on one node with {others}, of which one, or it itself, is pinned to {answer['pinned']!r}"]
    if answer["pinned"]:
        return [_pinned(state, answer)]
    if answer["departed"]:
        return [f"its plan said {answer['plan']!r}, but {answer['departed']}", *_compared(answer, candidates)]
    if answer["plan"] == here:
        return [f"its plan says {here!r}", *_compared(answer, candidates)]
    if answer["beside"]:
        return [f"it has to be on one node with {answer['beside']} other{'s' * (answer['beside'] > 1)}", *_compared(answer, candidates)]
    return _compared(answer, candidates)


def _compared(answer: Any, candidates: Sequence[Candidate]) -> list[str]:
    """The chosen node beside the others, as of now."""
    able = [each for each in candidates if not each.lacks]
    chosen = next((each for each in able if each.node == answer["node"]), None)
    others = [each for each in able if each is not chosen]
    if chosen is None:
        return [f"{answer['node']!r} can't be given such work any more"]
    if not others:
        lacks = "; ".join(f"{each.node}: {each.lacks}" for each in candidates[:NAMED_MAX + 1] if each is not chosen)
        return [f"no other node can run it: {lacks}" if lacks else "there is no other node"]
    best = min(others, key=lambda each: (each.finish, each.node))
    later = best.finish - chosen.finish
    if abs(later) < EQUAL_SECONDS:
        return [f"placed now it would finish there at {seconds(chosen.finish)} s; on {best.node!r} "
                "at the same time"]
    if later > 0.0:
        return [f"placed now it would finish there at {seconds(chosen.finish)} s; on {best.node!r}, the next best of {len(others)}, "
                f"{seconds(later)} s later"]
    return [f"placed now it would finish sooner on {best.node!r}, by {seconds(-later)} s; when it was placed, at "
            f"{seconds(answer['planned'])} s, that was different or not known"]


def _reason(state: RunState, answer: Any, what: str, *facts: Any) -> str:
    """One reason, as a sentence."""
    match what:
        case "inputs":
            return _waits_for_inputs(state, answer, *facts)
        case "paused":
            return f"it failed {answer['failures']} time{'s' * (answer['failures'] != 1)}, and pauses until {seconds(facts[0])} s"
        case "second":
            return f"it takes far longer than usual: a second attempt runs on {facts[0]!r}; the first to end counts"
        case "taken back":
            return "an attempt at it came to nothing: it was taken back before it had started, or its node was lost"
        case "no nodes":
            return "no node can be given work now"
        case "nobody can":
            where = "".join(f" {key}={value}" for key, value in answer["where"])
            lacks = "; ".join(f"{each['node']}: {each['lacks']}" for each in answer["candidates"][:NAMED_MAX])
            return f"no node has what it needs ({answer['cost']}{f', where{where}' if where else ''}): {lacks}"
        case "absent":
            return f"{_pinned(state, answer)}, and waits for that node, which is not there"
        case "only":
            is_planned = answer["plan"] == facts[0] and not answer["pinned"]
            return f"it may run on {facts[0]!r} only{', as its plan says' if is_planned else ''}"
        case "limit":
            return f"the run has as many functions on nodes as its max_concurrency={facts[0]} allows"
        case "cluster":
            what, is_kept, is_all = facts
            who = "is kept for another that waits for more of it" if is_kept else "others of the cluster have now"
            return f"it waits for {what}, which {who}{'' if is_all else '; it could do without at another of its costs'}"
        case "room":
            now = answer["now"]      # what is full of other things than tasks is so for nobody knows how long
            full = "; ".join(f"on {node}: {room}" + (f", until about {seconds(until)} s" if until > now else "")
                             for node, room, until in facts[:NAMED_MAX])
            return "it waits for room " + full + (f"; and on {len(facts) - NAMED_MAX} more" if len(facts) > NAMED_MAX else "")
        case "better":
            when = f"; room opens at about {seconds(facts[2])} s" if facts[2] > answer["now"] else ""
            if facts[3]:
                return (f"it waits for {facts[0]!r}: {facts[1]}{when}; {facts[3]!r} has room, and something beside cores and memory "
                        "that is spared for functions that need it")
            return f"it waits for {facts[0]!r}, where it would be done first: {facts[1]}{when}"
        case "left":
            return f"it is ready, and there is room, but the allocator {facts[0]} places it nowhere"
        case "behind":
            return f"{facts[0]:,} more urgent function{'s are' if facts[0] != 1 else ' is'} ready, of this or other runs"
        case _:
            return " ".join(map(str, (what, *facts)))


def _waits_for_inputs(state: RunState, answer: Any, count: int, *tasks: int) -> str:
    rows = {row[0]: row for row in answer["inputs"]}
    named = []
    for task in tasks[:NAMED_MAX]:
        _, how, node, _, until = rows.get(task, (task, "waiting", "", 0, 0.0))
        named.append(f"{quoted(state.name_of(task))} ({f'on {node}, until about {seconds(until)} s' if node else how})")
    more = f" and {count - len(named):,} more" if count > len(named) else ""
    return f"it waits for {', '.join(named)}{more}"


# ── of a run that came to nothing ───────────────────────────────────────────


def _last_seen(function: Hashable, answer: Any) -> str:
    """The headline: how far it was when its run ended."""
    node, tries = answer["node"], f" in attempt {answer['attempt']}" if answer["attempt"] > 1 else ""
    ended = f"when the run {_ended(answer)}, after {seconds(answer['now'])} s"
    match answer["state"]:
        case "done" | "done, result gone":
            return _headline(function, answer)
        case "failed":
            return (f"{quoted(function)} failed{f' on {node!r}' if node else ''}{tries}, and the run with it, after "
                    f"{seconds(answer['now'])} s")
        case "running":
            return f"{quoted(function)} had been running on {node!r}{tries} since {seconds(answer['started'])} s {ended}"
        case "planned" | "planned ahead":
            return f"{quoted(function)} was with {node!r}{tries}, and not done, {ended}"
        case _:
            return f"{quoted(function)} was with no node {ended}"


def _why_it_ended(state: RunState, answer: Any) -> list[str]:
    """What it waited for then, if it did, and what the run ended with."""
    said, failures = answer["ended"], answer["failures"]
    is_said = answer["state"] in ("failed", "delayed")
    found = [f"it had failed {failures} time{'s' * (failures != 1)} before"] if failures and not is_said else []
    if answer["departed"]:
        found.append(f"its plan said {answer['plan']!r}, but {answer['departed']}")
    for what, *facts in answer["reasons"]:
        if what == "inputs":
            found.append(_waited_for_inputs(state, answer, *facts))
        elif what == "paused":
            found.append(f"it had failed {failures} time{'s' * (failures != 1)}, and paused before its next attempt")
        elif what == "unmet":
            found.append(f"it waited for a node: {facts[0]}")
        else:
            limit = f", and of the run only {facts[0]} at once (max_concurrency)" if facts[0] else ""
            where = f"{answer['pinned']!r}" if answer["pinned"] else "a node"
            found.append(f"it was ready: it waited for room on {where} ({answer['cost']}), where more urgent ones went first{limit}")
    error = error_of(Failure(said["code"], said["text"], said["task"], said["node"], said["attempt"]), state.name_of)
    why = f"{type(error).__name__}: {error}"
    return [*found, why if answer["state"] == "failed" else f"the run {_ended(answer)}: {why}"]


def _waited_for_inputs(state: RunState, answer: Any, count: int, *tasks: int) -> str:
    rows = {row[0]: row for row in answer["inputs"]}
    named = []
    for task in tasks[:NAMED_MAX]:
        _, how, node, *_ = rows.get(task, (task, "not done", ""))
        named.append(f"{quoted(state.name_of(task))} ({how}{f' on {node}' if node else ''})")
    return f"it waited for {', '.join(named)}{f' and {count - len(named):,} more' if count > len(named) else ''}"


def _ended(answer: Any) -> str:
    return "was cancelled" if answer["ended"]["code"] == "RunCancelled" else "failed"
