"""The node's worker processes: gives them batches, puts their results into the store, and tells the brain what happened.

Whatever user code does, this side goes on: a worker that says what makes no sense is killed, and its tasks are somebody else's.
"""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from handoff.columns import floats, ints
from handoff.errors import ProtocolError
from handoff.ids import NOBODY, PeerId, RunId, WorkerId
from handoff.log import log
from handoff.node.events import Broke, CancelTask, Execute, Finished, Packing, Started, WorkerGone, WorkerLoaded, WorkerReady
from handoff.node.given import GivenBatch, GivenWorker, SaidKinds, said_inputs
from handoff.node.last_will import LastWill
from handoff.node.memory import Memory
from handoff.node.phrases import (
    BATCH,
    BLOCKED,
    BROKE,
    CANCEL,
    HANDED_BACK,
    LOADED,
    MAP,
    OUTPUT,
    PACKING,
    READY,
    RESULTS,
    SCATTERED,
    SETUP,
    STARTED,
    UNMAP,
)
from handoff.node.pipe import FDS_MAX, Frame, frame
from handoff.node.pipes import Pipes
from handoff.node.process import KILLED, WorkerProcess, raise_file_limit, worker_environment
from handoff.node.shared_memory import SharedValue, adopt
from handoff.node.store import ResultStore, Value
from handoff.node.unbegun import Unbegun
from handoff.program import BYTES_MAX, SECONDS_MAX, Form
from handoff.settings import NodeSettings

OUTPUT_BYTES_PER_SECOND = 1024 * 1024  # of printed lines, from one worker
INLINE_BYTES_MAX = 16 * 1024 * 1024    # whatever the settings say: an answer must fit into a frame
MAPPED_MAX = 1024                      # large values that one worker keeps mapped, likewise
BLOCKS = "it blocks the event loop that it shares with other coroutines: these can't go on"
CLOSE_SECONDS = 0.3                    # an idle worker may end by itself this long when the node stops, then it is killed


class WorkerPool:
    """Performs Spawn, Kill, Execute, HandBack and CancelTask; answers by `emit`, always from a later turn of the loop.

    `output` gets printed lines: run, tasks, streams, texts. `close` leaves no process behind.
    """

    def __init__(
        self,
        *,
        store: ResultStore,
        codes: Mapping[bytes, bytes],
        emit: Callable[[Any], None],
        output: Callable[[RunId, list[int], list[str], list[str]], None],
        name_of: Callable[[PeerId], str],
        here: str,
        settings: NodeSettings,
        environment: Mapping[str, str] | None = None,
        devices: Sequence[str] = (),
        memory: Memory | None = None,
    ) -> None:
        self._store, self._codes, self._emit, self._output = store, codes, emit, output
        self._name_of, self._here, self._settings = name_of, here, settings
        self._environment = worker_environment(environment)
        self._devices = devices                  # what CUDA calls each GPU of this node
        self._workers: dict[WorkerId, GivenWorker] = {}
        self._unbegun = Unbegun(self._workers, emit)
        self._memory = memory
        self._will = LastWill()
        self._closing = False
        self._empty = asyncio.Event()
        self._kinds = SaidKinds()
        self._pipes = Pipes(asyncio.get_running_loop())
        store.on_drop = self._dropped
        raise_file_limit()

    @property
    def pids(self) -> dict[WorkerId, int]:
        """The process of each worker."""
        return {name: worker.process.pid for name, worker in self._workers.items()}

    # ── what the brain asks for ─────────────────────────────────────────────

    def spawn(self, name: WorkerId) -> None:
        """Start a worker; answered by WorkerReady, or by WorkerGone when it does not come up."""
        loop = asyncio.get_running_loop()
        worker = GivenWorker()
        try:
            worker.process = WorkerProcess(
                loop,
                self._pipes,
                self._environment,
                heard=partial(self._heard, name, worker),
                gone=partial(self._gone, name, worker),
                will=self._will,
            )
        except OSError as error:
            loop.call_soon(self._emit, WorkerGone(name, f"could not be started: {error}", (), wrote=""))
            return
        self._workers[name] = worker
        worker.process.pipe.send(frame([SETUP, min(self._settings.inline_bytes, INLINE_BYTES_MAX), OUTPUT_BYTES_PER_SECOND]))

    def kill(self, name: WorkerId, reason: str) -> None:
        """End a worker now; answered by WorkerGone."""
        worker = self._workers.get(name)
        if worker is not None:
            worker.process.kill(reason)

    def cancel(self, effect: CancelTask) -> None:
        """Cancel coroutines."""
        worker = self._workers.get(effect.worker)
        if worker is None:
            return
        wanted = set(effect.tasks)
        for number, batch in worker.batches.items():
            if batch.run == effect.run:
                indices = [index for index, task in enumerate(batch.tasks) if batch.open[index] and task in wanted]
                if indices:
                    worker.process.pipe.send(frame([CANCEL, number, indices]))

    def look(self, name: WorkerId) -> None:
        """Say what it executes, and since when."""
        worker = self._workers.get(name)
        found = worker.process.timed() if worker is not None else None
        if worker is None or found is None:
            return
        number, index, began = found
        batch = worker.batches.get(number)
        if batch is not None and index < len(batch.tasks) and batch.open[index]:
            self._emit(Started(name, batch.run, batch.tasks[index], began))

    def hand_back(self, name: WorkerId) -> None:
        """Take from it what it has not begun."""
        self._unbegun.take_back(name)

    def execute(self, work: Execute) -> None:
        """Give a batch to a worker. One that is gone meanwhile answers for itself, by WorkerGone."""
        worker = self._workers.get(work.worker)
        if worker is None or not work.tasks:
            return
        worker.last_batch += 1
        number, pipe = worker.last_batch, worker.process.pipe
        kinds, kind_of = self._kinds.of(work.kinds)
        said, has_trees = [], False
        for kind in kinds:
            said.append(kind.said)
            has_trees |= kind.is_tree
        batch = worker.batches[number] = GivenBatch(work)
        frames = worker.code_frames(kinds, self._codes)
        fan_in, references, values = self._inputs(work) if any(work.inputs) else (b"", b"", [])
        given, large, own = said_inputs(values)
        beside = self._map(worker, large, frames) if large else []
        frames.append(frame([
            BATCH, number, work.run, self._here, ints(work.tasks).tobytes(), ints(work.tries or work.attempts).tobytes(),
            said, kind_of, work.literals if any(work.literals) else [], fan_in, references, given, self._names(work) if has_trees else {},
            work.cost, work.costs, work.gpus, ",".join(self._devices[index] or str(index) for index in work.gpus) if work.gpus else "",
            ints(work.urgent).tobytes() if work.urgent else b"", work.is_at_once,
        ]))
        if own:
            del worker.mapped[own]
            frames.append(frame([UNMAP, [own]]))
        data = b"".join(frames) if len(frames) > 1 else frames[0]
        batch.nbytes = len(data)
        pipe.send(data, beside)

    def _inputs(self, work: Execute) -> tuple[bytes, bytes, list[Value | None]]:
        """How many inputs each task has, where each is found, and the values to be sent along. See phrases.BATCH."""
        count, get = len(work.tasks), self._store.values(work.run).get
        position = dict(zip(work.tasks, range(count), strict=True))
        known: dict[int, int] = {}
        references = ints()
        values: list[Value | None] = []
        for index, inputs in enumerate(work.inputs):
            for task in inputs:
                own = position.get(task, index)
                if own < index and not work.is_at_once:
                    references.append(own)
                    continue
                at = known.get(task)
                if at is None:
                    at = known[task] = count + len(values)
                    values.append(get(task))
                references.append(at)
        return ints(map(len, work.inputs)).tobytes(), references.tobytes(), values

    def _names(self, work: Execute) -> dict[int, list[Any]]:
        names = {}
        for index, kind in enumerate(work.kinds):
            if kind.form == Form.TREE and (work.sources[index] or work.targets[index] != NOBODY):
                target = work.targets[index]
                names[index] = ["" if target == NOBODY else self._name_of(target), [self._name_of(peer) for peer in work.sources[index]]]
        return names

    def _map(self, worker: GivenWorker, large: dict[int, SharedValue], frames: list[bytes]) -> list[SharedValue]:
        """Put the large values that the worker has not mapped before these frames, to go beside them; send what is too many for that."""
        missing = []
        for serial, value in large.items():
            if serial in worker.mapped:
                worker.mapped.move_to_end(serial)
            else:
                worker.mapped[serial] = None
                missing.append(value)
        beside: list[SharedValue] = []
        for at in range(0, len(missing), FDS_MAX):
            if beside:
                worker.process.pipe.send(frames.pop(0), beside)
            beside = missing[at : at + FDS_MAX]
            frames.insert(0, frame([MAP, [value.serial for value in beside], [value.nbytes for value in beside]], len(beside)))
        if len(worker.mapped) > MAPPED_MAX and len(worker.mapped) > len(large):
            surplus = len(worker.mapped) - max(MAPPED_MAX, len(large))
            frames.append(frame([UNMAP, [worker.mapped.popitem(last=False)[0] for _ in range(surplus)]]))
        return beside

    def _dropped(self, serials: list[int]) -> None:
        """Large values left the store: their memory is free when no worker has them mapped any more."""
        for worker in self._workers.values():
            known = [serial for serial in serials if serial in worker.mapped]
            if known:
                for serial in known:
                    del worker.mapped[serial]
                worker.process.pipe.send(frame([UNMAP, known]))

    # ── what workers say ────────────────────────────────────────────────────

    def _heard(self, name: WorkerId, worker: GivenWorker, frames: list[Frame]) -> None:
        for said, descriptors in frames:
            try:
                self._hear(name, worker, said, descriptors)
            except Exception as error:   # memory may run out, too: what is half believed would never end
                worker.process.pipe.is_garbled = True
                worker.process.kill(f"it said what no worker says: {type(error).__name__}: {error}")
            finally:
                for descriptor in descriptors:  # what nobody took
                    os.close(descriptor)

    def _hear(self, name: WorkerId, worker: GivenWorker, said: list[Any], descriptors: list[int]) -> None:
        what = said[0]
        if what == RESULTS:
            self._finished(name, worker, range(said[2], said[2] + len(said[3])), said, descriptors)
        elif what == SCATTERED:
            self._finished(name, worker, array("I", said[2]), said, descriptors)
        elif what == BROKE:
            self._broke(name, worker, said)
        elif what == STARTED:
            batch = worker.batches[said[1]]
            self._emit(Started(name, batch.run, batch.tasks[said[2]], time.monotonic()))
        elif what == PACKING:
            batch = worker.batches[said[1]]
            if type(said[3]) is not int or not 0 <= said[3] <= BYTES_MAX:    # nor would the coordinator, or other nodes, hear it from us
                raise ProtocolError("it writes a result of a size that there can't be")
            if batch.open[said[2]]:
                self._emit(Packing(name, batch.run, batch.tasks[said[2]], batch.attempts[said[2]], said[3]))
        elif what == HANDED_BACK:
            self._unbegun.said(name, worker, said[1], said[2])
        elif what == OUTPUT:
            self._printed(said)
        elif what == BLOCKED:
            log.warning("worker.blocked", worker=name, function=said[1], place=said[2], waiting=said[3], note=BLOCKS)
        elif what == READY:
            self._emit(WorkerReady(name))
        elif what == LOADED:
            worker.process.came_up()
            self._emit(WorkerLoaded(name))
        else:
            raise ProtocolError(f"it said {what!r}")

    def _finished(
        self, name: WorkerId, worker: GivenWorker, indices: range | array[int], said: list[Any], descriptors: list[int]
    ) -> None:
        _, number, _, values, seconds, ended = said
        batch = worker.batches[number]
        count = len(values)
        if type(indices) is range:
            first, end = indices.start, indices.stop
            if batch.open.count(1, first, end) + batch.open.count(2, first, end) != count:
                raise ProtocolError("it finished a task twice, or one that it was not given")
            tasks, attempts = batch.tasks[first:end], batch.attempts[first:end]
            batch.open[first:end] = bytes(count)
        else:
            for index in indices:
                if not batch.open[index]:
                    raise ProtocolError("it finished a task twice")
                batch.open[index] = 0
            tasks, attempts = tuple(batch.tasks[index] for index in indices), tuple(batch.attempts[index] for index in indices)
        if descriptors:
            if [type(value) for value in values].count(int) != len(descriptors):
                raise ProtocolError("not as many large values as descriptors")
            values = [adopt(descriptors.pop(0), value) if type(value) is int else value for value in values]
        if not values or not {bytes, SharedValue}.issuperset(map(type, values)):
            raise ProtocolError("a value is not bytes")
        durations, when = floats(), floats()
        durations.frombytes(seconds)
        when.frombytes(ended)
        if not len(durations) == len(when) == len(tasks) == count:
            raise ProtocolError("columns of different lengths")
        if not (0.0 <= sum(durations) <= SECONDS_MAX * count and sum(when) >= 0.0):   # the coordinator would end its session with us for it
            raise ProtocolError("it measured times that there can't be")
        self._store.put_many(batch.run, tasks, values)
        worker.settle(number, batch, count)
        self._emit(Finished(name, batch.run, tasks, attempts, tuple(map(len, values)), tuple(durations), tuple(when)))

    def _broke(self, name: WorkerId, worker: GivenWorker, said: list[Any]) -> None:
        _, number, index, cause, kind, text, traceback, seconds, body = said
        batch = worker.batches[number]
        if not batch.open[index]:
            raise ProtocolError("a task broke twice")
        if not all(type(each) is str for each in (cause, kind, text, traceback)) or type(body) is not bytes:
            raise ProtocolError("it described a failure in something other than text")  # others would refuse to hear it from us
        if not 0.0 <= seconds <= SECONDS_MAX:
            raise ProtocolError("it measured a time that there can't be")
        if kind.endswith("MemoryError") and self._memory is not None:
            text = f"{text}; {self._memory.told()}" if text else self._memory.told()
        batch.open[index] = 0
        worker.settle(number, batch, 1)
        self._emit(Broke(name, batch.run, batch.tasks[index], batch.attempts[index], cause, kind, text, traceback, float(seconds), body))

    def _printed(self, said: list[Any]) -> None:
        """Lines of one run after the other."""
        _, runs, tasks, streams, texts = said
        column = array("I", tasks)
        if not len(column) == len(runs) == len(streams) == len(texts) or not all(type(each) is str for each in (*streams, *texts)):
            raise ProtocolError("it printed something other than lines of text")
        at = 0
        while at < len(runs):
            end = at + 1
            while end < len(runs) and runs[end] == runs[at]:
                end += 1
            self._output(RunId(runs[at]), list(column[at:end]), streams[at:end], texts[at:end])
            at = end

    def _gone(self, name: WorkerId, worker: GivenWorker, reason: str) -> None:
        if self._workers.get(name) is worker:
            del self._workers[name]
        if self._closing:
            if not self._workers:
                self._empty.set()
            return
        running = [
            (batch.run, task)
            for batch in worker.batches.values()
            for task, state in zip(batch.tasks, batch.open, strict=True)
            if state == 2
        ]
        executing = worker.process.executing()
        if executing is not None:
            number, index = executing
            batch = worker.batches.get(number)
            # What it finished last may still be marked when it died between two tasks: that one is not to blame.
            if batch is not None and index < len(batch.tasks) and batch.open[index]:
                running.append((batch.run, batch.tasks[index]))
        self._emit(WorkerGone(
            name, reason, tuple(running), worker.process.pipe.is_garbled, worker.process.last_words(),
            self._memory.after_kill() if self._memory is not None and reason == KILLED else "",
        ))

    async def close(self) -> None:
        """End all workers. Idle ones end by themselves when their pipe closes; nothing is left behind."""
        self._closing = True
        if self._workers:
            await self._end_workers()
        self._pipes.close()
        self._will.close()

    async def _end_workers(self) -> None:
        for worker in self._workers.values():
            if worker.batches:
                worker.process.kill("the node stops")
            else:
                worker.process.pipe.close()
        try:
            await asyncio.wait_for(self._empty.wait(), CLOSE_SECONDS)
        except TimeoutError:
            for worker in list(self._workers.values()):
                worker.process.kill("the node stops")
            await self._empty.wait()
