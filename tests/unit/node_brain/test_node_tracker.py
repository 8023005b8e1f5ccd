"""A resource tracker of the user's own decides in the place of the node's count; a broken one is told, and the count goes on."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handoff.errors import ConfigError
from handoff.machine import Note
from handoff.node.__main__ import made_tracker
from handoff.node.tracker import ResourceTracker, offer_of
from handoff.resources import Amounts, amounts


class OneOfEach:
    """Never two functions at once that use the same resource."""

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


class Generous:
    """Everything fits, until it breaks."""

    def __init__(self) -> None:
        self.taken: list[Amounts] = []
        self.is_broken = False

    def fits(self, cost: Amounts) -> bool:
        """Always."""
        if self.is_broken:
            raise ZeroDivisionError("division by zero")
        return True

    def take(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """Note it."""
        self.taken.append(cost)

    def give_back(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """It is over."""
        self.taken.remove(cost)


def test_a_tracker_lets_start_what_the_count_would_not(hand: Callable[..., Any]) -> None:
    """Two functions that use all memory and all cores run at once; what is told to be free is never less than nothing."""
    tracker = Generous()
    node = hand({"cpu": 2, "memory": 100}, tracker=tracker)

    node.plan({0: [], 1: []}, node.kind("m", {"cpu": 2, "memory": 100}))
    assert set(node.holds) == {(1, 0), (1, 1)}
    assert node.free() == {}
    node.finish(0)
    node.finish(1)
    assert tracker.taken == []
    assert node.free() == {"cpu": 2, "memory": 100}


def test_batches_are_shared_out_as_the_tracker_says(hand: Callable[..., Any]) -> None:
    """Functions known to be short that each use all of a license go to all workers that are idle, not to one."""
    node = hand({"cpu": 2, "license": 1}, tracker=Generous())
    node.learn("s", cost={"license": 1})

    node.plan(node.independent(range(600)), node.kind("s", {"license": 1}))
    assert len({worker for worker, _ in node.holds.values()}) == 2


def test_gpus_and_places_for_nothing_are_the_node_s(hand: Callable[..., Any]) -> None:
    """Whatever a tracker says, no GPU is given out twice beyond its parts, and only so many functions that cost nothing run at once."""
    node = hand({"cpu": 4, "gpu": 1}, tracker=Generous())
    node.plan({0: [], 1: []}, node.kind("g", {"gpu": 0.6}))
    node.plan({2: []}, node.kind("p", {"gpu": 0.4}))
    assert set(node.holds) == {(1, 0), (1, 2)}

    few = hand({"cpu": 1}, tracker=Generous())
    few.plan(few.independent(range(9)), few.kind("n", {}))
    for _ in range(20):
        few.wait(0.6)
        few.warm_up()
    assert len(few.holds) == 4


def test_the_count_goes_on_where_a_tracker_breaks(hand: Callable[..., Any]) -> None:
    """Its log says why; what was given away beyond the count is waited for."""
    tracker = Generous()
    node = hand({"cpu": 2}, tracker=tracker)
    node.plan({0: [], 1: [], 2: []}, node.kind("c", {"cpu": 2}))
    assert set(node.holds) == {(1, 0), (1, 1)}

    tracker.is_broken = True
    node.finish(0)
    assert [effect for effect in node.last if isinstance(effect, Note)] == [Note("error", "tracker.failed", (
        ("tracker", "Generous"), ("reason", "ZeroDivisionError: division by zero"), ("note", "going on with the node's own count")))]
    assert set(node.holds) == {(1, 1)}
    node.finish(1)
    assert set(node.holds) == {(1, 2)}
    assert node.free() == {}


class Broken(OneOfEach):
    """Raises when something starts."""

    def take(self, cost: Amounts, gpus: tuple[int, ...]) -> None:
        """Does not work."""
        raise ZeroDivisionError("division by zero")

    def available(self) -> Any:
        """Nor this."""
        return {"cpu": "two"}.items()


def test_a_tracker_that_breaks_while_it_is_told_is_left_out(hand: Callable[..., Any]) -> None:
    """When something starts, and when it says what is free in words."""
    node = hand({"cpu": 2}, tracker=Broken(()))
    node.plan({0: [], 1: []}, node.kind("c", {"cpu": 1}))
    assert set(node.holds) == {(1, 0), (1, 1)}

    idle = hand({"cpu": 2}, tracker=Broken(()))
    assert idle.free() == {"cpu": 2}
    assert ["available() gives 'cpu': 'two'" in str(note.fields) for note in idle.all if isinstance(note, Note)] == [True]


class Half(Generous):
    """Half of the cores, and nothing that needs a license before it is night."""

    is_night = False

    def fits(self, cost: Amounts) -> bool:
        """As much as is left of half."""
        taken = sum(amount for each in self.taken for name, amount in each if name == "cpu")
        return taken + dict(cost).get("cpu", 0) <= 20_000 and (self.is_night or "license" not in dict(cost))


def test_a_large_one_that_a_tracker_holds_back_gets_its_turn(hand: Callable[..., Any]) -> None:
    """Small ones overtake it only so often, though the node's own count would have room for both."""
    node = hand({"cpu": 4}, tracker=Half(), bypass_max=3)
    node.plan({0: []}, node.kind("s", {"cpu": 1}), urgency=9)
    node.plan({1: []}, node.kind("l", {"cpu": 2}), urgency=5)
    node.plan(node.independent(range(2, 30)), node.kind("s", {"cpu": 1}))

    for _ in range(12):
        if (1, 1) in node.holds:
            break
        node.finish(next(task for _, task in node.holds), seconds=1.0)
    assert list(node.holds) == [(1, 1)]


def test_what_waits_for_something_else_than_room_is_in_nobody_s_way(hand: Callable[..., Any]) -> None:
    """A tracker refuses it while nothing runs: all others go on, and it starts when the tracker says so."""
    tracker = Half()
    node = hand({"cpu": 4, "license": 1}, tracker=tracker, bypass_max=2)
    node.plan({0: []}, node.kind("l", {"cpu": 1, "license": 1}), urgency=9)
    node.plan(node.independent(range(1, 30)), node.kind("s", {"cpu": 1}))

    for _ in range(29):
        node.finish(next(task for _, task in node.holds), seconds=1.0)
    assert node.holds == {}
    tracker.is_night = True
    node.wait(1.0)
    assert set(node.holds) == {(1, 0)}


def test_the_protocol_s_example_works(hand: Callable[..., Any]) -> None:
    """It offers each core twice, and gives each out twice."""
    text = textwrap.dedent("    " * 2 + (ResourceTracker.__doc__ or "").split("class TwiceTheCores:")[1].split("A cost is pairs")[0])
    names: dict[str, Any] = {}
    exec("class TwiceTheCores:\n" + textwrap.indent(text, "    "), names)
    tracker = names["TwiceTheCores"](amounts({"cpu": 1, "memory": 100}))

    assert offer_of(tracker, amounts({"cpu": 1, "memory": 100})) == amounts({"cpu": 2, "memory": 100})
    node = hand({"cpu": 2, "memory": 100}, tracker=tracker)
    node.plan({0: [], 1: [], 2: []}, node.kind("c", {"cpu": 1}))
    assert set(node.holds) == {(1, 0), (1, 1)}
    assert node.free() == {"memory": 100}


@pytest.mark.parametrize(("text", "why"), [
    ("nothing_like_it:Tracker", "ModuleNotFoundError(\"No module named 'nothing_like_it'\")"),
    ("trackers_of_a_test:Missing", "has no attribute 'Missing'"),
    ("trackers_of_a_test:Half", "TypeError('it has no method give_back')"),
    ("trackers_of_a_test:Failing", "ValueError('no')"),
    ("trackers_of_a_test", "AttributeError"),
    ("trackers_of_a_test:Twice", "ValueError('it offers gpu=2, where there is 1: no GPU is given out twice')"),
    ("trackers_of_a_test:Words", "TypeError(\"offers() gives 'cpu': 'two'; it is to give names and whole numbers of steps\")"),
])
def test_what_is_no_tracker_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str) -> None:
    """One sentence that names the option and what is wrong."""
    (tmp_path / "trackers_of_a_test.py").write_text(
        "class Half:\n    def __init__(self, capacity): self.fits = self.take = print\n"
        "class Failing:\n    def __init__(self, capacity): raise ValueError('no')\n"
        "class Whole(Half):\n    give_back = print\n"
        "class Twice(Whole):\n    def offers(self): return [('gpu', 20_000)]\n"
        "class Words(Whole):\n    def offers(self): return [('cpu', 'two')]\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        made_tracker(text, amounts({"cpu": 1, "gpu": 1}))
    assert str(caught.value).startswith(f"--tracker {text!r} is not MODULE:CLASS of a resource tracker: ")
    assert why in str(caught.value)
