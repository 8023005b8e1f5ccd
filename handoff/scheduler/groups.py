"""Nodes that are alike: whoever looks for room, or for the node with the least to do, asks each group once instead of each node."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from heapq import heappop, heappush, heapreplace
from itertools import islice
from math import log
from typing import TYPE_CHECKING

from handoff.resources import Amounts

if TYPE_CHECKING:
    from handoff.scheduler.nodes import Node

WIDE_LOOKED_AT = 16  # nodes of a group whose cores are compared for a task that takes several
NEAR_LOOKED_AT = 8   # nodes of a group, all with room, whose links are compared
SPEED_STEP = 0.25    # nodes whose speeds differ by less than this factor (as a logarithm) are alike
QUEUES_MAX = 4       # nodes with room, but with short tasks ahead, that are passed over for one that has nothing to do
MEMORY_STEP = 0.1    # the same of their memory: machines of one make differ by some megabytes, and each would be looked at by itself
STAYS_WITHIN = 0.75  # of a step: a node whose learned speed wavers about the edge of a step does not go to and fro


def step_of(speed: float, before: int | None = None) -> int:
    """The step of the scale of speeds that a node is on, which was `before`."""
    at = log(speed) / SPEED_STEP
    return round(at) if before is None or abs(at - before) > STAYS_WITHIN else before


class Group:
    """Open nodes of equal capacity, labels and (about) speed and memory: what one of them can hold when it runs nothing, all can."""

    __slots__ = (
        "_turn", "base", "freed", "heap", "is_apart", "is_listed", "levels", "members", "parts", "parts_of_gpus", "spared", "speed",
        "stale", "wants",
    )

    def __init__(self, members: list[Node], listed: bool = True) -> None:
        """A group that is not `listed` is for one shape alone: its nodes belong to another one."""
        self.members = members
        self.is_listed = listed
        self.is_apart = False                                  # a member has become faster or slower than the others
        self.speed = sum(node.speed for node in members) / len(members)
        self.wants = -1                                        # as of this count of changes, as `Ready.wants`, ...
        self.parts: dict[str, float] = {}                      # ... what it costs to leave a scarce resource unused, ...
        self.parts_of_gpus: dict[str, float] = {}              # ... that of GPUs ...
        self.spared = 0.0                                      # ... and all but these together
        self.freed: list[Node] = []                            # who made room, in order ...
        self._turn = 0                                         # which members `soonest` looked at last
        self.base = 0                                          # ... after so many that are forgotten
        self.heap: list[tuple[float, int, Node]] = []          # (when its first core is free, peer, node)
        self.levels: dict[int, float] = {}                     # per node, the entry of the heap that counts
        self.stale: list[Node] = [node for node in members if node.is_stale and listed]   # where tasks ended since backlogs were worked out
        for node in members:
            if listed:
                node.group = self
            self.list(node)

    def trim(self) -> None:
        """Forget who made room long ago: who has not looked since then looks at all."""
        if len(self.freed) > 4 * len(self.members) + 256:
            self.base += len(self.freed)
            self.freed.clear()

    def list(self, node: Node) -> None:
        """When its first core is free has changed."""
        level = node.lanes[0]
        if self.levels.get(node.peer) != level:
            self.levels[node.peer] = level
            heappush(self.heap, (level, node.peer, node))

    def least(self) -> Node:
        """The node whose first core is free first."""
        heap, levels = self.heap, self.levels
        while True:
            level, peer, node = heap[0]
            if levels[peer] != level:
                heappop(heap)
                continue
            now = node.lanes[0]
            if now == level:
                return node
            levels[peer] = now
            heapreplace(heap, (now, peer, node))

    def some(self, count: int) -> Sequence[Node]:
        """So many members, others each time."""
        members = self.members
        if len(members) <= count:
            return members
        at = self._turn = (self._turn + count) % len(members)
        return (members[at:] + members[:at])[:count]

    def soonest(self, cores: int, is_able: Callable[[Node], bool]) -> Node | None:
        """Of the next few members that are able, the one where so many cores are free first."""
        able = [node for node in self.some(WIDE_LOOKED_AT) if is_able(node)]
        return min(able, key=lambda node: (node.lanes[min(cores, len(node.lanes)) - 1], node.peer)) if able else None


class Option:
    """One group, as tasks of one shape see it."""

    __slots__ = ("_at", "_may", "group", "penalty")

    def __init__(self, group: Group, penalty: float) -> None:
        self.group = group
        self.penalty = penalty              # above 1 where scarce resources would be left unused
        self._may: dict[int, Node] = {node.peer: node for node in group.members}   # those that may have room; the next one first
        self._at = group.base + len(group.freed)

    def open_node(self, need: Amounts, kept_free: Mapping[int, object], shape: object) -> Node | None:
        """One that has room now, each in turn; better one with nothing ahead, and where results leave enough memory.

        Who has no room is not asked again until it frees some.
        """
        group, may = self.group, self._may
        if not group.is_listed:
            return next((node for node in group.members if node.has_room(need)), None)
        seen = group.base + len(group.freed)
        if self._at < seen:
            for node in group.freed[self._at - group.base:] if self._at >= group.base else group.members:
                may[node.peer] = node
            self._at = seen
        if not may:
            return None     # as of most groups, most of the time: all are busy
        full: list[int] = []
        found: Node | None = None
        left = QUEUES_MAX
        for peer, node in may.items():
            if kept_free and kept_free.get(peer, shape) is not shape:
                continue
            if not node.has_room(need):
                full.append(peer)
                continue
            if not node.queue and not (node.results and node.is_tight(need)):
                found = node
                break
            found = found or node
            left -= 1
            if not left:
                break
        for peer in full:
            del may[peer]
        return found

    def soon_free(self, need: Amounts, kept_free: Mapping[int, object], shape: object, limit: float, is_early: bool) -> list[Node]:
        """Those that are likely to have room first: one, or, where room that is to come is room (`is_early`), maybe another before it.

        One that has nothing ahead is taken before one that is busy until after this `limit`.
        """
        first = node = self.group.least()    # by its first core alone: it may have no room for one that takes several, or for part of one
        cores = int(node.width(need) * len(node.lanes) + 0.25)
        if cores > 1 or not node.has_room(need):
            node = self.group.soonest(cores, lambda each: each.has_room(need) and kept_free.get(each.peer, shape) is shape) or node
        elif node.queue and node.lanes[0] > limit:
            first = node = self.open_node(need, kept_free, shape) or node
        several = (first, node) if is_early and first is not node else (node,)
        return [each for each in several if kept_free.get(each.peer, shape) is shape]

    def open_nodes(self, need: Amounts, kept_free: Mapping[int, object], shape: object, most: int) -> list[Node]:
        """The next few with room, after `open_node` was asked."""
        able = (node for node in self._may.values() if node.has_room(need) and kept_free.get(node.peer, shape) is shape)
        return list(islice(able, most))

    def near_node(self, need: Amounts, kept_free: Mapping[int, object], shape: object, arrival: Callable[[Node], float]) -> Node | None:
        """The same, where much has to be moved: of the next few with room, the one at which it arrives first."""
        return min(self.open_nodes(need, kept_free, shape, NEAR_LOOKED_AT), key=arrival, default=None)

    def turn(self, node: Node, waiting: Sized, need: Amounts) -> None:
        """It was given something: the others come first now.

        Not where so many more wait that all others will be full as well: neighbours stay together then, since most graphs take them
        together. Of what was never seen none count as waiting: to try that on several nodes tells more.
        """
        may = self._may
        others = len(may) - 1
        if others <= 0 or node.peer not in may:
            return
        more = len(waiting)    # each of the others has room for one a core, or more of what takes less
        if more >= others and more >= others * max(len(node.lanes), int(1.0 / (node.share(need) or 1.0))):
            return
        del may[node.peer]
        may[node.peer] = node


def open_all(options: list[Option], need: Amounts, kept_free: Mapping[int, object], shape: object) -> list[Node | None]:
    """Per option, a node with room."""
    return [option.open_node(need, kept_free, shape) for option in options]


def open_again(options: list[Option], opened: list[Node | None], node: Node, need: Amounts, kept_free: Mapping[int, object],
               shape: object) -> list[Node | None]:
    """`opened` has, per option, a node with room; this node was given something since: only its group is to be asked anew."""
    for at, option in enumerate(options):
        if option.group is node.group:
            opened[at] = option.open_node(need, kept_free, shape)
            return opened
    return open_all(options, need, kept_free, shape)    # it is pinned: that group is its own


def busy_rate(options: list[Option], need: Amounts, kept_free: Mapping[int, object], shape: object) -> float:
    """How many usual seconds of such tasks the groups without room work off in a second."""
    rate = 0.0
    for option in options:
        if option.open_node(need, kept_free, shape) is None:
            members, speed = option.group.members, option.group.speed
            rate += len(members) * speed * max(1, int(1.0 / (members[0].share(need) or 1.0)))
    return rate


def groups_of(nodes: Iterable[Node], claims: Iterable[int] = ()) -> list[Group]:
    """The nodes, grouped. `claims` are what tasks claim of memory: of two nodes of a group none could hold one, and the other not."""
    found: dict[object, list[Node]] = {}
    bounds = sorted({*claims})
    for node in nodes:
        others = tuple([each for each in node.capacity.items() if each[0] != "memory"])
        memory = node.capacity.get("memory", 0)
        key = (others, memory and round(log(memory) / MEMORY_STEP), bisect_right(bounds, memory), node.step, node.labels, node.gpus)
        found.setdefault(key, []).append(node)
    return [Group(members) for members in found.values()]


def spans_of(groups: Iterable[Group]) -> list[tuple[int, int]]:
    """The least and the most memory in each group in which they differ: a claim between them parts it."""
    several = [[node.capacity.get("memory", 0) for node in group.members] for group in groups]
    return [(min(each), max(each)) for each in several if min(each) < max(each)]


class Eligible:
    """The open nodes that could ever hold tasks of equal needs, labels and pin; the desk keeps it true."""

    __slots__ = ("able", "able_of", "choices", "choices_of", "full", "option_of", "options", "options_of", "scarce", "wants")

    def __init__(self) -> None:
        self.able: list[Node] = []          # as of ...
        self.able_of = -1                   # ... this version of the list of open nodes
        self.options: list[Option] = []     # their groups, as of ...
        self.option_of: dict[Group | None, Option] = {}   # the same by group; of a pinned shape, by the group to which its node belongs
        self.options_of = -1
        self.wants = 0                      # what was needed when their penalties were worked out, as `Ready.wants`
        self.scarce: tuple[str, ...] = ()   # what is needed beside cores and memory
        self.choices: list[list[Option]] = []   # where there are several: for each cost the groups that could hold that
        self.choices_of = -1
        self.full: dict[int, int] = {}      # nodes that had no room when they last freed something, by its count
