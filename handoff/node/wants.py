"""What this node wants from others: asked for at once, again after a broken link, and given up in time so that it is made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from handoff.columns import ints
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Send
from handoff.messages import Absent, Redirect, Unreachable, Want
from handoff.node.state import State
from handoff.node.tables import SOURCES, Entry, Table

DIAL_SECONDS_MAX = 10.0   # a dial that nobody answers fails within half of this: what took longer was a link that stood


@dataclass(slots=True)
class Outage:
    """A peer whose link broke while we wanted something from it."""

    since: float      # the first of the breaks that followed each other
    last: float       # the latest
    retry_at: float | None


class Wants:
    """Keeps `Table.asked`: an input is asked for at one node at a time."""

    def __init__(self, state: State) -> None:
        self._state, self._settings = state, state.settings
        self.queued: dict[tuple[PeerId, RunId], dict[int, None]] = {}   # Wants of this turn: one per peer and run
        self.outages: dict[PeerId, Outage] = {}

    def ask(self, table: Table, task: int, source: PeerId) -> None:
        """Want this input from there, and from nowhere else; from ourselves or nobody: wait for it."""
        before = table.asked.pop(task, None)
        if source in (self._state.me, NOBODY):
            return
        if before is not None and before != source:
            table.asked_before.setdefault(task, set()).add(before)
        table.asked[task] = source
        key = (source, table.run)      # as `_queue` does it: asked for each input
        if key in self.queued:
            self.queued[key][task] = None
        else:
            self.queued[key] = {task: None}

    def _queue(self, peer: PeerId, run: RunId, task: int) -> None:
        tasks = self.queued.get((peer, run))
        if tasks is None:
            self.queued[peer, run] = {task: None}
        else:
            tasks[task] = None

    def again(self, table: Table, task: int, entry: Entry, lost: list[int]) -> None:
        """A planned task's inputs were here and are no more: it waits again, and they come from where they came from."""
        distinct = dict.fromkeys(lost)
        table.missing[task] = len(distinct)
        sources = dict(zip(entry[3], entry[SOURCES], strict=True))
        for each in distinct:
            table.waiters.setdefault(each, []).append(task)
            source = table.redirected.get(each, sources[each])
            if source != self._state.me:
                self.ask(table, each, source)
            elif each not in table.plans:
                self._give_up(table.run, source, [each], is_absent=True)

    def redirect(self, message: Redirect) -> None:
        """These come from there instead. Who has them already, or takes none of them, does nothing."""
        table = self._state.runs.get(message.run)
        if table is None:
            return
        for task, node in zip(message.tasks, message.nodes, strict=True):
            if not (task in table.waiters or task in table.asked) or (task in table.size and self._state.fits(table, task, self._state.me)):
                continue
            table.redirected[task] = PeerId(node)
            self.ask(table, task, PeerId(node))

    def absent(self, peer: PeerId, run: RunId, tasks: tuple[int, ...]) -> None:
        """The peer does not have these and never will."""
        table = self._state.runs.get(run)
        if table is None:
            return
        gone = [task for task in dict.fromkeys(tasks) if table.asked.get(task) == peer]   # it may say one twice
        for task in gone:
            del table.asked[task]
            self._turn_away(table, task)
        self._give_up(run, peer, [task for task in gone if _is_waited_for(table, task)], is_absent=True)

    def released(self, table: Table, task: int) -> bool:
        """Nobody elsewhere needs what was asked for. Whether nobody here does: then it is asked for no more."""
        if _is_waited_for(table, task):
            return False
        del table.asked[task]
        return True

    def lost(self, now: float, peer: PeerId) -> None:
        """The link to a node broke, or could not be made."""
        self._ask_again_for_what_it_began(peer)
        if not self._owes(peer):
            self.outages.pop(peer, None)
            return
        outage = self.outages.get(peer)
        lost_seconds = self._settings.peer_lost_seconds
        if outage is None or now - outage.last > max(lost_seconds, DIAL_SECONDS_MAX):  # it held for long in between: this is another story
            outage = self.outages[peer] = Outage(now, now, None)
        outage.last = now
        if now - outage.since < lost_seconds:
            outage.retry_at = now + self._settings.peer_retry_seconds
            return
        del self.outages[peer]
        for run, tasks in self._owes(peer).items():
            asked = self._state.runs[run].asked
            for task in tasks:
                del asked[task]
            self._give_up(run, peer, tasks, is_absent=False)

    def _ask_again_for_what_it_began(self, peer: PeerId) -> None:
        """Of a value that two nodes send, what came second has passed by, or has put an end to the first: now neither may come."""
        for run, table in self._state.runs.items():
            for task, peers in table.asked_before.items():
                source = table.asked.get(task)
                if peer in peers and source not in (None, peer) and _is_waited_for(table, task):
                    self._queue(source, run, task)

    def heard(self, peer: PeerId) -> None:
        """The peer said something: it can be reached."""
        outage = self.outages.get(peer)
        if outage is not None and outage.retry_at is None:
            del self.outages[peer]

    def retry(self, now: float) -> None:
        """Ask those again whose pause is over."""
        for peer, outage in list(self.outages.items()):
            if outage.retry_at is None or now < outage.retry_at:
                continue
            outage.retry_at = None
            owed = self._owes(peer)
            if not owed:
                del self.outages[peer]
            for run, tasks in owed.items():
                for task in tasks:
                    self._queue(peer, run, task)

    @property
    def deadline(self) -> float | None:
        """The end of the next pause."""
        return min((outage.retry_at for outage in self.outages.values() if outage.retry_at is not None), default=None)

    def flush(self) -> None:
        """Say what was asked in this turn and has not been answered in it."""
        queued, self.queued = self.queued, {}
        runs, effects = self._state.runs, self._state.effects
        for (peer, run), tasks in queued.items():
            table = runs.get(run)
            if table is not None:
                asked = table.asked
                open_tasks = [task for task in tasks if asked.get(task) == peer]
                if open_tasks:
                    effects.append(Send(peer, Want(run, ints(open_tasks))))

    def forget(self) -> None:
        """Nothing is wanted any more."""
        self.queued, self.outages = {}, {}

    def _owes(self, peer: PeerId) -> dict[RunId, list[int]]:
        """What is still to come from a peer whose link broke. What nobody waits for any more will not come, and is not asked for again."""
        owed = {}
        for run, table in self._state.runs.items():
            asked = [task for task, source in table.asked.items() if source == peer]
            tasks = [task for task in asked if _is_waited_for(table, task)]
            if len(tasks) < len(asked):
                for task in [task for task in asked if not _is_waited_for(table, task)]:
                    del table.asked[task]
                    self._turn_away(table, task)
            if tasks:
                owed[run] = tasks
        return owed

    def _turn_away(self, table: Table, task: int) -> None:
        """What was to come here does not, and no task here misses it: whoever was to have it from here is told to look elsewhere."""
        if task in table.wants and task not in table.plans and not _is_waited_for(table, task):
            for peer in table.wants.pop(task):
                self._state.effects.append(Send(peer, Absent(table.run, ints([task]))))

    def _give_up(self, run: RunId, node: PeerId, tasks: list[int], is_absent: bool) -> None:
        if tasks:
            self._state.effects.append(Send(COORDINATOR, Unreachable(run, node, ints(tasks), is_absent)))


def _is_waited_for(table: Table, task: int) -> bool:
    """Whether a task that is still planned here takes it: of recalled ones, the fetch goes on, but nobody minds its end."""
    return any(follower in table.missing for follower in table.waiters.get(task, ()))
