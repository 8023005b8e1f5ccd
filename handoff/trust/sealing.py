"""Seals what travels beside TLS: AES-256-GCM, under keys that come from one random key, which was handed over within TLS.

What is sealed first is opened first: the number of each piece is its nonce, and never travels. So what was changed, repeated, left out or
put into another order, or belongs to another connection or direction, does not open.
"""

from __future__ import annotations

import os
from typing import TypeAlias, Union

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from handoff.errors import ProtocolError
from handoff.trust.secret import derive

Buffer: TypeAlias = Union[bytes, bytearray, memoryview]

KEY_BYTES = 32
TAG_BYTES = 16            # so much longer is what is sealed
REKEY_BYTES = 1 << 37     # under one key: far from where AES-GCM begins to tell random bytes from its own


def fresh_key() -> bytes:
    """A key for one connection."""
    return os.urandom(KEY_BYTES)


class Seal:
    """One direction of one connection, at one of its ends. Sealing and opening let other threads run Python meanwhile."""

    __slots__ = ("_cipher", "_key", "_number", "_rekey_bytes", "_under_this_key")

    def __init__(self, key: bytes, direction: bytes, rekey_bytes: int = REKEY_BYTES) -> None:
        self._key = derive(key, b"bulk " + direction, KEY_BYTES)
        self._cipher = AESGCM(self._key)
        self._number = self._under_this_key = 0
        self._rekey_bytes = rekey_bytes

    def seal(self, plain: Buffer, about: Buffer, into: memoryview) -> None:
        """`into` has TAG_BYTES more than `plain`; `about` is not in it, but has to be the same when it is opened."""
        nonce = self._nonce(len(plain))
        self._cipher.encrypt_into(nonce, plain, about, into)

    def open(self, sealed: Buffer, about: Buffer, into: memoryview) -> None:
        """The reverse. Raises ProtocolError for what is not the next piece; `into` is to be thrown away then."""
        nonce = self._nonce(len(sealed) - TAG_BYTES)
        try:
            self._cipher.decrypt_into(nonce, sealed, about, into)
        except InvalidTag:
            raise ProtocolError("a sealed piece does not open: it was changed, or is not the one that is due") from None

    def _nonce(self, nbytes: int) -> bytes:
        """Of the next piece; after enough of them, a new key that does not tell the old one."""
        if self._under_this_key + nbytes > self._rekey_bytes:
            self._key = derive(self._key, b"bulk next", KEY_BYTES)
            self._cipher, self._under_this_key = AESGCM(self._key), 0
        self._under_this_key += nbytes
        self._number += 1
        return self._number.to_bytes(12, "little")
