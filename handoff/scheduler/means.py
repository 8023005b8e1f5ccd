"""A mean that one straggler hardly moves, and that follows when everything has become slower or quicker."""

from __future__ import annotations

RECENT = 32.0          # after so many runs, the last ones weigh more: it follows drift
FAR = 4.0              # what is further away than so many spreads ...
NEAR = 0.5             # ... and so much of the mean counts as if it were just that far away
OFF = 0.2              # further away than the spread and so much of the mean is off
OFF_RUNS = 8           # so many runs in a row that are off on the same side: it is the function that changed
YOUNG = 8              # until so many runs the mean is a guess, and gives way sooner:
OFF_RUNS_YOUNG = 3     # to so many runs that are off by twice as much,
WARM_UP_FACTOR = 8.0   # and to one that is so many times as quick, since what came before were imports and cold caches


class Mean:
    """Mean and spread of durations (in seconds), robust: see the head of the file."""

    __slots__ = ("_off", "_off_sum", "count", "seconds", "spread")

    def __init__(self) -> None:
        self.count = 0          # how often it was seen
        self.seconds = 0.0      # the mean
        self.spread = 0.0       # mean distance from the mean
        self._off = 0           # how many of the last ones were off, above (below: negative)
        self._off_sum = 0.0

    def add(self, seconds: float) -> None:
        """Take in one more."""
        count = self.count = self.count + 1
        if count == 1:
            self.seconds = seconds
            return
        mean, spread = self.seconds, self.spread
        away = seconds - mean
        off = spread + OFF * mean
        if away > off or away < -off:
            if self._is_shift(seconds, away, off):
                return
            limit = FAR * spread + NEAR * mean
            away = limit if away > limit else -limit if away < -limit else away
        elif self._off:
            self._off = 0
        weight = 1.0 / count if count < RECENT else 1.0 / RECENT
        self.seconds = mean + away * weight
        self.spread = spread + ((away if away > 0.0 else -away) - spread) * weight

    def _is_shift(self, seconds: float, away: float, off: float) -> bool:
        """Whether so many were off on this side that learning has started over, from them."""
        side = 1 if away > 0.0 else -1
        if self._off * side > 0:
            self._off += side
            self._off_sum += seconds
        else:
            self._off, self._off_sum = side, seconds
        runs = self._off * side
        if runs < OFF_RUNS:
            if self.count - runs > YOUNG:
                return False
            if not (runs >= OFF_RUNS_YOUNG and side * away > 2.0 * off) and seconds * WARM_UP_FACTOR >= self.seconds:
                return False
        self.start_over(runs, self._off_sum / runs)
        return True

    def start_over(self, count: int, seconds: float, spread: float = 0.0) -> None:
        """Forget all but so many runs, of that mean."""
        self.count, self.seconds, self.spread, self._off = count, seconds, spread, 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count} runs of {self.seconds:.4g} s ± {self.spread:.2g})"
