"""Very many tasks that each need a little more or less than the others: a pass looks at few of them, and none is forgotten."""

from __future__ import annotations

import random

import pytest
from counted import calls_in
from scheduler_story import Cluster, Forget, Received, Report, floats, ints, kind, longs, many, program

from handoff.program import Program
from handoff.resources import amounts
from handoff.scheduler import crowds
from handoff.scheduler.crowds import SHOWN, magnitude
from handoff.scheduler.runs import AHEAD, HELD


def measured(count: int, least: float = 650.0, step: float = 0.5) -> Program:
    """Each of a memory of its own, in an order that has nothing to do with it."""
    several = [least + step * number for number in range(count)]
    random.Random(count).shuffle(several)
    return program([(kind("measured", {"cpu": 1, "memory": each}), ()) for each in several])


def of_its_own(what: str, count: int) -> Program:
    """Each with this of its own: memory, code (that takes a seat of all), a choice of costs, a priority, or a group to spread."""
    kinds = {
        "memory": lambda number: kind("measured", {"cpu": 1, "memory": 650.0 + 0.2 * number}),
        "code": lambda number: kind(f"function {number}"),
        "choice": lambda number: kind(
            f"function {number}", {"cpu": 1, "memory": 660.0 + 0.2 * number % 40}, alternatives=(amounts({"cpu": 1, "memory": 650.0}),)),
        "priority": lambda number: kind("work", priority=number * 7919 % count),
        "spread": lambda number: kind("replica", spread=f"group {number}"),
        "seat": lambda number: kind(f"function {number}", {"cpu": 1, "cluster:seat": 1}),
    }
    return program([(kinds[what](number), ()) for number in range(count)])


WHAT = ["memory", "code", "choice", "priority", "spread", "seat"]


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("seconds", [0.001, 1.0])
def test_all_run_and_nothing_is_left(seconds: float, what: str) -> None:
    """Whether they are planned ahead or late."""
    cluster = Cluster(shared={"seat": 3}).join("n1", cpu=4, memory=8_000).join("n2", cpu=4, memory=4_000).client()
    run = cluster.submit(of_its_own(what, 300))
    ready = cluster.scheduler.ledger.ready
    assert len(ready.shapes) == 300

    cluster.finish(run, seconds=seconds)
    cluster.hear("client", Forget(run))
    cluster.wait(1.0)

    assert not ready.shapes and ready.is_idle(cluster.scheduler.ledger.nodes.values())


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize("seconds", [0.001, 1.0])
def test_a_pass_does_not_go_through_all_of_them(seconds: float, limit: int, what: str) -> None:
    """The end of one of many costs as much as of few, with a limit of the run's own, too."""
    def calls(count: int) -> int:
        cluster = Cluster(shared={"seat": 1}).join("n1", cpu=1, memory=1_000).client()
        run = cluster.submit(of_its_own(what, count), max_concurrency=limit)
        for _ in range(12):
            [task, *_] = cluster.scheduler.ledger.runs[run].tasks_in(HELD, AHEAD)
            cluster.done(task, run=run, seconds=seconds)
        [task, *_] = cluster.scheduler.ledger.runs[run].tasks_in(HELD, AHEAD)
        report = Report(run, ints([task]), ints([cluster.attempt(task, run)]), longs([8]), floats([seconds]), floats([0.0]))
        return calls_in(lambda: cluster.scheduler.handle(cluster.now, Received(cluster.peers["n1"], report)), "scheduler")

    assert calls(800) < 1.2 * calls(200)


def test_what_nothing_is_left_of_is_not_gone_through() -> None:
    """All of many shapes are with nodes, and reports come in one by one."""
    def calls(count: int) -> int:
        cluster = Cluster().join("n1", cpu=count, memory=1_000).client()
        run = cluster.submit(of_its_own("code", count))
        cluster.done(0, run=run, seconds=1.0)
        report = Report(run, ints([1]), ints([cluster.attempt(1, run)]), longs([8]), floats([1.0]), floats([0.0]))
        return calls_in(lambda: cluster.scheduler.handle(cluster.now, Received(cluster.peers["n1"], report)), "scheduler/queue.py")

    assert calls(800) == calls(100)


def test_short_ones_are_planned_ahead_though_many_never_seen_wait_for_room() -> None:
    """What is mixed is mixed with its like: a function that turns out to be short is not hidden behind those that need room."""
    cluster = Cluster().join("n1", cpu=1).client()
    cluster.finish(cluster.submit(many(40, kind("short"))))
    others = [(kind(f"function {number}"), ()) for number in range(100)]
    run = cluster.submit(program([(kind("source", flags=0), ()), *[(kind("short"), (0,))] * 50, *others]))

    assert len([*cluster.scheduler.ledger.runs[run].tasks_in(AHEAD)]) > 10


def test_what_turns_out_to_be_short_is_no_longer_with_those_that_need_room() -> None:
    """As soon as it ran a few times."""
    cluster = Cluster().join("n1", cpu=120).client()
    run = cluster.submit(program([*[(kind("short"), ())] * 100, *[(kind(f"function {number}"), ()) for number in range(100)]]))
    table = cluster.scheduler.ledger.runs[run]
    short, *others = table.shapes
    assert all(shape.crowd is short.crowd for shape in others)
    cluster.done(*[task for task in table.tasks_in(HELD) if task < 100], run=run)

    assert short.crowd is not others[0].crowd
    assert len(short) and cluster.scheduler.ledger.ready.may_come_up(short)


def test_groups_that_are_spread_do_not_keep_others_from_nodes_that_they_leave_free() -> None:
    """Of many groups the most urgent have run on all nodes but a busy one: what is less urgent takes the others."""
    cluster = Cluster().join("n1", cpu=1).join("n2", cpu=100).client()
    half = [(kind("replica", spread=f"group {number}", priority=1), ()) for number in range(20)]
    others = [(kind("replica", spread=f"group {number}"), ()) for number in range(20, 120)]
    run = cluster.submit(program(half + half + others))
    table = cluster.scheduler.ledger.runs[run]
    cluster.wait(0.2)

    assert sum(table.node[task] == cluster.peers["n2"] for task in table.tasks_in(HELD)) == 100


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
    monkeypatch.setattr(crowds, "APART", 2)
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
            wishes = {"spread": draw.choice(["", "", "group"]), "priority": draw.choice([0, 0, 1])} if number > 5 else {}
            tasks.append((kind(draw.choice("abcd"), {"cpu": 1, "memory": draw.uniform(400, 900)}, **wishes), tuple(inputs)))
        if number % 2:
            runs.append(cluster.submit(program(tasks)))
        for run in runs:
            table = cluster.scheduler.ledger.runs[run]
            ready = [task for task in table.tasks_in(HELD, AHEAD) if not (table.linked and table.missing[task])]
            for task in ready[:5]:
                cluster.done(task, run=run, seconds=draw.choice([0.001, 0.5]))
        cluster.wait(draw.uniform(0.0, 0.5))
    for run in runs:
        cluster.finish(run, beside=runs, seconds=0.01)
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
