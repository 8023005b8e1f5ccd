"""Plans that are followed, on paper: whatever made them, each function runs where it was planned; and plans beside what happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned import Outlook

from handoff import DAG, Function, Plan, TaskRecord, collocated, errors
from handoff.client.lower import lower
from handoff.client.planning.followed import columns_of
from handoff.client.planning.foretold import SUBMITTED_AT, expectations, teach
from handoff.columns import Blobs, floats
from handoff.ids import NOBODY
from handoff.messages import Ask
from handoff.scheduler.following import corrections
from handoff.scheduler.simulate.simulator import Simulator, Work


def work(*data: Any) -> None:
    """It does nothing: nothing runs."""


def other(*data: Any) -> None:
    """Another one."""


def followed(plan: Plan, dag: DAG, slower: float = 1.0) -> tuple[list[str], float, list[list[Any]]]:
    """The plan's program as a run that follows it, with the cluster's own allocator: nodes, makespan, corrections."""
    basis = plan.basis
    program = replace(basis.program, literals=Blobs(basis.program.literals.sizes, bytes(sum(basis.program.literals.sizes))))
    seconds, nbytes = expectations(basis)
    columns = columns_of(plan, lower(dag))
    run = Work(program, floats(each * slower for each in seconds), nbytes, at=SUBMITTED_AT, options=columns)
    simulator = Simulator(basis.cluster, prepare=lambda brain: teach(brain, basis))
    outcome = simulator.run(run).runs[0]
    assert not outcome.failure and outcome.makespan >= 0.0
    simulator.brain.check()
    ledger = simulator.brain.ledger
    return outcome.nodes, outcome.makespan, corrections(ledger, ledger.runs[1])


GRAPHS = st.lists(st.tuples(
    st.lists(st.integers(0, 40), max_size=3),                 # inputs, of those before
    st.sampled_from([work, other]),
    st.sampled_from([0.002, 0.03, 0.5, 2.0, None]),           # expected seconds
    st.sampled_from([10, 2_000_000]),
    st.sampled_from([{"cpu": 1}, {"cpu": 2, "memory": 300}, {}, {"gpu": 1}]),
    st.sampled_from(["", "", "", "pin", "beside"]),
), min_size=1, max_size=25)


def dag_of(rows: Any) -> DAG:
    """A graph from drawn rows."""
    dag = DAG("drawn")
    for number, (inputs, code, seconds, nbytes, cost, where) in enumerate(rows):
        node: Any = None
        if where == "pin":
            node, cost = "a", {"cpu": 1}
        elif where == "beside" and number:
            node = collocated(number - 1)
        dag.add(Function(number, sorted({each % number for each in inputs}) if number else [], code, cost=cost, node=node,
                         expected_seconds=seconds, expected_bytes=nbytes))
    return dag


@settings(max_examples=80, deadline=None)
@given(GRAPHS, st.sampled_from(["greedy", "heft", "first-fit", "round-robin"]))
def test_any_plan_is_followed_to_the_node(rows: Any, allocator: str) -> None:
    """Groups, pins, memory and GPUs included; what departs on time grounds is told, and nothing else does."""
    outlook = Outlook(a={"cpu": 2, "memory": 1000, "gpu": 1}, b={"cpu": 2, "memory": 600, "gpu": 1}, c={"cpu": 4, "memory": 300, "gpu": 1})
    dag = dag_of(rows)
    plan = outlook.plan(dag, allocator)
    nodes, _, told = followed(plan, dag)
    departed = {row[0] for row in told}
    assert all(node == planned for task, (node, planned) in enumerate(zip(nodes, plan.foretold.nodes, strict=True)) if task not in departed)
    assert all("behind the plan" in why for *_, why in told)


# Of 10,000 graphs about one takes longer: the input of what is next comes a moment after the core is free, and another takes that.
@settings(max_examples=60, deadline=None, derandomize=True)
@given(GRAPHS)
def test_a_followed_plan_takes_about_as_long_as_it_says(rows: Any) -> None:
    """Where everything is known and each function takes a core: as long as the plan, and not much longer than a new one would."""
    dag = dag_of([(inputs, code, seconds or 0.1, nbytes, {"cpu": 1}, where) for inputs, code, seconds, nbytes, _, where in rows])
    plan = Outlook(a={"cpu": 2}, b={"cpu": 2}, c={"cpu": 4}).plan(dag)
    _, makespan, told = followed(plan, dag)
    assert told == [] and makespan <= 1.1 * plan.makespan + 0.05


MB = 1_000_000
CPU = {"cpu": 1}


def drawn(*rows: tuple[list[int], Any, float, int, str]) -> DAG:
    """Of these rows, each of one core."""
    return dag_of([(inputs, code, seconds, nbytes, CPU, where) for inputs, code, seconds, nbytes, where in rows])


THAT_COMES_LATE = drawn(
    ([], work, 0.002, 10, ""), ([0], other, 0.002, 2 * MB, ""), ([], work, 2.0, 10, "pin"), ([0, 2], work, 0.002, 2 * MB, ""),
    ([], work, 0.5, 2 * MB, ""), ([0, 3], other, 0.002, 10, "pin"), ([], work, 2.0, 10, ""), ([4], work, 2.0, 10, ""),
    ([], other, 0.1, 10, ""), ([1, 3, 6], work, 0.5, 2 * MB, ""), ([], other, 0.5, 10, "pin"))
THAT_IS_PLANNED_WITH_ITS_INPUT = drawn(
    ([], other, 0.002, 10, ""), ([0], other, 0.5, 2 * MB, "beside"), ([], other, 0.1, 10, "pin"), ([0], other, 0.03, 2 * MB, ""),
    ([], work, 2.0, 10, ""), ([0], other, 2.0, 10, "pin"), ([3], work, 0.002, 10, ""), ([3, 6], other, 2.0, 2 * MB, "pin"),
    ([], other, 2.0, 2 * MB, ""), ([], work, 2.0, 2 * MB, "beside"))


@pytest.mark.parametrize("dag", [THAT_COMES_LATE, THAT_IS_PLANNED_WITH_ITS_INPUT], ids=["its input", "itself"])
def test_what_comes_later_in_the_plan_does_not_take_the_core(dag: DAG) -> None:
    """While the input of what is next is still to be moved, because nobody looked at it in time; or where it can be placed only now."""
    plan = Outlook(a={"cpu": 2}, b={"cpu": 2}, c={"cpu": 4}).plan(dag)
    nodes, makespan, told = followed(plan, dag)
    assert nodes == list(plan.foretold.nodes) and told == []
    assert makespan == pytest.approx(plan.makespan, abs=0.01)


def test_a_run_that_is_slower_everywhere_keeps_to_its_plan() -> None:
    """All are late, but none of them could be sooner elsewhere."""
    dag = DAG()
    for number in range(20):
        dag.add(Function(number, [number - 4] if number > 3 else [], work, expected_seconds=1.0, expected_bytes=1000))
    plan = Outlook(a={"cpu": 2}, b={"cpu": 2}).plan(dag)
    nodes, makespan, told = followed(plan, dag, 3.0)
    assert nodes == list(plan.foretold.nodes) and told == []
    assert makespan == pytest.approx(15.0, abs=0.1)


# ── what a submission says ───────────────────────────────────────────────────


def pair(*names: str) -> DAG:
    """Two functions, by these ids."""
    dag = DAG("pair").add(Function(names[0], [], work, expected_seconds=1.0))
    return dag.add(Function(names[1], [names[0]], other, expected_seconds=2.0))


def test_the_columns_say_where_and_in_which_order() -> None:
    """Nodes by place in the list of names, ranks by time to the end."""
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(pair("x", "y"))
    columns = columns_of(plan, lower(pair("x", "y")))
    assert [columns["follow_names"][place] for place in columns["follow"]] == list(plan.foretold.nodes)
    assert list(columns["follow_ranks"]) == pytest.approx([3.0, 2.0], abs=0.01)


def test_hidden_tasks_follow_only_where_they_are_the_same() -> None:
    """With another value the numbers of tasks may mean something else: functions are found by their ids."""
    def with_value(size: int) -> DAG:
        return pair("x", "y").add(Function("z", [], work, [bytes(size)], expected_seconds=1.0))

    plan = Outlook(a={"cpu": 4}).plan(with_value(2_000_000))
    assert NOBODY not in columns_of(plan, lower(with_value(2_000_000)))["follow"]
    small = columns_of(plan, lower(with_value(10)))
    assert list(small["follow"]) == [0, 0, 0]
    changed = columns_of(plan, lower(with_value(3_000_000)))
    assert sorted(changed["follow"]) == [0, 0, 0, NOBODY]


def test_a_plan_of_another_graph_is_refused() -> None:
    """Before anything is sent, with a function that is not in both."""
    plan = Outlook(a={"cpu": 1}).plan(pair("x", "y"))
    with pytest.raises(errors.ConfigError, match="the plan of 'pair' is for another graph: 'z' is not in the plan"):
        columns_of(plan, lower(pair("x", "z")))
    with pytest.raises(errors.ConfigError, match="'y' is not in the graph"):
        columns_of(plan, lower(DAG().add(Function("x", [], work))))
    with pytest.raises(errors.ConfigError, match=r"plan='plan\.json' is no plan"):
        columns_of("plan.json", lower(pair("x", "y")))


def test_the_vocabulary_has_what_plans_need() -> None:
    """A question about one task names it by number."""
    assert Ask(1, "explain").task == 0xFFFFFFFF


# ── beside what happened ─────────────────────────────────────────────────────


def test_a_plan_is_compared_with_records() -> None:
    """One function took twice as long and ran elsewhere."""
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(pair("x", "y"))
    home = plan.allocations["x"]
    away = "b" if home == "a" else "a"
    found = plan.compare([TaskRecord("x", home, 1, 0.1, 1.0, 10), TaskRecord("y", away, 1, 1.5, 4.0, 10)])
    assert found.planned_makespan == plan.makespan and found.makespan == 5.5
    assert (found.in_place, found.elsewhere) == (1, {"y": (home, away)})
    assert [each.function for each in found.largest] == ["y", "x"]
    assert found.largest[0].late == pytest.approx(2.5, abs=0.01)
    text = str(found)
    assert "5.500 s happened (+83 %); 1 of 2 functions ran where planned" in text
    assert "Ran elsewhere" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}
    assert rows["other"] == ["1", "2.000", "4.000", "2.000", "4.000"]
    assert rows[home][-2:] == ["3.000", "1.000"] and rows[away][-2:] == ["0.000", "4.000"]
    assert "<table>" in found._repr_html_()


def test_a_plan_agrees_with_itself() -> None:
    """Nothing is elsewhere, nothing is late."""
    plan = Outlook(a={"cpu": 1}, b={"cpu": 1}).plan(pair("x", "y"))
    found = plan.compare(plan.timeline)
    assert found.in_place == 2 and found.makespan == pytest.approx(plan.makespan) and "Ran elsewhere" not in str(found)


def test_a_plan_is_compared_with_as_much_as_there_is() -> None:
    """What is done so far was not so much faster than the whole plan."""
    plan = Outlook(a={"cpu": 1}).plan(pair("x", "y"))
    text = str(plan.compare([TaskRecord("x", "a", 1, 0.1, 0.9, 10)]))
    assert text.startswith("Plan of 'pair': 3.000 s planned; 1 of 2 functions done so far, the last of them after 1.000 s; "
                           "1 ran where planned\n")
    assert "%" not in text
    assert str(plan.compare([])).splitlines()[0] == "Plan of 'pair': 3.000 s planned; 0 of 2 functions done so far"


@pytest.mark.parametrize("run", [3, "run", [1, 2], [TaskRecord("elsewhere", "a", 1, 0.0, 1.0, 10)],
                                 [TaskRecord("x", "a", 1, 0.0, 1.0, 10), TaskRecord("elsewhere", "a", 1, 0.0, 1.0, 10)]])
def test_what_is_no_run_of_the_graph_can_not_be_compared(run: Any) -> None:
    """Neither anything else, nor a run of another graph."""
    with pytest.raises(errors.ConfigError):
        Outlook(a={"cpu": 1}).plan(pair("x", "y")).compare(run)
