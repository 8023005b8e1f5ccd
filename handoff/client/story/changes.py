"""What would have made a run shorter: the recorded timeline is worked out again with one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil, floor, inf
from statistics import fmean, median

from handoff.client.story.causes import Cause, Leg, by_inputs
from handoff.client.story.lacking import described, lacks_of, with_more
from handoff.client.story.records import Done, Story, seconds_per_byte
from handoff.client.story.tables import brief

CHANGES_MAX = 3
FUNCTIONS_MAX = 5            # of the critical path that are tried at twice their speed
STRAGGLERS_MAX = 3
STRAGGLES = 1.5              # times the median of its function
ALIKE_MIN = 4                # tasks of a function from which a median means something
WORTH = 0.01                 # of the makespan: less is not worth a word
PART_MIN = 1 / 16             # of a core: what takes less is taken to have so much
SLOTS_MAX = 128              # of a node
A_WHILE = 0.05               # of a node's busy time: how long it must have held so many cores; starts are known to milliseconds only
PLACINGS_MAX = 2_000_000     # tasks times nodes: beyond this no schedule is tried with one more node; ...
PARTS_EFFORT = 8             # ... where tasks take parts of cores, each of these costs so much more


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that could have been different."""

    what: str
    saved: float             # seconds
    makespan: float          # what the run would have taken
    how: str                 # how that was estimated


def changes_of(story: Story, causes: Mapping[int, Cause], path: Sequence[Leg]) -> list[Change]:
    """The three that would have saved most, the best first; fewer where fewer save anything."""
    makespan = story.makespan
    found = [each for each in _candidates(story, causes, path) if each.saved >= max(1e-4, WORTH * makespan)]
    found.sort(key=lambda each: -each.saved)
    return found[:CHANGES_MAX]


def _candidates(story: Story, causes: Mapping[int, Cause], path: Sequence[Leg]) -> Iterator[Change]:
    now = story.makespan
    same = "the timeline worked out again, each task at its place and in its order"

    def replayed(what: str, seconds: Callable[[Done], float], still: frozenset[int] = frozenset()) -> Change:
        after = replay(story, causes, seconds, still)
        return Change(what, now - after, after, same)

    spent: dict[str, float] = {}
    for leg in path:
        spent[leg.function] = spent.get(leg.function, 0.0) + leg.running
    for function in sorted(spent, key=lambda each: (-spent[each], each))[:FUNCTIONS_MAX]:
        yield replayed(f"{function} twice as fast", lambda done, function=function:  # type: ignore[misc]
                       done.seconds / 2 if done.function == function else done.seconds)
    moving = sum(leg.moving for leg in path)
    if moving > 0:
        yield replayed(f"no moving of data on the critical path ({brief(moving)} s)", lambda done: done.seconds,
                       frozenset(leg.task for leg in path))
    yield from _stragglers(story, path, replayed)
    yield from _one_more_node(story)
    yield from _more_of_what_lacked(story, causes, path)


def _stragglers(story: Story, path: Sequence[Leg], replayed: Callable[..., Change]) -> Iterator[Change]:
    alike: dict[str, list[float]] = {}
    for done in story.tasks.values():
        if done.worker:
            alike.setdefault(done.function, []).append(done.seconds)
    usual = {function: median(seconds) for function, seconds in alike.items() if len(seconds) >= ALIKE_MIN}
    late = [leg for leg in path if leg.function in usual and leg.running > STRAGGLES * usual[leg.function]]
    for leg in sorted(late, key=lambda leg: usual[leg.function] - leg.running)[:STRAGGLERS_MAX]:
        yield replayed(f"{leg.name} as fast as most of {leg.function} ({brief(usual[leg.function])} s, not {brief(leg.running)} s)",
                       lambda done, leg=leg: usual[leg.function] if done.task == leg.task else done.seconds)


def replay(story: Story, causes: Mapping[int, Cause], seconds: Callable[[Done], float], still: frozenset[int] = frozenset()) -> float:
    """The makespan with other durations, and with nothing moved for the tasks in `still`; places, orders and delays as they were.

    With nothing changed it is the makespan that was.
    """
    ended: dict[int, float] = {}
    for number, done in story.tasks.items():
        cause = causes[number]
        start = by_inputs(story, done, cause, ended, number in still)
        if cause.room is not None:
            start = max(start, ended[cause.room] + cause.room_lag - (cause.room_moving if number in still else 0.0))
        if cause.previous is not None:
            start = max(start, ended[cause.previous])
        ended[number] = start + seconds(done)
    return max(ended.values(), default=0.0)


# ── one more node ───────────────────────────────────────────────────────────


def _one_more_node(story: Story) -> Iterator[Change]:
    """One more of each size, if the run would be placed anew; where its own limit is no higher than what there is, that helps nothing."""
    held = _held(story)
    part = _part(story, max(held.values(), default=0.0))
    slots = {node: max(1, floor(cores / part + 1e-6)) for node, cores in held.items()}
    for done in story.tasks.values():
        slots[done.node] = max(slots.get(done.node, 1), ceil(done.slots / part - 1e-6))
    effort = len(story.tasks) * (len(slots) + 1) * (PARTS_EFFORT if part < 1.0 else 1)
    if not slots or not story.tasks or effort > PLACINGS_MAX:
        return
    if 0 < story.limit <= sum(slots.values()) * part / fmean([done.slots for done in story.tasks.values()]):
        return
    tasks, per_byte = list(story.tasks.values()), seconds_per_byte(story)
    home = {node: place for place, node in enumerate(slots)}
    memory = [story.memory.get(node, 0.0) for node in slots]
    before = placed_anew(tasks, list(slots.values()), per_byte, home, part, memory)
    for size in sorted(set(slots.values()), reverse=True)[:2]:
        like = next(node for node, each in slots.items() if each == size)
        cores = max(1, ceil(story.cores.get(like, 0.0)))
        after = placed_anew(tasks, [*slots.values(), size], per_byte, home, part, [*memory, story.memory.get(like, 0.0)])
        # What made the run longer than the schedule stays in proportion. Where the schedule is the longer one, it counts as it is: scaled
        # down it could end before the longest chain does.
        then = after * max(1.0, story.makespan / before) if before else story.makespan
        yield Change(f"one more node like {like} ({cores} core{'s' * (cores != 1)})", story.makespan - then, then,
                     f"all that could run anywhere placed anew with its durations, where each ends first: {brief(before)} s without it, "
                     f"{brief(after)} s with it")


def _more_of_what_lacked(story: Story, causes: Mapping[int, Cause], path: Sequence[Leg]) -> Iterator[Change]:
    """One more of each thing that is counted and that tasks of the critical path waited for, others of the run holding it."""
    lacks = lacks_of(story, causes, path)
    if not lacks or len(story.tasks) * len(story.nodes) * PARTS_EFFORT > PLACINGS_MAX:
        return
    before = with_more(story, causes)
    if before <= 0.0:
        return
    for lack, amount in lacks.items():
        after = with_more(story, causes, lack, amount)
        then = after * max(1.0, story.makespan / before)      # as above
        yield Change(described(lack, amount), story.makespan - then, then,
                     f"tasks begun in the order in which they were, each when what it takes is free: {brief(before)} s without it, "
                     f"{brief(after)} s with it")


def _part(story: Story, most: float) -> float:
    """Of a core, so fine that tasks which take less, or are limited by memory, fill a node as they do; `most` cores has the largest."""
    part = 1.0
    for done in story.tasks.values():
        if done.worker:
            has, cores = story.memory.get(done.node, 0.0), story.cores.get(done.node, 0.0)
            part = min(part, PART_MIN if has and done.memory / has * cores > done.slots else done.slots)
    return max(part, PART_MIN, most / SLOTS_MAX)


def _held(story: Story) -> dict[str, float]:
    """Per node, its cores, or how many were held at once for a while: more where functions take memory alone, or nothing."""
    changes: dict[str, list[tuple[float, float]]] = {node: [] for node in story.cores}
    for done in story.tasks.values():
        if done.worker:
            changes.setdefault(done.node, []).extend([(done.started, done.slots), (done.ended, -done.slots)])
    found = {}
    for node, several in changes.items():
        level = last = 0.0
        spent: dict[float, float] = {}
        for when, by in sorted(several):
            spent[level] = spent.get(level, 0.0) + when - last
            level, last = round(level + by, 6), when
        left = A_WHILE * sum([seconds for held, seconds in spent.items() if held])
        most = 0.0
        for held in sorted(spent, reverse=True):
            left -= spent[held]
            if left < 0.0:
                most = held
                break
        found[node] = max(story.cores.get(node, 0.0), most)
    return found


def placed_anew(
    tasks: Sequence[Done], slots: Sequence[int], per_byte: float, home: Mapping[str, int] | None = None, part: float = 1.0,
    memory: Sequence[float] = (),
) -> float:
    """The makespan of a list schedule: by the longest way to the end, each task where it can start first.

    A slot is a `part` of a core. Who takes a larger part of a node's `memory` (in MB; 0: not known) than of its cores takes so many slots.

    What is bound stays on its node, whose place among these `home` tells, and starts no sooner than it did: what it waited for there, such
    as a GPU or a licence, is not known here.
    """
    rank: dict[int, float] = {}
    for done in sorted(tasks, key=lambda each: each.task, reverse=True):
        own = rank[done.task] = rank.get(done.task, 0.0) + done.seconds
        for each in done.inputs:
            rank[each] = max(rank.get(each, 0.0), own)
    free = [[0.0] * count for count in slots]        # per node: when each slot is free
    place: dict[int, tuple[int, float, float]] = {}  # per task: the node, when it is over, and how long its result is on its way
    end = 0.0
    for done in sorted(tasks, key=lambda each: (-rank[each.task], each.task)):
        if not done.worker:
            place[done.task] = (-1, 0.0, 0.0)
            continue
        cores = max(1, ceil(done.slots / part - 1e-6))
        best, first, taken = inf, 0, 0
        only = home.get(done.node) if home is not None and done.is_bound else None
        for node, rows in enumerate(free):
            has = memory[node] if memory else 0.0
            wide = max(cores, ceil(done.memory / has * len(rows) - 1e-6)) if has else cores
            if wide > len(rows) or only not in (None, node):
                continue
            start = rows[0] if wide == 1 else sorted(rows)[wide - 1]
            if only is not None:
                start = max(start, done.started)
            for each in done.inputs:
                if each in place:
                    where, over, way = place[each]
                    start = max(start, over if where == node else over + way)
            if start < best:
                best, first, taken = start, node, wide
        if best == inf:
            continue
        for _ in range(taken):
            heappop(free[first])
        for _ in range(taken):
            heappush(free[first], best + done.seconds)
        place[done.task] = (first, best + done.seconds, per_byte * done.nbytes)
        end = max(end, best + done.seconds)
    return end
