"""From what the coordinator answers about a run, and the graph that its client knows, to a story."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

from handoff.client.failures import forgotten
from handoff.client.story.records import Done, Story, Vain
from handoff.errors import ExecutionError
from handoff.program import Flag, Kind
from handoff.resources import SCALE, split

if TYPE_CHECKING:
    from handoff.client.state import Graph, RunState


def story_of(state: RunState, answer: Any) -> Story:
    """The story of a run from the columns of its timeline; the run's graph must have its edges."""
    graph = state.graph
    starts = list(accumulate(graph.fan_in, initial=0))
    columns = (answer[name] for name in ("task", "node", "attempt", "started", "seconds", "nbytes", "worker", "waited", "planned"))
    tasks = []
    slots = [dict(kind.cost).get("cpu", 0) / SCALE or 1.0 for kind in graph.kinds]
    for task, node, attempt, started, seconds, nbytes, worker, waited, planned in zip(*columns, strict=True):
        kind = graph.kinds[graph.kind[task]]
        name = state.name_of(task)
        tasks.append(Done(
            task, name if isinstance(name, str) else repr(name), kind.name, node, worker, started, seconds,
            graph.inputs[starts[task] : starts[task + 1]], nbytes, waited, planned, attempt,
            slots=slots[graph.kind[task]], shared=split(kind.cost)[1],
            is_hidden=task in graph.hidden, is_shared=bool(kind.flags & Flag.ASYNC),
        ))
    vain = [Vain(node, started, seconds, slots[graph.kind[task]]) for task, node, started, seconds in answer["vain"]]
    until = answer["until"]
    running = [Vain(node, started, until - started, slots[graph.kind[task]]) for task, node, started in answer["running"]]
    stays: dict[str, list[tuple[float, float]]] = {}
    for node, begin, end in answer["stays"]:
        stays.setdefault(node, []).append((begin, end))
    moved = state.done.bytes_moved if state.done is not None else 0
    return Story(str(graph.dag_id), tasks, answer["cpus"], run=state.run, bytes_moved=moved, is_over=state.over.done(),
                 shared=answer["shared"], vain=vain, running=running, stays=stays, until=until)


def with_edges(graph: Graph, answer: Any) -> Graph:
    """The graph of an attached run, with what the coordinator says of kinds and edges."""
    kinds = [Kind((), each["name"], flags=each["flags"], cost=tuple((name, steps) for name, steps in each["cost"]))
             for each in answer["kinds"]]
    return graph._replace(kinds=kinds, kind=answer["kind"], fan_in=answer["fan_in"], inputs=answer["inputs"])


def untold(state: RunState, error: ExecutionError) -> ExecutionError:
    """Why there is no story, in the place of the coordinator's short answer."""
    return forgotten("there is nothing to tell", state, error)
