"""What functions turned out to cost: mean and spread of their seconds and bytes, learned as reports come in, kept between runs.

Seconds are those of a node of usual speed: a run of t seconds on a node of speed s counts as t * s. The first run on a worker may have
imported modules and filled caches; it is told apart, as `cold_seconds`, so that it neither lengthens the mean nor is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import isfinite, log
from typing import Any

from handoff.program import BYTES_MAX, SECONDS_MAX
from handoff.scheduler.means import FAR, NEAR, RECENT, Mean

SECONDS_UNSEEN = 1.0     # assumed before anything at all has run
BYTES_UNSEEN = 1000.0
FUNCTIONS_MAX = 20_000   # remembered; the one that was not used for longest is forgotten first
SAMPLES_MAX = 64         # looked at in one report of a function little known
SAMPLES_KNOWN = 4        # and of a well-known one: hundreds of equal tasks say little more than these
PRIOR_RUNS = 2           # what another version of a function says about it is worth so many runs
VERSIONS_MAX = 8         # versions of a function that are asked
CODES_MAX = 4            # of a function that are written out to name it; of more, a digest is
STEADY = 4               # until so many runs that were not the first, the cold start is worked out anew
COLD_RECENT = 8.0        # of so many first runs the mean is taken
COLD_FACTOR = 1.5        # first runs that took so many times as long as the next one are no part of the mean
COLD_SECONDS_MAX = 60.0  # what takes longer than this is no import: the function itself takes longer
MET_MAX = 1024           # workers remembered per function; by then its cold start is known
SIZED_RUNS = 8           # of one size, before they count
SIZED_APART = 0.25       # and so far from the function's mean
GRADED_LEAN = 8.0
LEVEL_MAX = 100.0        # a level is the logarithm of seconds
GRADED = 16.0            # reports after which a function's level, beside which nodes are compared, follows the last ones

Codes = tuple[bytes, ...]
Row = tuple[Any, ...]    # a function as it is kept: see Function.row


class Function(Mean):
    """What is known about one function (or one function with others folded into it)."""

    __slots__ = (
        "_first", "_prior", "cold", "colds", "graded", "is_listed", "is_sized", "key", "lean", "level", "met", "name", "nbytes", "reach",
        "sizes", "warm",
    )

    def __init__(self, key: str = "", name: str = "") -> None:
        super().__init__()
        self.key, self.name = key, name
        self.nbytes = 0.0       # mean size of its result
        self.warm = 0           # runs that were not the first on their worker
        self.colds = 0          # those that were
        self.cold = 0.0         # how many seconds longer these took
        self.level = 0.0        # mean logarithm of its seconds, beside which the speed of a node shows
        self.graded = 0         # reports that made it
        self.lean = 0.0         # mean distance of the last ones from it: how far it lags behind
        self.sizes: dict[int, Mean] = {}   # by the number of bits of the bytes that it takes
        self.is_sized = False              # one of them was so far from the mean that they are to be looked at
        self.is_listed = False             # among the versions of its name
        self.met: set[int] = set()         # workers that have run it: peer << 32 | worker
        self.reach: float | None = None    # `Foresight.reach_of` it, until more is learned
        self._first = 0.0       # mean of the first runs, while these are all or nearly all that is known
        self._prior: tuple[int, float, float] = (0, 0.0, 0.0)   # count, seconds and spread that another version of it lends

    @property
    def cold_seconds(self) -> float:
        """How much longer than `seconds` its first run on a worker takes; 0 before that is known."""
        return max(0.0, self.cold)

    def observe(self, seconds: float, nbytes: float) -> None:
        """Take in one run."""
        self.reach = None
        self.warm = warm = self.warm + 1
        if warm == 1 and self.colds and seconds * COLD_FACTOR < self.seconds:
            self.start_over(*self._prior)  # until now there were first runs only, and one had to believe them
        before = self.count
        self.add(seconds)
        count = self.count
        self.nbytes += (nbytes - self.nbytes) / (count if count < RECENT else RECENT)
        if warm <= STEADY:
            if self.colds:
                self.cold = self._first - self.seconds
            elif count <= before:         # it started over, since what came before was its warm-up on several workers
                self.cold = max(self.cold, self._first - self.seconds)
            self._first = self._first if self.colds else max(self._first, seconds)

    def observe_first(self, seconds: float, nbytes: float) -> None:
        """Take in its first run on a worker."""
        self.reach = None
        self.colds += 1
        weight = 1.0 / min(COLD_RECENT, self.colds)
        mean = self.seconds
        if self.warm < STEADY:
            self._first = seconds if self.colds == 1 else self._first + (seconds - self._first) * weight
        if not self.warm:
            self.add(seconds)
            self.nbytes += (nbytes - self.nbytes) / self.count
            return
        self.cold = self._first - mean if self.warm < STEADY else self.cold + (seconds - mean - self.cold) * weight
        if seconds <= mean + FAR * self.spread + NEAR * mean or seconds > mean + COLD_SECONDS_MAX:
            self.observe(seconds, nbytes)

    def observe_sized(self, seconds: float, taken: float) -> None:
        """Take in how long it ran on inputs of so many bytes."""
        bits = int(taken).bit_length()
        found = self.sizes.get(bits)
        if found is None:
            found = self.sizes[bits] = Mean()
        found.add(seconds)
        if not self.is_sized and not found.count % SIZED_RUNS:   # with the others, since the mean may have left them
            self.is_sized = any(is_apart(each, self) for each in self.sizes.values())

    def grade(self, seconds: float) -> float:
        """How far (in logarithms) a report is from what the function takes on usual nodes; 0 for the first. The level follows.

        While the function itself becomes slower, all reports are above the level; what they have in common is not told.
        """
        at = log(seconds)
        self.graded += 1
        if self.graded == 1:
            self.level = at
            return 0.0
        away = at - self.level
        self.level += away / min(GRADED, self.graded)
        lean = self.lean
        self.lean = lean + (away - lean) / min(GRADED_LEAN, self.graded)
        return away - lean

    def start_from(self, others: Sequence[Function]) -> None:
        """Begin with what is known of other versions of it: the code changed, and is most likely not quite another."""
        total = sum(other.count for other in others)
        if total:
            def mean(of: str) -> float:
                return float(sum(getattr(other, of) * other.count for other in others) / total)

            self.nbytes, self.cold = mean("nbytes"), mean("cold")
            seconds = mean("seconds")
            self.reach = None
            self._prior = (min(PRIOR_RUNS, total), seconds, max(mean("spread"), seconds / 2))
            self.start_over(*self._prior)

    # ── as it is kept ───────────────────────────────────────────────────────

    def row(self) -> Row:
        """Plain numbers and texts."""
        sizes = " ".join(f"{bits}:{mean.count}:{mean.seconds!r}:{mean.spread!r}" for bits, mean in self.sizes.items())
        return (
            self.key, self.name, self.count, self.warm, self.colds, self.graded,
            self.seconds, self.spread, self.nbytes, self.cold, self._first, self.level, sizes,
        )

    @classmethod
    def restored(cls, row: Row) -> Function:
        """The function of a row; ValueError, TypeError or OverflowError for one that makes no sense."""
        key, name, *counts = row[:6]
        numbers = [float(each) for each in row[6:12]]
        count, warm, colds, graded = (int(each) for each in counts)
        if min(count, warm, colds, graded, *numbers[:3]) < 0 or not all(map(isfinite, numbers)) or not _is_sane(*numbers):
            raise ValueError(f"no numbers of a function: {row}")
        made = cls(str(key), str(name))
        made.count, made.warm, made.colds, made.graded = count, warm, colds, graded
        made.seconds, made.spread, made.nbytes, made.cold, made._first, made.level = numbers
        for each in str(row[12]).split():
            bits, of, seconds, spread = each.split(":")
            if min(int(of), float(seconds), float(spread)) < 0 or not _is_sane(float(seconds), float(spread)):
                raise ValueError(f"no durations of a function: {row}")
            made.sizes[int(bits)] = mean = Mean()
            mean.start_over(int(of), float(seconds), float(spread))
        made.is_sized = any(is_apart(each, made) for each in made.sizes.values())
        return made


class Estimates:
    """All functions that were seen, and what is assumed of those that were not."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.all = Function()
        self.changed: dict[Function, None] = {}            # since they were last kept
        self._versions: dict[str, dict[str, Function]] = {}  # by name, the latest last

    def of(self, codes: Codes, name: str = "") -> Function:
        """What is known about this code; the same object is filled as reports come in."""
        key = _key(codes)
        found = self.functions.pop(key, None) or self._new(key, name)
        if len(self.functions) >= FUNCTIONS_MAX:
            self._forget(next(iter(self.functions)))
        self.functions[key] = found
        if found.is_listed:
            self._list(found)
        return found

    def meet(self, function: Function) -> bool:
        """It comes once more, as `of` would note it; whether it is still known."""
        if self.functions.get(function.key) is not function:
            return False
        self.functions[function.key] = self.functions.pop(function.key)
        if function.is_listed:
            self._list(function)
        return True

    def look(self, codes: Codes, name: str = "") -> Function:
        """The same, only to look at: nothing is noted."""
        key = _key(codes)
        return self.functions.get(key) or self._new(key, name)

    def _new(self, key: str, name: str) -> Function:
        made = Function(key, name)
        if name in self._versions:
            made.start_from(list(self._versions[name].values()))
        return made

    def _list(self, function: Function) -> None:
        """Among the versions of its name, as the latest; of those only a few are kept, since there may be thousands of closures."""
        function.is_listed = True
        if function.name and not function.name.endswith("<lambda>"):   # lambdas have nothing but their name in common
            versions = self._versions.setdefault(function.name, {})
            versions.pop(function.key, None)
            versions[function.key] = function
            if len(versions) > VERSIONS_MAX:
                versions.pop(next(iter(versions))).is_listed = False

    def _forget(self, key: str) -> None:
        function = self.functions.pop(key)
        self.changed.pop(function, None)
        function.is_listed = True   # whoever still holds it may go on to fill it; it is not listed again
        versions = self._versions.get(function.name, {})
        versions.pop(key, None)
        if function.name in self._versions and not versions:
            del self._versions[function.name]

    # ── learning ────────────────────────────────────────────────────────────

    def sample(self, function: Function, tasks: list[int]) -> list[int]:
        """Those of many finished tasks that are looked at."""
        most = SAMPLES_MAX if function.count < RECENT else SAMPLES_KNOWN
        return tasks if len(tasks) <= most else tasks[:: -(-len(tasks) // most)]

    def observe(self, function: Function, seconds: Sequence[float], nbytes: Sequence[int]) -> None:
        """Take in what one report says about one function: seconds (of a node of usual speed) and size of the result of some runs."""
        if len(seconds) == 1:
            function.observe(seconds[0], nbytes[0])
            self._note(function, seconds[0], nbytes[0])
            return
        for spent, size in zip(seconds, nbytes, strict=True):
            function.observe(spent, size)
        self._note(function, sum(seconds) / len(seconds), sum(nbytes) / len(nbytes))

    def observe_first(self, function: Function, seconds: float, nbytes: int) -> None:
        """The same for its first run on a worker."""
        function.observe_first(seconds, nbytes)
        self._note(function, seconds, nbytes)

    def _note(self, function: Function, seconds: float, nbytes: float) -> None:
        self.changed[function] = None
        if not function.is_listed:
            self._list(function)
        every = self.all
        every.count += 1
        weight = 1.0 / min(RECENT, every.count)
        every.seconds += (seconds - every.seconds) * weight
        every.nbytes += (nbytes - every.nbytes) * weight

    # ── what is assumed ─────────────────────────────────────────────────────

    def seconds(self, function: Function, input_bytes: float | None = None) -> float:
        """How long it will run: its own mean, else the mean of everything, else a second.

        With the bytes that it will take, the mean of runs on as much, where there were enough and these differ clearly from the others.
        """
        if function.count:
            if input_bytes is not None and function.is_sized:
                sized = function.sizes.get(int(input_bytes).bit_length())
                if sized is not None and is_apart(sized, function):
                    return sized.seconds
            return function.seconds
        return self.all.seconds if self.all.count else SECONDS_UNSEEN

    def nbytes(self, function: Function) -> float:
        """How large its result will be."""
        if function.count:
            return function.nbytes
        return self.all.nbytes if self.all.count else BYTES_UNSEEN

    # ── kept between runs ───────────────────────────────────────────────────

    def remembered(self, most: int = FUNCTIONS_MAX) -> list[Row]:
        """Rows of functions of which something was learned since they were last asked for; so many at most, the rest comes next time."""
        several = list(self.changed)[:most]
        for function in several:
            del self.changed[function]
        return [function.row() for function in several]

    def recall(self, rows: Iterable[Row]) -> None:
        """Begin with what was kept, in order of use. Rows that make no sense are passed over."""
        for row in rows:
            try:
                function = Function.restored(row)
            except (ValueError, TypeError, IndexError, OverflowError):
                continue
            if function.key in self.functions or not function.count:
                continue
            if len(self.functions) >= FUNCTIONS_MAX:
                self._forget(next(iter(self.functions)))
            self.functions[function.key] = function
            self._note(function, function.seconds, function.nbytes)
        self.changed.clear()


def is_apart(sized: Mean, function: Function) -> bool:
    """Whether runs on inputs of one size are so many, and so different from the others, that they are to be told apart."""
    away = abs(sized.seconds - function.seconds)
    return sized.count >= SIZED_RUNS and away > sized.spread and away > SIZED_APART * function.seconds


def _is_sane(seconds: float, spread: float, nbytes: float = 0.0, cold: float = 0.0, first: float = 0.0, level: float = 0.0) -> bool:
    """Whether a function can be like that: what is more than anybody may expect of one would break plans."""
    return all(abs(each) <= SECONDS_MAX for each in (seconds, spread, cold, first)) and nbytes <= BYTES_MAX and abs(level) <= LEVEL_MAX


def _key(codes: Codes) -> str:
    if len(codes) <= CODES_MAX:
        return " ".join([code.hex() for code in codes])
    return f"{len(codes)} {blake2b(b''.join(codes), digest_size=16).hexdigest()}"
