"""What makes no sense about a run is refused in one sentence, before anything is sent that would end the connection."""

from __future__ import annotations

import os
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from handoff import DAG, Client, Function, embedded, execute
from handoff.client.client import begin
from handoff.client.options import check_concurrency, check_drain, check_output, check_run, patience, patience_above_zero, run_number
from handoff.errors import ConfigError


@pytest.mark.parametrize(("said", "text"), [
    ({"max_concurrency": True}, "max_concurrency=True: how many functions may run at once"),
    ({"max_concurrency": 2**70}, "how many functions may run at once"),
    ({"max_concurrency": 1.5}, "max_concurrency=1.5: how many"),
    ({"timeout": "x"}, "timeout='x': the seconds that the run may take"),
    ({"timeout": True}, "timeout=True: the seconds that the run may take"),
    ({"timeout": float("nan")}, "timeout=nan: the seconds"),
    ({"timeout": 10**400}, "the seconds that the run may take"),
    ({"weight": 0}, "weight=0: the run's share of the cluster beside other runs"),
    ({"weight": 10**400}, "the run's share of the cluster"),
    ({"weight": 5e-324}, "weight=5e-324 is absurd"),
    ({"weight": float("inf")}, "weight=inf is absurd"),
    ({"wait_for_nodes": "yes"}, "wait_for_nodes='yes' is neither True nor False"),
    ({"detach": None}, "detach=None is neither True nor False"),
])
def test_nonsense_about_a_run_is_refused(said: dict[str, Any], text: str) -> None:
    """By name, with what would be right."""
    with pytest.raises(ConfigError) as caught:
        check_run(**{"max_concurrency": None, "timeout": None, "weight": 1.0, **said})
    assert text in str(caught.value)


def test_what_makes_sense_goes_through() -> None:
    """Whole numbers do for seconds and weights."""
    check_run(1, 60, 3, detach=False, wait_for_nodes=True)
    check_run(None, float("inf"), 0.5)
    check_concurrency(None)
    check_drain("node-1", None)
    check_drain("node-1", 10)
    check_output(print)
    check_output(False)
    assert patience(None) is None
    assert patience(-1) == -1.0
    assert patience(float("inf")) == float("inf")
    assert patience_above_zero(3) == 3.0
    assert run_number(3) == 3


def test_numbers_of_other_libraries_make_sense() -> None:
    """What was worked out with numpy, as everywhere else in a graph; what locks are given is Python's own."""
    check_run(np.int64(2), np.float32(1.5), np.int64(3), detach=False)
    check_run(None, Fraction(1, 2), Fraction(1, 3))
    check_drain("node-1", np.float32(2.0))
    with pytest.raises(ConfigError, match="how many functions may run at once"):
        check_concurrency(np.float64(2.0))
    for seconds in (np.float32(1.5), np.int8(2), Fraction(3, 2)):
        assert type(patience(seconds)) is type(patience_above_zero(seconds)) is float   # which locks take


@pytest.mark.parametrize("seconds", [0, -1, True, "x", float("nan")])
def test_nonsense_about_draining_is_refused(seconds: Any) -> None:
    """Seconds above 0."""
    with pytest.raises(ConfigError, match="the seconds within which the node leaves"):
        check_drain("node-1", seconds)


def test_what_is_no_node_is_not_drained() -> None:
    """By its name."""
    for node in (3, "", None):
        with pytest.raises(ConfigError, match=r"is not the name of a node; client\.nodes\(\) tells them"):
            check_drain(node, None)


@pytest.mark.parametrize("run", ["x", True, -1, 0, 2**70, 1.0, None])
def test_what_is_no_run_is_refused(run: Any) -> None:
    """Here, since the coordinator ends connections that say such things, and all runs with them."""
    with pytest.raises(ConfigError, match=r"is not the number of a run, such as run\.id"):
        run_number(run)


def test_nonsense_about_waiting_and_output_is_refused() -> None:
    """By name."""
    for seconds in ("x", True, float("nan"), 3j, 10**400, Decimal(3)):
        with pytest.raises(ConfigError, match="the seconds to wait, or None to wait until it is over"):
            patience(seconds)
        with pytest.raises(ConfigError, match="the seconds to wait for a coordinator, more than 0"):
            patience_above_zero(seconds)
    for seconds in (0, -1.0, None):
        with pytest.raises(ConfigError, match="the seconds to wait for a coordinator, more than 0"):
            patience_above_zero(seconds)
    with pytest.raises(ConfigError, match="output=3: a callable"):
        check_output(3)


def test_who_limits_a_run_is_told_that_nothing_gets_a_second_attempt() -> None:
    """At the line of who called the client; once for all functions, and not of those that may not run again anyway."""
    dag = DAG().add(Function("plain", [], str))
    dag.add(Function("twice", [], repr, speculate=True)).add(Function("more", [], len, speculate=True))
    with pytest.warns(UserWarning) as caught:
        _begin(dag)
    assert [str(each.message) for each in caught] == [
        "repr says speculate=True, but in a run with max_concurrency nothing gets a second attempt"]
    assert caught[0].filename == __file__
    _begin(DAG().add(Function("once", [], repr, speculate=True, max_retries=0)))      # a warning would be an error here
    _begin(dag, max_concurrency=None)


def test_who_asks_the_cluster_inside_is_shown_the_line_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls are between it and the warning."""
    client = Client.__new__(Client)
    core: Any = MagicMock()
    core.pid, core.submit.side_effect = os.getpid(), ZeroDivisionError
    monkeypatch.setattr(client, "_core", core, raising=False)
    monkeypatch.setattr(embedded, "_embedded", SimpleNamespace(client=lambda: client))
    dag = DAG().add(Function("twice", [], repr, speculate=True))
    with pytest.warns(UserWarning, match="repr says speculate=True") as caught, pytest.raises(ZeroDivisionError):
        execute(dag, max_concurrency=2)
    assert caught[0].filename == __file__


def _begin(dag: DAG, max_concurrency: int | None = 2) -> None:
    def as_a_method_of_the_client_would() -> None:
        begin(core, dag, returns=None, inputs=None, max_retries=3, max_concurrency=max_concurrency, timeout=None, detach=False,
              wait_for_nodes=False, weight=1.0, output=None)

    core: Any = MagicMock()
    as_a_method_of_the_client_would()
