"""Handoff for asyncio: the names of the blocking API, awaited.

    async with handoff.aio.connect("host:7070") as client:
        run = await client.start(dag)
        async for function_id, value in run.as_completed(): ...

The connection lives on a loop of its own, so it stays alive while this one is busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, overload

from handoff.client import client as blocking
from handoff.client.attaching import begin_attach, finish_attach
from handoff.client.connect import open_core
from handoff.client.core import Core
from handoff.client.failures import forgotten
from handoff.client.mapping import Mapped
from handoff.client.nodes import NodeInfo, RunInfo, has_room, node_info, run_info
from handoff.client.options import patience, run_number
from handoff.client.result import RunResult, RunStatus, TaskRecord
from handoff.client.run import Run as BlockingRun
from handoff.client.run import result_of, status_of, timeline_of, timeout_text
from handoff.client.state import Lease, OutputTaker, RunState
from handoff.client.waiting import T, check_process
from handoff.errors import ExecutionError, HandoffError, ResultTimeout
from handoff.graph.dag import DAG
from handoff.graph.elsewhere import no_attribute
from handoff.trust.secret import Secret

if TYPE_CHECKING:
    from types import TracebackType

    from handoff.client.explanation import Explanation
    from handoff.client.planning.plan import Plan
    from handoff.client.result import Correction
    from handoff.client.story.report import RunReport
    from handoff.scheduler.allocator import Allocator


def connect(address: str | None = None, *, secret: str | Path | Secret | None = None, timeout: float = 10.0) -> Connecting:
    """A client, awaited or entered: `await connect(...)` or `async with connect(...) as client`. Parameters as in `handoff.connect`."""
    return Connecting(address, secret, timeout)


class Connecting:
    """A client that is about to be there."""

    def __init__(self, address: str | None, secret: str | Path | Secret | None, timeout: float) -> None:
        self._parameters = (address, secret, timeout)
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> Client:
        opened: list[Core] = []
        is_left = False

        def connect() -> None:
            opened.append(open_core(*self._parameters))
            if is_left:
                opened[0].close()

        try:
            await asyncio.to_thread(connect)
        except asyncio.CancelledError:         # the thread goes on; the connection that it made, or will, is closed by who is later
            is_left = True
            for each in opened:
                threading.Thread(target=each.close).start()
            raise
        core, = opened
        return Client(core)


class Client:
    """A connection to a cluster. Closing it ends its runs, except detached ones."""

    def __init__(self, core: Core) -> None:
        self._core = blocking.checked_core(core)

    if not TYPE_CHECKING:
        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, "a Client", name)

    def __reduce__(self) -> NoReturn:
        raise blocking.not_copied()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the cluster."""
        await asyncio.to_thread(self._core.close)

    async def execute(
        self,
        dag: DAG,
        *,
        returns: Iterable[Hashable] | None = None,
        inputs: Mapping[Hashable, Any] | None = None,
        max_retries: int = 3,
        max_concurrency: int | None = None,
        timeout: float | None = None,  # the run's, kept by the cluster
        detach: bool = False,
        wait_for_nodes: bool = False,
        weight: float = 1.0,
        output: OutputTaker | bool | None = None,
        plan: Plan | None = None,
    ) -> RunResult:
        """Run a graph and wait for its results. Cancelling the waiting task cancels the run."""
        state = blocking.begin(
            self._core, dag, returns=returns, inputs=inputs, max_retries=max_retries, max_concurrency=max_concurrency, timeout=timeout,
            detach=detach, wait_for_nodes=wait_for_nodes, weight=weight, output=output, plan=plan,
        )
        run = Run(Lease(state))
        try:
            return await run.result()
        except asyncio.CancelledError:
            await run.cancel()
            raise

    async def start(
        self,
        dag: DAG,
        *,
        returns: Iterable[Hashable] | None = None,
        inputs: Mapping[Hashable, Any] | None = None,
        max_retries: int = 3,
        max_concurrency: int | None = None,
        timeout: float | None = None,  # the run's, kept by the cluster
        detach: bool = False,
        wait_for_nodes: bool = False,
        weight: float = 1.0,
        output: OutputTaker | bool | None = None,
        plan: Plan | None = None,
    ) -> Run:
        """Start a graph and go on. Raises what makes the cluster refuse it."""
        state = blocking.begin(
            self._core, dag, returns=returns, inputs=inputs, max_retries=max_retries, max_concurrency=max_concurrency, timeout=timeout,
            detach=detach, wait_for_nodes=wait_for_nodes, weight=weight, output=output, plan=plan,
        )
        lease = Lease(state)
        try:
            await asyncio.shield(asyncio.wrap_future(state.accepted.future()))
        except asyncio.CancelledError:         # nobody has it
            self._core.cancel(state)
            raise
        if not state.run:
            state.raise_if_failed()
        return Run(lease)

    async def plan(
        self,
        dag: DAG,
        *,
        returns: Iterable[Hashable] | None = None,
        inputs: Mapping[Hashable, Any] | None = None,
        max_retries: int = 3,
        max_concurrency: int | None = None,
        allocator: str | Callable[[], Allocator] | None = None,
    ) -> Plan:
        """Where and when each function would run, worked out in a thread of this process; see `handoff.Client.plan`."""
        lowered, outlook = blocking.begin_plan(self._core, dag, returns, inputs, max_retries)
        answer = await asyncio.wrap_future(outlook)
        return await asyncio.to_thread(blocking.end_plan, dag, lowered, answer, allocator, max_concurrency)

    async def attach(self, run_id: int) -> Run:
        """Take over a detached run, perhaps of a client that is gone."""
        lease = begin_attach(self._core, run_id)
        await asyncio.shield(asyncio.wrap_future(lease.state.accepted.future()))
        finish_attach(lease.state)
        return Run(lease)

    @overload
    def submit(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> asyncio.Future[T]: ...
    @overload
    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> asyncio.Future[T]: ...
    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Run `function(*args, **kwargs)` somewhere; await the future for its value, cancel it to end the function."""
        return asyncio.wrap_future(blocking.Client(self._core).submit(function, *args, **kwargs))

    @overload
    def map(
        self, function: Callable[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], timeout: float | None = None, **options: Any
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self, function: Callable[..., T], /, *iterables: Iterable[Any], timeout: float | None = None, **options: Any
    ) -> AsyncIterator[T]: ...
    async def map(
        self,
        function: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,  # as in the blocking `map`
        **options: Any,
    ) -> AsyncIterator[Any]:
        """`function` over the items, in parallel; values come in the order of the items."""
        begun: list[Mapped] = []
        is_left = False
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "handoff-map")   # its own: those that a loop has are few, and may be what its program waits for

        def begin() -> None:
            begun.append(blocking.begin_map(self._core, function, iterables, timeout, options))
            if is_left:
                begun[0].leave()

        try:
            await loop.run_in_executor(thread, copy_context().run, begin)     # the first items are taken now, and may be slow to come
        except asyncio.CancelledError:         # the thread goes on; what it has begun, or will, is ended by who is later
            is_left = True
            for each in begun:
                each.leave()
            raise
        finally:
            if is_left or not begun:
                thread.shutdown(wait=False)
        mapped, = begun
        values, end = mapped.values(), object()
        step: asyncio.Future[Any] | None = None
        try:
            while True:
                step = loop.run_in_executor(thread, copy_context().run, lambda: next(values, end))
                value = await asyncio.shield(step)
                if value is end:
                    return
                yield value
        finally:
            mapped.end()     # a thread that still waits for a value hears of it, and ends the rest
            if step is not None and not step.done():
                step.cancel()                  # nobody asks what became of it, and the loop may be closed by then
            else:
                values.close()
            thread.shutdown(wait=False)

    async def nodes(self) -> list[NodeInfo]:
        """The nodes that are there."""
        return [node_info(each) for each in await self._ask("nodes")]

    async def runs(self) -> list[RunInfo]:
        """The runs that the coordinator knows, of all clients."""
        return [run_info(each) for each in await self._ask("runs")]

    async def resources_available(self, node: str, cost: Mapping[str, float | int | str]) -> bool:
        """Whether that node has as much free now."""
        return has_room(await self.nodes(), node, cost)

    async def cancel(self, run_id: int) -> None:
        """End any run, by its number; as the blocking `cancel`."""
        blocking.check_known(run_number(run_id), await self._ask("runs"))
        self._core.cancel_other(run_id, "cancelled by another client")
        await self._ask("runs")

    async def drain(self, node: str, seconds: float | None = None) -> None:
        """Have a node leave the cluster in order; as the blocking `drain`."""
        await asyncio.wrap_future(self._core.drain(node, seconds))

    async def _ask(self, topic: str) -> Any:
        return await asyncio.wrap_future(self._core.ask(topic))


class Run:
    """A run that was started."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    @property
    def _state(self) -> RunState:
        return self._lease.state

    @property
    def id(self) -> int:
        """The run's number in its cluster."""
        return self._state.run

    @property
    def bytes_moved(self) -> int:
        """Bytes that went from node to node for this run; 0 until it is done."""
        return self._state.done.bytes_moved if self._state.done is not None else 0

    def done(self) -> bool:
        """Whether it is over, well or not."""
        return self._state.over.done()

    async def result(self, timeout: float | None = None) -> RunResult:  # leaves the run going, unlike a cancel
        """Wait until it is over; raises its error. Large values are fetched here too, so that looking at them never blocks the loop."""
        state = self._state
        seconds = patience(timeout)
        check_process(state.core, "the run can't be waited for here")
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(asyncio.wrap_future(state.over.future()))
                state.raise_if_failed()
                await asyncio.gather(*(asyncio.shield(asyncio.wrap_future(fetch)) for fetch in state.fetch_all()))
        except TimeoutError:
            raise ResultTimeout(timeout_text(state, seconds)) from None
        if state.is_planned and state.corrections is None:
            with contextlib.suppress(HandoffError):
                state.corrections = await self.corrections()
        return result_of(self._lease)

    async def as_completed(self) -> AsyncIterator[tuple[Hashable, Any]]:
        """(function id, value) of each output as it completes; raises the run's error when it fails."""
        state, loop, happened = self._state, asyncio.get_running_loop(), asyncio.Event()
        check_process(state.core, "results can't be waited for here")

        def wake() -> None:
            with contextlib.suppress(RuntimeError):   # the loop is closed, and whoever read here has never come back
                loop.call_soon_threadsafe(happened.set)

        state.watchers.append(wake)
        try:
            at = 0
            while True:
                happened.clear()
                is_over = state.over.done()
                while at < len(state.order):
                    task = state.order[at]
                    if task in state.announced:
                        await asyncio.shield(asyncio.wrap_future(state.fetch(task)))
                    yield state.graph.ids[task], state.value(task)
                    at += 1
                if is_over:
                    state.raise_if_failed()
                    state.delivered = True
                    return
                await happened.wait()
        finally:
            state.watchers.remove(wake)

    async def cancel(self) -> None:
        """End it now, running functions included."""
        check_process(self._state.core, "the run can't be cancelled")
        self._state.core.cancel(self._state)

    async def status(self) -> RunStatus:
        """How far it is."""
        state = self._state
        if state.over.done() or not state.run:
            return status_of(state, None)
        try:
            return status_of(state, await asyncio.wrap_future(state.ask("run")))
        except HandoffError:  # it ended just now
            return status_of(state, None)

    async def timeline(self) -> list[TaskRecord]:
        """How each function ran that is done, in the order of their starts."""
        state = self._state
        try:
            return timeline_of(state, await asyncio.wrap_future(state.ask("timeline")))
        except ExecutionError as error:
            raise forgotten("there is no timeline", state, error) from None

    async def explain(self, function: Hashable) -> Explanation:
        """Why this function runs where it does, or why it is not running yet; see `handoff.Run.explain`."""
        return await asyncio.to_thread(BlockingRun(self._lease).explain, function)

    async def corrections(self) -> list[Correction]:
        """The functions that run, or ran, elsewhere than the plan says that this run follows."""
        return await asyncio.to_thread(BlockingRun(self._lease).corrections)

    async def report(self) -> RunReport:
        """What it was like; see `handoff.Run.report`."""
        return await asyncio.to_thread(BlockingRun(self._lease).report)

    async def trace(self, path: str | Path) -> None:
        """Write it in the Chrome trace format; see `handoff.Run.trace`."""
        await asyncio.to_thread(BlockingRun(self._lease).trace, path)

    async def save(self, path: str | Path) -> None:
        """Write it as one page of HTML; see `handoff.Run.save`."""
        await asyncio.to_thread(BlockingRun(self._lease).save, path)


