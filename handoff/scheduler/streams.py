"""Tasks of one run and shape in one pass: what is the same for all of them is asked once, not for each that is looked at by itself."""

from __future__ import annotations

from array import array
from math import inf

from handoff.scheduler.foresight import WELL_KNOWN
from handoff.scheduler.inputs import INPUTS_MAX as MANY
from handoff.scheduler.inputs import Inputs, inputs_of
from handoff.scheduler.leaning import LITTLE
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import INPUTS_MAX, Run
from handoff.scheduler.wishes import wishes_nothing


class Stream:
    """These tasks. In a pass nothing is learned, so that all of it holds until the next one."""

    __slots__ = (
        "_inputs", "_planned", "_taken", "is_avoiding", "is_brief", "is_free", "is_known", "is_large", "is_plain", "is_row", "is_short",
        "made", "reach", "run", "shape", "sized", "usual",
    )

    def __init__(self, ledger: Ledger, run: Run, shape: Shape) -> None:
        function, foresight = shape.function, ledger.foresight
        self.run, self.shape = run, shape
        self.is_plain = wishes_nothing(run, shape)
        self.is_avoiding = bool(run.avoid)      # some must not go where they failed: that may begin in a pass
        # None of them, but for want of memory, is kept from any node that could hold it.
        self.is_free = (self.is_plain or (run.plain and not (run.followed or run.avoid or shape.spread))) and not shape.node
        self.is_known = function.count > 0 or bool(run.told) or ledger.estimates.all.count > 0      # something is, of how long they run
        self.is_short = foresight.is_short(shape)
        is_long = function.count > 0 and function.seconds > foresight.short
        self.is_brief = self.is_plain and not is_long           # they may go in blocks, chains and fronts
        self.is_large = ledger.memory.concerns(run, shape, None)
        is_limited = run.linked or run.quota is not None or shape.cluster or shape.node
        self.is_row = is_long and self.is_plain and not (is_limited or self.is_large)     # they differ in nothing
        # How early they may be bound, and how long they run; None: each of them is asked.
        self.reach = foresight.reach_of(function) if self.is_plain and not shape.node and function.count >= WELL_KNOWN else None
        self.usual = None if run.told or function.is_sized else ledger.estimates.seconds(function)
        self.sized: dict[int, float] = {}       # by the size of what they take, in bits
        # Bytes of their results, where these may have a say in where they go; without bound where something else surely has.
        nbytes = function.nbytes if run.linked and function.nbytes > ledger.rates.small else 0.0
        self.made = inf if run.near or (run.linked and run.told_bytes) else nbytes
        # What the last that takes many results takes, and where that is, after so many of the run were planned.
        self._taken, self._planned = array("I"), -1
        self._inputs: Inputs | None = None

    def inputs(self, ledger: Ledger, task: int, now: float) -> Inputs | None:
        """Where its inputs are. Where each takes all of many results, they are looked at once, not once for each that takes them."""
        run = self.run
        count = run.fan_in[task] if run.linked else 0
        if count <= MANY:
            return inputs_of(ledger, run, task, now) if count else None
        start = run.starts[task]
        taken = run.inputs[start : start + count]
        if self._inputs is None or self._planned != run.planned or taken != self._taken:
            self._taken, self._planned, self._inputs = taken, run.planned, inputs_of(ledger, run, task, now)
        return self._inputs

    def placed(self, inputs: Inputs | None, peer: int) -> None:
        """One with these inputs was planned there."""
        if inputs is not None and inputs is self._inputs and self._planned + 1 == self.run.planned and not self.run.ran:
            inputs.go_along(peer)
            self._planned += 1

    def seconds(self, ledger: Ledger, task: int, inputs: Inputs | None, waits: bool) -> float:
        """How long this one will run on a node of usual speed."""
        if self.usual is not None:
            return self.usual
        run, shape = self.run, self.shape
        count = run.fan_in[task]
        if inputs is None or waits or count > INPUTS_MAX:       # of more, it is learned otherwise what it takes
            return ledger.foresight.seconds(run, task, shape)
        taken = inputs.total - count + run.literals.sizes[task]
        if run.told:
            return ledger.foresight.seconds(run, task, shape, taken)
        bits = int(taken).bit_length()
        known = self.sized.get(bits)
        if known is None:
            known = self.sized[bits] = ledger.estimates.seconds(shape.function, taken)
        return known

    def may_lean(self, ledger: Ledger, seconds: float) -> bool:
        """Whether to look at all where one leans to: small results, and those that move in no time, lean nowhere."""
        return self.made > LITTLE * seconds * ledger.rates.usual


def stream_of(streams: dict[Shape, Stream], ledger: Ledger, run: Run, shape: Shape) -> Stream:
    """The last of this shape, if it is of this run and all of it still holds; else a new one."""
    stream = streams.get(shape)
    if stream is None or stream.run is not run or run.followed or (run.avoid and not stream.is_avoiding):
        stream = streams[shape] = Stream(ledger, run, shape)
    return stream
