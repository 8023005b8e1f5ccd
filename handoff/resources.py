"""Named amounts: what a function costs, what a node offers. Exact: integers of 1/10,000, so nothing drifts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

SCALE = 10_000                        # one unit of any resource, in steps
Amounts: TypeAlias = tuple[tuple[str, int], ...]  # (name, steps), sorted by name, zero amounts left out

DEFAULT_COST: Amounts = (("cpu", SCALE),)

_MEMORY_UNITS = {  # to MB, the unit in which memory is counted
    "": 1.0, "b": 1e-6, "kb": 1e-3, "mb": 1.0, "gb": 1e3, "tb": 1e6,
    "kib": 1024 / 1e6, "mib": 1024**2 / 1e6, "gib": 1024**3 / 1e6, "tib": 1024**4 / 1e6,
}
_AMOUNT = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*")


def amounts(costs: Mapping[str, float | int | str]) -> Amounts:
    """Exact amounts from what a user wrote, such as {"cpu": 0.5, "memory": "2 GiB"}; memory in MB.

    Raises ValueError that names the resource when an amount is negative, not a number, or not finite.
    """
    if not isinstance(costs, Mapping):
        raise ValueError(f"a cost is a mapping such as {{'cpu': 1}}, not {costs!r}")
    steps = {}
    for name, value in costs.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"a resource is named by a string, not {name!r}")
        amount = _steps(name, value)
        if amount:
            steps[name] = amount
    return tuple(sorted(steps.items()))


def costs(cost: Mapping[str, float | int | str] | Sequence[Mapping[str, float | int | str]]) -> tuple[Amounts, ...]:
    """Exact amounts of one cost, or of each alternative of a list of them, the preferred first. Raises ValueError as `amounts` does."""
    if isinstance(cost, Mapping):
        return (amounts(cost),)
    if not isinstance(cost, (list, tuple)) or not cost:
        raise ValueError(f"a cost is a mapping such as {{'cpu': 1}}, or a list of such alternatives, not {cost!r}")
    return tuple(map(amounts, cost))


def _steps(name: str, value: float | int | str) -> int:
    if isinstance(value, str):
        match = _AMOUNT.fullmatch(value)
        units = _MEMORY_UNITS if name == "memory" else {"": 1.0}
        if match is None or match[2].lower() not in units:
            raise ValueError(f"{name}={value!r} is not an amount; write a number"
                             + (' or a size such as "2 GiB"' if name == "memory" else ""))
        value = float(match[1]) * units[match[2].lower()]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}={value!r} is not an amount; write a number")
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r} is not a finite amount")
    if value < 0:
        raise ValueError(f"{name}={value!r} is negative; an amount is zero or more")
    return round(value * SCALE)


def shown(steps: int) -> str:
    """An amount as a person writes it: 10000 -> "1", 5000 -> "0.5"."""
    return f"{steps / SCALE:.4f}".rstrip("0").rstrip(".")


def describe(what: Amounts) -> str:
    """Amounts as a person writes them: "cpu=2, memory=500"; "nothing" when there are none."""
    return ", ".join(f"{name}={shown(steps)}" for name, steps in what) or "nothing"


def plain(what: Amounts) -> dict[str, float]:
    """Amounts as plain numbers, for users: {"cpu": 2.0}."""
    return {name: steps / SCALE for name, steps in what}
