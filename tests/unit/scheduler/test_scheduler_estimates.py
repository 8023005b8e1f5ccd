"""What is learned of functions: means that follow drift and shrug at stragglers, with cold starts told apart."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from handoff.scheduler import estimates as module
from handoff.scheduler.estimates import Estimates, Function


def function_of(*seconds: float) -> Function:
    """One that ran so long, on workers that had run it before."""
    function = Function()
    for each in seconds:
        function.observe(each, 100)
    return function


# ── means ───────────────────────────────────────────────────────────────────


def test_a_slow_first_call_is_forgotten() -> None:
    """The first call of a function imports what it needs; the following ones tell how long it takes."""
    function = function_of(0.35, 0.005, 0.005, 0.005)
    assert function.seconds == pytest.approx(0.005)
    assert function.spread == pytest.approx(0.0)
    assert function.nbytes == pytest.approx(100)


def test_a_quick_run_of_a_well_known_function_is_no_new_start() -> None:
    """After the warm-up, one quick run moves the mean by its weight only."""
    function = function_of(*[1.0] * 20, 0.01)
    assert function.seconds > 0.9


@pytest.mark.parametrize("before", [1, 2, 5, 20, 200])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_one_straggler_hardly_moves_the_mean(before: int, factor: float) -> None:
    """However far away one run was, the mean moves by a bounded part of itself, and is back soon."""
    function = function_of(*[2.0] * before, 2.0 * factor)
    if factor > 1:
        assert 2.0 <= function.seconds <= 2.0 * 1.26
    for _ in range(8):
        function.observe(2.0, 100)
    assert function.seconds == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("factor", [10.0, 0.1, 3.0])
@pytest.mark.parametrize("before", [10, 100])
def test_a_function_that_changed_is_followed(factor: float, before: int) -> None:
    """From the first run after the change on, no more than sixteen until the mean is right; with noise."""
    chance = random.Random(1)
    function = function_of(*(chance.uniform(0.8, 1.2) for _ in range(before)))
    for _ in range(16):
        function.observe(factor * chance.uniform(0.8, 1.2), 100)
    assert function.seconds == pytest.approx(factor, rel=0.25)


def test_the_mean_of_scattered_durations_is_about_their_mean() -> None:
    """Stragglers are cut, and not the ordinary scatter of a function: a mean that is far too low would plan too much."""
    chance = random.Random(2)
    for sigma in (0.2, 0.6):
        several = [math.exp(sigma * chance.gauss(0, 1)) for _ in range(4000)]
        found = [(function := function_of(*several[at : at + 200])).seconds for at in range(0, 4000, 200)]
        assert statistics.fmean(found) == pytest.approx(math.exp(sigma * sigma / 2), rel=0.1)
        assert function.spread == pytest.approx(math.exp(sigma * sigma / 2) * sigma * 0.8, rel=0.5)


# ── cold starts ─────────────────────────────────────────────────────────────


def test_the_first_run_on_a_worker_is_told_apart() -> None:
    """An import of two seconds does not make the function look long, and is not forgotten."""
    function = Function()
    for _ in range(3):
        function.observe_first(2.1, 100)
    assert function.seconds == pytest.approx(2.1), "until there is more, the first runs are all that one can believe"
    for _ in range(10):
        function.observe(0.1, 100)
    assert function.seconds == pytest.approx(0.1)
    assert function.cold_seconds == pytest.approx(2.0)
    function.observe_first(4.1, 100)
    assert function.seconds == pytest.approx(0.1)
    assert 2.0 < function.cold_seconds <= 4.0


def test_a_function_without_imports_has_no_cold_start() -> None:
    """First runs that took as long as the others count as such."""
    function = Function()
    for _ in range(4):
        function.observe_first(1.0, 100)
        function.observe(1.0, 100)
    assert function.cold_seconds == pytest.approx(0.0)
    assert function.count == 8


def test_a_warm_up_on_workers_that_nobody_told_apart_is_no_mean() -> None:
    """A node that does not say which worker ran what: all but its first run are taken for warm ones, until quicker ones come."""
    function = Function()
    function.observe_first(2.0, 100)
    for seconds in (2.0, 2.0, 0.01, 0.01):
        function.observe(seconds, 100)
    assert function.seconds == pytest.approx(0.01)
    assert function.cold_seconds == pytest.approx(2.0, rel=0.01)


def test_what_takes_minutes_is_no_import() -> None:
    """A function that only ever runs first, and came to take much longer, is not told apart for ever."""
    function = function_of(*[1.0] * 10)
    for _ in range(12):
        function.observe_first(600.0, 100)
    assert function.seconds == pytest.approx(600.0, rel=0.1)


# ── the size of what is taken ───────────────────────────────────────────────


def test_time_that_grows_with_the_input_is_told_by_the_input() -> None:
    """For a function whose time is proportional to its input, knowing the bytes halves the error at least; else nothing changes."""
    estimates, chance = Estimates(), random.Random(3)
    grows, constant = estimates.of((b"grows",)), estimates.of((b"constant",))
    sizes = [2**chance.uniform(10, 20) for _ in range(600)]
    for size in sizes:
        for function, seconds in ((grows, size * 1e-5), (constant, chance.uniform(0.9, 1.1))):
            estimates.observe(function, [seconds], [100])
            function.observe_sized(seconds, size)
    def error(function: Function, size: float, *known: float) -> float:
        return abs(math.log(estimates.seconds(function, *known) / (size * 1e-5)))

    without = statistics.fmean(error(grows, size) for size in sizes)
    assert statistics.fmean(error(grows, size, size) for size in sizes) < 0.5 * without
    assert all(estimates.seconds(constant, size) == estimates.seconds(constant) for size in sizes)
    assert estimates.seconds(grows, 2**40) == estimates.seconds(grows), "of such sizes nothing is known"


# ── what was never seen ─────────────────────────────────────────────────────


def test_what_was_never_seen_is_taken_for_usual() -> None:
    """A second before anything ran, then the mean of everything."""
    estimates = Estimates()
    new, old = estimates.of((b"new",)), estimates.of((b"old",))
    assert estimates.seconds(new) == 1.0
    estimates.observe(old, [0.25, 0.35], [10, 30])
    assert estimates.seconds(new) == pytest.approx(0.3)
    assert estimates.nbytes(new) == pytest.approx(20)
    assert estimates.of((b"old",)) is old


def test_another_version_of_a_function_is_believed_a_little() -> None:
    """New code under a known name begins with the mean of the old, which two or three runs outweigh."""
    estimates = Estimates()
    old = estimates.of((b"one",), "fit")
    estimates.observe(old, [5.0] * 20, [1000] * 20)
    new = estimates.of((b"two",), "fit")
    assert estimates.seconds(new) == pytest.approx(5.0)
    assert estimates.nbytes(new) == pytest.approx(1000)
    assert new.count == 2
    estimates.observe(new, [8.0] * 4, [3000] * 4)
    assert estimates.seconds(new) == pytest.approx(7.0)
    assert estimates.nbytes(new) > 2000
    assert estimates.seconds(old) == pytest.approx(5.0)


def test_a_new_version_that_is_quite_another_is_followed_at_once() -> None:
    """Ten times slower or quicker: the old version is forgotten within a few runs, even when each is a first one."""
    for seconds in (0.5, 50.0):
        estimates = Estimates()
        estimates.observe(estimates.of((b"one",), "fit"), [5.0] * 20, [1000] * 20)
        new = estimates.of((b"two",), "fit")
        for _ in range(4):
            estimates.observe_first(new, seconds, 1000)
        assert estimates.seconds(new) == pytest.approx(seconds, rel=0.3)


def test_lambdas_have_only_their_name_in_common() -> None:
    """What one of them took says nothing about another."""
    estimates = Estimates()
    estimates.observe(estimates.of((b"one",), "<lambda>"), [5.0] * 20, [1000] * 20)
    assert estimates.of((b"two",), "<lambda>").count == 0


def test_thousands_of_closures_of_one_name_are_no_burden() -> None:
    """The last few that ran are asked what a new one takes; those that were never run, and the evicted, say nothing."""
    estimates = Estimates()
    for number in range(2000):
        estimates.of((b"unseen%d" % number,), "closure")
        estimates.observe(estimates.of((b"%d" % number,), "closure"), [1.0 + number // 1000], [1])
    assert estimates.of((b"new",), "closure").seconds == pytest.approx(2.0)
    assert len(estimates._versions["closure"]) == module.VERSIONS_MAX


def test_many_codes_are_named_by_a_digest() -> None:
    """A function with many others folded into it is known again, and told from others; its name stays short."""
    estimates = Estimates()
    several = tuple(bytes([number]) * 16 for number in range(100))
    found = estimates.of(several)
    assert estimates.of(several) is found and len(found.key) < 50
    assert estimates.of(several[:-1]) is not found


def test_to_look_is_not_to_note() -> None:
    """Who asks about functions that never run does not push out those that do."""
    estimates = Estimates()
    old = estimates.of((b"one",), "fit")
    estimates.observe(old, [5.0], [1])
    assert estimates.look((b"two",), "fit").seconds == pytest.approx(5.0)
    assert estimates.look((b"one",), "fit") is old
    assert list(estimates.functions.values()) == [old]


# ── kept between runs ───────────────────────────────────────────────────────


def test_rows_bring_everything_back() -> None:
    """What was learned goes on as if nothing had happened: also the cold start, the sizes, and a prior for new versions."""
    estimates = Estimates()
    function = estimates.of((b"one", b"folded"), "fit")
    for _ in range(20):
        estimates.observe_first(function, 3.0, 50)
        estimates.observe(function, [1.0, 1.2], [100, 200])
        function.observe_sized(2.0, 1e6)
        function.grade(1.1)
    again = Estimates()
    again.recall(estimates.remembered())
    found = again.of((b"one", b"folded"), "fit")
    assert found.row() == function.row()
    assert (found.cold_seconds, found.spread) == (function.cold_seconds, function.spread)
    assert again.seconds(found, 1e6) == pytest.approx(2.0)
    assert again.of((b"new",), "fit").seconds == pytest.approx(function.seconds)
    assert again.seconds(again.of((b"x",), "other")) == pytest.approx(function.seconds)


def test_only_news_is_kept_again() -> None:
    """Rows are asked for often; they are those of functions that ran since, in as many portions as they are asked for."""
    estimates = Estimates()
    functions = [estimates.of((bytes([number]),), "f") for number in range(5)]
    for function in functions:
        estimates.observe(function, [1.0], [1])
    assert [len(estimates.remembered(2)) for _ in range(4)] == [2, 2, 1, 0]
    estimates.observe(functions[3], [1.0], [1])
    assert [row[0] for row in estimates.remembered()] == ["03"]
    again = Estimates()
    again.recall([functions[3].row()])
    assert again.remembered() == []


def test_the_longest_unused_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded."""
    monkeypatch.setattr(module, "FUNCTIONS_MAX", 3)
    estimates = Estimates()
    for number in (1, 2, 3, 1, 4):
        estimates.observe(estimates.of((bytes([number]),), "f"), [1.0], [1])
    assert list(estimates.functions) == ["03", "01", "04"]
    assert [row[0] for row in estimates.remembered()] == ["01", "03", "04"]
    again = Estimates()
    again.recall([Function(f"{number:02}", "g").row()[:2] + function_of(1.0).row()[2:] for number in range(5)])
    assert list(again.functions) == ["02", "03", "04"]


@pytest.mark.parametrize("spoiled", [
    (), ("key", "name"), (None,) * 13, ("key", "name", 3, 1, 0, 0, float("nan"), 0.0, 0.0, 0.0, 0.0, 0.0, ""),
    ("key", "name", 3, 1, 0, 0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, ""), ("key", "name", "many", 1, 0, 0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, ""),
    ("key", "name", 3, 1, 0, 0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, "nonsense"), ("key", "name", float("inf"), 1, 0, 0, 1.0, *[0.0] * 5, ""),
    ("key", "name", 3, 1, 0, 0, 1e300, *[0.0] * 5, ""), ("key", "name", 3, 1, 0, 0, 1.0, 0.0, 1e300, *[0.0] * 3, ""),
    ("key", "name", 3, 1, 0, 0, 1.0, 0.0, 1.0, 1e300, 0.0, 0.0, ""), ("key", "name", 3, 1, 0, 0, 1.0, *[0.0] * 4, 1e300, ""),
    ("key", "name", 3, 1, 0, 0, 1.0, *[0.0] * 5, "5:9:-1e6:0"), ("key", "name", 3, 1, 0, 0, 1.0, *[0.0] * 5, "5:-9:1:0"),
    ("key", "name", 3, 1, 0, 0, 1.0, *[0.0] * 5, "7:100:inf:0.0"),
    ("key", "name", 3, 1, 0, 0, 1.0, *[0.0] * 5, "7:100:nan:0.0"),
])
def test_rows_that_make_no_sense_are_passed_over(spoiled: tuple[object, ...]) -> None:
    """A file may hold anything; the good rows in it count."""
    estimates = Estimates()
    good = function_of(1.0)
    good.key, good.name = "ab", "good"
    estimates.recall([spoiled, good.row()])
    assert list(estimates.functions) == ["ab"]
