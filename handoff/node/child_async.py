"""Coroutines that run side by side: many at once on one loop, in a thread of its own, each of them cancellable."""

from __future__ import annotations

import asyncio
import threading
import time
from array import array
from functools import partial
from typing import Any

from handoff.node.child_batch import Batch
from handoff.node.child_cuda import leave_if_broken
from handoff.node.child_loop import open_loop
from handoff.node.child_outbox import Outbox
from handoff.node.child_output import Output, printable
from handoff.node.child_run import GATHER_BYTES, broke, pack_value
from handoff.node.child_watch import Watch, where
from handoff.node.current import TASK
from handoff.node.phrases import BLOCKED, BROKE, PACKING, SCATTERED, STARTED
from handoff.node.shared_memory import SharedValue

TOLD_MAX = 1000   # functions that are known to block; beyond, they are told of again

_Key = tuple[int, int]  # batch and index
_Ended = tuple[int, bytes, float, float]  # index, value, seconds, when


class Coroutines:
    """Made when the first coroutine task comes. `start` and `cancel` are called from the main thread."""

    _clock = staticmethod(time.monotonic)   # as it was when this was loaded: user code may put another in its place

    def __init__(self, outbox: Outbox, output: Output, inline_bytes: int) -> None:
        self._outbox, self._output, self._inline_bytes = outbox, output, inline_bytes
        self._loop = open_loop()
        self._tasks: dict[_Key, tuple[asyncio.Task[None], Batch]] = {}
        self._started: dict[_Key, float] = {}
        self._ended: dict[int, list[_Ended]] = {}  # by batch: gathered during one turn of the loop
        self._given = self._over_count = 0         # the one is counted in the main thread, the other in the loop's
        self._is_ours = False                      # it loads code, or packs a result, which blocks the loop, and is no fault of a function
        self._told: dict[tuple[int, str], None] = {}   # run and function that blocked it
        self._thread = threading.Thread(target=self._turn, name="handoff-coroutines", daemon=True)
        self._thread.start()
        self._watch = Watch(self._loop, lambda: self._given == self._over_count, self._blocked)

    def start(self, batch: Batch) -> None:
        """Begin all tasks of the batch."""
        self._given += batch.count
        self._watch.begin()
        self._loop.call_soon_threadsafe(self._start, batch)

    def cancel(self, batch: int, index: int) -> None:
        """Cancel this task, unless it has ended."""
        self._loop.call_soon_threadsafe(self._cancel, (batch, index))

    # ── in the loop's thread ────────────────────────────────────────────────

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        while True:
            try:
                self._loop.run_forever()
            except BaseException:  # asyncio lets SystemExit and KeyboardInterrupt of a user's own subtask through
                continue

    def _start(self, batch: Batch) -> None:
        for index in range(batch.count):
            key = (batch.number, index)
            task = self._loop.create_task(self._run(batch, index))
            self._tasks[key] = task, batch
            self._started[key] = self._clock()
            task.add_done_callback(partial(self._over, key))

    def _cancel(self, key: _Key) -> None:
        found = self._tasks.get(key)
        if found is not None:
            found[0].cancel()

    async def _run(self, batch: Batch, index: int) -> None:
        task: Any = asyncio.current_task()
        current = batch.current(index)
        TASK.set(current)
        has_failed = True
        try:
            self._is_ours = True
            called, args, keywords = batch.call(index)
            self._is_ours = False
            if batch.kind(index).is_timed:
                self._outbox.say([STARTED, batch.number, index])
            value = called(*args, **keywords)
            if asyncio.iscoroutine(value) or hasattr(value, "__await__"):
                value = await value
            del called, args, keywords
            self._is_ours = True
            data = pack_value(value, self._inline_bytes, lambda nbytes: self._outbox.say([PACKING, batch.number, index, nbytes]))
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            self._broke((batch.number, index), error)  # its own doing: it awaited something that was cancelled
        except BaseException as error:
            self._broke((batch.number, index), error)
        else:
            has_failed = False
            self._done((batch.number, index), data)
        finally:
            self._is_ours = False
            if self._output.begun or self._output.dropped:
                self._output.end((current.run, current.task))
        if has_failed and batch.devices:
            leave_if_broken(self._outbox.flush)

    def _over(self, key: _Key, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            seconds = self._clock() - self._started[key]
            self._outbox.say([BROKE, *key, "cancelled", "CancelledError", "it was cancelled", "", seconds, b""])
        self._tasks.pop(key, None)
        self._started.pop(key, None)
        self._over_count += 1

    def _broke(self, key: _Key, error: BaseException) -> None:
        self._outbox.say(broke(*key, error, self._clock() - self._started[key]))

    def _done(self, key: _Key, data: bytes | SharedValue) -> None:
        batch, index = key
        ended = self._clock()
        seconds = ended - self._started[key]
        if isinstance(data, SharedValue):
            self._send(batch, [(index, b"", seconds, ended)], data)
            return
        if len(data) > GATHER_BYTES:
            self._send(batch, [(index, data, seconds, ended)], None)
            return
        if not self._ended:
            self._loop.call_soon(self._flush)
        self._ended.setdefault(batch, []).append((index, data, seconds, ended))

    def _flush(self) -> None:
        gathered, self._ended = self._ended, {}
        for batch, ended in gathered.items():
            self._send(batch, ended, None)

    def _send(self, batch: int, ended: list[_Ended], large: SharedValue | None) -> None:
        indices, values, seconds, when = zip(*ended, strict=True)
        said = [
            SCATTERED, batch, array("I", indices).tobytes(), [large.nbytes] if large is not None else values,
            array("d", seconds).tobytes(), array("d", when).tobytes(),
        ]
        self._outbox.say(said, [large] if large is not None else [])

    # ── in the thread that watches ──────────────────────────────────────────

    def _blocked(self) -> bool:
        """The loop stands still: say so, if somebody waits for it; once for each function of a run."""
        waiting, running = self._given - self._over_count - 1, asyncio.current_task(self._loop)
        if waiting < 1 or running is None or self._is_ours:
            return False
        place = where(self._thread.ident)
        run, function, whose = 0, "", None
        for (_, index), (task, batch) in list(self._tasks.items()):
            if task is running:
                whose = batch.current(index)
                run, function = whose.run, whose.function
        if (run, function or place) in self._told:
            return True
        if len(self._told) >= TOLD_MAX:
            self._told.clear()
        self._told[run, function or place] = None
        if whose is not None:
            self._outbox.line(whose.run, whose.task, "stderr", printable(
                f"[it blocks the event loop of the coroutines on its node, in {place}; {waiting:,} other{'s' * (waiting > 1)} can't go on. "
                "Await what takes time, or do it in asyncio.to_thread]"))
        self._outbox.say([BLOCKED, printable(function), printable(place), waiting])
        return True
