"""The worker's main thread: runs the tasks of a batch one after the other, and turns whatever happens into answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from handoff.errors import HandoffError
from handoff.node.child_batch import Batch, InputMissing, NotLoadable
from handoff.node.child_cuda import leave_if_broken
from handoff.node.child_outbox import GATHER_SECONDS, PATIENT_SECONDS, Outbox
from handoff.node.child_output import Output, printable
from handoff.node.current import CurrentTask
from handoff.node.phrases import BROKE, HANDED_BACK, PACKING
from handoff.node.shared_memory import AHEAD_BYTES, SharedValue, write_shared
from handoff.wire.failures import without_our_frames
from handoff.wire.values import describe_exception, explain_unpicklable, pack_exception, pack_result, pack_simple, unpack

GATHER_BYTES = 16 * 1024  # a result of this size is sent at once
_NONE = pack_simple(None)
_SIMPLE = frozenset({bool, int, float, str, bytes})  # a shorter way for what most short tasks return,
_SIZED = frozenset({str, bytes})                     # unless it is so large that this would be for nothing


class NotPicklable(HandoffError):
    """A result can't be pickled; the text leads to the part that can't."""


def pack_value(value: Any, inline_bytes: int, packs: Callable[[int], None]) -> bytes | SharedValue:
    """A result as it leaves the worker; NotPicklable, or what writing a large one raises.

    `packs` is told the size of one that takes so long to write that elsewhere memory for it can be had meanwhile.
    """
    if value is None:
        return _NONE
    kind = type(value)
    if kind in _SIMPLE and not (kind in _SIZED and len(value) > inline_bytes):
        data = pack_simple(value)
        if len(data) <= inline_bytes:
            return data
    try:
        nbytes, parts = pack_result(value)
    except BaseException as error:  # a user's __reduce__ may raise anything
        raise NotPicklable(f"the result can't be pickled: {explain_unpicklable(value, error)}") from error
    if nbytes > inline_bytes:
        if nbytes >= AHEAD_BYTES:
            packs(nbytes)
        try:
            return write_shared(parts, nbytes)
        except OSError as error:
            raise MemoryError(f"a result of {nbytes:,} bytes does not fit into this node's shared memory: {error}") from error
    first = parts[0]
    return first if len(parts) == 1 and type(first) is bytes else b"".join(parts)


def broke(batch: int, index: int, error: BaseException, seconds: float) -> list[Any]:
    """The answer for a task that failed, whatever its error."""
    match error:
        case NotLoadable():
            cause, shown = "unloadable", error.__cause__ or error
        case InputMissing():
            cause, shown = "skipped", error
        case NotPicklable():
            cause, shown = "unpicklable", without_our_frames(error.__cause__ or error)
        case _:
            cause, shown = "exception", error
    kind, text, traceback = describe_exception(shown)
    body = pack_exception(error) if cause == "exception" else b""
    if cause == "exception":
        if not body:
            traceback = f"{traceback.rstrip()}\n(only this text of the {kind} could be sent: pickling it, or building it again, fails)\n"
    else:
        text = str(error)
        if '\n  File "' not in traceback:   # none of the user's code is in it: it says nothing that the text doesn't
            traceback = ""
    return [BROKE, batch, index, cause, printable(kind), printable(text), printable(traceback), seconds, body]


class Runner:
    """Runs batches. `marker` is memory shared with the node, which reads there what executes, and says what is not to be begun any more."""

    # As they were when this was loaded: user code may put others in their place, such as a test that stops time, and leave them there.
    _clock, _nanoseconds = staticmethod(time.monotonic), staticmethod(time.monotonic_ns)

    def __init__(
        self, outbox: Outbox, output: Output, marker: memoryview, inline_bytes: int, make_loop: Callable[[], Any],
    ) -> None:
        self._outbox, self._output, self._marker, self._make_loop = outbox, output, marker, make_loop
        self._loop: Any = None               # for coroutines, when the first has come
        self.inline_bytes = inline_bytes
        self._batch: Batch | None = None     # the last one, for lines that are printed after it
        self._index = 0

    def current(self) -> CurrentTask | None:
        """The task that runs, or ran last."""
        batch = self._batch
        if batch is None:
            return None
        index = min(self._marker[1], batch.count - 1)
        return batch.current(index)

    def cancel(self, batch: int, indices: list[int]) -> None:
        """Cancel the coroutine that runs, if it is one of these. Called while it does."""
        if self._loop is not None and self._marker[0] == batch and self._marker[1] in indices:
            self._loop.cancel()

    def run(self, batch: Batch) -> None:
        """Every task of the batch, one after the other."""
        marker, outbox = self._marker, self._outbox
        marker[3] = marker[1] = 0
        marker[0] = batch.number
        self._batch = batch
        outbox.begin(batch.number, batch.count)
        try:
            self._run_all(batch)
        finally:
            outbox.end()
            batch.release()
            marker[0] = 0

    def _run_all(self, batch: Batch) -> None:
        # The hot path of the product: everything is local, and nothing is made per task but its result.
        marker, outbox, output, monotonic = self._marker, self._outbox, self._output, self._clock
        add_value, add_seconds, add_ended = outbox.values.append, outbox.seconds.append, outbox.ended.append
        consumed, plain, literals, inline_bytes = batch.consumed, batch.plain, batch.literals, self.inline_bytes
        number, awaits, timed, nanoseconds = batch.number, batch.has_coroutines, batch.is_timed, self._nanoseconds
        urgent, gather = batch.urgent, PATIENT_SECONDS
        function: Any = None
        value: Any = None
        args: Any = None
        keywords: Any = None
        data: Any = None
        started = monotonic()
        for index in range(batch.count):
            if timed:
                marker[3] = 0   # before the index: at no moment does it seem that this one began when the last one did
            marker[1] = index
            if marker[2] >= number:     # only now: the node believes that we begin what the marker names
                outbox.say([HANDED_BACK, number, index])
                return
            try:
                if plain and function is not None and literals[index]:
                    args, keywords = unpack(literals[index])
                    if timed:
                        marker[3] = nanoseconds()
                    value = function(*args, **keywords)
                else:
                    called, args, keywords = batch.call(index)
                    if timed:
                        marker[3] = nanoseconds()
                    value = called(*args, **keywords)
                    function = called
                # Of a coroutine function, or of a plain one that hands on what such a one gave it.
                if type(value) is CoroutineType or (awaits and batch.kind(index).is_async and hasattr(value, "__await__")):
                    value = self._result_of(value, batch, index)
                data = pack_value(value, inline_bytes, self._packs)
            except BaseException as error:
                seconds = monotonic() - started
                value = args = keywords = None
                self._end_lines(batch, index)
                outbox.skip()
                outbox.say(broke(batch.number, index, error, seconds))
                if batch.devices:
                    leave_if_broken(outbox.flush)
                started = monotonic()
                continue
            value = args = keywords = None  # nothing of one task is kept alive during the next
            if output.begun or output.dropped:
                self._end_lines(batch, index)
            if index in consumed:
                batch.keep(index, data)
            ended = monotonic()
            is_due = outbox.is_due(data) if type(data) is SharedValue else len(data) > GATHER_BYTES
            add_value(data)
            add_seconds(ended - started)
            add_ended(ended)
            data = None
            if index in urgent:
                gather = GATHER_SECONDS - (ended - started)    # the next one may take as long
            if is_due or ended - outbox.flushed > gather:
                outbox.flush()
                gather = PATIENT_SECONDS
                started = monotonic()
            else:
                started = ended

    def _result_of(self, coroutine: Any, batch: Batch, index: int) -> Any:
        if self._loop is None:
            self._loop = self._make_loop()
        return self._loop.result_of(coroutine, batch.current(index))

    def _packs(self, nbytes: int) -> None:
        self._outbox.say([PACKING, self._marker[0], self._marker[1], nbytes])

    def _end_lines(self, batch: Batch, index: int) -> None:
        self._output.end((batch.run, batch.tasks[index]))
