"""How fast values flow from node to node, learned per pair of names from what nodes tell with their heartbeats; kept between runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from handoff.program import BYTES_MAX, SECONDS_MAX

BYTES_MIN = 1 << 20        # less than this in sum says nothing: it was in a buffer already
BYTES_RECENT = 256 << 20   # after so many bytes, the last ones weigh more
FASTER = 1.25              # the slowest pair became so much faster: another one is looked for
PAIRS_MAX = 20_000         # remembered; the one that was not used for longest is forgotten first

Row = tuple[Any, ...]


class Flow:
    """What was seen to flow: recent bytes, in how many seconds."""

    __slots__ = ("nbytes", "seconds")

    def __init__(self, nbytes: float = 0.0, seconds: float = 0.0) -> None:
        self.nbytes, self.seconds = nbytes, seconds

    def add(self, nbytes: float, seconds: float) -> None:
        """More of it; what came before fades by as many bytes."""
        fading = BYTES_RECENT / (BYTES_RECENT + nbytes)
        self.nbytes = self.nbytes * fading + nbytes
        self.seconds = self.seconds * fading + seconds

    @property
    def rate(self) -> float | None:
        """Bytes per second; None while too little was seen."""
        return self.nbytes / self.seconds if self.nbytes >= BYTES_MIN and self.seconds > 0.0 else None


class Links:
    """All of them."""

    def __init__(self, bandwidth_bytes_per_second: float) -> None:
        self.assumed = bandwidth_bytes_per_second     # until something was measured
        self.pairs: dict[tuple[str, str], Flow] = {}
        self.changed: dict[tuple[str, str], None] = {}
        self.version = 0                              # counts what was observed
        self._slowest: tuple[tuple[str, str], float] = (("", ""), float("inf"))   # a pair, and what was its rate when it came to be it
        self._into: dict[str, Flow] = {}
        self._all = Flow()

    @property
    def default(self) -> float:
        """The mean of the cluster; before anything was measured, what the settings say."""
        return self._all.rate or self.assumed

    @property
    def slowest(self) -> float:
        """Bytes per second that every pair has, as far as is known."""
        return min(self._slowest[1], self.default)

    def rate(self, source: str, target: str) -> float:
        """Bytes per second from one node to another (by name): of this pair, else into that node, else in the cluster."""
        pair = self.pairs.get((source, target))
        if pair is not None and (known := pair.rate) is not None:
            return known
        into = self._into.get(target)
        return (into.rate if into is not None else None) or self.default

    def observe(self, source: str, target: str, nbytes: float, seconds: float) -> None:
        """So many bytes of large values came from there, which flowed for so long. Nonsense is passed over."""
        if not (0.0 < nbytes <= BYTES_MAX and 0.0 < seconds <= SECONDS_MAX):   # NaN is neither
            return
        pair = (source, target)
        flow = self.pairs.pop(pair, None) or Flow()
        if len(self.pairs) >= PAIRS_MAX:
            oldest = next(iter(self.pairs))
            del self.pairs[oldest]
            self.changed.pop(oldest, None)
        self.pairs[pair] = flow
        self.changed[pair] = None
        if len(self._into) >= PAIRS_MAX and target not in self._into:
            del self._into[next(iter(self._into))]
        for each in (flow, self._into.setdefault(target, Flow()), self._all):
            each.add(nbytes, seconds)
        self.version += 1
        rate = flow.rate
        slowest, was = self._slowest
        if rate is not None and rate < was:
            self._slowest = (pair, rate)
        elif rate is not None and pair == slowest and rate > FASTER * was:
            at = min(self.measured(), key=lambda each: each[2])
            self._slowest = ((at[0], at[1]), at[2])

    def measured(self) -> list[tuple[str, str, float]]:
        """Every pair of which the rate is known: source, target, bytes per second."""
        return [(*pair, rate) for pair, flow in self.pairs.items() if (rate := flow.rate) is not None]

    # ── kept between runs ───────────────────────────────────────────────────

    def remembered(self) -> list[Row]:
        """Rows (source, target, bytes, seconds) of the pairs that changed since they were last asked for."""
        rows = [(*pair, self.pairs[pair].nbytes, self.pairs[pair].seconds) for pair in self.changed]
        self.changed.clear()
        return rows

    def recall(self, rows: Iterable[Row]) -> None:
        """Begin with what was kept; rows that make no sense are passed over."""
        for row in rows:
            try:
                source, target, nbytes, seconds = str(row[0]), str(row[1]), float(row[2]), float(row[3])
            except (ValueError, TypeError, IndexError):
                continue
            self.observe(source, target, nbytes, seconds)
        self.changed.clear()
