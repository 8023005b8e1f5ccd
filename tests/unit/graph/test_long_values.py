"""Values that users give stand in errors as Python writes them, but never at a length at which nobody finds what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handoff import DAG, Argument, Function, collocated, errors, near
from handoff.address import parse_address
from handoff.client.events import Failure
from handoff.client.failures import error_of
from handoff.client.nodes import has_room
from handoff.client.options import check_drain, check_output, check_run, run_number
from handoff.files import read_file
from handoff.graph.function import labels_of
from handoff.graph.picture import picture_of
from handoff.offers import checked, coordinator_arguments, specs_of
from handoff.quoting import END, QUOTED_MAX, cut, quoted
from handoff.resources import costs, describe
from handoff.trust.secret import find

LONG = "x" * 1_000_000
LIST = list(range(200_000))
HUGE = 10**5000          # Python refuses to write it


class Mute:
    """Can't be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def work(*data: Any) -> None:
    """It does nothing: nothing runs."""


def of(**fields: Any) -> Any:
    """The check of a graph of this function."""
    return DAG().add(Function(**{"id": "f", "code": work, **fields})).validate


def test_what_is_long_is_cut_in_the_middle() -> None:
    """Its beginning and its end say what it is. What is short stays, and what can't be shown is named."""
    assert quoted("a'b") == '"a\'b"'
    text = quoted("a" * 150 + "b" * 500 + "c" * 150)
    assert text == "'" + "a" * 99 + "[... 602 characters ...]" + "c" * 99 + "'"
    assert cut("d" * QUOTED_MAX) == "d" * QUOTED_MAX and len(cut("d" * 10**6)) < 2 * END + 40
    assert quoted(Mute()) == "<Mute that can't be shown: RuntimeError: no words>"
    assert quoted(HUGE).startswith("<int that can't be shown: ValueError: ")


CALLS = {
    "two functions": (lambda value: DAG().add(Function(LONG, code=work)).add(Function(LONG, code=work)), "there are two functions"),
    "add": (lambda value: DAG().add(value), "takes a Function"),
    "no code": (lambda value: of(id=LONG, code=None)(), "it has no code"),
    "code": (lambda value: of(code=value)(), "is not callable"),
    "missing": (lambda value: of(args=[LONG + "y"], id=LONG)(), "is not in the graph"),
    "cost": (lambda value: of(cost={"cpu": value})(), "its cost is wrong: "),
    "where": (lambda value: of(where=value)(), "is not a dict from labels"),
    "spread": (lambda value: of(spread=[value])(), "is not the name of a group"),
    "node": (lambda value: of(node=[value])(), "is neither the name of a node"),
    "collocated": (lambda value: of(node=collocated(LONG))(), "is not in the graph"),
    "near": (lambda value: of(node=near(LONG))(), "is not in the graph"),
    "retries": (lambda value: of(max_retries=[value])(), "is not a whole number"),
    "timeout": (lambda value: of(timeout=[value])(), "is not a number of seconds"),
    "args": (lambda value: of(args={"a": value})(), "args is a list of ids"),
    "step": (lambda value: DAG().add(Function("a", code=work)).add(Function("b", [Argument("a", [value])], work)).validate(),
             "is neither a callable nor"),
    "concurrency": (lambda value: check_run([value], None, 1.0), "how many functions may run at once"),
    "output": (lambda value: check_output([value]), "that takes what is printed"),
    "run": (lambda value: run_number([value]), "is not the number of a run"),
    "drain": (lambda value: check_drain([value], None), "is not the name of a node"),
    "nodes": (lambda value: specs_of({"a": value}, {}), "how many nodes"),
    "labels": (lambda value: checked({"labels": [value]}), "is not a dict from labels"),
    "allocator": (lambda value: coordinator_arguments(None, [value], None), "is neither the name of an allocator"),
    "room": (lambda value: has_room([], [value], {}), "there is no node named"),  # type: ignore[arg-type]
    "file": (lambda value: read_file([value], "plan"), "is no path of a file"),
}


def test_an_id_that_cannot_be_shown_spoils_no_picture_and_no_report() -> None:
    """These name all functions of a graph, whatever they are."""
    mute = Mute()
    label = "<Mute that can't be shown: RuntimeError: no words>"
    assert labels_of(["load", mute, HUGE])[:2] == ["load", label]
    assert [box.label for box in picture_of(DAG().add(Function(mute, code=work))).boxes] == [label]



@pytest.mark.parametrize("value", [LONG, LIST, HUGE, Mute()], ids=["string", "list", "integer", "mute"])
@pytest.mark.parametrize("name", CALLS)
def test_an_error_says_what_is_wrong_in_a_few_lines(name: str, value: Any) -> None:
    """Whatever was given."""
    call, said = CALLS[name]
    with pytest.raises(errors.HandoffError) as raised:
        call(value)
    assert said in str(raised.value) and len(str(raised.value)) < 1500


def test_names_of_files_addresses_and_resources_are_cut_as_well(tmp_path: Path) -> None:
    """They stand without quotes."""
    for call in (lambda: read_file(tmp_path / LONG, "plan"), lambda: parse_address(f"{LONG}:x"), lambda: find(LONG)):
        with pytest.raises(errors.ConfigError) as raised:
            call()
        assert len(str(raised.value)) < 1500
    assert len(describe(costs({LONG: 1})[0])) < 300


def test_a_long_id_is_cut_in_the_error_of_its_run() -> None:
    """And whole in the error's attribute."""
    error = error_of(Failure("FunctionFailed", "work failed on node 'n'", 0), lambda task: LONG)
    assert isinstance(error, errors.FunctionFailed)
    assert len(str(error)) < 500 and str(error).endswith(": work failed on node 'n'") and error.function == LONG
