"""The client's shell: one event loop in a thread of its own, a session with the coordinator, links to nodes, and the brain between them.

Any thread may call it. What callers wait for are futures; what users wrote (unpickling, callbacks) runs in their own threads, except
the printing of output lines and the `done` callbacks of futures.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextvars import Context
from typing import Any

from handoff import errors
from handoff.client import events
from handoff.client.brain import ClientBrain
from handoff.client.failures import error_of
from handoff.client.links import NodeLinks, ended
from handoff.client.options import check_drain, run_number
from handoff.client.output import finish, show
from handoff.client.state import RunState, closed
from handoff.client.waiting import PATIENCE_MAX, Awaited, bounded, check_may_wait, check_process
from handoff.client.who import description, greeting
from handoff.ids import COORDINATOR, NOBODY, RunId
from handoff.log import log
from handoff.loop import Driver, new_event_loop, this_turn
from handoff.machine import Close, Dropped, Ended, Lost, Received, Resumed, Send, Tick
from handoff.messages import Ask, Drain, Hello, Refused, Submit, Welcome
from handoff.program import Kind
from handoff.quoting import quoted
from handoff.settings import Settings
from handoff.transport.dial import out_of_files
from handoff.transport.link import Link
from handoff.transport.session_client import SessionClient
from handoff.trust.certificates import Identity
from handoff.trust.secret import Secret

CLOSE_SECONDS = 2.5                  # for saying goodbye to coordinator and nodes
CLOSED = events.Failure("ConnectionLost", "the client was closed before this was over")
UNFETCHED = "this large result was not fetched before its client was closed; look at it earlier"
LINES_SECONDS = 0.5                  # for what functions printed whose values are here; they are a few milliseconds behind

_open: weakref.WeakSet[Core] = weakref.WeakSet()


class Core:
    """One connection to one cluster, shared by all that a `Client` hands out."""

    def __init__(self, address: tuple[str, int], secret: Secret, settings: Settings | None = None, timeout: float = 10.0) -> None:
        self.address = address
        self._place = f"{address[0]}:{address[1]}"
        self._settings = settings or Settings()
        self._identity = Identity(secret, "client", description())
        self._boot = os.urandom(16)
        self._me, self._met = NOBODY, b""                  # our number, and the boot of the coordinator that gave it
        self._coordinator_link: Link | None = None         # the last one, which may still be saying goodbye
        self.pid = os.getpid()
        self._brain = ClientBrain(self._settings.client, self._place)
        self.states: dict[int, RunState] = {}              # by token, until forgotten
        self._questions: dict[int, Future[Any]] = {}
        self._tokens = itertools.count(1)
        self.attaching = threading.Lock()                  # who looks whether a run is held here, and takes it over if not
        self._inbox: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()   # what other threads want done on the loop's thread
        self._waking, self._closed = False, False
        self._over: events.Failure | None = None           # why nothing comes any more: it is closed, or there was a bug
        self._perform_by_type: dict[type, Callable[[Any], None]] = {
            Send: self._send,
            events.Answered: self._answered,
            events.Unanswered: self._unanswered,
            Close: lambda effect: self._session.begin_anew(effect.reason),
        }
        self._perform_for_run: dict[type, Callable[[RunState, Any], None]] = {   # those that are about one run that is known here
            events.Arrived: RunState.arrived,
            events.Assembled: self._assembled,
            events.Available: lambda state, effect: state.available(effect.tasks, effect.sizes),
            events.RunAccepted: self._accepted,
            events.RunOver: self._run_over,
            events.Attached: self._accepted,
            events.Progressed: lambda state, effect: state.progressed(effect.progress),
            events.Printed: lambda state, effect: show(state, effect.output, self._loop.call_later),
            events.UploadValue: self._upload,
            events.Unfetched: lambda state, effect: state.unfetched(effect.task, effect.failure),
        }
        try:
            self._loop = new_event_loop()
        except OSError as error:
            raise out_of_files(self._place, error) from None
        self.thread = threading.Thread(target=self._main, name="handoff-client", daemon=True)
        self.thread.start()
        self._connect(timeout)
        _open.add(self)

    # ── the loop ─────────────────────────────────────────────────────────────

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        for _ in range(3):  # what was cancelled or closed just now says its last words
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _connect(self, timeout: float) -> None:
        # In a context of its own: in a notebook, that of the caller sends whatever is printed here to the cell that made the client.
        connecting = Context().run(asyncio.run_coroutine_threadsafe, self._start(min(timeout, PATIENCE_MAX)), self._loop)
        try:
            connecting.result(bounded(timeout))
        except BaseException as error:
            connecting.cancel()
            self._end_loop()
            if isinstance(error, TimeoutError):
                raise errors.ConnectionLost(f"no answer from a coordinator at {self._place} within {timeout:g} s; "
                                            "is it running there, and is its port open to this machine?") from None
            raise

    async def _start(self, patience: float) -> None:
        self._driver = Driver(self._brain, self._perform, Tick(), self._failed)
        self._links = NodeLinks(self._identity, self._settings.wire, self._hello, self._brain.peers, self._driver.post, self.address[0])
        self._session = SessionClient(
            self.address, self._identity, self._settings.wire, self._hello, emit=self._happened, on_welcome=self._welcomed)
        await self._session.connect(patience)

    def _failed(self, error: Exception) -> None:
        """The brain has a bug: whoever waits here is told, rather than left waiting."""
        log.exception("client.failed", error=error)
        self._end_all(events.Failure(
            "InvariantViolation", f"this client can't go on, because of a bug in Handoff: {type(error).__name__}: {error}"))

    def _hello(self) -> Hello:
        return greeting(self._identity.name, self._boot, self._me, self._met)

    def _welcomed(self, welcome: Welcome) -> None:
        if self._me != NOBODY:
            self._links.forget_all()
            names = dict(self.names())
            for state in self.states.values():
                state.outlives(names)
        is_other = welcome.coordinator != self._met
        self._me, self._met = welcome.peer, welcome.coordinator
        self._coordinator_link = self._session.link
        self._driver.post(events.Welcomed(welcome.peer, is_other))

    def _happened(self, event: Any) -> None:
        match event:
            case Received():     # by far the most usual
                pass
            case Dropped():
                log.warning("coordinator.dropped", address=self._place)
            case Ended():
                log.warning("coordinator.stopped", address=self._place, note="what it was to do is lost; trying to reach it again")
            case Resumed():
                self._coordinator_link = self._session.link
                log.info("coordinator.resumed", address=self._place)
            case Lost(peer, reason) if peer == COORDINATOR:
                log.warning("coordinator.lost", address=self._place, reason=reason)
        self._driver.post(event)

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Have this done on the loop's thread, soon. Safe in any thread, and while the garbage collector runs."""
        if self._closed or self.pid != os.getpid():
            return
        self._inbox.append((function, args))
        if not self._waking:
            try:
                self._waking = True
                self._loop.call_soon_threadsafe(self._take_inbox, context=Context())
            except BaseException as error:  # the loop closed just now; or a signal's handler raised, as for Ctrl-C: who is next wakes it
                self._waking = False
                if not (isinstance(error, RuntimeError) and self._loop.is_closed()):
                    raise

    def post(self, event: Any) -> None:
        """Tell the brain, from any thread."""
        self.call(self._driver.post, event)

    def _take_inbox(self) -> None:
        self._waking = False
        inbox = self._inbox
        with this_turn():
            while inbox:
                function, args = inbox.popleft()
                function(*args)

    # ── what callers ask for ─────────────────────────────────────────────────

    def check_open(self, what: str) -> None:
        """Raise when nothing can be asked here any more."""
        if self._closed:
            raise closed(what)
        if self._over is not None:
            raise errors.InvariantViolation(f"{what}: {self._over.text}")
        check_process(self, what)

    def token(self) -> int:
        """A new one."""
        return next(self._tokens)

    def submit(self, state: RunState, submit: Submit, *, forget: bool = False) -> None:
        """Start a run; `state` follows it."""
        state.released = forget
        self._begin(state, "a run can't be started", events.Start(submit, forget))

    def attach(self, state: RunState, run: int) -> None:
        """Take over a detached run."""
        self._begin(state, "a run can't be attached", events.Attach(state.token, RunId(run)))

    def _begin(self, state: RunState, what: str, event: events.Start | events.Attach) -> None:
        self.check_open(what)
        self.states[state.token] = state
        try:
            self.post(event)
        except BaseException:   # a signal's handler raised, as for Ctrl-C: the loop may have heard of it, and nobody will hold it
            if type(event) is events.Start:
                self.cancel(state)
            self.release(state)
            raise
        self._end_late(state)

    def ask(self, topic: str, run: int = 0, kinds: Sequence[Kind] = (), task: int = NOBODY) -> Future[Any]:
        """Ask the coordinator, about a run, a task of it, or about these kinds of tasks."""
        self.check_open(f"{topic!r} can't be asked for")
        codes, names = zip(*[(kind.codes, kind.name) for kind in kinds], strict=True) if kinds else ((), ())
        return self.question(Ask(self.token(), topic, RunId(run), task, codes, names))

    def drain(self, node: str, seconds: float | None) -> Future[Any]:
        """Have a node leave when nothing needs it any more."""
        self.check_open(f"node {quoted(node)} can't be drained")
        check_drain(node, seconds)
        return self.question(Drain(node, self.token(), float(seconds or 0.0)))

    def question(self, message: Ask | Drain, of: int | None = None) -> Future[Any]:
        """Say this to the coordinator, and be answered; with the token of the run of this client that it is about."""
        future = self._questions[message.token] = Awaited[Any](self)
        self.post(events.Question(message, of))
        if self._over is not None:
            self._unanswered(events.Unanswered(message.token, self._over))
        return future

    def fetch(self, token: int, task: int, future: Future[None]) -> None:
        """Bring a large value here; the state's futures tell when."""
        self.post(events.Fetch(token, task))
        if self._closed or self._over is not None or self.pid != os.getpid():
            with contextlib.suppress(InvalidStateError):
                future.set_exception(errors.ResultLost(UNFETCHED))

    def cancel(self, state: RunState, reason: str = "cancelled by its client") -> None:
        """End a run of this client."""
        self.post(events.CancelRun(state.token, reason))

    def cancel_other(self, run: int, reason: str) -> None:
        """End any run."""
        self.check_open("a run can't be cancelled")
        self.post(events.CancelOther(run_number(run), reason))

    def release(self, state: RunState) -> None:
        """Nobody here holds the run any more. A detached one whose results nobody took stays on the cluster."""
        self.call(self._release, state)

    def _release(self, state: RunState) -> None:
        state.released = True
        state.announced.clear()      # nobody fetches them
        if state.over.done():
            self.states.pop(state.token, None)
        if not state.detached or state.delivered or not state.over.done():
            self._driver.post(events.ForgetRun(state.token))

    def names(self) -> Mapping[int, str]:
        """Node names by peer id, as far as this client was told."""
        return {peer: name for peer, (name, _) in self._brain.peers.items()}

    # ── what the brain asks for ──────────────────────────────────────────────

    def _perform(self, effect: Any) -> None:
        perform = self._perform_for_run.get(type(effect))
        if perform is None:
            self._perform_by_type[type(effect)](effect)
        elif (state := self.states.get(effect.token)) is not None:
            perform(state, effect)

    def _send(self, effect: Send) -> None:
        if effect.peer == COORDINATOR:
            try:
                self._session.send(effect.message)
            except errors.ProtocolError as error:
                if not isinstance(effect.message, (Submit, Ask, Drain)):
                    raise
                text = f"the question is too large to be asked: {error}"
                if isinstance(effect.message, Submit):
                    text = (f"the graph is too large to be sent: {error}. Its many small arguments are what is large: read data where it "
                            "is used, let functions share one large argument, or split the graph")
                self._driver.post(Received(COORDINATOR, Refused("ProtocolError", text, effect.message.token)))
        else:
            self._links.send(effect.peer, effect.message)

    def _assembled(self, state: RunState, effect: events.Assembled) -> None:
        block = self._links.take(effect.peer, state.run, effect.task)
        if block is not None:
            state.assembled(effect.task, block)

    def _accepted(self, state: RunState, effect: events.RunAccepted | events.Attached) -> None:
        state.run, state.is_former, state.names = effect.run, False, {}     # it may have been asked for before this coordinator came
        if isinstance(effect, events.Attached):
            state.answer = effect.data
        state.accepted.come()

    def _run_over(self, state: RunState, effect: events.RunOver) -> None:
        state.run = state.run or effect.run
        state.finish(effect.done, effect.failure)
        if state.released and not state.announced:
            self.states.pop(effect.token, None)    # who attaches to it just now may have done so

    def _upload(self, state: RunState, effect: events.UploadValue) -> None:
        values = {task: state.graph.objects[task] for task in effect.tasks if task in state.graph.objects}
        if len(values) < len(effect.tasks):  # an attached run: only the client that started it has them
            self.cancel(state, "a value that was uploaded is lost with its node, and only the client that started the run has it")
        self._links.upload(effect.peer, effect.run, values)

    def _answered(self, effect: events.Answered) -> None:
        with contextlib.suppress(InvalidStateError):  # nobody waits any more
            self._questions.pop(effect.token).set_result(effect.data)

    def _unanswered(self, effect: events.Unanswered) -> None:
        if (future := self._questions.pop(effect.token, None)) is not None:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(error_of(effect.failure, lambda task: f"task {task}"))

    # ── the end ──────────────────────────────────────────────────────────────

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be asked here any more."""
        return self._closed

    def close(self) -> None:
        """Say goodbye and end the loop. The coordinator ends what runs for this client, except detached runs."""
        if self._closed or self.pid != os.getpid():
            return
        check_may_wait(self, "a client can't be closed in a callback")
        self._closed = True
        try:
            ending = asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
            with contextlib.suppress(TimeoutError, errors.HandoffError):
                ending.result(2 * CLOSE_SECONDS)
        finally:                       # a signal's handler may raise, as for Ctrl-C, and nobody closes twice
            self._end_loop()
            self._end_all(CLOSED)      # if it was interrupted: other threads may wait
        finish()

    def _end_all(self, failure: events.Failure) -> None:
        """Nothing comes any more: whoever waits is told, rather than left waiting. Who asks just now looks for that when he has asked."""
        self._over = failure
        for state in list(self.states.values()):
            self._end_late(state)
        for token in list(self._questions):
            self._unanswered(events.Unanswered(token, failure))

    def _end_late(self, state: RunState) -> None:
        """End a run of which nothing comes any more: by whichever thread takes it out first."""
        if self._over is not None and self.states.pop(state.token, None) is not None:
            if not state.over.done():
                state.finish(None, self._over)
            state.unfetched_all(events.Failure("ResultLost", UNFETCHED))

    async def _stop(self) -> None:
        self._take_inbox()
        for state in list(self.states.values()):
            if state.detached and state.delivered:   # who took it can ask for nothing any more; it would stay for ever
                self._driver.post(events.ForgetRun(state.token))
        await asyncio.sleep(0)             # one turn for what was said last, such as a Cancel
        if ending := [asyncio.wrap_future(state.over.future()) for state in list(self.states.values()) if state.is_ending()]:
            await asyncio.wait(ending, timeout=LINES_SECONDS)   # printed lines come from the coordinator, before the word of the end
        self._driver.stop()
        self._end_all(CLOSED)
        async with asyncio.timeout(CLOSE_SECONDS):
            await asyncio.gather(self._links.close(), self._session.close("the client is closed"))
            if self._coordinator_link is not None:
                await ended(self._coordinator_link)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.thread.join(5.0)
        _open.discard(self)


def close_all() -> None:
    """Close what is open, at exit."""
    for core in list(_open):
        core.close()


atexit.register(close_all)
