"""From what the coordinator answers about a run, and the graph that its client knows, to a story."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Any

from handoff.client.events import Failure
from handoff.client.failures import NO_TASK, error_of, forgotten
from handoff.client.story.records import Done, Ending, Left, Stay, Story, Undone, Vain
from handoff.errors import ExecutionError
from handoff.graph.function import labels_of
from handoff.program import Kind, is_side_by_side
from handoff.resources import SCALE, Amounts, split
from handoff.scheduler.needs import needs_of
from handoff.scheduler.runs import AHEAD, DONE, GONE, HELD, WAITING

if TYPE_CHECKING:
    from handoff.client.state import Graph, RunState

_HOW = Left._fields[1:]      # what became of a task that was not done


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

    def tried(task: int, node: str, started: float, seconds: float, fate: str) -> Vain:
        return Vain(node, started, seconds, slots[task], task, labels[task], graph.kinds[graph.kind[task]].name, fate)

    vain = [tried(task, node, started, spent, "came to nothing") for task, node, started, spent in answer["vain"]]
    until = answer["until"]
    ending = _ending(state, answer, labels, starts)
    running = [tried(task, node, started, until - started, "still ran at the end") for task, node, started in answer["running"]]
    stays: dict[str, list[Stay]] = {}
    for node, begin, end, cores in answer["stays"]:     # who is still there stays: straightening may put the end of the story later
        stays.setdefault(node, []).append(Stay(begin, end if end < until else inf, cores))
    moved = state.done.bytes_moved if state.done is not None else 0
    most = {node: max(stay.cores for stay in several) for node, several in stays.items()}
    return Story(str(graph.dag_id), tasks, most, run=state.run, bytes_moved=moved, is_over=state.over.done() and state.failure is None,
                 shared=answer["shared"], vain=vain, running=running, stays=stays, until=until, limit=answer["limit"],
                 has=answer["has"], ending=ending)


def _ending(state: RunState, answer: Any, labels: Sequence[str], starts: Sequence[int]) -> Ending | None:
    """How it ended, and what was not done then; None of a run that goes on, or went well."""
    ended = answer["ended"]
    if ended is None:
        return None
    graph = state.graph
    failure = Failure(ended["code"], ended["text"], ended["task"], ended["node"], ended["attempt"])
    error = error_of(failure, state.name_of)
    running = {task for task, _, _ in answer["running"]}
    undone = []
    counts: dict[str, list[int]] = {}
    for task, now in enumerate(ended["states"]):
        if now in (DONE, GONE):
            continue
        at = (0 if task == failure.task and failure.task != NO_TASK else 1 if task in running else 2 if now in (AHEAD, HELD)
              else 4 if now == WAITING else 3)
        name, is_hidden = graph.kinds[graph.kind[task]].name, task in graph.hidden
        undone.append(Undone(task, labels[task], name, _HOW[at], graph.inputs[starts[task] : starts[task + 1]], is_hidden))
        if not is_hidden:
            counts.setdefault(name, [0, 0, 0, 0, 0])[at] += 1
    return Ending("cancelled" if failure.code == "RunCancelled" else "failed", f"{type(error).__name__}: {error}",
                  [Left(name, *each) for name, each in counts.items()], undone)


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
