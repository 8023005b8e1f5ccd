"""Nodes that can't reach each other: what one found out is remembered for a while; where there is a choice, nothing is to go between.

Tasks that can go to no others are waited for, then their run fails with a sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handoff.ids import PeerId
from handoff.messages import RunFailed
from handoff.program import HIDDEN
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import Run

if TYPE_CHECKING:
    from handoff.scheduler.ledger import Ledger

APART_SECONDS = 300.0     # so long it is remembered: then a run finds out anew, or that whoever keeps them apart has let go
SAID_SECONDS = 60.0       # who still can't have it says so again much sooner (`node.peer_lost_seconds`)


def cut_off(ledger: Ledger, now: float, run: Run, task: int, maker: PeerId, asker: Node, is_absent: bool) -> RunFailed | None:
    """The asker can't have that result from its maker. An error when nothing was left to choose, and that for too long."""
    if run.wait_for_nodes or maker not in ledger.nodes or not (_stays(run, task, maker) or is_once(run, task)):
        return None
    seconds = ledger.settings.node_timeout_seconds
    for consumer in dict.fromkeys(run.consumers_of(task)):
        if run.node[consumer] != asker.peer or not run.is_planned(consumer) or not _stays(run, consumer, asker.peer):
            continue
        since, last = run.cut_off.get((consumer, task, maker, asker.peer), (now, now))
        if now > last + max(SAID_SECONDS, seconds):
            since = now      # there was a way meanwhile
        run.cut_off[consumer, task, maker, asker.peer] = since, now
        if now >= since + seconds:
            needs, gives = (run.kinds[run.kind[each]].name for each in (consumer, task))
            name, (host, port) = ledger.out.names[maker]
            text = f"{needs} has to run on node {asker.name!r}, and its input {gives} is to come from node {name!r}, which "
            text += (f"said for {seconds:g} s that it does not have it" if is_absent else
                     f"{asker.name!r} could not reach at {host}:{port} for {seconds:g} s; nodes hand results to each other, so that port "
                     "has to be open to all of them")
            return RunFailed(run.run, "NodeTimeout", text, consumer, asker.name, run.tried(consumer))
    return None


def _stays(run: Run, task: int, peer: PeerId) -> bool:
    """Whether it can't go elsewhere (a serializer is where its input is), or came back there because nobody else could have it."""
    return bool(run.kinds[run.kind[task]].node) or task in run.group or run.is_serializer(task) or peer in run.avoid.get(task, ())


def is_once(run: Run, task: int) -> bool:
    """Whether it is a function of the user's that may not run again. What serializes runs for each node that is to take what it gives."""
    kind = run.kinds[run.kind[task]]
    return kind.max_retries == 0 and not kind.flags & HIDDEN


def note(ledger: Ledger, now: float, maker: PeerId, asker: PeerId) -> None:
    """The asker could have nothing from that node, as long as it tried."""
    if maker in ledger.nodes and asker not in ledger.apart.setdefault(maker, {}):
        ledger.apart[maker][asker] = None
        ledger.remind(now + APART_SECONDS, "apart", maker, asker)


def forget(ledger: Ledger, maker: int, asker: int) -> None:
    """It is long ago, or one of them is gone."""
    askers = ledger.apart.get(maker, {})
    askers.pop(asker, None)
    if not askers:
        ledger.apart.pop(maker, None)


def forget_node(ledger: Ledger, peer: int) -> None:
    """Who comes back may come by another way."""
    ledger.apart.pop(peer, None)
    for maker in list(ledger.apart):
        forget(ledger, maker, peer)


def shun(ledger: Ledger, run: Run, task: int) -> None:
    """Nodes that can't have its inputs from where they are, or will be, are none to choose for it, nor those that have no way to a node
    to which one that takes its result is pinned."""
    for source in run.inputs_of(task):
        for asker in ledger.apart.get(run.node[source], ()):
            run.avoid.setdefault(task, set()).add(asker)
    pinned = {run.kinds[kind].node for kind in {run.kind[each] for each in run.consumers_of(task)}} - {""}
    for maker, askers in ledger.apart.items() if pinned else ():
        if any(asker in ledger.nodes and ledger.nodes[asker].name in pinned for asker in askers):
            run.avoid.setdefault(task, set()).add(maker)
