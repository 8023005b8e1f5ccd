"""What is refused at the door, and what people are told when they ask."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scheduler_story import Ask, Cluster, Flag, Forget, Refused, RunDone, RunFailed, Submit, chain, ints, kind, many, program

from handoff.columns import floats, longs
from handoff.ids import RunId
from handoff.machine import Unsaid
from handoff.messages import Accepted, Answer, Cancel, DropCode, EndRun, Output, Placed, Plan, Progress, Report
from handoff.scheduler import past
from handoff.scheduler.allocator import Desk
from handoff.scheduler.first_fit import FirstFit


def ready() -> Cluster:
    """A client and a node."""
    return Cluster().client().join("n1")


@pytest.mark.parametrize(
    ("spoiled", "word"),
    [
        ({"inputs": ints([0, 2])}, "does not come before"),
        ({"inputs": ints([0, 77])}, "only 3 tasks"),
        ({"inputs": ints([0])}, "inputs together"),
        ({"kind": ints([0, 0, 5])}, "kind 5"),
        ({"kind": ints([0, 0])}, "length"),
        ({"fan_in": ints([0, 1])}, "length"),
        ({"groups": (ints([0, 1]), ints([1, 2]))}, "two groups"),
        ({"groups": (ints([9]),)}, "does not exist"),
        ({"near": ints([0])}, "1 tasks in pairs"),
        ({"near": ints([0, 3])}, "the last being 3, of 3"),
        ({"seconds": floats([1.0])}, "1 and 0 entries, not 3"),
        ({"nbytes": floats([1.0] * 4)}, "0 and 4 entries, not 3"),
        ({"seconds": floats([1.0, 1e308, 1.0])}, "seconds of a program has an entry above 1e+09"),
        ({"nbytes": floats([1.0, 1.0, float("nan")])}, "nbytes of a program has an entry above 1e+15, or one that is no number"),
        ({"codes": ()}, "does not have"),
        ({"codes": ((b"work", 99),)}, "99 bytes"),
    ],
)
def test_a_silly_program_is_refused(spoiled: dict, word: str) -> None:
    """Whatever is wrong with it: ProtocolError under its token, and the scheduler goes on."""
    cluster = ready()
    cluster.hear("client", Submit(3, "bad", replace(chain(3), **spoiled), body=b"work"))
    [refused] = cluster.told(Refused)
    assert refused.code == "ProtocolError" and refused.token == 3 and word in refused.text
    assert cluster.submit(many(1)) == 1 and cluster.plans() == [0]


@pytest.mark.parametrize("weight", [0.0, -1.0, 5e-324, 1e308, float("nan"), float("inf")])
def test_a_weight_that_no_share_can_be_told_by_is_refused(weight: float) -> None:
    """The smallest floats would break the arithmetic of shares."""
    cluster = ready()
    cluster.hear("client", Submit(3, "odd", chain(3), weight=weight, body=b"work"))
    [refused] = cluster.told(Refused)
    assert refused.code == "ProtocolError" and "weight is from 1e-06 to 1e+06" in refused.text


def test_an_empty_run_is_done_at_once() -> None:
    """Nothing to do is no error."""
    cluster = ready()
    cluster.submit(program([]))
    assert cluster.told(RunDone)


def test_a_cost_that_no_node_can_meet_is_refused_by_name() -> None:
    """The function, the resource, what is needed, the largest offer and where."""
    cluster = Cluster().client().join("n1", cpu=4).join("n2", cpu=8, gpu=1)
    cluster.hear("client", Submit(3, "big", program([(kind(), ()), (kind("train", {"cpu": 2, "gpu": 2}), ())]), body=b"worktrain"))
    [refused] = cluster.told(Refused)
    assert (refused.code, refused.task) == ("AllocationError", 1)
    for word in ("train", "gpu=2", "'n2'", "gpu=1", "wait_for_nodes"):
        assert word in refused.text
    assert not cluster.scheduler.ledger.runs and not cluster.scheduler.ledger.codes.uses


def test_a_pinned_cost_is_held_against_its_node() -> None:
    """Another node that could does not help."""
    cluster = Cluster().client().join("n1", cpu=1).join("n2", cpu=8)
    cluster.hear("client", Submit(3, "big", many(1, kind("train", {"cpu": 2}, node="n1")), body=b"train"))
    assert cluster.told(Refused)[0].code == "AllocationError" and "'n1'" in cluster.told(Refused)[0].text


def test_a_group_is_held_against_the_sum_of_its_largest_needs() -> None:
    """One node must be able to hold each member: cpu of the one, gpu of the other."""
    cluster = Cluster().client().join("n1", cpu=8).join("n2", cpu=1, gpu=1)
    what = program([(kind("a", {"cpu": 4}), ()), (kind("b", {"gpu": 1}), (0,))], groups=[(0, 1)])
    cluster.hear("client", Submit(3, "big", what, body=b"ab"))
    assert cluster.told(Refused)[0].code == "AllocationError" and "collocated" in cluster.told(Refused)[0].text


def test_who_waits_for_nodes_is_not_refused() -> None:
    """It runs when one comes that can."""
    cluster = ready()
    cluster.submit(many(1, kind("train", {"gpu": 1})), wait_for_nodes=True)
    cluster.wait(1.0)
    cluster.join("n2", gpu=1)
    assert cluster.plans("n2") == [0]


def test_more_tasks_than_the_coordinator_holds_are_refused() -> None:
    """With the number, and what the limit is called."""
    cluster = Cluster(tasks_max=10).client().join("n1")
    cluster.submit(many(8))
    cluster.hear("client", Submit(4, "more", many(3), body=b"work"))
    assert "tasks_max" in cluster.told(Refused)[0].text


def test_forget_ends_a_run_on_its_nodes() -> None:
    """Its results may go."""
    cluster = ready()
    run = cluster.submit(many(1))
    cluster.done(0)
    assert not cluster.told(EndRun)
    cluster.hear("client", Forget(run))
    assert [message.run for message in cluster.told(EndRun, "n1")] == [run]


def test_progress_is_told_but_not_too_often() -> None:
    """At most one each tenth of a second."""
    cluster = ready()
    cluster.submit(many(50))
    told = 0
    for task in range(40):
        cluster.now += 0.01
        cluster.done(task)
        told += len(cluster.told(Progress))
    assert 3 <= told <= 5


def test_output_goes_to_the_client_with_the_node_s_name() -> None:
    """What user code printed."""
    cluster = ready()
    run = cluster.submit(many(1))
    cluster.hear("n1", Output(run, ints([0]), ("stdout",), ("hello",)))
    assert cluster.told(Output, "client") == [Output(run, ints([0]), ("stdout",), ("hello",), "n1")]


def test_questions_are_answered_as_plain_data() -> None:
    """Nodes, runs, one run, its timeline."""
    cluster = Cluster().client().join("n1", cpu=2, memory=500)
    run = cluster.submit(many(2))
    cluster.done(0, seconds=0.25)

    def ask(topic: str, about: int = run) -> object:
        cluster.hear("client", Ask(5, topic, RunId(about)))
        [answer] = cluster.told(Answer)
        return answer.data

    [node] = ask("nodes")
    assert (node["name"], node["state"], node["capacity"]) == ("n1", "ready", {"cpu": 2.0, "memory": 500.0})
    [line] = ask("runs")
    assert (line["run"], line["done"], line["total"], line["state"], line["client"]) == (run, 1, 2, "running", "client")
    assert ask("run")["waits_for"] == ""
    timeline = ask("timeline")
    assert (timeline["task"], timeline["node"], timeline["seconds"]) == ([0], ["n1"], [0.25])
    assert timeline["stays"] == [["n1", 0.0, 0.0, 2.0]]
    graph = ask("graph")
    assert ([each["name"] for each in graph["kinds"]], graph["kind"], graph["fan_in"], graph["inputs"]) == (["work"], [0, 0], [0, 0], [])
    cluster.hear("client", Ask(6, "run", RunId(99)))
    assert "no run 99" in cluster.told(Refused)[0].text
    cluster.hear("client", Cancel(run))
    assert ask("runs")[0]["state"] == "cancelled"


def test_a_timeline_says_who_ran_a_task_and_since_when_it_waited() -> None:
    """What the node reports beside durations, and the moment of the plan."""
    cluster = ready()
    cluster.now = 0.5
    run = cluster.submit(many(2))
    for now, task, worker, seconds, waited in ((1.5, 0, 4, 0.5, 0.25), (2.0, 1, 2, 0.25, 0.125)):
        cluster.now = now
        columns = (ints([task]), ints([1]), longs([1]), floats([seconds]), floats([0.0]))
        cluster.hear("n1", Report(run, *columns, 0, ints([worker]), floats([waited])))
    cluster.hear("client", Ask(5, "timeline", run))
    [answer] = cluster.told(Answer)
    assert {name: answer.data[name] for name in ("task", "worker", "waited", "started")} == {
        "task": [0, 1], "worker": [4, 2], "waited": [0.25, 0.125], "started": [0.5, 1.25]}
    assert answer.data["planned"] == [0.0, 1.0]   # there was no room for the second before


def test_nothing_starts_before_its_inputs_end() -> None:
    """A report that comes late makes its task look late; what takes its result is moved behind it."""
    cluster = Cluster().client().join("n1")
    run = cluster.submit(chain(2))
    cluster.now = 1.0
    cluster.done(0, seconds=0.5)
    cluster.now = 1.25
    cluster.done(1, seconds=0.5)
    cluster.hear("client", Ask(5, "timeline", run))
    [answer] = cluster.told(Answer)
    assert answer.data["started"] == [0.5, 1.0]


def test_a_detached_run_can_be_attached_to() -> None:
    """The new client gets ids, outputs, the nodes that work for it, and the end."""
    cluster = ready()
    run = cluster.submit(many(2), detach=True, ids=b"names")
    cluster.lose("client")
    cluster.client("second")
    cluster.hear("second", Ask(1, "attach", run))
    [answer] = cluster.told(Answer, "second")
    assert answer.data == {"name": "story", "ids": b"names", "total": 2, "outputs": [0, 1], "state": "running"}
    assert [list(message.nodes) for message in cluster.told(Placed, "second")] == [[cluster.peers["n1"]]]
    cluster.finish(run)
    assert any(isinstance(message, RunDone) for name, message in cluster.said if name == "second")


def test_a_run_that_is_taken_over_is_not_waited_for_in_vain() -> None:
    """Its former client is told; one that is not detached can't be taken over at all."""
    cluster = ready()
    cluster.client("second")
    run = cluster.submit(many(1), detach=True)
    cluster.hear("second", Ask(1, "attach", run))
    assert [message.code for message in cluster.told(RunFailed, "client")] == ["ExecutionError"]
    cluster.finish(run)
    own = cluster.submit(many(1))
    cluster.hear("second", Ask(2, "attach", own))
    assert "not detached" in cluster.told(Refused, "second")[0].text
    cluster.finish(own)
    assert [message.run for name, message in cluster.said if name == "client" and isinstance(message, RunDone)] == [own]


@pytest.mark.parametrize("who", ["client", "second"])
def test_outputs_that_were_lost_before_somebody_attached_are_made_again(who: str) -> None:
    """Whoever had the run let go of it, or has got them: nobody else would say that they are missing."""
    cluster = ready()
    cluster.client("second")
    run = cluster.submit(many(2), detach=True)
    cluster.finish(run)
    cluster.lose("n1")
    cluster.join("n2", cpu=2)
    assert not cluster.scheduler.ledger.runs[run].planned     # as far as is known nobody misses them
    cluster.hear(who, Ask(1, "attach", run))
    assert cluster.where(0, run) == cluster.where(1, run) == "n2"
    before = len(cluster.said)
    cluster.finish(run)
    assert [name for name, message in cluster.said[before:] if isinstance(message, RunDone)] == [who]


def test_a_detached_run_that_failed_meanwhile_says_so_to_who_attaches() -> None:
    """Its failure is kept."""
    cluster = ready()
    run = cluster.submit(many(1, kind(max_retries=0)), detach=True)
    cluster.lose("client")
    cluster.fail(0, type="ValueError")
    cluster.client("second")
    cluster.hear("second", Ask(1, "attach", run))
    assert cluster.told(Answer)[0].data["state"] == "failed" and cluster.told(RunFailed, "second")[0].type == "ValueError"


def test_a_detached_run_that_failed_says_so_until_somebody_has_heard_of_it() -> None:
    """Its client is there, but has perhaps let go of it: only who hears of the failure says Forget."""
    cluster = ready()
    run = cluster.submit(many(1, kind(max_retries=0)), detach=True)
    cluster.fail(0, type="ValueError")
    cluster.hear("client", Ask(1, "attach", run))
    assert [failed.type for failed in cluster.told(RunFailed)] == ["ValueError"]
    cluster.hear("client", Forget(run))
    cluster.hear("client", Ask(2, "attach", run))
    assert "nothing else of it is kept" in cluster.told(Refused)[0].text


def test_waiting_is_explained() -> None:
    """No node has room: which resource, for what."""
    cluster = Cluster(suspect_seconds=100, lost_seconds=200).client().join("n1", cpu=1, gpu=1)
    cluster.submit(many(1, kind("long", {"gpu": 1})))
    second = cluster.submit(many(1, kind("train", {"gpu": 1})))
    cluster.hear("client", Ask(5, "run", second))
    assert "gpu=1" in cluster.told(Answer)[0].data["waits_for"] and "train" in cluster.told(Answer)[0].data["waits_for"]


def test_first_fit_takes_the_first_node_by_name() -> None:
    """An allocator in a dozen lines, behind the same protocol."""
    cluster = Cluster(FirstFit()).client().join("b", cpu=2).join("a", cpu=2)
    run = cluster.submit(many(3))
    assert (cluster.plans("a"), cluster.plans("b")) == ([0, 1], [2])
    cluster.finish(run)


def test_first_fit_prefers_the_machine_that_the_client_is_on() -> None:
    """This machine first, then others by name, each run by where its own client is."""
    cluster = Cluster(FirstFit()).client("near", host="10.0.0.7").client("local", host="::1").client("far", host="10.0.0.99")
    for name, host in (("a", "10.0.0.1"), ("b", "127.0.0.1"), ("c", "10.0.0.7"), ("d", "::ffff:10.0.0.7")):
        cluster.join(name, host=host)
    for client, order in (("near", "cdab"), ("local", "bacd"), ("far", "abcd")):
        run = cluster.submit(many(4), client)
        assert [cluster.where(task, run) for task in range(4)] == list(order)
        cluster.finish(run)


def test_first_fit_places_pinned_functions_first() -> None:
    """Though another is more urgent: it has the choice."""
    cluster = Cluster(FirstFit()).client().join("a").join("b")
    run = cluster.submit(program([(kind("any", priority=3), ()), (kind("pinned", node="a"), ())]))

    assert (cluster.where(0, run), cluster.where(1, run)) == ("b", "a")


class Silly:
    """Places what it may not place."""

    def __init__(self, how: str) -> None:
        self.how = how

    def allocate(self, now: float, desk: Desk) -> None:
        for offer in desk.offers():
            if self.how == "wrong node":
                desk.place(offer, next(node for node in desk.nodes if node.name == "small"))
            elif self.how == "twice":
                desk.place(offer, desk.nodes[-1])
                desk.place(offer, desk.nodes[-1])
            else:
                raise KeyError("oops")


@pytest.mark.parametrize("how", ["wrong node", "twice", "raises"])
def test_a_silly_allocator_does_no_harm(how: str) -> None:
    """Its answers are checked; the default one takes over where it is wrong."""
    cluster = Cluster(Silly(how)).client().join("small", cpu=1).join("large", cpu=4)
    run = cluster.submit(many(4, kind("big", {"cpu": 2})))
    cluster.finish(run)
    assert {cluster.where(task) for task in range(4)} == {"large"}


def test_a_submit_of_an_unknown_peer_is_not_heard() -> None:
    """Who has not joined says nothing."""
    cluster = ready()
    cluster.names[99], cluster.peers["ghost"] = "ghost", 99
    cluster.hear("ghost", Submit(1, "x", many(1), body=b"work"))
    assert not cluster.told(Accepted) and cluster.last == []




def test_a_run_of_which_a_peer_could_not_be_told_fails_alone() -> None:
    """A plan is more than a message may hold: that run ends with a sentence, the other goes on, and gets the code that never came."""
    cluster = ready().join("n2")
    run = cluster.submit(many(4))
    plan = next(message for name, message in cluster.last if isinstance(message, Plan) and name == "n1")
    cluster.do(Unsaid(cluster.peers["n1"], plan, "Plan has 9 bytes"))
    assert cluster.told(RunFailed, "client") == [
        RunFailed(run, "ProtocolError", "the run is too large to be told of: Plan has 9 bytes; split the graph")]

    other = cluster.submit(many(4))
    assert [bool(message.codes) for message in cluster.last_plans()] == [True, False]
    cluster.do(Unsaid(cluster.peers["n1"], DropCode((b"x",)), "DropCode has 9 bytes"))     # of no run
    cluster.finish(other)
    assert cluster.told(RunDone, "client")


def test_code_that_was_not_told_is_told_with_the_next_plan() -> None:
    """Another run has the same code, so it is not dropped: the node must not be thought to have it."""
    cluster = ready()
    first = cluster.submit(many(1))
    plan = cluster.last_plans()[0]
    cluster.submit(many(1))
    cluster.do(Unsaid(cluster.peers["n1"], plan, "Plan has 9 bytes"))
    assert [message.run for message in cluster.told(EndRun, "n1")] == [first]
    assert [message.codes for message in cluster.last_plans()] == [plan.codes]


def test_what_calls_no_code_may_be_named_anything() -> None:
    """Such as a value that a client brings: it goes by its name, in a submission as in a question, and a name may be no text."""
    cluster = ready()
    cluster.submit(program([(kind("of \udcff", flags=Flag.OBJECT | Flag.OUTPUT), ())]))
    cluster.hear("client", Ask(3, "outlook", codes=((),), names=("of \udcff",)))
    assert cluster.told(Answer)[0].data["functions"][0]["name"] == "of \udcff"


def test_of_detached_runs_that_failed_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may ever ask for them, and each of them may have a million tasks: those that were kept for longest make room."""
    monkeypatch.setattr(past, "FAILED_BYTES_MAX", 10_000)
    cluster = Cluster().join("n1")
    runs = []
    for number in range(5):
        cluster.client(f"c{number}")
        runs.append(cluster.submit(many(1000, kind(max_retries=0)), f"c{number}", detach=True, ids=b"i" * 500))
        cluster.lose(f"c{number}")
        cluster.fail(0, run=runs[-1])
    kept = cluster.scheduler.ledger.past
    assert list(kept.failed) == runs[3:]     # 4,500 bytes each, and a sentence

    cluster.client("late")
    cluster.hear("late", Ask(1, "attach", runs[0]))
    assert "is over (failed), and nothing else of it is kept" in cluster.told(Refused)[0].text
    cluster.hear("late", Ask(2, "attach", runs[4]))
    assert cluster.told(Answer)[0].data["outputs"] == list(range(1000)) and cluster.told(RunFailed)[0].run == runs[4]
    for run in runs:
        cluster.hear("late", Forget(run))
    assert not kept.failed and kept._failed_bytes == 0


def test_a_run_keeps_the_name_of_a_client_that_is_gone() -> None:
    """It is over with its client, or later, being detached; who lists the runs is told whose they were, and which were single calls."""
    cluster = Cluster().client("old").client().join("n1", cpu=4)
    over, detached = cluster.submit(many(1), client="old", values_only=True), cluster.submit(many(1), client="old", detach=True)
    cluster.lose("old")
    cluster.hear("client", Cancel(detached))
    cluster.hear("client", Ask(9, "runs"))
    lines = {line["run"]: line for line in cluster.told(Answer)[0].data}
    assert [(lines[run]["client"], lines[run]["state"], lines[run]["is_call"]) for run in (over, detached)] == [
        ("old", "cancelled", True), ("old", "cancelled", False)]
