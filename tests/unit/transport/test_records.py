"""Heads and greetings of bulk connections: what is written is read, and nothing else is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handoff.errors import ProtocolError
from handoff.transport.records import (
    EACH_BYTES,
    GREETING_BYTES,
    HEAD_BYTES,
    Head,
    Kind,
    cut_apart,
    greeting,
    opened_head,
    proven,
    sealed_head,
    ticket_in,
    whose,
)
from handoff.trust.sealing import TAG_BYTES, Seal

KEY, OTHER, TICKET = b"k" * 32, b"o" * 32, b"t" * 16
HEAD = Head(Kind.PIECE, 3, 7, 1000, 0)


def seal(key: bytes = KEY, direction: bytes = b"values") -> Seal:
    """One end of one direction."""
    return Seal(key, direction)


def test_a_head_says_what_it_said() -> None:
    """With the largest numbers, too."""
    here, there = seal(), seal()
    for head in (HEAD, Head(Kind.STOP, 2**62, 2**32 - 1, 2**63, 2**62)):
        said = sealed_head(head, here)
        assert len(said) == HEAD_BYTES and opened_head(said, there) == head


def test_pieces_are_whole_but_for_the_last() -> None:
    """How much follows a head is known from what it says; nothing follows a stop."""
    assert [replace(HEAD, offset=offset).nbytes(400) for offset in (0, 400, 800)] == [400, 400, 200]
    assert replace(HEAD, kind=Kind.STOP).nbytes(400) == 0


@pytest.mark.parametrize("wrong", [
    {"offset": 800}, {"offset": 0}, {"offset": 399}, {"task": 8, "offset": 400}, {"run": 4, "offset": 400}, {"total": 1001, "offset": 400},
])
def test_a_piece_out_of_its_place_is_refused(wrong: dict[str, int]) -> None:
    """Of another value, or with something between left out."""
    replace(HEAD, offset=400).check_follows(HEAD, 400)
    with pytest.raises(ProtocolError, match="3/7 at 400 of 1000 is due"):
        replace(HEAD, **wrong).check_follows(HEAD, 400)  # type: ignore[arg-type]


def test_heads_that_make_no_sense_are_refused() -> None:
    """Whoever has the key may be mistaken, too."""
    for offset in (1000, 5000):
        with pytest.raises(ProtocolError, match="of a value of 1000 bytes"):
            opened_head(sealed_head(replace(HEAD, offset=offset), seal()), seal())
    said = bytearray(HEAD_BYTES)
    seal().seal(b"\x09" + HEAD.pack()[1:], b"head", memoryview(said))
    with pytest.raises(ProtocolError, match="nothing known"):
        opened_head(said, seal())


def test_values_together_are_cut_apart_as_they_were() -> None:
    """Of any length; where what is said of them does not fit what is there, none of them is believed."""
    values = [(3, b"abc"), (2**32 - 1, b""), (4, b"d" * 1000)]
    said = whose([(task, len(data)) for task, data in values])
    together = memoryview(said + b"".join(data for _, data in values))
    assert len(said) == len(values) * EACH_BYTES
    assert [(task, bytes(data)) for task, data in cut_apart(3, together)] == values
    for wrong in (together[:-1], memoryview(bytes(together) + b"x"), memoryview(whose([(1, 2**63)]))):
        with pytest.raises(ProtocolError, match="that are said to have"):
            cut_apart(3 if len(wrong) > EACH_BYTES else 1, wrong)


@pytest.mark.parametrize(("count", "total", "offset"), [(0, 1000, 0), (2, 1001, 0), (84, 1000, 0), (2, 23, 0), (2, 1000, 1)])
def test_more_than_travels_together_is_refused(count: int, total: int, offset: int) -> None:
    """Before memory is taken for it."""
    Head(Kind.SEVERAL, 3, 2, 1000, 0).check_several(1000)
    with pytest.raises(ProtocolError, match=f"{count} values of 3 together in {total} bytes, which are to be 1000 at most"):
        Head(Kind.SEVERAL, 3, count, total, offset).check_several(1000)


def test_a_head_does_not_pass_for_bytes() -> None:
    """What was sealed as a piece of a value does not open as a head, though it be one."""
    said = bytearray(len(HEAD.pack()) + TAG_BYTES)
    seal().seal(HEAD.pack(), HEAD.pack(), memoryview(said))
    with pytest.raises(ProtocolError):
        opened_head(said, seal())


@pytest.mark.parametrize("is_clear", [False, True])
def test_a_greeting_proves_the_key(is_clear: bool) -> None:
    """It names its offer, and says in which way values are to come."""
    said = greeting(TICKET, is_clear, seal(direction=b"greeting"))
    assert len(said) == GREETING_BYTES and ticket_in(said) == TICKET
    assert proven(said, seal(direction=b"greeting")) is is_clear
    with pytest.raises(ProtocolError, match="does not know its key"):
        proven(said, seal(OTHER, b"greeting"))


def test_encrypted_can_not_be_turned_into_clear() -> None:
    """Every byte of a greeting counts: the mode, the ticket, the proof."""
    said = greeting(TICKET, False, seal(direction=b"greeting"))
    for at in range(len(said)):
        changed = bytearray(said)
        changed[at] ^= 1
        with pytest.raises(ProtocolError):
            ticket_in(bytes(changed))
            proven(bytes(changed), seal(direction=b"greeting"))


@pytest.mark.parametrize("said", [b"", b"HBLK1", b"HTTP/1.1" * 10, b"HBLK2" + bytes(GREETING_BYTES - 5)])
def test_what_is_no_greeting_is_refused(said: bytes) -> None:
    """Of another length or beginning."""
    with pytest.raises(ProtocolError, match="not the greeting"):
        ticket_in(said)
