"""What is known of tasks that are done (or planned), made consistent: nothing before its inputs, and no worker does two things at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from typing import NamedTuple

from handoff.resources import SCALE


@dataclass(slots=True)
class Done:
    """One task and how it went. Times are seconds after the run's submission."""

    task: int                          # its number; inputs have lower ones
    name: str                          # its function's id, or what a hidden task is
    function: str                      # what it calls; tasks of one function are compared with each other
    node: str
    worker: int                        # of its node, from 1; 0: none, its value was uploaded
    started: float
    seconds: float
    inputs: Sequence[int] = ()
    nbytes: int = 0                    # of its result
    waited: float = 0.0                # from when all inputs were at its node to its start
    planned: float = 0.0               # when it was given to the node
    attempt: int = 1
    slots: float = 1.0                 # cores that it held
    memory: float = 0.0                # MB that it claimed
    takes: Sequence[tuple[str, float]] = ()    # all that it held of its node, in the units of `Story.has`; empty: its cores
    shared: Sequence[tuple[str, float]] = ()   # what it held of what the whole cluster counts, such as licences
    is_hidden: bool = False            # the user has not written it: an uploaded value, or a serializer
    is_shared: bool = False            # its worker runs many at once
    is_bound: bool = False             # not every node can have it: it is pinned, asks for labels, or takes more than cores and memory
    is_pinned: bool = False            # to its node, or to those that have its labels
    is_cut: bool = False               # it is none that is done: see `Story.cut`
    row: int = 0                       # of several that its worker ran at once: which; filled in by `Story`

    @property
    def ended(self) -> float:
        """When it was over."""
        return self.started + self.seconds

    @property
    def place(self) -> tuple[str, int, int]:
        """Where it ran, so fine that nothing else ran there at the same time."""
        return self.node, -1 if self.is_cut else self.worker, self.row


@dataclass(frozen=True, slots=True)
class Vain:
    """One attempt that came to nothing: it failed, another one was quicker, or its node was lost; or of which nothing has come yet."""

    node: str
    started: float
    seconds: float
    slots: float = 1.0                 # cores that it held
    task: int = -1                     # whose it was; -1: not known
    name: str = ""
    function: str = ""
    fate: str = "came to nothing"      # or what is to be said instead


class Undone(NamedTuple):
    """One task that was not done when its run ended."""

    task: int
    name: str
    function: str
    how: str                           # "failed": the run with it; "running", "placed", "ready", "waiting": as in `Left`
    inputs: Sequence[int] = ()
    is_hidden: bool = False


class Left(NamedTuple):
    """How many tasks of a function were not done when their run ended."""

    function: str
    failed: int = 0
    running: int = 0
    placed: int = 0                    # given to a node: of short ones only that knows whether they had begun
    ready: int = 0                     # no node had room, or they paused before another attempt
    waiting: int = 0                   # for their inputs


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended that came to nothing."""

    state: str                         # "failed", or "cancelled"
    why: str                           # the error that its client was told
    left: Sequence[Left] = ()          # what was not done, per function, in the order of the graph
    undone: Sequence[Undone] = ()      # the same, task by task, hidden ones too


class Stay(NamedTuple):
    """A node was there, from then to then, with so many cores."""

    begin: float
    end: float
    cores: float


@dataclass
class Story:
    """A whole run. The records are straightened and taken over."""

    name: str
    tasks: Mapping[int, Done]          # by number, in the order of their starts
    cores: Mapping[str, float] = field(default_factory=dict)  # of the nodes that were there, idle ones too
    run: int = 0
    bytes_moved: int = 0               # between nodes
    is_over: bool = True               # otherwise: as far as it is
    shared: Mapping[str, float] = field(default_factory=dict)   # what the whole cluster has of what it counts
    vain: Sequence[Vain] = ()          # attempts that came to nothing, as far as they are remembered
    running: Sequence[Vain] = ()       # what is not over yet, as far as it is known
    stays: Mapping[str, Sequence[Stay]] = field(default_factory=dict)   # when nodes were there: else all the time
    until: float = 0.0                 # seconds that it has taken so far, or took; at least `makespan`
    has: Mapping[str, Mapping[str, float]] = field(default_factory=dict)   # what nodes have, in steps, as far as it is known
    limit: int = 0                     # how many tasks it may have on nodes at once; 0: as many as there is room for
    ending: Ending | None = None       # it failed, or was cancelled

    def __init__(self, name: str, tasks: Iterable[Done], cores: Mapping[str, float] | None = None, *, run: int = 0,
                 bytes_moved: int = 0, is_over: bool = True, shared: Mapping[str, float] | None = None,
                 vain: Iterable[Vain] = (), running: Iterable[Vain] = (),
                 stays: Mapping[str, Sequence[Stay]] | None = None, until: float = 0.0, limit: int = 0,
                 has: Mapping[str, Mapping[str, float]] | None = None, ending: Ending | None = None) -> None:
        self.name, self.cores, self.run, self.bytes_moved, self.is_over = name, dict(cores or {}), run, bytes_moved, is_over
        self.shared, self.vain, self.running, self.stays = dict(shared or {}), list(vain), list(running), dict(stays or {})
        self.limit, self.has, self.ending = limit, dict(has or {}), ending
        self.tasks = _straightened({each.task: each for each in tasks})
        _share_rows(self.tasks.values())
        self.until = self.makespan if is_over else max(until, self.makespan)

    @cached_property      # each leg of the critical path asks for it, of which there may be as many as tasks
    def makespan(self) -> float:
        """Seconds from the submission to the end of the last task."""
        return max((each.ended for each in self.tasks.values()), default=0.0)

    @property
    def nodes(self) -> list[str]:
        """All nodes, by name."""
        return sorted({*self.cores, *(each.node for each in self.tasks.values()), *(each.node for each in (*self.vain, *self.running))})

    @cached_property
    def memory(self) -> Mapping[str, float]:
        """MB of nodes, as far as it is known."""
        return {node: has["memory"] / SCALE for node, has in self.has.items() if "memory" in has}

    @cached_property
    def vain_of(self) -> Mapping[int, Sequence[Vain]]:
        """Per task, the attempts at it that came to nothing."""
        found: dict[int, list[Vain]] = {}
        for each in self.vain:
            found.setdefault(each.task, []).append(each)
        return found

    @cached_property
    def cut(self) -> Sequence[Done]:
        """Of a run that came to nothing: attempts that did, too, and those that still ran when it ended.

        Which workers these had is not known: they have rows of their own.
        """
        found = [Done(each.task, f"{each.name}: {each.fate}", each.function, each.node, 0, each.started,
                      max(0.0, min(each.seconds, self.until - each.started)), slots=each.slots, is_cut=True)
                 for each in (*self.vain, *self.running)] if self.ending is not None else []
        found.sort(key=lambda each: (each.started, each.task))
        _share_rows(found)
        return found

    def inputs_of(self, done: Done) -> list[Done]:
        """Whose results it took, as far as they are told of."""
        return [self.tasks[each] for each in done.inputs]

    def is_moved(self, source: Done, target: Done) -> bool:
        """Whether the result had to go from one node to another."""
        return source.node != target.node


def seconds_per_byte(story: Story) -> float:
    """What moving cost in this run; 0.0 when nothing was moved."""
    moved = seconds = 0.0
    for done in story.tasks.values():
        remote = [each for each in story.inputs_of(done) if story.is_moved(each, done)]
        if remote:
            fed = max(each.ended for each in story.inputs_of(done))
            moved += sum(each.nbytes for each in remote)
            seconds += max(0.0, done.started - done.waited - max(fed, done.planned))
    return seconds / moved if moved else 0.0


def _straightened(tasks: dict[int, Done]) -> dict[int, Done]:
    """In the order of their starts; a start is moved after the ends of its inputs and of what its worker did before.

    Starts are worked out from reports, which take some milliseconds more or less: without this, effects would come before causes.
    """
    heap: list[tuple[float, int]] = []
    for number, done in sorted(tasks.items()):
        done.started = max(0.0, done.started)
        heappush(heap, (done.started, number))
    ordered: dict[int, Done] = {}
    free: dict[tuple[str, int], float] = {}          # per worker: when it is through
    for done in tasks.values():                      # a result that was made again after it had been taken is no cause
        done.inputs = [each for each in done.inputs if each in tasks and each < done.task
                       and not (tasks[each].attempt > 1 and tasks[each].started >= done.ended)]
    while heap:
        started, number = heappop(heap)
        done = tasks[number]
        later = started
        for each in done.inputs:
            later = max(later, tasks[each].ended)
        worker = (done.node, done.worker)
        is_single = done.worker and not done.is_shared
        if is_single:
            later = max(later, free.get(worker, 0.0))
        if later > started:
            done.started = later
            heappush(heap, (later, number))
            continue
        ordered[number] = done
        if is_single:
            free[worker] = done.ended
    return ordered


def _share_rows(tasks: Iterable[Done]) -> None:
    """Tasks that one worker ran at once get rows of their own: the first that is free. They come in the order of their starts."""
    busy: dict[tuple[str, int], list[tuple[float, int]]] = {}
    free: dict[tuple[str, int], list[int]] = {}
    for done in tasks:
        worker = (done.node, done.worker)
        rows, ends = free.setdefault(worker, []), busy.setdefault(worker, [])
        while ends and ends[0][0] <= done.started:
            heappush(rows, heappop(ends)[1])
        done.row = heappop(rows) if rows else len(ends)
        heappush(ends, (done.ended, done.row))
