"""What is learned of functions: means that follow drift and do not count the warm-up."""

from __future__ import annotations

import pytest

from handoff.scheduler.estimates import Estimates, Function


def test_a_slow_first_call_is_forgotten() -> None:
    """The first call of a function imports what it needs; the following ones tell how long it takes."""
    function = Function()
    for seconds in (0.35, 0.005, 0.005, 0.005):
        function.observe(seconds, 100)
    assert function.seconds == pytest.approx(0.005)
    assert function.spread == pytest.approx(0.0)
    assert function.nbytes == pytest.approx(100)


def test_a_quick_run_of_a_well_known_function_is_no_new_start() -> None:
    """After the warm-up, one quick run moves the mean by its weight only."""
    function = Function()
    for _ in range(20):
        function.observe(1.0, 100)
    function.observe(0.01, 100)
    assert function.seconds > 0.9


def test_what_was_never_seen_is_taken_for_usual() -> None:
    """A second before anything ran, then the mean of everything."""
    estimates = Estimates()
    new, old = estimates.of((b"new",)), estimates.of((b"old",))
    assert estimates.seconds(new) == 1.0
    estimates.observe(old, [0.25, 0.35], [10, 30])
    assert estimates.seconds(new) == pytest.approx(0.3)
    assert estimates.nbytes(new) == pytest.approx(20)
    assert estimates.of((b"old",)) is old
