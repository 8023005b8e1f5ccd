"""The driver: all events of a turn are taken before the brain settles; deadlines become ticks; a failing brain ends loudly."""

from __future__ import annotations

import asyncio
from typing import Any

from handoff.loop import Driver, new_event_loop, run


class Notebook:
    """A brain that writes down what it is told and asks for what it is given."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.turns: list[list[Any]] = []
        self._taken: list[Any] = []

    def take(self, now: float, event: Any) -> None:
        """Note it; "fail" is a bug, a number is a deadline so many seconds ahead."""
        if event == "fail":
            raise ValueError("a bug")
        self.deadline = now + event if isinstance(event, float) else None
        self._taken.append(event)

    def settle(self, now: float) -> list[Any]:
        """Ask for what was taken."""
        taken, self._taken = self._taken, []
        self.turns.append(taken)
        return taken


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_events_of_one_turn_are_settled_together() -> None:
    """Three events that come in one turn are one turn of the brain, and its effects are performed in order."""
    brain, performed = Notebook(), []
    driver = Driver(brain, performed.append, "tick", performed.append)
    for event in ("a", "b", "c"):
        driver.post(event)
    assert brain.turns == []
    await turns(2)
    assert brain.turns == [["a", "b", "c"]]
    assert performed == ["a", "b", "c"]
    driver.stop()


async def test_a_deadline_becomes_a_tick() -> None:
    """The brain is told when its own deadline has passed, once."""
    brain, ticked = Notebook(), asyncio.Event()
    driver = Driver(brain, lambda effect: ticked.set() if effect == "tick" else None, "tick", lambda error: None)
    driver.post(0.001)
    await asyncio.wait_for(ticked.wait(), 5)
    assert brain.turns == [[0.001], ["tick"]]
    driver.stop()


async def test_a_failing_brain_stops_the_driver_and_is_reported() -> None:
    """A bug in a brain is told to the shell, and nothing more is given to a brain that is half changed."""
    brain, failures = Notebook(), []
    driver = Driver(brain, lambda effect: None, "tick", failures.append)
    driver.post("fail")
    await turns(2)
    driver.post("later")
    await turns(2)
    assert [str(failure) for failure in failures] == ["a bug"]
    assert brain.turns == []


async def test_a_stopped_driver_takes_nothing() -> None:
    """After stop, neither events nor the first words are heard."""
    brain = Notebook()
    driver = Driver(brain, lambda effect: None, "tick", lambda error: None)
    driver.start()
    driver.stop()
    driver.start()
    driver.post("late")
    await turns(3)
    assert brain.turns == []


def test_run_gives_the_result_of_its_coroutine() -> None:
    """`run` is what a daemon's main calls, on the best loop there is."""

    async def answer() -> tuple[str, int]:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0], 42

    library, value = run(answer())
    loop = new_event_loop()
    loop.close()
    assert value == 42
    assert library == type(loop).__module__.partition(".")[0]
