"""What is sealed opens once, unchanged, in its order, with its label, in its direction; anything else does not."""

from __future__ import annotations

import pytest

from handoff.errors import ProtocolError
from handoff.trust.sealing import KEY_BYTES, TAG_BYTES, Seal, fresh_key

KEY = bytes(range(KEY_BYTES))


def sealed(seal: Seal, plain: bytes, about: bytes = b"label") -> bytearray:
    """One piece, as it travels."""
    made = bytearray(len(plain) + TAG_BYTES)
    seal.seal(plain, about, memoryview(made))
    return made


def opened(seal: Seal, said: bytes | bytearray, about: bytes = b"label") -> bytes:
    """The reverse."""
    plain = bytearray(len(said) - TAG_BYTES)
    seal.open(said, about, memoryview(plain))
    return bytes(plain)


def ends(rekey_bytes: int = 1 << 37) -> tuple[Seal, Seal]:
    """Who seals, and who opens."""
    return Seal(KEY, b"there", rekey_bytes), Seal(KEY, b"there", rekey_bytes)


def test_pieces_open_in_their_order() -> None:
    """What went in comes out, and the same bytes never look the same."""
    here, there = ends()
    pieces = [b"one", b"one", b"", b"two" * 1000]
    travelling = [sealed(here, piece) for piece in pieces]
    assert [opened(there, each) for each in travelling] == pieces
    assert travelling[0] != travelling[1] and b"two" not in travelling[3]


@pytest.mark.parametrize("bit", [0, 8 * 5 + 3, -1])
def test_a_changed_bit_does_not_open(bit: int) -> None:
    """In the bytes or in the tag."""
    here, there = ends()
    said = sealed(here, b"pickled")
    said[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProtocolError, match="does not open"):
        opened(there, said)


def test_another_label_key_or_direction_does_not_open() -> None:
    """Only this connection, this way round, about this."""
    said = sealed(ends()[0], b"pickled")
    for other in (Seal(fresh_key(), b"there"), Seal(KEY, b"back")):
        with pytest.raises(ProtocolError):
            opened(other, said)
    with pytest.raises(ProtocolError):
        opened(ends()[1], said, b"another label")


def test_repeated_left_out_and_swapped_pieces_do_not_open() -> None:
    """Each is due at its turn alone."""
    here, _ = ends()
    one, two = sealed(here, b"one"), sealed(here, b"two")
    for order in ([one, one], [two], [two, one]):
        _, there = ends()
        with pytest.raises(ProtocolError):
            for each in order:
                opened(there, each)


def test_keys_are_replaced_in_time_by_both_ends() -> None:
    """After so many bytes both go on with the next key, which opens what comes then, and the old one does not."""
    here, there = ends(rekey_bytes=10)
    for piece in (b"12345", b"67890", b"abcde", b"f" * 20, b"g"):
        assert opened(there, sealed(here, piece)) == piece
    one_key, two_keys = ends()[0], ends(rekey_bytes=10)[0]
    travelling = [(sealed(one_key, piece), sealed(two_keys, piece)) for piece in (b"12345", b"67890", b"a")]
    assert [a == b for a, b in travelling] == [True, True, False]
