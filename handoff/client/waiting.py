"""Waiting for what a client brings: for as long as the caller likes, and never where it can't come."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Future, InvalidStateError
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


class Moment:
    """Something that happens once, told on the client's thread by `come`. Who waits for it has a future, made when first asked for.

    Nobody waits for what happens to single calls, of which there are many, and a future takes as long as all else that is kept of one.
    """

    __slots__ = ("_client", "_future", "_has_come")

    def __init__(self, client: Bringer) -> None:
        self._client = client
        self._has_come = False
        self._future: dict[str, Awaited[None]] = {}   # "it", once it is made: by one thread, in one step, whatever signals come

    def done(self) -> bool:
        """Whether it has happened."""
        return self._has_come

    def come(self) -> None:
        """It happens, unless it did before."""
        self._has_come = True
        for future in tuple(self._future.values()):    # looked at after that was said; `future` looks at that after it has made one
            _settle(future)

    def future(self) -> Future[None]:
        """Done when it has happened."""
        future = self._future.get("it") or self._future.setdefault("it", Awaited[None](self._client))
        if self._has_come:
            _settle(future)
        return future

    def result(self, timeout: float | None = None) -> None:
        """Return when it has happened; see `Awaited`."""
        if not self._has_come:
            self.future().result(timeout)


def _settle(future: Future[None]) -> None:
    with contextlib.suppress(InvalidStateError):    # it was settled just now, or whoever had it cancelled it
        future.set_result(None)
