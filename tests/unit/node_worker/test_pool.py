"""What workers say to their pool: whatever it is, the node goes on, and what is not believed ends the worker."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import pytest

from handoff.ids import RunId, WorkerId
from handoff.node.events import Execute
from handoff.node.given import GivenBatch, GivenWorker
from handoff.node.phrases import BLOCKED, BROKE, PACKING, RESULTS
from handoff.node.pool import WorkerPool
from handoff.node.store import ResultStore
from handoff.settings import NodeSettings

NAME, RUN = WorkerId(1), RunId(1)
NAN = float("nan")


class Pool:
    """A pool with one worker, which has a batch of two tasks."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.killed: list[str] = []
        self.store = ResultStore()
        self.pool = WorkerPool(
            store=self.store, codes={}, emit=self.events.append, output=lambda *_: None, name_of=str, here="me", settings=NodeSettings())
        self.worker = GivenWorker()
        process: Any = SimpleNamespace(pipe=SimpleNamespace(is_garbled=False), kill=self.killed.append)
        self.worker.process = process
        none = ((), ())
        self.worker.batches[1] = GivenBatch(Execute(NAME, RUN, (0, 1), (1, 1), (), (), none, none, ()))

    def hear(self, *said: Any) -> None:
        """It says this."""
        self.pool._heard(NAME, self.worker, [(list(said), [])])


def column(*numbers: float) -> bytes:
    """As they travel."""
    return array("d", numbers).tobytes()


async def test_a_value_that_there_is_no_memory_for_ends_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half believed, its task would neither be done nor ever be done again."""
    pool = Pool()

    def no_room(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(pool.store, "put_many", no_room)
    pool.hear(RESULTS, 1, 0, [b"x"], column(0.1), column(5.0))
    assert len(pool.killed) == 1 and pool.worker.process.pipe.is_garbled and pool.events == []


@pytest.mark.parametrize(("seconds", "ended"), [(-1.0, 5.0), (NAN, 5.0), (1e12, 5.0), (0.1, -5.0), (0.1, NAN)])
async def test_times_that_there_can_not_be_end_their_worker(seconds: float, ended: float) -> None:
    """Told on, they would end the session with the coordinator, and with it all that runs here."""
    pool = Pool()
    pool.hear(RESULTS, 1, 0, [b"x"], column(seconds), column(ended))
    assert len(pool.killed) == 1 and pool.events == [] and pool.store.count == 0


@pytest.mark.parametrize("seconds", [-1.0, NAN, 1e12])
async def test_nor_is_that_of_a_failure_believed(seconds: float) -> None:
    """The same for what broke."""
    pool = Pool()
    pool.hear(BROKE, 1, 0, "exception", "ValueError", "no", "", seconds, b"")
    assert len(pool.killed) == 1 and pool.events == []


@pytest.mark.parametrize("nbytes", [-1, 1 << 50, 1 << 70, True, 64e6])
async def test_nor_is_a_size_that_no_result_has(nbytes: Any) -> None:
    """Of what is being written: told on, it would end that session, too."""
    pool = Pool()
    pool.hear(PACKING, 1, 0, nbytes)
    assert len(pool.killed) == 1 and pool.events == []


async def test_what_can_be_is_believed() -> None:
    """So that the above is worth something."""
    pool = Pool()
    pool.hear(PACKING, 1, 0, 1 << 40)
    pool.hear(RESULTS, 1, 0, [b"x"], column(0.0), column(5.0))
    pool.hear(BROKE, 1, 1, "exception", "ValueError", "no", "", 0.0, b"")
    assert pool.killed == [] and len(pool.events) == 3 and not pool.worker.batches


async def test_who_blocks_the_others_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """One line, which names the worker, the function, and where it is at."""
    pool = Pool()
    pool.hear(BLOCKED, "bad", "bad, job.py line 3", 5)
    [line] = caplog.messages
    assert line.startswith('worker.blocked worker=1 function=bad place="bad, job.py line 3" waiting=5 note=') and pool.killed == []
