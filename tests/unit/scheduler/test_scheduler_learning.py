"""What the scheduler learns from reports and heartbeats, what it tells of it, and what another one can begin with."""

from __future__ import annotations

from typing import Any

import pytest
from scheduler_story import Ask, Cluster, Report, chain, floats, ints, kind, longs, many, program

from handoff.ids import RunId
from handoff.messages import Alive, Answer
from handoff.scheduler import learned
from handoff.scheduler.first_fit import FirstFit

MIB = 1 << 20


def report(cluster: Cluster, node: str, tasks: list[int], seconds: float, workers: list[int] | None = None, nbytes: int = 100) -> None:
    """These are done there."""
    count = len(tasks)
    attempts = ints(cluster.attempt(task) for task in tasks)
    columns = (ints(tasks), attempts, longs([nbytes] * count), floats([seconds] * count), floats([0.0] * count))
    cluster.hear(node, Report(RunId(1), *columns, workers=ints(workers or [])))


def outlook(cluster: Cluster, *names: str) -> dict[str, Any]:
    """What the scheduler tells a planner about functions of these names."""
    cluster.hear("client", Ask(9, "outlook", codes=tuple((name.encode(),) for name in names), names=names))
    [answer] = cluster.told(Answer)
    assert isinstance(answer.data, dict)
    return answer.data


def test_first_runs_are_told_apart_by_worker() -> None:
    """Each worker imports for itself: its first run is cold, whichever node it is of; the others say how long the function takes."""
    cluster = Cluster().join("a", cpu=4).client()
    cluster.submit(many(12))
    report(cluster, "a", [0, 1], 2.1, [1, 2])
    report(cluster, "a", [2, 3], 0.1, [1, 2])
    report(cluster, "a", [4], 2.1, [3])
    report(cluster, "a", [5, 6, 7], 0.1, [3, 1, 2])
    [work] = outlook(cluster, "work")["functions"]
    assert work["seconds"] == pytest.approx(0.1)
    assert work["cold"] == pytest.approx(2.0)
    assert work["spread"] == pytest.approx(0.0)


def test_a_node_that_does_not_tell_its_workers_has_one_first_run() -> None:
    """Then it is the node's first report that counts as cold."""
    cluster = Cluster().join("a").join("b").client()
    cluster.submit(many(8))
    run = cluster.scheduler.ledger.runs[1]
    for seconds in (2.0, 0.5, 0.5):
        for task in [task for task in range(8) if run.is_planned(task)][:2]:
            report(cluster, cluster.where(task), [task], seconds)
    [work] = outlook(cluster, "work")["functions"]
    assert work["seconds"] == pytest.approx(0.5, rel=0.1)
    assert work["cold"] == pytest.approx(1.5, rel=0.1)


def test_a_slow_node_is_found_out_and_its_runs_do_not_lengthen_the_mean() -> None:
    """Twice as long on one node than on the other: that is the node's, and the function's mean lies between the two."""
    cluster = Cluster().join("fast").join("slow").client()
    cluster.submit(many(200))
    ledger = cluster.scheduler.ledger
    for _ in range(60):
        for task in [task for task in range(200) if ledger.runs[1].is_planned(task)]:
            report(cluster, cluster.where(task), [task], 1.0 if cluster.where(task) == "fast" else 2.0)
    fast, slow = (ledger.by_name[name].speed for name in ("fast", "slow"))
    assert fast / slow == pytest.approx(2.0, rel=0.15)
    told = {node["name"]: node["speed"] for node in outlook(cluster)["nodes"]}
    assert told == {"fast": fast, "slow": slow}
    [work] = outlook(cluster, "work")["functions"]
    assert work["seconds"] == pytest.approx(1.0 * fast, rel=0.1) == pytest.approx(2.0 * slow, rel=0.2)


def test_durations_are_learned_by_the_size_of_inputs() -> None:
    """A consumer that takes as long as what it takes is large: the outlook says so."""
    made, used = kind("made"), kind("used", cost={"cpu": 1})
    count = 40
    cluster = Cluster().join("a", cpu=100).client()
    cluster.submit(program([(made, ())] * count + [(used, (number,)) for number in range(count)]))
    for number in range(count):
        report(cluster, "a", [number], 0.5, nbytes=MIB * (1 if number % 2 else 16))
    for number in range(count):
        report(cluster, "a", [count + number], 1.0 if number % 2 else 16.0)
    [makes, uses] = outlook(cluster, "made", "used")["functions"]
    assert makes["by_input"] == []
    assert [round(seconds) for _, seconds in uses["by_input"]] == [1, 16]
    assert [bits for bits, _ in uses["by_input"]] == [21, 25]


def test_links_are_learned_from_heartbeats() -> None:
    """A node says what came from whom; nodes that nobody knows, and nothing at all, are passed over."""
    cluster = Cluster().join("a").join("b").client()
    a = cluster.peers["a"]
    cluster.hear("b", Alive(sources=ints([a, 77]), moved_bytes=longs([8 * MIB, MIB]), moved_seconds=floats([2.0, 1.0])))
    cluster.hear("b", Alive())
    found = outlook(cluster)["links"]
    assert found == {"default": pytest.approx(4 * MIB), "pairs": [["a", "b", pytest.approx(4 * MIB)]]}


def test_the_outlook_is_complete_and_plain() -> None:
    """Nodes in steps, a function never seen with what is assumed, the rules of placing."""
    cluster = Cluster(FirstFit(), round_trip_seconds=0.004).join("a", cpu=2, memory=10).client()
    cluster.submit(chain(1))
    report(cluster, "a", [0], 0.25, [1], nbytes=300)
    found = outlook(cluster, "work", "other")
    assert found["nodes"] == [{
        "name": "a", "peer": cluster.peers["a"], "state": "ready", "labels": {}, "speed": 1.0,
        "capacity": {"cpu": 20000, "memory": 100000}, "free": {"cpu": 20000, "memory": 100000}, "running": 0, "queued": 0, "planned": 0,
        "processes": 20, "gpus": [],
    }]
    assert found["functions"] == [
        {"name": "work", "count": 1, "seconds": 0.25, "spread": 0.0, "nbytes": 300.0, "cold": 0.0, "by_input": []},
        {"name": "other", "count": 0, "seconds": 0.25, "spread": 0.0, "nbytes": 300.0, "cold": 0.0, "by_input": []},
    ]
    assert found["links"] == {"default": 500e6, "pairs": []}
    assert (found["round_trip"], found["allocator"]) == (0.004, "FirstFit")
    assert found["settings"]["round_trip_seconds"] == 0.004 and "zero_cost_per_cpu" in found["settings"]


def test_another_scheduler_begins_with_what_was_learned() -> None:
    """Rows of functions, nodes and links: what is plain data can be kept. Told once; after that, only what is new."""
    first = Cluster().join("a").join("b").client()
    first.submit(many(100))
    ledger = first.scheduler.ledger
    for _ in range(30):
        for task in [task for task in range(100) if ledger.runs[1].is_planned(task)]:
            report(first, first.where(task), [task], 1.0 if first.where(task) == "a" else 3.0, [1])
    first.hear("b", Alive(sources=ints([first.peers["a"]]), moved_bytes=longs([8 * MIB]), moved_seconds=floats([2.0])))
    rows = learned.remembered(ledger, 1000)
    assert {table: len(several) for table, several in rows.items()} == {"functions": 1, "nodes": 2, "links": 1}
    assert all(len(row) == len(learned.COLUMNS[table]) for table, several in rows.items() for row in several)
    assert learned.remembered(ledger, 1000) == {}

    second = Cluster()
    learned.recall(second.scheduler.ledger, rows)
    second.join("b").join("a").client()
    before, after = outlook(first, "work"), outlook(second, "work")
    assert after["functions"] == before["functions"]
    assert after["links"] == before["links"]
    assert {node["name"]: node["speed"] for node in after["nodes"]} == {node["name"]: node["speed"] for node in before["nodes"]}
    assert after["nodes"][0]["speed"] < 0.7
    assert after["nodes"][1]["speed"] > 1.0
