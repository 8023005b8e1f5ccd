"""Very many clients or runs whose tasks wait: a pass looks at those that have least of the cluster, and none is forgotten."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from counted import calls_in
from scheduler_story import Cluster, Forget, Report, RunId, floats, ints, kind, longs, many, program

from handoff.machine import Received
from handoff.scheduler import crowds
from handoff.scheduler.runs import AHEAD, HELD


def crowded(of_each: int, clients: int, runs: int = 1, cpu: float = 4, **fields: float) -> Cluster:
    """One node; each client submits so many runs of so many tasks, of a function that is known."""
    cluster = Cluster(suspect_seconds=float("inf"), lost_seconds=float("inf")).join("n", cpu=cpu).client("first")
    before = cluster.submit(many(4), "first")
    cluster.finish(before, seconds=1.0)
    cluster.hear("first", Forget(before))
    check = cluster.scheduler.check
    cluster.scheduler.check = lambda: None      # type: ignore[method-assign]  # once for all of them, in the end
    for number in range(clients):
        cluster.client(f"c{number}")
        for _ in range(runs):
            cluster.submit(many(of_each), f"c{number}", **fields)
    cluster.wait(1.5)
    cluster.scheduler.check = check             # type: ignore[method-assign]
    check()
    return cluster


def of_each_client(cluster: Cluster) -> dict[str, int]:
    """How many tasks of each are with nodes, or have been."""
    found: dict[str, int] = {}
    for run in cluster.scheduler.ledger.runs.values():
        name = cluster.names[run.client or 0]
        found[name] = found.get(name, 0) + run.planned + run.done
    return found


@pytest.mark.parametrize(("of_each", "runs", "fields"), [
    (20, 1, {}), (1, 2, {}), (1, 1, {"max_concurrency": 1}), (20, 1, {"max_concurrency": 1}), (20, 1, {"weight": 2.0}),
], ids=["runs", "calls", "a limit", "a limit of what is many", "a weight"])
def test_a_pass_does_not_go_through_all_clients(of_each: int, runs: int, fields: dict[str, float]) -> None:
    """The end of a task costs as much with many of them as with fewer."""
    def calls(clients: int) -> int:
        cluster = crowded(of_each, clients, runs, **fields)
        brain = cluster.scheduler
        for _ in range(3):
            table = next(run for run in brain.ledger.runs.values() if run.planned)
            [task, *_] = table.tasks_in(HELD, AHEAD)
            report = Report(table.run, ints([task]), ints([1]), longs([1]), floats([0.3]), floats([0.0]))
            count = calls_in(lambda report=report, peer=table.node[task]: brain.handle(  # type: ignore[misc]
                cluster.now, Received(peer, report)), "scheduler")
        return count

    assert calls(200) < 1.25 * calls(80)


def test_what_ended_is_settled_alone() -> None:
    """At the end of a pass, accounts of which nothing began or ended are as they were."""
    def calls(clients: int) -> int:
        cluster = crowded(20, clients)
        ledger = cluster.scheduler.ledger
        ledger.ready.is_contended = True
        assert len(ledger.ready.accounts.open) == clients
        return calls_in(ledger.ready.close, "scheduler/fairness.py")

    assert calls(200) == calls(80)


def test_each_gets_one_before_any_gets_two() -> None:
    """Many places at once, and more clients."""
    cluster = crowded(20, 80, cpu=1)
    cluster.join("large", cpu=40)

    assert sorted(of_each_client(cluster).values()) == [0] * 39 + [1] * 41


def test_shares_stay_even() -> None:
    """Whoever ends a task is behind all that have had less."""
    cluster = crowded(20, 80)
    running = [(table, task) for table in cluster.scheduler.ledger.runs.values() for task in table.tasks_in(HELD, AHEAD)]
    for _ in range(200):
        table, task = running.pop(0)
        cluster.wait(0.05)
        cluster.done(task, run=table.run, seconds=0.2)
        running += [(cluster.scheduler.ledger.runs[plan.run], task) for plan in cluster.last_plans() for task in plan.tasks]

    got = of_each_client(cluster).values()
    assert max(got) - min(got) <= 2


def test_a_run_that_its_limit_kept_back_goes_on_at_once() -> None:
    """It is not looked at while it has what it may have; when something of it ends, it is."""
    cluster = crowded(20, 80, cpu=1000, max_concurrency=2)
    ledger = cluster.scheduler.ledger
    assert all(run.planned == 2 for run in ledger.runs.values())
    for number in (70, 3, 50):
        [task, *_] = ledger.runs[RunId(number)].tasks_in(HELD, AHEAD)
        cluster.done(task, run=number, seconds=5.0)

        assert ledger.runs[RunId(number)].planned == 2


def test_more_urgent_ones_go_first_whoever_they_belong_to() -> None:
    """Priorities stand above shares."""
    cluster = crowded(20, 80)
    cluster.client("urgent")
    run = cluster.submit(many(20, kind(priority=1)), "urgent")
    for _ in range(8):
        table = next(run for run in cluster.scheduler.ledger.runs.values() if run.planned)
        [task, *_] = table.tasks_in(HELD, AHEAD)
        cluster.done(task, run=table.run, seconds=0.2)

    table = cluster.scheduler.ledger.runs[run]
    assert table.planned + table.done >= 4


@pytest.mark.parametrize("shown", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_every_task_comes_up(monkeypatch: pytest.MonkeyPatch, seed: int, shown: int) -> None:
    """Invariants are checked after each event: clients, nodes and runs come, tasks fail, some runs keep to a limit."""
    monkeypatch.setattr(crowds, "SHOWN", shown)
    monkeypatch.setattr(crowds, "ACCOUNTS", 2)
    draw = random.Random(seed)
    cluster = Cluster(suspect_seconds=float("inf"), lost_seconds=float("inf")).join("n", cpu=3, memory=4_000)
    runs: list[tuple[str, RunId]] = []
    for number in range(10):
        cluster.client(f"c{number}")
        if number in (2, 5):
            cluster.join(f"n{number}", cpu=draw.randint(1, 4), memory=draw.choice([1_000, 8_000]))
        tasks = []
        for task in range(draw.choice([1, 4, 12])):
            inputs = sorted(draw.sample(range(task), min(task, draw.choice([0, 0, 1, 2]))))
            wishes = {"spread": draw.choice(["", "", "group"]), "priority": draw.choice([0, 0, 1])} if number > 4 else {}
            tasks.append((kind(draw.choice("abcd"), {"cpu": 1, "memory": draw.choice([500, 510, 900])}, **wishes), tuple(inputs)))
        runs.append((f"c{number}", cluster.submit(
            program(tasks), f"c{number}", max_concurrency=draw.choice([0, 1, 3]), weight=draw.choice([1.0, 1.0, 2.0]))))
        for _, run in runs:
            table = cluster.scheduler.ledger.runs[run]
            ready = [task for task in table.tasks_in(HELD, AHEAD) if not (table.linked and table.missing[task])]
            for task in ready[:3]:
                if draw.random() < 0.1 and task not in table.failures:
                    cluster.fail(task, run=run)
                else:
                    cluster.done(task, run=run, seconds=draw.choice([0.001, 0.5]))
        cluster.wait(draw.uniform(0.0, 0.5))
    assert any(shape.crowd.is_shared for shape in cluster.scheduler.ledger.ready.shapes.values())
    for _ in range(10_000):
        for client, run in list(runs):
            table = cluster.scheduler.ledger.runs[run]
            for task in [task for task in table.tasks_in(HELD, AHEAD) if not (table.linked and table.missing[task])]:
                cluster.done(task, run=run, seconds=0.1)
            if table.is_over:
                runs.remove((client, run))
                cluster.hear(client, Forget(run))
        cluster.wait(0.1)
        if not runs:
            break
    cluster.wait(1.0)

    assert not cluster.scheduler.ledger.ready.shapes and not cluster.scheduler.ledger.ready.accounts.open


def test_what_is_left_of_one_thing_is_asked_of_that_alone() -> None:
    """Whatever else is kept for others that wait."""
    class Asked(dict):  # type: ignore[type-arg]
        """Can't be gone through."""

        def __iter__(self) -> Iterator[str]:
            raise AssertionError

        keys = items = __iter__  # type: ignore[assignment]

    cluster = Cluster(shared={f"seat{number}": 1 for number in range(4)}).join("n", cpu=2).client()
    run = cluster.submit(program([(kind(f"f{number}", {"cpu": 1, f"cluster:seat{number}": 1}), ()) for number in range(4)]))
    shapes, seats = cluster.scheduler.ledger.runs[run].shapes, cluster.scheduler.ledger.cluster
    seats.kept["seat2"] = (shapes[2], 1)
    seats.free, seats.kept = Asked(seats.free), Asked(seats.kept)

    assert [seats.room(shape) for shape in shapes] == [0, 0, 1, 1]
