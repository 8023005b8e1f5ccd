"""First fit, round robin, and allocators of one's own: what `Desk.fits` says of a node is never that nobody may have a task for ever."""

from __future__ import annotations

import pytest
from scheduler_story import Cluster, Flag, Unreachable, ints, kind, many, program

from handoff.scheduler.allocator import Allocator
from handoff.scheduler.first_fit import FirstFit
from handoff.scheduler.round_robin import RoundRobin

simple = pytest.mark.parametrize("allocator", [FirstFit, RoundRobin], ids=["first fit", "round robin"])


@simple
def test_what_is_collocated_goes_to_its_group_though_it_is_to_be_spread(allocator: type[Allocator]) -> None:
    """It has no choice: that another node has fewer of the tasks that are to be apart counts for nothing."""
    cluster = Cluster(allocator()).client().join("a", cpu=4).join("b", cpu=4)
    replica = kind("replica", spread="replicas")
    run = cluster.submit(program([(replica, ()), (replica, (0,))], groups=[[0, 1]]))

    cluster.finish(run)

    assert cluster.where(0) == cluster.where(1)


@simple
def test_what_its_serializer_promised_to_a_node_goes_there_though_it_is_to_be_spread(allocator: type[Allocator]) -> None:
    """What was serialized for a node can be taken nowhere else."""
    cluster = Cluster(allocator()).client().join("a", cpu=4).join("b", cpu=4)
    replica, serializer = kind("replica", spread="replicas"), kind("serializer", {}, flags=Flag.SERIALIZER)
    run = cluster.submit(program([(kind("made"), ()), (serializer, (0,)), (replica, ()), (replica, (1, 2))]))

    cluster.finish(run)


@simple
def test_a_group_is_spread_over_the_nodes_that_can_hold_all_of_it(allocator: type[Allocator]) -> None:
    """A small node, which has none of the tasks that are to be apart, can not have the group: it does not keep others from it."""
    cluster = Cluster(allocator()).client().join("large", cpu=4).join("small", cpu=1)
    replica = kind("replica", spread="replicas")
    pair = [(replica, ()), (kind("wide", {"cpu": 2}), ())]
    run = cluster.submit(program(pair * 2, groups=[[0, 1], [2, 3]]))

    cluster.finish(run)

    assert {cluster.where(task) for task in range(4)} == {"large"}


@simple
def test_what_could_not_be_loaded_on_a_node_goes_to_another_one(allocator: type[Allocator]) -> None:
    """The module may be there."""
    cluster = Cluster(allocator()).client().join("a", cpu=4).join("b", cpu=4)
    cluster.submit(many(1, kind(max_retries=3)))
    assert cluster.where(0) == "a"

    cluster.fail(0, cause="unloadable", text="no module")
    cluster.wait(1.0)

    assert cluster.where(0) == "b"


@simple
def test_what_a_node_could_not_hand_over_is_made_on_another_one(allocator: type[Allocator]) -> None:
    """The consumer does not reach that node."""
    cluster = Cluster(allocator()).client().join("a").join("b", cpu=4)
    run = cluster.submit(program([(kind("made", flags=Flag(0)), ()), (kind("takes", node="b"), (0,))]))
    cluster.done(0)
    assert cluster.where(0) == "a"

    cluster.hear("b", Unreachable(run, cluster.peers["a"], ints([0])))

    assert cluster.where(0) == "b"


@simple
def test_a_node_that_failed_is_tried_again_where_there_is_no_other(allocator: type[Allocator]) -> None:
    """Better than waiting for ever."""
    cluster = Cluster(allocator()).client().join("a", cpu=4).join("b", gpu=1)
    cluster.submit(many(1, kind(max_retries=3)))
    cluster.fail(0, cause="unloadable", text="no module")
    cluster.wait(1.0)

    assert (cluster.where(0), cluster.attempt(0)) == ("a", 2)
