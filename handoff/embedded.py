"""The cluster of this process: made by the first `execute`, `plan` or `submit`, kept for later ones, gone at exit."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

from handoff.local import LocalCluster

if TYPE_CHECKING:
    from handoff.client.client import Client
    from handoff.client.futures import CallFuture
    from handoff.client.planning.plan import Plan
    from handoff.client.result import RunResult
    from handoff.client.state import OutputTaker
    from handoff.graph.dag import DAG
    from handoff.scheduler.allocator import Allocator

T = TypeVar("T")


class PlanOptions(TypedDict, total=False):
    """Those of `Client.plan`, for type checkers."""

    returns: Iterable[Hashable] | None
    inputs: Mapping[Hashable, Any] | None
    max_retries: int
    max_concurrency: int | None
    allocator: str | Callable[[], Allocator] | None


class RunOptions(TypedDict, total=False):
    """Those of `Client.execute`, for type checkers."""

    returns: Iterable[Hashable] | None
    inputs: Mapping[Hashable, Any] | None
    max_retries: int
    max_concurrency: int | None
    timeout: float | None
    detach: bool
    wait_for_nodes: bool
    weight: float
    output: OutputTaker | bool | None
    plan: Plan | None


class _Embedded:
    """The cluster of this process, made on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cluster: LocalCluster | None = None
        self._client: Client | None = None
        self._process = 0

    def client(self) -> Client:
        """A client of it. One of which a process has ended, for want of memory perhaps, is no more of use: the next one takes its place."""
        with self._lock:
            if self._has_lost_a_process():
                self.close()
            if self._process != os.getpid() or self._client is None or self._client._core.is_closed:
                self._cluster = LocalCluster(nodes=1)
                self._client, self._process = self._cluster.own_client(), os.getpid()
                atexit.register(self.close)
            return self._client

    def _has_lost_a_process(self) -> bool:
        if self._process != os.getpid() or self._client is None or self._cluster is None:
            return False
        return not self._cluster.is_whole and threading.current_thread() is not self._client._core.thread    # where it can't be closed

    def close(self) -> None:
        """End it; a later call makes a new one."""
        if self._process == os.getpid():
            if self._client is not None:
                self._client.close()
            if self._cluster is not None:
                self._cluster.close()
            self._client = self._cluster = None


_embedded = _Embedded()
os.register_at_fork(after_in_child=_embedded.__init__)  # type: ignore[misc]  # the lock may have been held by another thread


def execute(dag: DAG, **options: Unpack[RunOptions]) -> RunResult:
    """Run a graph on this machine and wait for its results; the options, and what it raises, are those of `Client.execute`.

    The first call starts a coordinator and a node with worker processes; they stay for later calls, and end with this process.
    """
    return _embedded.client().execute(dag, **options)


def plan(dag: DAG, **options: Unpack[PlanOptions]) -> Plan:
    """Where and when each function of a graph would run on this machine, without running any; as `Client.plan`."""
    return _embedded.client().plan(dag, **options)


@overload
def submit(function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> CallFuture[T]: ...
@overload
def submit(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> CallFuture[T]: ...
def submit(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> CallFuture[Any]:
    """Run one function on this machine, in another process; as `Client.submit`."""
    return _embedded.client().submit(function, *args, **kwargs)
