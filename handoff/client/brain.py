"""Everything a client decides: whom to ask for which results, what to ask for again, and when a run is over.

Read from `take`: what can happen. A run goes Start -> Accepted -> Placed (collect there) -> Results, Announce, Chunk -> RunDone, and is
over when it is done and every output is here or announced. It is forgotten when nobody here holds it any more.
"""

from __future__ import annotations

from typing import Any

from handoff import messages
from handoff.client import events
from handoff.client.absence import Absence
from handoff.client.forgets import Forgets
from handoff.client.questions import Questions
from handoff.client.reach import RESTARTED, Reach, anew, fate, out_of_reach
from handoff.client.table import ANNOUNCED, MISSING, Table, by_node, nbytes_of, part_of
from handoff.columns import Ints, Longs, ints, longs
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Close, Dropped, Ended, Joined, Lost, Received, Resumed, Send, Tick
from handoff.settings import ClientSettings


class ClientBrain:
    """The client's machine. `handle` takes one event; a shell with many of them calls `take` for each and `settle` once."""

    def __init__(self, settings: ClientSettings, coordinator: str = "it") -> None:
        self.settings = settings
        self.me = NOBODY
        self.peers: dict[PeerId, tuple[str, tuple[str, int]]] = {}  # node -> its name and address
        self._tables: dict[int, Table] = {}                # by token, until forgotten
        self._runs: dict[RunId, Table] = {}                # the same, from Accepted on
        self._questions = Questions()
        self._absence = Absence(settings.coordinator_lost_seconds, coordinator)   # an address, for people
        self._reach = Reach(settings)
        self._collects: dict[tuple[PeerId, RunId], None] = {}
        self._missed: dict[tuple[PeerId, RunId], None] = {}  # nodes whose values overtook the word that the run exists
        self._forgets = Forgets()
        self._effects: list[Any] = []

    @property
    def deadline(self) -> float | None:
        """When a node is asked again, or the coordinator is given up."""
        moments = [moment for moment in (self._reach.deadline, self._forgets.deadline, self._absence.deadline) if moment is not None]
        return min(moments, default=None)

    def handle(self, now: float, event: Any) -> list[Any]:
        """Take one event and act."""
        self.take(now, event)
        return self.settle(now)

    def settle(self, now: float) -> list[Any]:
        """What to do about all that was taken, in order."""
        for peer, run in self._collects:
            if run in self._runs:
                self._say(peer, messages.Collect(run))
        self._collects.clear()
        self._effects += self._forgets.due(now)
        effects, self._effects = self._effects, []
        return effects

    def take(self, now: float, event: Any) -> None:
        """One thing happened."""
        match event:
            case Received(peer, message):
                if peer == COORDINATOR or type(message) is messages.Accepted:  # which a node may say before the coordinator does
                    self._from_coordinator(message)
                else:
                    self._from_node(peer, message)
            case events.Start():
                self._start(event)
            case events.Fetch(token, task):
                self._fetch(token, task)
            case events.ForgetRun(token):
                self._forget(token)
            case events.CancelRun(token, reason):
                self._cancel(token, reason)
            case events.CancelOther(run, reason):
                self._say(COORDINATOR, messages.Cancel(run, reason))
            case events.Question(message, of):
                self._ask(message, of)
            case events.Attach(token, run):
                self._attach(token, run)
            case events.Welcomed(me, is_other):
                self._welcomed(me, is_other)
            case Joined(peer, _):
                self._reach.found(peer)
            case Dropped(_):
                self._absence.begin(now)
            case Resumed(_):
                self._effects += self._absence.end()
            case Ended(_, reason):
                self._give_up(self._absence.after(reason))
            case Lost(peer, reason):
                if peer == COORDINATOR:
                    self._give_up(f"the coordinator is gone: {reason or 'it left'} ({self._absence.place})")
                else:
                    self._reach.broke(peer)
                    self._node_lost(now, peer, reason)
            case Tick():
                self._tick(now)

    # ── what the caller wants ────────────────────────────────────────────────

    def _start(self, event: events.Start) -> None:
        submit = event.submit
        table = self._tables[submit.token] = Table(
            submit.token, forget=event.forget, detached=submit.detach, values_only=submit.values_only, born=self._reach.moment())
        if why := self._absence.why_not(submit):
            self._fail(table, events.Failure("ConnectionLost", why))
        else:
            table.expect_program(submit.program)
            self._effects += self._absence.asked(submit)

    def _attach(self, token: int, run: RunId) -> None:
        former = self._runs.get(run, Table(token))     # it was let go here, and is wanted again; what it uploads, too
        self._tables.pop(former.token, None)
        table = self._tables[token] = self._runs[run] = Table(token, run=run, detached=True)
        table.uploads = former.uploads
        if self._absence.why:
            self._fail(table, events.Failure("ConnectionLost", self._absence.why))
        else:
            self._say(COORDINATOR, messages.Ask(token, "attach", run))

    def _ask(self, question: messages.Ask | messages.Drain, of: int | None) -> None:
        table, why = self._tables.get(of) if of is not None else None, self._absence.why_not(question)
        if of is not None and (table is None or table.run is None):   # now its number may be that of another run
            why = f"the coordinator that knew this run is gone: {RESTARTED}"
        if why:
            self._effects.append(events.Unanswered(question.token, events.Failure("ConnectionLost", why)))
        else:
            self._questions.add(question.token)
            self._effects += self._absence.asked(question)

    def _cancel(self, token: int, reason: str) -> None:
        table = self._tables.get(token)
        if table is None or table.is_over:
            return
        if table.run is None:
            table.cancelled = reason  # said as soon as the run has an id
        else:
            self._say(COORDINATOR, messages.Cancel(table.run, reason))

    def _forget(self, token: int) -> None:
        table = self._tables.get(token)
        if table is not None and not table.is_over:
            table.let_go()
            self._look_whether_over(table)    # what it waited for is not wanted any more
        elif table is not None:
            self._drop(table)
            if table.run is not None and not self._absence.why:
                self._say(COORDINATOR, messages.Forget(table.run))

    def _fetch(self, token: int, task: int) -> None:
        table = self._tables.get(token)
        if table is None or table.run is None or (table.is_over and table.done is None):
            is_former = table is not None and table.run is None
            why = f"the coordinator of its run is gone: {RESTARTED}" if is_former else "its run is over and its values were let go"
            known = table.failure if table is not None and not is_former else None   # why they could not be made again
            self._effects.append(events.Unfetched(token, task, known or events.Failure("ResultLost", why, task)))
        elif task < len(table.state) and table.state[task] in (MISSING, ANNOUNCED) and task not in table.fetching:
            table.fetching[task] = None
            if table.state[task] == ANNOUNCED:
                self._say(table.holders[task], messages.Want(table.run, ints([task])))

    # ── what the coordinator says ────────────────────────────────────────────

    def _from_coordinator(self, message: messages.Message) -> None:
        match message:
            case messages.Accepted(token, run):
                self._accepted(token, run)
            case messages.Peers(peers, names, addresses):
                self.peers.update(zip(map(PeerId, peers), zip(names, addresses, strict=True), strict=True))
            case messages.Refused(code, text, token, task):
                self._refused(token, events.Failure(code, text, task))
            case messages.Answer(token, data):
                self._answered(token, data)
            case _:  # all others are about a run; one that is not found was forgotten here while this was on its way
                if type(message) is messages.RunDone and message.token:    # of a single call: its beginning is said with its end
                    self._accepted(message.token, message.run)
                    self._from_coordinator(messages.Placed(message.run, message.nodes))
                table = self._runs.get(getattr(message, "run", RunId(0)))
                if table is not None and table.run is not None:
                    self._about(table, table.run, message)

    def _about(self, table: Table, run: RunId, message: messages.Message) -> None:
        match message:
            case messages.Placed(_, nodes):
                for node in map(PeerId, nodes):
                    if node not in table.nodes:
                        table.nodes[node] = None
                        told = self._reach.stands_since_before(node, table.born) and (node, run) not in self._missed
                        if table.known and not told:  # else the plan told it to send them
                            self._collects[node, run] = None
            case messages.RunDone():
                table.done = message
                self._look_whether_over(table)
            case messages.RunFailed():
                self._fail(table, events.Failure(message.code, message.text, message.task, message.node, message.attempt,
                                                 message.type, message.traceback, message.body))
            case messages.Progress():
                self._effects.append(events.Progressed(table.token, message))
            case messages.Output():
                self._effects.append(events.Printed(table.token, message))
            case messages.Upload(_, tasks, nodes):
                for node, column in by_node(tasks, nodes).items():
                    table.uploads.setdefault(node, {}).update(dict.fromkeys(column))
                    self._effects.append(events.UploadValue(node, table.token, run, column))
            case messages.NodeGone(_, node):
                self._node_gone(table, run, node)
            case messages.Redirect(_, tasks, nodes):  # the node that made them is lost; these have copies, and do not push them
                for node, column in by_node(tasks, nodes).items():
                    self._announced(table, run, node, column, longs([0]) * len(column))
                self._look_whether_over(table)

    def _accepted(self, token: int, run: RunId) -> None:
        table = self._tables.get(token)
        if table is None or table.run is not None:  # it was said before
            return
        table.run = run
        self._runs[run] = table
        self._effects.append(events.RunAccepted(token, run))
        if self._missed:  # runs are accepted in order of number, but several may be before the first of them is placed
            self._missed = {key: None for key in self._missed if key[1] >= run or key[1] in self._runs}
        if table.cancelled is not None:
            self._say(COORDINATOR, messages.Cancel(run, table.cancelled))

    def _refused(self, token: int, failure: events.Failure) -> None:
        self._effects += self._questions.refused(token, failure)
        if token in self._tables:
            self._fail(self._tables[token], failure)

    def _answered(self, token: int, data: Any) -> None:
        self._effects += self._questions.answered(token, data)
        table = self._tables.get(token)
        if table is None or table.known or table.run is None:
            return
        table.expect(int(data["total"]), [int(task) for task in data["outputs"]])
        self._effects.append(events.Attached(token, table.run, data))
        self._collects |= {(node, table.run): None for node in table.nodes}
        self._look_whether_over(table)

    def _node_gone(self, table: Table, run: RunId, node: PeerId) -> None:
        table.nodes.pop(node, None)
        table.uploads.pop(node, None)  # the coordinator says where to upload instead
        table.withdraw(node)
        self._effects += table.follow(run)
        if missing := table.missing_tasks():
            self._say(COORDINATOR, messages.Missing(run, missing))

    # ── what nodes say ───────────────────────────────────────────────────────

    def _from_node(self, peer: PeerId, message: messages.Message) -> None:
        run = getattr(message, "run", RunId(0))
        table = self._runs.get(run)
        if table is None:
            if any(each.run is None and not each.is_over for each in self._tables.values()):
                self._missed[peer, run] = None  # it may be of a run whose acceptance it has overtaken: asked for again
        elif not (table.is_over and table.done is None):
            self._values(table, peer, message)

    def _values(self, table: Table, peer: PeerId, message: messages.Message) -> None:
        match message:
            case messages.Results(_, tasks, sizes, body):
                fresh = table.arrive(tasks)
                if len(fresh) == len(tasks):
                    self._effects.append(events.Arrived(table.token, tasks, sizes, body))
                elif fresh:
                    self._effects.append(events.Arrived(table.token, *part_of(message, fresh)))
            case messages.Chunk(_, task, offset, total, body):
                if offset + nbytes_of(body) == total and table.arrive((task,)):
                    self._effects.append(events.Assembled(table.token, peer, task, total))
            case messages.Announce(run, tasks, sizes):
                self._announced(table, run, peer, tasks, sizes)
            case messages.Absent(run, tasks):
                gone = table.withdraw(peer, tasks)
                self._effects += table.follow(run)
                if gone:
                    self._say(COORDINATOR, messages.Missing(run, ints(gone)))
        self._look_whether_over(table)

    def _announced(self, table: Table, run: RunId, peer: PeerId, tasks: Ints, sizes: Longs) -> None:
        fresh = table.announce(peer, tasks)
        if fresh:
            size = dict(zip(tasks, sizes, strict=True))
            self._effects.append(events.Available(table.token, ints(fresh), longs(map(size.__getitem__, fresh))))
            if again := [task for task in fresh if task in table.fetching]:
                self._say(peer, messages.Want(run, ints(again)))

    def _look_whether_over(self, table: Table) -> None:
        """The one place where a run ends well."""
        if table.done is None or table.missing or table.is_over or not table.known or table.run is None:
            return
        table.is_over = True
        table.uploads.clear()
        self._effects.append(events.RunOver(table.token, table.run, done=table.done))
        if table.is_let_go:
            self._drop(table)
        elif table.forget and not table.announced:
            if table.values_only:
                self._forgets.add(table.run)
            else:
                self._say(COORDINATOR, messages.Forget(table.run))
            self._drop(table)

    def _fail(self, table: Table, failure: events.Failure) -> None:
        """The one place where a run ends badly."""
        if not table.is_over:
            table.is_over, table.done = True, None
            table.uploads.clear()
            self._effects.append(events.RunOver(table.token, table.run or RunId(0), failure=failure))
        elif table.done is not None:  # values that were announced could not be made again
            table.done, table.failure = None, failure
        self._effects += [events.Unfetched(table.token, task, failure) for task in table.fetching]
        table.fetching.clear()
        table.nodes.clear()
        if table.is_forgotten(failure) and table.run is not None and not self._absence.why:
            self._say(COORDINATOR, messages.Forget(table.run))
        if table.forget or table.is_let_go or table.run is None:
            self._drop(table)

    def _drop(self, table: Table) -> None:
        self._tables.pop(table.token, None)
        if table.run is not None:
            self._runs.pop(table.run, None)

    # ── connections ──────────────────────────────────────────────────────────

    def _welcomed(self, me: PeerId, is_other: bool) -> None:
        if self.me != NOBODY:
            why, held = anew(is_other), self._absence.held
            for table in [table for table in self._tables.values() if table.token not in held]:
                told = why if table.is_over else why + fate(table.run, table.detached, is_other)
                self._fail(table, events.Failure("ConnectionLost", told))  # what lay on nodes is gone, too
                table.run = None           # numbers may begin again: that of a former run may be that of a new one
            self._effects += self._questions.void(events.Failure("ConnectionLost", why), held)
            self._forgets.void()
            self._runs, self._collects, self._missed = {}, {}, {}
            self._effects = [each for each in self._effects if type(each) is not Send]   # of this turn: meant for the former one
            self.peers.clear()
            self._reach.all_broke()
        self.me = me
        self._effects += self._absence.end()

    def _give_up(self, reason: str) -> None:
        """Nothing more comes from the coordinator about anything that was asked of it."""
        self._absence.give_up(reason)
        self._forgets.void()
        failure = events.Failure("ConnectionLost", reason)
        for table in [each for each in self._tables.values() if not each.is_over]:
            self._fail(table, failure)
        self._effects += self._questions.void(failure)

    def _node_lost(self, now: float, peer: PeerId, reason: str) -> None:
        waiting = [table for table in self._runs.values() if table.needs(peer)]
        if not waiting:
            self._reach.forget(peer)
            return
        if self._reach.lost(now, peer):
            return
        name, address = self.peers.get(peer, (f"#{peer}", ("?", 0)))
        text = out_of_reach(name, address, reason)
        for table in waiting:
            if table.run is not None and not table.is_over:
                self._say(COORDINATOR, messages.Cancel(table.run, text))
            self._fail(table, events.Failure("ConnectionLost", text, node=name))

    def _tick(self, now: float) -> None:
        if why := self._absence.too_long(now):
            self._give_up(why)
            self._effects.append(Close(COORDINATOR, why))    # or what was given up would go on for nobody, if it was only asleep
        for peer in self._reach.due(now):
            for table in [table for table in self._runs.values() if table.needs(peer)]:
                self._ask_again(table, peer)

    def _ask_again(self, table: Table, peer: PeerId) -> None:
        assert table.run is not None
        if peer in table.uploads:
            self._effects.append(events.UploadValue(peer, table.token, table.run, ints(table.uploads[peer])))
        if peer in table.nodes and table.missing:
            self._collects[peer, table.run] = None
        wanted = [task for task in table.fetching if table.holders.get(task) == peer]
        if wanted:
            self._say(peer, messages.Want(table.run, ints(wanted)))

    def _say(self, peer: PeerId, message: messages.Message) -> None:
        self._effects.append(Send(peer, message))

    # ── for tests and the simulator ──────────────────────────────────────────

    def check(self) -> None:
        """Raise AssertionError when the tables contradict themselves."""
        for table in self._tables.values():
            table.check()
            assert table.run is None or self._runs.get(table.run) is table, f"run {table.run} is not found by its id"

    @property
    def idle(self) -> bool:
        """Whether nothing is waited for."""
        return not self._questions and all(table.is_over for table in self._tables.values())
