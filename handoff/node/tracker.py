"""A say of one's own in what starts on a node, beside the node's own count of what is free."""

from __future__ import annotations

from typing import Protocol

from handoff.resources import Amounts


class ResourceTracker(Protocol):
    """Decides with the node what may start now: `handoff-node --tracker MODULE:CLASS`, called with the node's capacity.

    The node keeps its own count, so a tracker can hold back what would fit, but never give away what is not there. It is asked in the
    node's daemon for each claim; functions that run one after the other in one worker share a claim. One that it holds back is asked about
    again whenever something changes on the node. A tracker that raises is left out from then on, and the log says why.

        class OneOfEach:
            '''Never two functions at once that use the same resource.'''

            def __init__(self, capacity):
                self.used = set()

            def fits(self, cost):
                return self.used.isdisjoint(name for name, _ in cost)

            def take(self, cost, gpus):
                self.used.update(name for name, _ in cost)

            def give_back(self, cost, gpus):
                self.used.difference_update(name for name, _ in cost)

    A cost is pairs of a resource's name and an amount in steps of 1/10,000 (`handoff.resources.plain` makes numbers of them), empty
    for what costs nothing; `gpus` are the indices of the GPUs that go with the claim.
    """

    def fits(self, cost: Amounts) -> bool:
        """Whether a function of this cost may start now. Asked often: it must be quick, and change nothing."""

    def take(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """One starts."""

    def give_back(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """It is over, however it ended: called exactly once for each `take`."""
