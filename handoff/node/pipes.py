"""The pipes of all workers, which the loop watches as one."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from handoff.loop import this_turn

if TYPE_CHECKING:
    import asyncio

HEARD_MAX = 256   # pipes read in one turn; the others in the next


class Pipes:
    """What several workers said while the node was busy is heard in one turn, and answered at its end.

    The loop by itself would call for each pipe, and each call is a turn: a node of many cores whose tasks take milliseconds would do
    nothing else. The more it has to do, the more is heard at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._turn = loop, this_turn()
        self._epoll = select.epoll()
        self._reads: dict[int, Callable[[], object]] = {}
        self._is_watched = False

    def add(self, fd: int, read: Callable[[], object]) -> None:
        """Call `read` when there is something to read here, or nothing more will come."""
        self._reads[fd] = read
        self._epoll.register(fd, select.EPOLLIN)
        if not self._is_watched:
            self._is_watched = True
            self._loop.add_reader(self._epoll.fileno(), self._hear)

    def remove(self, fd: int) -> None:
        """Never again. Said before the descriptor is closed."""
        if self._reads.pop(fd, None) is None:
            return
        self._epoll.unregister(fd)
        if not self._reads:
            self._is_watched = False
            self._loop.remove_reader(self._epoll.fileno())

    def _hear(self) -> None:
        with self._turn:
            if len(self._reads) == 1:
                for read in tuple(self._reads.values()):
                    read()
                return
            for fd, _ in self._epoll.poll(0, HEARD_MAX):
                found = self._reads.get(fd)   # what was heard of another may have closed it
                if found is not None:
                    found()

    def close(self) -> None:
        """All pipes are closed."""
        for fd in tuple(self._reads):
            self.remove(fd)
        self._epoll.close()
