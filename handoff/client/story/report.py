"""What a run was like, in words: the critical path as it happened, what nodes did, and what would have made it shorter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from handoff.client.story.causes import Leg, causes_of, critical_path
from handoff.client.story.changes import Change, changes_of
from handoff.client.story.records import Story
from handoff.client.story.tables import Row, aligned, amount, clean, html_table, seconds
from handoff.client.story.usage import NodeUse, usage_of

LEGS_SHOWN = 20          # of the critical path; the longest, others are summed up


@dataclass(frozen=True)
class RunReport:
    """What `run.report()` gives; print it, or let a notebook show it. Seconds everywhere."""

    name: str
    run_id: int
    makespan: float                    # from the submission to the end of the last function that is done
    functions: int                     # that are done
    bytes_moved: int                   # between nodes; 0 until it is over
    is_over: bool                      # otherwise it tells of what is done so far
    critical_path: Sequence[Leg]       # what each waited for last, from the submission on; its seconds add up to the makespan
    nodes: Sequence[NodeUse]           # per node that was there; the four kinds of seconds add up to its slots times those
    changes: Sequence[Change]          # up to three that would have saved most, the best first
    until: float = 0.0                 # from the submission to now, while it is not over

    def __str__(self) -> str:
        parts = [self._headline(), "", "Critical path as it happened"]
        parts += aligned(("", "node", "running", "moving", "waiting", "waited for"), path_rows(self.critical_path))
        parts += ["", "Nodes: seconds of their slots"]
        parts += aligned(*_node_table(self.nodes))
        parts += ["", "What would have shortened it most"]
        for number, change in enumerate(self.changes, 1):
            parts += [f"  {number}. {clean(change.what)}: {seconds(change.makespan)} s, {seconds(change.saved)} s less",
                      f"     ({change.how})"]
        if not self.changes:
            parts.append("  nothing that was tried: no function twice as fast, no data in place, no further node or GPU")
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        path = html_table(("", "node", "running", "moving", "waiting", "waited for"), path_rows(self.critical_path))
        nodes = html_table(*_node_table(self.nodes))
        changes = "".join(
            f"<li><b>{escape(clean(change.what))}</b>: {seconds(change.makespan)} s, {seconds(change.saved)} s less"
            f'<br><small style="opacity:.7">{escape(change.how)}</small></li>' for change in self.changes
        )
        return (
            f'<div class="handoff-report"><p>{escape(self._headline())}</p><h4>What would have shortened it most</h4>'
            f"<ol>{changes or '<li>nothing that was tried</li>'}</ol><h4>Critical path as it happened</h4>{path}"
            f"<h4>Nodes: seconds of their slots</h4>{nodes}</div>"
        )

    def _headline(self) -> str:
        many = f"{self.functions:,} function{'s' * (self.functions != 1)}"
        if not self.is_over:
            last = f", the last of them after {seconds(self.makespan)} s" if self.functions else ""
            return f"Run {self.run_id} of {self.name!r} so far: {seconds(self.until)} s, {many} done{last}"
        return f"Run {self.run_id} of {self.name!r}: {seconds(self.makespan)} s, {many}, {amount(self.bytes_moved)} moved between nodes"


def report_of(story: Story) -> RunReport:
    """Work it all out."""
    causes = causes_of(story)
    path = critical_path(story, causes)
    functions = sum(1 for each in story.tasks.values() if not each.is_hidden)
    return RunReport(story.name, story.run, story.makespan, functions, story.bytes_moved, story.is_over, path,
                     usage_of(story, causes), changes_of(story, causes, path), story.until)


def path_rows(path: Sequence[Leg]) -> list[Row]:
    longest = sorted(range(len(path)), key=lambda index: -(path[index].running + path[index].moving + path[index].waiting))
    shown = set(longest[:LEGS_SHOWN])
    rows: list[Row] = []
    left: list[Leg] = []
    for index, leg in enumerate(path):
        if index in shown:
            rows += _summed(left)
            left = []
            where = f"{leg.node} #{leg.worker}" if leg.worker else leg.node
            rows.append((leg.name, where, *map(seconds, (leg.running, leg.moving, leg.waiting)), leg.reason))
        else:
            left.append(leg)
    rows += _summed(left)
    sums = (sum(leg.running for leg in path), sum(leg.moving for leg in path), sum(leg.waiting for leg in path))
    return [*rows, ("all of it", "", *map(seconds, sums), "")]


def _summed(legs: list[Leg]) -> list[Row]:
    if not legs:
        return []
    sums = (sum(leg.running for leg in legs), sum(leg.moving for leg in legs), sum(leg.waiting for leg in legs))
    return [(f"… {len(legs)} more", "", *map(seconds, sums), "")]


def _node_table(nodes: Sequence[NodeUse]) -> tuple[Row, list[Row]]:
    """Head and rows; what ran in vain has a column where there is any, and so has how long nodes were there, where it differs."""
    is_told = any(use.in_vain for use in nodes)
    is_partly = max((use.there for use in nodes), default=0.0) - min((use.there for use in nodes), default=0.0) > 1e-6
    head = ("", "slots", *(("was there",) if is_partly else ()), "running", *(("of it in vain",) if is_told else ()),
            "waiting for inputs", "moving", "idle")
    spent = [(*((use.there,) if is_partly else ()), use.running, *((use.in_vain,) if is_told else ()), use.waiting, use.moving, use.idle)
             for use in nodes]
    return head, [(use.node, f"{use.slots:g}", *map(seconds, each)) for use, each in zip(nodes, spent, strict=True)]
