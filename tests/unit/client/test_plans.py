"""Plans of small graphs, whose placement and makespan can be worked out by hand; what if; kept as files."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planned import Outlook

from handoff import DAG, Argument, Function, Plan, Reference, collocated, errors
from handoff.client.lower import lower
from handoff.client.planning.followed import columns_of
from handoff.ids import PeerId
from handoff.machine import Joined
from handoff.messages import Hello
from handoff.resources import SCALE, amounts
from handoff.scheduler.first_fit import FirstFit

SOON = 0.005     # messages take so much of a plan at most, in these tests


def work(*data: Any) -> None:
    """It does nothing: nothing runs."""


def other(*data: Any) -> None:
    """Another one."""


def step(data: Any, source: str, target: str) -> Any:
    """Beside a producer."""


def wide(count: int, seconds: float = 1.0, **cost: float) -> DAG:
    """Independent functions."""
    dag = DAG("wide")
    for number in range(count):
        dag.add(Function(number, [], work, cost=cost or {"cpu": 1}, expected_seconds=seconds, expected_bytes=1000))
    return dag


def diamond() -> DAG:
    """One, then two beside each other, of 2 and 3 seconds, then one."""
    dag = DAG("diamond")
    dag.add(Function("top", [], work, expected_seconds=1.0, expected_bytes=10e6))
    dag.add(Function("left", ["top"], work, expected_seconds=2.0, expected_bytes=10e6))
    dag.add(Function("right", ["top"], work, expected_seconds=3.0, expected_bytes=10e6))
    dag.add(Function("end", ["left", "right"], work, expected_seconds=1.0, expected_bytes=0))
    return dag


def test_a_wide_graph_fills_its_nodes() -> None:
    """Six functions of a second on three cores take two."""
    plan = Outlook(a={"cpu": 2}, b={"cpu": 1}).plan(wide(6))
    assert plan.makespan == pytest.approx(2.0, abs=SOON) and plan.lower_bound == pytest.approx(2.0)
    assert sorted(plan.allocations.values()) == ["a"] * 4 + ["b"] * 2
    assert plan.bytes_moved == 0 and plan.unknown == () and plan.notes == ()


def test_a_chain_stays_on_its_node() -> None:
    """Nothing is moved, and the path is all of it."""
    dag = DAG("chain")
    for number in range(4):
        dag.add(Function(number, [number - 1] if number else [], work, expected_seconds=0.5, expected_bytes=50e6))
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(dag)
    assert len(set(plan.allocations.values())) == 1 and plan.bytes_moved == 0
    assert plan.makespan == pytest.approx(2.0, abs=SOON)
    assert [leg.name for leg in plan.critical_path] == ["0", "1", "2", "3"]


def test_a_diamond_over_two_nodes_moves_what_it_has_to() -> None:
    """10 MB at 100 MB/s, there for the shorter one, and back (or there) for the end, which is placed when its inputs exist."""
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(diamond())
    assert plan.allocations["top"] == plan.allocations["right"] != plan.allocations["left"]
    assert plan.allocations[Reference("top", DAG())] == plan.allocations["top"]
    assert plan.makespan == pytest.approx(5.1, abs=SOON)
    assert plan.bytes_moved == 20_000_000
    path = plan.critical_path
    assert [leg.name for leg in path] == ["top", "right", "end"]
    assert [leg.moving for leg in path] == pytest.approx([0.0, 0.0, 0.1], abs=SOON)
    assert sum(leg.running + leg.moving + leg.waiting for leg in path) == pytest.approx(plan.makespan)
    left = next(record for record in plan.timeline if record.function == "left")
    assert left.started == pytest.approx(1.1, abs=SOON)


def test_peak_memory_is_claims_and_results() -> None:
    """Two claims of 300 MB at once and, later, one beside the results of both."""
    dag = DAG()
    for name in ("x", "y"):
        dag.add(Function(name, [], work, cost={"cpu": 1, "memory": 300}, expected_seconds=1.0, expected_bytes=200e6))
    dag.add(Function("z", ["x", "y"], work, cost={"cpu": 1, "memory": 300}, expected_seconds=1.0, expected_bytes=0))
    assert Outlook(a={"cpu": 2, "memory": 1000}).plan(dag).peak_memory == {"a": pytest.approx(700.0)}


def test_results_of_the_last_function_of_a_node_count_too() -> None:
    """Nothing starts there after it: beside what runs, or alone, its result lies there all the same."""
    dag = DAG()
    dag.add(Function("x", [], work, node="a", cost={"cpu": 1, "memory": 100}, expected_seconds=1.0, expected_bytes=200e6))
    dag.add(Function("y", [], work, node="b", cost={"cpu": 1}, expected_seconds=1.0, expected_bytes=200e6))
    dag.add(Function("z", [], other, node="b", cost={"memory": 300}, expected_seconds=3.0, expected_bytes=0))
    plan = Outlook(a={"cpu": 1, "memory": 1000}, b={"cpu": 1, "memory": 1000}).plan(dag)
    assert plan.peak_memory == {"a": pytest.approx(200.0), "b": pytest.approx(500.0)}


def test_what_was_learned_is_believed() -> None:
    """Without a word of the user: mean seconds, and sizes that have to be moved."""
    dag = DAG()
    dag.add(Function("w", [], work, node="a"))
    dag.add(Function("o", ["w"], other, node="b"))
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).learned(dag, {"work": [2.0] * 20, "other": [1.0] * 20}, 50_000_000).plan(dag)
    assert plan.unknown == ()
    assert plan.makespan == pytest.approx(3.5, abs=SOON) and plan.bytes_moved == 50_000_000


def test_what_a_function_takes_counts_where_it_was_told_apart() -> None:
    """Large inputs take ten times as long as small ones."""
    dag = DAG()
    dag.add(Function("w", [], work, expected_seconds=1.0, expected_bytes=1000))
    dag.add(Function("v", [], work, expected_seconds=1.0, expected_bytes=10e6))
    dag.add(Function("small", ["w"], other))
    dag.add(Function("large", ["v"], other))
    outlook = Outlook(a={"cpu": 1})
    estimates = outlook.scheduler.ledger.estimates
    kind = next(kind for kind in lower(dag).program.kinds if kind.name == "other")
    function = estimates.of(kind.codes, kind.name)
    for _ in range(20):
        for seconds, taken in ((1.0, 1000), (10.0, 10_000_000)):
            function.observe_sized(seconds, taken)
            estimates.observe(function, [seconds], [100])
    timeline = {record.function: record.seconds for record in outlook.plan(dag).timeline}
    assert timeline["small"] == pytest.approx(1.0) and timeline["large"] == pytest.approx(10.0)


def test_each_cost_of_a_function_takes_its_own_time() -> None:
    """On the GPU it was ten times as quick as on cores: one waits for the GPU, or not, by when it would be done."""
    dag = DAG()
    for number in range(4):
        dag.add(Function(number, [], work, cost=[{"gpu": 1}, {"cpu": 4}]))
    outlook = Outlook(a={"cpu": 4, "gpu": 1})
    estimates = outlook.scheduler.ledger.estimates
    kind = next(iter(lower(dag).program.kinds))
    estimates.observe(estimates.of(kind.codes, kind.name), [1.0] * 20, [100] * 20)
    estimates.observe(estimates.of((*kind.codes, b"1"), kind.name), [10.0] * 20, [100] * 20)
    plan = outlook.plan(dag)
    assert plan.makespan == pytest.approx(4.0, abs=4 * SOON)
    slow = outlook.plan(DAG().add(Function("x", [], work, cost=[{"gpu": 2}, {"cpu": 4}])))
    assert slow.timeline[0].seconds == pytest.approx(10.0)


@pytest.mark.parametrize(("on_gpu", "on_core"), [(10.0, 0.01), (0.01, 10.0), (0.01, 0.01)])
def test_cores_and_gpus_of_a_node_do_not_wait_for_each_other(on_gpu: float, on_core: float) -> None:
    """A function that asks for a GPU alone keeps no core busy, long or short, and finds room beside busy cores."""
    dag = DAG()
    for number in range(4):
        dag.add(Function(("gpu", number), [], work, cost={"gpu": 1}, expected_seconds=on_gpu))
    for number in range(8):
        dag.add(Function(number, [], other, expected_seconds=on_core))
    plan = Outlook(a={"cpu": 4, "gpu": 2}).plan(dag)
    ends = {record.function: record.started + record.seconds for record in plan.timeline}
    assert max(ends["gpu", number] for number in range(4)) <= 2 * on_gpu + 0.05
    assert max(ends[number] for number in range(8)) <= 2 * on_core + 0.05


def test_a_faster_node_is_faster_in_the_plan() -> None:
    """Speeds are learned by the coordinator."""
    outlook = Outlook(slow={"cpu": 1}, quick={"cpu": 1})
    outlook.scheduler.ledger.by_name["quick"].declare_speed(4.0)
    plan = outlook.plan(wide(1, 2.0))
    assert plan.allocations == {0: "quick"} and plan.makespan == pytest.approx(0.5, abs=SOON)


def test_measured_links_are_as_fast_as_they_were_measured() -> None:
    """One pair is ten times as slow as the others are assumed to be."""
    outlook = Outlook(a={"cpu": 1}, b={"cpu": 1}, c={"cpu": 1})
    outlook.scheduler.ledger.links.observe("a", "b", 100e6, 10.0)
    outlook.scheduler.ledger.links.observe("b", "a", 900e6, 9.0)
    def across(source: str, target: str) -> DAG:
        dag = DAG()
        dag.add(Function("w", [], work, node=source, expected_seconds=1.0, expected_bytes=20e6))
        return dag.add(Function("o", ["w"], other, node=target, expected_seconds=1.0))

    assert outlook.plan(across("a", "b")).makespan == pytest.approx(4.0, abs=0.02)
    assert outlook.plan(across("b", "a")).makespan == pytest.approx(2.2, abs=0.02)


def test_functions_never_seen_are_named_and_guessed() -> None:
    """And the printout says so, with what was assumed."""
    dag = DAG("new").add(Function("w", [], work)).add(Function("o", [], other, expected_seconds=2.0))
    plan = Outlook(a={"cpu": 4}).plan(dag)
    assert plan.unknown == ("work",)
    assert "guessed: work never ran on this cluster, 1 s assumed" in str(plan)
    assert "guessed" not in str(Outlook(a={"cpu": 4}).learned(dag, {"work": [3.0]}).plan(dag))


def test_inline_and_hidden_tasks_are_planned_but_are_nobody_s_function() -> None:
    """A serializer and a large value have their place in the timeline, not among the allocations."""
    dag = DAG()
    dag.add(Function("w", [], work, [bytes(2_000_000)], expected_seconds=1.0))
    dag.add(Function("i", ["w"], other, type="inline"))
    dag.add(Function("o", [Argument("w", step), "i"], other, node="b", expected_seconds=1.0))
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(dag)
    assert set(plan.allocations) == {"w", "o"}
    assert len(plan.timeline) == 4
    upload = next(record for record in plan.timeline if record.worker == 0)
    assert upload.nbytes > 2_000_000 and upload.seconds == 0.0


def test_collocated_functions_share_their_node() -> None:
    """In the plan, too."""
    dag = wide(3)
    dag.add(Function("beside", [], work, node=collocated(2), expected_seconds=1.0))
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}, c={"cpu": 1}).plan(dag)
    assert plan.allocations["beside"] == plan.allocations[2]


def test_licences_of_the_cluster_hold_on_paper() -> None:
    """One at a time, however many cores there are."""
    plan = Outlook(cluster={"licence": 1}, a={"cpu": 8}).plan(wide(3, 1.0, **{"cpu": 1, "cluster:licence": 1}))
    assert plan.makespan == pytest.approx(3.0, abs=3 * SOON)


def test_coroutines_share_a_core_on_paper_as_they_do_on_nodes() -> None:
    """Functions that take nothing run four to a core, coroutines by the hundred."""
    async def waits() -> None:
        """It waits for something else."""

    def many(code: Any) -> DAG:
        dag = DAG()
        for number in range(40):
            dag.add(Function(number, [], code, cost={}, expected_seconds=1.0))
        return dag

    outlook = Outlook(a={"cpu": 2})
    assert outlook.plan(many(waits)).makespan == pytest.approx(1.0, abs=2 * SOON)
    assert outlook.plan(many(work)).makespan == pytest.approx(5.0, abs=5 * SOON)


def test_processes_and_gpus_of_a_node_count_on_paper_as_it_says_itself(tmp_path: Path) -> None:
    """It runs two functions of less than a core at once, and none has the memory of both of its GPUs; in a plan that was kept, too."""
    outlook, capacity = Outlook(), amounts({"cpu": 2, "gpu": 2, "gpu:a100": 1, "gpu:t4": 1, "gpu_memory": 96, "memory": 100})
    gpus = (("a100", 80 * SCALE), ("t4", 16 * SCALE))
    hello = Hello(1, "0", "3.11", "node", "a", b"a" * 16, address=("a", 1), capacity=capacity, processes=2, gpus=gpus)
    outlook.scheduler.handle(0.0, Joined(PeerId(1), hello))
    plan = outlook.plan(wide(8, memory=1))
    assert plan.makespan == pytest.approx(4.0, abs=4 * SOON)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json").basis.cluster == plan.basis.cluster
    with pytest.raises(errors.AllocationError, match="gpu_memory=80 on each GPU"):
        outlook.plan(wide(1, gpu_memory=81))


def test_a_limit_on_what_runs_at_once_is_kept() -> None:
    """As max_concurrency of a run."""
    assert Outlook(a={"cpu": 8}).plan(wide(4), max_concurrency=2).makespan == pytest.approx(2.0, abs=2 * SOON)


def test_other_allocators_can_be_tried() -> None:
    """By name, or a class of one's own; names that mean nothing are refused."""
    outlook = Outlook(a={"cpu": 1}, b={"cpu": 8})
    assert set(outlook.plan(wide(1), "first-fit").allocations.values()) == {"a"}
    assert outlook.plan(wide(4), FirstFit).allocator == "FirstFit"
    assert outlook.plan(diamond(), "heft").makespan == pytest.approx(5.0, abs=0.3)
    with pytest.raises(errors.ConfigError, match="'nonsense' is none that comes with Handoff; these do: greedy, first-fit"):
        outlook.plan(wide(1), "nonsense")
    with pytest.raises(errors.ConfigError, match="makes no allocator"):
        outlook.plan(wide(1), int)


def test_an_allocator_that_fails_is_told() -> None:
    """The default one in its place would make a plan of which it decided nothing."""

    class Mine:
        """Has a bug."""

        def allocate(self, now: float, desk: object) -> None:
            """Does not get far."""
            raise RuntimeError("a bug of mine")

    class Asks(Mine):
        """Can't be made."""

        def __init__(self, size: int) -> None:
            self.size = size

    outlook = Outlook(a={"cpu": 1})
    with pytest.raises(errors.ConfigError, match="the allocator Mine failed: RuntimeError: a bug of mine"):
        outlook.plan(wide(1), Mine)
    with pytest.raises(errors.ConfigError, match="makes no allocator when it is called without arguments: TypeError: "):
        outlook.plan(wide(1), Asks)


def test_the_same_graph_gives_the_same_plan() -> None:
    """Whenever it is asked for."""
    outlook = Outlook(a={"cpu": 2, "memory": 4000}, b={"cpu": 3, "memory": 4000})
    assert str(outlook.plan(diamond())) == str(outlook.plan(diamond()))


def test_what_the_cluster_would_refuse_is_refused() -> None:
    """With the same sentence; and there is no plan without nodes."""
    with pytest.raises(errors.AllocationError, match=r"needs cpu=9, which no node .* has it$") as caught:
        Outlook(a={"cpu": 1}).plan(wide(1, 1.0, cpu=9))
    (function,) = wide(1).functions
    assert caught.value.function == function and f"function {function!r}: " in str(caught.value)
    with pytest.raises(errors.AllocationError, match="no node is there"):
        Outlook().plan(wide(1))
    with pytest.raises(errors.NodeTimeout, match="function 'x': work waits for node 'elsewhere', which is not there; present: 'a'"):
        Outlook(a={"cpu": 1}).plan(DAG().add(Function("x", [], work, node="elsewhere")))


def test_what_the_plan_leaves_out_is_said() -> None:
    """Nodes that take no work now, and what runs now."""
    outlook = Outlook(a={"cpu": 1}, b={"cpu": 1})
    outlook.scheduler.ledger.by_name["b"].state = "suspect"
    outlook.scheduler.ledger.by_name["a"].planned = 3
    plan = outlook.plan(wide(1))
    assert plan.allocations == {0: "a"}
    assert plan.notes == ("for an idle cluster: what runs on it now is left out", "without 'b', which can't be given work now")
    assert all(note in str(plan) for note in plan.notes)


# ── to be looked at ──────────────────────────────────────────────────────────


def test_a_plan_prints_what_it_says() -> None:
    """Headline, nodes, critical path, functions."""
    text = str(Outlook(a={"cpu": 1, "memory": 8000}, b={"cpu": 1, "memory": 8000}).plan(diamond()))
    assert text.startswith("Plan of 'diamond': 5.10")
    assert "1.02 times the lower bound; 4 functions on 2 nodes, 20 MB moved between nodes, placed by greedy" in text
    for part in ("Nodes", "Critical path", "Functions", "input right"):
        assert part in text


def test_a_plan_is_drawn_with_nodes_around_their_functions() -> None:
    """In Mermaid as subgraphs, in notebooks as colours; ids are escaped."""
    dag = DAG("drawn").add(Function('<b>"x"</b>', [], work, expected_seconds=1.0, node="a"))
    dag.add(Function("y", ['<b>"x"</b>'], other, expected_seconds=1.0, node="b"))
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(dag)
    lines = plan.to_mermaid().splitlines()
    assert lines[0] == "flowchart LR" and [line.strip() for line in lines if "subgraph" in line] == ['subgraph r0["a"]', 'subgraph r1["b"]']
    assert lines.count("    end") == 2 and any("f0 ==> f1" in line for line in lines)
    html = plan._repr_html_()
    assert "<svg" in html and "<b>" not in html.replace("<br>", "")


# ── what if ──────────────────────────────────────────────────────────────────


def test_more_nodes_make_a_wide_graph_shorter() -> None:
    """Copies of the usual node, or others; the plan that is asked stays as it is."""
    plan = Outlook(a={"cpu": 2}, b={"cpu": 2}, big={"cpu": 3}).plan(wide(14))
    more = plan.with_nodes(2)
    assert plan.makespan == pytest.approx(2.0, abs=SOON) and more.makespan == pytest.approx(2.0, abs=SOON)
    assert more.nodes["new-1"] == more.nodes["new-2"] == {"cpu": 2.0}
    assert plan.with_nodes({"cpu": 7, "memory": "1 GB"}).makespan == pytest.approx(1.0, abs=SOON)
    assert set(plan.nodes) == {"a", "b", "big"}
    assert set(more.with_nodes(1).nodes) == {"a", "b", "big", "new-1", "new-2", "new-3"}


def test_fewer_nodes_make_it_longer() -> None:
    """A node that is not there is named with those that are."""
    plan = Outlook(a={"cpu": 2}, b={"cpu": 2}).plan(wide(4))
    assert plan.without("b").makespan == pytest.approx(2.0, abs=SOON)
    with pytest.raises(errors.ConfigError, match="no node 'c'; nodes that are here: a, b"):
        plan.without("c")
    with pytest.raises(errors.AllocationError, match="without: no node is left"):
        plan.without("a", "b")


def test_a_sweep_is_a_table_of_plans() -> None:
    """Of cores, or of nodes."""
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(wide(8))
    sweep = plan.sweep(cpus=[1, 2, 4])
    assert list(sweep.makespans.values()) == pytest.approx([4.0, 2.0, 1.0], abs=2 * SOON)
    assert sweep.plans[4].makespan == sweep.makespans[4]
    lines = str(sweep).splitlines()
    assert lines[0].split()[:2] == ["cpus", "makespan"] and len(lines) == 4 and "-50 %" in lines[2]
    assert list(plan.sweep(nodes=[1, 2, 8]).makespans.values()) == pytest.approx([8.0, 4.0, 1.0], abs=4 * SOON)
    assert "<table>" in sweep._repr_html_()


def test_numbers_of_other_kinds_will_do() -> None:
    """Those of numpy, which are no int, and fractions, which Python can't format as floats."""
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(wide(8))
    assert list(plan.sweep(nodes=np.arange(1, 4)).plans) == [1, 2, 3]
    assert plan.with_nodes(np.int64(2)).makespan == plan.with_nodes(2).makespan
    assert plan.with_nodes({"cpu": 1}, count=np.int64(2)).makespan == plan.with_nodes(2).makespan
    assert str(plan.sweep(cpus=[Fraction(3, 2)])).splitlines()[1].split()[0] == "1.5"


SWEEPS = "it takes cpus=[8, 16, 32], the cores of each node, or nodes=[1, 2, 4], their number"
TOO_MANY = "nodes are absurd; a plan can be made for 10,000"
NO_NUMBER = "is no number of nodes to add; say 1 or more, or use without() to take nodes away"
NO_NODE = 'write one or several, such as without("a", "b")'
NO_CORES = "names no cores, and every node has some; write such as {'cpu': 8, 'memory': '32 GB'}"


@pytest.mark.parametrize(("asked", "text"), [
    (lambda plan: plan.with_nodes(0), f"with_nodes: 0 {NO_NUMBER}"),
    (lambda plan: plan.with_nodes(-1), f"with_nodes: -1 {NO_NUMBER}"),
    (lambda plan: plan.with_nodes({"cpu": 1}, 0), f"with_nodes: 0 {NO_NUMBER}"),
    (lambda plan: plan.with_nodes(2, count=3), "with_nodes: 2 says how many already, and count=3 as well; count goes with what a node has, "
     'as in with_nodes({"cpu": 8}, count=2)'),
    (lambda plan: plan.with_nodes(10**9), f"with_nodes: 1,000,000,001 {TOO_MANY}"),
    (lambda plan: plan.with_nodes({}), f"with_nodes: {{}} {NO_CORES}"),
    (lambda plan: plan.with_nodes({"cpus": 8}), f"with_nodes: {{'cpus': 8}} {NO_CORES}"),
    (lambda plan: plan.with_nodes({"cpu": 0}), "with_nodes: cpu=0: nothing can run on none of it; say how much there is, or leave it out"),
    (lambda plan: plan.with_nodes({"cpu": "many"}), "with_nodes: cpu='many' is not an amount; write a number"),
    (lambda plan: plan.with_nodes({"cpu": 1, "gpu": 1.5}),
     "with_nodes: gpu=1.5: a node has whole GPUs, of which functions may ask for parts"),
    (lambda plan: plan.with_nodes({"cpu": 1, "cluster:licence": 1}),
     "with_nodes: cluster:licence is what the whole cluster shares, and on no node; leave it out"),
    (lambda plan: plan.without(), f"without: no node is named; {NO_NODE}"),
    (lambda plan: plan.without(["a"]), f"without: ['a'] is not the name of a node; {NO_NODE}"),
    (lambda plan: plan.without("nobody"), "without: there is no node 'nobody'; nodes that are here: a"),
    (lambda plan: plan.sweep(), f"sweep changes one thing step by step; {SWEEPS}"),
    (lambda plan: plan.sweep(cpus=[1], nodes=[1]), f"sweep changes one thing step by step; {SWEEPS}"),
    (lambda plan: plan.sweep(bogus=[1]), f"sweep knows no 'bogus'; {SWEEPS}"),
    (lambda plan: plan.sweep(cpus=[]), f"sweep: cpus=[] is no list of numbers to try; {SWEEPS}"),
    (lambda plan: plan.sweep(cpus=8), f"sweep: cpus=8 is no list of numbers to try; {SWEEPS}"),
    (lambda plan: plan.sweep(nodes="12"), f"sweep: nodes='12' is no list of numbers to try; {SWEEPS}"),
    (lambda plan: plan.sweep(cpus=[0]), "sweep: cpu=0: nothing can run on none of it; say how much there is, or leave it out"),
    (lambda plan: plan.sweep(cpus=["8"]), f"sweep: '8' among cpus is not a number; {SWEEPS}"),
    (lambda plan: plan.sweep(cpus=[float("inf")]), "sweep: cpu=inf is not a finite amount"),
    (lambda plan: plan.sweep(nodes=[0]), "sweep: nodes=0 is no number of nodes; each is 1 or more"),
    (lambda plan: plan.sweep(nodes=[10**9]), f"sweep: 1,000,000,000 {TOO_MANY}"),
])
def test_what_makes_no_sense_is_refused(asked: Any, text: str) -> None:
    """One clear error each."""
    with pytest.raises(errors.ConfigError) as caught:
        asked(Outlook(a={"cpu": 1}).plan(wide(1)))
    assert str(caught.value) == text


def test_a_new_node_with_gpus_of_a_kind_has_gpus() -> None:
    """As a real one that offers them."""
    plan = Outlook(a={"cpu": 1}).plan(DAG().add(Function("x", [], work, cost=[{"gpu:a100": 1}, {"cpu": 1}], expected_seconds=1.0)))
    more = plan.with_nodes({"cpu": 1, "gpu:a100": 2})
    assert more.nodes["new-1"] == {"cpu": 1.0, "gpu": 2.0, "gpu:a100": 2.0} and more.allocations == {"x": "new-1"}


# ── kept ─────────────────────────────────────────────────────────────────────


def everything() -> DAG:
    """A graph with one of each that a plan has to keep."""
    dag = diamond()
    dag.add(Function(("tuple", 1), ["end"], other, cost=[{"gpu": 1}, {"cpu": 1}]))
    dag.add(Function(7, [Argument("end", step)], other, node=collocated(("tuple", 1))))
    dag.add(Function("big", [], work, [bytes(2_000_000)], max_retries=0, timeout=3.0, priority=2, spread="s"))
    return dag


def test_a_plan_is_the_same_after_it_was_kept(tmp_path: Path) -> None:
    """It says the same, and answers what if without a cluster as before."""
    outlook = Outlook(cluster={"licence": 2}, a={"cpu": 1, "memory": 900}, b={"cpu": 2, "gpu": 1})
    outlook.scheduler.ledger.links.observe("a", "b", 100e6, 2.0)
    plan = outlook.plan(everything())
    plan.save(tmp_path / "plan.json")
    kept = Plan.load(tmp_path / "plan.json")
    assert str(kept) == str(plan) and kept.timeline == plan.timeline and kept.allocations == plan.allocations
    assert kept.basis.program == plan.basis.program and kept.basis.cluster == plan.basis.cluster
    assert kept.without("a").timeline == plan.without("a").timeline
    assert kept.with_nodes(1).makespan == plan.with_nodes(1).makespan
    assert columns_of(kept, lower(everything())) == columns_of(plan, lower(everything()))


def test_a_plan_by_a_class_of_one_s_own_is_kept_but_can_not_be_changed(tmp_path: Path) -> None:
    """What it says is there; to ask what if, it has to be made again."""
    class Mine(FirstFit):
        """An allocator of one's own."""

    plan = Outlook(a={"cpu": 1}).plan(wide(2), Mine)
    plan.save(tmp_path / "plan.json")
    kept = Plan.load(tmp_path / "plan.json")
    assert kept.makespan == plan.makespan
    with pytest.raises(errors.ConfigError, match="the allocator 'Mine', which is not known here"):
        kept.with_nodes(1)


def test_ids_that_no_file_can_hold_are_named(tmp_path: Path) -> None:
    """Before anything is written."""
    plan = Outlook(a={"cpu": 1}).plan(DAG().add(Function(frozenset({1}), [], work, expected_seconds=1.0)))
    with pytest.raises(errors.ConfigError, match="frozenset"):
        plan.save(tmp_path / "plan.json")
    plan = Outlook(a={"cpu": 1}).plan(DAG().add(Function(float("inf"), [], work, expected_seconds=1.0)))
    with pytest.raises(errors.ConfigError, match="the function id inf is neither"):
        plan.save(tmp_path / "plan.json")
    assert not (tmp_path / "plan.json").exists()


def test_a_plan_is_not_written_where_no_folder_is(tmp_path: Path) -> None:
    """The path, and what to do; an OSError, too, as every program's files give."""
    plan = Outlook(a={"cpu": 1}).plan(wide(1))
    text = f"the plan can't be written to {tmp_path}/a/plan.json: there is no folder {tmp_path}/a; make it first, or check the path"
    with pytest.raises(errors.FileError) as caught:
        plan.save(tmp_path / "a" / "plan.json")
    assert str(caught.value) == text and isinstance(caught.value, OSError) and isinstance(caught.value, errors.ConfigError)
    with pytest.raises(errors.ConfigError, match="path=None is no path of a file for the plan"):
        plan.save(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "not json", "[]", "{}", '{"handoff_plan": 99}', '{"handoff_plan": 1}', '{"handoff_plan": 1, "ids": 3}'])
def test_what_is_no_plan_is_refused(text: str, tmp_path: Path) -> None:
    """With the file's name."""
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(errors.ConfigError, match=r"plan\.json"):
        Plan.load(path)
    with pytest.raises(errors.ConfigError, match="No such file"):
        Plan.load(tmp_path / "absent.json")


def test_a_file_whose_columns_do_not_fit_is_refused(tmp_path: Path) -> None:
    """Someone edited it."""
    path = tmp_path / "plan.json"
    Outlook(a={"cpu": 1}).plan(wide(3)).save(path)
    data = json.loads(path.read_text())
    data["foretold"]["nodes"].pop()
    path.write_text(json.dumps(data))
    with pytest.raises(errors.ConfigError, match="differ in length"):
        Plan.load(path)


def test_who_joined_first_does_not_matter_for_what_is_read() -> None:
    """Nodes are told of by name, and the first one of a sweep is the first by name, however fast it was to join."""
    sizes = {"a": {"cpu": 1}, "b": {"cpu": 2}, "c": {"cpu": 4}}
    plans = [Outlook(**{name: sizes[name] for name in order}).plan(wide(8)) for order in ("abc", "cab")]
    for plan in plans:
        lines = str(plan).splitlines()
        at = lines.index("Nodes")
        assert [line.split()[0] for line in lines[at + 2 : at + 5]] == ["a", "b", "c"]
        assert plan.sweep(nodes=[1, 2]).makespans == pytest.approx({1: 8.0, 2: 3.0}, abs=8 * SOON)
