"""What a graph costs in messages, bytes and calls: counts of a whole simulated cluster, the same everywhere, where seconds are not.

Two nodes of one core, one client, everything through the codec, functions that are known. Each bound is what was counted, and a tenth;
beside it stands what it would be if the idea behind it were lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from counted import calls_in
from sim.client import Client
from sim.coordinator import Coordinator
from sim.letters import Letters
from sim.options import draw_options
from sim.workers import Workers
from sim.workload import Job, Offer, code_of, value_of
from sim.world import Sim

from handoff.columns import Blobs, ints
from handoff.messages import Message, Submit
from handoff.program import Flag, Kind, Program
from handoff.resources import amounts
from handoff.settings import Settings
from handoff.wire.frames import HEAD_BYTES

TASKS = 1000
TASK_SECONDS = 1e-5
CODE = b"empty"


Vary: TypeAlias = Callable[[Kind, int], Kind]


def as_it_is(kind: Kind, _: int) -> Kind:
    """No other."""
    return kind


class CountedLetters(Letters):
    """Everything that is put on the wire, by the name of the message."""

    def __init__(self) -> None:
        super().__init__(encoded=True)
        self.messages: Counter[str] = Counter()
        self.nbytes: Counter[str] = Counter()

    def write(self, message: Message) -> tuple[bytes, bytes]:
        """See Letters."""
        header, body = super().write(message)
        self.messages[type(message).__name__] += 1
        self.nbytes[type(message).__name__] += HEAD_BYTES + len(header) + len(body)
        return header, body


class Quiet(Sim):
    """A calm world of two nodes in which exactly these graphs are run, one after the other; only the last one is counted."""

    def __init__(self, *graphs: list[tuple[int, ...]], pinned: tuple[str, ...] = ("",), vary: Vary = as_it_is) -> None:
        cpu = amounts({"cpu": 1, "memory": 1000})
        super().__init__(0, checks=False, options=replace(
            draw_options(0, "calm"), offers=tuple(Offer(name, cpu, stays=True) for name in ("node-1", "node-2")), joiners=(), clients=1,
            delay_seconds=0.0001, link_seconds=0.0, encoded=True, spawn_trouble=0.0, settings=Settings(), first_run=1))
        self.graphs, self.pinned, self.vary = graphs, pinned, vary
        self.counted = self.stage.letters = CountedLetters()

    def prepare(self) -> None:
        """Everybody starts; the graphs are submitted at their times."""
        self.coordinator = Coordinator(self.stage)
        for offer in self.options.offers:
            self._start_node(offer)
        self.clients["client-0"] = Client(self.stage, "client-0")
        for number, edges in enumerate(self.graphs, 1):
            job = job_of(number, edges, *((self.pinned, self.vary) if number == len(self.graphs) else ()))
            self.jobs.append(job)
            self.clock.at(number * 2.0, self._begin, job)

    def _begin(self, job: Job) -> None:
        self.counted.messages.clear()
        self.counted.nbytes.clear()
        self._submit(job)

    @property
    def messages(self) -> int:
        """All but heartbeats."""
        return sum(count for name, count in self.counted.messages.items() if name != "Alive")

    @property
    def nbytes(self) -> int:
        """The same in bytes."""
        return sum(count for name, count in self.counted.nbytes.items() if name != "Alive")


def job_of(number: int, edges: list[tuple[int, ...]], nodes: tuple[str, ...] = ("",), vary: Vary = as_it_is) -> Job:
    """Empty tasks, pinned to these nodes in turn; what nobody takes is an output. `vary` makes other kinds of them."""
    consumers: list[list[int]] = [[] for _ in edges]
    for task, inputs in enumerate(edges):
        for each in inputs:
            consumers[each].append(task)
    kinds: dict[Kind, int] = {}
    kind_of = []
    for task, several in enumerate(consumers):
        kind = Kind((CODE,), "empty", flags=Flag(0) if several else Flag.OUTPUT, cost=amounts({"cpu": 1}), node=nodes[task % len(nodes)])
        kind_of.append(kinds.setdefault(vary(kind, task), len(kinds)))
    values: list[bytes] = []
    for task, inputs in enumerate(edges):
        values.append(value_of((b"%d/%d" % (number, task), b"", *(values[each] for each in inputs)), 8))
    program = Program(
        ((CODE, len(code_of(CODE))),), tuple(kinds), ints(kind_of), Blobs.of([b""] * len(edges)), ints(map(len, edges)),
        ints(each for inputs in edges for each in inputs))
    submit = Submit(number, f"job-{number}", program, wait_for_nodes=True, body=code_of(CODE))
    outputs = [task for task, several in enumerate(consumers) if not several]
    return Job(0, 0.0, submit, [TASK_SECONDS] * len(edges), values, {}, edges, consumers, outputs=outputs)


WIDE: list[tuple[int, ...]] = [()] * TASKS
CHAIN: list[tuple[int, ...]] = [(), *((task,) for task in range(TASKS - 1))]
STENCIL: list[tuple[int, ...]] = [
    tuple(at - 4 - at % 4 + place for place in range(max(0, at % 4 - 1), min(4, at % 4 + 2))) if at >= 4 else () for at in range(TASKS)]
TREE: list[tuple[int, ...]] = [()] * 512 + [(2 * at, 2 * at + 1) for at in range(511)]


@pytest.mark.parametrize(("graph", "messages_max", "bytes_max"), [
    pytest.param(WIDE, 63, 121, id="wide"),      # counted: 57 and 110; with a plan, a report and a result for each task: more than 3,000
    pytest.param(CHAIN, 22, 116, id="chain"),    # 20 and 105; with a plan for each task once its input is there: more than 2,000
    pytest.param(TREE, 54, 125, id="tree"),      # 49 and 113; with a question for each input from the other node: some hundreds more
    pytest.param(STENCIL, 462, 158, id="stencil"),   # 420 and 144; with a plan and a report for each task: more than 2,000
])
def test_messages_and_bytes_per_task_are_few(graph: list[tuple[int, ...]], messages_max: int, bytes_max: float) -> None:
    """All that is said between all processes for one graph of a thousand empty tasks."""
    world = Quiet(WIDE, graph).run()

    assert world.messages <= messages_max, world.counted.messages
    assert world.nbytes / len(graph) <= bytes_max, world.counted.nbytes


def test_what_goes_to_and_fro_is_planned_in_few_messages() -> None:
    """A chain pinned to two nodes in turn: each hop is a result from node to node, and nothing else is said hop by hop."""
    world = Quiet(WIDE, CHAIN, pinned=("node-1", "node-2")).run()

    messages = world.counted.messages
    assert messages["Results"] <= TASKS
    assert messages["Plan"] + messages["Want"] <= 216       # counted: 196; topped up task by task: about 1,000
    assert messages["Report"] + messages["Release"] <= 334  # 304; told of, and released, every few hops: above 1,000


@pytest.mark.parametrize(("vary", "batches_max"), [    # one by one: 1,000
    pytest.param(as_it_is, 4, id="plain"),
    pytest.param(lambda kind, task: replace(kind, timeout=60.0), 4, id="timeout"),
    pytest.param(lambda kind, task: replace(kind, max_retries=0), 4, id="once"),
    pytest.param(lambda kind, task: replace(kind, flags=kind.flags | Flag.IDEMPOTENT), 4, id="speculate"),
    pytest.param(lambda kind, task: replace(kind, cost=amounts({"cpu": 1, "memory": 1 + task * 389 % 1000})), 30, id="memory"),   # 27
])
def test_short_tasks_go_to_workers_in_few_messages(vary: Vary, batches_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever users ask of all functions, and if each had a cost of its own."""
    given: list[int] = []
    original = Workers.execute

    def counted(self: Workers, effect: Any) -> None:
        given.append(len(effect.tasks))
        original(self, effect)

    monkeypatch.setattr(Workers, "execute", counted)
    Quiet(WIDE).run()
    before = len(given)
    Quiet(WIDE, WIDE, vary=vary).run()

    assert len(given) - 2 * before <= batches_max


@pytest.mark.parametrize(("room", "graph", "calls_max"), [
    pytest.param("client", WIDE, 0.27, id="client-wide"),          # counted: 0.24; columns: with an object for each result, above 1
    pytest.param("client", CHAIN, 0.054, id="client-chain"),       # 0.047; of a chain only the end is told
    pytest.param("scheduler", WIDE, 2.8, id="scheduler-wide"),     # 2.5; blocks: placed one by one, it is as much as the chain
    pytest.param("scheduler", CHAIN, 4.3, id="scheduler-chain"),   # 3.9; many links at once: one by one, 53
    pytest.param("scheduler", TREE, 14, id="scheduler-tree"),      # 13; half of it blocks, half looked at together: one by one, above 30
    pytest.param("node", WIDE, 2.6, id="node-wide"),               # 2.4; batches: with one task for each message to a worker, above 10
    pytest.param("node", CHAIN, 2.6, id="node-chain"),             # 2.3; whole chains go to a worker at once
    pytest.param("node", TREE, 5.7, id="node-tree"),               # 5.1; inputs are counted down, and some are asked for elsewhere
    pytest.param("wire", WIDE, 0.34, id="wire-wide"),              # 0.31; all codecs together: columns, whatever the number of tasks
])
def test_the_brains_make_few_calls_for_a_task(room: str, graph: list[tuple[int, ...]], calls_max: float) -> None:
    """Calls of Python functions in all processes of the cluster, by room, of a graph whose function is known."""
    before = calls_in(Quiet(WIDE).run, room)

    calls = (calls_in(Quiet(WIDE, graph).run, room) - before) / len(graph)

    assert calls <= calls_max


def test_the_counts_are_the_same_each_time() -> None:
    """They depend on no clock and no chance."""
    first, again = (Quiet(WIDE, TREE).run().counted for _ in range(2))

    assert first.messages == again.messages and first.nbytes == again.nbytes
