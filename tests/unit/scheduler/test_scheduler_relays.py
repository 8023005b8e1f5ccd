"""Large values that several nodes take spread from node to node; who hands on for sure, and what happens when it does not."""

from __future__ import annotations

from array import array
from dataclasses import replace
from math import log2

import pytest
from scheduler_story import Cluster, Flag, Plan, Recalled, Redirect, Release, Unreachable, ints, kind, program

from handoff.columns import Blobs, floats, longs
from handoff.ids import RunId
from handoff.program import Kind, Program
from handoff.resources import amounts
from handoff.scheduler.outbox import RELEASE_SECONDS
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import History, Simulator, Work
from handoff.settings import SchedulerSettings

LARGE = 100_000_000


def broadcast(takers: int = 6, nbytes: int = LARGE) -> Cluster:
    """Node n0 made a value that one task on each of the others takes; these are planned, and have not ended."""
    cluster = Cluster().client()
    for number in range(takers + 1):
        cluster.join(f"n{number}")
    made = kind("make", node="n0", flags=0)
    cluster.submit(program([(made, ()), *((kind(f"take {number}", node=f"n{number}"), (0,)) for number in range(1, takers + 1))]))
    cluster.done(0, nbytes=nbytes)
    return cluster


def sources(cluster: Cluster) -> dict[str, str]:
    """Per node, whom it was last told to ask for the value."""
    told: dict[str, str] = {}
    for name, message in cluster.said:
        if isinstance(message, Plan) and 0 in message.inputs:
            relays = dict(zip(message.relays[::2], message.relays[1::2], strict=True))
            told[name] = cluster.names[relays.get(0, message.sources[list(message.inputs).index(0)])]
        elif isinstance(message, Redirect) and 0 in message.tasks:
            told[name] = cluster.names[message.nodes[list(message.tasks).index(0)]]
    return told


def redirected(cluster: Cluster) -> dict[str, str]:
    """Those that were redirected by the last event."""
    return {name: cluster.names[message.nodes[0]] for name, message in cluster.last if isinstance(message, Redirect)}


def test_a_large_value_spreads_as_a_binary_tree() -> None:
    """Nobody serves more than two, everybody's source was chosen before it, and all know the address of whom they ask."""
    cluster = broadcast(14)
    told = sources(cluster)
    assert len(told) == 14 and set(told.values()) == {f"n{number}" for number in range(7)}
    assert all(list(told.values()).count(each) == 2 for each in set(told.values()))
    for name, source in told.items():
        assert cluster.peers[source] in cluster.scheduler.ledger.by_name[name].knows


def test_small_values_come_from_their_maker() -> None:
    """What moves within a few round trips is not worth a detour; nor is what two nodes take."""
    for cluster in (broadcast(6, nbytes=100_000), broadcast(2)):
        assert set(sources(cluster).values()) == {"n0"}
        assert not cluster.scheduler.ledger.runs[RunId(1)].trees


def test_who_takes_a_value_twice_takes_it_once() -> None:
    """As two arguments of one function: the books about who takes it hold, also while it runs."""
    cluster = Cluster().client()
    for number in range(4):
        cluster.join(f"n{number}")
    takers = [(kind(f"take {number}", node=f"n{number}"), (0, 0)) for number in range(1, 4)]
    cluster.submit(program([(kind("make", node="n0", flags=0), ()), *takers]))
    cluster.done(0, nbytes=LARGE)     # all books are checked
    assert cluster.scheduler.ledger.runs[RunId(1)].trees
    cluster.done(1, 2, 3)


def test_the_sources_that_functions_are_told_are_the_makers() -> None:
    """Whom to ask stands beside where a value was made, which user code may want to know."""
    cluster = broadcast(6)
    assert {source for plan in (message for _, message in cluster.said if isinstance(message, Plan)) for source in plan.sources} == {
        cluster.peers["n0"]}


def test_who_surely_has_it_serves_first() -> None:
    """A node whose task has ended has the value: a later one asks there, rather than where the value is still to come."""
    cluster = Cluster().client()
    for number in range(6):
        cluster.join(f"n{number}")
    takers = [(kind(f"take {number}", node=f"n{number}"), (0,)) for number in range(1, 5)]
    cluster.submit(program([(kind("make", node="n0"), ()), *takers, (kind("first", node="n5"), ()), (kind("late", node="n5"), (0, 5))]))
    cluster.done(0, nbytes=LARGE)
    cluster.done(3)
    cluster.done(5)

    assert sources(cluster) == {"n1": "n0", "n2": "n0", "n3": "n1", "n4": "n1", "n5": "n3"}


@pytest.mark.parametrize("how", ["lost", "failed", "recalled"])
def test_who_waits_for_a_relay_that_will_not_have_it_asks_at_home(how: str) -> None:
    """A node that is gone, or on which nothing takes the value any more, hands nothing on: its children are sent to the maker."""
    cluster = broadcast(6)
    told = sources(cluster)
    children = {name for name, source in told.items() if source == "n1"}
    assert len(children) == 2
    if how == "lost":
        cluster.lose("n1")
    elif how == "failed":
        cluster.fail(1)
    else:
        cluster.hear("n1", Recalled(RunId(1), ints([1]), ints([cluster.attempt(1)])))

    assert {name: source for name, source in redirected(cluster).items() if name != "n1"} == dict.fromkeys(children, "n0")


def test_who_has_it_for_sure_hands_it_on_whatever_becomes_of_its_tasks() -> None:
    """When the task of a relay has ended well, the value stays there: nobody is redirected, until the node itself is lost."""
    cluster = broadcast(6)
    cluster.done(1)
    assert redirected(cluster) == {}
    cluster.lose("n1")
    assert set(redirected(cluster).values()) == {"n0"}


def test_a_child_that_can_not_reach_its_relay_asks_at_home() -> None:
    """It says so once, and is sent to the maker; nothing is made again, and the relay goes on."""
    cluster = broadcast(6)
    child = next(name for name, source in sources(cluster).items() if source == "n1")
    cluster.hear(child, Unreachable(RunId(1), cluster.peers["n1"], ints([0])))
    assert redirected(cluster) == {child: "n0"} and not cluster.plans()
    cluster.lose("n1")

    assert child not in redirected(cluster)


def test_when_the_maker_is_lost_all_ask_who_surely_has_it() -> None:
    """Relays that only wait for the value are no source; one where a task took it is, and becomes its home."""
    cluster = broadcast(6)
    cluster.done(2)
    cluster.lose("n0")

    assert redirected(cluster) == dict.fromkeys(["n1", "n3", "n4", "n5", "n6"], "n2")
    assert not cluster.scheduler.ledger.runs[RunId(1)].trees


def test_a_value_that_is_made_again_comes_from_its_maker_alone() -> None:
    """Where something had to be made again, it is not known for sure any more who has what."""
    cluster = broadcast(6)
    cluster.lose("n0")
    cluster.join("n0")
    cluster.done(0, nbytes=LARGE)
    run = cluster.scheduler.ledger.runs[RunId(1)]
    assert run.has_remade and not run.trees
    cluster.finish()


def test_every_holder_is_told_to_drop_it_once() -> None:
    """However a value came to a node, it goes when nobody needs it any more."""
    cluster = broadcast(6)
    cluster.fail(3)
    cluster.wait(0.1)
    cluster.finish()
    cluster.wait(RELEASE_SECONDS)
    dropped = [name for name, message in cluster.said if isinstance(message, Release) and 0 in message.tasks]

    assert sorted(dropped) == [f"n{number}" for number in range(7)]
    assert not cluster.scheduler.ledger.runs[RunId(1)].trees


@pytest.mark.parametrize("takes_it_again", [False, True])
def test_who_takes_a_value_that_was_to_be_made_there_takes_part_when_it_is_made_elsewhere(takes_it_again: bool) -> None:
    """Its dependent, planned beside it, makes its node fetch it: the node is told to drop it, and counts as one that has it already."""
    cluster = Cluster().client().join("n1", cpu=1)
    takers = [n for n in range(1, 5) if n > 1 or takes_it_again]
    tasks = [(kind("make", flags=0), ()), (kind("beside", node="n1"), (0,)), (kind("wait", node="n5"), ()),
             *((kind(f"take {number}", node=f"n{number}"), (0, 2)) for number in takers)]
    unknown = [-1.0] * (len(tasks) - 2)
    cluster.submit(replace(program(tasks), seconds=floats([0.01, 0.01, *unknown]), nbytes=floats([-1.0, -1.0, *unknown])))
    assert cluster.plans("n1") == [0, 1]
    for number in (2, 3, 4, 5):
        cluster.join(f"n{number}")
    cluster.join("n0", cpu=8)
    cluster.hear("n1", Recalled(RunId(1), ints([0]), ints([1])))
    assert cluster.where(0) != "n1" and redirected(cluster) == {"n1": cluster.where(0)}
    cluster.done(0, nbytes=LARGE)
    cluster.done(2)
    assert cluster.scheduler.ledger.runs[RunId(1)].trees and cluster.plans("n1") == ([3] if takes_it_again else [])
    cluster.finish()
    cluster.wait(RELEASE_SECONDS)

    assert sorted(name for name, message in cluster.said if isinstance(message, Release) and 0 in message.tasks) == sorted(
        {cluster.where(0), "n1", "n2", "n3", "n4"})


# ── how long it takes ───────────────────────────────────────────────────────


def spread(nodes: int, relay_bytes: int = 0) -> History:
    """1 GB from one node to so many others, all links of 1 GB/s."""
    cost, total = amounts({"cpu": 1}), nodes + 1
    kinds = [Kind((b"%d" % number,), f"on {number}", cost=cost, node=f"n{number}", flags=int(Flag.OUTPUT)) for number in range(total)]
    what = Program(
        tuple((b"%d" % number, 0) for number in range(total)), tuple(kinds), ints(range(total)), Blobs.of([b""] * total),
        ints([0] + [1] * nodes), ints([0] * nodes))
    cluster = ClusterSpec(tuple(node(f"n{number}", {"cpu": 1}) for number in range(total)), bandwidth=1e9)
    simulator = Simulator(cluster, settings=SchedulerSettings(relay_bytes=relay_bytes))
    return simulator.run(Work(what, array("d", [0.01] * total), longs([10**9] + [8] * nodes)))


def test_a_broadcast_takes_steps_of_doubling_instead_of_one_for_each_node() -> None:
    """1 GB to 16 nodes at 1 GB/s: 16 s from the maker alone; in a binary tree, two seconds for each doubling."""
    alone, tree = spread(16, relay_bytes=1 << 60), spread(16)
    assert alone.runs[0].makespan == pytest.approx(16.0, rel=0.05)
    assert tree.runs[0].makespan <= 2 * log2(16) * 1.05
    assert tree.bytes_moved == alone.bytes_moved == 16 * 10**9
    assert sum(row[2] == "n0" for row in tree.moved) == 2


def test_a_broadcast_goes_on_without_a_node_that_is_lost_in_its_middle() -> None:
    """A relay is gone while others wait for it: they get the value from the maker, and all that was to be done is done."""
    total = 9
    cost = amounts({"cpu": 1})
    kinds = (Kind((b"make",), "make", cost=cost, node="n0"), Kind((b"take",), "take", cost=cost, flags=int(Flag.OUTPUT)))
    what = Program(
        ((b"make", 0), (b"take", 0)), kinds, ints([0] + [1] * total), Blobs.of([b""] * (total + 1)), ints([0] + [1] * total),
        ints([0] * total), seconds=floats([0.01] + [50.0] * total), nbytes=floats([1e9] + [8.0] * total))
    cluster = ClusterSpec(tuple(node(f"n{number}", {"cpu": 1}) for number in range(total)), bandwidth=1e9)
    whole = Simulator(cluster).run(Work(what, array("d", what.seconds), longs([10**9] + [8] * total)))
    relay = next(row[2] for row in whole.moved if row[2] != "n0")
    broken = replace(cluster, nodes=tuple(replace(each, lost_at=2.5) if each.name == relay else each for each in cluster.nodes))
    history = Simulator(broken).run(Work(what, array("d", what.seconds), longs([10**9] + [8] * total)))

    assert history.runs[0].failure == "" and relay not in history.runs[0].nodes
    assert sum(row[2] == "n0" for row in history.moved) > sum(row[2] == "n0" for row in whole.moved)
