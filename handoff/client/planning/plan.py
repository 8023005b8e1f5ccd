"""A plan: where and when each function would run, worked out without running anything; to be read, questioned, kept and followed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from os import PathLike
from typing import TYPE_CHECKING, Any

from handoff.client.planning.basis import Basis, basis_of
from handoff.client.planning.foretold import Foretold, foretell, story_of, unknown_of
from handoff.client.result import TaskRecord
from handoff.client.story.causes import Leg, causes_of, critical_path
from handoff.client.story.records import Story
from handoff.client.story.tables import brief
from handoff.errors import ConfigError, HandoffError
from handoff.graph.references import ById
from handoff.quoting import quoted

if TYPE_CHECKING:
    from handoff.client.lower import Lowered
    from handoff.client.planning.comparison import Comparison
    from handoff.scheduler.allocator import Allocator


@dataclass(frozen=True, eq=False)
class Plan:
    """What `client.plan(dag)` gives; print it, or let a notebook show it. Nothing ran for it, and no change of it touches the cluster.

    It is worked out by the scheduler itself, over nodes on paper that take what the cluster has learned of each function, or what
    `expected_seconds` and `expected_bytes` say. Functions in `unknown` were never seen: an assumed duration stands for theirs.
    """

    basis: Basis
    foretold: Foretold

    # ── what it says ─────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """The id of its graph."""
        return self.basis.name

    @cached_property
    def allocations(self) -> Mapping[Hashable, str]:
        """The node of each function, by its id or reference."""
        return ById({id: node for id, node in zip(self.basis.ids, self.foretold.nodes, strict=True) if id is not None})

    @property
    def makespan(self) -> float:
        """Seconds from the submission to the end of the last function."""
        return self.foretold.makespan

    @property
    def lower_bound(self) -> float:
        """Seconds that no schedule on these nodes can beat; transfers left out, so it may be out of reach."""
        return self.foretold.lower_bound

    @property
    def bytes_moved(self) -> int:
        """From node to node."""
        return self.foretold.bytes_moved

    @property
    def peak_memory(self) -> Mapping[str, float]:
        """MB per node, at the worst moment: what running functions claim, and results that are kept."""
        return self.foretold.peak_memory

    @property
    def allocator(self) -> str:
        """By whose rules it places."""
        return self.basis.allocator

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know: what it leaves out, and which nodes have too little memory for it."""
        from handoff.client.planning.shown import beyond_memory

        return (*self.basis.notes, *beyond_memory(self))

    @property
    def nodes(self) -> Mapping[str, Mapping[str, float]]:
        """What each node has."""
        from handoff.resources import plain

        return {node.name: plain(node.capacity) for node in self.basis.cluster.nodes}

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """The names of the functions that were never seen and of which nothing is said: their durations are guesses."""
        return unknown_of(self.basis)

    @cached_property
    def timeline(self) -> Sequence[TaskRecord]:
        """How each function would run, in the order of their starts; the same records as those of `run.timeline()`."""
        told, basis = self.foretold, self.basis
        records = [
            TaskRecord(basis.name_of(task), told.nodes[task], 1, told.started[task], told.seconds[task], told.nbytes[task],
                       told.workers[task], told.waited[task], told.planned[task])
            for task in range(len(told.nodes))
        ]
        return sorted(records, key=lambda record: record.started)

    @cached_property
    def critical_path(self) -> Sequence[Leg]:
        """What decides the makespan: what each waits for last, from the submission on; running, moving and waiting add up to it."""
        story = self.story
        return critical_path(story, causes_of(story))

    @cached_property
    def story(self) -> Story:
        """The same as a story, as it is told of runs."""
        return story_of(self.basis, self.foretold)

    def __str__(self) -> str:
        from handoff.client.planning.shown import text_of

        return text_of(self)

    def __repr__(self) -> str:
        count, nodes = len(self.allocations), len(self.basis.cluster.nodes)
        on = f"{nodes} node{'s' * (nodes != 1)}"
        return f"<Plan of {quoted(self.name)}: {count} function{'s' * (count != 1)} on {on}, {brief(self.makespan)} s>"

    def _repr_html_(self) -> str:
        from handoff.client.planning.shown import html_of

        return html_of(self)

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart, each node around what it runs, the critical path marked; see `DAG.to_mermaid`."""
        from handoff.client.planning.shown import mermaid_of

        return mermaid_of(self)

    # ── what if ──────────────────────────────────────────────────────────────

    def with_nodes(self, what: int | Mapping[str, float | int | str], count: int = 1) -> Plan:
        """The plan with more nodes: `with_nodes(2)`, copies of the usual one, or `with_nodes({"cpu": 8, "memory": "32 GB"}, count=2)`.

        Raises ConfigError for a number or a cost that makes no sense.
        """
        return plan_of(self.basis.with_nodes(what, count))

    def without(self, *nodes: str) -> Plan:
        """The plan without these nodes. Raises ConfigError for one that is not there, AllocationError when what is left can't run it,
        NodeTimeout when a function is pinned to one of them."""
        return plan_of(self.basis.without(nodes))

    def sweep(self, *, cpus: Iterable[float] | None = None, nodes: Iterable[int] | None = None, **others: Any) -> Sweep:
        """The plan with so many cores in each node, or so many nodes, one after the other: `print(plan.sweep(cpus=[8, 16, 32]))`.

        Raises ConfigError for anything else to change, and for numbers that make no sense; AllocationError or NodeTimeout, naming the step,
        where one leaves a function without a node that could run it.
        """
        known = "it takes cpus=[8, 16, 32], the cores of each node, or nodes=[1, 2, 4], their number"
        if others:
            raise ConfigError(f"sweep knows no {quoted(next(iter(others)))}; {known}")
        if (cpus is None) == (nodes is None):
            raise ConfigError(f"sweep changes one thing step by step; {known}")
        what, said = ("cpus", cpus) if cpus is not None else ("nodes", nodes)
        values = list(said) if isinstance(said, Iterable) and not isinstance(said, str) else []
        if not values:
            raise ConfigError(f"sweep: {what}={quoted(said)} is no list of numbers to try; {known}")
        strange = [value for value in values if isinstance(value, bool) or not isinstance(value, Real)]
        if strange:
            raise ConfigError(f"sweep: {quoted(strange[0])} among {what} is not a number; {known}")
        change: Callable[[Any], Basis] = self.basis.with_cpus if what == "cpus" else self.basis.with_count
        plans = {}
        for value in values:
            basis = change(value)
            try:
                plans[value] = plan_of(basis)
            except HandoffError as error:           # of several steps one is too small: which, nobody could guess
                error.args = (f"sweep: with {what}={value}, {error}",)
                raise
        return Sweep(what, plans)

    # ── beside what happened, and for later ──────────────────────────────────

    def compare(self, run: Any) -> Comparison:
        """What was foretold beside what happened: a `Run`, its `RunResult`, or the records of `run.timeline()`.

        Raises ConfigError for a run of another graph; in asyncio call it with `asyncio.to_thread`.
        """
        from handoff.client.planning.comparison import compare

        return compare(self, run)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as JSON. Raises ConfigError for function ids that are neither strings, numbers nor tuples of them, FileError where the
        file can't be written."""
        from handoff.client.planning.kept import save

        save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Plan:
        """A plan that was saved. Raises FileError for a file that can't be read, ConfigError for one that is no plan."""
        from handoff.client.planning.kept import load

        return load(path)


@dataclass(frozen=True)
class Sweep:
    """Plans with one thing changed step by step; prints as a table. `plans` has them by what was changed."""

    what: str
    plans: Mapping[float, Plan]

    @property
    def makespans(self) -> Mapping[float, float]:
        """Seconds, by what was changed."""
        return {value: plan.makespan for value, plan in self.plans.items()}

    def __str__(self) -> str:
        from handoff.client.planning.shown import text_of_sweep

        return text_of_sweep(self)

    def _repr_html_(self) -> str:
        from handoff.client.planning.shown import html_of_sweep

        return html_of_sweep(self)


def plan_of(basis: Basis) -> Plan:
    """Work it out."""
    return Plan(basis, foretell(basis))


def make_plan(lowered: Lowered, name: str, outlook: Mapping[str, Any], allocator: str | Callable[[], Allocator] | None,
              max_concurrency: int | None) -> Plan:
    """The plan of a lowered graph, by what the coordinator says."""
    return plan_of(basis_of(lowered, name, outlook, allocator, int(max_concurrency or 0)))
