"""Random work for paper clusters, and a paper cluster that looks at every start, every end and every table while the work goes on."""

from __future__ import annotations

import math
import os
import random
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, settings

from handoff.columns import Blobs, floats, ints, longs
from handoff.program import Flag, Kind, Program
from handoff.resources import amounts
from handoff.scheduler.allocator import Allocator
from handoff.scheduler.needs import OURS
from handoff.scheduler.simulate.cluster import ClusterSpec, NodeSpec
from handoff.scheduler.simulate.node import PaperNode
from handoff.scheduler.simulate.simulator import History, Simulator, Work

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


def tries(quick: int) -> Callable[[Any], Any]:
    """So many examples in the usual run of the tests, always the same; 10,000 new ones where they are to be thorough."""
    return settings(
        max_examples=10_000 if THOROUGH else quick, derandomize=not THOROUGH, deadline=None, suppress_health_check=list(HealthCheck),
        database=None)


def work_of(tasks: list[tuple[Kind, tuple[int, ...], float, int]], *, told: list[tuple[float, float]] | None = None,
            groups: list[list[int]] | None = None, near: list[int] | None = None, at: float = 0.0, **options: Any) -> Work:
    """Work from (kind, inputs, seconds, bytes) per task; `told` are the seconds and bytes that the scheduler believes."""
    kinds = list(dict.fromkeys(kind for kind, *_ in tasks))
    codes = tuple(dict.fromkeys(code for kind in kinds for code in kind.codes))
    objects = [task for task, (kind, *_) in enumerate(tasks) if kind.flags & Flag.OBJECT]
    program = Program(
        tuple((code, 0) for code in codes), tuple(kinds), ints(kinds.index(kind) for kind, *_ in tasks), Blobs.of([b""] * len(tasks)),
        ints(len(inputs) for _, inputs, _, _ in tasks), ints(each for _, inputs, _, _ in tasks for each in inputs),
        tuple(ints(group) for group in groups or ()), ints(objects), longs(tasks[task][3] for task in objects), ints(near or ()),
        floats(seconds for seconds, _ in told or ()), floats(nbytes for _, nbytes in told or ()))
    return Work(program, array("d", [seconds for _, _, seconds, _ in tasks]), array("Q", [nbytes for *_, nbytes in tasks]), at=at,
                options=options)


def kind(name: str, cost: Mapping[str, Any] | None = None, **fields: Any) -> Kind:
    """A kind of task that takes a cpu unless told otherwise."""
    fields.setdefault("flags", Flag.OUTPUT)
    codes = () if fields["flags"] & Flag.OBJECT else (name.encode(),)
    return Kind(codes, name, cost=amounts({"cpu": 1} if cost is None else cost), **fields)


def node(name: str, speed: float = 1.0, *, labels: tuple[tuple[str, str], ...] = (), joins_at: float = 0.0, lost_at: float = math.inf,
         **capacity: float) -> NodeSpec:
    """A node of the paper cluster."""
    return NodeSpec(name, amounts(capacity), speed, labels, joins_at, lost_at)


@dataclass(frozen=True)
class Case:
    """Work on a cluster."""

    work: Work
    cluster: ClusterSpec
    speeds_known: bool = True


def random_cluster(draw: random.Random, losses: bool) -> ClusterSpec:
    """Up to five nodes. "home" can hold everything and stays; others may join late, be slow or quick, or be lost."""
    zone = (("zone", "x"),)
    nodes = [node("home", draw.choice((0.5, 1.0, 2.0)), labels=zone, cpu=4, memory=8000, gpu=1)]
    for number in range(draw.randint(0, 4)):
        joins = draw.choice((0.0, 0.0, draw.uniform(0.0, 2.0)))
        lost = joins + draw.choice((0.001, 0.1, 1.0, 5.0)) * draw.random() if losses and draw.random() < 0.5 else math.inf
        nodes.append(node(
            f"node-{number}", draw.choice((0.3, 1.0, 1.0, 3.0)), labels=zone if draw.random() < 0.5 else (), joins_at=joins, lost_at=lost,
            cpu=draw.choice((1, 2, 4)), memory=draw.choice((2000, 8000)), **({"gpu": 2} if draw.random() < 0.3 else {})))
    latency = draw.choice((0.0, 0.0002, 0.02))
    return ClusterSpec(tuple(nodes), bandwidth=draw.choice((1e6, 1e9)), latency=latency, overhead=draw.choice((0.0, 0.0, 0.0005)))


def random_tasks(draw: random.Random, total: int) -> list[tuple[Kind, tuple[int, ...], float, int]]:
    """All that can be said about tasks, in one graph."""
    zone = (("zone", "x"),)
    kinds = [
        kind("out"), kind("mid", flags=0), kind("half", {"cpu": 0.5}, flags=0), kind("free", {}), kind("wide", {"cpu": 3}),
        kind("large", {"cpu": 1, "memory": 1500}, flags=0), kind("urgent", priority=2), kind("pinned", node="home", flags=0),
        kind("labelled", where=zone), kind("gpu", {"gpu": 1}), kind("either", {"gpu": 1}, alternatives=(amounts({"cpu": 2}),)),
        kind("apart", spread="them", flags=0), kind("low", priority=-1, flags=0),
    ]
    usual = {each: 10 ** draw.uniform(-4, 0.3) for each in kinds}
    tasks: list[tuple[Kind, tuple[int, ...], float, int]] = []
    for _ in range(draw.randint(0, 1)):
        tasks.append((kind("object", {}, flags=Flag.OBJECT), (), 0.0, 2_000_000))
    for number in range(len(tasks), total):
        of = draw.choice(kinds)
        inputs = tuple(sorted({draw.randrange(number) for _ in range(draw.choice((0, 1, 1, 2, 3)))})) if number else ()
        seconds = draw.choice((0.0, usual[of], usual[of], usual[of] * draw.random(), usual[of] * 30))
        tasks.append((of, inputs, seconds, draw.choice((0, 10, 100_000, 3_000_000))))
    return tasks


def random_case(seed: int, total: int, losses: bool = False) -> Case:
    """Anything."""
    draw = random.Random(seed)
    tasks = random_tasks(draw, total)
    knowledge = draw.choice(("nothing", "nothing", "all", "wrong"))
    told = None
    if knowledge == "all":
        told = [(seconds, float(nbytes)) for _, _, seconds, nbytes in tasks]
    elif knowledge == "wrong":
        told = [(seconds * 10 ** draw.uniform(-6, 6), nbytes * 10 ** draw.uniform(-6, 6)) if draw.random() < 0.8 else (-1.0, -1.0)
                for _, _, seconds, nbytes in tasks]
    loose = [task for task, (of, *_) in enumerate(tasks) if not of.node and not of.flags & Flag.OBJECT]
    draw.shuffle(loose)
    groups = [sorted(loose[:3]), sorted(loose[3:5])] if len(loose) > 6 and draw.random() < 0.5 else []
    near = [each for _ in range(2) for each in draw.sample(range(total), 2)] if total > 2 and draw.random() < 0.3 else []
    options = {"max_concurrency": 2} if draw.random() < 0.15 else {}
    work = work_of(tasks, told=told, groups=groups, near=near, **options)
    return Case(work, random_cluster(draw, losses), draw.random() < 0.6)


def filled(case: Case, seed: int) -> Case:
    """The same with results of which few fill a node; half of them stay where they were made, since somebody holds them."""
    draw = random.Random(seed)
    sizes = array("Q", [draw.choice((10, 5_000_000, 400_000_000, 1_500_000_000, 3_000_000_000)) for _ in case.work.nbytes])
    told = array("d", [float(each) for each in sizes] if case.work.program.nbytes and draw.random() < 0.5 else case.work.program.nbytes)
    return replace(case, work=replace(case.work, nbytes=sizes, program=replace(case.work.program, nbytes=told)))


class Watched(Simulator):
    """Looks at everything that starts and ends, and at all tables after each event."""

    def __init__(self, cluster: ClusterSpec, allocator: Allocator | None = None, **options: Any) -> None:
        self.begun: dict[tuple[int, int], list[tuple[float, str, int]]] = {}   # starts of each task: when, where, which attempt
        self.finished: dict[tuple[int, int], int] = {}                         # how often each ended
        self.is_lossy = any(spec.lost_at < math.inf for spec in cluster.nodes)
        self.watchers: list[Callable[[Watched], None]] = []
        super().__init__(cluster, allocator, **options)

    def _settle(self) -> None:
        super()._settle()
        self.brain.check()
        for each in self.nodes.values():
            self._look_at(each)
        for watcher in self.watchers:
            watcher(self)

    def _look_at(self, each: PaperNode) -> None:
        used: dict[str, int] = {}
        for planned in each.plans.values():
            if planned.started >= 0.0 and not planned.is_object:
                for name, amount in planned.cost:
                    used[name] = used.get(name, 0) + amount
        for name, amount in each.capacity.items():
            assert each.free[name] >= 0, f"{each.spec.name} has given away more {name!r} than it has"
            assert amount - each.free[name] == used.get(name, 0), f"{each.spec.name} counts {name!r} wrongly"

    def _act(self, node: PaperNode) -> None:
        before = {key for key, planned in node.plans.items() if planned.started >= 0.0}
        super()._act(node)
        for key, planned in node.plans.items():
            if planned.started >= 0.0 and key not in before and not planned.is_object:
                self._look_at_start(node, key, planned.attempt)

    def _look_at_start(self, node: PaperNode, key: tuple[int, int], attempt: int) -> None:
        run, task = key
        program = self.work[run].program
        of = program.kinds[program.kind[task]]
        name = f"{of.name} {task} on {node.spec.name}"
        inputs = node.plans[key].inputs
        assert all((run, each) in node.has for each in inputs), f"{name} started without its inputs"
        limit = (self.work[run].options or {}).get("max_concurrency", 0)
        at_once = sum(planned.started >= 0.0 and not planned.is_object and of_run == run
                      for each in self.nodes.values() for (of_run, _), planned in each.plans.items())
        assert not limit or at_once <= limit, f"{name} is one of {at_once} at once, of which there may be {limit}"
        assert of.node in ("", node.spec.name), f"{name} is pinned elsewhere"
        assert set(of.where) <= set(node.spec.labels), f"{name} is to have other labels"
        self._look_at_group(node, run, task, name)
        cost = tuple((resource, steps) for resource, steps in node.plans[key].cost if resource not in OURS)
        assert cost in (of.cost, *of.alternatives), f"{name} claimed {cost}"
        starts = self.begun.setdefault(key, [])
        assert attempt not in [tried for _, _, tried in starts], f"{name} started twice in attempt {attempt}"
        for _, where, _ in starts:
            other = self.nodes.get(self.peers[where])
            running = other is not None and other is not node and key in other.plans and other.plans[key].started >= 0.0
            assert not running, f"{name} runs on {where}, too"
        if not self.is_lossy:
            assert not starts, f"{name} started before, though nothing was lost: {starts}"
        starts.append((self.now, node.spec.name, attempt))

    def _look_at_group(self, node: PaperNode, run: int, task: int, name: str) -> None:
        """Collocated tasks run where the others ran last, unless that node is gone; where their results live on as copies is no matter."""
        for group in self.work[run].program.groups:
            for other in group if task in group else ():
                where = self.begun.get((run, other), [(0.0, node.spec.name, 0)])[-1][1]
                is_there = self.peers[where] in self.nodes
                assert where == node.spec.name or not is_there, f"{name} is collocated with {other}, which ran on {where}"

    def _ended(self, peer: int, key: tuple[int, int], attempt: int) -> None:
        there = peer in self.nodes and key in self.nodes[peer].plans and self.nodes[peer].plans[key].attempt == attempt
        super()._ended(peer, key, attempt)
        if there:
            self.finished[key] = self.finished.get(key, 0) + 1


def play(case: Case, allocator: Allocator | None = None, watchers: tuple[Callable[[Watched], None], ...] = ()) -> tuple[Watched, History]:
    """The whole case; it must end well."""
    stage = Watched(case.cluster, allocator, speeds_known=case.speeds_known)
    stage.watchers.extend(watchers)
    history = stage.run(case.work)
    outcome = history.runs[0]
    assert not outcome.failure, outcome.failure
    assert outcome.makespan >= 0.0, f"the run stands still at {stage.now}: {states(stage)}"
    return stage, history


def states(stage: Watched) -> str:
    """What became of the tasks, for people."""
    return "; ".join(f"{run}: {list(run.state)}" for run in stage.brain.ledger.runs.values())


def scaled(case: Case, factor: float) -> Case:
    """The same with all times so many times as long."""
    work, cluster = case.work, case.cluster
    program = replace(work.program, seconds=array("d", [each * factor for each in work.program.seconds]))
    return replace(
        case, work=replace(work, program=program, seconds=array("d", [each * factor for each in work.seconds])),
        cluster=replace(
            cluster, latency=cluster.latency * factor, overhead=cluster.overhead * factor, bandwidth=cluster.bandwidth / factor))

