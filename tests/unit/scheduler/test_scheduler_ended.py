"""What is kept of runs that failed or were cancelled: enough for a report, until nobody asks any more."""

from __future__ import annotations

from typing import Any

import pytest
from scheduler_story import Ask, Cluster, Refused, chain, kind, many, program

from handoff.messages import Answer, Cancel, Forget
from handoff.scheduler import past
from handoff.scheduler.runs import DONE, GONE, HELD, READY, WAITING


def asked(cluster: Cluster, run: int, topic: str = "timeline", who: str = "client", task: int = 0) -> Any:
    """What the coordinator answers about a run; None where it refuses."""
    found = [what for to, what in cluster.hear(who, Ask(77, topic, run, task)) if to == who and isinstance(what, Answer | Refused)]
    return found[-1].data if isinstance(found[-1], Answer) else None


def failed_chain(cluster: Cluster, **fields: Any) -> int:
    """Three functions in a row, a second each: the first is done, the second fails for good, the third never runs."""
    run = cluster.submit(chain(3, kind(max_retries=0)), **fields)
    cluster.wait(1.0)
    cluster.done(0, run=run, seconds=1.0)
    cluster.wait(0.5)
    cluster.fail(1, run=run, seconds=0.5)
    return int(run)


def test_a_run_that_failed_is_told_as_it_was() -> None:
    """What is done, what failed and for how long it ran, and what was not run."""
    cluster = Cluster().client().join("n1")
    answer = asked(cluster, failed_chain(cluster))

    assert (answer["task"], answer["node"], answer["seconds"]) == ([0], ["n1"], [1.0])
    assert [(task, node, seconds) for task, node, _, seconds in answer["vain"]] == [(1, "n1", pytest.approx(0.5))]
    assert answer["until"] == pytest.approx(1.5, abs=0.1)
    ended = answer["ended"]
    assert (ended["code"], ended["task"], ended["node"], ended["attempt"]) == ("FunctionFailed", 1, "n1", 1)
    assert list(ended["states"]) in ([DONE, WAITING, WAITING], [GONE, WAITING, WAITING])
    assert asked(cluster, 1, "graph")["fan_in"] == [0, 1, 1]


def test_a_run_that_was_cancelled_is_told_with_what_ran_then() -> None:
    """What runs is taken back, but was running; what had no room was ready. Time that passes afterwards is none of its own."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(many(3))
    cluster.wait(2.0)
    cluster.hear("client", Cancel(run, "cancelled by its client"))
    before = asked(cluster, run)
    cluster.wait(60.0)
    cluster.lose("n2")
    after = asked(cluster, run)

    assert [(node, since) for _, node, since in before["running"]] == [("n1", 0.0), ("n2", 0.0)]
    assert sorted(before["ended"]["states"]) == [READY, HELD, HELD]
    assert before["ended"]["code"] == "RunCancelled"
    assert {stay[0] for stay in after["stays"]} == {"n1", "n2"}
    for told in before, after:
        assert told["until"] == pytest.approx(2.0, abs=0.1) and len(told["running"]) == 2


def test_it_is_kept_until_its_client_lets_go_of_it() -> None:
    """Or leaves. A run that goes well is kept as ever."""
    cluster = Cluster().client().client("other").join("n1")
    first, second = failed_chain(cluster), failed_chain(cluster)
    assert asked(cluster, first) and asked(cluster, second)

    cluster.hear("client", Forget(first))
    assert asked(cluster, first) is None and asked(cluster, second)

    cluster.drop("client")
    cluster.wait(60.0)
    assert asked(cluster, second, who="other") is None
    assert not cluster.scheduler.ledger.past.ended


def test_another_client_does_not_let_go_of_it() -> None:
    """It is no business of others."""
    cluster = Cluster().client().client("other").join("n1")
    run = failed_chain(cluster)
    cluster.hear("other", Forget(run))
    assert asked(cluster, run)["ended"]["code"] == "FunctionFailed"


def test_who_has_heard_of_the_failure_of_a_detached_run_may_ask_about_it() -> None:
    """A client says Forget as soon as it has heard: the failure is no news any more. The second one means the run."""
    cluster = Cluster().client().join("n1")
    run = failed_chain(cluster, detach=True)

    cluster.hear("client", Forget(run))
    assert asked(cluster, run)["ended"]["code"] == "FunctionFailed"

    cluster.hear("client", Forget(run))
    assert asked(cluster, run) is None


def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was kept for longest makes room, and the last one stays however large it is."""
    cluster = Cluster().client().join("n1")
    first = failed_chain(cluster)
    size = cluster.scheduler.ledger.past.ended[first].nbytes
    monkeypatch.setattr(past, "ENDED_BYTES_MAX", 2.5 * size)
    runs = [first, *(failed_chain(cluster) for _ in range(3))]
    assert list(cluster.scheduler.ledger.past.ended) == runs[-2:]

    monkeypatch.setattr(past, "ENDED_BYTES_MAX", 1)
    last = failed_chain(cluster)
    assert list(cluster.scheduler.ledger.past.ended) == [last]


def test_of_a_single_call_nothing_is_kept() -> None:
    """Nobody can ask what it was like, and there may be very many."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(1, kind(max_retries=0)), values_only=True)
    cluster.fail(0, run=run)
    assert not cluster.scheduler.ledger.past.ended


def test_what_was_lost_with_its_node_is_told() -> None:
    """It may not run again, so the run fails with it; its attempt came to nothing."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(many(1, kind(max_retries=0)))
    cluster.wait(3.0)
    cluster.lose("n1")
    answer = asked(cluster, run)
    assert answer["ended"]["code"] == "NodeLost"
    assert [(task, node, seconds) for task, node, _, seconds in answer["vain"]] == [(0, "n1", pytest.approx(3.0))]


def test_functions_of_a_run_that_failed_are_explained() -> None:
    """The one that is done, the one with which it failed, and the one that waited for that."""
    cluster = Cluster().client().join("n1")
    run = failed_chain(cluster)
    done, failed, waiting = (asked(cluster, run, "explain", task=task) for task in range(3))

    assert (done["node"], done["started"], done["seconds"], done["reasons"]) == ("n1", 0.0, 1.0, []) and done["state"].startswith("done")
    assert (failed["state"], failed["node"], failed["attempt"], failed["reasons"]) == ("failed", "n1", 1, [])
    assert (waiting["state"], waiting["node"], waiting["reasons"]) == ("waiting", "", [["inputs", 1, 1]])
    assert waiting["inputs"] == [[1, "failed", "", 0, 0.0]] and waiting["now"] == pytest.approx(1.5, abs=0.1)
    assert {each["ended"]["code"] for each in (done, failed, waiting)} == {"FunctionFailed"}


def test_functions_of_a_run_that_was_cancelled_are_explained() -> None:
    """Those that ran, each with its node, and the one that had no room."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(many(3), max_concurrency=2)
    cluster.wait(2.0)
    cluster.hear("client", Cancel(run, "cancelled by its client"))
    cluster.wait(60.0)
    cluster.lose("n2")
    said = [asked(cluster, run, "explain", task=task) for task in range(3)]

    assert sorted((each["state"], each["node"], each["reasons"]) for each in said) == [
        ("ready", "", [["turn", 2]]), ("running", "n1", []), ("running", "n2", [])]
    assert asked(cluster, run, "explain", task=3) is None


def test_what_no_node_offered_is_told_of_a_run_that_waited_for_it() -> None:
    """It was ready, but not for want of room."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(1, kind("wide", {"cpu": 4})), wait_for_nodes=True)
    cluster.hear("client", Cancel(run, "cancelled by its client"))
    (what, text), = asked(cluster, run, "explain")["reasons"]
    assert what == "unmet" and text.startswith("wide needs cpu=4")


def test_what_no_node_offered_is_told_only_of_what_needs_it() -> None:
    """Not of functions whose name is the beginning of that one's, nor of those of the same name that need less."""
    cluster = Cluster().client().join("n1")
    for name in ("wide", "widest"):
        run = cluster.submit(program([(kind(name, {"cpu": 4}), ()), (kind("wide"), ()), (kind("wide"), ())]), wait_for_nodes=True)
        cluster.hear("client", Cancel(run, "cancelled by its client"))
        said = [asked(cluster, run, "explain", task=task)["reasons"] for task in range(3)]
        assert said[0][0][0] == "unmet" and [what for what, *_ in (said[1] + said[2])] == ["turn"]
