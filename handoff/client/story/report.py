"""What a run was like, in words: the critical path as it happened, what nodes did, and what would have made it shorter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from handoff.client.story.causes import Leg, causes_of, critical_path
from handoff.client.story.changes import Change, changes_of
from handoff.client.story.records import Story
from handoff.client.story.usage import NodeUse, usage_of

LEGS_SHOWN = 20          # of the critical path; the longest, others are summed up


@dataclass(frozen=True)
class RunReport:
    """What `run.report()` gives; print it, or let a notebook show it. Seconds everywhere."""

    name: str
    run_id: int
    makespan: float                    # from the submission to the end of the last function
    functions: int
    bytes_moved: int                   # between nodes
    is_over: bool                      # otherwise it tells of what is done so far
    critical_path: Sequence[Leg]       # what each waited for last, from the submission on; its seconds add up to the makespan
    nodes: Sequence[NodeUse]           # per node; the four kinds of seconds add up to its slots times the makespan
    changes: Sequence[Change]          # up to three that would have saved most, the best first

    def __str__(self) -> str:
        parts = [self._headline(), "", "Critical path as it happened"]
        parts += _aligned(("", "node", "running", "moving", "waiting", "waited for"), _path_rows(self.critical_path))
        parts += ["", "Nodes: seconds of their slots"]
        parts += _aligned(("", "slots", "running", "waiting for inputs", "moving", "idle"), _node_rows(self.nodes))
        parts += ["", "What would have shortened it most"]
        for number, change in enumerate(self.changes, 1):
            parts += [f"  {number}. {change.what}: {_seconds(change.makespan)} s, {_seconds(change.saved)} s less",
                      f"     ({change.how})"]
        if not self.changes:
            parts.append("  nothing that was tried: no function twice as fast, no data in place, no further node")
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        path = _html(("", "node", "running", "moving", "waiting", "waited for"), _path_rows(self.critical_path))
        nodes = _html(("", "slots", "running", "waiting for inputs", "moving", "idle"), _node_rows(self.nodes))
        changes = "".join(
            f"<li><b>{escape(change.what)}</b>: {_seconds(change.makespan)} s, {_seconds(change.saved)} s less"
            f'<br><small style="opacity:.7">{escape(change.how)}</small></li>' for change in self.changes
        )
        return (
            f'<div class="handoff-report"><p>{escape(self._headline())}</p><h4>What would have shortened it most</h4>'
            f"<ol>{changes or '<li>nothing that was tried</li>'}</ol><h4>Critical path as it happened</h4>{path}"
            f"<h4>Nodes: seconds of their slots</h4>{nodes}</div>"
        )

    def _headline(self) -> str:
        so_far = "" if self.is_over else " so far"
        return (f"Run {self.run_id} of {self.name!r}{so_far}: {_seconds(self.makespan)} s, {self.functions:,} functions, "
                f"{_amount(self.bytes_moved)} moved between nodes")


def report_of(story: Story) -> RunReport:
    """Work it all out."""
    causes = causes_of(story)
    path = critical_path(story, causes)
    functions = sum(1 for each in story.tasks.values() if not each.is_hidden)
    return RunReport(story.name, story.run, story.makespan, functions, story.bytes_moved, story.is_over, path,
                     usage_of(story, causes), changes_of(story, causes, path))


Row = tuple[str, ...]


def _path_rows(path: Sequence[Leg]) -> list[Row]:
    longest = sorted(range(len(path)), key=lambda index: -(path[index].running + path[index].moving + path[index].waiting))
    shown = set(longest[:LEGS_SHOWN])
    rows: list[Row] = []
    left: list[Leg] = []
    for index, leg in enumerate(path):
        if index in shown:
            rows += _summed(left)
            left = []
            where = f"{leg.node} #{leg.worker}" if leg.worker else leg.node
            rows.append((leg.name, where, *map(_seconds, (leg.running, leg.moving, leg.waiting)), leg.reason))
        else:
            left.append(leg)
    rows += _summed(left)
    sums = (sum(leg.running for leg in path), sum(leg.moving for leg in path), sum(leg.waiting for leg in path))
    return [*rows, ("all of it", "", *map(_seconds, sums), "")]


def _summed(legs: list[Leg]) -> list[Row]:
    if not legs:
        return []
    sums = (sum(leg.running for leg in legs), sum(leg.moving for leg in legs), sum(leg.waiting for leg in legs))
    return [(f"… {len(legs)} more", "", *map(_seconds, sums), "")]


def _node_rows(nodes: Sequence[NodeUse]) -> list[Row]:
    return [(use.node, f"{use.slots:g}", *map(_seconds, (use.running, use.waiting, use.moving, use.idle))) for use in nodes]


def _aligned(head: Row, rows: Sequence[Row]) -> list[str]:
    """Rows of text; numbers to the right."""
    rows = [tuple(_cut(cell) for cell in row) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numeric = [all(_is_number(row[at]) for row in rows[1:]) for at in range(len(head))]
    return [("  " + "  ".join(cell.rjust(width) if right else cell.ljust(width)
                              for cell, width, right in zip(row, widths, numeric, strict=True))).rstrip() for row in rows]


def _html(head: Row, rows: Sequence[Row]) -> str:
    numeric = [all(_is_number(row[at]) for row in rows) for at in range(len(head))]
    def cells(row: Row, tag: str) -> str:
        return "".join(f'<{tag} style="text-align:{"right" if right else "left"}">{escape(cell)}</{tag}>'
                       for cell, right in zip(row, numeric, strict=True))

    return (f"<table><thead><tr>{cells(head, 'th')}</tr></thead>"
            f"<tbody>{''.join(f'<tr>{cells(row, chr(116) + chr(100))}</tr>' for row in rows)}</tbody></table>")


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit()


def _cut(cell: str) -> str:
    text = "".join(each if each.isprintable() else " " for each in cell)
    return text if len(text) <= 48 else text[:47] + "…"


def _seconds(value: float) -> str:
    """As many digits as say something."""
    return f"{value:.1f}" if value >= 1000 else f"{value:.3f}"


def _amount(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"
