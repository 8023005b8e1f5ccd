"""Runs that a client holds or takes over: one place for each, whoever asks, and whichever coordinator came meanwhile."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from handoff.client import events
from handoff.client.attaching import begin_attach, finish_attach
from handoff.client.core import Core
from handoff.client.state import Graph, Lease, RunState
from handoff.columns import ints
from handoff.errors import ExecutionError, ResultLost
from handoff.ids import RunId
from handoff.messages import RunDone


class Desk(SimpleNamespace):
    """What runs need of a core; nothing is said to anybody."""

    def __init__(self) -> None:
        super().__init__(states={}, attaching=threading.Lock(), pid=os.getpid(), thread=threading.current_thread(), asked=[])

    def token(self) -> int:
        """A new one."""
        return len(self.states) + 1

    def attach(self, state: RunState, run: int) -> None:
        """Whoever looks meanwhile whether the run is held here has to wait."""
        assert self.attaching.locked()
        self.states[state.token] = state
        self.asked.append(run)

    def release(self, state: RunState) -> None:
        """Nobody holds it any more."""


def test_a_run_is_asked_for_once() -> None:
    """The second who attaches has it together with the first."""
    core: Any = Desk()
    first = begin_attach(core, 5)

    assert begin_attach(core, 5) is first and core.asked == [5]


def test_what_is_to_be_uploaded_for_a_run_that_was_let_go_comes_from_who_began_it() -> None:
    """Who attaches to it again, in the same client, has the values."""
    core: Any = Desk()
    objects: Any = {0: "a large value"}
    begun = core.states[1] = RunState(core, 1, Graph("", (), (), {}, objects), detached=True)
    begun.run = 5
    Lease(begun)

    again = begin_attach(core, 5).state
    again.answer = {"name": "dag", "ids": b"", "outputs": [1], "total": 2}
    finish_attach(again)
    assert again.graph.objects == objects and list(core.states.values()) == [again]


def test_what_a_future_waits_for_is_not_attached() -> None:
    """Its values go to the future."""
    core: Any = Desk()
    state = core.states[1] = RunState(core, 1, Graph("", (), (), {}))
    state.run = 5

    with pytest.raises(ExecutionError, match="this client waits for it"):
        begin_attach(core, 5)


def test_a_run_that_the_next_coordinator_accepted_is_none_of_the_former() -> None:
    """It was asked for before that one came, and heard by it."""
    core: Any = Desk()
    state = core.states[1] = RunState(core, 1, Graph("", (), (), {}))
    state.outlives({3: "gone"})
    Core._accepted(core, state, events.RunAccepted(1, RunId(7)))

    assert (state.run, state.is_former, state.names) == (7, False, {})


def test_two_threads_may_tell_at_once_that_a_value_does_not_come() -> None:
    """The one that closes the client, and the one that asked just now and saw that it is closed: neither is stopped by the other."""
    class ToldMeanwhile(Future[None]):
        def done(self) -> bool:
            was_done = super().done()
            if not was_done:
                self.set_exception(ResultLost("by the other"))
            return was_done

    core: Any = Desk()
    state = RunState(core, 1, Graph("d", ["a", "b", "c"], [0, 1, 2], {"a": 0, "b": 1, "c": 2}))
    first, told, last = ToldMeanwhile(), Future[None](), Future[None]()
    told.set_exception(ResultLost("by the other"))
    state._fetches.update({0: first, 1: told, 2: last})
    state.unfetched_all(events.Failure("ResultLost", "closed"))
    assert [type(each.exception(0)) for each in (first, told, last)] == [ResultLost] * 3


def test_a_run_that_is_taken_up_again_just_as_it_ends_is_no_fault_of_the_client() -> None:
    """Another thread has put another one in the place of what was let go."""
    core: Any = Desk()
    begun = core.states[1] = RunState(core, 1, Graph("", (), (), {}), detached=True)
    begun.run, begun.released = 5, True
    Lease(begun)
    begun.watchers.append(lambda: core.states.pop(1))
    Core._run_over(core, begun, events.RunOver(1, RunId(5), done=RunDone(RunId(5), ints())))
    assert not core.states
