"""How given tasks end: finished, broken, out of time, or with their worker."""

from __future__ import annotations

from math import inf

from handoff.ids import COORDINATOR, NOBODY, RunId
from handoff.machine import Send
from handoff.messages import Abandon, Failed
from handoff.node.answers import Answers
from handoff.node.clocks import Clocks
from handoff.node.crew import Batch, Crew, Worker
from handoff.node.events import Broke, CancelTask, Finished, HandBack, HandedBack, Started, WorkerGone
from handoff.node.overtime import Overtime
from handoff.node.state import State
from handoff.node.tables import ATTEMPT, HANDLING, INPUTS, TARGET, TEACHES, Handling, Table
from handoff.program import Flag

ABANDONED = "another attempt at it was quicker"
RUN_OVER = "the run is over"
UNSEEN_DEATHS_MAX = 3  # workers that died with this task first in line, though none was seen to run: then it is blamed


class Endings:
    """Believes a worker only about what it holds now."""

    def __init__(self, state: State, crew: Crew, answers: Answers, clocks: Clocks, overtime: Overtime) -> None:
        self._state, self._crew, self._answers, self._clocks, self._overtime = state, crew, answers, clocks, overtime

    # ── what workers say ────────────────────────────────────────────────────

    def finished(self, event: Finished) -> None:
        """Results exist: who waits for them goes on, and they will be reported."""
        state, worker, run = self._state, self._crew.workers.get(event.worker), event.run
        table = state.runs.get(run)
        if worker is None or table is None:
            if worker is not None:
                self._end_orphans(worker, run, event.tasks)
            state.drop(run, list(event.tasks))
            return
        self._crew.proved(state.now, worker)
        plans, given, size, waiters, wants, asked = table.plans, table.given, table.size, table.waiters, table.wants, table.asked
        done, attempts, sizes, took, ended = table.done, table.attempts, table.nbytes, table.seconds, table.ended
        since, waited = table.since, table.waited
        outputs: list[int] = []
        handling: Handling | None = None
        total, count, is_output = 0.0, 0, False
        drops = state.drops.get(run)
        for task, attempt, nbytes, seconds, when in zip(
            event.tasks, event.attempts, event.nbytes, event.seconds, event.ended, strict=True
        ):
            batch = given.get(task)
            if batch is None or batch.worker is not worker:
                self._unexpected(table, task)
                continue
            del given[task]
            batch.left -= 1
            if not batch.left:
                self._crew.take_back(batch)
            entry = plans[task]
            is_tailored = entry[TARGET] != NOBODY
            if is_tailored and entry[ATTEMPT] != attempt:
                state.drop(run, [task])  # made for where its consumer was to run before, ...
                for follower in [each for each in waiters.get(task, ()) if given.get(each) is batch]:
                    table.missing.pop(follower, None)     # ... unless that is in the same batch, and has it there
                    table.forget_waiting(follower, plans[follower][INPUTS])
                state.make_ready(table, task, entry)
                continue
            if task not in size:
                size[task] = nbytes
                if is_tailored:
                    table.tailored[task] = entry[TARGET]
                if not is_tailored or entry[TARGET] == state.me:
                    if task in waiters:
                        state.count_down(table, task)
                    if task in asked:
                        del asked[task]
                if task in wants:
                    self._answers.exists(table, task)
                if drops:
                    drops.pop(task, None)
            if entry[HANDLING] is not handling:
                if handling is not None:
                    table.teaches |= handling.pace.ended < TEACHES
                    handling.pace.learn(total, count)
                handling, total, count = entry[HANDLING], 0.0, 0
                is_output = handling.is_output
            total += seconds
            count += 1
            if is_output:
                outputs.append(task)
            if entry[ATTEMPT] != attempt:  # planned once more meanwhile: that attempt is still to be made
                state.make_ready(table, task, entry)
                continue
            del plans[task]
            here = since.pop(task, inf)   # chained to what made its input: it did not wait
            waited.append(when - seconds - here if here < when - seconds else 0.0)
            done.append(task)
            attempts.append(attempt)
            sizes.append(nbytes)
            took.append(seconds)
            ended.append(when)
        if handling is not None:
            table.teaches |= handling.pace.ended < TEACHES
            handling.pace.learn(total, count)
        if table.bereaved:
            for task in event.tasks:
                table.bereaved.pop(task, None)
        if outputs:
            self._answers.made(table, outputs)
        if done:
            table.workers.extend([worker.id] * (len(done) - len(table.workers)))
            state.reporting[run] = table

    def broke(self, event: Broke) -> None:
        """One attempt failed; the worker goes on with its next task."""
        worker, table = self._crew.workers.get(event.worker), self._state.runs.get(event.run)
        if worker is None or (event.cause == "skipped" and table is not None):  # an input from the same batch broke: it has left
            return
        batch = None if table is None else table.given.get(event.task)
        if table is None or batch is None or batch.worker is not worker:
            self._end_orphans(worker, event.run, (event.task,))
            return
        self._crew.proved(self._state.now, worker)
        stale = table.plans[event.task][ATTEMPT] != event.attempt
        self._leave(table, event.task, batch)
        if stale:
            self._requeue(table, event.task)
        elif _asked(batch, event.task):
            self._give_up(table, event.task, batch, is_loaded=batch.due > 0.0)
        else:
            self._fail(table, event.task, event.cause if event.cause != "cancelled" else "exception", event)
        if batch.is_chained and batch.left:
            self._take_back_followers(table, event.task, batch)

    def handed_back(self, event: HandedBack) -> None:
        """It has not begun these: others may have them."""
        worker, table = self._crew.workers.get(event.worker), self._state.runs.get(event.run)
        if table is None:
            if worker is not None:
                self._end_orphans(worker, event.run, event.tasks)
            return
        for task in event.tasks:
            batch = table.given.get(task)
            if batch is not None and batch.worker is worker:
                self._leave(table, task, batch)
                if _asked(batch, task) == ABANDONED and not _is_stale(table, task, batch):
                    self._state.withdraw(table, task)
                else:
                    self._requeue(table, task)

    def gone(self, now: float, event: WorkerGone) -> None:
        """A worker is dead. What it was running is blamed, unless we killed it; the rest is given to others."""
        worker = self._crew.workers.get(event.worker)
        if worker is None:
            return
        was_killed, batches = worker.is_killed, worker.batches
        self._crew.gone(now, worker, event.reason, event.wrote)
        if was_killed:
            return
        running, memory = dict.fromkeys(event.running), event.memory and f"; {event.memory}"
        if not running and not worker.is_asyncio and event.wrote is None:   # else it had looked at nothing yet
            self._suspect(batches, running)
        for run, task in running:   # what is to blame is told first: where it ends the run, that is why
            table = self._state.runs.get(run)
            batch = None if table is None else table.given.get(task)
            if table is not None and batch in batches:
                del table.given[task]
                if _is_stale(table, task, batch):
                    self._requeue(table, task)
                else:
                    self._crash(table, task, f"the worker process that ran {_name(table, task)} died: {event.reason}{memory}")
        self._strip(batches, event.reason, None if event.is_garbled else running)

    def _suspect(self, batches: dict[Batch, None], running: dict[tuple[RunId, int], None]) -> None:
        """Nothing was seen to run: what was first in line is blamed after a few times, or it would go on for ever."""
        for batch in batches:
            table = self._state.runs.get(batch.run)
            for task in batch.tasks if table is not None else ():
                if table is not None and table.given.get(task) is batch:
                    table.bereaved[task] = table.bereaved.get(task, 0) + 1
                    if table.bereaved[task] >= UNSEEN_DEATHS_MAX:
                        running[batch.run, task] = None
                    return

    def started(self, now: float, event: Started) -> None:
        """A coroutine is loaded, and runs; or another task that has a timeout does, and may have done so for too long."""
        table = self._state.runs.get(event.run)
        batch = table.given.get(event.task) if table is not None else None
        if table is None or batch is None or batch.worker.id != event.worker:
            return
        kind = table.plans[event.task][HANDLING].kind
        if kind.timeout <= 0.0:
            return
        if not batch.worker.is_asyncio:
            due = self._overtime.due(now, batch, event, kind.timeout)
            if due > now:
                self._overtime.by(due)
            elif kind.flags & Flag.ASYNC and event.when is not None:
                batch.due = due
                self.ask(now, [batch], (event.task,), "timeout")
            else:
                self._expire(table, event.task, batch, event.when is not None)
        elif not batch.due and event.when is not None:
            batch.due = event.when + kind.timeout
            self._clocks.set(batch.due, batch)

    # ── what we decide ──────────────────────────────────────────────────────

    def out_of_time(self, now: float, batch: Batch) -> None:
        """A coroutine has had all its time: it is asked to end, and killed with its worker if it does not."""
        worker = batch.worker
        if worker.is_killed or worker.id not in self._crew.workers or (batch.due > now and not batch.cancelled):
            return
        if not batch.cancelled:
            self.ask(now, [batch], batch.tasks, "timeout")
            return
        table = self._state.runs.get(batch.run)
        stubborn = next((task for task in batch.cancelled if table is None or table.given.get(task) is batch), None)
        if stubborn is not None:
            self.kill(worker, batch.cancelled[stubborn])

    def abandon(self, now: float, message: Abandon) -> None:
        """Another attempt has won: these end, whether they run or wait, and nobody is told."""
        table = self._state.runs.get(message.run)
        if table is None:
            return
        for task, attempt in zip(message.tasks, message.attempts, strict=True):
            entry = table.plans.get(task)
            if entry is None or entry[ATTEMPT] != attempt:
                continue   # it has ended already, or is planned anew
            batch = table.given.get(task)
            if batch is None:
                self._state.withdraw(table, task)
            elif entry[HANDLING].kind.flags & Flag.ASYNC:
                self.ask(now, [batch], (task,), ABANDONED)
            else:   # what else its worker has may be begun again without harm: all that may be abandoned is of that kind
                self._crew.kill(batch.worker, ABANDONED)
                del table.given[task]
                self._state.withdraw(table, task)
                self._strip(batch.worker.batches, ABANDONED)

    def end(self, now: float, worker: Worker, run: RunId, table: Table | None) -> None:
        """The run is over, and its table gone: what the worker has of it is ended, coroutines by asking them."""
        batches = [batch for batch in worker.batches if batch.run == run]
        if not batches or worker.is_killed:
            return
        if not any(batch.has_coroutines for batch in batches):
            self.kill(worker, RUN_OVER)
            return
        given = {task: batch for batch in batches for task in batch.tasks if table is not None and table.given.get(task) is batch}
        worker.open.update({(run, task): batch for task, batch in given.items()})
        self.ask(now, batches, tuple(given), RUN_OVER)

    def ask(self, now: float, batches: list[Batch], tasks: tuple[int, ...], reason: str) -> None:
        """Ask coroutines of one run and worker to end; if they do not, that is killed. What it has not begun need not wait for that."""
        worker = batches[0].worker
        if not worker.is_asyncio:
            self._crew.stall(worker)
            self._state.effects.append(HandBack(worker.id))
        wanted = frozenset(tasks)
        new: list[int] = []    # who was asked before is at its end, and not to be disturbed
        for batch in batches:
            asked = [task for task in batch.tasks if task in wanted]
            new += [task for task in asked if not _asked(batch, task)]
            batch.cancelled = (batch.cancelled or {}) | dict.fromkeys(asked, reason)
            self._clocks.set(now + self._state.settings.kill_grace_seconds, batch)
        if new:
            self._state.effects.append(CancelTask(worker.id, batches[0].run, tuple(new)))

    def kill(self, worker: Worker, reason: str) -> None:
        """End a worker; what it was asked to do and may still be done goes to others."""
        self._crew.kill(worker, reason)
        self._strip(worker.batches, reason)

    # ── what follows ────────────────────────────────────────────────────────

    def _strip(self, batches: dict[Batch, None], reason: str, running: dict[tuple[RunId, int], None] | None = None) -> None:
        """Take everything out of a dead worker's hands. `running`: what executed in it; None: that is not all that may have begun."""
        begun_of = _begun(batches, running)
        for batch in batches:
            batch.left = 0
            table = self._state.runs.get(batch.run)
            if table is None:
                continue
            begun = 0 if batch.worker.is_asyncio and running is not None else begun_of[batch]   # those are told of one by one, in any order
            for place, task in enumerate(batch.tasks):
                if table.given.get(task) is not batch:
                    continue
                del table.given[task]
                if table.plans[task][ATTEMPT] != batch.attempts[place]:
                    self._requeue(table, task)
                elif _asked(batch, task):
                    self._give_up(table, task, batch, is_loaded=batch.due > 0.0)
                elif place < begun and not table.plans[task][HANDLING].kind.max_retries:
                    what = f"{_name(table, task)}, which may not run again (max_retries=0), may have begun there"
                    self._crash(table, task, f"its worker ended ({reason}), and {what}")
                else:
                    self._requeue(table, task)

    def _expire(self, table: Table, task: int, batch: Batch, is_loaded: bool) -> None:
        """This one runs for too long: its worker is ended, and what else that has goes to others."""
        self._crew.kill(batch.worker, "timeout")
        del table.given[task]
        if _is_stale(table, task, batch):
            self._requeue(table, task)
        else:
            self._give_up(table, task, batch, is_loaded)
        self._strip(batch.worker.batches, "timeout")

    def _leave(self, table: Table, task: int, batch: Batch) -> None:
        """The task is in no worker's hands any more."""
        del table.given[task]
        batch.left -= 1
        if not batch.left:
            self._crew.take_back(batch)

    def _take_back_followers(self, table: Table, task: int, batch: Batch) -> None:
        """What takes the broken task's result in the same batch can't run there: it waits for the result from elsewhere."""
        broken = {task}
        for follower in batch.tasks[batch.tasks.index(task) + 1 :]:
            if table.given.get(follower) is batch and not broken.isdisjoint(table.plans[follower][INPUTS]):
                broken.add(follower)
                self._leave(table, follower, batch)
                self._requeue(table, follower)

    def _requeue(self, table: Table, task: int) -> None:
        """It has not run: it waits for room, or for its inputs, as before."""
        if task not in table.missing:
            self._state.make_ready(table, task, table.plans[task])

    def _fail(self, table: Table, task: int, cause: str, event: Broke) -> None:
        self._state.withdraw(table, task)
        self._send(Failed(event.run, task, event.attempt, cause, event.type, event.text, event.traceback, event.seconds, event.body))

    def _crash(self, table: Table, task: int, text: str) -> None:
        entry = self._state.withdraw(table, task)
        self._send(Failed(table.run, task, entry[ATTEMPT], "crash", "", text))

    def _give_up(self, table: Table, task: int, batch: Batch, is_loaded: bool) -> None:
        """It has had all its time, or that for loading it; or is a coroutine that was abandoned."""
        entry = self._state.withdraw(table, task)
        if _asked(batch, task) == ABANDONED:
            return
        kind = entry[HANDLING].kind
        if is_loaded:
            text = f"{kind.name} ran longer than its timeout of {kind.timeout:g} s and was ended"
        else:
            limit = self._state.settings.load_seconds
            text = f"the code and arguments of {kind.name} were not loaded within {limit:g} s (node.load_seconds)"
        self._send(Failed(table.run, task, entry[ATTEMPT], "timeout", "TimeoutError", text, "", kind.timeout))

    def _send(self, failed: Failed) -> None:
        self._state.effects.append(Send(COORDINATOR, failed))

    def _unexpected(self, table: Table, task: int) -> None:
        """A result of a task that was taken from this worker: free it, unless it is somebody's."""
        if task not in table.size:
            self._state.drop(table.run, [task])

    def _end_orphans(self, worker: Worker, run: RunId, tasks: tuple[int, ...]) -> None:
        """Coroutines of a run that is over have ended: their claims are free."""
        for task in tasks:
            batch = worker.open.pop((run, task), None)
            if batch is not None and batch.left:
                batch.left -= 1
                if not batch.left:
                    self._crew.take_back(batch)


def _is_stale(table: Table, task: int, batch: Batch) -> bool:
    """Whether it was planned once more since it was given: then that attempt is still to be made."""
    return table.plans[task][ATTEMPT] != batch.attempt_at(task)


def _asked(batch: Batch, task: int) -> str:
    """Why it was asked to end; empty: it was not."""
    return batch.cancelled.get(task, "") if batch.cancelled else ""


def _name(table: Table, task: int) -> str:
    return table.plans[task][HANDLING].kind.name


def _begun(batches: dict[Batch, None], running: dict[tuple[RunId, int], None] | None) -> dict[Batch, int]:
    """How many tasks of each batch, from its first on, may have begun: all goes in order, and what ended may not have been told."""
    found: dict[Batch, int] = {}
    is_behind = running is None
    for batch in reversed(batches):
        if not is_behind and running is not None:
            found[batch] = max((place + 1 for place, task in enumerate(batch.tasks) if (batch.run, task) in running), default=0)
            is_behind = found[batch] > 0
        else:
            found[batch] = len(batch.tasks)
    return found
