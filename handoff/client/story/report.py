"""What a run was like, in words: the critical path as it happened, what nodes did, and what would have made it shorter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from handoff.client.story.causes import Leg, causes_of, critical_path
from handoff.client.story.changes import Change, changes_of
from handoff.client.story.records import Done, Ending, Story
from handoff.client.story.tables import Row, aligned, amount, clean, html_table, seconds
from handoff.client.story.usage import NodeUse, usage_of
from handoff.quoting import quoted

LEGS_SHOWN = 20          # of the critical path; the longest, others are summed up
CUT_SHOWN = 20           # attempts that came to nothing, of a run that did; the last ones
LEFT_SHOWN = 20          # functions that were not done, of such a run
WHY_MAX = 2000           # characters of its error


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
    until: float = 0.0                 # from the submission to now, while it is not over; or to when it failed or was cancelled
    ending: Ending | None = None       # how it ended, if it failed or was cancelled: then `changes` is empty
    cut: Sequence[Done] = ()           # ... and what came to nothing, or still ran: the last attempts

    def __str__(self) -> str:
        parts = [self._headline()]
        if self.ending is not None:
            parts.append(_why(self.ending))
        for title, (head, rows) in self._tables():
            parts += ["", title, *aligned(head, rows)]
        if self.ending is not None:
            return "\n".join(parts)
        parts += ["", "What would have shortened it most"]
        for number, change in enumerate(self.changes, 1):
            parts += [f"  {number}. {clean(change.what)}: {seconds(change.makespan)} s, {seconds(change.saved)} s less",
                      f"     ({change.how})"]
        if not self.changes:
            parts.append("  nothing that was tried: no function twice as fast, no data in place, no further node or GPU")
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        tables = "".join([f"<h4>{title}</h4>{html_table(head, rows)}" for title, (head, rows) in self._tables()])
        if self.ending is not None:
            return (f'<div class="handoff-report"><p>{escape(self._headline())}</p><p><b>{escape(_why(self.ending))}</b></p>{tables}</div>')
        changes = "".join(
            f"<li><b>{escape(clean(change.what))}</b>: {seconds(change.makespan)} s, {seconds(change.saved)} s less"
            f'<br><small style="opacity:.7">{escape(change.how)}</small></li>' for change in self.changes
        )
        return (
            f'<div class="handoff-report"><p>{escape(self._headline())}</p><h4>What would have shortened it most</h4>'
            f"<ol>{changes or '<li>nothing that was tried</li>'}</ol>{tables}</div>"
        )

    def _tables(self) -> list[tuple[str, tuple[Row, list[Row]]]]:
        """What it is made of, each with its title."""
        found: list[tuple[str, tuple[Row, list[Row]]]] = []
        if self.ending is not None:
            if self.cut:
                found.append(("Attempts without a result, the last first", (("", "", "node", "from", "for"), _cut_rows(self.cut))))
            found.append(("Not done when it ended", _left_table(self.ending)))
        path = (("", "node", "running", "moving", "waiting", "waited for"), path_rows(self.critical_path))
        if self.ending is None:
            found.append(("Critical path as it happened", path))
        elif self.critical_path:
            found.append(("The way to what was done last", path))
        return [*found, ("Nodes: seconds of their slots", _node_table(self.nodes))]

    def _headline(self) -> str:
        many = f"{self.functions:,} function{'s' * (self.functions != 1)}"
        if self.ending is not None:
            total = self.functions + sum([sum(left[1:]) for left in self.ending.left])
            how = "was cancelled" if self.ending.state == "cancelled" else "failed"
            done = f"{self.functions:,} of {total:,} function{'s' * (total != 1)} done"
            return f"Run {self.run_id} of {quoted(self.name)} {how} after {seconds(self.until)} s: {done}"
        if not self.is_over:
            last = f", the last of them after {seconds(self.makespan)} s" if self.functions else ""
            return f"Run {self.run_id} of {quoted(self.name)} so far: {seconds(self.until)} s, {many} done{last}"
        run = f"Run {self.run_id} of {quoted(self.name)}"
        return f"{run}: {seconds(self.makespan)} s, {many}, {amount(self.bytes_moved)} moved between nodes"


def report_of(story: Story) -> RunReport:
    """Work it all out."""
    causes = causes_of(story)
    path = critical_path(story, causes)
    functions = sum(1 for each in story.tasks.values() if not each.is_hidden)
    changes = changes_of(story, causes, path) if story.ending is None else []     # faster would only have been to fail sooner
    return RunReport(story.name, story.run, story.makespan, functions, story.bytes_moved, story.is_over, path,
                     usage_of(story, causes), changes, story.until, story.ending, story.cut)


def _why(ending: Ending) -> str:
    text = clean(ending.why)
    return text if len(text) <= WHY_MAX else f"{text[:WHY_MAX]}…"


def _cut_rows(cut: Sequence[Done]) -> list[Row]:
    shown = sorted(cut, key=lambda each: (each.ended, each.started), reverse=True)[:CUT_SHOWN]
    rows = [(*each.name.rsplit(": ", 1), each.node, seconds(each.started), seconds(each.seconds)) for each in shown]
    return [*rows, *([(f"… {len(cut) - len(shown):,} more", "", "", "", "")] if len(cut) > len(shown) else [])]


def _left_table(ending: Ending) -> tuple[Row, list[Row]]:
    """Per function; what is nowhere has no column."""
    sums = ("all of it", *(sum(column) for column in zip(*(left[1:] for left in ending.left), strict=True)))
    columns = [at for at, count in enumerate(sums) if at and count]
    head = ("", "failed", "running", "with a node", "ready", "waiting for inputs")
    shown = ending.left[:LEFT_SHOWN]
    rows = [(left.function, *(str(left[at]) for at in columns)) for left in shown]
    if len(ending.left) > len(shown):
        rows.append((f"… {len(ending.left) - len(shown):,} more functions", *("" for _ in columns)))
    rows.append(("all of it", *(str(sums[at]) for at in columns)))
    return ("", *(head[at] for at in columns)), rows


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
