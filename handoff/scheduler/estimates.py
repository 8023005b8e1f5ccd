"""What functions turned out to cost: mean and spread of their seconds and bytes, learned as reports come in, kept between runs."""

from __future__ import annotations

from collections.abc import Sequence

RECENT = 32.0            # after so many runs, the last ones weigh more: it follows drift
SECONDS_UNSEEN = 1.0     # assumed before anything at all has run
BYTES_UNSEEN = 1000.0
FUNCTIONS_MAX = 20_000   # remembered; the one that was not used for longest is forgotten first
SAMPLES_MAX = 64         # looked at in one report of a function little known
WARM_UP = 8              # among the first so many runs, slow ones may have been imports and cold caches
WARM_UP_FACTOR = 8.0     # when they took so many times as long as a later one
SAMPLES_KNOWN = 4        # and of a well-known one: hundreds of equal tasks say little more than these


class Function:
    """What is known about one function (or one function with others folded into it)."""

    __slots__ = ("count", "nbytes", "seconds", "spread")

    def __init__(self) -> None:
        self.count = 0          # how often it was seen
        self.seconds = 0.0      # mean on a node of usual speed
        self.spread = 0.0       # mean distance from the mean
        self.nbytes = 0.0       # mean size of its result

    def observe(self, seconds: float, nbytes: float) -> None:
        """Take in one run. One far quicker than the few before shows that they were the warm-up, and learning starts over."""
        if 0 < self.count < WARM_UP and seconds * WARM_UP_FACTOR < self.seconds:
            self.count, self.seconds, self.spread = 0, 0.0, 0.0
        self.count += 1
        weight = 1.0 / self.count if self.count < RECENT else 1.0 / RECENT
        away = seconds - self.seconds
        self.seconds += away * weight
        self.nbytes += (nbytes - self.nbytes) * weight
        if self.count > 1:
            self.spread += (abs(away) - self.spread) * weight


class Estimates:
    """All functions that were seen, and what is assumed of those that were not."""

    def __init__(self) -> None:
        self.functions: dict[tuple[bytes, ...], Function] = {}
        self.all = Function()

    def of(self, codes: tuple[bytes, ...]) -> Function:
        """What is known about this code; the same object is filled as reports come in."""
        found = self.functions.pop(codes, None)
        if found is None:
            found = Function()
            if len(self.functions) >= FUNCTIONS_MAX:
                del self.functions[next(iter(self.functions))]
        self.functions[codes] = found
        return found

    def sample(self, function: Function, tasks: list[int]) -> list[int]:
        """Those of many finished tasks that are looked at."""
        most = SAMPLES_MAX if function.count < RECENT else SAMPLES_KNOWN
        return tasks if len(tasks) <= most else tasks[:: -(-len(tasks) // most)]

    def observe(self, function: Function, seconds: Sequence[float], nbytes: Sequence[int]) -> None:
        """Take in what one report says about one function."""
        for spent, size in zip(seconds, nbytes, strict=True):
            function.observe(spent, size)
        self.all.observe(sum(seconds) / len(seconds), sum(nbytes) / len(nbytes))

    def seconds(self, function: Function) -> float:
        """How long it will run: its own mean, else the mean of everything, else a second."""
        if function.count:
            return function.seconds
        return self.all.seconds if self.all.count else SECONDS_UNSEEN

    def nbytes(self, function: Function) -> float:
        """How large its result will be."""
        if function.count:
            return function.nbytes
        return self.all.nbytes if self.all.count else BYTES_UNSEEN
