"""A story from what the coordinator answers: its columns, and the nodes that were there."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from handoff import DAG, Function
from handoff.client.lower import lower
from handoff.client.state import Graph
from handoff.client.story.records import Story
from handoff.client.story.report import report_of
from handoff.client.story.telling import story_of


def work(*data: Any) -> None:
    """It does nothing: nothing runs."""


def told(stays: list[list[Any]], started: tuple[float, float] = (0.0, 1.0), until: float = 2.01, limit: int = 0,
         ids: tuple[Any, Any] = ("a", "b"), **fields: Any) -> Story:
    """A chain of two functions of a second on one node of two; the second one has more fields."""
    first, second = ids
    lowered = lower(DAG("chain").add(Function(first, [], work)).add(Function(second, [first], work, **fields)))
    program = lowered.program
    graph = Graph("chain", lowered.ids, lowered.outputs, lowered.number, kinds=program.kinds, kind=program.kind, fan_in=program.fan_in,
                  inputs=program.inputs)
    over: Future[None] = Future()
    over.set_result(None)
    state: Any = SimpleNamespace(graph=graph, run=1, done=None, failure=None, over=over, name_of=lambda task: lowered.ids[task])
    return story_of(state, {
        "task": [0, 1], "node": ["n", "n"], "attempt": [1, 1], "started": list(started), "seconds": [1.0, 1.0], "nbytes": [1, 1],
        "worker": [1, 1], "waited": [0.0, 0.0], "planned": [0.0, 0.0], "took": [], "vain": [], "running": [], "shared": {},
        "until": until, "stays": stays, "limit": limit, "has": {"n": {"cpu": 20000, "memory": 4000 * 10000}}, "ended": None,
    })


def test_who_was_there_to_the_end_was_there_all_the_time() -> None:
    """Starts are known to some milliseconds, and straightening may end the story later than the coordinator did: nobody left for that."""
    story = told([["n", 0.0, 2.01, 1.0], ["idle", 0.0, 2.01, 1.0]], started=(0.05, 1.0))
    assert story.until == pytest.approx(2.05)
    for use in report_of(story).nodes:
        assert use.there == pytest.approx(story.until)
        assert use.running + use.waiting + use.moving + use.idle == pytest.approx(use.slots * use.there)


def test_who_left_before_was_not_there_any_more() -> None:
    """Nor who came late."""
    story = told([["n", 0.0, 2.01, 1.0], ["left", 0.0, 0.5, 1.0], ["late", 1.5, 2.01, 1.0]])
    assert {use.node: use.there for use in report_of(story).nodes} == pytest.approx({"n": 2.0, "left": 0.5, "late": 0.5})


@pytest.mark.parametrize(("fields", "is_bound"), [
    ({}, False), ({"cost": {"cpu": 2, "memory": 100}}, False), ({"cost": {}}, False), ({"cost": [{"cpu": 1}, {"gpu": 1}]}, False),
    ({"node": "n"}, True), ({"where": {"zone": "a"}}, True), ({"cost": {"cpu": 1, "gpu": 0.5}}, True),
    ({"cost": {"cluster:licence": 1}}, True),
])
def test_what_can_not_run_on_every_node_is_bound(fields: dict[str, Any], is_bound: bool) -> None:
    """Of several costs, the one that it took counts."""
    story = told([["n", 0.0, 2.01, 1.0]], limit=3, **fields)
    assert [done.is_bound for done in story.tasks.values()] == [False, is_bound]
    assert story.limit == 3


def test_ids_that_look_alike_are_told_apart() -> None:
    """As in a plan."""
    assert [leg.name for leg in report_of(told([], ids=(1, "1"))).critical_path] == ["1", "'1'"]
