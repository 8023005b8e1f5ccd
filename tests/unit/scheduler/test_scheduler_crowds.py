"""Very many tasks that each need a little more or less than the others: a pass looks at few of them, and none is forgotten."""

from __future__ import annotations

import random

import pytest
from counted import calls_in
from scheduler_story import Cluster, Forget, Received, Report, floats, ints, kind, longs, program

from handoff.program import Program
from handoff.scheduler import crowds
from handoff.scheduler.crowds import SHOWN, magnitude
from handoff.scheduler.runs import AHEAD, HELD


def measured(count: int, least: float = 650.0, step: float = 0.5) -> Program:
    """Each of a memory of its own, in an order that has nothing to do with it."""
    several = [least + step * number for number in range(count)]
    random.Random(count).shuffle(several)
    return program([(kind("measured", {"cpu": 1, "memory": each}), ()) for each in several])


@pytest.mark.parametrize("seconds", [0.001, 1.0])
def test_all_run_and_nothing_is_left(seconds: float) -> None:
    """Whether they are planned ahead or late."""
    cluster = Cluster().join("n1", cpu=4, memory=8_000).join("n2", cpu=4, memory=4_000).client()
    run = cluster.submit(measured(300))
    ready = cluster.scheduler.ledger.ready
    assert len(ready.shapes) == 300

    cluster.finish(run, seconds=seconds)
    cluster.hear("client", Forget(run))
    cluster.wait(1.0)

    assert not ready.shapes and ready.is_idle(cluster.scheduler.ledger.nodes.values())


@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize("seconds", [0.001, 1.0])
def test_a_pass_does_not_go_through_all_of_them(seconds: float, limit: int) -> None:
    """The end of one of many costs as much as of few, with a limit of the run's own, too."""
    def calls(count: int) -> int:
        cluster = Cluster().join("n1", cpu=1, memory=1_000).client()
        run = cluster.submit(measured(count, step=0.2), max_concurrency=limit)
        for _ in range(12):
            [task, *_] = cluster.scheduler.ledger.runs[run].tasks_in(HELD, AHEAD)
            cluster.done(task, run=run, seconds=seconds)
        [task, *_] = cluster.scheduler.ledger.runs[run].tasks_in(HELD, AHEAD)
        report = Report(run, ints([task]), ints([cluster.attempt(task, run)]), longs([8]), floats([seconds]), floats([0.0]))
        return calls_in(lambda: cluster.scheduler.handle(cluster.now, Received(cluster.peers["n1"], report)), "scheduler")

    assert calls(800) < 1.2 * calls(200)


def test_one_pass_places_as_many_as_there_is_room_for() -> None:
    """What is placed makes place for the next that is looked at."""
    cluster = Cluster()
    for number in range(50):
        cluster.join(f"n{number}", cpu=1, memory=1_000)
    cluster.client().submit(measured(200))

    assert len(cluster.plans()) == 50


def test_the_most_urgent_come_first() -> None:
    """Of each the successors decide how urgent it is, not when it came."""
    several = [(kind("measured", {"cpu": 1, "memory": 520.0 + number}), ()) for number in range(40)]
    followed = [30, 31, 32]
    after = [(kind("after", {"cpu": 1, "memory": 520.0}), (number,)) for number in followed]
    cluster = Cluster().join("n1", cpu=1, memory=1_000).client()
    run = cluster.submit(program(several + after))
    begun = []
    for _ in range(6):
        [task] = cluster.scheduler.ledger.runs[run].tasks_in(HELD, AHEAD)
        begun.append(task)
        cluster.done(task, run=run, seconds=1.0)

    assert set(followed) <= set(begun)     # and one of each function, of which nothing is known yet


def test_a_smaller_one_behind_many_that_have_no_room_gets_its_turn_though_nothing_happens() -> None:
    """Its node has room for it alone."""
    small = 20
    needs = [640.0 if number == small else 700.0 + number for number in range(40)]
    tasks = [(kind("measured", {"cpu": 1, "memory": each}), ()) for each in needs]
    assert len({magnitude(each.cost) for each, _ in tasks}) == 1
    cluster = Cluster().join("n1", cpu=4, memory=1_000).client()
    cluster.submit(program([(kind("long", {"cpu": 1, "memory": 340.0}), ())]))
    run = cluster.submit(program(tasks))
    assert not list(cluster.scheduler.ledger.runs[run].tasks_in(HELD, AHEAD))

    cluster.wait(2.0)

    assert list(cluster.scheduler.ledger.runs[run].tasks_in(HELD, AHEAD)) == [small]


def test_a_still_cluster_is_looked_at_less_and_less_often() -> None:
    """What fits nowhere for an hour costs little."""
    cluster = Cluster().join("n1", cpu=4, memory=1_000).client()
    cluster.submit(program([(kind("long", {"cpu": 1, "memory": 600.0}), ())]))
    cluster.submit(measured(100))
    passes = 0
    opened = cluster.scheduler.ledger.ready.open

    def count(*args: object) -> None:
        nonlocal passes
        passes += 1
        opened(*args)  # type: ignore[arg-type]

    cluster.scheduler.ledger.ready.open = count  # type: ignore[method-assign]
    cluster.wait(3600.0)

    assert SHOWN < passes < 1000


@pytest.mark.parametrize("shown", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_every_task_comes_up(monkeypatch: pytest.MonkeyPatch, seed: int, shown: int) -> None:
    """Invariants are checked after each event: nodes come and go, tasks fail, runs begin and are let go of."""
    monkeypatch.setattr(crowds, "SHOWN", shown)
    draw = random.Random(seed)
    cluster = Cluster().client()
    runs = []
    for number in range(12):
        cluster.join(f"n{number}", cpu=draw.randint(1, 4), memory=draw.choice([1_000, 2_000, 8_000]))
        if number in (2, 5):
            cluster.lose(f"n{number}")
        tasks = []
        for task in range(draw.randint(1, 40)):
            inputs = sorted(draw.sample(range(task), min(task, draw.choice([0, 0, 1, 2]))))
            tasks.append((kind(draw.choice("ab"), {"cpu": 1, "memory": draw.uniform(400, 900)}), tuple(inputs)))
        if number % 2:
            runs.append(cluster.submit(program(tasks)))
        for run in runs:
            table = cluster.scheduler.ledger.runs[run]
            ready = [task for task in table.tasks_in(HELD, AHEAD) if not (table.linked and table.missing[task])]
            for task in ready[:5]:
                cluster.done(task, run=run, seconds=draw.choice([0.001, 0.5]))
        cluster.wait(draw.uniform(0.0, 0.5))
    for run in runs:
        cluster.finish(run, seconds=0.01)
        cluster.hear("client", Forget(run))
    cluster.wait(1.0)

    assert not cluster.scheduler.ledger.ready.shapes


def test_what_waits_long_beside_a_stream_of_others_takes_no_more_memory() -> None:
    """Each pass looks at some of them again, and forgets that it did."""
    cluster = Cluster().join("n1", cpu=4, memory=1_000).join("n2", cpu=1, memory=100).client()
    cluster.submit(program([(kind("long", {"cpu": 1, "memory": 600.0}), ())]))
    run = cluster.submit(measured(100))
    crowd = cluster.scheduler.ledger.runs[run].shapes[0].crowd
    for _ in range(200):
        quick = cluster.submit(program([(kind("quick", {"cpu": 1}, node="n2"), ())]))
        cluster.done(0, run=quick)
        cluster.hear("client", Forget(quick))

    assert len(crowd.members) == 100 and len(crowd.waiting) <= 220
