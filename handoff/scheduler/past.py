"""What was, for people who ask later: runs that are over, what became of those that failed, and which nodes were there when."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from handoff.columns import Blobs, Ints
from handoff.ids import PeerId
from handoff.messages import RunFailed
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import Run
from handoff.settings import MIB

RUNS_MAX = 1000      # that are over and forgotten, but still listed; and detached ones that failed
FAILED_BYTES_MAX = 64 * MIB   # what is kept of the latter: names and outputs of a million tasks are some ten megabytes
ENDED_BYTES_MAX = 128 * MIB   # what is kept of runs that failed or were cancelled, for reports: of a million tasks some seventy megabytes
TASK_BYTES = 72      # of that, for each task: its places in the columns of a run
STAYS_MAX = 10_000   # of nodes that are gone; of more the first are forgotten


_NONE = array("I")
_NO_LITERALS = Blobs(array("I"), b"")


@dataclass(slots=True)
class Stay:
    """A node was there from its joining to its loss, both in seconds of the coordinator's clock."""

    name: str
    has: Mapping[str, int]   # in steps, as amounts are counted
    begin: float
    end: float = inf   # it is there


@dataclass(slots=True)
class Ended:
    """A run that failed or was cancelled, as it was then."""

    run: Run
    failed: RunFailed
    running: Sequence[tuple[int, str, float]]   # task, node, and since when
    nbytes: int        # what it takes, about
    client: PeerId | None = None   # when that leaves, nobody asks any more; None: whoever attaches may


class Past:
    """Grows with the runs that are remembered, not with the time that passes."""

    def __init__(self) -> None:
        self.runs: dict[int, dict[str, object]] = {}   # one line each
        self.failed: dict[int, tuple[RunFailed, dict[str, Any]]] = {}   # detached ones that nobody was told of: for who attaches later
        self._failed_bytes = 0                         # what these take, about
        self.ended: dict[int, Ended] = {}              # those that failed, until their clients let go of them, or too much is kept
        self._ended_bytes = 0
        self._here: dict[int, Stay] = {}               # by peer
        self._over: list[Stay] = []                    # in the order of their ends

    def keep(self, run: int, line: dict[str, object]) -> None:
        """A run is over and forgotten; the one that was kept for longest makes room."""
        self.runs[run] = line
        if len(self.runs) > RUNS_MAX:
            del self.runs[next(iter(self.runs))]

    def keep_failure(self, failed: RunFailed, attached: dict[str, Any]) -> None:
        """A detached run failed: with what a client is told that attaches, until one has heard of it, or too much is kept."""
        self.failed[failed.run] = (failed, attached)
        self._failed_bytes += _nbytes(failed, attached)
        while len(self.failed) > RUNS_MAX or (self._failed_bytes > FAILED_BYTES_MAX and len(self.failed) > 1):
            self.forget_failure(next(iter(self.failed)))

    def forget_failure(self, run: int) -> bool:
        """Somebody has heard of it, or its place is needed. Whether there was anything to forget."""
        kept = self.failed.pop(run, None)
        if kept is not None:
            self._failed_bytes -= _nbytes(*kept)
        return kept is not None

    def keep_ended(self, now: float, run: Run, failed: RunFailed, running: Sequence[tuple[int, str, float]]) -> None:
        """It fails, or is cancelled: what a report needs of it stays, before all that was planned of it is taken back."""
        kept, program = copy(run), run.program
        # What takes room, and only a run that goes on needs, is not kept; what its end changes is kept as it is now.
        kept.program = replace(program, codes=(), literals=_NO_LITERALS)
        kept.literals, kept.literal_starts, kept.shapes, kept.group_shapes, kept.ids = _NO_LITERALS, _NONE, [], [], b""
        kept.consumers = kept.consumer_starts = kept.missing = kept.unplanned = kept.needed = _NONE
        kept.copies, kept.trees, kept.near = {}, {}, {}
        if run.following is not None:      # of its plan: what was said of places, and why it departed from that
            run.following.rest()
        kept.state, kept.choices, kept.vain = run.state[:], dict(run.choices), list(run.vain)
        kept.seconds_total = now - run.submitted
        said = replace(failed, traceback="", body=b"")
        nbytes = TASK_BYTES * run.total * (2 if run.following else 1) + 4 * len(program.inputs) + len(said.text) + 64 * len(run.vain)
        self.ended[run.run] = Ended(kept, said, running, nbytes, None if run.detach else run.client)
        self._ended_bytes += nbytes
        while len(self.ended) > RUNS_MAX or (self._ended_bytes > ENDED_BYTES_MAX and len(self.ended) > 1):
            self.forget_ended(next(iter(self.ended)))

    def forget_ended(self, run: int) -> None:
        """Nobody asks for it any more, or its place is needed."""
        kept = self.ended.pop(run, None)
        if kept is not None:
            self._ended_bytes -= kept.nbytes

    def client_left(self, client: PeerId) -> None:
        """It asks for nothing any more."""
        for run in [run for run, kept in self.ended.items() if kept.client == client]:
            self.forget_ended(run)

    def came(self, node: Node, now: float) -> None:
        """It joined."""
        self._here[node.peer] = Stay(node.name, dict(node.capacity), now)

    def went(self, peer: int, now: float, runs_since: Iterable[float]) -> None:
        """It is lost, or was drained. What no run has seen that still can be asked for (they began then) is forgotten."""
        stay = self._here.pop(peer)
        first = min([*runs_since, *(kept.run.came() for kept in self.ended.values())], default=inf)
        self._over = [each for each in self._over if each.end > first][-STAYS_MAX + 1 :]
        if now > first:
            stay.end = now
            self._over.append(stay)

    def during(self, begin: float, end: float) -> list[Stay]:
        """Who was there then, or for a part of it."""
        return [stay for stay in (*self._over, *self._here.values()) if stay.begin <= end and stay.end > begin]


def _nbytes(failed: RunFailed, attached: dict[str, Any]) -> int:
    outputs: Ints = attached["outputs"]
    return sum(map(len, (failed.text, failed.traceback, failed.body, attached["ids"], attached["name"]))) + len(outputs) * outputs.itemsize
