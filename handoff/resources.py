"""Named amounts: what a function costs, what a node offers. Exact: integers of 1/10,000, so nothing drifts.

Three names mean more than a count: "memory" and "gpu_memory" are in MB and may be written as sizes; "gpu" and "gpu:KIND" are devices, of
which a part may be asked for; what starts with "cluster:" is counted for the whole cluster, by its coordinator, and by no node.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import index
from typing import Any, TypeAlias

from handoff.quoting import cut, quoted

SCALE = 10_000                        # one unit of any resource, in steps
STEPS_MAX = 2**53                     # more of anything is a mistake, and would not travel exactly everywhere
DEVICES_MAX = 10_000                  # cores, or GPUs, of one node; more are no machine that there is
DRIFT = "1e-6"                        # of a step: what 0.7 - 0.4 lacks of 0.3 is no part of a step that was left out
SHOWN_MAX = 40                        # digits of what is absurd; more are only counted
Amounts: TypeAlias = tuple[tuple[str, int], ...]  # (name, steps), sorted by name, zero amounts left out

DEFAULT_COST: Amounts = (("cpu", SCALE),)
GPU, GPU_KIND, GPU_MEMORY = "gpu", "gpu:", "gpu_memory"   # any GPU; the beginning of "gpu:a100"; MB on GPUs
CLUSTER = "cluster:"                  # the beginning of the names of what the coordinator counts

_SIZES = {  # in bytes; memory is counted in MB
    "": 10**6, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}
SIZED = ("memory", GPU_MEMORY)         # counted in MB
_AMOUNT = re.compile(r"\s*(-?[0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*")


def amounts(costs: Mapping[str, float | int | str]) -> Amounts:
    """Exact amounts from what a user wrote, such as {"cpu": 0.5, "memory": "2 GiB"}; memory in MB.

    What is less than a step is left out; less than one step in all counts as one.

    Raises ValueError that names the resource when an amount is negative, not a number, not finite, or absurdly large.
    """
    if not isinstance(costs, Mapping):
        raise ValueError(f"a cost is a mapping such as {{'cpu': 1}}, not {quoted(costs)}")
    steps = {}
    for name, value in costs.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"a resource is named by a string, not {quoted(name)}")
        if not name.isprintable():
            raise ValueError(f"{quoted(name)} names no resource; use letters that can be printed")
        if name in (GPU_KIND, CLUSTER):
            raise ValueError(f'{quoted(name)} names no resource; write what comes after the colon, such as "{name}{_EXAMPLES[name]}"')
        amount = _steps(name, value)
        if amount:
            steps[name] = amount
    return tuple(sorted(steps.items()))


_EXAMPLES = {GPU_KIND: "a100", CLUSTER: "license"}


def offered(said: Mapping[str, float | int | str]) -> Amounts:
    """Exact amounts of what there is, in a node or in a whole cluster.

    Raises ValueError as `amounts` does, and for zero, which in an offer can only be a mistake; but a node may well offer none of its GPUs.
    """
    found = amounts(said)
    there = {name for name, _ in found}
    for name, amount in said.items():
        if name not in there and not is_gpu(name):
            raise ValueError(f"{name}={quoted(amount)}: nothing can run on none of it; say how much there is, or leave it out")
    for name, steps in found:
        if steps > _most(name):
            raise ValueError(f"{name}={quoted(said[name])} is absurd; a node has a process for each of its cores and GPUs, and at most "
                             f"{DEVICES_MAX:,} of either")
    return found


def impossible(offer: Amounts) -> str:
    """Why no node has this, in an offer that nobody checked as `offered` does; empty when one could."""
    if len({name for name, _ in offer}) < len(offer):
        return f"something twice: {describe(offer)}"
    for name, steps in offer:
        if not name or not name.isprintable() or not 0 <= steps <= _most(name):
            return f"{quoted(name)}: {steps / SCALE:g}"
    return ""


def _most(name: str) -> int:
    """Steps of it on one node."""
    return DEVICES_MAX * SCALE if name == "cpu" or is_gpu(name) else STEPS_MAX


def costs(cost: Mapping[str, float | int | str] | Sequence[Mapping[str, float | int | str]]) -> tuple[Amounts, ...]:
    """Exact amounts of one cost, or of each alternative of a list of them, the preferred first.

    Raises ValueError as `amounts` does, for GPUs that no function can have (1.5 of them; two sorts at once; one without any of its memory),
    and for alternatives that are equal, or beside which nobody would take another.
    """
    if isinstance(cost, Mapping):
        return (_askable(cost),)
    if not isinstance(cost, (list, tuple)) or not cost:
        raise ValueError(f"a cost is a mapping such as {{'cpu': 1}}, or a list of such alternatives, not {quoted(cost)}")
    found = tuple(_askable(each) for each in cost)
    for place, each in enumerate(found):
        if each in found[:place]:
            raise ValueError(f"two of its alternatives are equal ({describe(each)}); leave one out")
        if not each and len(found) > 1:
            raise ValueError(f"alternative {place + 1} of {len(found)}, {quoted(cost[place])}, takes nothing, which there is "
                             "always room for; "
                             "say what it takes, or leave out the others")
    return found


def _askable(said: Mapping[str, float | int | str]) -> Amounts:
    cost = amounts(said)
    if wrong := contradiction(cost):
        raise ValueError(wrong)
    if any(is_gpu(name) for name, _ in cost) and GPU_MEMORY in said and GPU_MEMORY not in dict(cost):
        raise ValueError(f"{GPU_MEMORY}={quoted(said[GPU_MEMORY])} beside {describe(cost)}: what runs on a GPU takes some of its memory; "
                         f"say how much, or leave it out")
    return cost


@lru_cache(1024)
def contradiction(cost: Amounts) -> str:
    """Why no node can grant this, whatever it has: what a function asks for, or a client that is none of ours; empty when one could."""
    sorts = [name for name, _ in cost if is_gpu(name)]
    if len({name for name, _ in cost}) < len(cost):
        return f"it names something twice: {describe(cost)}"
    if len(sorts) > 1:
        return f"it asks for {' and '.join(sorts)}; a function gets GPUs of one sort, so name one of them"
    for name, steps in cost:
        if steps <= 0:
            return f"{name}={steps / SCALE:g} is nothing that can be taken"
        if is_gpu(name) and steps > SCALE and steps % SCALE:
            return f"{name}={shown(steps)}: a part of a GPU never straddles two; ask for less than one, or for whole ones"
    return ""


def is_gpu(name: str) -> bool:
    """Whether the name means devices: any GPU, or those of one kind."""
    return name == GPU or name.startswith(GPU_KIND)


def split(cost: Amounts) -> tuple[Amounts, Amounts]:
    """What of a cost a node has to have, and what the coordinator counts for the whole cluster (names without "cluster:")."""
    if not any(name.startswith(CLUSTER) for name, _ in cost):
        return cost, ()
    node = tuple((name, steps) for name, steps in cost if not name.startswith(CLUSTER))
    return node, tuple((name.removeprefix(CLUSTER), steps) for name, steps in cost if name.startswith(CLUSTER))


def covers(cost: Amounts, other: Amounts) -> bool:
    """Whether what it takes would do for the other as well: that one waits for its turn then, not for room of its own size."""
    has = dict(cost)
    return all(has.get(name, 0) >= amount for name, amount in other)


def _steps(name: str, value: float | int | str) -> int:
    from decimal import ROUND_FLOOR, Decimal  # here, since most programs that import Handoff ask for whole cores

    said = value
    if not isinstance(value, (str, int, float)):
        value = _as_number(value)
    if isinstance(value, str):
        match = _AMOUNT.fullmatch(value)
        units = _SIZES if name in SIZED else {"": 1}
        if match is None or match[2].lower() not in units:
            raise ValueError(f"{name}={quoted(said)} is not an amount; write a "
                             "number" + (' or a size such as "2 GiB"' if name in SIZED else ""))
        number = Decimal(match[1]) * units[match[2].lower()]
        if name in SIZED:
            number /= 10**6
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}={quoted(said)} is not an amount; write a number")
    elif isinstance(value, int):
        number = Decimal(int(value))
    elif not math.isfinite(value):
        raise ValueError(f"{name}={quoted(said)} is not a finite amount")
    else:
        number = Decimal(float.__repr__(value))        # what a person sees: 0.1 is a tenth
    if number < 0:
        raise ValueError(f"{name}={quoted(said)} is negative; an amount is zero or more")
    if number * SCALE > STEPS_MAX:
        length = len(said) if isinstance(said, str) else len(str(number))
        what = f"{name}={quoted(said)}" if length <= SHOWN_MAX else f"an amount of {number.adjusted() + 1} digits of {name}"
        raise ValueError(f"{what} is absurd; at most {STEPS_MAX // SCALE:,} of anything can be counted")
    if not number:
        return 0
    # Down, so that seven sevenths fit into one, and ten of 10 MiB into 100 MiB; who asks for a trace of a GPU is not left without one.
    return max(1, int((number * SCALE + Decimal(DRIFT)).to_integral_value(ROUND_FLOOR)))


def _as_number(value: Any) -> Any:
    """Numbers of other libraries as ours: of numpy, or a Decimal; whatever is none as it is."""
    from decimal import Decimal
    from numbers import Real

    try:
        return index(value)
    except TypeError:
        if not isinstance(value, (Real, Decimal)):
            return value
    try:
        return float(value)
    except OverflowError:       # a Fraction beyond all floats
        return math.floor(value)
    except ValueError:          # a Decimal that signals
        return math.nan


def shown(steps: int) -> str:
    """An amount as a person writes it: 10000 -> "1", 5000 -> "0.5"."""
    whole, part = divmod(steps, SCALE)
    return f"{whole}.{part:04d}".rstrip("0") if part else str(whole)


def measured(name: str, steps: int) -> str:
    """The same of this resource, with its unit if it has one: "400 MB"."""
    return f"{shown(steps)} MB" if name in SIZED else shown(steps)


def describe(what: Amounts) -> str:
    """Amounts as a person writes them: "cpu=2, memory=500"; "nothing" when there are none."""
    return ", ".join(f"{cut(name)}={shown(steps)}" for name, steps in what) or "nothing"


def plain(what: Amounts) -> dict[str, float]:
    """Amounts as plain numbers, for users: {"cpu": 2.0}."""
    return {name: steps / SCALE for name, steps in what}
