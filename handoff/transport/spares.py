"""What values pass through on their way, kept for the next ones: buffers in our memory, pipes in the kernel's. For whichever thread."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading

BUFFERS_MAX = 8                  # that are kept, of all connections; a value takes two at each end,
BUFFER_BYTES_MAX = 1024 * 1024   # none longer than this
PIPES_MAX = 8                    # that are kept
PIPE_BYTES = 1024 * 1024         # what a pipe may hold, where the system allows so much; with 64 KiB, its usual, values took twice as long


class Buffers:
    """Memory for pieces: fresh pages take longer than what is done with them (1 MB: 0.3 ms)."""

    def __init__(self) -> None:
        self._spare: list[memoryview] = []
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> memoryview:
        """One of this length; what is in it means nothing."""
        with self._lock:
            for at, buffer in enumerate(self._spare):
                if len(buffer) == nbytes:
                    return self._spare.pop(at)
        return memoryview(bytearray(nbytes))

    def give(self, *buffers: memoryview) -> None:
        """They are not used any more."""
        with self._lock:
            for buffer in buffers:
                if 0 < len(buffer) <= BUFFER_BYTES_MAX:
                    self._spare.append(buffer)
            del self._spare[:-BUFFERS_MAX]   # those of a length that was not asked for lately


class Pipe:
    """A pipe of the kernel's, through which bytes go from a socket to a file without passing our memory. Closed with its last reference."""

    __slots__ = ("inlet", "nbytes", "outlet")

    def __init__(self) -> None:
        self.outlet, self.inlet = os.pipe()
        with contextlib.suppress(OSError):   # who is not root may have so much in few pipes
            fcntl.fcntl(self.inlet, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.nbytes = fcntl.fcntl(self.inlet, fcntl.F_GETPIPE_SZ)

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self.outlet)
            os.close(self.inlet)


class Pipes:
    """Empty ones."""

    def __init__(self) -> None:
        self._spare: list[Pipe] = []

    def take(self) -> Pipe:
        """One, new if need be. Raises OSError when the process may have no more descriptors."""
        try:
            return self._spare.pop()
        except IndexError:
            return Pipe()

    def give(self, pipe: Pipe) -> None:
        """It is not used any more, and empty."""
        if len(self._spare) < PIPES_MAX:
            self._spare.append(pipe)
