"""Works a plan out: simulates the program on its cluster, with the scheduler's brain knowing what the cluster's brain knows."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import accumulate
from typing import Any

from handoff.client.planning.basis import Basis, alternatives_of, families_of
from handoff.client.story.records import Done, Story
from handoff.columns import Blobs
from handoff.errors import AllocationError, ConfigError, ExecutionError, HandoffError, named
from handoff.graph.function import labels_of
from handoff.ids import NOBODY
from handoff.program import Flag
from handoff.quoting import quoted
from handoff.resources import SCALE, Amounts, split
from handoff.scheduler.estimates import SIZED_RUNS, Function
from handoff.scheduler.feasible import OR_WAIT
from handoff.scheduler.greedy import Greedy
from handoff.scheduler.means import Mean
from handoff.scheduler.needs import needs_of
from handoff.scheduler.scheduler import Scheduler
from handoff.scheduler.simulate.bounds import lower_bound
from handoff.scheduler.simulate.simulator import History, Outcome, Simulator, Work
from handoff.scheduler.waiting import WAITED

SUBMITTED_AT = 1e-6      # after the nodes are there and the brain is taught
LINK_BYTES = 256e6       # of each link so much is taken as seen, so that its rate is believed


@dataclass(frozen=True)
class Foretold:
    """What will happen. Lists have one entry a task; times are seconds after the submission."""

    makespan: float
    lower_bound: float
    bytes_moved: int
    peak_memory: Mapping[str, float]     # MB, per node: claims of what runs, and results
    nodes: Sequence[str]
    started: Sequence[float]
    seconds: Sequence[float]
    nbytes: Sequence[int]                # of the results
    workers: Sequence[int]               # of the node, from 1; 0: a value that is uploaded
    waited: Sequence[float]              # from when all inputs are at the node to the start
    planned: Sequence[float]             # when it is given to the node
    took: Sequence[int] = ()             # which of its costs it takes, 0 for the first; empty: each its first

    def cost_of(self, basis: Basis, task: int) -> Amounts:
        """What a task takes, of several costs the one that it has here."""
        kind = basis.kind_of(task)
        return (kind.cost, *kind.alternatives)[self.took[task] if self.took else 0]


def foretell(basis: Basis) -> Foretold:
    """Simulate. Raises what the cluster would refuse the graph with, such as AllocationError."""
    if basis.make_allocator is None:
        raise ConfigError(f"this plan was made with the allocator {basis.allocator!r}, which is not known here: make it again, "
                          "or plan with one of the allocators that come with Handoff")
    program = basis.program
    seconds, nbytes = expectations(basis)
    program = replace(program, literals=Blobs(program.literals.sizes, bytes(sum(program.literals.sizes))))
    options = {"max_concurrency": basis.max_concurrency}
    work = Work(program, seconds, nbytes, basis.name, SUBMITTED_AT, options, factors_of(basis))
    allocator = basis.make_allocator()
    failures: list[Exception] = []
    if not isinstance(allocator, Greedy):
        _note_failures(allocator, failures)
    simulator = Simulator(basis.cluster, allocator, prepare=lambda brain: teach(brain, basis))
    history = simulator.run(work)
    if failures:       # a cluster would go on with its own; a plan would tell of nothing that the user's allocator decided
        raise ConfigError(f"{quoted(basis.name)} can't be planned: the allocator {basis.allocator} failed: "
                          f"{type(failures[0]).__name__}: {failures[0]}") from failures[0]
    outcome = history.runs[0]
    if outcome.failure:
        raise _failed(outcome, basis)
    if outcome.makespan < 0.0:
        raise ExecutionError(f"{quoted(basis.name)} can't be planned to its end: nothing more happens, though not all functions are done")
    started = list(outcome.started)
    spent = [end - start for start, end in zip(started, outcome.ended, strict=True)]
    table = simulator.brain.ledger.runs[1]
    return Foretold(
        outcome.makespan, lower_bound(work, basis.cluster), history.bytes_moved,
        {node: steps / SCALE for node, steps in history.peak_memory.items()},
        outcome.nodes, started, spent, list(nbytes), _workers(basis, outcome.nodes, started, list(outcome.ended)),
        _waits(basis, history), [max(0.0, float(each)) for each in table.given_at],
        [table.took.get(task, 0) for task in range(table.total)] if table.took else [],
    )


def _note_failures(allocator: Any, failures: list[Exception]) -> None:
    allocate = allocator.allocate

    def watched(now: float, desk: Any) -> None:
        try:
            allocate(now, desk)
        except Exception as error:
            failures.append(error)
            raise

    allocator.allocate = watched


def story_of(basis: Basis, told: Foretold) -> Story:
    """The same as records of a run, of which a critical path can be told."""
    program = basis.program
    starts = list(accumulate(program.fan_in, initial=0))
    tasks, labels = [], labels_of([basis.name_of(task) for task in range(len(program.kind))])
    for task, index in enumerate(program.kind):
        kind, cost = program.kinds[index], told.cost_of(basis, task)
        tasks.append(Done(
            task, labels[task], kind.name, told.nodes[task], told.workers[task], told.started[task],
            told.seconds[task], program.inputs[starts[task] : starts[task + 1]], told.nbytes[task], told.waited[task], told.planned[task],
            slots=dict(cost).get("cpu", 0) / SCALE or 1.0, memory=dict(cost).get("memory", 0) / SCALE, shared=split(cost)[1],
            is_hidden=task in basis.hidden, takes=needs_of(kind)[told.took[task] if told.took else 0],
        ))
    has = {node.name: dict(node.capacity) for node in basis.cluster.nodes}
    cores = {node: each.get("cpu", 0) / SCALE for node, each in has.items()}
    return Story(basis.name, tasks, cores, bytes_moved=told.bytes_moved, shared=dict(basis.cluster.shared), has=has)


# ── what the brain is told, and what is true on paper ───────────────────────


def teach(brain: Scheduler, basis: Basis) -> None:
    """It knows of functions and links what the cluster's brain knows."""
    estimates = brain.ledger.estimates
    rows, unseen = [], None
    of = basis.program.kinds
    kinds = (*of, *(kind for _, _, kind in alternatives_of(of)), *families_of(of))
    for kind, known in zip(kinds, basis.functions, strict=True):
        if not known["count"]:
            unseen = known
            continue
        key = estimates.look(kind.codes or (kind.name.encode(),), kind.name).key
        made = Function(key, kind.name)
        made.start_over(known["count"], known["seconds"], known["spread"])
        made.warm, made.nbytes, made.cold = known["count"], known["nbytes"], known["cold"]
        for bits, seconds in known["by_input"]:
            sized = made.sizes[int(bits)] = Mean()
            sized.start_over(SIZED_RUNS, seconds)
        rows.append(made.row())
    estimates.recall(rows)
    if unseen is not None and unseen["seconds"] != estimates.seconds(Function()):
        every = estimates.all               # the cluster has seen other functions, whose mean it takes for what it has not
        every.count, every.seconds, every.nbytes = max(1, every.count), unseen["seconds"], unseen["nbytes"]
    brain.ledger.links.recall((*pair, LINK_BYTES, LINK_BYTES / rate) for pair, rate in basis.cluster.rates.items())


def expectations(basis: Basis) -> tuple[array[float], array[int]]:
    """Per task: seconds on a node of speed 1 and bytes of its result; as the user says, else as learned, else what is assumed."""
    program, functions = basis.program, basis.functions
    total = len(program.kind)
    seconds, nbytes = array("d", bytes(8 * total)), array("Q", bytes(8 * total))
    uploaded = dict(zip(program.object_tasks, program.object_sizes, strict=True))
    by_input = [{int(bits): spent for bits, spent in known["by_input"]} for known in functions[: len(program.kinds)]]
    at = 0
    for task, index in enumerate(program.kind):
        inputs = program.inputs[at : at + program.fan_in[task]]
        at += program.fan_in[task]
        known = functions[index]
        told = program.seconds[task] if program.seconds else -1.0
        if told < 0.0:
            told = known["seconds"]
            if by_input[index]:
                taken = program.literals.sizes[task] + sum([nbytes[each] for each in inputs])
                told = by_input[index].get(int(taken).bit_length(), told)
        size = program.nbytes[task] if program.nbytes else -1.0
        seconds[task] = told
        nbytes[task] = uploaded[task] if task in uploaded else int(size if size >= 0.0 else known["nbytes"])
        if program.kinds[index].flags & Flag.OBJECT:
            seconds[task] = 0.0
    return seconds, nbytes


def factors_of(basis: Basis) -> dict[tuple[int, int], float]:
    """How much longer a function takes at one of its alternative costs than at its first one, as far as both were seen."""
    first = len(basis.program.kinds)
    found = {}
    for place, (index, number, _) in enumerate(alternatives_of(basis.program.kinds)):
        usual, other = basis.functions[index], basis.functions[first + place]
        if usual["count"] and other["count"] and usual["seconds"] > 0.0:
            found[index, number] = other["seconds"] / usual["seconds"]
    return found


def unknown_of(basis: Basis) -> tuple[str, ...]:
    """The names of the functions of which nothing was ever seen, and nothing said for some task."""
    told = basis.program.seconds
    found: dict[str, None] = {}
    for task, index in enumerate(basis.program.kind):
        kind = basis.program.kinds[index]
        if not basis.functions[index]["count"] and not kind.flags & Flag.OBJECT and not (told and told[task] >= 0.0):
            found[kind.name] = None
    return tuple(found)


# ── what the simulation does not say itself ──────────────────────────────────


def _workers(basis: Basis, nodes: Sequence[str], started: Sequence[float], ended: Sequence[float]) -> list[int]:
    """Per task, a row of its node: the first that is free when it starts."""
    free: dict[str, list[int]] = {}
    busy: dict[str, list[tuple[float, int]]] = {}
    used: dict[str, int] = {}
    found = [0] * len(nodes)
    for task in sorted(range(len(nodes)), key=lambda each: (started[each], each)):
        if basis.kind_of(task).flags & Flag.OBJECT:
            continue
        node = nodes[task]
        rows, running = free.setdefault(node, []), busy.setdefault(node, [])
        while running and running[0][0] <= started[task]:
            heappush(rows, heappop(running)[1])
        if not rows:
            used[node] = used.get(node, 0) + 1
            rows.append(used[node])
        found[task] = heappop(rows)
        heappush(running, (ended[task], found[task]))
    return found


def _waits(basis: Basis, history: History) -> list[float]:
    """Per task, from when its last input is at its node to its start."""
    outcome, program = history.runs[0], basis.program
    there = {(task, target): arrived - SUBMITTED_AT for _, task, _, target, _, arrived, _ in history.moved}
    found, at = [], 0
    for task, count in enumerate(program.fan_in):
        node, here = outcome.nodes[task], 0.0
        for each in program.inputs[at : at + count]:
            here = max(here, outcome.ended[each] if outcome.nodes[each] == node else there.get((each, node), 0.0))
        at += count
        found.append(0.0 if program.kinds[program.kind[task]].flags & Flag.OBJECT else max(0.0, outcome.started[task] - here))
    return found


def _failed(outcome: Outcome, basis: Basis) -> HandoffError:
    kind: Any = named(outcome.code)
    text = outcome.failure.partition(WAITED)[0].removesuffix(OR_WAIT)   # on paper only, and of no use to who plans
    if outcome.task == NOBODY:
        return kind(f"{quoted(basis.name)} can't be planned: {text}")  # type: ignore[no-any-return]
    function = basis.name_of(outcome.task)
    said = f"{quoted(basis.name)} can't be planned: function {quoted(function)}: {text}"
    return AllocationError(said, function=function) if kind is AllocationError else kind(said)
