"""A mean that one straggler hardly moves, and that follows when everything has become slower or quicker."""

from __future__ import annotations

RECENT = 32.0          # after so many runs, the last ones weigh more: it follows drift
FAR = 4.0              # what is further away than so many spreads ...
NEAR = 0.5             # ... and so much of the mean counts as if it were just that far away
YOUNG = 8              # until so many runs the mean is a guess, and gives way sooner
SHIFT_RUNS = 8         # so many runs in a row that are far away on the same side: it is the function that changed
SHIFT_RUNS_YOUNG = 3
WARM_UP_FACTOR = 8.0   # a young mean that was so many times as long as a run was that of imports and cold caches


class Mean:
    """Mean and spread of durations (in seconds), robust: see the head of the file."""

    __slots__ = ("_far", "_far_sum", "count", "seconds", "spread")

    def __init__(self) -> None:
        self.count = 0          # how often it was seen
        self.seconds = 0.0      # the mean
        self.spread = 0.0       # mean distance from the mean
        self._far = 0           # how many of the last ones were far above (below: negative)
        self._far_sum = 0.0

    def add(self, seconds: float) -> None:
        """Take in one more."""
        count = self.count = self.count + 1
        if count == 1:
            self.seconds = seconds
            return
        mean, spread = self.seconds, self.spread
        away = seconds - mean
        limit = FAR * spread + NEAR * mean
        if away > limit or away < -limit or (count <= YOUNG and seconds * WARM_UP_FACTOR < mean):
            if self._is_shift(seconds, away):
                return
            away = min(limit, max(-limit, away))
        elif self._far:
            self._far = 0
        weight = 1.0 / count if count < RECENT else 1.0 / RECENT
        self.seconds = mean + away * weight
        self.spread = spread + ((away if away > 0.0 else -away) - spread) * weight

    def _is_shift(self, seconds: float, away: float) -> bool:
        """Whether so many were far away on this side that learning has started over, from them."""
        side = 1 if away > 0.0 else -1
        if self._far * side > 0:
            self._far += side
            self._far_sum += seconds
        else:
            self._far, self._far_sum = side, seconds
        far = self._far * side
        young = self.count - far <= YOUNG
        if far < (SHIFT_RUNS_YOUNG if young else SHIFT_RUNS) and not (young and seconds * WARM_UP_FACTOR < self.seconds):
            return False
        self.start_over(far, self._far_sum / far)
        return True

    def start_over(self, count: int, seconds: float, spread: float = 0.0) -> None:
        """Forget all but so many runs, of that mean."""
        self.count, self.seconds, self.spread, self._far = count, seconds, spread, 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count} runs of {self.seconds:.4g} s ± {self.spread:.2g})"
