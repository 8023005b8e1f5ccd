"""What a function may say about where it runs: one clear error for each thing that makes no sense."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import handoff
from handoff.errors import InvalidFunction, MissingFunction
from handoff.graph.dag import DAG
from handoff.graph.function import Function, collocated, near
from handoff.graph.options import options_of


def nothing(*args: Any) -> None:
    """Some code."""


def graph(*functions: Function) -> DAG:
    """A graph of these."""
    dag = DAG("test")
    for function in functions:
        dag.add(function)
    return dag


def test_all_that_may_be_said_is_valid_together() -> None:
    """Alternatives, labels, groups, nearness (also to itself and in circles) and expectations pass."""
    graph(
        Function("a", code=nothing, cost=[{"gpu:a100": 0.5, "gpu_memory": "4 GiB"}, {"cpu": 8}], where={"zone": "a"}, spread="g",
                 speculate=True),
        Function("b", code=nothing, node=near("a"), expected_seconds=0, expected_bytes=1e9, cost={"cluster:license": 1}),
        Function("c", code=nothing, node=near("d"), where={}),
        Function("d", code=nothing, node=near("c")),
        Function("e", code=nothing, node=near("e")),
        Function("f", code=nothing, node=collocated("a"), where={"zone": "a", "arch": "x86_64"}, spread="other"),
    ).validate()


@pytest.mark.parametrize(("fields", "text"), [
    ({"where": "zone"}, "where='zone' is not a dict from labels to their values, both strings, such as {\"zone\": \"a\"}"),
    ({"where": {"zone": 1}}, "where={'zone': 1} is not a dict"),
    ({"where": {"": "a"}}, "where={'': 'a'} is not a dict"),
    ({"where": {"zone": ["a", "b"]}}, "where={'zone': ['a', 'b']} is not a dict"),
    ({"where": 0}, "where=0 is not a dict"),
    ({"where": []}, "where=[] is not a dict"),
    ({"where": np.array([1, 2])}, "where=array([1, 2]) is not a dict"),
    ({"type": np.array([1, 2])}, 'type=array([1, 2]) is not one of "regular"'),
    ({"argument_inclusion": np.array([1, 2])}, 'argument_inclusion=array([1, 2]) is not one of "variadic"'),
    ({"spread": ""}, "spread='' is not the name of a group, a string that is not empty"),
    ({"spread": ["g"]}, "spread=['g'] is not the name of a group"),
    ({"speculate": "yes"}, "speculate='yes' is neither True nor False"),
    ({"expected_seconds": -1}, "expected_seconds=-1 is not a finite number from 0 on; leave it out where nothing is known"),
    ({"expected_seconds": 1e308}, "expected_seconds=1e+308 is absurd; at most 1e+09 can be expected"),
    ({"expected_bytes": 1e30}, "expected_bytes=1e+30 is absurd; at most 1e+15 can be expected"),
    ({"expected_bytes": 10**400}, "expected_bytes=100000"),
    ({"expected_seconds": float("nan")}, "expected_seconds=nan is not a finite number"),
    ({"expected_bytes": float("inf")}, "expected_bytes=inf is not a finite number"),
    ({"expected_bytes": "1 GB"}, "expected_bytes='1 GB' is not a finite number"),
    ({"cost": [{"cpu": 1}, {"cpu": "1"}]}, "its cost is wrong: two of its alternatives are equal (cpu=1); leave one out"),
    ({"cost": {"gpu": 1.5}}, "its cost is wrong: gpu=1.5: a part of a GPU never straddles two"),
    ({"cost": {"cpu": 1e300}}, "its cost is wrong: cpu=1e+300 is absurd"),
    ({"type": "inline", "where": {"zone": "a"}}, "an inline function runs wherever its dependents run; leave out where"),
    ({"type": "inline", "spread": "g"}, "an inline function runs wherever its dependents run; leave out spread"),
    ({"type": "inline", "node": near("y")}, "an inline function runs wherever its dependents run; leave out node"),
    ({"type": "inline", "speculate": True}, 'a function of type "inline" has no attempts of its own; leave out speculate'),
    ({"type": "input", "code": None, "where": {"zone": "a"}},
     'a function of type "input" stands for a value and does not run; leave out where'),
    ({"node": "a\nb"}, r"node='a\nb' can't be the name of a node, which has 1 to 64 printable characters"),
    ({"node": "x" * 65}, f"node={'x' * 65!r} can't be the name of a node, which has 1 to 64 printable characters"),
    ({"node": 7}, "node=7 is neither the name of a node nor collocated(id) nor near(id)"),
])
def test_nonsense_is_named_with_its_function(fields: dict[str, Any], text: str) -> None:
    """The error names the function, the field and what would be right."""
    with pytest.raises(InvalidFunction, match=re.escape(f"'x': {text}")) as caught:
        graph(Function("ok", code=nothing), Function(**{"id": "x", "code": nothing, **fields})).validate()
    assert caught.value.function == "x"


def test_near_to_nobody_suggests_whom() -> None:
    """A target that is not in the graph is an error as for dependencies."""
    with pytest.raises(MissingFunction, match="'b' is to run near 'laod', which is not in the graph; did you mean 'load'"):
        graph(Function("load", code=nothing), Function("b", code=nothing, node=near("laod"))).validate()


@pytest.mark.parametrize("target", [Function("t", code=nothing, type="inline"), Function("t", type="input")])
def test_near_to_what_runs_nowhere_is_an_error(target: Function) -> None:
    """Inline and input functions run on no node of their own."""
    with pytest.raises(InvalidFunction, match=f"'b': it is to run near 't', which runs on no node of its own: its type is {target.type}"):
        graph(target, Function("b", code=nothing, node=near("t"))).validate()


def test_what_shares_a_node_can_not_ask_for_two() -> None:
    """Labels of a group contradict each other, also between two that follow the same third one."""
    followers = [Function(id, code=nothing, node=collocated("a"), where={"zone": zone}) for id, zone in (("b", "north"), ("c", "south"))]
    text = "'c': it runs on the node of 'b', but asks for zone='south' where that one asks for zone='north'"
    with pytest.raises(InvalidFunction, match=text):
        graph(Function("a", code=nothing), *followers).validate()
    with pytest.raises(InvalidFunction, match="'b': it runs on the node of 'a', but both are to be spread over different nodes"):
        graph(Function("a", code=nothing, spread="g"), Function("b", code=nothing, node=collocated("a"), spread="g")).validate()
    followers = [Function(id, code=nothing, node=collocated("a"), spread="g") for id in "bc"]
    with pytest.raises(InvalidFunction, match="'c': it runs on the node of 'b', but both are to be spread over different nodes"):
        graph(Function("a", code=nothing), *followers).validate()


def test_calls_and_decorators_take_the_same_options() -> None:
    """What a call says goes before what is bound to its function."""
    @handoff.function(where={"zone": "a"}, spread="g", speculate=True, expected_seconds=2, expected_bytes=5, cost=[{"gpu": 1}, {"cpu": 2}])
    def work() -> None: ...

    dag = DAG()
    dag.call(work, id="bound")
    dag.call(work, id="said", where={"zone": "b"}, speculate=False, expected_seconds=0, node=near("bound"))

    bound, said = dag
    assert (bound.where, bound.spread, bound.speculate, bound.expected_seconds, bound.expected_bytes) == ({"zone": "a"}, "g", True, 2, 5)
    assert (said.where, said.spread, said.speculate, said.expected_seconds, said.node) == ({"zone": "b"}, "g", False, 0, near("bound"))
    assert options_of(work)["cost"] == [{"gpu": 1}, {"cpu": 2}]
    with pytest.raises(TypeError, match=r"@handoff.function does not know were"):
        handoff.function(were={})  # type: ignore[call-overload]
