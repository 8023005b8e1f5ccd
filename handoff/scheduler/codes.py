"""Code as bytes, by digest: kept while a run needs it, then for a while longer in case the next run brings the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from handoff.columns import Body
from handoff.errors import ProtocolError

IDLE_BYTES_MAX = 256 * 1024 * 1024   # code that no run needs; what was not needed for longest goes first


class CodeStore:
    """All code that this coordinator holds. It never looks inside."""

    def __init__(self, idle_bytes_max: int = IDLE_BYTES_MAX) -> None:
        self.idle_bytes_max = idle_bytes_max
        self.blobs: dict[bytes, bytes] = {}
        self.uses: dict[bytes, int] = {}
        self.idle: dict[bytes, None] = {}     # not used by any run, the longest unused first
        self.idle_bytes = 0

    def add(self, codes: Sequence[tuple[bytes, int]], body: Body) -> None:
        """A run brings this code and uses it; ProtocolError when the bytes do not fit the sizes."""
        data = memoryview(b"".join(body) if isinstance(body, tuple) else body)
        if (said := sum([size for _, size in codes])) != len(data):
            raise ProtocolError(f"the code of a program is said to be {said} bytes, but {len(data)} came")
        at = 0
        for digest, size in codes:
            if digest not in self.blobs:
                self.blobs[digest] = bytes(data[at : at + size])
            elif digest in self.idle:
                del self.idle[digest]
                self.idle_bytes -= len(self.blobs[digest])
            self.uses[digest] = self.uses.get(digest, 0) + 1
            at += size

    def release(self, codes: Sequence[tuple[bytes, int]]) -> list[bytes]:
        """A run is over; answers with the digests of what is dropped for good."""
        for digest, _ in codes:
            left = self.uses[digest] - 1
            if left:
                self.uses[digest] = left
                continue
            del self.uses[digest]
            self.idle[digest] = None
            self.idle_bytes += len(self.blobs[digest])
        dropped = []
        while self.idle_bytes > self.idle_bytes_max:
            oldest = next(iter(self.idle))
            del self.idle[oldest]
            self.idle_bytes -= len(self.blobs.pop(oldest))
            dropped.append(oldest)
        return dropped

    def missing(self, has: set[bytes], digests: Iterable[bytes]) -> tuple[tuple[tuple[bytes, int], ...], bytes]:
        """What a node lacks of this code, as a plan carries it; it has it from now on."""
        new = [digest for digest in dict.fromkeys(digests) if digest not in has]
        if not new:
            return (), b""
        has.update(new)
        return tuple((digest, len(self.blobs[digest])) for digest in new), b"".join([self.blobs[digest] for digest in new])
