"""What follows when something fails, is lost or stays away: as little as possible is done again, and nothing hangs."""

from __future__ import annotations

import pytest
from scheduler_story import (
    Ask,
    Close,
    Cluster,
    Flag,
    Plan,
    Redirect,
    Refused,
    Release,
    RunDone,
    RunFailed,
    Unreachable,
    Upload,
    chain,
    ints,
    kind,
    many,
    program,
)

from handoff.messages import Alive, Answer, Cancel, DropCode, EndRun, Failed, Missing, NodeGone, Progress
from handoff.scheduler.outbox import RELEASE_SECONDS
from handoff.scheduler.views import timeline


def two_nodes() -> Cluster:
    """A client and two nodes with a cpu each."""
    return Cluster().client().join("n1").join("n2")


def test_a_failed_attempt_is_made_again_after_a_pause_that_doubles() -> None:
    """0.05 s, then 0.1 s; every attempt has a higher number."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(1))
    for attempt, pause in ((2, 0.05), (3, 0.1)):
        cluster.fail(0)
        assert not cluster.plans()
        cluster.wait(pause * 0.9)
        assert not cluster.plans()
        cluster.wait(pause * 0.2)
        assert cluster.plans() == [0] and cluster.attempt(0) == attempt


def test_a_failure_of_a_task_that_there_is_not_says_nothing() -> None:
    """Whatever its number; one below 0 is no task counted from the end."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(2))

    for task in (-1, -2, 2, 1 << 40):
        cluster.hear("n1", Failed(run, task, 1, "exception"))

    assert not cluster.scheduler.ledger.runs[run].failures
    cluster.finish(run)


def test_failed_attempts_are_remembered_with_their_time() -> None:
    """As long as the node says; of a crash, since it had its room; a failure of an older attempt says nothing."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(1))
    cluster.wait(2.0)
    cluster.fail(0, seconds=1.5)
    cluster.hear("n1", Failed(run, 0, 1, "exception", seconds=1.0))
    cluster.wait(0.2)
    given = cluster.scheduler.ledger.runs[run].given_at[0]
    cluster.wait(1.0)
    cluster.fail(0, cause="crash")

    vain = timeline(cluster.scheduler.ledger, cluster.scheduler.ledger.runs[run], cluster.now)["vain"]
    assert [(task, node) for task, node, _, _ in vain] == [(0, "n1")] * 2
    assert vain[0][2:] == pytest.approx([0.5, 1.5])
    assert vain[1][2:] == pytest.approx([given, 3.2 - given], abs=1e-3)


def test_the_first_exhausted_task_fails_the_run() -> None:
    """The client hears what, where, which attempt and why; every node of the run forgets it; nothing is held any more."""
    cluster = two_nodes()
    run = cluster.submit(many(4, kind(max_retries=1)))
    home = cluster.where(0)
    cluster.fail(0)
    cluster.wait(0.06)
    while cluster.where(0) and cluster.attempt(0) < 2:
        cluster.done(*[task for task in (1, 2, 3) if cluster.scheduler.ledger.runs[run].is_planned(task)])
    home = cluster.where(0)
    cluster.fail(0, type="ValueError", text="no such thing", traceback="Traceback ...", body=b"pickled")
    [failed] = cluster.told(RunFailed, "client")
    assert (failed.code, failed.task, failed.node, failed.attempt, failed.type) == ("FunctionFailed", 0, home, 2, "ValueError")
    assert failed.traceback == "Traceback ..." and failed.body == b"pickled" and "no such thing" in failed.text and home in failed.text
    assert sorted(name for name, message in cluster.last if isinstance(message, EndRun)) == ["n1", "n2"]
    assert not cluster.scheduler.ledger.runs and all(not node.planned for node in cluster.scheduler.ledger.nodes.values())


def test_dependents_of_a_failed_task_do_not_start_before_it_is_made_again() -> None:
    """They wait; those that were planned already are told where it will come from."""
    cluster = Cluster().client().join("n1").join("n2")
    cluster.finish(cluster.submit(many(4)), seconds=1e-4)   # work is known to be short
    run = cluster.submit(program([(kind("a"), ()), (kind("b"), (0,))]))
    assert cluster.planned[run, 1] == (cluster.where(0, run), 1)   # the next link of a chain is planned ahead
    cluster.fail(0, run)
    cluster.wait(0.06)
    assert cluster.plans() == [0]
    assert [(list(message.tasks), list(message.nodes)) for message in cluster.told(Redirect, cluster.where(1, run))] == [
        ([0], [cluster.peers[cluster.where(0, run)]])]


def test_what_can_not_be_sent_is_not_tried_again() -> None:
    """An unpicklable result would be unpicklable again."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(1))
    cluster.fail(0, cause="unpicklable", text="a lock")
    assert cluster.told(RunFailed)[0].attempt == 1


def test_a_task_whose_module_is_missing_goes_to_another_node() -> None:
    """Another node may have it."""
    cluster = two_nodes()
    cluster.submit(many(1))
    first = cluster.where(0)
    cluster.fail(0, cause="unloadable", type="ModuleNotFoundError")
    cluster.wait(0.1)
    assert cluster.where(0) != first


def test_a_task_that_kills_workers_runs_alone_and_then_fails() -> None:
    """From the second time on it gets a worker of its own; the third is the last."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(2, kind(max_retries=9)))
    cluster.fail(0, cause="crash", text="killed by SIGSEGV")
    cluster.done(1)
    cluster.wait(0.06)
    cluster.fail(0, cause="crash", text="killed by SIGSEGV")
    cluster.wait(0.2)
    [plan] = cluster.told(Plan)
    assert [index for index, _ in plan.new_kinds] == list(plan.kind) and plan.new_kinds[0][1].flags & Flag.ALONE
    cluster.fail(0, cause="crash", text="killed by SIGSEGV")
    [failed] = cluster.told(RunFailed)
    assert failed.attempt == 3 and "SIGSEGV" in failed.text


def test_crashes_count_against_max_retries_too() -> None:
    """max_retries=0: the first crash is the last."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(1, kind(max_retries=0)))
    cluster.fail(0, cause="crash")
    assert cluster.told(RunFailed)


def test_a_lost_node_s_tasks_run_elsewhere() -> None:
    """With a higher attempt, and at once; it counts as no failure."""
    cluster = two_nodes()
    cluster.submit(many(2))
    lost = cluster.where(0)
    cluster.done(1)
    cluster.lose(lost)
    assert cluster.plans() == [0] and cluster.attempt(0) == 2 and cluster.where(0) != lost
    assert not cluster.scheduler.ledger.runs[1].failures


def test_what_may_not_run_again_fails_with_its_node() -> None:
    """max_retries=0 and planned there: NodeLost."""
    cluster = two_nodes()
    cluster.submit(many(1, kind(max_retries=0)))
    lost = cluster.where(0)
    cluster.lose(lost)
    [failed] = cluster.told(RunFailed)
    assert failed.code == "NodeLost" and failed.node == lost and lost in failed.text


def test_a_lost_result_is_made_again_with_its_lost_ancestors_only() -> None:
    """What lies elsewhere is not made again."""
    mid = kind("mid", flags=Flag(0), node="n1")
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(program([
        (kind("far", node="n2"), ()), (mid, ()), (mid, (1,)), (kind("last", node="n2"), (0, 2)),
    ]))
    for task in (0, 1, 2):
        cluster.done(task)
    assert cluster.planned[run, 3][0] == "n2"
    cluster.lose("n1")
    cluster.join("n1")
    assert cluster.attempt(1) == 2 and cluster.attempt(0) == 1
    cluster.done(1)
    assert cluster.attempt(2) == 2
    assert [list(message.tasks) for message in cluster.told(Redirect, "n2")] == [[2]] or any(
        isinstance(message, Redirect) and name == "n2" for name, message in cluster.said)
    cluster.done(2)
    cluster.done(3)
    assert cluster.told(RunDone)


def test_a_copy_that_surely_exists_saves_the_work() -> None:
    """A node that finished a consumer has the input: it is taken from there."""
    cluster = Cluster().client().join("n1").join("n2").join("n3")
    root = kind("root", node="n1", flags=Flag(0))
    run = cluster.submit(program([(root, ()), (kind("a", node="n2"), (0,)), (kind("b", node="n3"), (0,))]))
    cluster.done(0)
    cluster.done(1)
    cluster.lose("n1")
    assert [(list(message.tasks), list(message.nodes)) for message in cluster.told(Redirect, "n3")] == [([0], [cluster.peers["n2"]])]
    assert cluster.scheduler.ledger.runs[run].done == 2
    cluster.done(2)
    assert cluster.told(RunDone)


def test_lost_outputs_are_made_again_when_the_client_misses_them() -> None:
    """The client is told that the node is gone; RunDone comes again."""
    cluster = two_nodes()
    run = cluster.submit(many(2))
    cluster.done(0, 1)
    assert cluster.told(RunDone)
    lost = cluster.where(0)
    cluster.lose(lost)
    assert [message.run for message in cluster.told(NodeGone, "client")] == [run] and not cluster.plans()
    cluster.hear("client", Missing(run, ints([0, 77])))
    assert cluster.plans() == [0]
    cluster.done(0)
    assert cluster.told(RunDone)


def test_an_unreachable_result_is_made_elsewhere() -> None:
    """The producer avoids that node, the consumer is redirected, and what the old node has is dropped in the end."""
    cluster = Cluster().client().join("n1").join("n2").join("n3")
    run = cluster.submit(program([(kind("a", flags=Flag(0)), ()), (kind("b", node="n3"), (0,))]))
    first = cluster.where(0)
    cluster.done(0)
    assert first != "n3" or cluster.where(1) == "n3"
    if first == "n3":
        return
    cluster.hear("n3", Unreachable(run, cluster.peers[first], ints([0])))
    assert cluster.plans() == [0] and cluster.where(0) != first
    assert [list(message.nodes) for message in cluster.told(Redirect, "n3")] == [[cluster.peers[cluster.where(0)]]]
    cluster.done(0)
    cluster.done(1)
    cluster.wait(RELEASE_SECONDS)
    assert first in {name for name, message in cluster.said if isinstance(message, Release)}


def test_late_news_about_what_is_unreachable_changes_nothing() -> None:
    """The result has moved already: the asker is told where."""
    cluster = Cluster().client().join("n1").join("n2")
    run = cluster.submit(program([(kind("a", node="n1"), ()), (kind("b", node="n2"), (0,))]))
    cluster.done(0)
    cluster.hear("n2", Unreachable(run, cluster.peers["n2"], ints([0, 99])))
    assert cluster.scheduler.ledger.runs[run].done == 1
    assert [list(message.nodes) for message in cluster.told(Redirect, "n2")] == [[cluster.peers["n1"]]]


def test_a_lost_node_frees_its_group() -> None:
    """Collocated tasks that are left pick another node together."""
    cluster = Cluster().client().join("n1", cpu=2).join("n2", cpu=2)
    run = cluster.submit(program([(kind("a"), ()), (kind("b"), (0,)), (kind("c"), (0,))], groups=[(0, 1, 2)]))
    home = cluster.where(0)
    cluster.done(0)
    cluster.lose(home)
    cluster.finish(run)
    assert {cluster.where(task) for task in (0, 1, 2)} == {"n1", "n2"} - {home}


def test_a_serializer_is_done_again_when_its_consumer_moves() -> None:
    """What it made was for another node."""
    cluster = Cluster().client().join("n1").join("n2").join("n3")
    serialize = kind("serialize", {}, flags=Flag.SERIALIZER)
    run = cluster.submit(program([(kind("make", node="n1"), ()), (serialize, (0,)), (kind("take", {"cpu": 1}), (1,))]))
    cluster.done(0)
    cluster.done(1)
    promised = cluster.names[cluster.scheduler.ledger.runs[run].promised[2]]
    assert cluster.where(2) == promised
    if promised == "n1":
        return
    cluster.lose(promised)
    assert 1 in cluster.plans("n1") and cluster.attempt(1) == 2
    cluster.finish(run)
    assert cluster.where(2) != promised


def test_a_silent_node_gets_no_work_and_is_given_up_later() -> None:
    """Suspect after 3 s, lost after 10 s; forgetting it and closing its connection are one."""
    cluster = two_nodes()
    cluster.submit(many(4))
    quiet = cluster.where(0)
    other = cluster.where(1)
    for _ in range(4):
        cluster.wait(1.0)
        cluster.hear(other, Alive())
    assert cluster.scheduler.ledger.by_name[quiet].state == "suspect"
    cluster.done(1)
    assert cluster.plans(quiet) == []
    closed: list[str] = []
    for _ in range(7):
        closed += [name for name, message in cluster.wait(1.0) if isinstance(message, Close)]
        cluster.hear(other, Alive())
    cluster.finish()
    assert closed == [quiet] and cluster.where(0) == other


def test_a_suspect_node_that_speaks_again_gets_work_again() -> None:
    """Nothing of it was given up."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(2))
    cluster.wait(5.0)
    assert cluster.scheduler.ledger.by_name["n1"].state == "suspect"
    cluster.done(0)
    assert cluster.plans("n1") == [1] and cluster.attempt(0) == 1


def test_a_broken_connection_is_no_lost_node() -> None:
    """Within the window it resumes, and nothing is done again."""
    cluster = two_nodes()
    cluster.submit(many(2))
    cluster.drop("n1")
    cluster.wait(5.0)
    cluster.hear("n2", Alive())
    cluster.resume("n1")
    cluster.done(0, 1)
    assert cluster.told(RunDone) and cluster.attempt(0) == cluster.attempt(1) == 1


def test_a_node_that_comes_back_as_a_new_process_is_a_new_node() -> None:
    """The old one is lost at that moment."""
    cluster = Cluster().client().join("n1")
    cluster.submit(many(1))
    old = cluster.peers["n1"]
    cluster.join("n1")
    assert ("n1", Close(old, "node 'n1' came back as a new process")) in cluster.last
    assert cluster.plans("n1") == [0] and cluster.attempt(0) == 2


def test_cancel_ends_the_run_everywhere() -> None:
    """RunFailed for the client, EndRun for the nodes."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(5))
    cluster.hear("client", Cancel(run, "enough"))
    assert cluster.told(RunFailed)[0].code == "RunCancelled" and "enough" in cluster.told(RunFailed)[0].text
    assert cluster.told(EndRun, "n1") and not cluster.scheduler.ledger.runs


def test_a_run_may_take_only_so_long() -> None:
    """RunTimeout says how far it came."""
    cluster = Cluster(suspect_seconds=100, lost_seconds=200).client().join("n1")
    cluster.submit(many(5), timeout=2.0)
    cluster.done(0)
    cluster.wait(1.9)
    assert not cluster.told(RunFailed)
    cluster.wait(0.2)
    assert cluster.told(RunFailed)[0].code == "RunTimeout" and "1 of 5" in cluster.told(RunFailed)[0].text


def test_a_run_that_waited_in_vain_says_for_what() -> None:
    """Its node never came."""
    cluster = Cluster().join("n1").client()
    cluster.submit(many(1, kind("pinned", node="ghost")), timeout=2.0)
    cluster.wait(3.0)
    text = cluster.told(RunFailed)[0].text
    assert text.startswith("the run took longer than 2 s; 0 of 1 function was done; pinned waits for") and "'ghost'" in text


@pytest.mark.parametrize("detach", [False, True])
def test_a_client_that_leaves_takes_its_runs_along_unless_detached(detach: bool) -> None:
    """Everything is released, or goes on."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(2), detach=detach)
    cluster.lose("client")
    assert bool(cluster.told(EndRun, "n1")) is not detach and (run in cluster.scheduler.ledger.runs) is detach


def test_a_client_may_come_back_within_its_grace() -> None:
    """A broken connection alone cancels nothing before that."""
    cluster = Cluster(suspect_seconds=100, lost_seconds=200).client().join("n1")
    run = cluster.submit(many(1))
    cluster.drop("client")
    cluster.wait(4.0)
    cluster.resume("client")
    cluster.wait(10.0)
    assert run in cluster.scheduler.ledger.runs
    cluster.drop("client")
    cluster.wait(6.0)
    assert cluster.told(Close, "client") and run not in cluster.scheduler.ledger.runs


def test_a_pinned_node_that_does_not_come_fails_the_run_by_name() -> None:
    """After node_timeout, naming it and those present; until then the client hears what is waited for."""
    cluster = Cluster(suspect_seconds=100, lost_seconds=200, node_timeout_seconds=5).client().join("n1")
    cluster.submit(many(1, kind(node="gpu-1")))
    said = cluster.wait(1.0)
    assert any(isinstance(message, Progress) and "'gpu-1'" in message.waits_for for _, message in said)
    cluster.wait(4.5)
    [failed] = cluster.told(RunFailed)
    assert failed.code == "NodeTimeout" and "'gpu-1'" in failed.text and "'n1'" in failed.text and failed.task == 0


def test_a_pinned_node_that_comes_in_time_is_used() -> None:
    """And the timeout is forgotten."""
    cluster = Cluster(suspect_seconds=100, lost_seconds=200, node_timeout_seconds=5).client().join("n1")
    cluster.submit(many(1, kind(node="gpu-1")))
    cluster.wait(4.0)
    cluster.join("gpu-1")
    assert cluster.plans("gpu-1") == [0]
    cluster.wait(20.0)
    assert not any(isinstance(message, RunFailed) for _, message in cluster.said)


@pytest.mark.parametrize("was_there", [False, True])
def test_a_run_without_any_node_waits_and_then_says_so(was_there: bool) -> None:
    """Nobody joined within node_timeout; or all that did were lost, of whom nobody says that they never came."""
    cluster = Cluster(node_timeout_seconds=5).client()
    if was_there:
        cluster.join("n1")
        cluster.lose("n1")
    cluster.submit(many(1))
    cluster.wait(6.0)
    [failed] = cluster.told(RunFailed)
    assert failed.code == "AllocationError" and "and no node is there" in failed.text


@pytest.mark.parametrize("wait_for_nodes", [False, True])
def test_a_cost_that_only_a_lost_node_could_meet_fails_the_run_unless_it_waits(wait_for_nodes: bool) -> None:
    """The others can never hold it; after node_timeout that is an error."""
    cluster = Cluster(suspect_seconds=100, lost_seconds=200, node_timeout_seconds=5).client().join("n1").join("gpu", gpu=1, cpu=1)
    run = cluster.submit(many(3, kind("train", {"gpu": 1})), wait_for_nodes=wait_for_nodes)
    cluster.lose("gpu")
    cluster.wait(6.0)
    assert [message.code for message in cluster.told(RunFailed)] == ([] if wait_for_nodes else ["AllocationError"])
    if wait_for_nodes:
        cluster.join("gpu-2", gpu=1)
        cluster.finish(run)


def test_an_object_whose_node_is_lost_is_uploaded_again() -> None:
    """To the node that is chosen then."""
    cluster = two_nodes()
    cluster.submit(program([(kind("object", {}, flags=Flag.OBJECT), ()), (kind("use"), (0,))]))
    first = cluster.where(0)
    cluster.lose(first)
    [upload] = cluster.told(Upload)
    assert list(upload.tasks) == [0] and cluster.names[upload.nodes[0]] != first


def test_an_object_that_is_lost_when_its_client_is_gone_fails_the_run() -> None:
    """Nobody else has its value: a detached run ends, and says why, rather than wait for ever."""
    cluster = two_nodes()
    program_ = program([(kind("object", {}, flags=Flag.OBJECT), ()), (kind("use"), (0,))])
    run = cluster.submit(program_, detach=True)
    first = cluster.where(0)
    cluster.done(0)
    cluster.lose("client")
    cluster.lose(first)
    assert run not in cluster.scheduler.ledger.runs
    failed, _ = cluster.scheduler.ledger.past.failed[run]
    assert (failed.code, failed.task) == ("ResultLost", 0) and "its client uploaded" in failed.text


def test_code_that_is_not_needed_is_dropped_when_there_is_too_much() -> None:
    """The longest unused first, and the nodes that have it are told."""
    cluster = Cluster().client().join("n1")
    cluster.scheduler.ledger.codes.idle_bytes_max = 5
    for name in ("first", "other"):
        run = cluster.submit(many(1, kind(name)))
        cluster.hear("client", Cancel(run))
    assert [message.digests for message in cluster.told(DropCode, "n1")] == [(b"other",)] or any(
        isinstance(message, DropCode) and message.digests == (b"first",) for _, message in cluster.said)


def test_a_finished_chain_holds_nothing() -> None:
    """When all is over no claim, queue or backlog is left."""
    cluster = two_nodes()
    run = cluster.submit(chain(30))
    cluster.finish(run, seconds=1e-4)
    for node in cluster.scheduler.ledger.nodes.values():
        assert not node.planned and not any(node.committed.values()) and not node.holding
    assert not any(len(shape) for shape in cluster.scheduler.ledger.ready.shapes.values())




def test_a_detached_run_that_fails_while_its_client_may_come_back_tells_who_attaches() -> None:
    """Its client died without a word: until its patience with it ends, the coordinator does not know that it is gone."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(1, kind(max_retries=0)), detach=True)
    cluster.drop("client")
    cluster.fail(0)
    cluster.wait(10.0)
    cluster.client("other")
    cluster.hear("other", Ask(9, "attach", run))
    assert [failed.code for failed in cluster.told(RunFailed, "other")] == ["FunctionFailed"]
    cluster.hear("other", Ask(9, "timeline", run))
    [answer] = [answer.data for answer in cluster.told(Answer, "other") if answer.token == 9 and "ended" in answer.data]
    assert answer["ended"]["code"] == "FunctionFailed"     # what became of it is kept, too
    cluster.hear("other", Ask(10, "explain", run, 0))
    [said] = [answer.data for answer in cluster.told(Answer, "other") if answer.token == 10]
    assert (said["state"], said["node"], said["ended"]["code"]) == ("failed", "n1", "FunctionFailed")
    cluster.hear("other", Ask(11, "explain", run, 1))      # it has no such task
    assert [refused.text for refused in cluster.told(Refused, "other")] == [f"run {run} is over (failed), and nothing else of it is kept"]


@pytest.mark.parametrize(("reason", "text"), [
    ("", "the run was cancelled"), ("cancelled by its client", "the run was cancelled by its client"),
    ("node 'n1' is out of reach", "the run was cancelled: node 'n1' is out of reach"),
])
def test_a_cancelled_run_says_so_once(reason: str, text: str) -> None:
    """With who did it, or why."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(many(1))
    cluster.hear("client", Cancel(run, reason))
    assert [failed.text for failed in cluster.told(RunFailed)] == [text]
