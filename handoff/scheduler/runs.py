"""A run is a table: one column per thing known about its tasks, no object per task. Counting what a task waits for happens here."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from handoff.columns import Ints, floats, ints, longs
from handoff.errors import ProtocolError
from handoff.ids import NOBODY, PeerId, RunId
from handoff.messages import RunFailed, Submit
from handoff.program import HIDDEN, Flag
from handoff.resources import Amounts
from handoff.scheduler.estimates import Estimates
from handoff.scheduler.quota import Quota
from handoff.scheduler.ranks import work_out_ranks
from handoff.scheduler.ready import RANK_TOP, Shape

if TYPE_CHECKING:
    from handoff.scheduler.following import Following
    from handoff.scheduler.relays import Tree

# The state of a task. Planned is AHEAD or HELD; finished is DONE or GONE.
WAITING = 0   # an input is neither there nor planned; or it is long, and an input is not there
READY = 1     # may be planned: it lies in its shape's queue
DELAYED = 2   # failed; pauses before its next attempt
AHEAD = 3     # planned because it is short: adds to its node's backlog
HELD = 4      # planned because its node has room: its cost is committed there
DONE = 5      # its result is on `node`
GONE = 6      # was done; its result is nowhere any more

INPUTS_MAX = 64   # of a task, that are counted one by one
VAIN_MAX = 10_000 # attempts in vain of a run that are remembered; what nodes did in others is told as time in which they did nothing

# Columns are made of these; a run of one call, of which there are many, is made in half the time.
_ZERO, _ZERO_LONG, _ZERO_FLOAT, _ZERO_DOUBLE = array("I", (0,)), array("Q", (0,)), array("f", (0.0,)), array("d", (0.0,))
_NOBODY = array("I", (NOBODY,))
_NONE = array("I")     # stands for columns that are not there, and stays empty

STATES = ("waiting", "ready", "delayed", "planned ahead", "planned", "done", "done, result gone")


class Run:
    """One execution of a program."""

    __slots__ = (     # so many attributes take half the time to set: a dictionary would grow five times
        "alone", "attempt", "avoid", "bytes_moved", "choices", "client", "codes", "consumer_starts", "consumers", "copies", "crashes",
        "cut_off", "detach", "done", "doubled", "early", "failed", "failures", "fan_in", "followed", "following", "fronts", "ghosts",
        "given_at", "group", "group_node", "group_pins", "group_shapes", "groups", "has_remade", "hidden", "idle", "ids", "inputs",
        "is_counted", "is_output", "is_over", "is_watched", "kept_back", "kind", "kinds", "left", "linked", "literal_starts",
        "literals", "max_concurrency", "may_double", "missing", "name", "nbytes", "near", "nearly", "needed", "node", "nodes", "placed",
        "plain", "planned", "program", "progress_at", "progress_due", "progress_said", "promised", "quota", "ran", "rank", "rank_again",
        "rank_seconds", "run", "seconds", "seconds_total", "serializes", "shapes", "spreads", "started", "starts", "state", "submitted",
        "timeout", "token", "told", "told_bytes", "took", "topped_up", "total", "trees", "twin_choices", "twins", "unbegun", "unmet",
        "unmet_since", "unplanned", "vain", "values_only", "wait_for_nodes", "waited", "weight", "whose", "worker",
    )

    def __init__(self, run: RunId, submit: Submit, client: PeerId | None, now: float) -> None:
        program = submit.program
        self.run = run
        self.program = program
        self.name = submit.name
        self.client = client                  # None: it left, and the run goes on without
        self.whose = ""                       # ... and this was its name
        self.token = submit.token
        self.values_only = submit.values_only
        self.detach = submit.detach
        self.ids = submit.ids
        self.wait_for_nodes = submit.wait_for_nodes
        self.max_concurrency = submit.max_concurrency
        self.quota = Quota(submit.max_concurrency) if submit.max_concurrency else None
        self.weight = submit.weight           # of its share, beside other runs of the same priority
        self.submitted = now                  # later by the time for which it was over, when outputs are made again after that
        self.idle: list[tuple[float, float]] = []   # that time: from when until when
        self.timeout = submit.timeout
        self.total = total = len(program.kind)
        self.kinds = list(program.kinds)
        self.codes = program.codes
        self.groups = program.groups
        # ── per kind ──
        self.shapes: list[Shape] = []         # filled by the ledger
        self.is_output: list[bool] = []
        # Per group of tasks that are to be apart: how many of them are, or were, on each node.
        self.spreads: dict[str, dict[int, int]] = {}
        every = 0
        for kind in self.kinds:
            every |= kind.flags
            self.is_output.append(kind.flags & Flag.OUTPUT != 0)
            if kind.spread:
                self.spreads[kind.spread] = {}
        self.left = [0] * len(self.kinds)     # unfinished tasks
        # ── per task ──
        self.kind = program.kind
        self.fan_in = program.fan_in
        self.inputs = program.inputs          # all inputs, task after task
        self.literals = program.literals
        self.literal_starts = (ints if len(program.literals.data) <= 0xFFFFFFFF else longs)(accumulate(program.literals.sizes, initial=0))
        self.state = bytearray(total)
        self.attempt = _ZERO * total                  # of the last plan; 0: never planned
        self.unbegun: array[int] = _NONE              # how many of them its nodes gave back before they began; empty: none of any task
        self.node = _NOBODY * total                   # where it is planned, or where its result is
        self.nbytes = _ZERO_LONG * total
        self.seconds = _ZERO_DOUBLE * total
        self.started = _ZERO_DOUBLE * total           # seconds after submission; while it is planned: see `ends_at`
        self.given_at = _ZERO_FLOAT * total           # seconds after submission: when it was last planned
        self.worker = _ZERO * total                   # which of its node's workers ran it; 0: none
        self.waited = _ZERO_FLOAT * total             # seconds from when its inputs were at its node to its start
        self.linked = bool(program.inputs)            # without inputs the columns below are empty
        self.starts: array[int] = _NONE               # where the inputs of a task begin
        self.consumers: array[int] = _NONE            # all consumers, task after task
        self.consumer_starts: array[int] = _NONE
        self.missing: array[int] = _NONE              # inputs whose result does not exist
        self.unplanned: array[int] = _NONE            # inputs that are neither done nor planned
        self.needed: array[int] = _NONE               # unfinished consumers (edges)
        self.rank = floats()          # seconds on the longest way from its start to the end of the run
        # ── sparse ──
        self.failures: dict[int, int] = {}            # attempts that count
        self.crashes: dict[int, int] = {}             # those that killed a worker
        self.nearly: dict[int, int] = {}              # tasks whose large results were being written, by which attempt
        self.avoid: dict[int, set[int]] = {}          # nodes that could not do it, or could not hand it over
        self.cut_off: dict[tuple[int, int, int, int], tuple[float, float]] = {}   # task, input, their nodes: apart since, and said last
        self.twins: dict[int, tuple[int, int]] = {}   # tasks that run twice at once: node and attempt of the second
        self.twin_choices: dict[int, int] = {}        # which other cost the second attempts took, as in `choices`
        self.doubled: dict[int, int] = {}             # those that ever did: the number of the second attempt
        self.vain: list[tuple[int, int, float, float]] = []   # attempts that came to nothing: task, node, start after submission, seconds
        self.fronts: dict[tuple[int, int], float] = {}   # short tasks that should be running, with their attempts: seen so since when
        self.copies: dict[int, list[int]] = {}        # other nodes that hold, or will fetch, the result
        self.trees: dict[int, Tree] = {}              # how large results spread that several nodes take
        self.has_remade = False                       # something was made again: where older copies lie is not known for sure any more
        self.ran: dict[int, int] = {}                 # where it ran, of results that are taken from another node since
        self.promised: dict[int, int] = {}            # consumers of serializers: the node that was promised to them
        self.group: dict[int, int] = {}               # task -> group
        for index, tasks in enumerate(self.groups):
            self.group.update(dict.fromkeys(tasks, index))
        self.group_node: dict[int, int] = {}          # group -> the node that its first member took
        self.group_pins: list[str] = []               # per group: the node that one of it is pinned to, or empty
        self.group_shapes: list[tuple[Shape, ...]] = []   # per group: what its node must be able to run, as the program has it
        self.choices: dict[int, int] = {}             # planned tasks that took another cost: which, 1 for the first alternative
        self.took: dict[int, int] = {}                # the same of finished tasks
        self.is_counted = False                       # some of its tasks need what the whole cluster shares
        self.alone: dict[int, int] = {}               # kind -> the same kind, to be run alone
        self.following: Following | None = None       # the plan that it follows
        self.followed: dict[int, int] = {}            # tasks that still do: the node of the plan
        # ── counts and clocks ──
        self.done = 0                                 # finished tasks
        self.planned = 0                              # tasks on nodes
        # (node, task) that may still run there though planned anew, and what of the cluster it has; for limits that must hold only
        self.ghosts: dict[tuple[int, int], Amounts] = {}
        self.kept_back: dict[Shape, None] = {}        # shapes that are not looked at before something of it ends: it has what it may have
        self.nodes: dict[int, None] = {}              # every node that was given anything of it, in order
        self.early = 0.0                              # seconds by which tasks planned ahead of their inputs end before they should
        self.topped_up = -1.0                         # when its nodes were last found to be running low, and were given more
        self.placed: set[int] = set()                 # those that the client was told of
        self.bytes_moved = 0
        self.unmet_since: dict[int, float] = {}       # kind of its program -> since when what it needs is offered nowhere
        self.unmet = ""                               # what that is, for people
        self.progress_at = now                        # when the client last heard of progress
        self.progress_due = False                     # a timer is set for the next time
        self.progress_said: tuple[int, int, str] = (0, 0, "")
        self.is_over = False                          # every task is done, and the client was told
        self.seconds_total = 0.0                      # how long it took
        self.failed: RunFailed | None = None          # kept for who attaches to a detached run later
        self.told = program.seconds                   # per task: expected seconds, below 0: not known; or empty
        self.told_bytes = program.nbytes              # the same for the size of its result
        self.rank_seconds: list[float] = []           # per kind: what the ranks were worked out with
        self.rank_again = 1 if total <= 20_000 else 16                          # work them out anew when so many tasks are done
        self.near: dict[int, list[int]] = {}          # per task: others on whose node it would like best to run
        for task, other in zip(program.near[::2], program.near[1::2], strict=True) if program.near else ():
            self.near.setdefault(task, []).append(other)
        self.plain = not self.groups and not every & HIDDEN
        self.serializes = bool(every & Flag.SERIALIZER)
        self.may_double = bool(every & Flag.IDEMPOTENT) and not self.max_concurrency and any(
            kind.flags & Flag.IDEMPOTENT and kind.max_retries for kind in self.kinds)
        self.is_watched = False                       # a timer is set to look for stragglers
        if len(self.kinds) == 1:
            self.left[0] = total
        elif len(self.kinds) <= 8:
            self.left = [self.kind.count(index) for index in range(len(self.kinds))]
        else:
            for index in self.kind:
                self.left[index] += 1
        self.hidden = 0 if self.plain else sum([left for left, kind in zip(self.left, self.kinds, strict=True) if kind.flags & HIDDEN])
        if self.linked:
            self._link()

    def _link(self) -> None:
        """Fill the columns about who waits for whom."""
        total, inputs, fan_in = self.total, self.inputs, self.fan_in
        needed = [0] * total
        self.starts = array("I", accumulate(fan_in, initial=0))
        try:
            for each in inputs:
                needed[each] += 1
        except IndexError:
            raise ProtocolError(f"a task takes the result of task {max(inputs)}, but there are only {total} tasks") from None
        at = list(accumulate(needed, initial=0))
        self.consumer_starts = array("I", at)
        consumers = array("I", bytes(4 * len(inputs)))
        place = 0
        for task, count in enumerate(fan_in):
            if count:
                for each in inputs[place : place + count]:
                    if each >= task:
                        raise ProtocolError(f"task {task} takes the result of task {each}, which does not come before it")
                    consumers[at[each]] = task
                    at[each] += 1
                place += count
        self.consumers = consumers
        self.missing = array("I", fan_in)
        self.unplanned = array("I", fan_in)
        self.needed = array("I", needed)

    # ── reading the table ───────────────────────────────────────────────────

    def places(self) -> Ints:
        """Per task, the node on which it ran, for people; `node` is where its result can be had."""
        places = self.node[:]
        for task, peer in self.ran.items():
            places[task] = peer
        return places

    def inputs_of(self, task: int) -> Sequence[int]:
        """The tasks whose results it takes."""
        return self.inputs[self.starts[task] : self.starts[task + 1]] if self.linked else ()

    def is_next_link(self, task: int) -> bool:
        """Whether it takes one result, which nothing else takes."""
        if self.fan_in[task] != 1:
            return False
        only = self.inputs[self.starts[task]]
        return self.consumer_starts[only + 1] - self.consumer_starts[only] == 1

    def is_due_link(self, task: int) -> bool:
        """The same, and that is there."""
        return not self.missing[task] and self.is_next_link(task)

    def ends_at(self, task: int) -> float:
        """When a planned task should end, in seconds after submission: as was thought when it was planned, less `early`."""
        return self.started[task] - (self.early if self.state[task] == AHEAD else 0.0)

    def input_bytes(self, task: int) -> int:
        """What it takes in: its literal, and the results that are there (of very many, what the first ones say)."""
        taken, count = self.literals.sizes[task], self.fan_in[task]
        if count:
            start, looked_at, nbytes = self.starts[task], min(count, INPUTS_MAX), self.nbytes
            taken += sum([nbytes[each] for each in self.inputs[start : start + looked_at]]) * count // looked_at
        return taken

    def consumers_of(self, task: int) -> Sequence[int]:
        """The tasks that take its result."""
        return self.consumers[self.consumer_starts[task] : self.consumer_starts[task + 1]] if self.linked else ()

    def is_planned(self, task: int) -> bool:
        """Whether it is with a node."""
        return AHEAD <= self.state[task] <= HELD

    def is_current(self, peer: PeerId, task: int, attempt: int) -> bool:
        """Whether news from this node about this attempt still means anything: the one test that all news must pass."""
        return (
            0 <= task < self.total
            and self.attempt[task] == attempt
            and self.node[task] == peer
            and AHEAD <= self.state[task] <= HELD
        )

    def tried(self, task: int) -> int:
        """The number of its last attempt as people count: those that never began do not count."""
        return self.attempt[task] - self.unbegun[task] if self.unbegun else self.attempt[task]

    def note_unbegun(self, task: int) -> None:
        """Its last attempt was given back before it began."""
        if not self.unbegun:
            self.unbegun = _ZERO * self.total
        self.unbegun[task] += 1

    def is_serializer(self, task: int) -> bool:
        """Whether it runs beside its one input for the sake of one consumer."""
        return bool(self.kinds[self.kind[task]].flags & Flag.SERIALIZER)

    def is_object(self, task: int) -> bool:
        """Whether its value comes from the client."""
        return bool(self.kinds[self.kind[task]].flags & Flag.OBJECT)

    def room(self) -> int:
        """How many more of its tasks may execute, where their number is limited; below 1: none."""
        return self.quota.room() if self.quota is not None else self.total

    def blocks_planned(self, task: int) -> bool:
        """Whether a planned task waits for it: then it must not wait for room, or both would wait for ever."""
        return any(AHEAD <= self.state[each] <= HELD for each in self.consumers_of(task))

    def tasks_in(self, *states: int) -> Iterable[int]:
        """The tasks in one of these states."""
        return (task for task, state in enumerate(self.state) if state in states)

    def key(self, task: int) -> int:
        """One integer that sorts by rank (longest first), then run, then task. Integers are small and quick to compare."""
        rank = self.rank[task] if self.rank else self.rank_seconds[self.kind[task]]
        return (RANK_TOP - min(RANK_TOP, int(rank * 1e6))) << 64 | self.run << 32 | task

    # ── keeping the table ───────────────────────────────────────────────────

    def rest(self) -> None:
        """Every task is done: what only others need takes no room any more."""
        self.missing = self.unplanned = _NONE
        if self.following is None:
            self.rank = floats()

    def wake(self, estimates: Estimates, transfer_per_byte: float) -> None:
        """Results of a run that rested are to be made again. `recount` says what each of these tasks waits for."""
        if self.linked:
            self.missing, self.unplanned = _ZERO * self.total, _ZERO * self.total
        work_out_ranks(self, estimates, transfer_per_byte)

    def unplace(self, task: int) -> None:
        """It is to be planned anew, with a number that no attempt had before."""
        if self.spreads:
            on, peer = self.spreads.get(self.kinds[self.kind[task]].spread), self.node[task]
            if on is not None and on.get(peer):
                on[peer] -= 1
        self.state[task] = WAITING
        self.node[task] = NOBODY
        if self.doubled:
            self.attempt[task] = max(self.attempt[task], self.doubled.get(task, 0))

    def unmake(self, task: int) -> None:
        """It was done, and its result is to be made again: what made it came to nothing."""
        if self.worker[task]:
            began = self.submitted + self.started[task]
            self.note_vain(task, self.ran.get(task, self.node[task]), began, began + self.seconds[task])
        self.unplace(task)
        self.trees.pop(task, None)
        self.ran.pop(task, None)
        self.took.pop(task, None)
        self.done -= 1
        self.left[self.kind[task]] += 1

    def note_idle(self, now: float) -> None:
        """If it was over, it goes on now: the time between is none of its own, for who asks what it was like."""
        ended = self.submitted + self.seconds_total
        if self.is_over and now > ended:
            self.idle.append((ended, now))
            self.submitted += now - ended

    def came(self) -> float:
        """When it really was submitted."""
        return self.submitted - sum([until - since for since, until in self.idle])

    def seconds_at(self, moment: float) -> float:
        """That moment in seconds after submission, without the time for which it was over."""
        return moment - self.submitted + sum([until - max(moment, since) for since, until in self.idle if moment < until])

    def note_copy(self, task: int, peer: int) -> None:
        """Another node has the result, will fetch it, or may have made it, too: it is told when nobody needs it any more."""
        if self.node[task] != peer:
            others = self.copies.setdefault(task, [])
            if peer not in others:
                others.append(peer)

    def note_vain(self, task: int, peer: int, began: float, now: float) -> None:
        """An attempt is over that came to nothing; the report tells of it."""
        began = max(began, self.submitted)
        if began < now and len(self.vain) < VAIN_MAX:
            self.vain.append((task, peer, began - self.submitted, now - began))

    def recount(self, task: int) -> None:
        """Count again what it waits for: after results were lost, counting on would be error-prone."""
        missing = unplanned = 0
        state = self.state
        for each in self.inputs_of(task):
            now = state[each]
            if now != DONE:
                missing += 1
                if not AHEAD <= now <= HELD:
                    unplanned += 1
        if self.linked:
            self.missing[task], self.unplanned[task] = missing, unplanned

    def program_kind(self, kind: int) -> int:
        """Of a kind that was made of another one since (to be run alone, or on one node of a plan): the program's own."""
        while kind >= len(self.program.kinds):
            of = self.following.of.get(kind) if self.following is not None else None
            kind = next(usual for usual, alone in self.alone.items() if alone == kind) if of is None else of
        return kind

    def change_kind(self, task: int, kind: int) -> None:
        """From now on it is of another kind, which the run has already."""
        self.left[self.kind[task]] -= 1
        self.left[kind] += 1
        self.kind = array("I", self.kind)   # the program's own column stays as it came
        self.kind[task] = kind

    def outputs(self) -> Ints:
        """The tasks whose results the client wants."""
        return array("I", [task for task, kind in enumerate(self.kind) if self.is_output[kind]])

    def __repr__(self) -> str:
        return f"Run({self.run}, {self.name!r}, {self.done} of {self.total} done, {self.planned} planned)"
