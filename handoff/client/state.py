"""One run at the client: the loop's thread fills it in, callers in other threads read it.

Values stay packed, as they came, until somebody looks at them: holding ten thousand results costs little, and a user's own
unpickling never runs on the loop's thread.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from handoff.client.events import Arrived, Failure
from handoff.client.failures import error_of
from handoff.client.waiting import Awaited, Moment
from handoff.columns import Ints, ints
from handoff.errors import ConnectionLost, ExecutionError, HandoffError
from handoff.graph.references import id_of
from handoff.ids import NOBODY, RunId
from handoff.messages import Ask, Progress, RunDone
from handoff.program import Kind
from handoff.quoting import quoted
from handoff.wire.values import Packed, unpack

if TYPE_CHECKING:
    from handoff.client.core import Core
    from handoff.client.result import Correction

OutputTaker = Callable[[Hashable, str, str, str], Any]  # (function id, node, stream, text)


class Graph(NamedTuple):
    """What a caller's words (function ids) have to do with the cluster's (task numbers)."""

    dag_id: Hashable
    ids: Sequence[Hashable | None]                     # per task: its function's id, or None for a hidden one
    outputs: Sequence[int]                             # tasks whose values come here
    number: Mapping[Hashable, int]                     # function id -> task
    objects: Mapping[int, Packed] = {}                 # large literals, to upload when asked
    hidden: Mapping[int, str] = {}                     # what the hidden tasks are, for people
    kinds: Sequence[Kind] = ()                         # this and what follows, as in the program: for who looks at the run
    kind: Sequence[int] = ()                           # per task
    fan_in: Sequence[int] = ()                         # per task
    inputs: Sequence[int] = ()
    beside: Mapping[int, Hashable] = {}                # the ids of pinned functions, by the tasks that have to be where these are


class RunState:
    """What is known of one run. `Core` holds it until the run is forgotten."""

    def __init__(
        self, core: Core, token: int, graph: Graph, *, output: OutputTaker | bool | None = None, detached: bool = False
    ) -> None:
        self.core, self.token, self.graph = core, token, graph
        self.output = output
        self.detached = detached
        self.is_planned = False                        # it follows a plan
        self.corrections: Sequence[Correction] | None = None   # asked for when such a run is over
        self.delivered = False                         # somebody was given the results
        self.released = False                          # nobody holds it any more
        self.lease: weakref.ref[Lease] | None = None   # what users hold, if they do; a call has its future, a map its iterator
        self.is_former = False                         # the coordinator is gone that knew it: its number may be that of another run
        self.answer: Any = None                        # when attached: what the coordinator knows of it
        self.run = 0                                   # from Accepted on
        self.accepted = Moment(core)                   # accepted, refused, or over
        self.over = Moment(core)                       # the run is over, well or not
        self.done: RunDone | None = None
        self.names: Mapping[int, str] = {}             # of nodes, once the coordinator is gone whose numbers `done` has
        self.failure: Failure | None = None
        self.progress: Progress | None = None
        self.order: Ints = ints()                      # outputs in the order in which they were made known
        self.announced: dict[int, int] = {}            # large outputs that lie on a node -> their size
        self.watchers: list[Callable[[], None]] = []   # called on the loop's thread when `order` grew or the run is over
        self._waiting: deque[Arrived] = deque()        # messages whose values nobody looked for yet
        self._packed: dict[int, bytes | memoryview] = {}
        self._values: dict[int, Any] = {}
        self._fetches: dict[int, Future[None]] = {}
        self._lock = threading.Lock()

    # ── filled in on the loop's thread ───────────────────────────────────────

    def arrived(self, effect: Arrived) -> None:
        """Values came."""
        self._waiting.append(effect)
        announced = self.announced
        if not announced:
            self.order.extend(effect.tasks)
        else:
            for task in effect.tasks:
                if announced.pop(task, None) is None:
                    self.order.append(task)
        if self._fetches:
            for task in effect.tasks:
                self._fetched(task)
        self.news()

    def assembled(self, task: int, block: memoryview) -> None:
        """A large value came, chunk by chunk."""
        self._packed[task] = block
        if self.announced.pop(task, None) is None:
            self.order.append(task)
        self._fetched(task)
        self.news()

    def available(self, tasks: Sequence[int], sizes: Sequence[int]) -> None:
        """Large values exist on a node."""
        known = self.announced
        for task, size in zip(tasks, sizes, strict=True):
            if task not in known:
                self.order.append(task)
            known[task] = size
        self.news()

    def progressed(self, progress: Progress) -> None:
        """So far it is."""
        self.progress = progress
        self.news()

    def finish(self, done: RunDone | None, failure: Failure | None) -> None:
        """The run is over."""
        self.done, self.failure = done, failure
        if self.graph.objects:
            self.graph = self.graph._replace(objects={})
        self.accepted.come()
        self.over.come()
        if failure is not None:
            self.unfetched_all(failure)
        self.news()

    def outlives(self, names: Mapping[int, str]) -> None:
        """The coordinator that knew it is gone: what runs on the next one, and its nodes, may get the same numbers."""
        self.is_former, self.names = True, self.names or names

    def unfetched(self, task: int, failure: Failure) -> None:
        """A large value can't be had any more."""
        future = self._fetches.pop(task, None)
        if future is not None:
            with contextlib.suppress(InvalidStateError):     # another thread may just be telling it the same
                future.set_exception(error_of(failure, self.name_of))

    def unfetched_all(self, failure: Failure) -> None:
        """None of those that somebody waits for comes."""
        for task in list(self._fetches):
            self.unfetched(task, failure)

    def news(self) -> None:
        """Wake whoever watches."""
        for watcher in tuple(self.watchers):
            watcher()

    def _fetched(self, task: int) -> None:
        future = self._fetches.pop(task, None)
        if future is not None and not future.done():
            future.set_result(None)

    # ── read by callers ──────────────────────────────────────────────────────

    def ask(self, topic: str, task: int = NOBODY) -> Future[Any]:
        """Ask the coordinator about this run, or a task of it; `ConnectionLost` when the one that knew it is gone."""
        self.core.check_open(f"{quoted(topic)} can't be asked for")
        return self.core.question(Ask(self.core.token(), topic, RunId(self.run), task), of=self.token)

    def error(self) -> HandoffError | None:
        """Why the run has no result; a fresh exception each time, since raising one changes it."""
        return error_of(self.failure, self.name_of) if self.failure is not None else None

    def raise_if_failed(self) -> None:
        """Raise the run's error, if it has one."""
        error = self.error()
        if error is not None:
            raise error

    def value(self, task: int) -> Any:
        """The value of an output; a large one is fetched now."""
        try:
            return self._values[task]
        except KeyError:
            pass
        block = self._block(task)
        if block is None:
            self.fetch(task).result()
            block = self._block(task)
            if block is None:  # another caller was quicker
                return self._values[task]
        value = self._values.setdefault(task, self._unpacked(task, block))
        self._packed.pop(task, None)
        return value

    def take(self, task: int) -> tuple[Any, int]:
        """The value of an output that is known, and its bytes, for who looks at it once: nothing of it is kept here."""
        block = self._block(task)
        if block is None:
            self.fetch(task).result()
            block = self._block(task)
            assert block is not None, "taken by somebody else"
        del self._packed[task]
        return self._unpacked(task, block), len(block)

    def _unpacked(self, task: int, block: bytes | memoryview) -> Any:
        try:
            return unpack(block)
        except Exception as error:
            raise ExecutionError(f"the result of {quoted(self.name_of(task))} is here, but can't be loaded: "
                                 f"{type(error).__name__}: {error}. "
                                 "Whatever its classes need must be importable here, too") from error

    def fetch(self, task: int) -> Future[None]:
        """Ask for a large value; the future is done when it is here."""
        with self._lock:
            future = self._fetches.get(task)
            if future is None:
                future = Awaited(self.core)
                try:
                    self._fetches[task] = future
                    self.core.fetch(self.token, task, future)
                except BaseException:   # interrupted, likewise: nobody may know that it is wanted
                    self._fetches.pop(task, None)
                    raise
        if self._block(task) is not None or task in self._values:  # it came in between
            self.core.call(self._fetched, task)
        return future

    def is_known(self, task: int) -> bool:
        """Whether the value is here or announced."""
        return task in self.announced or task in self._values or self._block(task) is not None

    def is_ending(self) -> bool:
        """Whether all its values are known, and only the word that it is over is still on its way."""
        return not self.over.done() and 0 < len(self.graph.outputs) <= len(self.order)

    def fetch_all(self) -> list[Future[None]]:
        """Ask for all large values that are not here yet."""
        return [self.fetch(task) for task in list(self.announced)]

    def function_ids(self) -> Iterator[Hashable]:
        """The ids of the outputs, in the order of the graph."""
        ids = self.graph.ids
        return (ids[task] for task in self.graph.outputs)

    def name_of(self, task: int) -> Hashable:
        """The function of a task, also of a hidden one."""
        if task in self.graph.hidden:
            return self.graph.hidden[task]
        return self.graph.ids[task] if task < len(self.graph.ids) else f"task {task}"

    def _block(self, task: int) -> bytes | memoryview | None:
        waiting, packed = self._waiting, self._packed
        if waiting:
            with self._lock:
                while waiting:
                    effect = waiting[0]    # until all of it is taken: a signal's handler may raise in between, as for Ctrl-C
                    body = effect.body
                    view = memoryview(b"".join(body) if isinstance(body, tuple) else body)
                    at = 0
                    for each, size in zip(effect.tasks, effect.sizes, strict=True):
                        packed[each] = bytes(view[at : at + size])  # copied: aligned, and the rest of the message may go
                        at += size
                    waiting.popleft()
        return packed.get(task)


class Results(Mapping[Hashable, Any]):
    """Values by function id (or reference), unpacked when looked at. Keeps the run alive on the cluster as long as somebody holds it."""

    __slots__ = ("_keys", "_lease", "_state")

    def __init__(self, lease: Lease) -> None:
        self._lease, self._state = lease, lease.state
        self._keys: dict[Hashable, int] | None = None

    def _numbers(self) -> dict[Hashable, int]:
        if self._keys is None:
            state = self._state
            self._keys = dict(zip(state.function_ids(), state.graph.outputs, strict=True))
        return self._keys

    def __getitem__(self, function: Hashable) -> Any:
        return self._state.value(self._numbers()[id_of(function)])

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._numbers())

    def __len__(self) -> int:
        return len(self._numbers())

    def __contains__(self, function: object) -> bool:
        return id_of(function) in self._numbers()

    def __repr__(self) -> str:
        names = ", ".join(repr(name) for name, _ in zip(self._numbers(), range(8), strict=False))
        return f"<results of {names}{', ...' if len(self) > 8 else ''}>"


class Lease:
    """What users hold of a run; when the last one goes, the run is forgotten."""

    __slots__ = ("__weakref__", "state")

    def __init__(self, state: RunState) -> None:
        self.state = state
        state.lease = weakref.ref(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"run {self.state.run} and its results can't be copied or pickled: they belong to this process's connection to the "
                        "cluster; dict(result.results) has the values alone")

    def __del__(self) -> None:
        self.state.core.release(self.state)


def closed(what: str) -> ConnectionLost:
    """The error of those who come too late."""
    return ConnectionLost(f"{what}: this client is closed; make a new one with handoff.connect")
