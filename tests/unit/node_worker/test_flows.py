"""How a node measures what comes from its peers: bytes, and the time in which anything flowed."""

from __future__ import annotations

from handoff.ids import PeerId
from handoff.node.flows import Flows

A, B = PeerId(1), PeerId(2)


class Clock:
    """Says what the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_values_that_overlap_are_one_time() -> None:
    """Two values at once for two seconds, then a pause, then a third: the pause is not counted, and no second twice."""
    clock = Clock()
    flows = Flows(clock)
    flows.begin(A)
    clock.now += 1
    flows.begin(A)
    flows.moved(A, 10)
    clock.now += 2
    flows.end(A)
    clock.now += 1
    flows.moved(A, 20)
    flows.end(A)
    clock.now += 50
    flows.begin(A)
    clock.now += 1
    flows.moved(A, 5)
    flows.end(A)
    assert flows.take() == [(A, 35, 5.0)]
    assert flows.take() == []


def test_a_value_on_its_way_is_told_bit_by_bit() -> None:
    """Each call tells what came since the last one, also in the middle of a value, and each peer by itself."""
    clock = Clock()
    flows = Flows(clock)
    flows.begin(A)
    flows.moved(A, 10)
    clock.now += 1
    flows.begin(B)
    assert flows.take() == [(A, 10, 1.0)]
    clock.now += 2
    flows.moved(B, 7)
    flows.end(B)
    clock.now += 1
    assert flows.take() == [(A, 0, 3.0), (B, 7, 2.0)]
    flows.moved(A, 1)
    flows.end(A)
    assert flows.take() == [(A, 1, 0.0)]
    assert flows.take() == []


def test_values_that_came_together_count_from_when_they_began_to() -> None:
    """Unless others are on their way at that time: then that time is counted already."""
    clock = Clock()
    flows = Flows(clock)
    since = flows.now()
    clock.now += 2
    flows.came(A, 10, since)
    assert flows.take() == [(A, 10, 2.0)]
    flows.begin(A)
    since = flows.now()
    clock.now += 3
    flows.came(A, 5, since)
    flows.end(A)
    assert flows.take() == [(A, 5, 3.0)] and flows.take() == []
