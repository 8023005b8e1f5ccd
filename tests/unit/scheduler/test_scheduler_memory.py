"""Results take memory: nodes are not planned beyond it, and what frees memory goes on while what fills it waits."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest
from counted import calls_in
from scheduler_story import Cluster, kind, program

from handoff.messages import Forget
from handoff.scheduler.allocator import Desk
from handoff.scheduler.memory import Memory
from handoff.scheduler.runs import DONE
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Simulator
from handoff.scheduler.simulate.workload import workflow

GB = 1_000_000_000


def expecting(made: object, nbytes: list[float]) -> object:
    """A program whose tasks are expected to give results of these sizes, in a second each."""
    return replace(made, nbytes=array("d", nbytes), seconds=array("d", [1.0] * len(nbytes)))  # type: ignore[type-var]


def test_a_producer_waits_when_its_result_would_not_fit() -> None:
    """Of ten results of a gigabyte, a node of ten gets six at first, though it has cores for all."""
    cluster = Cluster().client().join("n1", cpu=10, memory=10_000)
    make = kind("make", flags=0)
    made = program([(make, ())] * 10 + [(kind("use"), (each,)) for each in range(10)])
    cluster.submit(expecting(made, [GB] * 10 + [10] * 10))

    assert cluster.scheduler.ledger.runs[1].planned == 6
    cluster.finish(nbytes=GB)
    assert not cluster.scheduler.ledger.memory.promised


def test_what_frees_memory_is_planned_although_it_is_less_urgent() -> None:
    """When the node is full of results, their consumers get the cores, not more producers."""
    cluster = Cluster().client().join("n1", cpu=2, memory=4_000)
    make, use = kind("make", flags=0), kind("use", flags=1)
    made = program([(make, ())] * 6 + [(use, (each,)) for each in range(6)])
    run = cluster.submit(expecting(made, [GB] * 6 + [10] * 6))
    cluster.done(0, 1, nbytes=GB, seconds=1.0)
    table = cluster.scheduler.ledger.runs[run]

    assert [task for task in range(12) if table.is_planned(task)] == [6, 7]


def test_what_can_never_fit_still_runs_one_at_a_time() -> None:
    """Results that are larger than all memory do not stop the run: with nothing else going on, a node takes one."""
    cluster = Cluster().client().join("n1", cpu=4, memory=1_000)
    cluster.submit(expecting(program([(kind("make"), ())] * 3), [5 * GB] * 3))

    assert cluster.scheduler.ledger.runs[1].planned == 1
    cluster.finish(nbytes=5 * GB)


def test_the_books_are_empty_when_runs_are_over() -> None:
    """Whatever was promised or kept is forgotten with its run, and with a node that is lost."""
    cluster = Cluster().client().join("n1", cpu=2, memory=10_000).join("n2", cpu=2, memory=10_000)
    made = program([(kind("make", flags=0), ())] * 3 + [(kind("use"), (0, 1, 2))])
    run = cluster.submit(expecting(made, [GB] * 3 + [GB]))
    cluster.lose("n2")
    cluster.finish(run, nbytes=GB)
    cluster.hear("client", Forget(run))
    memory = cluster.scheduler.ledger.memory

    assert (memory.promised, memory.kept, memory.freeing) == ({}, {}, {})
    assert not any(memory.held.values())


class Unwalked(dict[Any, Any]):
    """A book that nobody may go through."""

    def __iter__(self) -> Any:
        raise AssertionError("somebody goes through the books of all runs")


def test_the_end_of_a_run_does_not_go_through_what_others_have() -> None:
    """A single call ends as quickly beside twenty thousand large results as alone."""
    cluster = Cluster().client().join("n1", cpu=2, memory=10_000)
    run = cluster.submit(expecting(program([(kind("make", flags=0), ())] * 2 + [(kind("use"), (0, 1))]), [GB, GB, 10]))
    cluster.done(0, nbytes=GB)
    memory = cluster.scheduler.ledger.memory
    memory.kept, memory.promised, memory.freeing = Unwalked(memory.kept), Unwalked(memory.promised), Unwalked(memory.freeing)
    assert memory.kept and memory.promised

    single = cluster.submit(program([(kind("single"), ())]))
    cluster.done(0, run=single)
    cluster.hear("client", Forget(single))

    cluster.finish(run, nbytes=GB)


def large_intermediates(count: int) -> list[dict[str, object]]:
    """Leaves of a gigabyte each, added up in pairs."""
    tasks: list[dict[str, object]] = []

    def add(fn: str, inputs: list[int]) -> int:
        tasks.append({"id": len(tasks), "fn": fn, "runtime_s": 1.0, "cpus": 1, "memory_mb": 100, "inputs": inputs, "output_bytes": GB})
        return len(tasks) - 1

    level = [add("leaf", []) for _ in range(count)]
    while len(level) > 1:
        level = [add("add", level[place : place + 2]) for place in range(0, len(level), 2)]
    return tasks


@pytest.mark.parametrize("knowledge", ["known", "learned"])
def test_a_tree_of_large_results_never_takes_more_than_the_nodes_have(knowledge: str) -> None:
    """64 leaves of a gigabyte on four nodes of eight are added up without any node ever holding more than its memory."""
    cluster = ClusterSpec(tuple(node(f"n{number}", {"cpu": 4, "memory": "8 GB"}) for number in range(4)), bandwidth=10e9)
    history = Simulator(cluster).run(workflow(large_intermediates(64), knowledge=knowledge))

    assert history.runs[0].failure == "" and history.runs[0].makespan > 0.0
    assert max(history.peak_resident.values()) <= 8 * GB


def test_pinned_producers_wait_for_memory_too() -> None:
    """Of ten results of a gigabyte that are to be made on one node of ten, six are made at first; all in the end."""
    cluster = Cluster().client().join("n1", cpu=10, memory=10_000).join("n2", cpu=10, memory=10_000)
    make, use = kind("make", flags=0, node="n1"), kind("use", node="n2")
    run = cluster.submit(expecting(program([(make, ())] * 10 + [(use, (each,)) for each in range(10)]), [GB] * 10 + [10] * 10))

    assert cluster.scheduler.ledger.runs[run].planned == 6
    cluster.finish(run, nbytes=GB)


def test_with_one_core_what_frees_memory_has_its_turn_as_well() -> None:
    """Between two tasks nothing is planned that would free any: what is ready to is offered before the next producer."""
    cluster = Cluster().client().join("n1", cpu=1, memory=4_000)
    make, use = kind("make", flags=0), kind("use", flags=1)
    cluster.submit(expecting(program([(make, ())] * 8 + [(use, (each,)) for each in range(8)]), [GB] * 8 + [10] * 8))
    table, most = cluster.scheduler.ledger.runs[1], 0
    while not table.is_over:
        (task,) = [task for task in range(16) if table.is_planned(task)]
        cluster.done(task, nbytes=GB if task < 8 else 10, seconds=1.0)
        most = max(most, sum(table.state[each] == DONE and table.needed[each] > 0 for each in range(8)))
    assert most == 2     # the third would be more than 60 % of the memory


def test_producers_of_large_results_are_placed_one_by_one_however_short_they_are() -> None:
    """In a block nobody would look at the memory."""
    cluster = Cluster().client().join("n1", cpu=2, memory=4_000)
    make, use = kind("make", flags=0), kind("use", flags=1)
    first = cluster.submit(program([(make, ())] * 10))
    cluster.finish(first, nbytes=GB // 2, seconds=0.002)
    cluster.hear("client", Forget(first))
    run = cluster.submit(program([(make, ())] * 30 + [(use, (each,)) for each in range(30)]))
    table = cluster.scheduler.ledger.runs[run]
    assert 1 <= sum(table.is_planned(task) for task in range(30)) <= 4     # 60 % of 4 GB
    cluster.finish(run, nbytes=GB // 2, seconds=0.002)


def test_nothing_is_offered_twice_while_the_nodes_that_memory_closes_are_busy() -> None:
    """Only an idle node may have it all the same; until one is, the search for places is not made again."""
    cluster = Cluster().client().join("n1", cpu=4, memory=1_000)
    cluster.submit(expecting(program([(kind("make"), ())] * 3), [5 * GB] * 3))
    desks: list[Desk] = []
    allocate = cluster.scheduler.allocator.allocate

    def watched(now: float, desk: Desk) -> None:
        allocate(now, desk)
        desks.append(desk)

    cluster.scheduler.allocator.allocate = watched   # type: ignore[method-assign]
    cluster.submit(program([(kind("other"), ())]))
    assert [desk.is_stuck for desk in desks] == [False]
    cluster.finish(2)
    cluster.done(0, run=1, nbytes=5 * GB)
    assert desks[-1].is_stuck and cluster.scheduler.ledger.runs[1].planned == 1


@pytest.mark.parametrize("knowledge", ["known", "learned"])
def test_very_many_smaller_results_count_too(knowledge: str) -> None:
    """400 leaves of 3 MB are added up on four nodes of 150 MB: all at once they would take 1.2 GB."""
    cluster = ClusterSpec(tuple(node(f"n{number}", {"cpu": 4, "memory": "150 MB"}) for number in range(4)), bandwidth=1e9)
    tasks = [{**task, "runtime_s": 0.05, "memory_mb": 1, "output_bytes": 3_000_000} for task in large_intermediates(400)]
    history = Simulator(cluster).run(workflow(tasks, knowledge=knowledge))

    assert history.runs[0].failure == "" and history.runs[0].makespan > 0.0
    assert max(history.peak_resident.values()) <= 156_000_000     # what is let go of lies there until word of that has come


def test_few_small_results_are_placed_in_blocks() -> None:
    """Where all results together are nothing beside the memory, it has no say."""
    cluster = Cluster().client().join("n1", cpu=2, memory=4_000)
    make = kind("make")
    for _ in range(2):
        run = cluster.submit(program([(make, ())] * 40))
        cluster.finish(run, nbytes=1_000_000, seconds=0.002)
        cluster.hear("client", Forget(run))
    cluster.submit(program([(make, ())] * 40))
    assert not cluster.scheduler.ledger.memory.promised


def test_of_those_that_memory_holds_back_one_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next ones make as much, and take nothing either."""
    cluster = Cluster().client().join("n1", cpu=4, memory=2_000).join("n2", cpu=4, memory=2_000)
    make, use = kind("make", flags=0), kind("use")
    first = cluster.submit(program([(make, ())] * 4))
    cluster.finish(first, nbytes=GB // 2, seconds=1.0)
    cluster.hear("client", Forget(first))
    cluster.submit(program([(make, ())] * 200 + [(use, (each,)) for each in range(200)]))
    looked_at: list[int] = []
    with_room = Memory.with_room
    monkeypatch.setattr(Memory, "with_room", lambda self, *told: (looked_at.append(1), with_room(self, *told))[1])
    done = next(task for task in range(200) if cluster.scheduler.ledger.runs[2].is_planned(task))
    cluster.done(done, run=2, nbytes=GB // 2, seconds=1.0)
    assert 1 <= len(looked_at) <= 6


def test_of_many_nodes_not_each_is_asked_whether_a_large_result_fits() -> None:
    """As long as some of those that would be looked at in any case have memory for it."""
    def calls(nodes: int) -> int:
        cluster = Cluster().client()
        for number in range(nodes):
            cluster.join(f"n{number}", cpu=1, memory=1_000)
        made = expecting(program([(kind("make"), ())] * 10), [GB / 2] * 10)
        return calls_in(lambda: cluster.submit(made), "scheduler/memory.py")  # type: ignore[arg-type]

    assert calls(140) == calls(70)


def test_of_many_nodes_one_that_has_memory_is_found() -> None:
    """Though none of those that are looked at first has any: all other nodes are full of results that nobody takes away."""
    cluster = Cluster().client()
    for number in range(70):
        cluster.join(f"n{number}", cpu=2, memory=1_000)
    cluster.submit(expecting(program([(kind("make"), ())] * 69), [GB * 0.55] * 69))
    for task in range(69):
        cluster.done(task, seconds=1.0, nbytes=int(GB * 0.55))
    cluster.submit(expecting(program([(kind("more"), ())]), [GB * 0.5]))

    assert cluster.where(0, run=2) not in {cluster.where(task) for task in range(69)}
