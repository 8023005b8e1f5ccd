"""Splits a stream of equal tasks over nodes so that their backlogs end about equal: water poured into vessels."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush


def share_out(count: int, levels: Sequence[float], units: Sequence[float], rooms: Sequence[int]) -> list[int]:
    """Split `count` pieces over vessels so that their levels end about equal; a piece raises a level by its unit, up to its room."""
    given = [0] * len(levels)
    if len(levels) == 1:
        return [min(count, rooms[0])]
    if count >= sum(rooms):
        return list(rooms)
    if count > 8 * len(levels):
        # Pour most of it at once: the highest level at which everything poured still is no more than `count`.
        low, high = min(levels), max(levels) + count * max(units) + 1.0
        for _ in range(24):
            middle = (low + high) / 2
            poured = sum(_poured(middle, level, unit, room) for level, unit, room in zip(levels, units, rooms, strict=True))
            low, high = (middle, high) if poured <= count else (low, middle)
        given = [_poured(low, level, unit, room) for level, unit, room in zip(levels, units, rooms, strict=True)]
        count -= sum(given)
    heap = [(levels[index] + given[index] * units[index], index) for index in range(len(levels)) if given[index] < rooms[index]]
    heapify(heap)
    while count > 0 and heap:
        level, index = heappop(heap)
        given[index] += 1
        count -= 1
        if given[index] < rooms[index]:
            heappush(heap, (level + units[index], index))
    return given


def _poured(upto: float, level: float, unit: float, room: int) -> int:
    if upto <= level:
        return 0
    return min(room, int((upto - level) / unit)) if unit > 0.0 else room
