"""How much Python runs for a task, as counts: the same on every machine, where seconds are not.

Calls of Python functions in Handoff's own files, under `sys.setprofile`. Each bound is what was counted, and a tenth. A call takes
about 0.1 us, so these are what the brains' microseconds are made of; `scripts/bench brains` measures those.
"""

from __future__ import annotations

import importlib.util
from array import array
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from counted import calls_in

from handoff import DAG, Function
from handoff.client.lower import lower
from handoff.columns import Blobs
from handoff.ids import COORDINATOR, PeerId, RunId
from handoff.machine import Received
from handoff.messages import Want
from handoff.node.events import Arrived, Deliver, Execute, Finished
from handoff.program import Flag, Kind, Program
from handoff.resources import amounts
from handoff.wire.by_value import dumps

BENCHMARKS = Path(__file__).parents[2] / "scripts" / "benchmarks"
TASKS = 5000


def room(name: str) -> ModuleType:
    """A file of the benchmarks, which are no package."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wide(tasks: int) -> Program:
    """Outputs without inputs, of one function."""
    kind = Kind((b"work",), "work", flags=Flag.OUTPUT, cost=amounts({"cpu": 1}))
    return Program(((b"work", 0),), (kind,), array("I", [0]) * tasks, Blobs.of([b""] * tasks), array("I", [0]) * tasks, array("I"))


@pytest.mark.parametrize(("nodes", "calls_max"), [
    (2, 0.8),         # counted: 0.72; blocks and columns: with a call for each task, above 1
    (100, 2.4),       # 2.1; each block is shared out among all nodes
])
def test_the_schedulers_brain_makes_few_calls_for_a_task(nodes: int, calls_max: float) -> None:
    """Short tasks are placed in blocks and reported in columns: hardly a call for each, however many nodes there are."""
    cluster = room("paper").PaperCluster(nodes)
    seconds = array("d", [0.0002]) * TASKS
    cluster.forget(cluster.run(wide(TASKS), seconds, 10))      # the function is known

    calls = calls_in(lambda: cluster.run(wide(TASKS), seconds, 10)) / TASKS

    assert calls <= calls_max


def test_links_of_a_chain_take_few_calls() -> None:
    """They are placed many at a time, each where the one before is."""
    cluster = room("paper").PaperCluster(2)
    seconds = array("d", [0.00002]) * TASKS
    cluster.forget(cluster.run(wide(TASKS), seconds, 10))      # the function is known
    chain = replace(wide(TASKS), fan_in=array("I", [0] + [1] * (TASKS - 1)), inputs=array("I", range(TASKS - 1)))

    calls = calls_in(lambda: cluster.run(chain, seconds, 10)) / TASKS

    assert calls <= 1.75     # counted: 1.57; looked at one by one, 35


def test_a_call_by_itself_takes_few_calls() -> None:
    """Of a function that is called again and again: judged, placed, said, reported and forgotten."""
    cluster = room("paper").PaperCluster(2)
    program, seconds = wide(1), array("d", [0.0002])
    for _ in range(40):
        cluster.forget(cluster.run(program, seconds, 10))      # the function is known

    calls = calls_in(lambda: [cluster.forget(cluster.run(program, seconds, 10)) for _ in range(10)]) / 10

    assert calls <= 206     # counted: 188, since columns are made by `ints` and not by `array`, which audit hooks are told of; before, 169;
                            # then, with a shape made for each 192, with generators, and nodes asked each time, 225


def layers(width: int, count: int) -> Program:
    """Each task takes up to three results of the layer before; those of the first one take none."""
    fan_in, inputs = array("I", [0] * width), array("I")
    for task in range(width, width * count):
        before, place = task // width * width - width, task % width
        taken = sorted({before + place, before + (place * 7 + 1) % width, before + (place * 3 + 2) % width})
        fan_in.append(len(taken))
        inputs.extend(taken)
    return replace(wide(width * count), fan_in=fan_in, inputs=inputs)


@pytest.mark.parametrize(("count", "speeds", "calls_max"), [
    (1, (1.0,), 49.0),                        # counted: 45.4; each looked at by the rules for all, 52
    (6, (1.0,), 103.9),                       # 94.5; with a look at each book for each result that is released, 152
    (6, (0.5, 1.0, 1.5, 3.0), 253.1),         # 230.1; most wait for faster nodes, and are looked at six times; 406
])
def test_long_tasks_take_few_calls_each(count: int, speeds: tuple[float, ...], calls_max: float) -> None:
    """Each is looked at by itself, and said in a plan of its own."""
    cluster = room("paper").PaperCluster(50, speeds)
    program = layers(1200 // count, count)
    seconds = array("d", [0.2 + 0.0001 * (task * 37 % 1000) for task in range(1200)])

    calls = calls_in(lambda: cluster.run(program, seconds, 1_000_000)) / 1200

    assert calls <= calls_max


def test_chains_that_wait_for_busy_nodes_are_not_looked_at_one_by_one() -> None:
    """Where every node has enough to do for now, the first link that finds it so is the last that is looked at in that pass."""
    cluster = room("paper").PaperCluster(2)
    spent = array("d", [0.002]) * TASKS
    cluster.forget(cluster.run(wide(TASKS), spent, 10))      # the function is known
    fan_in = array("I", [0, 1, 1, 1, 1]) * (TASKS // 5)
    chains = replace(wide(TASKS), fan_in=fan_in, inputs=array("I", [task - 1 for task in range(TASKS) if fan_in[task]]))

    calls = calls_in(lambda: cluster.run(chains, spent, 10)) / TASKS

    assert calls <= 29.7     # counted: 27; with 64 of them looked at in each pass, 179


@pytest.mark.parametrize(("sources", "calls_max"), [
    (0, 2.35),        # counted: 2.1; batches: with one message to a worker for each task, above 10
    (1, 4.5),         # 4.1; an input is asked for, awaited, and counted down; looking for more where nobody waits any more, 7.2
])
def test_a_nodes_brain_makes_few_calls_for_a_task(sources: int, calls_max: float) -> None:
    """Tasks go to workers in batches, results to the client in one message; an input from elsewhere costs a few calls more."""
    node = room("paper_node").PaperNode(sources)
    node.run(TASKS)

    calls = calls_in(lambda: node.run(TASKS)) / TASKS

    assert calls <= calls_max


def test_a_hop_of_a_chain_between_nodes_takes_few_calls_of_the_brain() -> None:
    """A value comes, and the task that waited for it is given to a worker; its result comes, and goes where it was asked for."""
    node = room("paper_node").PaperNode(1)
    node.run(1000)                                             # the function is known
    brain, run, hops = node.brain, RunId(1000), range(500)
    plan = node._plan(run, hops)
    brain.handle(node.now, Received(COORDINATOR, replace(plan, new_kinds=((0, replace(node.kind, flags=Flag(0))),))))
    brain.handle(node.now, Received(PeerId(10), Want(run, plan.tasks)))
    told: list[object] = []

    def hop(each: int) -> None:
        given = brain.handle(node.now, Arrived(PeerId(10), run, (2 * each,), (10,)))
        work = next(effect for effect in given if isinstance(effect, Execute))
        told.extend(brain.handle(node.now, Finished(work.worker, run, work.tasks, work.attempts, (10,), (1e-5,), (node.now,))))

    calls = calls_in(lambda: [hop(each) for each in hops]) / len(hops)

    assert sum(isinstance(effect, Deliver) for effect in told) == len(hops)
    assert calls <= 44.0     # counted: 40; when each turn asked all its parts for what they did not have, 78


def test_code_is_pickled_once_for_each_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph of a thousand tasks of two functions: two pickles of code, however many tasks; and none by cloudpickle for numbers."""
    def first(number: int) -> int:
        return number

    def second(left: int, right: int) -> int:
        return left + right

    dag = DAG()
    for number in range(500):
        dag.add(Function(number, code=first, extra_args=[number]))
    for number in range(500):
        dag.add(Function(-1 - number, [number, (number + 1) % 500], code=second))
    pickled: list[object] = []

    def counted(value: object, *options: Any) -> bytes:
        pickled.append(value)
        return dumps(value, *options)

    monkeypatch.setattr("handoff.wire.by_value.dumps", counted)
    lowered = lower(dag)

    assert pickled == [first, second]
    assert len(lowered.program.codes) == 2 and len(lowered.program.kind) == 1000


def test_lowering_makes_few_calls_for_a_task() -> None:
    """The client's part: a graph becomes columns."""
    dag = DAG()
    for number in range(TASKS):
        dag.add(Function(number, code=abs, extra_args=[number]))

    calls = calls_in(lambda: lower(dag)) / TASKS

    assert calls <= 4.4     # counted: 4.0; with a visit to each argument by itself, twice that
