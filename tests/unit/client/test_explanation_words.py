"""Answers of the coordinator in words: what the whole cluster shares, and what is late."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from handoff import DAG, Function, collocated
from handoff.client.events import Failure
from handoff.client.explanation import explanation_of, task_of, unexplained
from handoff.client.lower import lower
from handoff.errors import ExecutionError, MissingFunction

RUN: Any = SimpleNamespace(graph=SimpleNamespace(beside={}))
ANSWER: dict[str, Any] = {"task": 0, "state": "ready", "node": "", "candidates": [], "started": 0.0, "seconds": 1.0, "attempt": 0,
                          "now": 2.0}


@pytest.mark.parametrize(("facts", "text"), [
    ((False, True), "it waits for cluster:licence=1, which others of the cluster have now"),
    ((True, True), "it waits for cluster:licence=1, which is kept for another that waits for more of it"),
    ((False, False), "it waits for cluster:licence=1, which others of the cluster have now; it could do without at another of its costs"),
])
def test_a_licence_that_is_waited_for_is_named(facts: tuple[bool, bool], text: str) -> None:
    """With who has it, and whether there is another way."""
    answer = {**ANSWER, "reasons": [["cluster", "cluster:licence=1", *facts]]}
    state: Any = None
    assert explanation_of(state, "f", answer).reasons == [text]


@pytest.mark.parametrize(("now", "state", "start"), [
    (2.5, "planned", "'f' runs on 'n1', from about 2.000 s"),
    (3.5, "planned", "'f' is on 'n1', and was thought to be over at about 3.000 s"),
    (2.5, "planned ahead", "'f' runs, or is next, on 'n1', from about"),
    (3.5, "planned ahead", "'f' is on 'n1', and was thought to be over"),
    (1.5, "planned", "'f' is to run on 'n1', from about 2.000 s"),
])
def test_what_is_late_is_not_said_to_run(now: float, state: str, start: str) -> None:
    """It may as well wait there, for a worker that starts, say."""
    answer = {**ANSWER, "state": state, "node": "n1", "started": 2.0, "now": now, "reasons": [], "pinned": "n1", "beside": 0}
    assert explanation_of(RUN, "f", answer).text.startswith(start)


def test_a_second_attempt_is_named() -> None:
    """It takes far longer than usual, and somebody may wonder what the other node does."""
    answer = {**ANSWER, "state": "planned", "node": "n1", "pinned": "n1", "beside": 0, "reasons": [["second", "n2"]]}
    assert explanation_of(RUN, "f", answer).reasons[-1].startswith("it takes far longer than usual: a second attempt runs on 'n2'; ")


@pytest.mark.parametrize(("spared", "text"), [
    ("", "it waits for 'b', where it would be done first: cpu (1 needed, 0 free); room opens at about 4.000 s"),
    ("a", "it waits for 'b': cpu (1 needed, 0 free); room opens at about 4.000 s; 'a' has room, and something beside cores and memory that "
          "is spared for functions that need it"),
])
def test_a_better_node_is_named_with_the_one_that_is_spared(spared: str, text: str) -> None:
    """It would not be done first there, if it could have the other one."""
    state: Any = None
    assert explanation_of(state, "f", {**ANSWER, "reasons": [["better", "b", "cpu (1 needed, 0 free)", 4.0, spared]]}).reasons == [text]


def test_a_function_of_a_run_that_was_cut_off_is_told_how_that_ended() -> None:
    """The coordinator keeps nothing of such a run, but its client knows why it ended, and by which function."""
    failure = Failure("FunctionFailed", "work failed on node 'n1'", 1)
    state: Any = SimpleNamespace(run=7, graph=SimpleNamespace(dag_id="dag"), failure=failure, name_of="ab".__getitem__)
    assert str(unexplained(state, "a", ExecutionError("run 7 is over (failed)"))) == (
        "'a' can't be explained: run 7 of 'dag' ended without a result (FunctionFailed: function 'b': work failed on node 'n1'), "
        "and nothing more of it is kept; ask while it runs")


def test_what_has_no_task_may_be_in_the_graph_all_the_same() -> None:
    """An inline function, or an input: who asks for one knows that it is there, and is told why there is nothing to say of it."""
    state: Any = SimpleNamespace(run=3, graph=SimpleNamespace(number={"a": 0}, dag_id="g"))
    assert task_of(state, "a") == 0
    for strange in ("inlined", [1]):
        with pytest.raises(MissingFunction, match="or it is an input, or inline, which runs within each that takes its result"):
            task_of(state, strange)


def test_what_follows_a_pinned_function_is_told_whom_it_follows() -> None:
    """Nobody has pinned it itself: here, in the reason why it waits, and beside the nodes that it can't have."""
    dag = DAG()
    dag.add(Function("held", code=str, node="n1"))
    dag.add(Function("follows", code=str, node=collocated("held")))
    graph = lower(dag)
    run: Any = SimpleNamespace(graph=SimpleNamespace(beside=graph.beside))
    node = {"node": "n2", "start": 0.0, "moving": 0.0, "finish": 0.0, "bytes_here": 0, "bytes_missing": 0, "room": "",
            "lacks": "it is pinned to 'n1'"}
    said = {}
    for task in ("held", "follows"):
        answer = {**ANSWER, "task": graph.number[task], "pinned": "n1", "beside": 0, "candidates": [node]}
        placed = explanation_of(run, task, {**answer, "node": "n1", "reasons": []})
        waits = explanation_of(run, task, {**answer, "reasons": [["absent", "n1"]]})
        said[task] = [*placed.reasons, placed.candidates[0].lacks, *waits.reasons]
    for task, text in (("held", "it is pinned to 'n1'"), ("follows", "it has to be where 'held' is, which is pinned to 'n1'")):
        assert said[task] == [text, text, f"{text}, and waits for that node, which is not there"]
