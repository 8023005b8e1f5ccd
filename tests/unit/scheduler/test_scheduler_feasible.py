"""What can never run is refused at once, with what the nearest nodes have; what may wait says what for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from scheduler_story import Cluster, Plan, RunFailed, kind, many, program

from handoff.ids import RunId
from handoff.messages import Alive, Drain, Forget
from handoff.program import Flag, Kind
from handoff.resources import SCALE, amounts
from handoff.scheduler import views


def cluster(shared: Mapping[str, float] | None = None, **nodes: tuple[Mapping[str, Any], Mapping[str, str]]) -> Cluster:
    """Nodes with what they offer and their labels; a client; what all share."""
    made = Cluster(shared=shared, node_timeout_seconds=2.0).client()
    for name, (capacity, labels) in nodes.items():
        made.join(name, labels=labels, offers=capacity)
    return made


def labelled(cost: Mapping[str, Any] | None = None, where: Mapping[str, str] | None = None, others: Sequence[Mapping[str, Any]] = (),
             **fields: Any) -> Kind:
    """A kind with labels and alternatives."""
    return kind(cost=cost, where=tuple(sorted((where or {}).items())), alternatives=tuple(map(amounts, others)), **fields)


HOUSE: dict[str, tuple[Mapping[str, Any], Mapping[str, str]]] = {
    "alpha": ({"cpu": 4, "memory": 100}, {"zone": "north", "arch": "arm"}),
    "beta": ({"cpu": 2, "gpu": 2, "gpu:a100": 2, "gpu_memory": 80}, {"zone": "south"}),
    "gamma": ({"cpu": 1, "license": 1}, {}),
    "tiny": ({"cpu": 0.5}, {}),
}
HINT = "Ask for less, start a node that has it, or run it in a graph with wait_for_nodes=True"


@pytest.mark.parametrize(("what", "text"), [
    (labelled({"cpu": 8}),
     f"work needs cpu=8, which no node can ever offer; nearest: 'alpha' (cpu=4), 'beta' (cpu=2), 'gamma' (cpu=1). {HINT}"),
    (labelled({"cpu": 3, "license": 1}),
     "work needs cpu=3, license=1, which no node can ever offer; nearest: 'gamma' (cpu=1), 'alpha' (license=0), 'beta' (cpu=2, license=0). "
     f"{HINT}"),
    (labelled({"licence": 1}),
     "work needs licence=1, which no node can ever offer; nearest: 'alpha' (licence=0), 'beta' (licence=0), 'gamma' (licence=0); "
     f"no node has any licence (did you mean license?). {HINT}"),
    (labelled({"memory": 2e9}),
     "work needs memory=2000000000, which no node can ever offer; nearest: 'alpha' (memory=100), 'beta' (memory=0), 'gamma' (memory=0); "
     f'memory is said in MB, or as a size such as "2 GiB". {HINT}'),
    (labelled({"CPU": 1}),
     "work needs CPU=1, which no node can ever offer; nearest: 'alpha' (CPU=0), 'beta' (CPU=0), 'gamma' (CPU=0); "
     f"no node has any CPU (did you mean cpu?). {HINT}"),
    (labelled(where={"zone": "North"}),
     "work needs cpu=1 on a node where zone=North, which no node can ever offer; nearest: 'alpha' (zone=north), 'beta' (zone=south), "
     f"'gamma' (no label zone); no node has zone=North (did you mean north?). {HINT}"),
    (labelled({"gpu:h100": 1}),
     "work needs gpu:h100=1, which no node can ever offer; nearest: 'alpha' (gpu:h100=0), 'beta' (gpu:h100=0), 'gamma' (gpu:h100=0); "
     f"no node has any gpu:h100 (did you mean gpu:a100?). {HINT}"),
    (labelled({"gpu": 4}, others=[{"cpu": 16}]),
     "work needs gpu=4 or else cpu=16, which no node can ever offer; nearest: 'beta' (gpu=2 or else cpu=2), 'alpha' (gpu=0 or else cpu=4), "
     f"'gamma' (gpu=0 or else cpu=1). {HINT}"),
    (labelled({"gpu": 0.5, "gpu_memory": 60}),
     "work needs gpu=0.5, gpu_memory=60, which no node can ever offer; nearest: 'beta' (gpu_memory=40 on each GPU), "
     f"'alpha' (gpu=0, gpu_memory=0), 'gamma' (gpu=0, gpu_memory=0). {HINT}"),
    (labelled(where={"zone": "west"}),
     "work needs cpu=1 on a node where zone=west, which no node can ever offer; nearest: 'alpha' (zone=north), 'beta' (zone=south), "
     f"'gamma' (no label zone); no node has zone=west (there is north, south). {HINT}"),
    (labelled(where={"zoen": "north"}),
     "work needs cpu=1 on a node where zoen=north, which no node can ever offer; nearest: 'alpha' (no label zoen), 'beta' (no label zoen), "
     f"'gamma' (no label zoen); no node has a label zoen (did you mean zone?). {HINT}"),
    (labelled({"cpu": 3}, where={"zone": "south"}),
     "work needs cpu=3 on a node where zone=south, which no node can ever offer; nearest: 'beta' (cpu=2), 'alpha' (zone=north), "
     f"'gamma' (cpu=1, no label zone). {HINT}"),
    (labelled(where={"zone": "south"}, node="alpha"),
     "work is pinned to node 'alpha', which its where (zone=south) excludes: that node has zone=north. Leave out one of the two"),
    (labelled({"cpu": 3}, node="beta"),
     "work needs cpu=3 on node 'beta', which it is pinned to; that node offers cpu=2. Ask for less, or pin it to another node"),
])
def test_what_no_node_can_ever_run_is_refused(what: Kind, text: str) -> None:
    """The function, all that it asks for, and what each of the nearest nodes has of what it lacks."""
    with pytest.raises(RuntimeError) as caught:
        cluster(**HOUSE).submit(many(1, what))
    assert str(caught.value) == f"AllocationError: {text}"


@pytest.mark.parametrize(("what", "text"), [
    (labelled({"cluster:license": 6}),
     "work needs cluster:license=6, but the whole cluster has cluster:license=5. Ask for less, or start its coordinator with more"),
    (labelled({"cpu": 1, "cluster:licence": 1}),
     "work needs cluster:licence=1, cpu=1, but the whole cluster has no licence (did you mean license?). Declare it where the "
     "coordinator is started: handoff coordinator --resource licence=1"),
])
@pytest.mark.parametrize("options", [{}, {"wait_for_nodes": True}])
def test_what_the_cluster_can_never_give_is_refused(what: Kind, text: str, options: dict[str, Any]) -> None:
    """Also while no node is there, and also to who would wait for nodes: none of them could bring it."""
    for nodes in (HOUSE, {}):
        with pytest.raises(RuntimeError) as caught:
            cluster({"license": 5}, **nodes).submit(many(1, what), **options)
        assert str(caught.value) == f"AllocationError: {text}"


def test_each_of_several_costs_is_named_when_none_can_be_met() -> None:
    """With what the whole cluster lacks of it; and of a group, all that its members could take together."""
    with pytest.raises(RuntimeError) as caught:
        cluster(**HOUSE).submit(many(1, labelled({"cluster:lic": 1}, others=[{"cpu": 99}])))
    assert "work needs cluster:lic=1 or else cpu=99, which no node can ever offer" in str(caught.value)
    assert "the whole cluster has no cluster:lic" in str(caught.value)
    two, choice = kind("two", {"gpu": 2}), labelled({"tapes": 1}, others=[{"cpu": 3}])
    with pytest.raises(RuntimeError) as caught:
        cluster(**HOUSE).submit(program([(two, ()), (choice, ())], groups=[(0, 1)]))
    assert "needs gpu=2" in str(caught.value)
    with pytest.raises(RuntimeError) as caught:
        cluster(a=({"cpu": 2, "gpu": 2}, {}), b=({"cpu": 3}, {})).submit(program([(two, ()), (choice, ())], groups=[(0, 1)]))
    assert "needs gpu=2, tapes=1 or else cpu=3, gpu=2, which" in str(caught.value)


def test_a_node_that_could_have_a_cost_but_for_the_whole_cluster_says_what_that_lacks() -> None:
    """Each node has the core, the cluster has too few licences: not that the node has not all of it in one place."""
    with pytest.raises(RuntimeError) as caught:
        cluster({"license": 5}, **HOUSE).submit(many(1, labelled({"cpu": 1, "cluster:license": 6}, others=[{"cpu": 99}])))
    assert "nearest: 'alpha' (cluster:license=5 or else cpu=" in str(caught.value)


def test_labels_that_another_of_the_group_asks_for_are_those_of_the_group() -> None:
    """There are nodes with that label, but without a GPU: who asked for the GPU did not ask for the label."""
    two = labelled({"gpu": 1}, where={"zone": "south"})     # joined when the graph was lowered
    with pytest.raises(RuntimeError) as caught:
        cluster(a=({"cpu": 2, "gpu": 2}, {"zone": "north"}), b=({"cpu": 3}, {"zone": "south"})).submit(
            program([(two, ()), (labelled(where={"zone": "south"}), ())], groups=[(0, 1)]))
    assert "work with what is collocated with it needs gpu=1 on a node where zone=south, which no node can ever offer" in str(caught.value)


def test_one_alternative_that_can_be_met_is_enough() -> None:
    """It runs with the one that fits."""
    house = cluster(**HOUSE)
    run = house.submit(many(2, labelled({"gpu": 8}, others=[{"cluster:none": 1}, {"cpu": 2}])))

    assert sorted(house.plans()) == [0, 1]
    assert {tuple(plan.choices) for plan in house.last_plans()} <= {(0, 1), (1, 1), (0, 1, 1, 1)}
    house.finish(run)


def test_who_waits_for_nodes_says_what_for_and_goes_on_when_it_comes() -> None:
    """The sentence of the refusal is what status shows, but for the advice to wait."""
    house = cluster(**HOUSE)
    run = house.submit(many(1, labelled({"cpu": 1}, where={"zone": "west"})), wait_for_nodes=True)
    ledger = house.scheduler.ledger

    assert views.waits_for(ledger, ledger.runs[run]).startswith("work needs cpu=1 on a node where zone=west, which no node can ever offer")
    assert views.waits_for(ledger, ledger.runs[run]).endswith("start a node that has it")   # it need not be told to wait
    assert views.run_line(ledger, ledger.runs[run], 0.0)["waits_for"] == views.waits_for(ledger, ledger.runs[run])
    house.join("late", labels={"zone": "west"}, offers={"cpu": 1})
    assert house.where(0) == "late"
    assert views.waits_for(ledger, ledger.runs[run]) == ""


def test_a_group_needs_a_node_for_all_of_it() -> None:
    """With all labels, and each member's cost, though not at once."""
    where = (("zone", "north"),)
    members = [(kind("a", {"cpu": 3}, where=where), ()), (kind("b", {"license": 1}, where=where), ())]
    house = cluster(a=({"cpu": 4}, {"zone": "north"}), b=({"cpu": 1, "license": 1}, {"zone": "north"}), c=({"cpu": 4, "license": 1}, {}))
    with pytest.raises(RuntimeError) as caught:
        house.submit(program(members, groups=[[0, 1]]))
    assert str(caught.value) == (
        "AllocationError: a with what is collocated with it needs cpu=3, license=1 on a node where zone=north, which no node can "
        f"ever offer; nearest: 'b' (cpu=1), 'a' (license=0), 'c' (no label zone). {HINT}")
    with pytest.raises(RuntimeError, match="AllocationError: a with what is collocated with it needs cpu=1 on a node where zone=west, "):
        house.submit(program([(kind(each, where=(("zone", "west"),)), ()) for each in "ab"], groups=[[0, 1]]))   # of one, or of the other
    with pytest.raises(RuntimeError, match="AllocationError: b needs cpu=9 on a node where zone=north, "):
        house.submit(program([(kind("a", where=where), ()), (kind("b", {"cpu": 9}, where=where), ())], groups=[[0, 1]]))
    house.join("d", labels={"zone": "north"}, offers={"cpu": 3, "license": 1})
    run = house.submit(program(members, groups=[[0, 1]]))
    house.finish(run)
    assert {house.where(0), house.where(1)} == {"d"}


# ── placing goes by it ──────────────────────────────────────────────────────


def test_labels_choose_the_nodes() -> None:
    """However many tasks, short or long, with inputs or without, pinned or following one another."""
    house = cluster(a=({"cpu": 8}, {"zone": "x"}), b=({"cpu": 1}, {"zone": "y", "arch": "arm"}), c=({"cpu": 1}, {"zone": "y"}))
    on_y, on_arm = labelled(where={"zone": "y"}), labelled(where={"zone": "y", "arch": "arm"}, name="arm")
    tasks = [(on_y, ())] * 6 + [(on_arm, (number,)) for number in range(6)] + [(kind("any"), ())]
    run = house.submit(program(tasks))
    house.finish(run)

    assert {house.where(task) for task in range(6)} == {"b", "c"}
    assert {house.where(task) for task in range(6, 12)} == {"b"}
    assert house.where(12) == "a"


def test_a_pinned_node_that_comes_without_the_label_is_not_used() -> None:
    """When it was absent at submit nobody could tell; then the run waits, and fails with the contradiction."""
    house = cluster(a=({"cpu": 1}, {}))
    run = house.submit(many(1, labelled(where={"zone": "x"}, node="late")))
    house.join("late", labels={"zone": "y"}, offers={"cpu": 4})

    assert house.plans() == []
    house.wait(2.5)
    assert [(failed.run, failed.code, failed.text.partition(";")[0]) for failed in house.told(RunFailed)] == [
        (run, "AllocationError", "work is pinned to node 'late', which its where (zone=x) excludes: that node has zone=y. "
                                 "Leave out one of the two")]


def test_parts_of_gpus_are_planned_as_one_gpu_surely_holds_them() -> None:
    """Of 0.6 one on each GPU, of 0.3 three; of a kind no more than there are, whoever asks for any."""
    for cost, expected in (({"gpu": 0.6}, 2), ({"gpu": 0.3}, 6), ({"gpu:a100": 1}, 2), ({"gpu": 1}, 2), ({"gpu:a100": 0.5}, 4)):
        house = cluster(n=({"gpu": 2, "gpu:a100": 2, "cpu": 1}, {}))
        house.submit(many(9, kind(cost=cost)))
        assert len(house.plans()) == expected, cost


# ── what the whole cluster shares ───────────────────────────────────────────


def licensed(count: int = 1, **fields: Any) -> Kind:
    """Needs so many licences."""
    return kind(cost={"cpu": 1, "cluster:license": count}, **fields)


def free(of: Cluster) -> int:
    """Licences that nobody has."""
    return of.scheduler.ledger.cluster.free["license"] // 10_000


def test_no_more_run_than_the_cluster_has_licences() -> None:
    """However many nodes have room; each end lets the next one start."""
    house = cluster({"license": 2}, **{f"n{number}": ({"cpu": 4}, {}) for number in range(3)})
    run = house.submit(many(6, licensed()))

    assert (len(house.plans()), free(house)) == (2, 0)
    first = house.plans()
    house.done(first[0])
    assert (len(house.plans()), free(house)) == (1, 0)
    house.finish(run)
    assert free(house) == 2


def test_short_functions_do_not_run_ahead_of_their_licences() -> None:
    """Planned ahead they would hold what others need while they wait for inputs."""
    house = cluster({"license": 1}, n=({"cpu": 4}, {}), m=({"cpu": 4}, {}))
    chain = program([(licensed(), (number - 1,) if number else ()) for number in range(20)])
    run = house.submit(chain)
    for task in range(20):
        assert house.plans() == [task]
        house.done(task, seconds=0.0001)
    assert house.scheduler.ledger.runs[run].is_over
    assert free(house) == 1


def test_licences_come_back_however_a_task_ends() -> None:
    """Failure, a node that is lost, a run that is cancelled, a task that may not run again."""
    house = cluster({"license": 3}, n=({"cpu": 2}, {}), m=({"cpu": 2}, {}))
    run = house.submit(many(3, licensed(max_retries=5)))
    assert free(house) == 0
    house.fail(0)
    assert free(house) == 1
    house.lose(house.where(1))
    assert free(house) in (0, 1, 2)
    house.finish(run)
    assert free(house) == 3
    house.submit(many(1, licensed(3, name="all")))
    assert free(house) == 0
    house.lose("client")
    assert free(house) == 3


def test_a_run_that_is_lost_with_its_node_gives_back_what_it_had() -> None:
    """Its task may not run again, so it is never taken back from the node that is gone."""
    house = cluster({"license": 1}, n=({"cpu": 1}, {}), m=({"cpu": 1}, {}))
    house.submit(many(1, licensed(max_retries=0)))
    house.lose(house.where(0))

    assert [failed.code for failed in house.told(RunFailed)] == ["NodeLost"]
    assert free(house) == 1


def test_what_was_taken_back_keeps_its_licence_until_its_end_is_heard() -> None:
    """It may still run where it was: a second one would be one too many."""
    house = cluster({"license": 1}, n=({"cpu": 1}, {}), m=({"cpu": 1}, {}))
    run = house.submit(many(2, licensed()))
    ledger, first = house.scheduler.ledger, house.where(0)
    table = ledger.runs[run]
    ledger.take_back(table, 0)
    house.scheduler.check()
    ledger.consider(table, 0)
    ledger.touch(table)
    house.wait(0.001)

    assert (free(house), house.plans()) == (0, [])
    assert ledger.lay_ghost(table, house.peers[first], 0)
    assert free(house) == 1


def test_a_large_need_is_not_starved_by_small_ones() -> None:
    """What becomes free is kept for it once it has waited long, though small tasks without end would take each bit."""
    house = cluster({"license": 2}, n=({"cpu": 8}, {}))
    small, large = licensed(1, name="small"), licensed(2, name="large")
    house.submit(many(200, small))
    run = house.submit(many(1, large))
    held, ended = [0, 1], 0
    while (run, 0) not in house.planned and ended < 20:
        house.now += 0.5
        house.done(held.pop(0), seconds=0.5)
        ended += 1
        held += house.plans() if (run, 0) not in house.planned else []
    assert (ended < 20, free(house)) == (True, 0)


def test_status_says_which_licence_is_waited_for() -> None:
    """Where another run has them all."""
    house = cluster({"license": 1}, n=({"cpu": 4}, {}))
    house.submit(many(1, licensed()))
    run = house.submit(many(1, licensed()))

    ledger = house.scheduler.ledger
    assert views.waits_for(ledger, ledger.runs[run]) == "work waits for cluster:license=1, which others of the cluster have now"


def test_a_choice_of_costs_takes_what_has_room() -> None:
    """The preferred cost first; each is booked as what it is, and comes back as that."""
    house = cluster({"license": 1}, n=({"cpu": 4, "gpu": 1}, {}), m=({"cpu": 4}, {}))
    what = labelled({"gpu": 1}, others=[{"cpu": 2, "cluster:license": 1}, {"cpu": 4}])
    run = house.submit(many(4, what))
    ledger = house.scheduler.ledger

    assert (sorted(house.plans()), free(house)) == ([0, 1, 2], 0)
    table = ledger.runs[RunId(run)]
    assert dict(sorted(table.choices.items())) == {1: 1, 2: 2}
    house.done(1)
    assert free(house) == 0
    assert table.choices == {2: 2, 3: 1}
    house.finish(run)
    assert free(house) == 1
    assert all(not any(node.committed.values()) for node in ledger.nodes.values())


def test_objects_need_no_labels() -> None:
    """A value that the client uploads lies wherever there is a node."""
    house = cluster(a=({"cpu": 1}, {"zone": "x"}))
    value = kind("value", {}, flags=Flag.OBJECT)
    run = house.submit(program([(value, ()), (labelled(where={"zone": "x"}), (0,))]))

    assert house.where(0) == "a"
    house.finish(run)


def test_nodes_that_are_restarted_one_after_the_other_fail_no_run() -> None:
    """Each is back in time. That the run lacked one of them all the while is not what it is given up for."""
    made = Cluster(suspect_seconds=100, lost_seconds=200, node_timeout_seconds=5).client()
    made.join("a", gpu=1, cpu=1).join("b", cpu=4)
    run = made.submit(program([(kind("train", {"gpu": 1}), ()), (kind("sort", {"cpu": 4}), ())]))
    made.lose("a")
    made.wait(4.0)
    made.lose("b")
    made.join("a", gpu=1, cpu=1)
    made.wait(4.0)
    made.join("b", cpu=4)
    made.wait(20.0)
    assert not made.told(RunFailed)
    made.finish(run)


def test_a_run_is_given_up_for_the_node_that_it_waited_for() -> None:
    """Another one that is away for a moment just then is neither named nor a reason to wait longer."""
    made = Cluster(suspect_seconds=100, lost_seconds=200, node_timeout_seconds=5).client().join("n1")
    made.submit(program([(kind("first", node="absent"), ()), (kind("second", max_retries=3), ())]))
    made.wait(4.0)
    made.lose("n1")
    made.wait(1.5)
    [failed] = made.told(RunFailed)
    assert failed.code == "NodeTimeout"
    assert failed.text == "first waits for node 'absent', which is not there; no node is present; waited 5 s"


def test_a_run_is_given_up_for_a_group_of_which_some_are_done() -> None:
    """No node can have the rest of it together: however many come that could have one each."""
    made = Cluster(suspect_seconds=100, lost_seconds=200, node_timeout_seconds=5).client().join("all", cpu=1, gpu=1, tapes=1)
    costs = ({"cpu": 1}, {"cpu": 1, "gpu": 1}, {"cpu": 1, "tapes": 1})
    kinds = [kind(f"part {number}", cost, max_retries=3) for number, cost in enumerate(costs)]
    made.submit(program([(each, ()) for each in kinds], groups=[(0, 1, 2)]))
    made.join("with gpu", cpu=1, gpu=1).join("with tapes", cpu=1, tapes=1)
    made.done(0, seconds=1.0)
    made.lose("all")
    for number in range(3):
        made.wait(1.0)
        made.join(f"other-{number}", cpu=1)
    made.wait(3.0)

    [failed] = made.told(RunFailed)
    assert failed.text.endswith("; waited 5 s")


def test_after_a_restart_of_the_coordinator_nodes_are_waited_for() -> None:
    """Who was let in by the former process is back: what only another node can do is no mistake, as long as that may be on its way."""
    made = Cluster(node_timeout_seconds=2.0, lost_seconds=10.0).join("client", "client", former=b"former").join("alpha")
    made.submit(many(1, labelled({"gpu": 1})))
    made.join("beta", offers={"gpu": 1})
    assert made.told(Plan, "beta")
    for _ in range(11):
        made.wait(1.0)
        for name in ("alpha", "beta"):
            made.hear(name, Alive())
    with pytest.raises(RuntimeError, match="no node can ever offer"):
        made.submit(many(1, labelled({"gpu": 2})))


def test_a_node_that_does_not_come_back_after_a_restart_is_given_up() -> None:
    """With the same sentence, a little later."""
    made = Cluster(node_timeout_seconds=2.0, lost_seconds=10.0).join("client", "client", former=b"former").join("alpha")
    made.submit(many(1, labelled({"gpu": 1})))
    made.wait(2.1)
    failed = made.told(RunFailed)[0]
    assert failed.code == "AllocationError" and "no node can ever offer" in failed.text and failed.text.endswith("; waited 2 s")


@pytest.mark.parametrize("leave", ["lost", "drained"])
def test_what_ran_before_is_refused_once_no_node_could_run_it(leave: str) -> None:
    """A call that comes again is not looked at as closely, while the node is there that took the one before it."""
    made = Cluster().join("n1", cpu=1, tapes=1).join("n2").client()
    again = many(1, kind(cost={"tapes": 1}))
    for number in (1, 2, 3):
        run = made.submit(again)
        assert made.where(0, run=number) == "n1"
        made.done(0, run=number)
        made.hear("client", Forget(run))
    if leave == "lost":
        made.lose("n1")
    else:
        made.hear("client", Drain("n1"))
    with pytest.raises(RuntimeError, match="AllocationError: work needs tapes=1"):
        made.submit(again)
    made.join("n3", cpu=1, tapes=1)
    assert made.where(0, run=made.submit(again)) == "n3"


def test_what_a_node_has_given_away_is_told_as_nothing() -> None:
    """Of each thing that it offers, whoever asks for nodes gets an amount."""
    made = Cluster().client().join("n1", cpu=1, tapes=2)
    made.hear("n1", Alive(free=amounts({"cpu": 1}), running=1))
    assert views.nodes(made.scheduler.ledger)[0]["free"] == {"cpu": 1.0, "tapes": 0.0}


@pytest.mark.parametrize(("cost", "has"), [
    ({"gpu_memory": 81}, 80), ({"gpu": 1, "gpu_memory": 81}, 80), ({"gpu:t4": 0.5, "gpu_memory": 17}, 16),
    ({"gpu": 2, "gpu_memory": 33}, 16),
])
def test_a_node_that_tells_of_each_gpu_gets_what_one_of_them_can_hold(cost: dict[str, float], has: int) -> None:
    """Of two kinds: the memory of both together would do, which no function gets; a little less is accepted."""
    offers = {"cpu": 1, "gpu": 2, "gpu:a100": 1, "gpu:t4": 1, "gpu_memory": 96}
    made = Cluster().client().join("n1", offers=offers, gpus=(("a100", 80 * SCALE), ("t4", 16 * SCALE)))
    with pytest.raises(RuntimeError, match="AllocationError") as caught:
        made.submit(many(1, kind(cost=cost)))
    assert f"nearest: 'n1' (gpu_memory={has} on each GPU)" in str(caught.value)
    made.submit(many(1, kind(cost={**cost, "gpu_memory": cost["gpu_memory"] - 1})))
