"""What is promised of the default allocator on clusters of equal nodes without transfers, where nothing is worth waiting for."""

from __future__ import annotations

import random

from hypothesis import example, given
from hypothesis import strategies as st
from paper_stage import Case, Watched, kind, node, play, tries, work_of

from handoff.scheduler.runs import AHEAD, HELD, READY, Run
from handoff.scheduler.simulate.cluster import ClusterSpec
from handoff.scheduler.simulate.simulator import Simulator

SEEDS, SIZES = st.integers(0, 1 << 40), st.integers(2, 40)
COSTS = ({"cpu": 1}, {"cpu": 2}, {"cpu": 0.5}, {"cpu": 1, "memory": 2000}, {"cpu": 4})
STARVED_SECONDS = 1.0    # after so long a node is cleared for what found no room, which leaves some of it idle


def equal_nodes(draw: random.Random, count: int) -> ClusterSpec:
    """Of 4 cores each."""
    return ClusterSpec(tuple(node(f"node-{number}", cpu=4, memory=8000) for number in range(count)), latency=draw.choice((0.0002, 0.002)))


def plain_case(seed: int, total: int, priorities: tuple[int, ...] = (0,), scale: float = 0.3) -> Case:
    """A graph whose results are empty; durations are known, or learned."""
    draw = random.Random(seed)
    kinds = [kind(f"f{number}", draw.choice(COSTS), priority=draw.choice(priorities), flags=0) for number in range(5)]
    tasks = []
    for number in range(total):
        inputs = tuple(sorted({draw.randrange(number) for _ in range(draw.choice((0, 0, 1, 2)))})) if number else ()
        tasks.append((draw.choice(kinds), inputs, draw.uniform(0.05, 1.0) * scale, 0))
    told = [(seconds, 0.0) for _, _, seconds, _ in tasks] if draw.random() < 0.5 else None
    return Case(work_of(tasks, told=told), equal_nodes(draw, draw.randint(1, 4)))


class Rounds:
    """Looks at the tables after every round."""

    def __init__(self) -> None:
        self.before: dict[tuple[int, int], tuple[int, int]] = {}
        self.idle_since: dict[tuple[int, str], float] = {}
        self.longest_idle = 0.0

    def no_inversion(self, stage: Watched) -> None:
        """What was planned in this round is not less urgent than what is ready still and would have fitted in its place."""
        for run in stage.brain.ledger.runs.values():
            planned = [task for task in range(run.total) if run.state[task] in (AHEAD, HELD)]
            new = [task for task in planned if self.before.get((run.run, task)) != where(run, task)]
            # Where short work lies ahead, another node may well be free sooner: the urgent one may rather wait for that.
            new = [task for task in new if not stage.brain.ledger.nodes[run.node[task]].queue]
            # What takes inputs may wait for the node where they lie: a message there and back is worth that.
            waiting = [task for task in range(run.total) if run.state[task] == READY and not run.fan_in[task]]
            for task in new:
                took = dict(run.kinds[run.kind[task]].cost)
                for other in waiting:
                    urgent = run.kinds[run.kind[other]]
                    fits = all(took.get(name, 0) >= amount for name, amount in urgent.cost)
                    assert not (fits and urgent.priority > run.kinds[run.kind[task]].priority), (
                        f"at {stage.now} {run.kinds[run.kind[task]].name} {task} was planned, {urgent.name} {other} waits")
            for task in range(run.total):
                self.before[run.run, task] = where(run, task)

    def no_idling(self, stage: Watched) -> None:
        """No node has room for a task that is ready for longer than a message there and back takes."""
        now, ledger = stage.now, stage.brain.ledger
        if any(shape.blocked_since is not None and now - shape.blocked_since > STARVED_SECONDS for shape in ledger.ready.shapes.values()):
            self.idle_since.clear()
            return
        idle: dict[tuple[int, str], float] = {}
        for run in ledger.runs.values():
            for task in range(run.total):
                if run.state[task] != READY or (run.linked and run.missing[task]):
                    continue
                cost = run.kinds[run.kind[task]].cost
                for each in ledger.nodes.values():
                    if each.has_room(cost) and not each.queue:
                        idle[task, each.name] = self.idle_since.get((task, each.name), now)
        self.idle_since = idle
        for (task, name), since in idle.items():
            assert now - since <= 4 * stage.cluster.latency, f"task {task} is ready and {name} has room since {since}; it is {now}"


def where(run: Run, task: int) -> tuple[int, int]:
    """Where it is planned, and in which attempt."""
    return run.node[task], run.attempt[task]


@tries(60)
@given(seed=SEEDS, total=SIZES)
def test_the_more_urgent_is_planned_first(seed: int, total: int) -> None:
    """In no round is a task planned while one of higher priority, without inputs, that would fit in its place stays behind."""
    play(plain_case(seed, total, (-1, 0, 1, 2)), watchers=(Rounds().no_inversion,))


@tries(60)
@given(seed=SEEDS, total=SIZES)
@example(seed=1743372999, total=37)  # short work lies ahead of half a core on one node, and of nothing on the next
@example(seed=536870911, total=35)   # a busy node with the inputs has room a message before these could be elsewhere, and is heard of later
@example(seed=555122063, total=35)   # a node was kept for one that has its place by now, and nobody was offered what is left
@example(seed=2063142924, total=37)  # likewise, of two nodes
def test_no_task_that_is_ready_waits_beside_a_node_with_room(seed: int, total: int) -> None:
    """Among equal nodes, work is conserved."""
    play(plain_case(seed, total), watchers=(Rounds().no_idling,))


@tries(20)
@given(seed=SEEDS, small=st.floats(0.005, 0.4), wide=st.sampled_from([2, 3, 4]), nodes=st.integers(1, 4))
@example(seed=939901, small=0.01, wide=2, nodes=2)   # it is planned ahead, and what is planned there after it has a little more rank
def test_a_large_task_gets_its_turn_in_an_endless_stream_of_small_ones(seed: int, small: float, wide: int, nodes: int) -> None:
    """It is not overtaken for ever: within a second and what runs then, and the plans ahead of it, it starts."""
    draw = random.Random(seed)
    count = int(nodes * 4 * max(5.0, 20 * small) / small)
    stream = [(kind("small"), (), small * draw.uniform(0.7, 1.3), 0) for _ in range(min(count, 3000))]
    large = (kind("large", {"cpu": wide}), (), 0.01, 0)
    tasks = [*stream, large]
    told = None
    if draw.random() < 0.5:     # the large one is believed to be the least urgent
        told = [(10.0 if of.name == "small" else 0.01, 0.0) for of, *_ in tasks]
    case = Case(work_of(tasks, told=told), equal_nodes(draw, nodes))
    history = Simulator(case.cluster).run(case.work)
    started = history.runs[0].started[len(stream)]
    assert started <= max(STARVED_SECONDS, 8 * small) + 6 * small + 1.0, f"{started:.2f} s of {history.runs[0].makespan:.2f} s"


@tries(20)
@given(seed=SEEDS, total=st.integers(50, 250))
def test_what_is_asked_back_runs_once(seed: int, total: int) -> None:
    """Short tasks lie ahead on one node when others join: what they are given was taken from it, and nothing runs twice or is forgotten."""
    draw = random.Random(seed)
    mean = draw.uniform(0.002, 0.015)
    tasks = [(kind("short", flags=0), (), mean * draw.uniform(0.9, 1.1), 0) for _ in range(total)]
    if draw.random() < 0.5:
        tasks.append((kind("last", flags=0), tuple(range(0, total, 3)), mean, 0))
    nodes = [node("first", cpu=1)] + [node(f"later-{number}", cpu=1, joins_at=draw.uniform(0.0, total * mean / 2)) for number in range(2)]
    case = Case(work_of(tasks), ClusterSpec(tuple(nodes), latency=0.0005))

    stage, history = play(case)

    assert set(stage.finished.values()) == {1} and len(stage.finished) == len(tasks)
    assert all(len(starts) == 1 for starts in stage.begun.values())
    if history.runs[0].makespan > 1.2 * max(spec.joins_at for spec in nodes):
        assert len(set(history.runs[0].nodes)) == 3, "a node that joined had nothing to do"
