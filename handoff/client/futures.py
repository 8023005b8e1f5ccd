"""One function as a future."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from typing import NoReturn, cast

from handoff.client.options import patience
from handoff.client.run import waits_text
from handoff.client.state import RunState
from handoff.client.waiting import Awaited, T
from handoff.errors import ResultTimeout
from handoff.log import log


class CallFuture(Awaited[T]):
    """The result of one submitted function. Cancelling it ends the function, also while it runs."""

    def __init__(self, state: RunState) -> None:
        super().__init__(state.core)
        self._run_state = state
        state.watchers.append(self._look)

    def __repr__(self) -> str:
        how = "pending" if not self.done() else "cancelled" if self.cancelled() else "done" if super().exception() is None else "failed"
        return f"<CallFuture of {self._run_state.graph.dag_id!r}: {how}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a future can't be copied or pickled: hand on its result(), or build a graph with DAG.call, where results go from "
                        "node to node")

    @property
    def run_id(self) -> int:
        """The number of the run that it is; 0 until the coordinator accepted it."""
        return self._run_state.run

    def result(self, timeout: float | None = None) -> T:
        """The value. Raises FunctionFailed, with the user's exception as its cause; ResultTimeout leaves the function going."""
        seconds = None if timeout is None else patience(timeout)
        try:
            super().result(seconds)
        except TimeoutError:
            raise self._late(seconds) from None
        return cast(T, self._run_state.value(self._run_state.graph.outputs[0]))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` would raise; None when there is a value."""
        seconds = None if timeout is None else patience(timeout)
        try:
            error = super().exception(seconds)
        except TimeoutError:
            raise self._late(seconds) from None
        if error is None:
            try:
                self._run_state.value(self._run_state.graph.outputs[0])
            except Exception as unloadable:
                return unloadable
        return error

    def cancel(self) -> bool:
        """End the function now; False when it is over already."""
        if not super().cancel():
            return False
        self.set_running_or_notify_cancel()  # wakes those in concurrent.futures.wait
        self._run_state.core.cancel(self._run_state)
        return True

    def _late(self, timeout: float | None) -> ResultTimeout:
        state = self._run_state
        return ResultTimeout(f"{state.graph.dag_id!r} is not over after {timeout:g} s{waits_text(state)}; it goes on")

    def _look(self) -> None:
        """Something is new, on the loop's thread. The value counts as soon as it is here: that its run is over is heard later."""
        state = self._run_state
        if state.order:
            state.watchers.remove(self._look)
            if state.announced:
                state.fetch(state.graph.outputs[0]).add_done_callback(self._fetched)
            else:
                self._settle(None)
        elif state.over.done():
            state.watchers.remove(self._look)
            self._settle(state.error())

    def _fetched(self, fetched: Future[None]) -> None:
        self._run_state.core.release(self._run_state)
        self._settle(fetched.exception())

    def _settle(self, error: BaseException | None) -> None:
        try:
            if error is None:
                self.set_result(cast(T, None))   # the value itself stays packed until somebody looks at it
            else:
                self.set_exception(error)
        except InvalidStateError:  # it was cancelled
            pass
        except BaseException as left:  # `sys.exit` in a callback would end the thread of the connection
            log.warning("callback.lost", error=repr(left))
