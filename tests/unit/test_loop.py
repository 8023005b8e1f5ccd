"""The driver: all events of a turn are taken before the brain settles; deadlines become ticks; a failing brain ends loudly."""

from __future__ import annotations

import asyncio
from typing import Any

from handoff.loop import LATE_SECONDS, Driver, new_event_loop, run, this_turn


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


class Patient(Notebook):
    """One that counts how often it is asked for its deadline, which it puts off while it waits."""

    def take(self, now: float, event: Any) -> None:
        """A number is a deadline so many seconds ahead, and stays."""
        if isinstance(event, float):
            self.deadline = now + event
        self._taken.append(event)


async def test_a_deadline_that_was_put_off_ticks_once_and_not_before() -> None:
    """An alarm that was set for an earlier deadline rings, finds that it is too early, and is set again without a word to the brain."""
    brain, ticked, loop = Patient(), asyncio.Event(), asyncio.get_running_loop()
    told: list[float] = []

    def perform(effect: Any) -> None:
        if effect == "tick":
            told.append(loop.time())
            brain.deadline = None
            ticked.set()

    driver = Driver(brain, perform, "tick", lambda error: None, clock=loop.time)
    driver.post(0.002)
    await turns(2)
    driver.post(0.02)
    await turns(2)
    due = brain.deadline
    await asyncio.wait_for(ticked.wait(), 5)
    assert due is not None and told[0] >= due
    assert brain.turns == [[0.002], [0.02], ["tick"]]
    driver.stop()


async def test_an_alarm_never_rings_before_its_time() -> None:
    """Loops round to milliseconds; a deadline that lies between two is rung after it, with one tick."""
    brain, ticked, loop = Patient(), asyncio.Event(), asyncio.get_running_loop()

    def perform(effect: Any) -> None:
        if effect == "tick":
            brain.deadline = None
            ticked.set()

    driver = Driver(brain, perform, "tick", lambda error: None, clock=loop.time)
    for number in range(20):
        ticked.clear()
        driver.post(0.0013 + number * 0.0001)
        await asyncio.wait_for(ticked.wait(), 5)
    assert len(brain.turns) == 40
    assert LATE_SECONDS < 0.01
    driver.stop()


async def test_what_comes_in_a_turn_is_followed_up_at_its_end() -> None:
    """In order, and once; what that asks for is done in the same end, not in the loop's next round."""
    turn, done = this_turn(), []

    def first() -> None:
        done.append("first")
        turn.at_end(lambda: done.append("what the first asked for"))

    with turn:
        turn.at_end(first)
        with turn:                      # one thing leads to another
            turn.at_end(lambda: done.append("second"))
        assert done == []
    assert done == ["first", "second", "what the first asked for"]
    await turns(2)
    assert len(done) == 3


async def test_what_is_asked_for_outside_of_a_turn_is_done_in_the_next_round() -> None:
    """Whoever asks goes on first."""
    turn, done = this_turn(), []
    turn.at_end(lambda: done.append(1))
    turn.at_end(lambda: done.append(2))
    assert done == []
    await turns(2)
    assert done == [1, 2]


async def test_an_error_at_the_end_of_a_turn_does_not_stop_the_others() -> None:
    """It is the loop's to report, as for any callback."""
    turn, done, errors, loop = this_turn(), [], [], asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))

    def fails() -> None:
        raise ValueError("a bug")

    with turn:
        turn.at_end(fails)
        turn.at_end(lambda: done.append("other"))
    assert done == ["other"] and [str(error) for error in errors] == ["a bug"]


async def test_a_driver_answers_in_the_turn_in_which_it_was_asked() -> None:
    """What was posted in a turn is settled, and performed, before the turn is left."""
    brain, performed = Notebook(), []
    driver = Driver(brain, performed.append, "tick", performed.append)
    with this_turn():
        driver.post("a")
        driver.post("b")
        assert performed == []
    assert brain.turns == [["a", "b"]] and performed == ["a", "b"]
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
