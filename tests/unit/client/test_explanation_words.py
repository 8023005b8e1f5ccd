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


@pytest.mark.parametrize(("facts", "text", "reasons"), [
    ({"state": "failed", "node": "n1", "attempt": 2, "failures": 2}, "'b' failed on 'n1' in attempt 2, and the run with it, after 2.000 s",
     ["FunctionFailed: function 'a': work failed"]),
    ({"state": "failed", "node": ""}, "'b' failed, and the run with it, after 2.000 s", ["FunctionFailed: function 'a': work failed"]),
    ({"state": "running", "node": "n1", "started": 1.5, "attempt": 3, "failures": 2},
     "'b' had been running on 'n1' in attempt 3 since 1.500 s when the run failed, after 2.000 s",
     ["it had failed 2 times before", "the run failed: FunctionFailed: function 'a': work failed"]),
    ({"state": "planned ahead", "node": "n1", "departed": "node 'n2' is gone", "plan": "n2"},
     "'b' was with 'n1', and not done, when the run failed, after 2.000 s",
     ["its plan said 'n2', but node 'n2' is gone", "the run failed: FunctionFailed: function 'a': work failed"]),
    ({"state": "waiting", "reasons": [["inputs", 7, 0, 1, 2, 3, 4, 5, 6]], "inputs": [[0, "failed", ""], [1, "running", "n2"]]},
     "'b' was with no node when the run failed, after 2.000 s",
     ["it waited for 'a' (failed), 'b' (running on n2), 'c' (not done), 'd' (not done), 'e' (not done) and 2 more",
      "the run failed: FunctionFailed: function 'a': work failed"]),
    ({"state": "delayed", "failures": 1, "reasons": [["paused"]]}, "'b' was with no node when the run failed, after 2.000 s",
     ["it had failed 1 time, and paused before its next attempt", "the run failed: FunctionFailed: function 'a': work failed"]),
    ({"state": "ready", "reasons": [["turn", 2]], "pinned": "n3"}, "'b' was with no node when the run failed, after 2.000 s",
     ["it was ready: it waited for room on 'n3' (cpu=1), where more urgent ones went first, and of the run only 2 at once "
      "(max_concurrency)",
      "the run failed: FunctionFailed: function 'a': work failed"]),
    ({"state": "ready", "reasons": [["unmet", "work needs cpu=4"]]}, "'b' was with no node when the run failed, after 2.000 s",
     ["it waited for a node: work needs cpu=4", "the run failed: FunctionFailed: function 'a': work failed"]),
])
def test_of_a_run_that_failed_it_is_said_how_far_it_was(facts: dict[str, Any], text: str, reasons: list[str]) -> None:
    """And what it waited for, and why the run came to nothing; nodes are not compared any more."""
    state: Any = SimpleNamespace(name_of="abcdefgh".__getitem__)
    ended = {"code": "FunctionFailed", "text": "work failed", "task": 0, "node": "n1", "attempt": 1}
    said = explanation_of(state, "b", {**ANSWER, "cost": "cpu=1", "failures": 0, "reasons": [], "inputs": [], "pinned": "", "departed": "",
                                       **facts, "ended": ended})
    assert (said.text, said.reasons) == (text, reasons)
    assert str(said) == "\n".join([text, *(f"  {reason}" for reason in reasons)]) and "<table>" not in said._repr_html_()


def test_of_a_run_that_was_cancelled_it_is_said_that_it_was() -> None:
    """What was done by then is told as ever."""
    state: Any = SimpleNamespace(name_of="abc".__getitem__)
    ended = {"code": "RunCancelled", "text": "the run was cancelled by its client", "task": 0xFFFFFFFF, "node": "", "attempt": 0}
    said = explanation_of(state, "b", {**ANSWER, "state": "done", "node": "n1", "failures": 0, "reasons": [], "departed": "",
                                       "ended": ended})
    assert said.text == "'b' ran on 'n1' from 0.000 s to 1.000 s"
    assert said.reasons == ["the run was cancelled: RunCancelled: the run was cancelled by its client"]
