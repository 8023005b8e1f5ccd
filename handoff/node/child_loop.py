"""The event loop of a worker that runs coroutines one after the other, as it runs functions.

It stays, so that what coroutines keep for later (clients, sessions, tasks that they left) is of use to those that run here after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from handoff.node.current import TASK, CurrentTask


def open_loop() -> Any:
    """An event loop for all that runs here. One that shuts down its default executor, as a program does at its end, does so for itself:
    asyncio would refuse `to_thread` to those that come after it, and has no public way back.
    """
    loop: Any = asyncio.new_event_loop()
    shut_down = loop.shutdown_default_executor

    async def shut_down_and_renew(*args: Any, **keywords: Any) -> None:
        try:
            await shut_down(*args, **keywords)
        finally:
            loop._executor_shutdown_called, loop._default_executor = False, None   # the next call makes one

    loop.shutdown_default_executor = shut_down_and_renew
    return loop


class Loop:
    """Made when the first coroutine comes. `hear` reads the worker's socket, which is watched beside whatever runs."""

    def __init__(self, descriptor: int, hear: Callable[[], bool]) -> None:
        self._descriptor, self._hear = descriptor, hear
        self._task: asyncio.Task[Any] | None = None
        self._open()

    def _open(self) -> None:
        self._loop = open_loop()
        self._loop.add_reader(self._descriptor, self._heard)

    def _stand(self) -> None:
        """A function that a coroutine left its loop to may have closed it: nothing would be heard any more, and nothing run."""
        if self._loop.is_closed():
            self._open()

    def result_of(self, coroutine: Awaitable[Any], current: CurrentTask) -> Any:
        """What the coroutine returns, or raises; tasks that it makes know as whose they run, also when it has ended."""
        self._stand()
        context = copy_context()
        context.run(TASK.set, current)
        task = self._task = self._loop.create_task(coroutine if asyncio.iscoroutine(coroutine) else _await(coroutine), context=context)
        task.add_done_callback(self._stop)
        try:
            while not task.done():
                self._turn()
        finally:
            self._task = None
        return task.result()

    def cancel(self) -> None:
        """Cancel the coroutine that runs."""
        if self._task is not None:
            self._task.cancel()

    def await_news(self) -> None:
        """Let go on what coroutines left, until the node has said something."""
        self._stand()
        self._turn()

    def _turn(self) -> None:
        try:
            self._loop.run_forever()
        except BaseException:  # asyncio lets SystemExit and KeyboardInterrupt of any task through; the one that raised it has it, too
            return

    def _stop(self, _: object) -> None:
        self._loop.stop()

    def _heard(self) -> None:
        if not self._hear():
            self._loop.remove_reader(self._descriptor)
        if self._task is None:
            self._loop.stop()


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
