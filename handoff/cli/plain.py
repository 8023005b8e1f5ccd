"""What JSON has a word for stays as it is, all else is written as Python shows it; and each id has a word of its own."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from math import isfinite
from typing import Any

from handoff.quoting import shown

DEPTH_MAX = 100          # containers within each other; what lies deeper is shown by Python, and a writer of JSON has no trouble


def plain(value: Any, within: tuple[int, ...] = ()) -> Any:
    """The value as JSON can hold it: None, bool, numbers, strings, lists and tuples, dicts. What holds itself, is no number (nan, inf) or
    is of another type becomes a string."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else shown(float(value))
    if isinstance(value, int):
        return value if value.bit_length() < 10_000 else shown(value)   # Python refuses to write longer ones in decimals
    if not isinstance(value, (dict, list, tuple)) or id(value) in within or len(within) >= DEPTH_MAX:
        return shown(value)
    within = (*within, id(value))
    if isinstance(value, dict):
        names = names_of(value)
        return {names[key]: plain(each, within) for key, each in value.items()}
    return [plain(each, within) for each in value]


def names_of(ids: Iterable[Hashable]) -> dict[Hashable, str]:
    """A word for each: strings are their own, others are written as Python shows them, such as 7 or ('x', 1). Where that is taken, the
    type stands before it: beside "7", 7 is "int 7"."""
    ids = list(ids)
    names: dict[Hashable, str] = {each: str(each) for each in ids if type(each) is str}
    taken = set(names.values())
    for each in ids:
        if each not in names:
            word = text = shown(each, str)
            if word in taken:
                word = text = f"{type(each).__name__} {text}"
            count = 1
            while word in taken:
                count += 1
                word = f"{text} ({count})"
            names[each] = word
            taken.add(word)
    return {each: names[each] for each in ids}
