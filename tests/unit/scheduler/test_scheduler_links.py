"""How fast values flow between nodes: per pair where something was measured, else what is most like it."""

from __future__ import annotations

import pytest

from handoff.scheduler import links as module
from handoff.scheduler.links import Links

MIB = 1 << 20


def test_a_pair_then_its_target_then_the_cluster_then_the_settings() -> None:
    """Each is the fallback of the one before it."""
    links = Links(500e6)
    assert links.rate("a", "b") == links.default == 500e6
    links.observe("a", "b", 100 * MIB, 1.0)
    links.observe("c", "d", 300 * MIB, 1.0)
    assert links.rate("a", "b") == pytest.approx(100 * MIB)
    assert links.rate("x", "d") == pytest.approx(300 * MIB)
    assert links.rate("b", "a") == links.default == pytest.approx(links.rate("x", "y"))
    assert 100 * MIB < links.default < 300 * MIB
    assert links.measured() == [("a", "b", pytest.approx(100 * MIB)), ("c", "d", pytest.approx(300 * MIB))]


def test_little_says_nothing_until_it_adds_up() -> None:
    """A few kilobytes come out of a buffer; a megabyte in sum is a measurement."""
    links = Links(500e6)
    for _ in range(15):
        links.observe("a", "b", MIB / 16, 0.001)
        assert links.rate("a", "b") == 500e6
    links.observe("a", "b", MIB / 8, 0.002)
    assert links.rate("a", "b") == pytest.approx(MIB / 0.016, rel=0.05)


def test_the_last_transfers_weigh_most() -> None:
    """A network that became ten times slower is known to be so after a few hundred megabytes, one slow transfer hardly counts."""
    links = Links(500e6)
    for _ in range(40):
        links.observe("a", "b", 64 * MIB, 0.1)
    fast = links.rate("a", "b")
    links.observe("a", "b", MIB, 0.1)
    assert links.rate("a", "b") > 0.5 * fast
    for _ in range(20):
        links.observe("a", "b", 64 * MIB, 1.0)
    assert links.rate("a", "b") == pytest.approx(64 * MIB, rel=0.1)


@pytest.mark.parametrize(("nbytes", "seconds"), [
    (0, 1.0), (-5, 1.0), (1e19, 1.0), (MIB, 0.0), (MIB, -1.0), (MIB, float("nan")), (MIB, 1e300),
])
def test_nonsense_is_passed_over(nbytes: float, seconds: float) -> None:
    """A node may say anything."""
    links = Links(500e6)
    links.observe("a", "b", nbytes, seconds)
    assert links.rate("a", "b") == 500e6 and not links.pairs


def test_what_is_kept_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of what changed; those that make no sense are passed over, and no more than a bounded number is known."""
    links = Links(500e6)
    links.observe("a", "b", 100 * MIB, 1.0)
    links.observe("c", "b", 10 * MIB, 1.0)
    rows = links.remembered()
    assert (len(rows), links.remembered()) == (2, [])
    again = Links(500e6)
    again.recall([("x",), ("x", "y", "much", 1.0), ("x", "y", float("inf"), 1.0), *rows])
    assert again.measured() == links.measured()
    assert again.rate("z", "b") == pytest.approx(links.rate("z", "b"), rel=0.1)
    assert again.remembered() == []

    monkeypatch.setattr(module, "PAIRS_MAX", 2)
    for source, target in (("a", "b"), ("p", "q"), ("r", "s")):
        again.observe(source, target, MIB, 1.0)
    assert list(again.pairs) == [("p", "q"), ("r", "s")]
