"""What a benchmark yields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """Several measurements of one thing."""

    name: str
    unit: str
    values: list[float]
    goal: str = ""  # as a person would say it: ">= 20,000"
