"""How fast nodes are, learned beside what functions take: neither is known, and both are found."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

import pytest

from handoff.scheduler import speeds as module
from handoff.scheduler.estimates import Estimates
from handoff.scheduler.speeds import Speed, Speeds


def learned(true: Sequence[float], runs: int, scatter: float, functions: int = 5, drift: float = 1.0) -> tuple[list[float], list[float]]:
    """What is learned of nodes that are so fast; and of functions, as parts of what they really take. Fast nodes run more."""
    chance, estimates = random.Random(7), Estimates()
    nodes = [Speed() for _ in true]
    known = [estimates.of((bytes([number]),)) for number in range(functions)]
    takes = [10 ** chance.uniform(-2, 2) for _ in known]
    for run in range(runs):
        which, where = chance.randrange(functions), chance.choices(range(len(true)), true)[0]
        scattered = math.exp(scatter * chance.gauss(0, 1) - scatter * scatter / 2)
        seconds = takes[which] / true[where] * scattered * drift ** (run / runs) * nodes[where].value
        away = known[which].grade(seconds)
        if known[which].graded > 1:
            nodes[where].learn(away, 1)
        known[which].observe(seconds, 1)
    return [node.value for node in nodes], [function.seconds / seconds for function, seconds in zip(known, takes, strict=True)]


TRUE = [0.5, 0.5, 1.0, 1.0, 1.0, 3.0]


@pytest.mark.parametrize("scatter", [0.05, 0.5])
def test_speeds_and_means_are_told_apart(scatter: float) -> None:
    """Beside each other the speeds become the true ones, and the means are those on a node of speed 1."""
    speeds, means = learned(TRUE, 3000, scatter)
    scale = statistics.fmean(speeds[2:5])
    assert [speed / scale for speed in speeds] == [pytest.approx(speed, rel=0.2) for speed in TRUE]
    assert all(mean == pytest.approx(scale, rel=0.4) for mean in means)
    assert scale == pytest.approx(1.0, rel=0.3), "they stay around 1"


def test_a_few_runs_tell_the_order() -> None:
    """Ten runs a node are enough to know which are fast and which are slow."""
    speeds, _ = learned(TRUE, 60, 0.2)
    assert max(speeds[:2]) < min(speeds[2:5]) and max(speeds[2:5]) < speeds[5]


@pytest.mark.parametrize("drift", [10.0, 0.1])
def test_what_all_nodes_have_in_common_moves_no_speed(drift: float) -> None:
    """When all functions become slower and slower, it is them, and not all nodes."""
    speeds, _ = learned([1.0] * 4, 1000, 0.1, drift=drift)
    assert speeds == [pytest.approx(1.0, rel=0.1)] * 4


def test_a_node_is_known_again_by_name_and_hardware() -> None:
    """Also after a restart of it or of the coordinator; another machine under its name begins at the usual speed."""
    speeds, eight = Speeds(), {"cpu": 8, "memory": 1, "": 5}
    for _ in range(100):
        speeds.of("a", eight).learn(math.log(2), 1)
    value = speeds.of("a", eight).value
    assert value < 0.5
    rows = speeds.remembered()
    assert (len(rows), speeds.remembered()) == (1, [])
    again = Speeds()
    again.recall([("b",), ("c", "", float("nan"), 1.0), ("d", "", "x", 1.0), *rows])
    assert again.of("a", {**eight, "": 7}).value == value
    assert list(again.known) == ["a"]
    assert again.of("a", {"cpu": 4, "memory": 1}).value == 1.0


def test_nodes_that_came_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded."""
    monkeypatch.setattr(module, "NODES_MAX", 2)
    speeds = Speeds()
    for name in ("a", "b", "a", "c"):
        speeds.of(name, {})
    assert list(speeds.known) == ["a", "c"]
