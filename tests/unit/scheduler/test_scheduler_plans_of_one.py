"""A plan of one task is put together by a shorter way: it says the same as one that is put together as those of several are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scheduler_story import Cluster, kind, program

from handoff.columns import Blobs
from handoff.messages import Plan
from handoff.scheduler import runs
from handoff.scheduler.outbox import Outbox


class Full(dict[Any, Any]):
    """Empty, and taken for something that is not: what only plans of several tell is looked for."""

    def __bool__(self) -> bool:
        return True


@pytest.mark.parametrize("fields", [{}, {"max_concurrency": 3}, {"values_only": True}], ids=str)
def test_both_ways_say_the_same(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]) -> None:
    """Of tasks with literals, priorities, inputs from both nodes, and code that the node has, or has not."""
    shorter, made = Outbox._send_one, list[int]()

    def counted(*told: Any) -> None:
        made.append(1)
        shorter(*told)

    def told() -> list[tuple[str, Plan]]:
        cluster = Cluster().client().join("n1").join("n2")
        first, second = kind("first"), kind("second", priority=3)
        work = program([(first, ()), (first, ()), (second, (0, 1)), (first, (2,))])
        run = cluster.submit(replace(work, literals=Blobs.of([b"", b"a", b"bc", b"d"])), **fields)
        said = list(cluster.last)
        for task in range(4):
            cluster.done(task, run=run, seconds=10.0)
            said += cluster.last
        return [(name, message) for name, message in said if isinstance(message, Plan)]

    monkeypatch.setattr(Outbox, "_send_one", counted)
    short, count = told(), len(made)
    begin = runs.Run.__init__

    def begin_full(self: runs.Run, *said: Any) -> None:
        begin(self, *said)
        self.choices = Full()

    monkeypatch.setattr(runs.Run, "__init__", begin_full)

    assert short == told()
    assert (count, len(made)) == (4, count)
