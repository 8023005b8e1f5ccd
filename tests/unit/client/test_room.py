"""Memory for values that are on their way: as long as they are, and not a page fault for each page."""

from __future__ import annotations

import resource
import sys

import pytest

from handoff.client.room import HUGE_BYTES, HUGE_PAGE, MAPPED_BYTES, room_for


@pytest.mark.parametrize("total", [1, MAPPED_BYTES - 1, MAPPED_BYTES, HUGE_BYTES - 1, HUGE_BYTES, HUGE_BYTES + HUGE_PAGE + 5])
def test_there_is_room_for_all_of_it_and_no_more(total: int) -> None:
    """The last byte can be written, and the view ends there."""
    room = room_for(total)
    room[-1:] = b"x"

    assert room.nbytes == total
    assert bytes(room[-1:]) == b"x"
    assert not any(bytes(room[:-1][:100_000]))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pages come one by one")
def test_pages_come_all_at_once() -> None:
    """A value of 2 MB: with each page when it is written to first, 500 faults."""
    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    room, piece = room_for(2_000_000), bytes(20_000)
    before = faults()
    for at in range(0, len(room), len(piece)):
        room[at : at + len(piece)] = piece

    assert faults() - before < 100
