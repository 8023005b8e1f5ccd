"""A submitted run: wait for it, watch it, cancel it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Hashable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from os import PathLike
from typing import TYPE_CHECKING, Any

from handoff.client.failures import forgotten
from handoff.client.options import patience
from handoff.client.result import Allocations, Correction, RunResult, RunStatus, TaskRecord
from handoff.client.state import Lease, Results, RunState
from handoff.client.waiting import bounded, check_may_wait, check_process
from handoff.errors import ExecutionError, HandoffError, ResultTimeout
from handoff.graph.references import id_of
from handoff.quoting import quoted

if TYPE_CHECKING:
    from handoff.client.explanation import Explanation
    from handoff.client.story.records import Story
    from handoff.client.story.report import RunReport


class Run:
    """A run that was started. When neither it nor its results are held any more, its values on the cluster are let go."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def __repr__(self) -> str:
        return f"<Run {self.id} of {quoted(self._state.graph.dag_id)}: {_word(self._state)}>"

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

    def result(self, timeout: float | None = None) -> RunResult:
        """Wait until it is over; raises its error. `ResultTimeout` after `timeout` seconds, which leaves the run going."""
        state = self._state
        wait_over(state, timeout)
        if state.is_planned and state.failure is None and state.corrections is None:
            check_may_wait(state.core, "how the run departed from its plan can't be asked for")
            with contextlib.suppress(HandoffError):   # the run is well over, whoever can't be asked any more
                state.corrections = self.corrections()
        return result_of(self._lease)

    def as_completed(self) -> Iterator[tuple[Hashable, Any]]:
        """(function id, value) of each output as it completes; raises the run's error when it fails."""
        state = self._state
        for task in completed(state):
            yield state.graph.ids[task], state.value(task)
        state.delivered = True

    def cancel(self) -> None:
        """End it now, running functions included. Whoever waits for it gets `RunCancelled`."""
        check_process(self._state.core, "the run can't be cancelled")
        self._state.core.cancel(self._state)

    def status(self) -> RunStatus:
        """How far it is."""
        state = self._state
        if state.over.done() or not state.run:
            return status_of(state, None)
        check_may_wait(state.core, "the status can't be asked for")
        try:
            return status_of(state, state.ask("run").result())
        except HandoffError:  # it ended just now, or the coordinator is away: say what is known here
            return status_of(state, None)

    def timeline(self) -> list[TaskRecord]:
        """How each function ran that is done, in the order of their starts."""
        state = self._state
        try:
            return timeline_of(state, state.ask("timeline").result())
        except ExecutionError as error:
            raise forgotten("there is no timeline", state, error) from None

    def explain(self, function: Hashable) -> Explanation:
        """Why this function runs where it does and what other nodes would have cost, or why it is not running yet; print it.

        `function` is its id, or the reference to it. Worked out by the coordinator when you ask, so the comparison of nodes is as of now.
        Of a run that failed or was cancelled: how far the function was then, what it waited for, and why the run ended. Raises
        MissingFunction for an id that is not in the run, ExecutionError once the coordinator does not know the run any more (it keeps what
        became of the last runs that failed).
        """
        from handoff.client.explanation import explanation_of, task_of, unexplained

        function = id_of(function)
        state, task = self._state, task_of(self._state, function)
        try:
            return explanation_of(state, function, state.ask("explain", task).result())
        except ExecutionError as error:
            raise unexplained(state, function, error) from None

    def corrections(self) -> list[Correction]:
        """The functions that run, or ran, elsewhere than the plan says that this run follows."""
        state = self._state
        return corrections_of(state, state.ask("corrections").result()) if state.is_planned else []

    # ── what it was like ─────────────────────────────────────────────────────

    def report(self) -> RunReport:
        """The critical path as it happened, what each node did with its time, and what would have made the run shorter.

        Of a run that is not over: as far as it is. Of one that failed or was cancelled: why, what ran and came to nothing, and what was not
        done (`ending`, `cut`). Raises ExecutionError once the coordinator does not know the run any more (it keeps what became of the last
        runs that failed), and ConnectionLost once the coordinator is gone, or was restarted; so do `trace` and `save`, and FileError where
        the file can't be written.
        """
        from handoff.client.story.report import report_of

        return report_of(self._story())

    def trace(self, path: str | PathLike[str]) -> None:
        """Write the run in the Chrome trace format, which Perfetto (ui.perfetto.dev) and chrome://tracing open."""
        from handoff.client.story.trace import write_trace

        write_trace(self._story(), path)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the run as one page of HTML that needs no network: timeline per worker, report, graph, and a table of all functions."""
        from handoff.client.story.page import write_page

        write_page(self._story(), path)

    def _story(self) -> Story:
        from handoff.client.story.telling import story_of, untold, with_edges

        state = self._state
        try:
            if not state.graph.kinds:
                state.graph = with_edges(state.graph, state.ask("graph").result())
            return story_of(state, state.ask("timeline").result())
        except ExecutionError as error:
            raise untold(state, error) from None


def wait_over(state: RunState, timeout: float | None) -> None:
    """Block until the run is over."""
    seconds = patience(timeout)
    try:
        state.over.result(seconds)
    except FutureTimeout:
        raise ResultTimeout(timeout_text(state, seconds)) from None


def waits_text(state: RunState) -> str:
    """What it waits for, where it does, for a person whose patience ended."""
    progress = state.progress
    return f"; it waits: {progress.waits_for}" if progress is not None and progress.waits_for else ""


def timeout_text(state: RunState, timeout: float | None) -> str:
    """What a person is told whose patience ended."""
    progress = state.progress
    done = ""
    if progress is not None:
        done = f" ({progress.done} of {progress.total} function{'s' * (progress.total != 1)} done{waits_text(state)})"
    run = f"run {state.run} of {quoted(state.graph.dag_id)}"
    return f"{run} is not over after {timeout:g} s{done}; it goes on" if timeout is not None else ""


def completed(state: RunState) -> Iterator[int]:
    """Outputs in the order in which they become known; blocks for the next one."""
    happened = threading.Event()
    state.watchers.append(happened.set)
    try:
        at = 0
        while True:
            happened.clear()
            is_over = state.over.done()  # looked at first: nothing is known later than this
            while at < len(state.order):
                yield state.order[at]
                at += 1
            if is_over:
                state.raise_if_failed()
                return
            check_may_wait(state.core, "results can't be waited for here")
            happened.wait()
    finally:
        state.watchers.remove(happened.set)


def wait_known(state: RunState, task: int, deadline: float | None) -> None:
    """Block until this output is known; raises the run's error when it never will be."""
    if state.is_known(task):
        return
    happened = threading.Event()
    state.watchers.append(happened.set)
    try:
        while not state.is_known(task):
            if state.over.done() and not state.is_known(task):
                state.raise_if_failed()
            check_may_wait(state.core, "results can't be waited for here")
            if not happened.wait(None if deadline is None else bounded(max(0.0, deadline - time.monotonic()))):
                raise ResultTimeout(f"the result of item {quoted(state.name_of(task))} is not here in time{waits_text(state)}; "
                                    "the map ends, and what runs for it")
            happened.clear()
    finally:
        state.watchers.remove(happened.set)


def result_of(lease: Lease) -> RunResult:
    """The result of a run that is over; raises its error."""
    state = lease.state
    state.raise_if_failed()
    assert state.done is not None
    state.delivered = True
    allocations = Allocations(state.graph.number, state.done.nodes, state.names or state.core.names())
    return RunResult(state.graph.dag_id, state.run, Results(lease), allocations, state.done.bytes_moved, state.corrections or ())


def status_of(state: RunState, answer: Any) -> RunStatus:
    """From the coordinator's answer, or from what is known here when there is none."""
    total = len(state.graph.ids) - len(state.graph.hidden)
    if state.over.done():
        # What was said of it last may be older than results that are here.
        done = total if state.failure is None else max(len(state.order), state.progress.done if state.progress is not None else 0)
        return RunStatus(_word(state), done, total, 0)
    if answer is not None:
        return RunStatus(
            str(answer.get("state", "running")), answer.get("done", 0), answer.get("total", 0), answer.get("running", 0),
            answer.get("waits_for", ""),
        )
    progress = state.progress
    if progress is None:
        return RunStatus("running", 0, total, 0)
    return RunStatus("running", progress.done, progress.total, progress.running, progress.waits_for)


def timeline_of(state: RunState, answer: Any) -> list[TaskRecord]:
    """From the coordinator's columns."""
    columns = zip(
        answer["task"], answer["node"], answer["attempt"], answer["started"], answer["seconds"], answer["nbytes"], answer["worker"],
        answer["waited"], answer["planned"], strict=True
    )
    records = [
        TaskRecord(state.name_of(task), node, attempt, started, seconds, nbytes, worker, waited, planned)
        for task, node, attempt, started, seconds, nbytes, worker, waited, planned in columns
    ]
    return sorted(records, key=lambda record: record.started)


def corrections_of(state: RunState, answer: Any) -> list[Correction]:
    """From the coordinator's rows."""
    return [Correction(state.name_of(task), planned, node, why) for task, planned, node, why in answer]


def _word(state: RunState) -> str:
    if not state.over.done():
        return "running"
    return "done" if state.failure is None else "cancelled" if state.failure.code == "RunCancelled" else "failed"
