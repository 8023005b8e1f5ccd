"""Where a task goes for the sake of what it takes: to its data, unless waiting there takes longer than moving it over these very links."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scheduler_story import Cluster, kind, program

from handoff.columns import floats, ints, longs
from handoff.messages import Alive
from handoff.scheduler.heft import Heft
from handoff.scheduler.links import FASTER, Links
from handoff.scheduler.rates import Rates
from handoff.settings import SchedulerSettings

GB = 1_000_000_000


def measured(cluster: Cluster, rates: dict[tuple[str, str], float]) -> Cluster:
    """Nodes tell how fast large values came from each other."""
    for (source, target), rate in rates.items():
        alive = Alive((), sources=ints([cluster.peers[source]]), moved_bytes=longs([int(rate)]), moved_seconds=floats([1.0]))
        cluster.hear(target, alive)
    return cluster


@pytest.mark.parametrize(("near", "far"), [("n2", "n3"), ("n3", "n2")])
@pytest.mark.parametrize("allocator", [None, Heft])
def test_a_slow_pair_of_nodes_is_avoided(near: str, far: str, allocator: Any) -> None:
    """Of two free nodes that are alike, a task goes to the one to which its input comes quickly."""
    cluster = Cluster(allocator() if allocator else None).client().join("n1").join("n2").join("n3")
    measured(cluster, {("n1", near): 1e9, ("n1", far): 1e7})
    tasks = program([(kind("make", node="n1"), ()), (kind("stay", node="n1"), (0,)), (kind("use"), (0,))])
    cluster.submit(replace(tasks, seconds=floats([1.0, 60.0, 1.0]), nbytes=floats([1e8, 8, 8])))
    cluster.done(0, nbytes=100_000_000)

    assert cluster.where(2) == near


@pytest.mark.parametrize(("busy_seconds", "stays"), [(0.5, True), (3.0, True), (30.0, False)])
def test_a_large_input_moves_only_when_waiting_takes_longer(busy_seconds: float, stays: bool) -> None:
    """The node that has 2 GB is busy: their taker waits for it for some seconds, and goes elsewhere when it would be half a minute."""
    cluster = Cluster(bandwidth_bytes_per_second=1e9).client().join("n1").join("n2")
    tasks = program([(kind("make", node="n1"), ()), (kind("stay", node="n1"), (0,)), (kind("use"), (0,))])
    cluster.submit(replace(tasks, seconds=floats([1.0, busy_seconds, 1.0]), nbytes=floats([2e9, 8, 8])))
    cluster.done(0, nbytes=2 * GB)
    assert ((1, 2) in cluster.planned) != stays
    cluster.done(1)

    assert cluster.where(2) == ("n1" if stays else "n2")


@pytest.mark.parametrize(("seconds_left", "stays"), [(0.005, True), (0.02, False)])
def test_who_is_bound_late_counts_the_message_there_and_back(seconds_left: float, stays: bool) -> None:
    """A function never seen starts when word of the room has come and gone; elsewhere, three messages from now, with its input."""
    cluster = Cluster(round_trip_seconds=0.02).client().join("n1", cpu=2).join("n2", cpu=2)
    tasks = program([(kind("stay", node="n1"), ()), (kind("make", node="n1"), ()), (kind("use", {"cpu": 2}), (1,))])
    cluster.submit(replace(tasks, seconds=floats([1.0, 1.0, -1.0]), nbytes=floats([8, 8, 8])))
    cluster.now += 1.0 - seconds_left
    cluster.done(1)
    assert ((1, 2) in cluster.planned) != stays
    cluster.done(0)

    assert cluster.where(2) == ("n1" if stays else "n2")


def test_rates_are_those_of_the_links_as_last_learned() -> None:
    """Per pair of numbers what is known by names; what is small is so on the slowest link, what is large on a usual one."""
    links, names = Links(500e6), {1: ("a", ("", 0)), 2: ("b", ("", 0)), 3: ("c", ("", 0))}
    rates = Rates(links, names, SchedulerSettings(round_trip_seconds=0.002))
    assert (rates.of(1, 2), rates.of(1, 9), rates.usual) == (500e6, 500e6, 500e6)
    assert (rates.small, rates.large) == (pytest.approx(500e3), pytest.approx(4e6))
    links.observe("a", "b", 1e9, 1.0)
    links.observe("a", "c", 1e7, 1.0)
    assert (rates.of(1, 2), rates.of(1, 3)) == (pytest.approx(1e9), pytest.approx(1e7))
    assert rates.small == pytest.approx(1e4)
    for _ in range(40):
        links.observe("a", "c", 4e8, 1.0)
    rates.refresh()
    assert rates.small == pytest.approx(4e5, rel=FASTER - 1) and rates.small <= 0.001 * rates.of(1, 3)
    assert Rates(links, names, SchedulerSettings(relay_bytes=77)).large == 77


def test_very_many_inputs_are_taken_to_be_as_much_as_they_were_when_that_was_learned() -> None:
    """They are not all counted when it has run: who counts them before looks where nothing was learned."""
    cluster, take = Cluster().client().join("n1", cpu=1), kind("take")
    run = cluster.submit(program([*[(kind("make"), ())] * 100, (take, range(100))]))
    table, estimates = cluster.scheduler.ledger.runs[run], cluster.scheduler.ledger.estimates
    function = estimates.of(take.codes, take.name)
    for _ in range(20):
        for seconds, nbytes in ((1.0, 100), (10.0, 10_000)):
            function.observe_sized(seconds, nbytes)
            estimates.observe(function, [seconds], [100])
    while table.done < 100:
        for task in cluster.startable(run):
            cluster.done(task, run=run, nbytes=100 if task < 64 else 1_000_000)

    (_, _, seconds, _, _) = cluster.scheduler.ledger.by_name["n1"].holding[run, 100]
    assert table.input_bytes(100) == 10_003 and seconds == pytest.approx(10.0)
