"""A plan beside what happened: where the two agree, and what differs most."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

from handoff.client.result import TaskRecord
from handoff.client.story.tables import Row, aligned, amount, html_table, seconds
from handoff.errors import ConfigError
from handoff.graph.function import labels_of
from handoff.quoting import quoted

if TYPE_CHECKING:
    from handoff.client.planning.plan import Plan

SHOWN_MAX = 8            # of the largest differences, and of the functions that ran elsewhere

_GROUPS = ("function", "calls", "planned each", "took each", "planned in all", "took in all")
_NODES = ("node", "planned busy", "was busy")
_FAR = ("function", "planned on", "ran on", "planned", "took", "planned end", "ended")


@dataclass(frozen=True, slots=True)
class Pair:
    """One function in the plan and in the run. Seconds after the submission."""

    function: Hashable
    name: str                          # of what it calls
    planned: TaskRecord
    happened: TaskRecord

    @property
    def late(self) -> float:
        """How much later than planned it ended; below 0: sooner."""
        return self.happened.started + self.happened.seconds - self.planned.started - self.planned.seconds

    @property
    def is_in_place(self) -> bool:
        """Whether it ran on the node of the plan."""
        return self.planned.node == self.happened.node


@dataclass(frozen=True)
class Comparison:
    """What `plan.compare(run)` gives; print it, or let a notebook show it."""

    name: str
    planned_makespan: float
    makespan: float                    # as it was
    planned_bytes_moved: int
    bytes_moved: int | None            # None: not known, or not all is over
    pairs: Sequence[Pair]              # every function that ran
    functions: int                     # that are planned: more than pairs, as long as the run goes on, or if it came to nothing
    ended: str = ""                    # "failed" or "cancelled", if it was

    @property
    def in_place(self) -> int:
        """How many functions ran on the node of the plan."""
        return sum(pair.is_in_place for pair in self.pairs)

    @property
    def elsewhere(self) -> Mapping[Hashable, tuple[str, str]]:
        """The functions that ran on another node: (planned, happened)."""
        return {pair.function: (pair.planned.node, pair.happened.node) for pair in self.pairs if not pair.is_in_place}

    @property
    def largest(self) -> Sequence[Pair]:
        """The functions whose durations were most wrong, the worst first."""
        return sorted(self.pairs, key=lambda pair: -abs(pair.happened.seconds - pair.planned.seconds))[:SHOWN_MAX]

    def __str__(self) -> str:
        parts = [self._headline(), "", "By function", *aligned(_GROUPS, self._groups()), "", "Seconds of work",
                 *aligned(_NODES, self._nodes())]
        parts += ["", "Durations that were most wrong", *aligned(_FAR, self._rows(self.largest))]
        moved = [pair for pair in self.pairs if not pair.is_in_place]
        if moved:
            parts += ["", "Ran elsewhere", *aligned(_FAR, self._rows(moved[:SHOWN_MAX]))]
            if len(moved) > SHOWN_MAX:
                parts.append(f"  … and {len(moved) - SHOWN_MAX:,} more")
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        from html import escape

        moved = [pair for pair in self.pairs if not pair.is_in_place]
        elsewhere = f"<h4>Ran elsewhere</h4>{html_table(_FAR, self._rows(moved[:SHOWN_MAX]))}" if moved else ""
        return (f'<div class="handoff-comparison"><p>{escape(self._headline())}</p>{html_table(_GROUPS, self._groups())}'
                f"<h4>Seconds of work</h4>{html_table(_NODES, self._nodes())}<h4>Durations that were most wrong</h4>"
                f"{html_table(_FAR, self._rows(self.largest))}{elsewhere}</div>")

    def _headline(self) -> str:
        if len(self.pairs) < self.functions:
            done = f", the last of them after {seconds(self.makespan)} s; {self.in_place:,} ran where planned" if self.pairs else ""
            how = {"failed": "when the run failed", "cancelled": "when the run was cancelled"}.get(self.ended, "so far")
            return (f"Plan of {quoted(self.name)}: {seconds(self.planned_makespan)} s planned; {len(self.pairs):,} of {self.functions:,} "
                    f"function{'s' * (self.functions != 1)} done {how}{done}")
        far = self.makespan / self.planned_makespan - 1 if self.planned_makespan else 0.0
        moved = "" if self.bytes_moved is None else f"; {amount(self.planned_bytes_moved)} planned to move, {amount(self.bytes_moved)} did"
        functions = f"function{'s' * (len(self.pairs) != 1)}"
        return (f"Plan of {quoted(self.name)}: {seconds(self.planned_makespan)} s planned, {seconds(self.makespan)} s happened "
                f"({100 * far:+.0f} %); {self.in_place:,} of {len(self.pairs):,} {functions} ran where planned{moved}")

    def _groups(self) -> list[Row]:
        groups: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            groups.setdefault(pair.name, []).append(pair)
        rows = []
        for name, pairs in groups.items():
            planned, took = [pair.planned.seconds for pair in pairs], [pair.happened.seconds for pair in pairs]
            rows.append((name, str(len(pairs)), *map(seconds, (fmean(planned), fmean(took), sum(planned), sum(took)))))
        return rows

    def _nodes(self) -> list[Row]:
        busy: dict[str, list[float]] = {}
        for pair in self.pairs:
            busy.setdefault(pair.planned.node, [0.0, 0.0])[0] += pair.planned.seconds
            busy.setdefault(pair.happened.node, [0.0, 0.0])[1] += pair.happened.seconds
        return [(node, *map(seconds, both)) for node, both in sorted(busy.items())]

    def _rows(self, pairs: Sequence[Pair]) -> list[Row]:
        rows = []
        for pair in pairs:
            planned, happened = pair.planned, pair.happened
            ends = planned.started + planned.seconds, happened.started + happened.seconds
            rows.append((self._labels[pair.function], planned.node, happened.node,
                         *map(seconds, (planned.seconds, happened.seconds, *ends))))
        return rows

    @cached_property
    def _labels(self) -> Mapping[Hashable, str]:
        ids = [pair.function for pair in self.pairs]
        return dict(zip(ids, labels_of(ids), strict=True))


def compare(plan: Plan, run: Any) -> Comparison:
    """From a Run, a RunResult, or records."""
    records, moved, functions, ended = _records(run)
    planned = {record.function: record for record in plan.timeline}
    names = {basis_id: plan.basis.kind_of(task).name for task, basis_id in enumerate(plan.basis.ids) if basis_id is not None}
    known = {*planned, *plan.basis.hidden.values()}
    missing = [function for function in names if function not in functions] if functions is not None else []
    if missing:
        raise ConfigError(f"the plan of {quoted(plan.name)} can't be compared with a run of another graph: {quoted(missing[0])} "
                          "is not in the run")
    strange = [record.function for record in records if record.function not in known]
    if strange:
        raise ConfigError(f"the plan of {quoted(plan.name)} can't be compared with a run of another graph: {quoted(strange[0])} "
                          "is not in the plan")
    pairs = [Pair(record.function, names[record.function], planned[record.function], record) for record in records
             if record.function in names]
    makespan = max((record.started + record.seconds for record in records), default=0.0)
    return Comparison(plan.name, plan.makespan, makespan, plan.bytes_moved, moved, pairs, len(names), ended)


def _records(run: Any) -> tuple[list[TaskRecord], int | None, Container[Hashable] | None, str]:
    """What ran; how much was moved and which functions there are, where that is known; and how it ended, if not well."""
    from handoff.client.run import Run

    lease = getattr(run, "_lease", None) or getattr(getattr(run, "results", None), "_lease", None)
    if lease is not None:
        run = Run(lease)
        is_over, failure = run.done(), lease.state.failure     # what was moved is told when all is done
        ended = "" if failure is None else "cancelled" if failure.code == "RunCancelled" else "failed"
        return run.timeline(), run.bytes_moved if is_over and not ended else None, lease.state.graph.number, ended
    if isinstance(run, Iterable):
        records = list(run)
        if all(isinstance(record, TaskRecord) for record in records):
            return records, None, None, ""
    raise ConfigError(f"a plan is compared with a Run, a RunResult or the records of run.timeline(), not with {quoted(run)}")
