"""Very many functions that differ in bound values alone, such as closures of a loop, cost no more than one function with arguments."""

from __future__ import annotations

from counted import calls_in
from scheduler_story import Cluster, Forget, Received, Report, floats, ints, kind, longs, program

from handoff.messages import Answer, Ask
from handoff.program import Program
from handoff.scheduler.ready import FAMILY_APART
from handoff.scheduler.runs import AHEAD, HELD


def closures(count: int, family: bytes = b"closure") -> Program:
    """Each of code of its own."""
    return program([(kind(f"of {number}", family=family), ()) for number in range(count)])


def test_of_a_large_family_few_are_apart() -> None:
    """All run, and nothing is left of the family afterwards."""
    cluster = Cluster().join("n1", cpu=2).client()
    run = cluster.submit(closures(200))
    ready = cluster.scheduler.ledger.ready
    assert len(ready.shapes) == FAMILY_APART + 1
    cluster.finish(run)
    cluster.hear("client", Forget(run))

    assert not ready.shapes
    again = cluster.submit(closures(FAMILY_APART))
    assert len(ready.shapes) == FAMILY_APART
    cluster.finish(again)


def test_few_are_learned_apart() -> None:
    """Two closures of a graph may well take different times."""
    cluster = Cluster().join("n1", cpu=2).client()
    run = cluster.submit(closures(2))
    cluster.done(0, run=run, seconds=1.0)
    cluster.done(1, run=run, seconds=9.0)

    assert [shape.function.seconds for shape in cluster.scheduler.ledger.runs[run].shapes] == [1.0, 9.0]


def test_a_pass_does_not_go_through_all_of_them() -> None:
    """The end of one of many costs as much as of few."""
    def calls(count: int) -> int:
        cluster = Cluster().join("n1", cpu=1).client()
        run = cluster.submit(closures(count))
        cluster.done(0, run=run)
        cluster.done(1, run=run)
        [task] = cluster.scheduler.ledger.runs[run].tasks_in(HELD, AHEAD)
        report = Report(run, ints([task]), ints([cluster.attempt(task, run)]), longs([8]), floats([0.001]), floats([0.0]))
        return calls_in(lambda: cluster.scheduler.handle(cluster.now, Received(cluster.peers["n1"], report)), "scheduler")

    assert calls(400) < 1.2 * calls(100)


def test_a_planner_is_told_of_the_family() -> None:
    """What many taught holds for those that never ran."""
    cluster = Cluster().join("n1", cpu=1).client()
    run = cluster.submit(closures(60))
    cluster.finish(run)
    cluster.hear("client", Ask(5, "outlook", codes=((b"closure",),), names=("of 0",)))

    assert cluster.told(Answer)[-1].data["functions"][0]["count"] >= 40
