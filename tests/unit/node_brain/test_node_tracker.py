"""A resource tracker of the user's own holds back what the node would start; a broken one is told and left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handoff.errors import ConfigError
from handoff.machine import Note
from handoff.node.__main__ import made_tracker
from handoff.resources import Amounts, amounts


class OneOfEach:
    """Never two functions at once that use the same resource: the example of the protocol."""

    def __init__(self, capacity: Amounts) -> None:
        self.used: set[str] = set()
        self.taken = 0

    def fits(self, cost: Amounts) -> bool:
        """Not what is used."""
        return self.used.isdisjoint(name for name, _ in cost)

    def take(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """Use it."""
        self.taken += 1
        self.used.update(name for name, _ in cost)

    def give_back(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """Use it no more."""
        self.taken -= 1
        self.used.difference_update(name for name, _ in cost)


def test_a_tracker_holds_back_what_would_fit(hand: Callable[..., Any]) -> None:
    """Two functions that use a core run one after the other, though there are four; one that uses none runs beside them."""
    tracker = OneOfEach(())
    node = hand({"cpu": 4, "license": 2}, tracker=tracker)

    node.plan({0: [], 1: []}, node.kind("c", {"cpu": 1}))
    node.plan({2: []}, node.kind("l", {"license": 1}))
    assert set(node.holds) == {(1, 0), (1, 2)}
    node.finish(0)
    assert set(node.holds) == {(1, 1), (1, 2)}
    node.broke(1)
    node.die(node.worker_of(2), 2)
    assert (tracker.taken, tracker.used) == (0, set())


def test_a_tracker_is_told_of_every_end(hand: Callable[..., Any]) -> None:
    """Success, and the death of a worker, give back exactly what was taken."""
    tracker = OneOfEach(())
    node = hand({"cpu": 3, "a": 1, "b": 1}, tracker=tracker)
    for run, name in enumerate(("cpu", "a", "b"), 1):
        node.plan({0: []}, node.kind(name, {name: 1}), run=run)
    assert tracker.taken == 3
    node.finish(0, run=1)
    for worker in [worker for worker, _ in node.holds.values()]:
        node.die(worker, reason="killed by SIGKILL")
    assert tracker.taken == len(node.holds)


class Broken(OneOfEach):
    """Raises when something starts."""

    def take(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """Does not work."""
        raise ZeroDivisionError("division by zero")


def test_a_broken_tracker_is_told_and_left_out(hand: Callable[..., Any]) -> None:
    """The node goes on with its own count, and its log says why."""
    node = hand({"cpu": 2}, tracker=Broken(()))

    node.plan({0: [], 1: []}, node.kind("c", {"cpu": 1}))
    notes = [effect for effect in node.last if isinstance(effect, Note)]
    assert notes == [Note("error", "tracker.failed", (
        ("tracker", "Broken"), ("reason", "ZeroDivisionError: division by zero"), ("note", "going on without it")))]
    assert set(node.holds) == {(1, 0), (1, 1)}


@pytest.mark.parametrize(("text", "why"), [
    ("nothing_like_it:Tracker", "ModuleNotFoundError(\"No module named 'nothing_like_it'\")"),
    ("trackers_of_a_test:Missing", "has no attribute 'Missing'"),
    ("trackers_of_a_test:Half", "TypeError('it has no method give_back')"),
    ("trackers_of_a_test:Failing", "ValueError('no')"),
    ("trackers_of_a_test", "AttributeError"),
])
def test_what_is_no_tracker_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str) -> None:
    """One sentence that names the option and what is wrong."""
    (tmp_path / "trackers_of_a_test.py").write_text(
        "class Half:\n    def __init__(self, capacity): self.fits = self.take = print\n"
        "class Failing:\n    def __init__(self, capacity): raise ValueError('no')\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        made_tracker(text, amounts({"cpu": 1}))
    assert str(caught.value).startswith(f"--tracker {text!r} is not MODULE:CLASS of a resource tracker: ")
    assert why in str(caught.value)
