"""Short tasks of functions that are known from a run before use every core, however they were planned: on paper, on eight nodes of four."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from counted import calls_in
from scheduler_story import Cluster, Report, floats, ints, kind, longs, many

from handoff.ids import RunId
from handoff.machine import Received
from handoff.scheduler.groups import groups_of
from handoff.scheduler.homes import Front, even_out
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Simulator
from handoff.scheduler.simulate.workload import workflow

EIGHT = ClusterSpec(tuple(node(f"node-{number}", {"cpu": 4}) for number in range(8)), bandwidth=1.25e9, latency=0.0002)
CORES = 32
LATER = 1e5    # seconds: when the same is run again


class Tasks:
    """A graph that grows."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self.draw = random.Random(5)

    def add(self, name: str, seconds: float, *inputs: int, spread: float = 0.0, cpus: int = 1) -> int:
        """One more task; its time is drawn from within this part of the mean on either side."""
        number = len(self.all)
        self.all.append({"id": number, "fn": name, "runtime_s": seconds * (1 + self.draw.uniform(-spread, spread)), "cpus": cpus,
                         "memory_mb": 1, "inputs": list(inputs), "output_bytes": 1000})
        return number

    def again(self) -> float:
        """Makespan of a second run over the time in which all cores could do the work."""
        work = workflow(self.all, memory=False)
        history = Simulator(EIGHT).run(work, replace(work, at=LATER))
        return history.runs[1].makespan / (sum(task["runtime_s"] * task["cpus"] for task in self.all) / CORES)


@pytest.mark.parametrize("cpus", [1, 2])
def test_times_that_vary_leave_no_core_idle(cpus: int) -> None:
    """They vary so much that no task is bound much before its start: still each core has one."""
    tasks = Tasks()
    for _ in range(240 // cpus):
        tasks.add("varies", 0.006, spread=0.25, cpus=cpus)
    assert tasks.again() < 1.4      # 1.14; with one task at a time on each node: 3.0 and 2.2


def test_a_stream_takes_the_cores_that_long_tasks_leave() -> None:
    """Two of eight cores are held for long: the other six get one each at once, though the times vary too much for more."""
    cluster = Cluster().join("a", cpu=8).client()
    function = kind("varies")
    cluster.submit(many(40, function))
    for number in range(40):
        cluster.done(number, seconds=0.005 if number % 2 else 0.012)
    assert 0.0 < cluster.scheduler.ledger.foresight.reach_of(cluster.scheduler.ledger.runs[RunId(1)].shapes[0].function) < 0.006
    cluster.submit(replace(many(2, kind("long")), seconds=floats([100.0, 100.0])))
    cluster.submit(many(10, function))

    assert len([task for run, task in cluster.planned if run == 3]) == 6


def test_a_fan_out_does_not_stay_where_its_input_is() -> None:
    """Few results, each taken by many: these take more time than it takes to move it."""
    tasks = Tasks()
    for _ in range(4):
        made = tasks.add("make", 0.00001)
        for _ in range(20):
            tasks.add("take", 0.0012, made, cpus=4, spread=0.99)
    assert tasks.again() < 1.6      # 1.46; where they stay: 1.77


def test_wide_tasks_go_where_enough_cores_are_free_first() -> None:
    """Not where the first core is free first: the rest of that node may be busy for long."""
    cluster = Cluster()
    for name in ("a", "b", "c"):
        cluster.join(name, cpu=4)
    a, b, c = cluster.scheduler.ledger.nodes.values()
    a.lanes[:], b.lanes[:], c.lanes[:] = [0.0, 9.0, 9.0, 9.0], [3.0, 3.0, 3.0, 3.0], [1.0, 2.0, 4.0, 5.0]
    group = groups_of([a, b, c])[0]

    assert [group.soonest(cores, lambda _: True) for cores in (1, 2, 3, 4)] == [a, c, b, b]
    assert group.soonest(4, lambda node: node is not b) is c and group.soonest(1, lambda _: False) is None


def test_a_front_leaves_a_busy_node_though_the_busiest_has_none_of_it() -> None:
    """Node 1 has most to do and nothing of this front; what is at home on node 2 goes to node 3, which has nothing to do."""
    front = Front()
    front.keys, front.homes, front.on = [10, 11, 12], [2, 2, 2], [{2: 1}, {2: 1}, {2: 1}]
    desk: Any = SimpleNamespace(ledger=SimpleNamespace(foresight=SimpleNamespace(latency=0.0001)))

    even_out(desk, front, {1: 0.05, 2: 0.01, 3: 0.0}, dict.fromkeys((1, 2, 3), 0.001))

    assert front.homes == [3, 3, 3]


def test_a_report_costs_the_same_however_many_are_planned_ahead_whose_time_is_told() -> None:
    """They are summed up as they come and go: to go through all of them at each report made a plan of 8,000 five times as slow."""
    def calls(count: int) -> int:
        cluster, short = Cluster().client().join("n1", cpu=1), kind("short")
        cluster.finish(cluster.submit(many(20, short)), seconds=1e-6)
        run = cluster.submit(replace(many(count, short), seconds=floats([1e-6] * count)))
        ledger = cluster.scheduler.ledger
        assert len(ledger.by_name["n1"].queue) >= 0.9 * count
        report = Report(run, ints([0]), ints([1]), longs([1]), floats([1e-6]), floats([0.0]))
        return calls_in(lambda: cluster.scheduler.handle(cluster.now, Received(cluster.peers["n1"], report)), "scheduler")

    assert calls(400) < 1.5 * calls(100)
