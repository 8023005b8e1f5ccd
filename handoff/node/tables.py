"""A run as its node sees it: what is planned here, what is missing, what is here, who waits. No object per task."""

from __future__ import annotations

from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

from handoff.ids import PeerId, RunId
from handoff.program import Flag, Form, Kind, is_side_by_side
from handoff.resources import Amounts

if TYPE_CHECKING:
    from handoff.node.crew import Batch
    from handoff.node.lanes import Lane, Limit


class Mode(IntEnum):
    """How tasks of a kind are handed to workers."""

    BATCHED = 0  # one after the other, several in one message
    TWICE = 1    # the same, among themselves: one may have to be ended for another attempt's sake, and no harm is done to those beside it
    ONCE = 2     # the same, among themselves, and to a worker that has nothing of other runs: what may have begun never begins again
    ALONE = 3    # a message, and a worker, of its own: it has killed before
    ASYNC = 4    # coroutines side by side, on the asyncio worker
    OBJECT = 5   # not at all: its value is uploaded

    @property
    def is_batched(self) -> bool:
        """Whether several go in one message, to run one after the other."""
        return self <= Mode.ONCE


def mode_of(kind: Kind, cost: Amounts) -> Mode:
    """How tasks of this kind are handed to workers when they claim this."""
    if kind.flags & Flag.OBJECT:
        return Mode.OBJECT
    if is_side_by_side(kind.flags, cost):
        return Mode.ASYNC
    if kind.flags & Flag.ALONE:
        return Mode.ALONE
    if kind.max_retries == 0:
        return Mode.ONCE
    return Mode.TWICE if kind.flags & Flag.IDEMPOTENT else Mode.BATCHED


class Pace:
    """How long tasks of one code take: what this node has seen, the recent weighing most."""

    __slots__ = ("ended", "seconds", "seen")

    def __init__(self) -> None:
        self.seconds = float("inf")  # unknown: never short
        self.seen = 0                # at most PACE_MEMORY
        self.ended = 0               # all that ended here

    def learn(self, total: float, count: int) -> None:
        """`count` tasks took `total` seconds together."""
        seen = self.seen
        self.seconds = (self.seconds * seen + total) / (seen + count) if seen else total / count
        self.seen = min(PACE_MEMORY, seen + count)
        self.ended += count


TEACHES = 64     # so many ends of a function are told without delay: the coordinator learns from them how far ahead it may plan
PACE_MEMORY = 8  # few, since a first call often imports for a second and later ones take microseconds


class Handling:
    """What is worked out once for each kind of a run."""

    __slots__ = ("beyond", "is_output", "is_tree", "kind", "lane", "mode", "pace")

    def __init__(self, kind: Kind, lane: Lane, pace: Pace, beyond: str) -> None:
        self.kind = kind
        self.lane = lane      # where tasks of this cost and mode wait for room
        self.pace = pace
        self.mode = lane.mode
        self.is_output = bool(kind.flags & Flag.OUTPUT)
        self.is_tree = kind.form == Form.TREE
        self.beyond = beyond  # why this node can never run it; empty: it can


# What is kept of a planned task, in the order of Execute's columns (the first six), then for ourselves.
Entry: TypeAlias = tuple[int, Kind, bytes, tuple[int, ...], tuple[PeerId, ...], PeerId, float, Handling, tuple[PeerId, ...], int]
ATTEMPT: Final = 0
INPUTS: Final = 3
SHOWN: Final = 4     # the sources that user code is told: () unless the form is TREE
TARGET: Final = 5    # of a serializer: the node that its result is made for; else NOBODY
URGENCY: Final = 6
HANDLING: Final = 7
SOURCES: Final = 8   # the node that has or will have each input, as planned
TRIED: Final = 9     # the attempt as user code is told of it: without those that never began


class Table:
    """Everything about one run on this node. A planned task is either given, ready, an object, or waits for what is missing."""

    __slots__ = (
        "alternatives", "asked", "asked_before", "attempts", "bereaved", "collectors", "done", "ended", "fetched", "given", "handling",
        "is_planned", "limit", "missing", "nbytes", "objects", "outputs", "packing", "plans", "ready", "recalled", "redirected", "run",
        "seconds", "senders", "since", "size", "tailored", "teaches", "unreported_at", "waited", "waiters", "wants", "workers",
    )

    def __init__(self, run: RunId) -> None:
        self.run = run
        self.is_planned = False                        # whether the coordinator ever planned anything of it here
        self.limit: Limit | None = None                # how many of its tasks may execute here at once, if that is limited
        self.handling: dict[int, Handling] = {}        # per kind
        self.alternatives: dict[tuple[int, int], Handling] = {}  # per kind and alternative cost, of those that were chosen
        self.plans: dict[int, Entry] = {}              # per unfinished task
        self.missing: dict[int, int] = {}              # per task that waits: how many distinct inputs are not here
        self.waiters: dict[int, list[int]] = {}        # per input that is not here: tasks planned here that take it
        self.ready: dict[int, int] = {}                # per task that waits for room: its order, which names its place in the lane
        self.since: dict[int, float] = {}              # per task that is ready or given: when all it takes was here; chained ones have none
        self.given: dict[int, Batch] = {}              # per task in a worker's hands
        self.packing: dict[int, tuple[Batch, int]] = {}  # per large result that was being written, if that batch has it still: its bytes
        self.objects: dict[int, None] = {}             # planned objects whose value has not come yet
        self.recalled: dict[int, None] = {}            # taken back while they waited: `waiters` may still name them
        self.bereaved: dict[int, int] = {}             # per task: how often its worker died without our knowing what ran
        self.size: dict[int, int] = {}                 # per result that is here: its bytes
        self.tailored: dict[int, PeerId] = {}          # results made here that are of use on one node only: which
        self.outputs: dict[int, None] = {}             # results made here that the client wants
        self.wants: dict[int, list[PeerId]] = {}       # per result that is not here: peers that asked for it
        self.asked: dict[int, PeerId] = {}             # per input from elsewhere: whom we asked and wait for
        self.asked_before: dict[int, set[PeerId]] = {} # per input: who was asked before that one, and may have begun to send it
        self.redirected: dict[int, PeerId] = {}        # per input: where it comes from, if not from where the plan said
        self.senders: dict[int, PeerId] = {}           # per input that a serializer makes for us: who sent what is here; NOBODY: nothing is
        self.collectors: dict[PeerId, None] = {}       # clients that take every output
        self.fetched = 0                               # bytes taken from other nodes since the last report
        self.teaches = False                           # among what is to be reported are tasks of a function that is not well known
        self.unreported_at = inf                       # since when something waits to be reported
        # columns of the next report
        self.done: list[int] = []
        self.attempts: list[int] = []
        self.nbytes: list[int] = []
        self.seconds: list[float] = []
        self.ended: list[float] = []
        self.workers: list[int] = []
        self.waited: list[float] = []

    def forget_waiting(self, task: int, inputs: tuple[int, ...]) -> None:
        """It waits for none of these any more."""
        for each in inputs:
            others = self.waiters.get(each)
            if others is not None:
                others[:] = [other for other in others if other != task]
                if not others:
                    del self.waiters[each]
