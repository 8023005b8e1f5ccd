"""What a run gives back."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handoff.graph.references import id_of


@dataclass(frozen=True, slots=True)
class Correction:
    """A function of a run that follows a plan, and that runs elsewhere."""

    function: Hashable
    planned: str                       # the node of the plan
    node: str                          # where it is, or ran
    why: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """The results of a run by function id, and the name of the node where each function ran.

    Values over a mebibyte come from their node when they are first looked at, and stay here from then on.
    """

    dag_id: Hashable
    run_id: int
    results: Mapping[Hashable, Any]
    allocations: Mapping[Hashable, str]
    bytes_moved: int = 0               # between nodes, for this run
    corrections: Sequence[Correction] = ()   # functions that ran elsewhere than the plan said that it followed

    def __getitem__(self, function: Hashable) -> Any:
        return self.results[function]


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """How one function ran in the end."""

    function: Hashable
    node: str
    attempt: int                       # 1 when it went well at once
    started: float                     # seconds since the run was submitted
    seconds: float
    nbytes: int                        # size of its result
    worker: int = 0                    # which of its node's workers ran it, from 1; 0: none, a value that was uploaded
    waited: float = 0.0                # seconds from when its inputs were at the node to its start
    planned: float = 0.0               # seconds after submission: when it was last given to a node


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is, counted in functions. `state` is "waiting" (nothing of it runs), "running", "done", "failed" or "cancelled"."""

    state: str
    done: int
    total: int
    running: int                       # planned on nodes
    waits_for: str = ""                # why nothing moves, when nothing does


class Allocations(Mapping[Hashable, str]):
    """Node names by function id, made from columns when somebody looks."""

    __slots__ = ("_names", "_nodes", "_number")

    def __init__(self, number: Mapping[Hashable, int], nodes: Sequence[int], names: Mapping[int, str]) -> None:
        self._number, self._nodes, self._names = number, nodes, names

    def __getitem__(self, function: Hashable) -> str:
        return self._names[self._nodes[self._number[id_of(function)]]]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._number)

    def __len__(self) -> int:
        return len(self._number)

    def __repr__(self) -> str:
        return repr(dict(self))
