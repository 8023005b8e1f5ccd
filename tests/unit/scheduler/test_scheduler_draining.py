"""A node that drains: what it keeps, what goes elsewhere, when it may leave, and what a run is told that needs it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scheduler_story import Close, Cluster, Flag, Plan, Recall, Recalled, RunFailed, chain, ints, kind, many, program

from handoff.ids import RunId
from handoff.messages import Answer, Ask, Drain, Forget, Missing, NodeGone, Refused
from handoff.resources import amounts

GOODBYE = "drained"


def drain(cluster: Cluster, name: str, seconds: float = 0.0) -> None:
    """The client wants it to leave."""
    cluster.hear("client", Drain(name, 5, seconds))


def give_back(cluster: Cluster) -> None:
    """All nodes give back what they were just asked for."""
    for name, recall in [(name, message) for name, message in cluster.last if isinstance(message, Recall)]:
        cluster.hear(name, Recalled(recall.run, recall.tasks, recall.attempts))


def goodbyes(cluster: Cluster) -> list[str]:
    """The nodes that were let go so far."""
    return [name for name, message in cluster.said if isinstance(message, Close) and message.reason == GOODBYE]


def state_of(cluster: Cluster, name: str) -> str:
    """As people are told."""
    cluster.hear("client", Ask(9, "nodes"))
    (answer,) = cluster.told(Answer, "client")
    return {node["name"]: node["state"] for node in answer.data}.get(name, "gone")


@pytest.mark.parametrize("comes_back", [False, True])
def test_outputs_that_only_a_drained_node_could_make_are_waited_for_a_while(comes_back: bool) -> None:
    """The run was over, and held; then its client misses them. It hears that they can't be had, or the node is back by then."""
    cluster = Cluster(suspect_seconds=1e6, lost_seconds=1e6, node_timeout_seconds=5.0).client().join("stays").join("goes")
    run = cluster.submit(program([(kind("pinned", node="goes"), ()), (kind("free", node="stays"), ())]))
    cluster.done(0, 1)
    drain(cluster, "goes", 2.0)
    cluster.wait(1.0)
    assert "goes" in [node.name for node in cluster.scheduler.ledger.nodes.values()]
    cluster.wait(1.5)
    assert [node.name for node in cluster.scheduler.ledger.nodes.values()] == ["stays"]

    cluster.hear("client", Missing(run, ints([0])))
    cluster.wait(4.0)
    assert not cluster.told(RunFailed)
    if comes_back:
        cluster.join("goes")
        cluster.done(0)
        cluster.wait(10.0)
        assert not cluster.told(RunFailed) and cluster.scheduler.ledger.runs[run].done == 2
    else:
        cluster.wait(2.0)
        (failed,) = cluster.told(RunFailed, "client")
        assert failed.code == "NodeTimeout" and "'goes'" in failed.text


def test_planned_work_goes_elsewhere_and_running_work_ends_there() -> None:
    """What the node gives back is planned on another one; what it does not give back is waited for, and nothing new comes."""
    cluster = Cluster().client().join("n1", cpu=2)
    cluster.submit(many(2))
    cluster.join("n2", cpu=2)
    drain(cluster, "n1")
    (recall,) = cluster.told(Recall, "n1")
    assert list(recall.tasks) == [0, 1]

    cluster.hear("n1", Recalled(RunId(1), ints([1]), ints([1])))   # the other one runs

    assert cluster.where(1) == "n2"
    assert cluster.attempt(1) == 2
    assert state_of(cluster, "n1") == "draining"
    assert not goodbyes(cluster)
    cluster.submit(many(3))
    assert not cluster.plans("n1")


def test_what_needs_a_label_that_no_other_node_has_ends_there() -> None:
    """Taken back it would wait for a node that there is not, and then fail."""
    cluster = Cluster().client().join("n1", labels={"zone": "x"}).join("n2", labels={"zone": "y"})
    cluster.submit(many(1, kind("labelled", where=(("zone", "x"),))))

    drain(cluster, "n1")

    assert not cluster.told(Recall)


def test_a_member_that_others_could_hold_without_its_group_ends_there() -> None:
    """The whole group fits nowhere else, and so neither does a small one of it."""
    cluster = Cluster().client().join("n1", cpu=4).join("n2", cpu=1)
    cluster.submit(program([(kind("small"), ()), (kind("large", {"cpu": 3}), ())], groups=[[0, 1]]))

    drain(cluster, "n1")

    assert not cluster.told(Recall)


def test_what_others_can_hold_at_another_of_its_costs_is_asked_back() -> None:
    """One GPU here, or two CPUs elsewhere."""
    cluster = Cluster().client().join("n1", gpu=1).join("n2", cpu=2)
    cluster.submit(many(2, kind("hog", {"cpu": 2})))
    run = cluster.submit(many(1, kind("either", {"gpu": 1}, alternatives=(amounts({"cpu": 2}),))))
    assert cluster.where(0, run) == "n1"

    drain(cluster, "n1")

    assert cluster.told(Recall, "n1")


def test_it_leaves_when_its_last_output_is_not_needed_any_more() -> None:
    """An output keeps it until the client forgets the run."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(1))
    drain(cluster, "n1")
    cluster.done(0)
    assert not goodbyes(cluster)

    cluster.hear("client", Forget(RunId(1)))

    assert goodbyes(cluster) == ["n1"]
    assert state_of(cluster, "n1") == "gone"


def test_a_node_without_work_leaves_at_once() -> None:
    """Nothing holds it, so it goes in the same breath."""
    cluster = Cluster().client().join("n1").join("n2")

    drain(cluster, "n1")

    assert goodbyes(cluster) == ["n1"]
    assert cluster.told(Answer, "client")


def test_an_intermediate_result_keeps_it_until_its_consumer_elsewhere_has_run() -> None:
    """The consumer is planned on another node, takes the result from the draining one, and then that one may go."""
    cluster = Cluster().client().join("n1")
    cluster.submit(chain(2, kind(flags=Flag(0))))
    drain(cluster, "n1")
    cluster.join("n2")
    cluster.hear("n1", Recalled(RunId(1), ints([1]), ints([1])))
    cluster.done(0)

    (plan,) = [message for name, message in cluster.said if name == "n2" and isinstance(message, Plan)]
    assert (list(plan.tasks), list(plan.sources)) == ([1], [cluster.peers["n1"]])
    assert not goodbyes(cluster)
    cluster.done(1)
    assert goodbyes(cluster) == ["n1"]


def test_nothing_is_run_again_for_a_node_that_left_in_order() -> None:
    """Every task has one attempt, but for those that were given back."""
    cluster = Cluster().client().join("n1", cpu=2).join("n2", cpu=2)
    cluster.submit(program([(kind("first", flags=Flag(0)), ())] * 4 + [(kind("last"), (0, 1, 2, 3))]))
    drain(cluster, "n1")
    cluster.finish()

    assert [cluster.attempt(task) for task in range(5)] == [1] * 5
    assert cluster.where(4) == "n2"
    assert goodbyes(cluster) == ["n1"]
    assert not cluster.told(RunFailed)


def test_at_the_end_of_its_time_it_is_a_lost_node() -> None:
    """What runs there runs elsewhere, and an output that the client misses is made again."""
    cluster = Cluster(suspect_seconds=1000.0, lost_seconds=1000.0).client().join("n1", cpu=2)
    cluster.submit(many(2))
    cluster.done(0)
    drain(cluster, "n1", seconds=5.0)
    cluster.join("n2", cpu=2)
    cluster.wait(4.9)
    assert not goodbyes(cluster)

    said = cluster.wait(0.2)

    assert [name for name, message in said if isinstance(message, Close)] == ["n1"]
    assert [message.node for _, message in said if isinstance(message, NodeGone)] == [cluster.peers["n1"]]
    assert cluster.where(1) == "n2"
    cluster.hear("client", Missing(RunId(1), ints([0])))
    assert cluster.where(0) == "n2"


def test_a_node_may_ask_for_it_itself() -> None:
    """Its own word is as good as a client's, with its own limit."""
    cluster = Cluster(drain_seconds=100.0).client().join("n1")
    cluster.submit(many(1))
    cluster.hear("n1", Drain(seconds=2.0))
    assert state_of(cluster, "n1") == "draining"

    cluster.wait(2.1)

    assert goodbyes(cluster) == ["n1"]


def test_a_second_drain_can_only_shorten_the_time() -> None:
    """Who asks for less than was granted gets it; who asks for more changes nothing."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(1))
    drain(cluster, "n1", seconds=50.0)
    drain(cluster, "n1", seconds=3.0)
    drain(cluster, "n1", seconds=90.0)

    cluster.wait(3.1)

    assert goodbyes(cluster) == ["n1"]


def test_an_unknown_node_is_refused_with_those_that_are_here() -> None:
    """The names help."""
    cluster = Cluster().client().join("n2").join("n1")

    drain(cluster, "n3")

    (refused,) = cluster.told(Refused, "client")
    assert refused == Refused("ConfigError", "there is no node named 'n3' to drain; nodes that are here: 'n1', 'n2'", 5)


def test_a_draining_node_that_was_silent_drains_on() -> None:
    """Hearing from it again does not make it take work."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(1))
    drain(cluster, "n1")
    cluster.drop("n1")
    cluster.resume("n1")

    assert state_of(cluster, "n1") == "draining"
    cluster.submit(many(1))
    assert not cluster.plans("n1")


def test_pinned_work_that_is_planned_ends_there_and_the_rest_waits_as_for_an_absent_node() -> None:
    """The first is not asked back; the last is given up after node_timeout, with a sentence that says why."""
    cluster = Cluster(lost_seconds=1000.0, drain_seconds=100.0).client().join("n1", cpu=1).join("n2", cpu=1)
    pinned = kind("pinned", node="n1")
    cluster.submit(program([(pinned, ()), (kind("free"), ()), (replace(pinned, name="later", codes=(b"later",)), (0, 1))]))
    drain(cluster, "n1")
    assert not any(0 in recall.tasks for recall in cluster.told(Recall, "n1"))
    cluster.done(0)
    assert cluster.where(0) == "n1"

    said = cluster.wait(31.0)

    (failed,) = [message for _, message in said if isinstance(message, RunFailed)]
    assert failed.code == "NodeTimeout"
    assert failed.text == "later waits for node 'n1', which is draining; present: 'n2'; waited 30 s"


def test_work_that_no_other_node_can_do_is_not_asked_back() -> None:
    """It would only wait; here it ends, and keeps the node until then."""
    cluster = Cluster(lost_seconds=1000.0).client().join("n1", cpu=4).join("n2", cpu=1)
    cluster.submit(program([(kind("large", {"cpu": 3}), ()), (kind("small"), ())]))
    drain(cluster, "n1")

    assert not any(0 in recall.tasks for recall in cluster.told(Recall, "n1"))
    cluster.wait(29.0)
    cluster.done(0)
    assert cluster.attempt(0) == 1


def test_collocated_work_goes_on_together_elsewhere() -> None:
    """Members that are given back, and those not planned yet, choose a new node together."""
    cluster = Cluster().client().join("n1", cpu=2)
    cluster.submit(program([(kind("one"), ()), (kind("two"), ()), (kind("three"), (0, 1))], groups=[(0, 1, 2)]))
    cluster.join("n2", cpu=2).join("n3", cpu=2)
    drain(cluster, "n1")
    give_back(cluster)

    assert cluster.where(0) == cluster.where(1)
    assert cluster.where(0) != "n1"
    cluster.done(0, 1)
    assert cluster.where(2) == cluster.where(0)
    assert goodbyes(cluster) == ["n1"]


def test_a_consumer_of_what_was_serialized_for_the_node_ends_there() -> None:
    """It is planned where it was promised to be: to move it would cost making its input again."""
    cluster, target = serialized()
    cluster.done(1, 2)
    assert cluster.where(3) == target

    drain(cluster, target)

    assert not cluster.told(Recall, target)
    cluster.done(3)
    assert cluster.attempt(1) == cluster.attempt(3) == 1


def test_a_serializer_is_done_again_when_its_consumer_can_not_be_planned_on_a_draining_node() -> None:
    """The consumer was only promised to the node: another one is chosen, and the target changes with it."""
    cluster, target = serialized()

    drain(cluster, target)
    give_back(cluster)
    cluster.finish()

    assert cluster.where(3) != target
    assert cluster.attempt(1) == 2


def serialized() -> tuple[Cluster, str]:
    """A serializer is planned, and its consumer promised to a node: which."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=1)
    make, serializer = kind("make", {}, flags=Flag(0)), kind("serialize", {}, flags=Flag.SERIALIZER)
    other = kind("other", {}, flags=Flag(0))
    cluster.submit(program([(make, ()), (serializer, (0,)), (other, ()), (kind("take"), (1, 2))]))
    cluster.done(0)
    return cluster, cluster.names[cluster.scheduler.ledger.runs[1].promised[3]]


@pytest.mark.parametrize("seconds", [10.0, 40.0])
def test_a_run_waits_for_another_node_when_the_only_one_drains(seconds: float) -> None:
    """It says so, and goes on when one comes; after node_timeout it is given up."""
    cluster = Cluster(lost_seconds=1000.0).client().join("n1")
    cluster.submit(many(1))
    cluster.hear("n1", Drain(seconds=90.0))
    cluster.submit(many(1, kind("second")))
    assert "every node that is here drains: 'n1'" in cluster.scheduler.ledger.runs[2].unmet
    said = cluster.wait(seconds)
    failed = [message for _, message in said if isinstance(message, RunFailed)]
    if seconds > 30:
        assert [message.run for message in failed] == [2]
    else:
        cluster.join("n2")
        assert cluster.where(0, run=2) == "n2"


def test_who_is_refused_is_told_that_a_node_that_drains_could() -> None:
    """Its resources and labels are known: nobody is told that no node has them."""
    cluster = Cluster().client().join("stays").join("goes", offers={"cpu": 1, "tapes": 2}, labels={"zone": "a"})
    cluster.submit(many(1, kind("long", node="goes")))
    drain(cluster, "goes", 100.0)
    for what, text in (
        (kind("copy", {"tapes": 1}), "nearest: 'stays' (tapes=0); node 'goes' could, but drains. Ask for less"),
        (kind("copy", {"tapes": 3}), "nearest: 'stays' (tapes=0). Ask for less"),
        (kind("copy", where=(("zone", "a"),)), "nearest: 'stays' (no label zone); node 'goes' could, but drains. Ask for less"),
    ):
        with pytest.raises(RuntimeError, match="AllocationError") as caught:
            cluster.submit(many(1, what))
        assert text in str(caught.value)


def test_who_needs_one_node_for_several_functions_is_told_so_too() -> None:
    """Each by itself could be on a node that stays; both together on none but those that drain."""
    cluster = Cluster().client().join("stays", offers={"cpu": 4, "tapes": 1}).join("goes", offers={"cpu": 4, "tapes": 2})
    cluster.submit(many(1, kind("long", node="goes")))
    drain(cluster, "goes", 100.0)
    cluster.join("small", offers={"cpu": 1, "tapes": 2})
    with pytest.raises(RuntimeError, match="AllocationError") as caught:
        cluster.submit(program([(kind("wide", {"cpu": 4}), ()), (kind("copy", {"tapes": 2}), ())], groups=[(0, 1)]))
    assert "nearest: 'stays' (tapes=1), 'small' (cpu=1); node 'goes' could, but drains. Ask for less" in str(caught.value)
