"""From what the coordinator answers about a run, and the graph that its client knows, to a story."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Any

from handoff.client.failures import forgotten
from handoff.client.story.records import Done, Stay, Story, Vain
from handoff.errors import ExecutionError
from handoff.graph.function import labels_of
from handoff.program import Kind, is_side_by_side
from handoff.resources import SCALE, Amounts, split
from handoff.scheduler.needs import needs_of

if TYPE_CHECKING:
    from handoff.client.state import Graph, RunState


def story_of(state: RunState, answer: Any) -> Story:
    """The story of a run from the columns of its timeline; the run's graph must have its edges."""
    graph = state.graph
    starts = list(accumulate(graph.fan_in, initial=0))
    columns = (answer[name] for name in ("task", "node", "attempt", "started", "seconds", "nbytes", "worker", "waited", "planned"))
    tasks = []
    took = dict(answer["took"])
    slots = {task: _slots(_cost(graph.kinds[graph.kind[task]], took.get(task, 0)))
             for task in (*answer["task"], *(each[0] for each in (*answer["vain"], *answer["running"])))}
    everywhere = {"cpu", "memory"}
    labels = labels_of([state.name_of(task) for task in range(len(graph.ids))])
    for task, node, attempt, started, seconds, nbytes, worker, waited, planned in zip(*columns, strict=True):
        kind = graph.kinds[graph.kind[task]]
        cost = _cost(kind, took.get(task, 0))
        tasks.append(Done(
            task, labels[task], kind.name, node, worker, started, seconds,
            graph.inputs[starts[task] : starts[task + 1]], nbytes, waited, planned, attempt,
            slots=slots[task], memory=dict(cost).get("memory", 0) / SCALE, shared=split(cost)[1],
            takes=_at(needs_of(kind), took.get(task, 0)),
            is_bound=bool(kind.node or kind.where or not everywhere.issuperset(dict(cost))),
            is_pinned=bool(kind.node or kind.where), is_hidden=task in graph.hidden, is_shared=is_side_by_side(kind.flags, cost),
        ))
    vain = [Vain(node, started, seconds, slots[task], task) for task, node, started, seconds in answer["vain"]]
    until = answer["until"]
    running = [Vain(node, started, until - started, slots[task]) for task, node, started in answer["running"]]
    stays: dict[str, list[Stay]] = {}
    for node, begin, end, cores in answer["stays"]:     # who is still there stays: straightening may put the end of the story later
        stays.setdefault(node, []).append(Stay(begin, end if end < until else inf, cores))
    moved = state.done.bytes_moved if state.done is not None else 0
    most = {node: max(stay.cores for stay in several) for node, several in stays.items()}
    return Story(str(graph.dag_id), tasks, most, run=state.run, bytes_moved=moved, is_over=state.over.done(),
                 shared=answer["shared"], vain=vain, running=running, stays=stays, until=until, limit=answer["limit"],
                 has=answer["has"])


def _cost(kind: Kind, alternative: int) -> Amounts:
    """The one that it took; of an attached run, whose alternatives are not known here, the first."""
    return _at((kind.cost, *kind.alternatives), alternative)


def _at(several: Sequence[Amounts], alternative: int) -> Amounts:
    return several[alternative if alternative < len(several) else 0]


def _slots(cost: Amounts) -> float:
    return dict(cost).get("cpu", 0) / SCALE or 1.0


def with_edges(graph: Graph, answer: Any) -> Graph:
    """The graph of an attached run, with what the coordinator says of kinds and edges."""
    kinds = [Kind((), each["name"], flags=each["flags"], cost=tuple((name, steps) for name, steps in each["cost"]), node=each["node"],
                  where=tuple((key, value) for key, value in each["where"])) for each in answer["kinds"]]
    return graph._replace(kinds=kinds, kind=answer["kind"], fan_in=answer["fan_in"], inputs=answer["inputs"])


def untold(state: RunState, error: ExecutionError) -> ExecutionError:
    """Why there is no story, in the place of the coordinator's short answer."""
    return forgotten("there is nothing to tell", state, error)
