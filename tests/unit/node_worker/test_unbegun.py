"""How long a worker that begins nothing is looked at, and what is taken from it then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from handoff.ids import RunId, WorkerId
from handoff.node import unbegun
from handoff.node.events import Execute, HandedBack, WorkerDeaf
from handoff.node.given import GivenBatch, GivenWorker
from handoff.node.unbegun import DEAF_LOOKS, Unbegun
from handoff.settings import MIB

NAME, RUN = WorkerId(1), RunId(1)


class Silent:
    """A process, and its pipe, that say nothing and execute nothing."""

    has_come_up = True
    marked: tuple[int, int] | None = None

    def __init__(self) -> None:
        self.looks = 0
        self.no_more = 0                     # of batches up to this one
        self.unsent: list[int] = [0]         # bytes that wait in its pipe at each look; the last number stays
        self.given: dict[int, Any] = {}      # at which look it is given what
        self.pipe = self

    def executing(self) -> tuple[int, int] | None:
        """Nothing, or what a test says; each look asks once."""
        self.looks += 1
        self.given.pop(self.looks, lambda: None)()
        return self.marked

    def begin_no_more(self, batch: int) -> None:
        """Noted."""
        self.no_more = batch

    def read(self) -> bool:
        """It says nothing."""
        return False

    @property
    def waiting_bytes(self) -> int:
        """What it has not read."""
        return self.unsent[min(self.looks, len(self.unsent) - 1)]


class Watched:
    """One such worker, and what is told of it."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.process, self.worker = Silent(), GivenWorker()
        self.worker.process = self.process  # type: ignore[assignment]
        self.unbegun = Unbegun({NAME: self.worker}, self.told.append)

    def give(self, *tasks: int) -> None:
        """One more batch."""
        none = ((),) * len(tasks)
        self.worker.last_batch += 1
        self.worker.batches[self.worker.last_batch] = GivenBatch(Execute(NAME, RUN, tasks, (1,) * len(tasks), (), (), none, none, ()))

    async def until_empty(self) -> None:
        """All that it had was taken from it."""
        async with asyncio.timeout(20):
            while self.worker.batches:
                await asyncio.sleep(0.001)


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Looked at without a pause."""
    monkeypatch.setattr(unbegun, "SETTLED_SECONDS", 0.0)
    return Watched()


async def test_a_worker_that_begins_nothing_is_deaf_and_has_nothing_any_more(watched: Watched) -> None:
    """After so many looks; what it was given last is told of with all else."""
    watched.give(1, 2)
    watched.give(3)
    watched.unbegun.take_back(NAME)
    await watched.until_empty()
    assert watched.told == [WorkerDeaf(NAME), HandedBack(NAME, RUN, (1, 2)), HandedBack(NAME, RUN, (3,))]
    assert watched.process.looks == DEAF_LOOKS and watched.process.no_more == 2


async def test_a_worker_that_is_held_up_behind_its_last_word_is_deaf_too(watched: Watched) -> None:
    """It still names a batch of which all was told: the next one would be given to it again and again."""
    watched.give(1)
    watched.worker.settle(1, watched.worker.batches[1], 1)
    watched.process.marked = 1, 0
    watched.give(2)
    watched.unbegun.take_back(NAME)
    await watched.until_empty()
    assert watched.told == [WorkerDeaf(NAME), HandedBack(NAME, RUN, (2,))]


async def test_what_it_was_given_meanwhile_is_taken_back_too(watched: Watched) -> None:
    """It would lie there until the worker is ended."""
    watched.give(1)
    watched.process.given[3] = lambda: watched.give(2)
    watched.unbegun.take_back(NAME)
    await watched.until_empty()
    assert HandedBack(NAME, RUN, (1,)) in watched.told and HandedBack(NAME, RUN, (2,)) in watched.told
    assert watched.process.no_more == 2


async def test_a_worker_that_was_given_much_is_left_alone_while_it_takes_it(watched: Watched) -> None:
    """Very many small inputs take a while, the longer the busier the machine is: each worker in turn would be asked too early."""
    reads, unpacks = 100, 50
    watched.process.unsent = [MIB * each for each in reversed(range(reads))]
    watched.give(1)
    watched.worker.batches[1].nbytes = unpacks * MIB
    at: list[int] = []
    watched.process.begin_no_more = lambda _: at.append(watched.process.looks)  # type: ignore[method-assign]
    watched.unbegun.take_back(NAME)
    await watched.until_empty()
    assert at == [pytest.approx(reads + unpacks, abs=2)]
    assert watched.told == [WorkerDeaf(NAME), HandedBack(NAME, RUN, (1,))]
