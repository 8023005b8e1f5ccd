"""Where boxes go: layers by the longest path, an order within each layer with few crossings, and places that keep arrows short.

After Sugiyama, Tagawa and Toda (1981): break circles, layer, put a bend wherever an arrow passes a layer, order by barycentres, place.
Knows sizes and numbers only; the same graph gives the same layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ORDER_SWEEPS = 8         # more were seen to gain nothing on workflows of some hundred tasks
PLACE_SWEEPS = 12
BENDS_MAX = 6000         # half a second's work; where there would be more, the longest arrows have none and pass behind boxes


@dataclass(frozen=True, slots=True)
class Layout:
    """Per box its layer and its middle across the layers; per arrow the (layer, place) of its bends, from source to target."""

    layer: list[int]
    place: list[float]
    bends: list[list[tuple[int, float]]]
    layers: int
    breadth: float       # all places lie between 0 and this


def layout(count: int, arrows: Sequence[tuple[int, int]], gap: float = 1.0) -> Layout:
    """Places for `count` boxes, each as broad as `gap`, with arrows between them by position; a bend takes half as much room.

    Circles are allowed: an arrow that closes one goes backwards. Of very many arrows over several layers the longest go straight.
    """
    backwards = _closing(count, arrows)
    forward = [(target, source) if index in backwards else (source, target) for index, (source, target) in enumerate(arrows)]
    layer = layers_of(count, forward)
    depth = max(layer, default=-1) + 1
    at = list(layer)                     # per point (boxes first, then bends): its layer
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    chains: list[list[int]] = []
    straight = _straight([layer[target] - layer[source] - 1 for source, target in forward])
    for index, (source, target) in enumerate(forward):
        chain: list[int] = []
        last = source
        if index in straight:
            chains.append(chain)
            continue
        for between in range(layer[source] + 1, layer[target]):
            chain.append(len(at))
            at.append(between)
            before.append([last])
            after[last].append(chain[-1])
            after.append([])
            last = chain[-1]
        if source != target:
            after[last].append(target)
            before[target].append(last)
        chains.append(chain)
    rows: list[list[int]] = [[] for _ in range(depth)]
    for point in _first_order(at, after, before):
        rows[at[point]].append(point)
    rows = _ordered(rows, before, after)
    room = [gap if point < count else gap / 2 for point in range(len(at))]
    place = _placed(rows, before, after, room)
    low = min((place[point] - room[point] / 2 for point in range(len(at))), default=0.0)
    place = [each - low for each in place]
    bends = [[(at[point], place[point]) for point in chain] for chain in chains]
    for index in backwards:
        bends[index].reverse()
    return Layout(layer, place[:count], bends, depth, max((each + half / 2 for each, half in zip(place, room, strict=True)), default=0.0))


def _straight(bends: Sequence[int]) -> set[int]:
    """The arrows that get no bends: the longest ones, where all would have too many together."""
    left, found = sum(bends), set()
    for index in sorted(range(len(bends)), key=bends.__getitem__, reverse=True) if left > BENDS_MAX else ():
        if left <= BENDS_MAX:
            break
        left -= bends[index]
        found.add(index)
    return found


def layers_of(count: int, arrows: Sequence[tuple[int, int]]) -> list[int]:
    """Per box, the length of the longest way to it; boxes that nothing leads to stand right before the first that takes their result.

    The arrows must not close a circle.
    """
    after: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for source, target in arrows:
        if source != target:
            after[source].append(target)
            missing[target] += 1
    fed = [bool(each) for each in missing]
    layer = [0] * count
    ready = [box for box in range(count) if not missing[box]]
    for box in ready:                    # grows while it is walked over
        for target in after[box]:
            layer[target] = max(layer[target], layer[box] + 1)
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    for box in range(count):
        if not fed[box] and after[box]:
            layer[box] = min(layer[target] for target in after[box]) - 1
    return layer


def _closing(count: int, arrows: Sequence[tuple[int, int]]) -> set[int]:
    """The arrows that close circles, as a walk in depth finds them."""
    outgoing: list[list[int]] = [[] for _ in range(count)]
    for index, (source, target) in enumerate(arrows):
        if source != target:
            outgoing[source].append(index)
    state, found = bytearray(count), set()     # 0: not seen, 1: on the way, 2: left
    for start in range(count):
        if state[start]:
            continue
        state[start] = 1
        way = [(start, iter(outgoing[start]))]
        while way:
            box, rest = way[-1]
            for index in rest:
                target = arrows[index][1]
                if state[target] == 1:
                    found.add(index)
                elif not state[target]:
                    state[target] = 1
                    way.append((target, iter(outgoing[target])))
                    break
            else:
                state[box] = 2
                way.pop()
    return found


def _first_order(at: list[int], after: list[list[int]], before: list[list[int]]) -> list[int]:
    """All points in the order of a walk in depth from the first layer, which keeps what belongs together side by side."""
    seen, order = bytearray(len(at)), []
    for start in sorted(range(len(at)), key=at.__getitem__):
        if before[start] or seen[start]:
            continue
        stack = [start]
        while stack:
            point = stack.pop()
            if not seen[point]:
                seen[point] = 1
                order.append(point)
                stack.extend(reversed(after[point]))
    return order


def _ordered(rows: list[list[int]], before: list[list[int]], after: list[list[int]]) -> list[list[int]]:
    """Sweeps to and fro: each row in the order of its neighbours' mean places. The order with the fewest crossings is kept."""
    best, fewest = [row[:] for row in rows], crossings(rows, after)
    for sweep in range(ORDER_SWEEPS):
        if not fewest:
            break
        position = {point: index for row in rows for index, point in enumerate(row)}
        forth = sweep % 2 == 0
        neighbours = before if forth else after
        for row in rows[1:] if forth else reversed(rows[:-1]):
            mean = {point: (sum(position[each] for each in neighbours[point]) / len(neighbours[point]) if neighbours[point]
                            else position[point]) for point in row}
            row.sort(key=mean.__getitem__)
            position.update((point, index) for index, point in enumerate(row))
        now = crossings(rows, after)
        if now < fewest:
            best, fewest = [row[:] for row in rows], now
    return best


def crossings(rows: list[list[int]], after: list[list[int]]) -> int:
    """How often arrows between neighbouring rows cross: inversions, counted with a tree of sums (Barth, Mutzel and Jünger, 2004)."""
    total = 0
    for row, following in pairwise(rows):
        position = {point: index for index, point in enumerate(following)}
        tree, seen = [0] * (len(following) + 1), 0
        for point in row:
            targets = [position[each] for each in after[point] if each in position]
            for target in targets:
                index, smaller = target + 1, 0
                while index:
                    smaller += tree[index]
                    index &= index - 1
                total += seen - smaller
            for target in targets:
                seen += 1
                index = target + 1
                while index < len(tree):
                    tree[index] += 1
                    index += index & -index
    return total


def _placed(rows: list[list[int]], before: list[list[int]], after: list[list[int]], room: list[float]) -> list[float]:
    """Each point as near as the others of its row allow to the mean of its neighbours; sweeps to and fro."""
    place = [0.0] * len(room)
    for row in rows:
        edge = 0.0
        for point in row:
            place[point] = edge + room[point] / 2
            edge += room[point]
        for point in row:
            place[point] -= edge / 2     # rows begin centred
    for sweep in range(PLACE_SWEEPS):
        forth = sweep % 2 == 0
        for row in rows if forth else reversed(rows):
            near = [(before if forth else after)[point] or (after if forth else before)[point] for point in row]
            wanted = [sum(place[each] for each in others) / len(others) if others else place[point]
                      for point, others in zip(row, near, strict=True)]
            for point, found in zip(row, _spread(wanted, [room[point] for point in row]), strict=True):
                place[point] = found
    return place


def _spread(wanted: list[float], room: list[float]) -> list[float]:
    """The places closest to those wanted, in the least squares, that keep the order and the room between neighbours.

    Pools of neighbours that would overlap are moved as one (isotonic regression).
    """
    offsets, edge = [], 0.0
    for index, each in enumerate(room):
        edge += (room[index - 1] + each) / 2 if index else 0.0
        offsets.append(edge)
    pools: list[tuple[float, int]] = []  # (sum of what is wanted, less the offsets; how many)
    for want, offset in zip(wanted, offsets, strict=True):
        total, members = want - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / members:
            more, others = pools.pop()
            total, members = total + more, members + others
        pools.append((total, members))
    shifts = [total / members for total, members in pools for _ in range(members)]
    return [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]
