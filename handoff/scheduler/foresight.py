"""What is expected of tasks: how long they run, how large their results become, and how early they may be bound to a node."""

from __future__ import annotations

from handoff.scheduler.estimates import Estimates, Function
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import AHEAD, DONE, HELD, INPUTS_MAX, Run
from handoff.settings import SchedulerSettings

HORIZON_SECONDS_MIN = 0.04   # below this a node runs dry between two turns of a busy coordinator
STEADY_AFTER = 8             # a function seen so often, whose runs differ from their mean by no more than ...
STEADY_SPREAD = 0.25         # ... this part of it, is so well known that even long tasks may be bound a little ahead
UNSURE = 2.0                 # runs differ by this part of their mean at least, divided by how many were seen
WELL_KNOWN = 32              # until a function was seen so often, its stream starts slowly:
AHEAD_PER_RUN = 2            # for each run seen, so many tasks may be ahead at once, since one quick run among slow ones may mislead
LOW = 0.5                    # nodes are topped up when what they have lasts for less than this part of the reach of what comes next,
LOW_ROUND_TRIPS = 4.0        # or for so many round trips where that is more
SOON_ROUND_TRIPS = 8.0       # what is short beside round trips is bound so many of them early: it would wait for word longer than it runs
BESIDE_ROUND_TRIPS = 4.0     # that holds for tasks of so many round trips, however they vary, of a function that ran often; and ...
NEW_AHEAD = 64               # ... for a new one where all others were short: so many of it may be ahead at once
STEADY_RUNS = 4.0            # after so many runs of a function, half of its reach is used; after many, all of it
WRITTEN_PER_SECOND = 2e9     # bytes of large results, by a worker, about


def seconds_of_writing(run: Run, task: int) -> float:
    """For how long at most its inputs are still being written, where all that are missing are large and are being; else 0."""
    if run.fan_in[task] > INPUTS_MAX:
        return 0.0
    longest = 0.0
    for each in run.inputs_of(task):
        if run.state[each] == DONE:
            continue
        if run.nearly.get(each) != run.attempt[each] or not AHEAD <= run.state[each] <= HELD:
            return 0.0
        longest = max(longest, run.nbytes[each] / WRITTEN_PER_SECOND)
    return longest


class Foresight:
    """As the user says, else as learned."""

    def __init__(self, settings: SchedulerSettings, estimates: Estimates) -> None:
        self.estimates = estimates
        self.round_trip = settings.round_trip_seconds
        self.latency = self.round_trip / 2     # seconds that a message takes
        self.horizon = max(HORIZON_SECONDS_MIN, self.round_trip * settings.horizon_round_trips)   # nothing is bound earlier than this
        self.short = self.horizon / 2          # tasks of at most this long are short
        self.soon = min(self.horizon, self.round_trip * SOON_ROUND_TRIPS)

    def is_short(self, shape: Shape) -> bool:
        """Whether such tasks are known to be short beside what a decision costs, so that they may be planned ahead."""
        function = shape.function
        return function.count > 0 and function.seconds + function.spread <= self.short

    def seconds(self, run: Run, task: int, shape: Shape, taken: float | None = None) -> float:
        """How long it will run on a node of usual speed: as the user says, else as learned. It takes so many bytes, if that is at hand."""
        if run.told:
            told = run.told[task]
            if told >= 0.0:
                return told
        function = shape.functions[run.choices.get(task, 0)] if run.choices else shape.function
        if function.count and not function.is_sized:
            return function.seconds
        if function.is_sized and run.linked and (run.is_over or not run.missing[task]):   # of a run that rests nothing is missing
            return self.estimates.seconds(function, run.input_bytes(task) if taken is None else taken)
        return self.estimates.seconds(function)

    def seconds_at(self, run: Run, task: int, shape: Shape, alternative: int) -> float:
        """The same at this one of its costs. One that was never tried is taken to be as quick as the quickest that was."""
        if len(shape.needs) == 1:
            return self.seconds(run, task, shape)
        function = shape.functions[alternative]
        if function.count:
            return function.seconds
        return min([each.seconds for each in shape.functions if each.count], default=self.seconds(run, task, shape))

    def reach(self, run: Run, task: int, shape: Shape) -> float:
        """How many seconds before its start this task may be bound to a node: the better it is known, and the shorter, the earlier."""
        if run.told and run.told[task] >= 0.0:
            return self.horizon
        if run.nearly and run.missing[task] and (writing := seconds_of_writing(run, task)):
            return self.horizon + writing
        function = shape.function
        count = function.count
        if count < WELL_KNOWN:
            is_new = count < STEADY_AFTER and run.linked and run.missing[task] > 0 and shape.ahead < NEW_AHEAD
            if is_new and self._is_short_so_far(function):
                return max(self.reach_of(function), self.soon)
            if shape.ahead > AHEAD_PER_RUN * count:
                return 0.0
        if shape.node and self.is_short(shape):
            return self.horizon    # it can't be bound to the wrong node
        known = function.reach
        return known if known is not None else self.reach_of(function)

    def is_early(self, function: Function) -> bool:
        """Whether its tasks may be bound before there is room for them."""
        return self.reach_of(function) > 0.0

    def _is_short_so_far(self, function: Function) -> bool:
        """Whether a new function was short as often as it ran, or everything else was. If it is not, what was bound is taken back."""
        every = self.estimates.all
        known = function if function.count else every
        return every.count > 0 and every.seconds <= self.short and known.seconds + known.spread <= self.short

    def is_long_by_now(self, function: Function) -> bool:
        """Whether its tasks, which may have been bound while they were thought to be short, take too long for that, as far as is known."""
        known = function if function.count else self.estimates.all
        return known.count > 0 and known.seconds > self.short and not self.reach_of(function)

    def reach_of(self, function: Function) -> float:
        """The same for any task of this function.

        The end of n tasks in a row is known to about spread * sqrt(n). Bound so far ahead that this is a round trip, they cost as much by
        being in the wrong place as they save; so much nearer they only save. Asked several times for each task: worked out once.
        """
        known = function.reach
        if known is None:
            known = function.reach = self._worked_out(function)
        return known

    def _worked_out(self, function: Function) -> float:
        count = function.count
        if not count:
            return 0.0
        seconds, spread = function.seconds, function.spread
        if seconds + spread > self.short and not (count >= STEADY_AFTER and spread <= STEADY_SPREAD * seconds):
            return 0.0
        spread = max(spread, seconds * UNSURE / (count + 1.0))
        reach = self.horizon
        if spread > 0.0:
            reach = min(reach, (self.round_trip / spread) ** 2 * seconds)
        reach *= count / (count + STEADY_RUNS)
        if count >= WELL_KNOWN and seconds <= BESIDE_ROUND_TRIPS * self.round_trip:
            reach = max(reach, self.soon)
        return reach if reach > self.round_trip else 0.0

    def mark(self, now: float, run: Run, shape: Shape, reach: float) -> float:
        """How many seconds before its start a task with this reach is bound now, in the pass of this time.

        When a node is running low on them, all are filled; until then nobody gets anything: many tasks in one message now and then, where
        each pass would else bind the one or two that have just come within reach.
        """
        return reach if run.topped_up == now or not shape.ahead else min(reach, max(LOW * reach, LOW_ROUND_TRIPS * self.round_trip))

    def nbytes(self, run: Run, task: int) -> float:
        """How large its result is, or will be."""
        if run.state[task] == DONE or (run.nearly and task in run.nearly):
            return run.nbytes[task]
        if run.told_bytes:
            told = run.told_bytes[task]
            if told >= 0.0:
                return told
        functions = run.shapes[run.kind[task]].functions     # of several costs, the first that was ever taken tells
        return self.estimates.nbytes(next((each for each in functions if each.count), functions[0]) if len(functions) > 1 else functions[0])
