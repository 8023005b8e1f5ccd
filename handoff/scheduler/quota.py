"""How many tasks of a run may execute at once, shared out among its nodes: each keeps to its share, however many are planned on it."""

from __future__ import annotations

from collections.abc import Sequence


class Quota:
    """What may execute at once: of each node its share, or all that lies there, if that is less. Together never more than `most`.

    A node is told its share with each plan. The share of one with more tasks than that only grows, or it would have to be asked how many
    run; it has fewer as soon as so few lie there that no more can run.
    """

    __slots__ = ("most", "on", "share", "used")

    def __init__(self, most: int) -> None:
        self.most = most
        self.on: dict[int, int] = {}       # per node: tasks that lie there, or may still run there though they were taken back
        self.share: dict[int, int] = {}    # per node: so many of them it runs at once
        self.used = 0                      # the sum of what may execute at once

    def room(self) -> int:
        """How many more may execute; below 1: none."""
        return self.most - self.used

    def running(self, peer: int) -> int:
        """How many may execute there."""
        return min(self.on.get(peer, 0), self.share.get(peer, 0))

    def add(self, peer: int, count: int, more: int) -> None:
        """So many tasks are given to that node, which may run `more` at once than before; what that leaves waits there."""
        before, on = self.running(peer), self.on.get(peer, 0) + count
        self.on[peer] = on
        self.share[peer] = before + more
        self.used += min(on, before + more) - before

    def remove(self, peer: int, count: int = 1) -> None:
        """So many have ended there, or have been given back."""
        before, on = self.running(peer), self.on[peer] - count
        if on:
            self.on[peer] = on
            self.used += min(on, self.share[peer]) - before
        else:
            del self.on[peer], self.share[peer]
            self.used -= before

    def keep(self, peer: int) -> None:
        """What is about to be taken back from there may go on until its end is heard."""
        before = self.running(peer)
        self.on[peer] += 1
        self.used += self.running(peer) - before

    def deal(self, peers: Sequence[int], places: Sequence[int], levels: Sequence[float]) -> list[int]:
        """How many more each node may run: what is left, evenly, up to its places; first to who has least to do."""
        lacks = [max(0, most - self.running(peer)) for peer, most in zip(peers, places, strict=True)]
        left = max(0, self.room())
        if sum(lacks) <= left:
            return lacks
        dealt = [0] * len(peers)
        if not left:
            return dealt
        order = sorted([index for index, lack in enumerate(lacks) if lack], key=lambda index: (levels[index], index))
        while left:      # a round for each place of a node
            least = min([self.running(peers[index]) + dealt[index] for index in order])
            for index in order:
                if left and self.running(peers[index]) + dealt[index] == least:
                    dealt[index] += 1
                    left -= 1
            order = [index for index in order if dealt[index] < lacks[index]]
        return dealt
