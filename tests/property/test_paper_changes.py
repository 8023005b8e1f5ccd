"""What must follow from a change: all times doubled, nodes added, knowledge withheld."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st
from paper_stage import Case, kind, node, play, scaled, tries, work_of

from handoff.scheduler.simulate.bounds import lower_bound
from handoff.scheduler.simulate.cluster import ClusterSpec
from handoff.scheduler.simulate.simulator import Simulator

SEEDS = st.integers(0, 1 << 40)
WORSE_MAX = 1.10        # more nodes may cost so much: list schedules have anomalies (R. L. Graham, 1966)


def graph(draw: random.Random, total: int, low: float, high: float, nbytes: int) -> Case:
    """Tasks of one core with known durations on equal nodes."""
    kinds = [kind(f"f{number}", flags=0) for number in range(3)]
    tasks = []
    for number in range(total):
        inputs = tuple(sorted({draw.randrange(number) for _ in range(draw.choice((0, 0, 1, 2)))})) if number else ()
        tasks.append((draw.choice(kinds), inputs, draw.randint(int(low * 1000), int(high * 1000)) / 1000, draw.randint(0, nbytes)))
    told = [(seconds, float(size)) for _, _, seconds, size in tasks]
    nodes = tuple(node(f"node-{number}", cpu=2) for number in range(draw.randint(1, 4)))
    return Case(work_of(tasks, told=told), ClusterSpec(nodes, bandwidth=1e9, latency=0.002))


@tries(40)
@given(seed=SEEDS, total=st.integers(1, 25))
def test_twice_as_long_takes_twice_as_long(seed: int, total: int) -> None:
    """Seconds, messages and transfers doubled: so is the makespan."""
    case = graph(random.Random(seed), total, 0.06, 0.2, 1_000_000)
    _, once = play(case)
    _, twice = play(scaled(case, 2.0))
    # Not to the digit: ranks are counted in microseconds, and a second without room is a second in both.
    assert abs(twice.runs[0].makespan / once.runs[0].makespan - 2.0) < 0.05


@tries(40)
@given(seed=SEEDS, total=st.integers(1, 60), more=st.integers(1, 4), known=st.booleans())
@example(seed=648, total=46, more=1, known=True)    # less urgent ones were bound to the room that opened with an urgent one's inputs
def test_more_nodes_never_cost_more_than_a_tenth(seed: int, total: int, more: int, known: bool) -> None:
    """Nodes like the others are added."""
    case = graph(random.Random(seed), total, 0.05, 0.5, 1000)
    if not known:
        case = replace(case, work=replace(case.work, program=replace(case.work.program, seconds=case.work.seconds[:0])))
    larger = case.cluster.with_nodes(*(node(f"more-{number}", cpu=2) for number in range(more)))
    before, after = (Simulator(cluster).run(case.work).runs[0].makespan for cluster in (case.cluster, larger))
    assert after <= WORSE_MAX * before


@tries(40)
@given(seed=SEEDS, total=st.integers(1, 60))
def test_a_schedule_of_equal_cores_keeps_the_bound_of_list_schedules(seed: int, total: int) -> None:
    """Work divided by cores, and the rest of the critical path (Graham), and the messages on the way; never below the lower bound."""
    case = graph(random.Random(seed), total, 0.05, 0.5, 0)
    _, history = play(case)
    cores = 2 * len(case.cluster.nodes)
    path = lower_bound(case.work, case.cluster.with_nodes(*(node(f"more-{number}", cpu=2) for number in range(total))))
    messages = (total + 2) * 4 * case.cluster.latency
    makespan = history.runs[0].makespan
    assert lower_bound(case.work, case.cluster) * (1 - 1e-9) <= makespan
    assert makespan <= sum(case.work.seconds) / cores + (1 - 1 / cores) * path + messages
