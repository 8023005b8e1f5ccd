"""A small stage for tests of the scheduler: programs in one line each, and a cluster whose nodes do what the test says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handoff.columns import Blobs, floats, ints, longs
from handoff.ids import PeerId, RunId
from handoff.machine import Close, Dropped, Joined, Lost, Note, Received, Resumed, Tick
from handoff.messages import (
    Accepted,
    Ask,
    Cancel,
    Failed,
    Forget,
    Hello,
    Missing,
    Plan,
    Recall,
    Recalled,
    Redirect,
    Refused,
    Release,
    Report,
    RunDone,
    RunFailed,
    Submit,
    Unreachable,
    Upload,
)
from handoff.program import Flag, Kind, Program
from handoff.resources import amounts
from handoff.scheduler.scheduler import Scheduler
from handoff.settings import SchedulerSettings

CPU = {"cpu": 1}


def kind(name: str = "work", cost: Mapping[str, Any] | None = None, **fields: Any) -> Kind:
    """A kind of task; `flags` defaults to OUTPUT, the code is named after it."""
    fields.setdefault("flags", Flag.OUTPUT)
    codes = () if fields["flags"] & Flag.OBJECT else (name.encode(),)
    return Kind(codes, name, cost=amounts(CPU if cost is None else cost), **fields)


def program(tasks: Sequence[tuple[Kind, Sequence[int]]], groups: Iterable[Sequence[int]] = ()) -> Program:
    """Tasks as (kind, inputs), in topological order."""
    kinds = list(dict.fromkeys(kind for kind, _ in tasks))
    codes = tuple(dict.fromkeys(code for kind in kinds for code in kind.codes))
    objects = [number for number, (each, _) in enumerate(tasks) if each.flags & Flag.OBJECT]
    return Program(
        tuple((code, len(code)) for code in codes), tuple(kinds), ints(kinds.index(each) for each, _ in tasks),
        Blobs.of(b"%d" % number for number in range(len(tasks))), ints(len(inputs) for _, inputs in tasks),
        ints(each for _, inputs in tasks for each in inputs), tuple(ints(group) for group in groups),
        ints(objects), longs([2_000_000] * len(objects)),
    )


def many(count: int, of: Kind | None = None) -> Program:
    """Independent equal tasks."""
    return program([(of or kind(), ())] * count)


def chain(count: int, of: Kind | None = None) -> Program:
    """Each takes the result of the one before."""
    return program([(of or kind(), (number - 1,) if number else ()) for number in range(count)])


class Cluster:
    """A scheduler, its nodes and clients. Every event is followed by a check of all invariants."""

    def __init__(self, allocator: Any = None, shared: Mapping[str, Any] | None = None, **settings: Any) -> None:
        self.now = 0.0
        self.scheduler = Scheduler(SchedulerSettings(**settings), allocator, cluster=amounts(shared or {}))
        self.peers: dict[str, PeerId] = {}
        self.names: dict[int, str] = {}
        self.said: list[tuple[str, Any]] = []       # everything ever said: (to whom, message)
        self.last: list[tuple[str, Any]] = []       # by the last event
        self.planned: dict[tuple[int, int], tuple[str, int]] = {}   # (run, task) -> (node, attempt), by the last plan
        self.results: dict[tuple[int, int], str] = {}

    def do(self, event: Any, check: bool = True) -> list[tuple[str, Any]]:
        """One event; what was said then, as (name, message)."""
        effects = self.scheduler.handle(self.now, event)
        self.last = []
        for effect in effects:
            if isinstance(effect, Note):
                continue  # for people
            name = self.names[effect.peer]
            message = effect if isinstance(effect, Close) else effect.message
            self.last.append((name, message))
            if isinstance(message, Plan):
                for task, attempt in zip(message.tasks, message.attempts, strict=True):
                    self.planned[message.run, task] = (name, attempt)
        self.said += self.last
        if check:
            self.scheduler.check()
        return self.last

    def join(
        self, name: str, role: str = "node", labels: Mapping[str, str] | None = None, host: str | None = None,
        offers: Mapping[str, Any] | None = None, former: bytes = b"", processes: int = 0, gpus: tuple[tuple[str, int], ...] = (),
        **capacity: float,
    ) -> Cluster:
        """A node (with 1 cpu unless told otherwise) or a client comes, perhaps from a former coordinator."""
        peer = PeerId(len(self.names) + 1)
        self.peers[name], self.names[peer] = peer, name
        hello = Hello(
            1, "0", "3.11", role, name, peer.to_bytes(16, "big"), address=(name if host is None else host, 1),
            capacity=amounts(offers or capacity or CPU), labels=tuple(sorted((labels or {}).items())), coordinator=former,
            processes=processes, gpus=gpus)
        self.do(Joined(peer, hello))
        return self

    def client(self, name: str = "client", host: str | None = None) -> Cluster:
        """A client comes."""
        return self.join(name, "client", host=host)

    def hear(self, name: str, message: Any) -> list[tuple[str, Any]]:
        """That peer says this."""
        return self.do(Received(self.peers[name], message))

    def submit(self, what: Program, client: str = "client", **fields: Any) -> RunId:
        """Submit, and answer with the run; RuntimeError when it is refused."""
        self.hear(client, Submit(7, "story", what, body=b"".join(code for code, _ in what.codes), **fields))
        for name, message in self.last:
            if name == client and isinstance(message, Accepted):
                return message.run
            if name == client and isinstance(message, Refused):
                raise RuntimeError(f"{message.code}: {message.text}")
        raise AssertionError(self.last)

    def done(
        self, *tasks: int, run: int = 1, seconds: float = 0.001, nbytes: int = 100, attempt: int | None = None, node: str | None = None,
    ) -> Any:
        """These are reported by the node where they are planned, one report per node."""
        by_node: dict[str, list[int]] = {}
        for task in tasks:
            by_node.setdefault(node or self.planned[run, task][0], []).append(task)
        for name, several in by_node.items():
            tries = [attempt or self.planned[run, task][1] for task in several]
            count = len(several)
            columns = (ints(several), ints(tries), longs([nbytes] * count), floats([seconds] * count), floats([0.0] * count))
            self.hear(name, Report(RunId(run), *columns))
        return self.last

    def fail(self, task: int, run: int = 1, cause: str = "exception", **fields: Any) -> Any:
        """The current attempt of this task fails."""
        name, attempt = self.planned[run, task]
        return self.hear(name, Failed(RunId(run), task, attempt, cause, **fields))

    def lose(self, name: str) -> Any:
        """That peer is gone for good."""
        return self.do(Lost(self.peers[name], "test"))

    def drop(self, name: str) -> Any:
        """Its connection broke."""
        return self.do(Dropped(self.peers[name]))

    def resume(self, name: str) -> Any:
        """It is back."""
        return self.do(Resumed(self.peers[name]))

    def wait(self, seconds: float) -> list[tuple[str, Any]]:
        """Time passes; the scheduler gets its ticks."""
        until, said = self.now + seconds, []
        while (due := self.scheduler.deadline) is not None and due <= until:
            self.now = max(self.now, due)
            said += self.do(Tick())
        self.now = until
        self.last = said
        return said

    def plans(self, to: str | None = None) -> list[int]:
        """The tasks planned by the last event."""
        return [task for name, message in self.last if isinstance(message, Plan) and to in (None, name) for task in message.tasks]

    def last_plans(self) -> list[Plan]:
        """The plans of the last event."""
        return [message for _, message in self.last if isinstance(message, Plan)]

    def told(self, of: type, to: str | None = None) -> list[Any]:
        """The messages of this type that the last event brought."""
        return [message for name, message in self.last if isinstance(message, of) and to in (None, name)]

    def where(self, task: int, run: int = 1) -> str:
        """The node it was planned on last."""
        return self.planned[run, task][0]

    def attempt(self, task: int, run: int = 1) -> int:
        """Of its last plan."""
        return self.planned[run, task][1]

    def startable(self, run: int) -> list[int]:
        """What is planned of this run and has its inputs."""
        table = self.scheduler.ledger.runs.get(run)
        if table is None:
            return []
        return [task for task in range(table.total) if table.is_planned(task) and not (table.linked and table.missing[task])]

    def finish(self, run: int = 1, rounds: int = 100_000, beside: Sequence[int] = (), **fields: Any) -> None:
        """Report whatever is planned and has its inputs, until the run is over; of others `beside` it where it waits for their nodes."""
        table = self.scheduler.ledger.runs[run]
        for _ in range(rounds):
            if table.is_over:
                return
            for each in (run, *beside):
                ready = self.startable(each)
                if ready:
                    self.done(*ready, run=each, **fields)
                    break
            else:
                if self.scheduler.deadline is None:
                    break
                self.wait(max(0.0, self.scheduler.deadline - self.now))
        raise AssertionError(f"the run stands still: {table}")


__all__ = [
    "CPU", "Accepted", "Ask", "Cancel", "Close", "Cluster", "Failed", "Flag", "Forget", "Missing", "Plan", "Recall", "Recalled", "Redirect",
    "Refused", "Release", "Report", "RunDone", "RunFailed", "Submit", "Unreachable", "Upload", "chain", "floats", "ints", "kind", "longs",
    "many", "program",
]
