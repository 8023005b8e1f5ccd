"""Frames out of a stream of bytes: any chunking, any size, any garbage."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.errors import ProtocolError
from handoff.settings import KIB, MIB, WireSettings
from handoff.wire.frames import DIRECT_BYTES, HEAD_BYTES, SESSION, Reader, head, widen

SETTINGS = WireSettings(header_bytes_max=2 * MIB, body_bytes_max=2 * MIB)


class Listening:
    """A reader and what it heard."""

    def __init__(self, opened: bool = True) -> None:
        self.frames: list[tuple[int, int, int, bytes, bytes]] = []
        self.places: dict[bytes, memoryview] = {}
        self.asked: list[tuple[bytes, int]] = []
        self.reader = Reader(SETTINGS, self.receive, self.place)
        if opened:
            self.reader.open()

    def receive(self, flags: int, number: int, acknowledged: int, header: object, body: object) -> None:
        self.frames.append((flags, number, acknowledged, bytes(header), bytes(body)))  # type: ignore[call-overload]

    def place(self, header: object, nbytes: int) -> memoryview | None:
        self.asked.append((bytes(header), nbytes))  # type: ignore[call-overload]
        return self.places.get(bytes(header))  # type: ignore[call-overload]

    def feed(self, data: bytes, step: int = 1 << 30) -> Listening:
        """Give it these bytes, at most `step` at a time, as a transport would."""
        at = 0
        while at < len(data):
            buffer = self.reader.buffer()
            size = min(step, len(buffer), len(data) - at)
            assert size > 0
            buffer[:size] = data[at : at + size]
            at += size
            self.reader.advance(size)
        return self


def frame(header: bytes, body: bytes = b"", flags: int = 0, number: int = 0, acknowledged: int = 0) -> bytes:
    """The bytes of one frame."""
    return head(len(header), len(body), flags, number, acknowledged) + header + body


SIZES = st.sampled_from([0, 1, 20, 300, DIRECT_BYTES - 1, DIRECT_BYTES, DIRECT_BYTES + 7, 100 * KIB])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SIZES, SIZES), max_size=6), st.sampled_from([1, 7, 19, 20, 21, 1000, 16 * KIB, 50_000, 1 << 30]))
def test_any_chunking_gives_the_same_frames(sizes: list[tuple[int, int]], step: int) -> None:
    """However the bytes are cut, the frames come out as they went in."""
    sent = [(SESSION, n, n // 2, bytes([n + 1]) * header, bytes([n + 101]) * body) for n, (header, body) in enumerate(sizes)]
    stream = b"".join(frame(header, body, flags, number, acknowledged) for flags, number, acknowledged, header, body in sent)
    if step < 100 and len(stream) > 20_000:
        step = 997  # the same, with fewer calls
    assert Listening().feed(stream, step).frames == sent


@pytest.mark.parametrize("step", [100, 16 * KIB, 1 << 20])
def test_a_large_body_goes_straight_to_its_place(step: int) -> None:
    """The memory that was named for a body is filled, in whatever pieces it comes, and frames before and after are whole."""
    listening = Listening()
    place = bytearray(300_000)
    listening.places[b"big"] = memoryview(place)
    body = bytes(range(250)) * 1200
    listening.feed(frame(b"small", b"abc") + frame(b"big", body) + frame(b"after"), step)
    assert bytes(place) == body
    assert listening.asked == [(b"big", 300_000)]
    assert [each[3] for each in listening.frames] == [b"small", b"big", b"after"]


def test_a_place_of_the_wrong_size_is_a_mistake_of_ours() -> None:
    """Memory that does not fit the body is refused, not overrun."""
    listening = Listening()
    listening.places[b"big"] = memoryview(bytearray(10))
    with pytest.raises(ValueError, match="a body of 20000 bytes was given a place of 10"):
        listening.feed(frame(b"big", b"x" * 20_000))


def test_strangers_say_little() -> None:
    """Before the peer is known, a header over the small cap or any body is refused; afterwards the settings hold."""
    assert Listening(opened=False).feed(frame(b"h" * 4096)).frames
    with pytest.raises(ProtocolError, match=r"a frame of 4097 \+ 0 bytes \(header \+ body\) where 4096 \+ 0 are allowed"):
        Listening(opened=False).feed(frame(b"h" * 4097))
    with pytest.raises(ProtocolError, match=r"a frame of 1 \+ 1 bytes"):
        Listening(opened=False).feed(frame(b"h", b"b"))
    assert Listening().feed(frame(b"h" * 4097)).frames


def test_the_caps_change_within_one_read() -> None:
    """A welcome and a large message may come in one packet."""
    listening = Listening(opened=False)
    heard = listening.receive

    def receive(*frame: object) -> None:
        heard(*frame)  # type: ignore[arg-type]
        listening.reader.open()

    listening.reader = Reader(SETTINGS, receive, listening.place)
    listening.feed(frame(b"welcome") + frame(b"h" * 5000, b"b" * 100))
    assert [len(each[3]) for each in listening.frames] == [7, 5000]


@pytest.mark.parametrize("lengths", [(2 * MIB + 1, 0), (0, 2 * MIB + 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_lengths_are_checked_before_memory_is_taken(lengths: tuple[int, int]) -> None:
    """A head that announces too much is refused without allocating any of it."""
    listening = Listening()
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="are allowed"):
            listening.feed(head(*lengths))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 20, b"H2" + b"\x00" * 18])
def test_other_protocols_are_named_as_such(garbage: bytes) -> None:
    """What is no frame is refused with its first bytes."""
    with pytest.raises(ProtocolError, match="not a frame of Handoff: it begins with b'"):
        Listening().feed(garbage)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=HEAD_BYTES, max_size=60), st.booleans())
def test_garbage_is_a_protocol_error_or_waits(data: bytes, with_magic: bool) -> None:
    """Whatever comes, nothing but a ProtocolError is raised."""
    with contextlib.suppress(ProtocolError):
        Listening().feed(b"H1" + data if with_magic else data)


def test_an_idle_reader_is_small_and_a_busy_one_grows() -> None:
    """The buffer starts small and doubles while reads fill it."""
    listening = Listening()
    assert len(listening.reader.buffer()) == 16 * KIB
    for _ in range(8):
        listening.feed(frame(b"x" * 980) * 1024)
    assert len(listening.reader.buffer()) == 256 * KIB


@given(st.integers(0, 2**40), st.integers(-(2**31) + 1, 2**31 - 1))
def test_short_numbers_are_widened(near: int, distance: int) -> None:
    """A number of which 32 bits travelled is found again near the one that is expected."""
    number = max(near + distance, 0)
    assert widen(number & 0xFFFFFFFF, near) == number


def test_a_closed_reader_holds_no_memory_of_others() -> None:
    """Half a body is let go of at once, since the place it went to may be a large value."""
    listening, place = Listening(), bytearray(100 * KIB)
    listening.places[b"value"] = memoryview(place)
    listening.feed(frame(b"value", bytes(100 * KIB))[: 50 * KIB])
    with pytest.raises(BufferError):
        place.clear()
    listening.places.clear()
    listening.reader.close()
    place.clear()
    assert len(listening.reader.buffer()) > 0
