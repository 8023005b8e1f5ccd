"""What was, for people who ask later: runs that are over and forgotten, and which nodes were there when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from handoff.columns import Ints
from handoff.messages import RunFailed
from handoff.scheduler.nodes import Node
from handoff.settings import MIB

RUNS_MAX = 1000      # that are over and forgotten, but still listed; and detached ones that failed
FAILED_BYTES_MAX = 64 * MIB   # what is kept of the latter: names and outputs of a million tasks are some ten megabytes
STAYS_MAX = 10_000   # of nodes that are gone; of more the first are forgotten


@dataclass(slots=True)
class Stay:
    """A node was there from its joining to its loss, both in seconds of the coordinator's clock."""

    name: str
    has: Mapping[str, int]   # in steps, as amounts are counted
    begin: float
    end: float = inf   # it is there


class Past:
    """Grows with the runs that are remembered, not with the time that passes."""

    def __init__(self) -> None:
        self.runs: dict[int, dict[str, object]] = {}   # one line each
        self.failed: dict[int, tuple[RunFailed, dict[str, Any]]] = {}   # detached ones that nobody was told of: for who attaches later
        self._failed_bytes = 0                         # what these take, about
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

    def forget_failure(self, run: int) -> None:
        """Somebody has heard of it, or its place is needed."""
        kept = self.failed.pop(run, None)
        if kept is not None:
            self._failed_bytes -= _nbytes(*kept)

    def came(self, node: Node, now: float) -> None:
        """It joined."""
        self._here[node.peer] = Stay(node.name, dict(node.capacity), now)

    def went(self, peer: int, now: float, runs_since: Iterable[float]) -> None:
        """It is lost, or was drained. What no run has seen that still can be asked for (they began then) is forgotten."""
        stay = self._here.pop(peer)
        first = min(runs_since, default=inf)
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
