"""Sessions: exactly once and in order, whatever happens to the connections."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.errors import ProtocolError
from handoff.wire.session import Session


def test_what_is_acknowledged_is_let_go() -> None:
    """Frames are kept until the other end has them."""
    session = Session(1000)
    assert [session.keep(b"h", [], 10), session.keep(b"h", [b"x"], 20), session.keep(b"h", [], 30)] == [1, 2, 3]
    session.acknowledge(2)
    assert session.kept_bytes == 30
    assert [number for number, *_ in session.resume(2)] == [3]


def test_frames_that_came_before_are_no_news() -> None:
    """A repeated frame is recognised; a gap is a protocol error."""
    session = Session(1000)
    assert session.accept(1, 5)
    assert not session.accept(1, 5)
    assert session.accept(2, 5)
    with pytest.raises(ProtocolError, match="frame 4 came after 2"):
        session.accept(4, 5)


def test_what_was_never_sent_can_not_be_acknowledged() -> None:
    """A peer that claims more than it can have is refused."""
    session = Session(1000)
    session.keep(b"h", [], 1)
    with pytest.raises(ProtocolError, match="frame 2 was acknowledged, but only 1 were sent"):
        session.acknowledge(2)
    with pytest.raises(ProtocolError, match="can't go on from frame 5"):
        session.resume(5)


def test_a_session_can_not_go_back_behind_what_was_acknowledged() -> None:
    """What was let go can't be sent again."""
    session = Session(1000)
    session.keep(b"h", [], 1)
    session.acknowledge(1)
    with pytest.raises(ProtocolError, match="can't go on from frame 0"):
        session.resume(0)


def test_too_much_unacknowledged_loses_the_session() -> None:
    """Memory for what is kept is bounded."""
    session = Session(100)
    session.keep(b"h", [], 100)
    assert not session.is_lost
    session.keep(b"h", [], 1)
    assert session.is_lost
    session.acknowledge(1)
    assert not session.is_lost


def test_what_was_received_since_the_last_word_is_counted() -> None:
    """So that the other end hears how far we are before it keeps too much."""
    session = Session(100)
    session.accept(1, 30)
    session.accept(2, 30)
    assert session.unsaid_bytes == 60
    assert session.said() == 2
    assert session.unsaid_bytes == 0


Step = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 1)),
    st.tuples(st.just("deliver"), st.integers(0, 1)),
    st.tuples(st.just("break"), st.integers(0, 3)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(Step, max_size=80))
def test_exactly_once_and_in_order_under_any_loss(steps: list[tuple[str, int]]) -> None:
    """Two ends that talk while connections break at any point, with anything in flight lost, hear each word once and in order."""
    ends = [Session(10**9), Session(10**9)]
    said: list[list[bytes]] = [[], []]
    heard: list[list[bytes]] = [[], []]
    wires: list[list[tuple[int, int, bytes]]] = [[], []]  # what is under way to each end: number, acknowledged, header

    def put(sender: int, number: int, header: bytes) -> None:
        wires[1 - sender].append((number, ends[sender].said(), header))

    def deliver(end: int) -> None:
        number, acknowledged, header = wires[end].pop(0)
        ends[end].acknowledge(acknowledged)
        if ends[end].accept(number, len(header)):
            heard[end].append(header)

    def reconnect() -> None:
        wires[0].clear()
        wires[1].clear()
        again = [ends[end].resume(ends[1 - end].received) for end in (0, 1)]
        for end in (0, 1):
            for number, _, header, _ in again[end]:
                put(end, number, header)

    for what, which in steps:
        if what == "send":
            header = b"%d" % len(said[which])
            said[which].append(header)
            put(which, ends[which].keep(header, [], 1), header)
        elif what == "deliver" and wires[which]:
            deliver(which)
        elif what == "break":
            reconnect()
        for end in (0, 1):
            assert heard[end] == said[1 - end][: len(heard[end])]
    reconnect()
    for end in (0, 1):
        while wires[end]:
            deliver(end)
    assert heard == [said[1], said[0]]
