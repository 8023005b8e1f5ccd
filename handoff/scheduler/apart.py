"""Nodes that can't reach each other, and tasks that can go to no others: waited for a while, then their run fails with a sentence."""

from __future__ import annotations

from handoff.ids import PeerId
from handoff.messages import RunFailed
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import Run


def cut_off(ledger: Ledger, now: float, run: Run, task: int, maker: PeerId, asker: Node) -> RunFailed | None:
    """The asker can't have that result from its maker. An error when nothing was left to choose, and that for too long."""
    if run.wait_for_nodes or maker not in ledger.nodes or not _stays(run, task, maker):
        return None
    seconds = ledger.settings.node_timeout_seconds
    for consumer in dict.fromkeys(run.consumers_of(task)):
        if run.node[consumer] != asker.peer or not run.is_planned(consumer) or not _stays(run, consumer, asker.peer):
            continue
        since = run.cut_off.setdefault((consumer, task, maker, asker.peer), now)
        if now >= since + seconds:
            needs, gives = (run.kinds[run.kind[each]].name for each in (consumer, task))
            name, (host, port) = ledger.out.names[maker]
            text = (
                f"{needs} has to run on node {asker.name!r}, and its input {gives} lies on node {name!r}, which {asker.name!r} could not"
                f" reach at {host}:{port} for {seconds:g} s; nodes hand results to each other, so that port has to be open to all of them"
            )
            return RunFailed(run.run, "NodeTimeout", text, consumer, asker.name, run.tried(consumer))
    return None


def _stays(run: Run, task: int, peer: PeerId) -> bool:
    """Whether it can't go elsewhere, or came back there because nobody else could have it."""
    return bool(run.kinds[run.kind[task]].node) or task in run.group or peer in run.avoid.get(task, ())
