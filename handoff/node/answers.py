"""What others want from this node: remembered until it exists, then sent; outputs go to the clients that collect them."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from handoff.columns import ints, longs
from handoff.ids import COORDINATOR, PeerId, RunId
from handoff.machine import Send
from handoff.messages import Absent, Accepted, Announce, Coming
from handoff.node.events import Deliver, Packing, Stream
from handoff.node.state import State
from handoff.node.tables import Table


class Answers:
    """Everything that leaves this node for a peer is gathered over a turn: one message a peer and run."""

    def __init__(self, state: State, clients: Container[PeerId]) -> None:
        self._state, self._settings, self._clients = state, state.settings, clients
        self.asked: dict[tuple[PeerId, RunId], dict[int, None]] = {}    # values to send, whatever their size
        self.outputs: dict[tuple[PeerId, RunId], dict[int, None]] = {}  # outputs to send, or to announce when large
        self._tokens: dict[tuple[PeerId, RunId], int] = {}               # to be said before the first outputs

    def want(self, peer: PeerId, run: RunId, tasks: Iterable[int]) -> None:
        """A peer asks for results of a run: those that are here are sent, the others when they come to be."""
        if self._state.is_over(run):
            self._state.effects.append(Send(peer, Absent(run, ints(tasks))))
            return
        table = self._state.table(run)
        for task in tasks:
            if task in table.size and table.tailored.get(task, peer) == peer:   # else it stays, for whom it was made for: this may be late
                self.asked.setdefault((peer, run), {})[task] = None
            else:
                waiting = table.wants.setdefault(task, [])
                if peer not in waiting:
                    waiting.append(peer)
                packing = table.packing.get(task)
                if packing is not None and packing[0] is table.given.get(task):
                    self._foretell(peer, table, task)

    def collect(self, peer: PeerId, run: RunId) -> None:
        """A client asks for all outputs of a run, those to come included."""
        if self._state.is_over(run):
            return
        table = self._state.table(run)
        table.collectors[peer] = None
        if table.outputs:
            self.outputs.setdefault((peer, run), {}).update(table.outputs)

    def expect(self, peer: PeerId, run: RunId, token: int = 0) -> None:
        """A client whose link stands gets the outputs of its run without asking; one that asked before is not sent them twice.

        With a token, it is first told that this is the run that it submitted under that token.
        """
        if not self._state.is_over(run) and peer not in self._state.table(run).collectors:
            if token:
                self._tokens[peer, run] = token
            self.collect(peer, run)

    def exists(self, table: Table, task: int) -> None:
        """A result is here, and peers wait for it."""
        target = table.tailored.get(task)
        for peer in table.wants.pop(task, ()):
            if target is None or peer == target:
                self.asked.setdefault((peer, table.run), {})[task] = None
            else:
                table.wants.setdefault(task, []).append(peer)   # for that one it will be made anew

    def packing(self, event: Packing) -> None:
        """A large result is being written: who is to take it can be chosen, and nodes that wait for it have memory for it by then."""
        table, task = self._state.runs.get(event.run), event.task
        batch = table.given.get(task) if table is not None else None
        if table is None or batch is None or batch.worker.id != event.worker or batch.attempt_at(task) != event.attempt:
            return
        table.packing[task] = batch, event.nbytes
        for peer in (COORDINATOR, *table.wants.get(task, ())):
            self._foretell(peer, table, task)

    def _foretell(self, peer: PeerId, table: Table, task: int) -> None:
        if table.tailored.get(task, peer) == peer and peer not in self._clients:
            batch, nbytes = table.packing[task]
            self._state.effects.append(Send(peer, Coming(table.run, task, batch.attempt_at(task), nbytes)))

    def made(self, table: Table, outputs: list[int]) -> None:
        """These outputs were made here."""
        table.outputs.update(dict.fromkeys(outputs))
        for peer in table.collectors:
            self.outputs.setdefault((peer, table.run), {}).update(dict.fromkeys(outputs))

    def released(self, table: Table, task: int) -> None:
        """It is not needed any more: whoever still waits for it is told."""
        table.outputs.pop(task, None)
        for peer in table.wants.pop(task, ()):
            self._state.effects.append(Send(peer, Absent(table.run, ints([task]))))

    def lost(self, peer: PeerId) -> None:
        """The link to a peer broke: if it still wants something, it asks again."""
        for table in self._state.runs.values():
            table.collectors.pop(peer, None)
            if table.wants:
                for task, waiting in list(table.wants.items()):
                    if peer in waiting:
                        waiting.remove(peer)
                        if not waiting:
                            del table.wants[task]
        self._strike(0, peer)

    def forget(self, run: RunId) -> None:
        """The run is over: nothing of it is sent any more."""
        self._strike(1, run)

    def _strike(self, part: int, value: int) -> None:
        queues: tuple[dict[tuple[PeerId, RunId], Any], ...] = (self.asked, self.outputs, self._tokens)
        for queue in queues:
            for key in [key for key in queue if key[part] == value]:
                del queue[key]

    def flush(self) -> None:
        """Send what other nodes and clients asked for in this turn, or before."""
        asked, self.asked = self.asked, {}
        for (peer, run), tasks in asked.items():
            self._send(peer, run, tasks)

    def flush_outputs(self) -> None:
        """Send clients the outputs of this turn; those of a run whose report waits for more wait with it."""
        outputs, self.outputs = self.outputs, {}
        most = self._settings.push_bytes
        for (peer, run), tasks in outputs.items():
            if run in self._state.reporting:
                self.outputs[peer, run] = tasks
                continue
            token = self._tokens.pop((peer, run), 0)
            if token:
                self._state.effects.append(Send(peer, Accepted(token, run)))
            size = self._state.runs[run].size
            large = [task for task in tasks if size.get(task, 0) > most]
            if large:
                self._state.effects.append(Send(peer, Announce(run, ints(large), longs(size[task] for task in large))))
                self._send(peer, run, [task for task in tasks if size.get(task, 0) <= most])
            else:
                self._send(peer, run, tasks)

    def _send(self, peer: PeerId, run: RunId, tasks: Iterable[int]) -> None:
        size, most = self._state.runs[run].size, self._settings.inline_bytes
        small, large, gone = [], [], []
        for task in tasks:
            nbytes = size.get(task)
            if nbytes is None:
                gone.append(task)
            elif nbytes <= most:
                small.append(task)
            else:
                large.append(task)
        effects = self._state.effects
        if small:
            effects.append(Deliver(peer, run, tuple(small)))
        if large:
            effects.append(Stream(peer, run, tuple(large)))
        if gone:
            effects.append(Send(peer, Absent(run, ints(gone))))
