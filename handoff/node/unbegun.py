"""What a worker has not begun is taken from it, whether or not it listens; and how it is found that it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from handoff.errors import ProtocolError
from handoff.ids import WorkerId
from handoff.node.events import HandedBack, WorkerDeaf, WorkerReady
from handoff.node.given import GivenWorker

SETTLED_SECONDS = 0.02  # so long after a worker was told to begin no more it is certain what it had begun: what either side writes into
                        # their common memory is seen by the other within microseconds
DEAF_LOOKS = 25         # so many looks in a row at a worker that executes nothing, though it was given something: it does not hear us. By
                        # looks and not by time: a machine that stood still, or is busy, keeps us from looking, too
LOOK_BYTES = 1024 * 1024    # a worker that executes nothing has one look more for so much that it was given: it unpacks that first. Taken
                            # back meanwhile, it would be so wherever it goes


class Unbegun:
    """Performs HandBack for the workers of a pool."""

    def __init__(self, workers: Mapping[WorkerId, GivenWorker], emit: Callable[[Any], None]) -> None:
        self._workers, self._emit = workers, emit

    def take_back(self, name: WorkerId) -> None:
        """Have it begin nothing more of what it was given: it looks at the marker before each task."""
        worker = self._workers.get(name)
        if worker is not None:
            nbytes = sum(batch.nbytes for batch in worker.batches.values())
            self._take_back(name, worker, nbytes // LOOK_BYTES, worker.process.pipe.waiting_bytes)

    def _take_back(self, name: WorkerId, worker: GivenWorker, looks: int, unsent: int) -> None:
        """At once, if it executes something; else after so many looks at which nothing more of what it was given had left."""
        if self._workers.get(name) is not worker:
            return
        if looks > 0 and worker.batches and _executing(worker) is None:
            still = worker.process.pipe.waiting_bytes
            left = looks - (still >= unsent)
            asyncio.get_running_loop().call_later(SETTLED_SECONDS, self._take_back, name, worker, left, still)
            return
        worker.wanted_back = worker.last_batch
        worker.process.begin_no_more(worker.last_batch)
        self._look_later(name, worker, worker.last_batch, 1)

    def said(self, name: WorkerId, worker: GivenWorker, number: int, first: int) -> None:
        """It says that it has not begun this batch from this index on. We may have found that out before."""
        if number > worker.wanted_back:
            raise ProtocolError("it handed back what nobody wanted")
        if number in worker.batches:
            self._back(name, worker, number, first)
        else:
            self._emit(WorkerReady(name))   # it hears us, which may be news

    def _look_later(self, name: WorkerId, worker: GivenWorker, last: int, looks: int) -> None:
        asyncio.get_running_loop().call_later(SETTLED_SECONDS, self._look, name, worker, last, looks)

    def _look(self, name: WorkerId, worker: GivenWorker, last: int, looks: int) -> None:
        """In the midst of a task, what lies behind that, up to the last batch of then, it has not begun and will not."""
        if self._workers.get(name) is not worker:
            return
        executing = _executing(worker)
        if executing is not None:
            number, index = executing
            if number <= last:
                self._back(name, worker, number, index + 1)
                self._all_back(name, worker, number + 1, last)
            return   # in a later one: it gets along, and has said itself what it did not begin
        while worker.process.pipe.read():    # what it has ended was said before it executed nothing
            pass
        if self._workers.get(name) is not worker or not any(number <= last for number in worker.batches):
            return
        if looks < DEAF_LOOKS or not worker.process.has_come_up:
            self._look_later(name, worker, last, looks + worker.process.has_come_up)
            return
        self._emit(WorkerDeaf(name))
        self._all_back(name, worker, 0, last)
        if worker.batches:   # what it was given while we looked
            self.take_back(name)

    def _all_back(self, name: WorkerId, worker: GivenWorker, first: int, last: int) -> None:
        for number in [each for each in worker.batches if first <= each <= last]:
            self._back(name, worker, number, 0)

    def _back(self, name: WorkerId, worker: GivenWorker, number: int, first: int) -> None:
        """What is open of this batch from an index on. We and the worker find out independently: the second time nothing is left."""
        batch = worker.batches.get(number)
        tasks = batch.take_back(first) if batch is not None else ()
        if batch is not None and tasks:
            worker.settle(number, batch, len(tasks))
            self._emit(HandedBack(name, batch.run, tasks))


def _executing(worker: GivenWorker) -> tuple[int, int] | None:
    """Of what it has not ended: between its last word of a batch and the next one, what was left there may keep it as well."""
    executing = worker.process.executing()
    return executing if executing is not None and executing[0] in worker.batches else None
