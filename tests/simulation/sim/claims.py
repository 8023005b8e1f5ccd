"""Who holds what on each node, counted independently of the brains."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from handoff.ids import RunId, WorkerId
from handoff.resources import CLUSTER

if TYPE_CHECKING:
    from sim.node import Node
    from sim.workers import Work


class Overcommitted(AssertionError):
    """A node gave away more than it has."""


class Hands:
    """What one worker was given and has not ended."""

    __slots__ = ("executing", "is_dying", "works")

    def __init__(self) -> None:
        self.works: dict[tuple[RunId, int, int], Work] = {}
        self.executing: dict[tuple[RunId, int, int], None] = {}
        self.is_dying = False    # its node has asked for its end, and counts on nothing that it still does

    def claim(self) -> dict[str, int]:
        """One claim for tasks that run one after the other; one more for each coroutine beside others."""
        total: dict[str, int] = {}
        batch: dict[str, int] = {}
        for work in self.works.values():
            for name, steps in work.cost:
                if name.startswith(CLUSTER):   # that is no node's to give
                    continue
                if work.is_at_once:
                    total[name] = total.get(name, 0) + steps
                else:
                    batch[name] = max(batch.get(name, 0), steps)
        for name, steps in batch.items():
            total[name] = total.get(name, 0) + steps
        return total

    def at_once(self, run: RunId) -> int:
        """How many of a run execute in it: all that run beside others, and one of the rest: each ends before the next begins, and word
        comes later.
        """
        flags = [self.works[key].is_at_once for key in self.executing if key[0] == run and key in self.works]
        coroutines = sum(flags)
        return coroutines + (coroutines < len(flags))


class Claims:
    """All nodes."""

    def __init__(self) -> None:
        self._hands: dict[Node, dict[WorkerId, Hands]] = {}
        self._ever: dict[Node, dict[WorkerId, None]] = {}

    def knows(self, node: Node, worker: WorkerId) -> bool:
        """Whether it ever had work there, or lived."""
        return worker in self._ever.get(node, {})

    def lives(self, node: Node, worker: WorkerId) -> None:
        """A worker was started."""
        self._ever.setdefault(node, {})[worker] = None

    def take(self, node: Node, worker: WorkerId, work: Work) -> None:
        """One more task in a worker's hands."""
        workers = self._hands.setdefault(node, {})
        hands = workers.setdefault(worker, Hands())
        key = (work.run, work.task, work.attempt)
        for other, held in workers.items():
            if key in held.works and not held.is_dying:   # it is about to be ended for the sake of another run
                raise Overcommitted(f"{node.host}: task {work.run}/{work.task}#{work.attempt} is given to workers {worker} and {other}")
        hands.works[key] = work
        have = dict(node.capacity)
        total: dict[str, int] = {}
        for each in workers.values():
            for name, steps in each.claim().items():
                total[name] = total.get(name, 0) + steps
        for name, steps in total.items():
            if steps > have.get(name, 0):
                raise Overcommitted(f"{node.host}: {steps} of {have.get(name, 0)} {name} are claimed with task {work.run}/{work.task}")

    def began(self, node: Node, worker: WorkerId, work: Work) -> None:
        """It executes."""
        self._hands[node][worker].executing[work.run, work.task, work.attempt] = None

    def give_back(self, node: Node, worker: WorkerId, work: Work) -> None:
        """It ended."""
        hands = self._hands[node][worker]
        key = (work.run, work.task, work.attempt)
        hands.works.pop(key, None)
        hands.executing.pop(key, None)

    def dying(self, node: Node, worker: WorkerId) -> None:
        """Its node asked for its end."""
        hands = self._hands.get(node, {}).get(worker)
        if hands is not None:
            hands.is_dying = True

    def gone(self, node: Node, worker: WorkerId) -> None:
        """The worker ended, with all that it held."""
        self._hands.get(node, {}).pop(worker, None)

    def executing(self, run: RunId, lost: Container[int]) -> int:
        """How many tasks of a run execute on living nodes that the coordinator counts on."""
        return sum(
            hands.at_once(run)
            for node, workers in self._hands.items()
            if node.alive and node.me not in lost
            for hands in workers.values()
            if not hands.is_dying
        )

    def others(self, here: Node, run: RunId, task: int, lost: Container[int]) -> list[str]:
        """Where else this task executes just now, and counts."""
        return [
            f"{node.host}#{key[2]}"
            for node, workers in self._hands.items()
            if node is not here and node.alive and node.me not in lost
            for hands in workers.values()
            if not hands.is_dying
            for key in hands.executing
            if key[:2] == (run, task)
        ]

    def busy(self, node: Node) -> list[tuple[RunId, int, int]]:
        """What executes there, and counts: runs, tasks, attempts."""
        hands = self._hands.get(node, {}) if node.alive else {}
        return [key for each in hands.values() if not each.is_dying for key in each.executing]

    def held(self) -> list[str]:
        """Whatever is still held on living nodes, for the end."""
        return [
            f"{node.host} worker {worker}: {list(hands.works)}"
            for node, workers in self._hands.items()
            if node.alive
            for worker, hands in workers.items()
            if hands.works
        ]
