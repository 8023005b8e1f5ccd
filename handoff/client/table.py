"""What the client knows of one run: which outputs are here, which lie large on a node, and who works for it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from handoff.client.events import Failure
from handoff.columns import Body, Ints, Longs, ints, longs
from handoff.ids import PeerId, RunId
from handoff.machine import Send
from handoff.messages import Results, RunDone, Want
from handoff.program import Flag, Program


class Whereabouts(IntEnum):
    """Of one task's value, as this client sees it."""

    HIDDEN = 0      # nobody asked for it
    MISSING = 1     # an output that is not made, or not here yet
    ANNOUNCED = 2   # an output that lies on a node until someone here needs it
    HERE = 3


HIDDEN, MISSING, ANNOUNCED, HERE = (int(each) for each in Whereabouts)


class Table:
    """One run at the client: a byte per task, and a few words about the whole."""

    __slots__ = ("announced", "born", "cancelled", "detached", "done", "failure", "fetching", "forget", "holders", "is_let_go", "is_over",
                 "known", "missing", "moved", "nodes", "others", "run", "state", "token", "uploads", "values_only")

    def __init__(
        self, token: int, *, run: RunId | None = None, forget: bool = False, detached: bool = False, values_only: bool = False,
        born: int = 0,
    ) -> None:
        self.token = token
        self.values_only = values_only              # nobody waits for word of the run itself, nor for its being forgotten
        self.born = born                            # links that stood before this moment need not be told to collect
        self.run = run                              # from Accepted on
        self.state = bytearray()                    # Whereabouts, per task
        self.known = False                          # the columns are filled in (when attaching: after the answer)
        self.missing = 0                            # outputs that are neither here nor announced
        self.announced = 0                          # outputs that are announced and not here
        self.holders: dict[int, PeerId] = {}        # announced output -> the node that has it
        self.others: dict[int, PeerId] = {}         # announced output -> a later node that has it as well: made again, the first is lost
        self.moved: list[int] = []                  # announced outputs that someone waits for, to be asked for at their new holder
        self.fetching: dict[int, None] = {}         # announced outputs that someone waits for
        self.nodes: dict[PeerId, None] = {}         # nodes that work for the run and are not gone
        self.uploads: dict[PeerId, dict[int, None]] = {}  # object tasks by the node that the value went to
        self.done: RunDone | None = None
        self.failure: Failure | None = None         # why values that were announced can't be had any more
        self.is_over = False
        self.forget = forget
        self.detached = detached
        self.is_let_go = False                      # it is detached, and nobody here takes anything of it
        self.cancelled: str | None = None           # cancelled before it was accepted, for this reason

    def expect(self, size: int, outputs: Iterable[int]) -> None:
        """The run has this many tasks, and these are its outputs."""
        self.state = bytearray(size)
        for task in outputs:
            self.state[task] = MISSING
        self.missing = self.state.count(MISSING)
        self.known = True

    def expect_program(self, program: Program) -> None:
        """The outputs are the tasks of kinds that are flagged so."""
        wanted = [MISSING if kind.flags & Flag.OUTPUT else HIDDEN for kind in program.kinds]
        self.state = bytearray(map(wanted.__getitem__, program.kind))
        self.missing = self.state.count(MISSING)
        self.known = True

    def let_go(self) -> None:
        """Nobody here holds it any more. It may have effects that somebody wants: it goes on, and is forgotten when it is over.

        A detached one is not: whoever attaches has its outputs. What is to be uploaded for it comes from here, until then.
        """
        self.forget, self.is_let_go, self.known = not self.detached, self.detached, True
        self.state, self.missing, self.announced = bytearray(len(self.state)), 0, 0
        self.holders, self.others, self.moved, self.fetching = {}, {}, [], {}

    def is_forgotten(self, failure: Failure) -> bool:
        """Whether the coordinator may forget the run when it has failed so: a detached one stays until somebody has heard of it."""
        return self.forget or (self.detached and (not self.is_let_go or failure.code == "RunCancelled"))

    def arrive(self, tasks: Iterable[int]) -> list[int]:
        """These came with their values; returns those that were waited for."""
        state, size, fresh, missing = self.state, len(self.state), [], 0
        for task in tasks:
            where = state[task] if task < size else HIDDEN
            if where == MISSING:
                missing += 1
            elif where == ANNOUNCED:
                self.announced -= 1
                del self.holders[task]
                self.others.pop(task, None)
            else:
                continue  # it came before, or nobody asked for it
            state[task] = HERE
            fresh.append(task)
        self.missing -= missing
        if self.fetching:
            for task in fresh:
                self.fetching.pop(task, None)
        return fresh

    def announce(self, peer: PeerId, tasks: Iterable[int]) -> list[int]:
        """These lie large on that node; returns those that were missing until now."""
        state, size, fresh = self.state, len(self.state), []
        for task in tasks:
            if task < size and state[task] == MISSING:
                state[task] = ANNOUNCED
                self.holders[task] = peer
                fresh.append(task)
            elif task < size and state[task] == ANNOUNCED and self.holders[task] != peer:
                self.others[task] = peer   # that the first one is gone, the coordinator may say later
        self.missing -= len(fresh)
        self.announced += len(fresh)
        return fresh

    def withdraw(self, peer: PeerId, tasks: Iterable[int] | None = None) -> list[int]:
        """That node does not have these announced values any more (None: none at all); they are missing again."""
        gone = []
        if tasks is None:
            self.others = {task: other for task, other in self.others.items() if other != peer}
        for task in list(self.holders) if tasks is None else tasks:
            if self.holders.get(task) == peer:
                other = self.others.pop(task, peer)
                if other != peer:
                    self.holders[task] = other
                    if task in self.fetching:
                        self.moved.append(task)
                    continue
                del self.holders[task]
                self.state[task] = MISSING
                gone.append(task)
        self.missing += len(gone)
        self.announced -= len(gone)
        return gone

    def follow(self, run: RunId) -> list[Send]:
        """Ask the new holders for what someone waits for."""
        moved, self.moved = self.moved, []
        return [Send(self.holders[task], Want(run, ints([task]))) for task in moved]

    def needs(self, peer: PeerId) -> bool:
        """Whether this run still waits for something that only a link to that node brings."""
        if peer in self.uploads or (peer in self.nodes and self.missing):
            return True
        return any(self.holders.get(task) == peer for task in self.fetching)

    def missing_tasks(self) -> Ints:
        """The outputs that are neither here nor announced by a node that lives."""
        found, at, state = ints(), -1, self.state
        while (at := state.find(MISSING, at + 1)) >= 0:
            found.append(at)
        return found

    def check(self) -> None:
        """Raise AssertionError when the counts contradict the columns."""
        assert self.missing == self.state.count(MISSING), f"run {self.run}: {self.missing} missing, not as counted"
        assert self.announced == self.state.count(ANNOUNCED) == len(self.holders), f"run {self.run}: announced, not as counted"
        assert self.others.keys() <= self.holders.keys(), f"run {self.run}: a second holder without a first"
        assert all(self.state[task] != HERE for task in self.fetching), f"run {self.run}: fetches what is here"


def by_node(tasks: Ints, nodes: Ints) -> dict[PeerId, Ints]:
    """A column of tasks and one of nodes, as one column of tasks for each node."""
    found: dict[PeerId, Ints] = {}
    for task, node in zip(tasks, map(PeerId, nodes), strict=True):
        found.setdefault(node, ints()).append(task)
    return found


def nbytes_of(body: Body) -> int:
    """How long a body is."""
    return sum(map(len, body)) if isinstance(body, tuple) else len(body)


def part_of(message: Results, wanted: Iterable[int]) -> tuple[Ints, Longs, bytes]:
    """Tasks, sizes and values of a message, only those wanted, each once."""
    left = dict.fromkeys(wanted)
    tasks, sizes, parts, at = ints(), longs(), [], 0
    view = memoryview(b"".join(message.body) if isinstance(message.body, tuple) else message.body)
    for task, size in zip(message.tasks, message.sizes, strict=True):
        if task in left:
            del left[task]
            tasks.append(task)
            sizes.append(size)
            parts.append(view[at : at + size])
        at += size
    return tasks, sizes, b"".join(parts)
