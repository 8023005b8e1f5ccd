"""What a run would have taken with more of what its tasks waited for: GPUs, licences, memory, whatever is counted but cores."""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from handoff.client.story.causes import Cause, Leg, by_inputs, most_of, takes_of
from handoff.client.story.records import Done, Story, seconds_per_byte
from handoff.resources import CLUSTER, GPU, GPU_MEMORY, SCALE, SIZED, is_gpu, measured
from handoff.scheduler.needs import OURS


class Lack(NamedTuple):
    """Of this there was too little."""

    node: str                 # "": in the whole cluster
    name: str


LIMIT = Lack("", "")          # the run's own, counted as if it were a resource
NONE = Lack("", "\0")


def lacks_of(story: Story, causes: Mapping[int, Cause], path: Sequence[Leg]) -> dict[Lack, int]:
    """What tasks of the critical path waited for, and how many steps more one of them would not have waited with."""
    found: dict[Lack, int] = {}
    for leg in path:
        done, cause = story.tasks[leg.task], causes[leg.task]
        name, steps = cause.lacked, int(cause.short)
        if name == "cpu" or name in OURS:                            # these come with one more node
            continue
        gpus = [each for each, _ in takes_of(done) if is_gpu(each)]
        if gpus and name in (*gpus, GPU_MEMORY):                     # the memory comes with one more GPU
            name, steps = max(gpus), SCALE if name == GPU_MEMORY else steps      # of its kind, if it asks for one
        if name not in SIZED:
            steps = -(-steps // SCALE) * SCALE
        lack = Lack("" if name.startswith(CLUSTER) else leg.node, name.removeprefix(CLUSTER))
        found[lack] = max(found.get(lack, 0), steps)
    return found


def described(lack: Lack, steps: int) -> str:
    """As a person says it: "1 more gpu on n1"."""
    return f"{measured(lack.name, steps)} more {lack.name} {f'on {lack.node}' if lack.node else 'in the cluster'}"


def with_more(story: Story, causes: Mapping[int, Cause], lack: Lack = NONE, steps: int = 0) -> float:
    """The makespan with more of one thing: tasks begin in the order in which they did, each when all that it takes is free.

    What takes of it and is not pinned goes where it begins first, of the nodes that were there all the time; all else stays where it was.
    """
    there = [node for node in story.nodes if all(stay.begin <= 0.0 and stay.end >= story.makespan for stay in story.stays.get(node, ()))]
    per_byte = seconds_per_byte(story)
    counters = _Counters(story, lack, steps)
    ended: dict[int, float] = {}
    at: dict[int, str] = {}
    for number, done in story.tasks.items():
        cause = causes[number]
        ready, lag = by_inputs(story, done, cause, ended), cause.room_lag if cause.lacked else 0.0
        if not cause.lacked:                       # it waited for its worker, or for nothing
            ready = max(ready, ended[cause.room] + cause.room_lag if cause.room is not None else 0.0,
                        ended[cause.previous] if cause.previous is not None else 0.0)

        def start(node: str, done: Done = done, ready: float = ready, lag: float = lag) -> float:
            moved = [ended[each] + per_byte * story.tasks[each].nbytes for each in done.inputs
                     if each in ended and at[each] != node and (at[each], node) != (story.tasks[each].node, done.node)]
            free = counters.free(node, done)
            return max(ready, free + lag if free else 0.0, *moved)

        node, begins = done.node, start(done.node)
        if lack.node and not done.is_pinned and any(name == lack.name for name, _ in takes_of(done)):
            for other in there:
                if other != done.node and counters.could(other, done) and (sooner := start(other)) < begins:
                    node, begins = other, sooner
        at[number], ended[number] = node, begins + done.seconds
        counters.take(node, done, ended[number])
    return max(ended.values(), default=0.0)


class _Counters:
    """What is free of everything that is counted, as far as it is known how much of it there is. Who comes later begins no sooner."""

    def __init__(self, story: Story, lack: Lack, steps: int) -> None:
        self._story, self._lack, self._steps = story, lack, steps
        self._most: dict[Lack, float] = {}
        self._of: dict[Hashable, Sequence[tuple[Lack, float]]] = {}    # what is counted of what tasks take somewhere
        self._held: dict[Lack, float] = {}
        self._ends: dict[Lack, list[tuple[float, float]]] = {}     # of those who hold it: when, and how much
        self._since: dict[Lack, float] = {}                        # whoever had to end for others has ended by then

    def could(self, node: str, done: Done) -> bool:
        """Whether a node has all that it takes."""
        return all(self._has(Lack(node, name)) >= amount for name, amount in takes_of(done) if name not in OURS)

    def free(self, node: str, done: Done) -> float:
        """When all that it takes is free there; 0.0: now."""
        return max([self._opens(lack, amount)[0] for lack, amount in self._counted(node, done)], default=0.0)

    def take(self, node: str, done: Done, until: float) -> None:
        """It has it, from when that is free."""
        for lack, amount in self._counted(node, done):
            self._since[lack], over = self._opens(lack, amount)
            ends = self._ends.setdefault(lack, [])
            self._held[lack] = self._held.get(lack, 0.0) + amount - sum([each for _, each in ends[:over]])
            del ends[:over]
            insort(ends, (until, amount))

    def _opens(self, lack: Lack, amount: float) -> tuple[float, int]:
        """When so much is free, and how many of those who hold it have to end before."""
        over, at = self._held.get(lack, 0.0) + amount - self._has(lack), 0
        since, ends = self._since.get(lack, 0.0), self._ends.get(lack, ())
        while over > 1e-6 and at < len(ends):
            since, over, at = max(since, ends[at][0]), over - ends[at][1], at + 1
        return since, at

    def _counted(self, node: str, done: Done) -> Sequence[tuple[Lack, float]]:
        key = (node, *done.takes, "", *done.shared) if done.takes else (node, done.slots, *done.shared)
        if key not in self._of:
            several = [(Lack(node, name), amount) for name, amount in takes_of(done)]
            several += [(Lack("", name), amount) for name, amount in done.shared]
            self._of[key] = [each for each in (*several, (LIMIT, 1.0)) if self._has(each[0])]
        return self._of[key] if done.worker else ()

    def _has(self, lack: Lack) -> float:
        """How much there is, with what was added; 0: not known, and nobody waits for it."""
        if lack not in self._most:
            self._most[lack] = self._known(lack) + self._added(lack)
        return self._most[lack]

    def _known(self, lack: Lack) -> float:
        if lack == LIMIT:
            return self._story.limit
        return most_of(self._story, *lack) if lack.node else self._story.shared.get(lack.name, 0.0)

    def _added(self, lack: Lack) -> float:
        if lack == self._lack or (lack.node == self._lack.node and lack.name == GPU and is_gpu(self._lack.name)):
            return self._steps
        if lack.node == self._lack.node and lack.name == GPU_MEMORY and is_gpu(self._lack.name):
            return self._known(lack) * self._steps / self._known(Lack(lack.node, GPU))
        return 0.0
