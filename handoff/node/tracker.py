"""A resource tracker of the user's own: who decides in a node's place what may start, and what the node offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from handoff.resources import CLUSTER, GPU_MEMORY, SCALE, STEPS_MAX, Amounts, is_gpu, shown


class ResourceTracker(Protocol):
    """Decides what may start on a node: `handoff-node --tracker MODULE:CLASS`, called with what the machine has, or was said to have.

    It stands in the place of the node's own count: what it says fits starts, also where less is free than that asks for, and what it says
    does not fit waits. Two things stay with the node: GPUs, which are handed out one by one, so that nobody gets a part of one that
    somebody else has; and how many functions that cost nothing run at once. The node counts on beside it, and goes on with its own count
    when the tracker raises; the log says why.

        class TwiceTheCores:
            '''Our functions wait for others most of the time: each core is given out twice.'''

            def __init__(self, capacity):
                self.offered = {name: 2 * amount if name == "cpu" else amount for name, amount in capacity}
                self.free = dict(self.offered)

            def offers(self):
                return self.offered.items()

            def available(self):
                return self.free.items()

            def fits(self, cost):
                return all(self.free[name] >= amount for name, amount in cost)

            def take(self, cost, gpus):
                for name, amount in cost:
                    self.free[name] -= amount

            def give_back(self, cost, gpus):
                for name, amount in cost:
                    self.free[name] += amount

    A cost is pairs of a resource's name and an amount in steps of 1/10,000 (`handoff.resources.amounts` makes them of numbers, `plain`
    makes numbers of them), empty for what costs nothing; `gpus` are the indices of the GPUs that go with the claim. Functions that run one
    after the other in one worker share a claim. All of it is called in the node's daemon, by one thread.

    Two more methods may be left out. `offers()` is asked once, at the start: what the coordinator is told that this node has. It plans
    within that, and refuses what asks for more, so a tracker that lets more start than the machine has says so here. (GPUs and their
    memory can't be more than there are.) Left out, the node offers what the tracker was made with. `available()` is what is told to be
    free, with each heartbeat; it is for people, and for `client.resources_available`. Left out, the node's own count is told.
    """

    def fits(self, cost: Amounts) -> bool:
        """Whether a function of this cost may start now: asked whenever anything changes on the node, and with each heartbeat, for what
        waits there. It must be quick, and change nothing."""

    def take(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """One starts; `fits` has just said that it may."""

    def give_back(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """It is over, however it ended: called exactly once for each `take`."""


def offer_of(tracker: ResourceTracker, capacity: Amounts) -> Amounts:
    """What a node with this tracker offers. ValueError or TypeError when that makes no sense."""
    said = _asked(tracker, "offers")
    if said is None:
        return capacity
    has = dict(capacity)
    for name, steps in said:
        if name.startswith(CLUSTER):
            raise ValueError(f"it offers {name}, which the coordinator counts")
        if is_gpu(name) and steps % SCALE:
            raise ValueError(f"it offers {name}={shown(steps)}: a node has whole GPUs")
        if (is_gpu(name) or name == GPU_MEMORY) and steps > has.get(name, 0):
            raise ValueError(f"it offers {name}={shown(steps)}, where there is {shown(has.get(name, 0))}: no GPU is given out twice")
    return said


def available(tracker: ResourceTracker) -> Amounts | None:
    """What a tracker says is free; None when it does not say."""
    return _asked(tracker, "available")


def _asked(tracker: ResourceTracker, what: str) -> Amounts | None:
    method = getattr(tracker, what, None)
    if method is None:
        return None
    said: Iterable[tuple[str, int]] = method()
    found = dict(said)
    for name, steps in found.items():
        if type(name) is not str or not name or type(steps) is not int or steps > STEPS_MAX:
            raise TypeError(f"{what}() gives {name!r}: {steps!r}; it is to give names and whole numbers of steps")
    return tuple(sorted((name, steps) for name, steps in found.items() if steps > 0))
