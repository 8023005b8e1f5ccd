"""How fast nodes turned out to be, by name: a task of one usual second takes 1/speed there. Kept between runs and restarts of a node.

Durations are a function's level times a node's slowness, in logarithms a sum of the two. Each report is compared with the level of its
function (`Function.grade`); what is left over is the node's. Levels follow their function, so nothing that all nodes have in common
(a function that became slower, or is cleverer than its mean says) moves a speed, and the speeds stay around 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, isfinite, log
from typing import Any

from handoff.resources import SCALE

PRIOR = 8.0            # runs at the usual speed that a node is credited with, before its own say more
RECENT = 128.0         # runs after which the last ones weigh more
REPORT_MAX = 8         # one report counts as so many runs at most
FACTOR_MAX = log(10.0) # a report that is further off says that something else is wrong
NODES_MAX = 10_000     # remembered; the one that came longest ago is forgotten first

Row = tuple[Any, ...]


class Speed:
    """Of one node."""

    __slots__ = ("hardware", "is_changed", "runs", "value")

    def __init__(self, hardware: str = "") -> None:
        self.hardware = hardware   # what it offered then: with another machine behind its name, learning starts over
        self.value = 1.0
        self.runs = 0.0            # that were compared
        self.is_changed = False

    def learn(self, away: float, count: int) -> None:
        """`count` runs took exp(`away`) times what they should have taken."""
        weight = min(count, REPORT_MAX)
        self.runs = min(RECENT, self.runs + weight)
        away = min(FACTOR_MAX, max(-FACTOR_MAX, away))
        # The prior pulls by its own weight, else speeds would drift together with all levels.
        self.value *= exp(-(away * weight + log(self.value) * PRIOR * weight / RECENT) / (self.runs + PRIOR))
        self.is_changed = True


class Speeds:
    """Of all nodes there were."""

    def __init__(self) -> None:
        self.known: dict[str, Speed] = {}

    def of(self, name: str, capacity: Mapping[str, int]) -> Speed:
        """That of a node that joins."""
        hardware = _hardware(capacity)
        found = self.known.pop(name, None)
        if found is None or found.hardware != hardware:
            found = Speed(hardware)
        if len(self.known) >= NODES_MAX:
            del self.known[next(iter(self.known))]
        self.known[name] = found
        return found

    def remembered(self) -> list[Row]:
        """Rows (name, hardware, speed, runs) of those that changed since they were last asked for."""
        rows = []
        for name, speed in self.known.items():
            if speed.is_changed:
                speed.is_changed = False
                rows.append((name, speed.hardware, speed.value, speed.runs))
        return rows

    def recall(self, rows: Iterable[Row]) -> None:
        """Begin with what was kept; rows that make no sense are passed over."""
        for row in rows:
            try:
                name, hardware, value, runs = str(row[0]), str(row[1]), float(row[2]), float(row[3])
            except (ValueError, TypeError, IndexError):
                continue
            if 0.001 <= value <= 1000.0 and isfinite(runs) and runs >= 0.0 and len(self.known) < NODES_MAX:
                speed = self.known.setdefault(name, Speed(hardware))
                speed.value, speed.runs = value, min(RECENT, runs)


def _hardware(capacity: Mapping[str, int]) -> str:
    # What a machine says of its memory differs a little from boot to boot.
    return " ".join(f"{name}={amount / SCALE:{'.2g' if 'memory' in name else 'g'}}" for name, amount in sorted(capacity.items()) if name)
