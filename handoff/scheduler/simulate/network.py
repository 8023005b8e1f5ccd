"""Transfers that share links: each gets its max-min fair part, as long streams over one switch do.

Source: D. Bertsekas, R. Gallager, Data Networks, 2nd ed., 6.5.2 (progressive filling): the tightest link is divided evenly among its
transfers, which are then fixed; what is left is divided anew.
"""

from __future__ import annotations

from collections.abc import Mapping


class Flow:
    """One transfer under way."""

    __slots__ = ("left", "rate", "source", "target", "what")

    def __init__(self, source: int, target: int, nbytes: float, what: tuple[int, int]) -> None:
        self.source, self.target, self.left, self.what = source, target, nbytes, what
        self.rate = 0.0


class Network:
    """All transfers. `advance` to a time, then `finished` are those that are through; `next_end` says when to come back."""

    def __init__(self, bandwidth: float, rates: Mapping[tuple[int, int], float] | None = None) -> None:
        self.bandwidth = bandwidth
        self.rates = rates or {}
        self.flows: dict[Flow, None] = {}
        self.at = 0.0
        self._stale = False

    def start(self, now: float, source: int, target: int, nbytes: float, what: tuple[int, int]) -> None:
        """Begin a transfer."""
        self.advance(now)
        self.flows[Flow(source, target, max(1.0, nbytes), what)] = None
        self._stale = True

    def drop(self, now: float, node: int) -> list[Flow]:
        """A node is gone: its transfers are, too."""
        self.advance(now)
        gone = [flow for flow in self.flows if node in (flow.source, flow.target)]
        for flow in gone:
            del self.flows[flow]
        self._stale = True
        return gone

    def advance(self, now: float) -> None:
        """Let the time pass; rates are those of the last change."""
        passed = now - self.at
        if passed > 0.0:
            self._share()
            for flow in self.flows:
                flow.left -= flow.rate * passed
            self.at = now

    def finished(self, now: float) -> list[Flow]:
        """The transfers that are through by now, which are forgotten."""
        self.advance(now)
        done = [flow for flow in self.flows if flow.left <= 0.5]
        for flow in done:
            del self.flows[flow]
        self._stale |= bool(done)
        return done

    def next_end(self) -> float:
        """When the next transfer will be through, if none begins."""
        self._share()
        return self.at + max(0.0, min(((flow.left / flow.rate) for flow in self.flows), default=float("inf")))

    def _share(self) -> None:
        """Progressive filling."""
        if not self._stale:
            return
        self._stale = False
        out: dict[int, list[Flow]] = {}
        into: dict[int, list[Flow]] = {}
        for flow in self.flows:
            out.setdefault(flow.source, []).append(flow)
            into.setdefault(flow.target, []).append(flow)
        links: list[list[Flow]] = [*out.values(), *into.values()]
        left = [self.bandwidth] * len(links)
        counts = [len(flows) for flows in links]
        out_at = {node: place for place, node in enumerate(out)}
        into_at = {node: place + len(out) for place, node in enumerate(into)}
        fixed: set[Flow] = set()
        open_links = dict.fromkeys(range(len(links)))
        while open_links:
            tightest = min(open_links, key=lambda place: left[place] / counts[place])
            part = max(left[tightest] / counts[tightest], 1e-9)
            for flow in links[tightest]:
                if flow in fixed:
                    continue
                fixed.add(flow)
                flow.rate = min(part, self.rates.get((flow.source, flow.target), part)) if self.rates else part
                for place in (out_at[flow.source], into_at[flow.target]):
                    left[place] = max(0.0, left[place] - flow.rate)
                    counts[place] -= 1
                    if not counts[place]:
                        open_links.pop(place, None)
            open_links.pop(tightest, None)
