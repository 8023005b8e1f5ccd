"""Which of several equal nodes a task is given: neighbours go together where all nodes will be full anyway, and apart where not.

And what is taken together in the end stays together where memory holds back what is to come.
"""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from scheduler_story import Cluster, kind
from scheduler_story import program as story

from handoff.columns import Blobs, floats, ints
from handoff.program import Flag, Kind, Program
from handoff.resources import amounts
from handoff.scheduler.simulate.cluster import ClusterSpec, NodeSpec, node
from handoff.scheduler.simulate.simulator import Outcome, Simulator, Work


@pytest.mark.parametrize(("count", "apart"), [(64, 0), (16, 12), (4, 3)])
def test_what_is_taken_together_is_made_together(count: int, apart: int) -> None:
    """So many are mapped, and four neighbours each reduced, on 16 nodes of 4 cores: how many of all results have to move."""
    kinds = tuple(Kind((name.encode(),), name, cost=amounts({"cpu": 1})) for name in ("map", "reduce"))
    program = Program(
        ((b"map", 0), (b"reduce", 0)), kinds, ints([0] * count + [1] * (count // 4)), Blobs.of([b""] * (count + count // 4)),
        ints([0] * count + [4] * (count // 4)), ints(range(count)), seconds=floats([1.0] * (count + count // 4)))
    nodes = tuple(NodeSpec(f"n{number}", amounts({"cpu": 4, "memory": 8000}), 1.0, (), 0.0, float("inf")) for number in range(16))
    work = Work(program, array("d", program.seconds), array("Q", [1000] * len(program.kind)))
    [run] = Simulator(ClusterSpec(nodes, latency=0.0002)).run(work).runs

    places = run.nodes
    assert sum(places[task] != places[count + task // 4] for task in range(count)) == apart
    assert max(map(places[:count].count, places)) == (4 if count == 64 else 1)


@pytest.mark.parametrize("small", [kind(cost={"memory": 1}), kind(cost={"cpu": 0.05}), kind(cost={}, flags=Flag.OUTPUT | Flag.ASYNC)])
def test_what_takes_less_than_a_core_goes_apart_too(small: Kind) -> None:
    """One node could run all of it at once, but what it says that it takes may not be all: each core has as much of it to do."""
    cluster = Cluster().client().join("n1", cpu=2, memory=500).join("n2", cpu=2, memory=500).join("n3", cpu=2, memory=500)
    cluster.submit(replace(story([(small, ())] * 18), seconds=floats([5.0] * 18), nbytes=floats([0.0] * 18)))
    assert [len(cluster.plans(name)) for name in ("n1", "n2", "n3")] == [6, 6, 6]


GB = 1_000_000_000


def pairs(leaves: int) -> Program:
    """So many results, which are added up two at a time."""
    inputs: list[tuple[int, ...]] = [()] * leaves
    level = list(range(leaves))
    while len(level) > 1:
        before, level = level, list(range(len(inputs), len(inputs) + len(level) // 2))
        inputs += zip(before[::2], before[1::2], strict=True)
    leaf, add = (Kind((name.encode(),), name, cost=amounts({"cpu": 1})) for name in ("leaf", "add"))
    return Program(
        ((b"leaf", 0), (b"add", 0)), (leaf, add), ints([0] * leaves + [1] * (leaves - 1)), Blobs.of([b""] * len(inputs)),
        ints(map(len, inputs)), ints(each for several in inputs for each in several))


def added_up(made: Program, memory: int) -> Outcome:
    """Results of a gigabyte, made in a second each, on four nodes of four cores and so many megabytes."""
    count = len(made.kind)
    nodes = tuple(node(f"n{number}", {"cpu": 4, "memory": memory}) for number in range(4))
    work = Work(made, array("d", [1.0] * count), array("Q", [GB] * count))
    return Simulator(ClusterSpec(nodes, bandwidth=1.25e9, latency=0.0002)).run(work).runs[0]


def test_where_memory_holds_back_results_are_made_where_those_are_that_they_are_added_to() -> None:
    """Each node has room for nine at a time. When one becomes free, what belongs to it takes it, not what is next in the queue."""
    made = pairs(128)
    run = added_up(made, 16_000)
    starts = [0]
    for count in made.fan_in:
        starts.append(starts[-1] + count)
    crossed = [task for task in range(len(made.kind)) for each in made.inputs[starts[task] : starts[task + 1]]
               if run.nodes[each] != run.nodes[task]]

    assert sum(task < 128 + 64 for task in crossed) <= 4      # counted: 2 of 128; each to where there is memory first, 30
    assert len(crossed) <= 44                                 # counted: 36; 60
    assert run.makespan < 30.0                                # 28.4 s; 34.8


def two_to_add() -> Cluster:
    """The first of two results is made on a node that has memory for no other; to move one would take 1.2 seconds."""
    cluster = Cluster().client().join("n1", cpu=2, memory=1_500).join("n2", cpu=2, memory=1_500)
    make = kind("make", flags=0)
    made = story([(make, ()), (make, ()), (kind("add"), (0, 1))])
    cluster.submit(replace(made, nbytes=array("d", [0.6 * GB, 0.6 * GB, 0.0]), seconds=array("d", [0.5, 0.5, 0.5])))
    return cluster


def test_memory_is_waited_for_beside_the_other_while_something_ends_there_soon() -> None:
    """When that has ended and left no room, the second is made elsewhere."""
    cluster = two_to_add()
    assert (cluster.where(0), cluster.plans()) == ("n1", [0])

    cluster.wait(0.5)
    cluster.done(0, nbytes=600_000_000, seconds=0.5)
    assert cluster.plans("n2") == [1]


def test_what_takes_far_longer_than_thought_is_not_waited_for() -> None:
    """Nothing ends, but the time comes when the node with memory is better all the same."""
    cluster = two_to_add()
    cluster.wait(1.5)
    assert (1, 1) not in cluster.planned
    cluster.wait(1.5)
    assert cluster.where(1) == "n2"


def one_comes_late(seconds: float) -> Cluster:
    """The same, but the second is made of something that is small, and ready when the first should be. Nodes are silent meanwhile."""
    patient = {"suspect_seconds": 1e8, "lost_seconds": 1e9, "client_grace_seconds": 1e9}
    cluster = Cluster(**patient).client().join("n1", cpu=2, memory=1_500).join("n2", cpu=2, memory=1_500)
    made = story([(kind("first", flags=0, node="n1"), ()), (kind("small", flags=0, node="n2"), ()),
                  (kind("second", flags=0), (1,)), (kind("add"), (0, 2))])
    cluster.submit(replace(made, nbytes=array("d", [0.6 * GB, 10, 0.6 * GB, 0.0]), seconds=array("d", [seconds, seconds, 0.5, 0.5])))
    return cluster


def test_it_does_not_wait_longer_than_is_worth_it_for_what_has_run_for_long() -> None:
    """The first should take 100 seconds and takes far longer. To move a result takes 1.2: another core is not left idle for 200."""
    cluster = one_comes_late(100.0)
    cluster.wait(100.0)
    cluster.done(1, seconds=100.0, nbytes=10)
    assert (1, 2) not in cluster.planned
    cluster.wait(10.0)
    assert cluster.where(2) == "n2"


def test_it_does_not_wait_for_ever_where_something_always_ends_soon_and_leaves_no_room() -> None:
    """Its sibling lies there, and beside it runs one short task after the other, which can run nowhere else."""
    cluster = one_comes_late(0.5)
    cluster.wait(0.5)
    short = cluster.submit(story([(kind("short", node="n1"), ())] * 100))
    for number in range(3):
        cluster.wait(0.4)
        cluster.done(number, run=short, seconds=0.4)
    cluster.done(1, seconds=0.5, nbytes=10)
    cluster.done(0, seconds=0.5, nbytes=600_000_000)
    assert (1, 2) not in cluster.planned
    for number in range(3, 53):
        cluster.wait(0.2)
        cluster.done(number, run=short, seconds=0.4)
    assert cluster.where(2) == "n2"
