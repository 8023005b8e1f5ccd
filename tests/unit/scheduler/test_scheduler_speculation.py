"""Stragglers run twice: when a second attempt is made, whose result counts, and what becomes of the other one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scheduler_story import Cluster, Flag, Plan, Recall, Recalled, Redirect, Release, RunDone, RunFailed, kind, program

from handoff.columns import floats, ints
from handoff.ids import RunId
from handoff.messages import Abandon, Answer, Ask, Drain, EndRun, Failed, Forget, Missing
from handoff.resources import amounts
from handoff.scheduler.outbox import RELEASE_SECONDS

TWICE = Flag.OUTPUT | Flag.IDEMPOTENT
SETTINGS: dict[str, Any] = {"suspect_seconds": 1000.0, "lost_seconds": 1000.0}


def straggling(flags: int = TWICE, nodes: int = 2, **fields: Any) -> Cluster:
    """Four tasks took 0.1 s each; the fifth, task 4, is planned on n1, and all other nodes have nothing to do. Task 5 takes all results."""
    cluster = Cluster(**SETTINGS).client().join("n1")
    work = kind("work", flags=flags, **fields)
    cluster.submit(program([(work, ())] * 5 + [(kind("after", node="n1"), tuple(range(5)))]))
    for task in range(4):
        cluster.done(task, seconds=0.1)
    for number in range(2, nodes + 1):
        cluster.join(f"n{number}")
    assert cluster.where(4) == "n1"
    return cluster


def doubled(**options: Any) -> Cluster:
    """The same, and n2 has a second attempt."""
    cluster = straggling(**options)
    cluster.wait(2.0)
    assert cluster.where(4) == "n2"
    assert cluster.attempt(4) == 2
    return cluster


def abandoned(cluster: Cluster) -> list[tuple[str, list[int], list[int]]]:
    """Who was told, so far."""
    return [(name, list(word.tasks), list(word.attempts)) for name, word in cluster.said if isinstance(word, Abandon)]


def test_a_straggler_gets_a_second_attempt_on_an_idle_node() -> None:
    """Not before it has taken twice as long as usual and 50 ms more; then without any other event."""
    cluster = straggling()
    cluster.wait(0.2)
    assert cluster.attempt(4) == 1

    said = cluster.wait(1.0)

    (plan,) = [message for name, message in said if isinstance(message, Plan) and name == "n2"]
    assert (list(plan.tasks), list(plan.attempts)) == ([4], [2])


def test_who_asks_about_a_straggler_hears_of_its_second_attempt() -> None:
    """Beside the first, as long as both run."""
    def second(cluster: Cluster) -> list[Any]:
        cluster.hear("client", Ask(9, "explain", 1, 4))  # type: ignore[arg-type]
        (told,) = [message.data for name, message in cluster.last if isinstance(message, Answer)]
        assert told["node"] == "n1"
        return [reason for reason in told["reasons"] if reason[0] == "second"]

    assert second(doubled()) == [["second", "n2"]]
    cluster = doubled()
    cluster.done(4, node="n1", attempt=1, seconds=3.0)
    assert second(cluster) == [] == second(straggling())


@pytest.mark.parametrize("looks", [False, True])
def test_what_is_made_again_is_watched_again(looks: bool) -> None:
    """All was done, so nobody looked for stragglers any more (or was about to look); an output is made again, and is late."""
    cluster = Cluster(**SETTINGS).client().join("n1")
    run = cluster.submit(program([(kind("work", flags=TWICE), ())] * 5))
    for task in range(5):
        cluster.done(task, seconds=0.1)
    cluster.wait(5.0 if looks else 0.0)
    cluster.join("n2").join("n3").lose("n1")
    for task in range(2):
        cluster.hear("client", Missing(run, ints([task])))
    cluster.join("n4").join("n5")

    cluster.wait(2.0)

    assert cluster.attempt(0) == 3 and set(cluster.scheduler.ledger.runs[run].doubled) == {0, 1}
    assert len([timer for timer in cluster.scheduler.ledger.timers if timer[2] == "stragglers"]) == 1


def test_the_second_attempt_may_win() -> None:
    """Its result is where everybody looks for it, and the first attempt is told to end."""
    cluster = doubled()

    cluster.done(4)

    assert abandoned(cluster) == [("n1", [4], [1])]
    ((task, peer, began, seconds),) = cluster.scheduler.ledger.runs[1].vain
    assert (task, cluster.names[peer], began + seconds) == (4, "n1", pytest.approx(2.0)) and seconds > 1.0
    cluster.finish()
    (over,) = cluster.told(RunDone, "client")
    assert cluster.names[over.nodes[4]] == "n2"


def test_the_first_attempt_may_win_after_all() -> None:
    """Then the second one is told, and its late report changes nothing."""
    cluster = doubled()

    cluster.done(4, node="n1", attempt=1)

    assert abandoned(cluster) == [("n2", [4], [2])]
    cluster.done(4, node="n2", attempt=2)
    cluster.finish()
    (over,) = cluster.told(RunDone, "client")
    assert cluster.names[over.nodes[4]] == "n1"


def test_reports_of_both_in_one_turn_are_decided_by_the_first() -> None:
    """The later one finds the task done."""
    cluster = doubled()
    cluster.done(4, node="n2", attempt=2)
    cluster.done(4, node="n1", attempt=1)

    cluster.finish()

    (over,) = cluster.told(RunDone, "client")
    assert cluster.names[over.nodes[4]] == "n2"


@pytest.mark.parametrize(("node", "attempt"), [("n1", 1), ("n2", 2)])
def test_a_failure_of_one_attempt_counts_for_nothing_while_the_other_lives(node: str, attempt: int) -> None:
    """The run goes on with the other one, which may fail as often as ever."""
    cluster = doubled(max_retries=1)
    cluster.planned[1, 4] = (node, attempt)
    cluster.fail(4)
    assert not cluster.told(RunFailed)
    assert not abandoned(cluster)

    other = {"n1": ("n2", 2), "n2": ("n1", 1)}[node]
    cluster.planned[1, 4] = other
    cluster.fail(4)
    assert not cluster.told(RunFailed)
    cluster.wait(1.0)
    assert cluster.attempt(4) == 3      # no number is given twice
    cluster.fail(4)
    assert cluster.told(RunFailed)


def test_what_takes_the_result_beside_the_first_attempt_takes_it_from_the_second() -> None:
    """Its node fetches the result then, and is told to drop it when nobody needs it any more."""
    cluster = Cluster(**SETTINGS).client().join("n1")
    what = program([(kind("work", flags=Flag.IDEMPOTENT), ())] * 5 + [(kind("after", node="n1"), tuple(range(5)))])
    cluster.submit(replace(what, seconds=floats([0.03] * 5 + [0.01]), nbytes=floats([-1.0] * 6)))
    for task in range(4):
        cluster.done(task, seconds=0.1)
    cluster.join("n2")
    cluster.wait(2.0)
    assert cluster.where(4) == "n2" and cluster.where(5) == "n1"
    cluster.planned[1, 4] = ("n1", 1)
    cluster.fail(4)
    assert [(name, list(word.tasks)) for name, word in cluster.last if isinstance(word, Redirect)] == [("n1", [4])]
    cluster.planned[1, 4] = ("n2", 2)
    cluster.finish()
    cluster.wait(RELEASE_SECONDS)

    assert sorted(name for name, word in cluster.said if isinstance(word, Release) and 4 in word.tasks) == ["n1", "n2"]


@pytest.mark.parametrize("lost", ["n1", "n2"])
def test_the_loss_of_one_node_leaves_the_other_attempt(lost: str) -> None:
    """It is not planned again, and its result counts."""
    cluster = doubled()
    cluster.lose(lost)

    assert cluster.attempt(4) == 2
    left, attempt = {"n1": ("n2", 2), "n2": ("n1", 1)}[lost]
    cluster.done(4, node=left, attempt=attempt)
    assert cluster.scheduler.ledger.runs[1].state[4] >= 5
    assert not abandoned(cluster)


def test_a_first_attempt_that_is_given_back_leaves_the_second() -> None:
    """It had not even started: the other one is the task now."""
    cluster = doubled()
    cluster.hear("client", Drain("n1"))
    assert any(4 in recall.tasks for recall in cluster.told(Recall, "n1"))

    cluster.hear("n1", Recalled(RunId(1), ints([4]), ints([1])))

    assert cluster.attempt(4) == 2
    cluster.done(4)
    assert cluster.scheduler.ledger.runs[1].state[4] >= 5


@pytest.mark.parametrize(("flags", "fields"), [
    (Flag.OUTPUT, {}), (TWICE, {"max_retries": 0}), (TWICE, {"node": "n1"}),
])
def test_only_who_may_runs_twice(flags: int, fields: dict[str, Any]) -> None:
    """Not without `speculate`, not what may run only once, not what is bound to its node."""
    cluster = straggling(flags=flags, **fields)

    cluster.wait(60.0)

    assert cluster.attempt(4) == 1


def test_what_the_cluster_shares_is_not_had_twice() -> None:
    """Both attempts would need it: there is one for one."""
    cluster = Cluster(**SETTINGS, shared={"license": 5}).client().join("n1")
    work = replace(kind("work", flags=TWICE), cost=(("cluster:license", 10_000), ("cpu", 10_000)))
    cluster.submit(program([(work, ())] * 5))
    for task in range(4):
        cluster.done(task, seconds=0.1)
    cluster.join("n2").wait(5.0)

    assert (cluster.where(4), cluster.attempt(4)) == ("n1", 1)


def choosing(first: dict[str, float], second: dict[str, float]) -> Cluster:
    """Costs: a GPU, or two cores. Four tasks took 0.1 s each on the first node, on which task 4 straggles; then the second node comes."""
    cluster = Cluster(**SETTINGS).client().join("n1", **first)
    work = kind("work", {"cpu": 1, "gpu": 1}, flags=TWICE, alternatives=(amounts({"cpu": 2}),))
    cluster.submit(program([(work, ())] * 5))
    for task in range(4):
        cluster.done(task, seconds=0.1)
    cluster.join("n2", **second)
    assert cluster.where(4) == "n1"
    cluster.wait(2.0)
    return cluster


@pytest.mark.parametrize(("first", "second", "chosen", "takes"), [
    ({"cpu": 1, "gpu": 1}, {"cpu": 2}, [4, 0], {"cpu": 2}),
    ({"cpu": 2}, {"cpu": 1, "gpu": 1}, [], {"cpu": 1, "gpu": 1}),
    ({"cpu": 2}, {"cpu": 3}, [4, 0], {"cpu": 2}),
])
@pytest.mark.parametrize("winner", ["n1", "n2"])
def test_a_second_attempt_takes_the_cost_that_fits_its_node(
    first: dict[str, float], second: dict[str, float], chosen: list[int], takes: dict[str, float], winner: str,
) -> None:
    """Whichever cost the first attempt took; the node is told, the books are right for both, and empty at the end, whoever wins."""
    cluster = choosing(first, second)

    (plan,) = [message for name, message in cluster.said if isinstance(message, Plan) and name == "n2" and 4 in message.tasks]
    assert list(plan.choices) == chosen
    committed = {node.name: node.committed for node in cluster.scheduler.ledger.nodes.values()}
    assert {name: steps for name, steps in committed["n2"].items() if steps} == dict(amounts(takes))
    assert {name: steps for name, steps in committed["n1"].items() if steps} == dict(amounts(first))

    cluster.done(4, node=winner, attempt=1 if winner == "n1" else 2)

    run = cluster.scheduler.ledger.runs[1]
    assert run.done == 5 and not run.choices and not run.twin_choices
    assert not any(steps for node in cluster.scheduler.ledger.nodes.values() for steps in node.committed.values())
    assert run.took.get(4, 0) == (0 if "gpu" in (first if winner == "n1" else second) else 1)


@pytest.mark.parametrize("what", ["first fails", "second fails", "n1", "n2", "forgotten"])
def test_books_of_chosen_costs_hold_whatever_becomes_of_the_attempts(what: str) -> None:
    """One of them fails, or is lost with its node, or the run ends: what it took, and nothing else, is free."""
    cluster = choosing({"cpu": 1, "gpu": 1}, {"cpu": 2})
    match what:
        case "forgotten":
            cluster.hear("client", Forget(RunId(1)))
        case "first fails":
            cluster.hear("n1", Failed(RunId(1), 4, 1, "exception"))
        case "second fails":
            cluster.hear("n2", Failed(RunId(1), 4, 2, "exception"))
        case node:
            cluster.lose(node)
    left = {"first fails": "n2", "n1": "n2", "second fails": "n1", "n2": "n1"}.get(what)
    used = {node.name: {name: steps for name, steps in node.committed.items() if steps} for node in cluster.scheduler.ledger.nodes.values()}
    takes = {"n1": amounts({"cpu": 1, "gpu": 1}), "n2": amounts({"cpu": 2})}
    assert used == {name: dict(takes[name]) if name == left else {} for name in used}
    if left:
        cluster.done(4, node=left, attempt=1 if left == "n1" else 2)
        assert cluster.told(RunDone, "client")


def test_a_second_attempt_takes_the_quicker_of_two_nodes_by_its_cost() -> None:
    """On the GPU, as it was learned to be quicker than cores, though the node with cores comes first."""
    cluster = Cluster(**SETTINGS).client().join("n1", cpu=2)
    work = kind("work", {"cpu": 1, "gpu": 1}, flags=TWICE, alternatives=(amounts({"cpu": 2}),))
    run = cluster.submit(program([(work, ())] * 5))
    for task in range(4):
        cluster.done(task, run=run, seconds=0.1)
    cluster.scheduler.ledger.estimates.observe(cluster.scheduler.ledger.runs[run].shapes[0].functions[0], [0.01] * 4, [1] * 4)
    cluster.join("n2", cpu=2).join("n3", cpu=1, gpu=1).wait(2.0)

    assert (cluster.where(4), cluster.attempt(4)) == ("n3", 2)


def test_a_task_is_doubled_once() -> None:
    """When both attempts straggle, a third idle node is left alone."""
    cluster = doubled(nodes=3)

    cluster.wait(60.0)

    assert cluster.attempt(4) == 2


def test_no_node_is_taken_from_other_work() -> None:
    """A node that is busy, or could be, gets no second attempt."""
    cluster = straggling()
    cluster.submit(program([(kind("other"), ())] * 3))

    cluster.wait(60.0)

    assert cluster.where(4) == "n1"


def test_a_function_that_was_hardly_seen_has_no_usual_time() -> None:
    """Three runs do not tell what takes long."""
    cluster = Cluster(**SETTINGS).client().join("n1")
    cluster.submit(program([(kind("work", flags=TWICE), ())] * 4))
    for task in range(3):
        cluster.done(task, seconds=0.1)
    cluster.join("n2")

    cluster.wait(60.0)

    assert cluster.attempt(3) == 1


def test_a_run_that_ends_leaves_no_claim_of_either_attempt() -> None:
    """Both nodes are told that it is over, and are free in the books."""
    cluster = doubled()

    cluster.hear("client", Forget(RunId(1)))

    assert sorted(name for name, message in cluster.last if isinstance(message, EndRun)) == ["n1", "n2"]
    assert [node.planned for node in cluster.scheduler.ledger.nodes.values()] == [0, 0]
    cluster.hear("client", Ask(3, "runs"))


def test_an_input_that_is_lost_ends_the_second_attempt() -> None:
    """It would wait for what is made again for the first one, perhaps for ever."""
    cluster = Cluster(**SETTINGS).client().join("n1")
    work = kind("work", flags=TWICE)
    cluster.submit(program([(work, ())] * 4))
    for task in range(4):
        cluster.done(task, seconds=0.1)
    cluster.join("n0", disk=1)
    cluster.submit(program([(kind("make", {"disk": 1}, flags=Flag(0)), ()), (work, (0,))]))
    cluster.done(0, run=2)
    cluster.join("n2")
    cluster.wait(2.0)
    assert (cluster.where(1, run=2), cluster.attempt(1, run=2)) == ("n2", 2)

    cluster.lose("n0")

    assert abandoned(cluster) == [("n2", [1], [2])]
    assert any(1 in recall.tasks for recall in cluster.told(Recall, "n1"))


def test_who_waits_for_the_first_attempt_is_sent_to_the_second_when_that_wins() -> None:
    """A dependent that was planned beside the straggler is told where the result is."""
    cluster = Cluster(**SETTINGS).client().join("n1")
    cluster.finish(cluster.submit(program([(kind("next"), ())] * 40)), seconds=1e-4)   # known to be short: it is planned ahead
    work = kind("work", flags=TWICE)
    first = replace(work, priority=1)
    run = cluster.submit(program([(first, ())] * 4 + [(work, ()), (kind("next"), (4,))]))
    for task in range(4):
        cluster.done(task, run=run, seconds=0.1)
    cluster.join("n2")
    cluster.wait(2.0)
    assert (cluster.where(4, run), cluster.where(5, run)) == ("n2", "n1")

    cluster.done(4, run=run)

    (redirect,) = cluster.told(Redirect, "n1")
    assert (list(redirect.tasks), list(redirect.nodes)) == ([4], [cluster.peers["n2"]])


def test_a_short_task_that_hangs_gets_a_second_attempt_too() -> None:
    """What is planned ahead is watched from when it should run."""
    cluster = Cluster(**SETTINGS).client().join("n1")
    cluster.submit(program([(kind("work", flags=TWICE), ())] * 12))
    for _ in range(11):
        table = cluster.scheduler.ledger.runs[1]
        cluster.done(next(task for task in range(11) if table.is_planned(task)), seconds=0.001)
    cluster.join("n2")
    assert (cluster.where(11), cluster.attempt(11)) == ("n1", 1)

    cluster.wait(2.5)

    assert (cluster.where(11), cluster.attempt(11)) == ("n2", 2)
    cluster.finish()
