"""What a graph says about where and how long becomes fields of kinds and columns, without splitting kinds."""

from __future__ import annotations

from handoff.client.lower import lower
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function, collocated, near
from handoff.program import Flag, Kind
from handoff.resources import SCALE


def double(x: int = 1) -> int:
    """Some code."""
    return 2 * x


def kind_of(dag: DAG, id: str) -> Kind:
    """The kind of a function's task."""
    lowered = lower(dag)
    return lowered.program.kinds[lowered.program.kind[lowered.number[id]]]


def test_alternatives_labels_groups_and_speculation_stand_in_the_kind() -> None:
    """Alternatives in the order of preference, labels sorted."""
    dag = DAG()
    dag.call(double, id="x", cost=[{"gpu": 1}, {"cpu": 8, "cluster:license": 1}], where={"zone": "a", "arch": "arm"}, spread="g",
             speculate=True)

    kind = kind_of(dag, "x")
    assert kind.cost == (("gpu", SCALE),)
    assert kind.alternatives == ((("cluster:license", SCALE), ("cpu", 8 * SCALE)),)
    assert kind.where == (("arch", "arm"), ("zone", "a"))
    assert kind.spread == "g"
    assert kind.flags & Flag.IDEMPOTENT


def test_what_is_near_and_what_is_expected_does_not_split_kinds() -> None:
    """A thousand tasks, each near another and each expected to take another time, are of one kind."""
    dag = DAG()
    dag.add(Function(0, code=double, node=near(0)))
    for number in range(1, 1000):
        dag.add(Function(number, code=double, node=near(number - 1), expected_seconds=number / 10))

    program = lower(dag).program
    assert len(program.kinds) == 1
    assert list(program.near) == [each for number in range(1000) for each in (number, max(0, number - 1))]
    assert list(program.seconds) == [-1.0] + [number / 10 for number in range(1, 1000)]
    assert not program.nbytes


def test_equal_labels_are_one_kind_and_others_are_not() -> None:
    """However the dict was written."""
    dag = DAG()
    for number, where in enumerate([{"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "1"}, {}, None]):
        dag.call(double, id=number, where=where)

    assert list(lower(dag).program.kind) == [0, 0, 1, 2, 2]


def test_expectations_of_hidden_tasks_are_unknown() -> None:
    """A serialize step has a place in the columns, too."""
    dag = DAG()
    dag.add(Function("a", code=double, expected_bytes=10**9))
    dag.add(Function("b", [Argument("a", serialization_fn=(lambda data, *_: data))], double, expected_seconds=3))

    lowered = lower(dag)
    expected = {task: (lowered.program.seconds[task], lowered.program.nbytes[task]) for task in range(3)}
    assert expected == {lowered.number["a"]: (-1.0, 1e9), lowered.number["b"]: (3.0, -1.0), next(iter(lowered.hidden)): (-1.0, -1.0)}


def test_a_graph_that_expects_nothing_has_no_columns_for_it() -> None:
    """They would be eight bytes a task for nothing."""
    dag = DAG()
    dag.call(double)

    program = lower(dag).program
    assert (len(program.near), len(program.seconds), len(program.nbytes)) == (0, 0, 0)


def test_what_shares_a_node_has_all_labels_of_its_group() -> None:
    """The first of a group that is placed must be placed where the others can follow; functions beside it are not concerned."""
    dag = DAG()
    dag.add(Function("root", code=double))
    dag.add(Function("one", code=double, node=collocated("root"), where={"zone": "a"}))
    dag.add(Function("two", code=double, node=collocated("one"), where={"arch": "arm"}))
    dag.add(Function("alone", code=double))

    both = (("arch", "arm"), ("zone", "a"))
    assert [kind_of(dag, id).where for id in ("root", "one", "two", "alone")] == [both, both, both, ()]


def test_what_follows_a_pinned_function_keeps_its_labels_to_itself() -> None:
    """The node is named, so each is held against it by itself, and who is refused is the one that asks for what it lacks."""
    dag = DAG()
    dag.add(Function("root", code=double, node="alpha"))
    dag.add(Function("one", code=double, node=collocated("root"), where={"zone": "a"}))

    assert [(kind_of(dag, id).node, kind_of(dag, id).where) for id in ("root", "one")] == [("alpha", ()), ("alpha", (("zone", "a"),))]


def test_a_group_whose_root_is_near_another_is_still_a_group() -> None:
    """Nearness pins nothing."""
    dag = DAG()
    dag.add(Function("other", code=double))
    dag.add(Function("root", code=double, node=near("other")))
    dag.add(Function("follower", code=double, node=collocated("root")))

    program = lower(dag).program
    assert [list(group) for group in program.groups] == [[1, 2]]
    assert list(program.near) == [1, 0]
