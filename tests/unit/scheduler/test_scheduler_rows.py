"""Long tasks that take nothing are placed in a row; and what a node may drop is said in time, though few of the books are looked at."""

from __future__ import annotations

from array import array

import pytest
from scheduler_story import Cluster, Release, kind, many

from handoff.ids import PeerId, RunId
from handoff.machine import Send
from handoff.scheduler import rows
from handoff.scheduler.outbox import RELEASES_MAX

LONG = 1.0


def worked_off() -> tuple[list[tuple[str, int]], int]:
    """Where 60 long tasks of two runs go, on nodes with two cores, which end one task at a time; and how many were placed in a row."""
    in_a_row = 0
    place = rows.place

    def counted(*about: object) -> int:
        nonlocal in_a_row
        in_a_row += (count := place(*about))    # type: ignore[arg-type]
        return count

    cluster = Cluster().client()
    for number in range(5):
        cluster.join(f"n{number}", cpu=2, memory=1_000)
    known = cluster.submit(many(8))
    cluster.finish(known, seconds=LONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "place", counted)
        runs = [cluster.submit(many(30)), cluster.submit(many(30, kind(priority=1)))]
        placed: list[tuple[str, int]] = []
        while open_ones := [(task, run) for run in runs for task in range(30) if cluster.scheduler.ledger.runs[run].is_planned(task)]:
            cluster.now += 0.1
            task, run = min(open_ones, key=lambda each: (each[0] * 7 % 11, each))
            placed.append((cluster.where(task, run), task))
            cluster.done(task, run=run, seconds=LONG)
    return placed, in_a_row


def test_a_row_goes_where_its_tasks_would_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at less decides nothing else."""
    together, in_a_row = worked_off()
    monkeypatch.setattr(rows, "place", lambda *_: 0)
    by_themselves, none = worked_off()

    assert together == by_themselves
    assert len(together) == 60
    assert (in_a_row, none) == (60, 0)


@pytest.mark.parametrize("count", [RELEASES_MAX - 1, RELEASES_MAX])
def test_so_many_releases_are_said_at_once(count: int) -> None:
    """Fewer wait for a plan that goes to the same node, or for a moment."""
    cluster = Cluster().join("n1")
    out = cluster.scheduler.ledger.out
    for task in range(count):
        out.release(1, RunId(1), task)

    said = out.flush(0.0)

    if count < RELEASES_MAX:
        assert not said
        said = out.flush(out.release_at)
    assert said == [Send(PeerId(1), Release(RunId(1), array("I", range(count))))]
    assert out.flush(9.0) == []
