"""Waiting for what a client brings: for as long as the caller likes, and never where it can't come."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import Protocol, TypeVar

from handoff.errors import ConnectionLost, WrongThread

T = TypeVar("T")

PATIENCE_MAX = 1e9     # seconds; more, up to infinity, is for ever: no clock of a lock counts so far


class Bringer(Protocol):
    """Whoever brings it."""

    thread: threading.Thread
    pid: int


def check_process(client: Bringer, what: str) -> None:
    """Raise ConnectionLost after a fork: the thread of the client is in the other process."""
    if client.pid != os.getpid():
        raise ConnectionLost(f"{what}: this client was made before a fork, by process {client.pid}; make a new one here")


def check_may_wait(client: Bringer, what: str) -> None:
    """Raise where waiting would last for ever: after a fork, and on the client's own thread, which brings what is waited for."""
    check_process(client, what)
    if threading.current_thread() is client.thread:
        raise WrongThread(f"{what}: callbacks run on the client's own thread, which would wait for itself; do it in another thread")


def bounded(seconds: float | None) -> float | None:
    """As locks take it."""
    return None if seconds is None or seconds > PATIENCE_MAX else seconds


class Awaited(Future[T]):
    """A future that a client fills in."""

    def __init__(self, client: Bringer) -> None:
        super().__init__()
        self._client = client

    def result(self, timeout: float | None = None) -> T:
        """The value, or its error. Raises what `check_may_wait` raises where it would have to be waited for and can't come."""
        if not self.done():
            check_may_wait(self._client, "this can't be waited for here")
        return super().result(bounded(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Likewise."""
        if not self.done():
            check_may_wait(self._client, "this can't be waited for here")
        return super().exception(bounded(timeout))
