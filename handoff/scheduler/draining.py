"""Nodes that are to leave: they get no new work, and go when nothing needs them any more, or when their time is over.

What is planned there and has not started is asked back. What runs there ends there. Results that are needed are fetched from there, and
outputs stay until the client forgets the run. What only this node may have (it is pinned there, or the others lack its labels, or can not
hold it and what must be beside it, or it takes what was serialized for this node) ends there if it is planned; if not, it waits, as for a
node that is absent, or is serialized again for another. Collocated functions go on together elsewhere, as after a loss.
"""

from __future__ import annotations

from collections.abc import Iterator

from handoff.ids import NOBODY
from handoff.messages import Answer, Drain, Refused
from handoff.quoting import quoted
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.losses import redo_serializers
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import DONE, Run
from handoff.scheduler.waiting import see_what_is_unmet_everywhere


class Leaving:
    """A node that drains: until when, and what is known to hold it up."""

    __slots__ = ("_held_by", "_search", "node", "until")

    def __init__(self, node: Node, until: float) -> None:
        self.node = node
        self.until = until
        self._held_by: tuple[Run, int] | None = None           # a result on it that is still needed
        self._search: Iterator[tuple[Run, int]] = iter(())     # where to look for the next one: results end in about this order

    def is_needed(self, ledger: Ledger) -> bool:
        """Whether it has work, or a result that somebody needs or may still ask for. Looks at each result about once in all."""
        if self.node.planned:
            return True
        held = self._held_by
        while held is not None and not self._holds(ledger, *held):
            held = next(self._search, None)
        if held is None:    # once more from the start, for what came to be here meanwhile
            self._search = _results_on(ledger, self.node.peer)
            held = next(self._search, None)
        self._held_by = held
        return held is not None

    def _holds(self, ledger: Ledger, run: Run, task: int) -> bool:
        return run.state[task] == DONE and run.node[task] == self.node.peer and ledger.runs.get(run.run) is run


def _results_on(ledger: Ledger, peer: int) -> Iterator[tuple[Run, int]]:
    for run in list(ledger.runs.values()):
        task, where = -1, run.node
        while peer in run.nodes:
            try:
                task = where.index(peer, task + 1)
            except ValueError:
                break
            if run.state[task] == DONE:
                yield run, task


def drain_named(ledger: Ledger, now: float, client: int, drain: Drain) -> None:
    """A client wants this node to leave."""
    node = ledger.by_name.get(drain.name)
    if node is None:
        present = ", ".join(sorted(map(repr, ledger.by_name))) or "none"
        text = f"there is no node named {quoted(drain.name)} to drain; nodes that are here: {present}"
        ledger.out.send(client, Refused("ConfigError", text, drain.token))
        return
    begin(ledger, now, node, drain.seconds)
    if drain.token:
        ledger.out.send(client, Answer(drain.token, {"node": node.name, "planned": node.planned}))


def begin(ledger: Ledger, now: float, node: Node, seconds: float) -> None:
    """From now on it gets nothing new. Asked again, the shorter time counts."""
    seconds = seconds if seconds > 0.0 else ledger.settings.drain_seconds
    until = now + seconds
    before = ledger.leaving.get(node.peer)
    if before is None or until < before.until:
        ledger.leaving[node.peer] = Leaving(node, until)
        ledger.remind(until, "drained", node.peer)
    if before is not None:
        return
    ledger.out.note("info", "node.draining", node=node.name, planned=node.planned, seconds=seconds)
    node.leaves = True
    if node.state in ("ready", "faulty"):
        node.state = "draining"
        ledger.is_regrouped = True
    for run in ledger.runs.values():
        if node.peer in run.nodes or node.peer in run.promised.values() or node.peer in run.group_node.values():
            _ask_back(ledger, run, node)
    see_what_is_unmet_everywhere(ledger, now)
    ledger.is_changed = True


def ask_back_again(ledger: Ledger) -> None:
    """A node has joined, which may be able to take over what no other one could."""
    for leaving in ledger.leaving.values():
        for run in ledger.runs.values():
            if leaving.node.peer in run.nodes:
                _ask_back(ledger, run, leaving.node)


def _ask_back(ledger: Ledger, run: Run, node: Node) -> None:
    """All that it has not started and another node could do; what was bound to it and is not planned there is free again."""
    others = [other for other in ledger.nodes.values() if not (other.leaves or other.fault)]
    able: dict[tuple[int, int], bool] = {}      # by kind and group
    back = []
    for task in node.tasks_of(run):
        alike = (run.kind[task], run.group.get(task, -1))
        if alike not in able:
            is_pinned = bool(run.kinds[alike[0]].node or (task in run.group and run.group_pins[run.group[task]]))
            able[alike] = not is_pinned and any(ledger.can_run(run, task, other) for other in others)
        if able[alike] and task not in run.promised:
            back.append(task)
    if back:
        ledger.out.recall(node.peer, run, back)
    set_free(ledger, run, node.peer)
    ledger.touch(run)


def set_free(ledger: Ledger, run: Run, peer: int) -> None:
    """What was bound to this node, and is not planned there, may go to others; groups go on together elsewhere."""
    for group in [group for group, where in run.group_node.items() if where == peer]:
        del run.group_node[group]
    for consumer in [consumer for consumer, where in run.promised.items() if where == peer and not run.is_planned(consumer)]:
        unbind(ledger, run, consumer)


def unbind(ledger: Ledger, run: Run, task: int) -> None:
    """It was promised to a node that leaves, and did not start there: what its serializers made for that node is made again for another."""
    if run.promised.pop(task, NOBODY) != NOBODY:
        redo_serializers(ledger, run, task)


def leavers(ledger: Ledger, now: float) -> list[Node]:
    """The nodes that may go now, and those that must."""
    gone = []
    for leaving in list(ledger.leaving.values()):
        node = leaving.node
        is_needed = leaving.is_needed(ledger)
        if not is_needed:
            ledger.out.note("info", "node.drained", node=node.name)
        elif leaving.until <= now:
            left = "its time is over; what is left on it is made elsewhere"
            ledger.out.note("warning", "node.drained", node=node.name, planned=node.planned, note=left)
        else:
            continue
        gone.append(node)
    return gone
