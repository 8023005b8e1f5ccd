"""What stands in several places of a function's arguments is one thing there, too, however large it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import evaluate_outputs

from handoff import DAG
from handoff.client.lower import lower

SIZES = (10, 70_000, 90_000, 1_000_000)     # in the literal, or looked at closer, or on their own from the second use on, or always


def one_of_all(value: Any, *places: Any, named: Any = None) -> bool:
    """Whether all of these are the first one's part "a"."""
    return all(each is value["a"] for each in (value["b"][0], *places, *([named] if named is not None else [])))


def is_parent(tree: Any) -> bool:
    """Whether its child knows it."""
    return tree["children"][0]["parent"] is tree and tree["itself"][0] is tree


@pytest.mark.parametrize("size", SIZES)
def test_one_list_in_several_places_is_one_list(size: int) -> None:
    """Within one argument, and in several."""
    part = ["x" * size, 1]
    dag = DAG()
    dag.call(one_of_all, {"a": part, "b": (part,)}, id="within")
    dag.call(one_of_all, {"a": part, "b": (part,)}, part, part, named=part, id="several")
    dag.call(one_of_all, {"a": part, "b": (part,), "c": "y" * 200_000}, named=part, id="beside another")
    assert evaluate_outputs(lower(dag)) == {"within": True, "several": True, "beside another": True}


def test_what_is_large_in_repeated_lists_is_sent_once() -> None:
    """A dict of its own for each call, in two of its arguments, with what all of them share."""
    shared, dag = np.zeros(100_000), DAG()
    for number in range(3):
        part = {"shared": shared, "number": number}
        dag.call(one_of_all, {"a": part, "b": (part,)}, part, named=part, id=number)
    lowered = lower(dag)
    assert len(lowered.objects) == 1
    assert evaluate_outputs(lowered) == {0: True, 1: True, 2: True}


@pytest.mark.parametrize("size", SIZES)
def test_what_holds_itself_does_so_where_it_arrives(size: int) -> None:
    """A tree whose branches know where they hang."""
    tree: dict[str, Any] = {"data": np.zeros(size, "b")}
    tree["children"], tree["itself"] = [{"parent": tree, "data": np.zeros(size, "b")}], [tree]
    dag = DAG()
    dag.call(is_parent, tree, id="tree")
    assert evaluate_outputs(lower(dag)) == {"tree": True}
