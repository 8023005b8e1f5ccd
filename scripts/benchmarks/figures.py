"""What a benchmark yields, and how much of everything is to be measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

HIGHER_IS_BETTER = frozenset({"tasks/s", "GB/s", "ratio", "messages/s"})   # units; of all others less is better


@dataclass(frozen=True, slots=True)
class Figure:
    """Several measurements of one thing."""

    name: str
    unit: str
    values: list[float]
    goal: str = ""  # as a person would say it: ">= 20,000"

    @property
    def median(self) -> float:
        """What the figure is said to be."""
        return statistics.median(self.values)

    def row(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"name": self.name, "unit": self.unit, "median": self.median, "smallest": min(self.values), "largest": max(self.values),
                "repetitions": len(self.values), "goal": self.goal}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: everything, what fits in a minute, or the least that shows that it works at all."""

    size: str = "full"     # "full" | "quick" | "least"
    repeat: int = 5
    items: int = 0         # of the slow consumer; 0: as the size says

    def of(self, full: T, quick: T, least: T) -> T:
        """The one for this size."""
        return {"full": full, "quick": quick, "least": least}[self.size]

    def times(self, most: int) -> range:
        """The repetitions of something that takes long: no more than so many."""
        return range(min(self.repeat, most))
