"""Why each task started when it did and not sooner: it waited for an input, for room on its node, or for what the whole cluster shares."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nextafter

from handoff.client.story.records import Done, Story
from handoff.client.story.tables import seconds
from handoff.resources import CLUSTER, SCALE

LATE_SECONDS, LATE_PART = 0.01, 0.05     # of the makespan: of what was placed so much later than it could have been it is said
ENDS_MAX = 32     # that are looked at: of what makes room for a task, little that ended later made none


@dataclass(slots=True)
class Cause:
    """What a task waited for last, and how the time between was spent. `started` is the latest of the sums that are given here."""

    after: int | None           # the task whose end it waited for; None: the submission of the run
    what: str                   # "input", which that task made; "room", which it made; or what of the cluster it gave back: "cluster:NAME"
    moving: float               # seconds between that end and the start in which inputs came from other nodes, or the value from the client
    waiting: float              # the other seconds between
    fed: float                  # when the last input existed; 0.0 without inputs
    fed_lag: float              # the start is at least `fed` and this (of what moved and existed before: its end and this),
    room: int | None            # and, if some task made room,
    room_lag: float             # the end of that one and this,
    previous: int | None        # and the end of what its worker did before
    fed_moving: float           # how much of `fed_lag` is moving
    room_moving: float          # how much of `room_lag` is moving
    lacked: str = ""            # of what there was too little until that room was made; "": not known
    short: float = 0.0          # and how much of it, in steps


def causes_of(story: Story) -> dict[int, Cause]:
    """Per task."""
    here: dict[str, dict[str, list[tuple[Done, float]]]] = {node: {} for node in story.nodes}
    counted: dict[str, list[tuple[Done, float]]] = {name: [] for name in story.shared}
    for done in story.tasks.values():
        for name, amount in takes_of(done):
            here[done.node].setdefault(name, []).append((done, amount))
        for name, amount in done.shared:
            if name in counted:
                counted[name].append((done, amount))
    loads = {node: {name: _Load(tasks, most_of(story, node, name)) for name, tasks in taken.items()} for node, taken in here.items()}
    shares = {name: _Load(tasks, story.shared[name]) for name, tasks in counted.items()}
    last: dict[tuple[str, int, int], Done] = {}
    found = {}
    for number, done in story.tasks.items():
        found[number] = _cause(story, done, last.get(done.place), loads[done.node], shares)
        last[done.place] = done
    return found


def takes_of(done: Done) -> Sequence[tuple[str, float]]:
    """What it held of its node: of what takes no more than a value is not told, its cores."""
    return done.takes or (("cpu", done.slots * SCALE),)


def most_of(story: Story, node: str, name: str) -> float:
    """How much the node has of that, in steps; 0: not known."""
    return story.has.get(node, {}).get(name, story.cores.get(node, 0.0) * SCALE if name == "cpu" else 0.0)


def _cause(story: Story, done: Done, previous: Done | None, loads: Mapping[str, _Load], shares: Mapping[str, _Load]) -> Cause:
    inputs = story.inputs_of(done)
    feeder = max(inputs, key=lambda each: each.ended, default=None)
    fed = feeder.ended if feeder is not None else 0.0
    here = min(done.started, max(fed, done.started - done.waited))      # when the last input was at the node
    is_fetched = any(story.is_moved(each, done) for each in inputs) or (done.is_hidden and not done.worker)
    asked = min(here, max(fed, done.planned))                           # when the fetch began
    room = previous if previous is not None and previous.ended > fed else None
    lacked, short = "", 0.0
    for name, amount in takes_of(done) if done.worker else ():            # its worker may have stood idle while something else lacked
        since = fed if room is None else room.ended if lacked else nextafter(room.ended, 0.0)
        found = loads[name].freed(since, done, amount)
        if found is not None:
            (room, short), lacked = found, name
    what = "room"
    for name, amount in done.shared:
        found = shares[name].freed(fed, done, amount) if name in shares else None
        if found is not None and (room is None or found[0].ended >= room.ended):
            (room, short), what = found, CLUSTER + name
            lacked = what
    if room is not None and done.planned < room.ended <= here and is_fetched:
        room = None                                                     # there was room before the inputs were there
    behind = previous.task if previous is not None else None
    if room is None:
        last = feeder
        is_late = here - fed > LATE_SECONDS and done.planned < fed     # else nothing was on its way before the last input was made
        if feeder is not None and is_late and not story.is_moved(feeder, done):     # others were
            last = max((each for each in inputs if story.is_moved(each, done)), key=lambda each: each.ended, default=feeder)
        since = last.ended if last is not None else 0.0
        moving = here - min(here, max(since, done.planned)) if is_fetched else 0.0
        lag = done.started - since
        return Cause(None if last is None else last.task, "input", moving, lag - moving, fed, lag, None, 0.0, behind, moving, 0.0)
    lag = done.started - room.ended
    moving = max(0.0, here - max(asked, room.ended)) if is_fetched else 0.0
    if done.planned < room.ended:                                       # planned when the room was in sight: sooner, had it opened sooner
        fed_lag, fed_moving = here - asked, here - asked if is_fetched else 0.0
    else:                                                               # it was planned when there was room, and fetched after that
        fed_lag, fed_moving = lag, moving
    return Cause(room.task, what, moving, lag - moving, fed, fed_lag, room.task, lag, behind, fed_moving, moving, lacked, short)


def by_inputs(story: Story, done: Done, cause: Cause, ended: Mapping[int, float], is_still: bool = False) -> float:
    """When it could start for its inputs' sake, had others ended when `ended` says; `is_still`: and had nothing been moved for it."""
    fed = max((ended[each] for each in done.inputs if each in ended), default=0.0)
    lag = cause.fed_lag - (cause.fed_moving if is_still else 0.0)
    if cause.what == "input" and cause.after is not None and story.tasks[cause.after].ended < cause.fed:
        return max(fed, ended[cause.after] + lag)      # that one was on its way while another was made
    return fed + lag


class _Load:
    """How much was taken of one thing, such as the cores of a node: who ended when, and how much was held until then."""

    def __init__(self, tasks: Iterable[tuple[Done, float]], most: float) -> None:
        by_end = sorted(((each, amount) for each, amount in tasks if each.worker), key=lambda each: (each[0].ended, each[0].task))
        self._most = most                                   # there is so much of it; 0: not known
        self._by_end = [each for each, _ in by_end]
        self._ends = [each.ended for each in self._by_end]
        starts = sorted((each.started, amount) for each, amount in by_end)
        self._starts = [start for start, _ in starts]
        self._taken, self._given = [0.0], [0.0]
        for _, amount in starts:
            self._taken.append(self._taken[-1] + amount)
        for _, amount in by_end:
            self._given.append(self._given[-1] + amount)

    def freed(self, since: float, done: Done, amount: float) -> tuple[Done, float] | None:
        """The last task that ended before this one started and after `since`, until when both could not have what they take of it.

        With how much there was too little.
        """
        last = bisect_left(self._ends, done.started + 1e-9) - 1
        for at in range(last, max(-1, last - ENDS_MAX), -1):
            other = self._by_end[at]
            if other.ended <= since or not self._most:
                return None
            held = self._taken[bisect_left(self._starts, other.ended)] - self._given[bisect_left(self._ends, other.ended)]
            if other is not done and other.started < done.started and held + amount > self._most + 1e-6:
                return other, min(amount, held + amount - self._most)
        return None


@dataclass(frozen=True, slots=True)
class Leg:
    """One task of the critical path, and what came before it: all legs together last as long as the run."""

    name: str
    function: str
    node: str
    worker: int
    running: float
    moving: float
    waiting: float
    started: float
    reason: str                 # what it waited for
    task: int


def critical_path(story: Story, causes: Mapping[int, Cause]) -> list[Leg]:
    """From the task that ended last back to the submission, along what each waited for last; the first first."""
    legs: list[Leg] = []
    at: int | None = max(story.tasks.values(), key=lambda each: (each.ended, each.task)).task if story.tasks else None
    while at is not None:
        done, cause = story.tasks[at], causes[at]
        legs.append(Leg(done.name, done.function, done.node, done.worker, done.seconds, cause.moving, cause.waiting, done.started,
                        _reason(story, done, cause), at))
        at = cause.after
    return legs[::-1]


def _reason(story: Story, done: Done, cause: Cause) -> str:
    """What it waited for; and what came between, where that is no room that tasks of this run made."""
    other = story.tasks[cause.after] if cause.after is not None else None
    said = "the submission" if other is None else f"input {other.name}" if cause.what == "input" else f"{cause.what}, after {other.name}"
    since = other.ended if other is not None else 0.0
    in_vain = [each for each in story.vain_of.get(done.task, ()) if each.started < done.started]
    if in_vain:
        said += f"; {len(in_vain)} attempt{'s' * (len(in_vain) != 1)} in vain"
        since = max(since, *[each.started + each.seconds for each in in_vain])
    if done.planned - since > max(LATE_SECONDS, LATE_PART * story.makespan):    # others had the room, the run its limit, the node was away
        said += f"; placed at {seconds(done.planned)} s"
    return said
