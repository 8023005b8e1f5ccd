"""Stories of very many tasks: what is worked out grows with the run, not with its square."""

from __future__ import annotations

from collections.abc import Callable

from counted import calls_in

from handoff.client.story.causes import causes_of, critical_path
from handoff.client.story.records import Done, Story


def chain(tasks: int) -> Story:
    """Each task takes the result of the one before."""
    return Story("chain", [Done(task, f"t{task}", "f", "n1", 1, float(task), 1.0, [task - 1] if task else []) for task in range(tasks)])


class Counted(float):
    """Seconds that count how often they are compared."""

    compared = 0

    def __add__(self, other: float) -> Counted:
        return Counted(float(self) + other)

    def __le__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) <= other

    def __lt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) < other


def grows(of: Callable[[int], int], few: int = 200) -> float:
    """How many times as much is done for four times as many."""
    return of(4 * few) / of(few)


def test_a_long_critical_path_is_worked_out_leg_by_leg() -> None:
    """A leg costs the same in a path of 800 as in one of 200."""
    stories = {tasks: chain(tasks) for tasks in (200, 800)}
    causes = {tasks: causes_of(story) for tasks, story in stories.items()}
    assert grows(lambda tasks: calls_in(lambda: critical_path(stories[tasks], causes[tasks]))) < 5


def test_each_of_very_many_at_once_finds_its_row_at_once() -> None:
    """Coroutines that one worker runs side by side, all of them at the same time, are not compared each with all others."""
    def comparisons(tasks: int) -> int:
        Counted.compared = 0
        Story("crowd", [Done(task, "t", "f", "n1", 1, Counted(task), float(tasks), is_shared=True) for task in range(tasks)])
        return Counted.compared

    assert grows(comparisons) < 8


def test_rows_are_filled_from_the_first() -> None:
    """The first row that is free takes what starts next."""
    spans = [(0, 4), (1, 1), (2, 3), (3, 1), (4, 1), (5, 1)]
    story = Story("rows", [Done(task, "t", "f", "n1", 1, float(at), float(long), is_shared=True) for task, (at, long) in enumerate(spans)])
    assert [story.tasks[task].row for task in range(len(spans))] == [0, 1, 1, 2, 0, 0]
