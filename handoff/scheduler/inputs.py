"""The inputs of one task, as an allocator looks at them: where they are or will be, how large, and when they could be elsewhere."""

from __future__ import annotations

from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import DONE, Run

INPUTS_MAX = 16          # inputs whose links are looked at one by one, the largest; of more, only the bytes


class Inputs:
    """What `inputs_of` found."""

    __slots__ = ("bytes_on", "now", "parts", "there", "total")

    def __init__(self, now: float) -> None:
        self.now = now
        self.bytes_on: dict[int, float] = {}                    # per node: bytes of inputs that are, or will be, on it
        self.total = 0.0                                        # of all inputs
        self.there = 0.0                                        # when the last of them will exist
        self.parts: list[tuple[float, int, tuple[int, ...], int]] = []   # (bytes, home, other holders, task)

    def is_all_on(self, node: Node) -> bool:
        """Whether nothing must be moved there."""
        return self.total - self.bytes_on.get(node.peer, 0.0) < 0.5

    def arrival(self, ledger: Ledger, node: Node) -> tuple[float, float]:
        """When all of them could be on that node, by what its links have promised already; and the seconds that moving alone takes."""
        peer = node.peer
        missing = self.total - self.bytes_on.get(peer, 0.0)
        if missing < 0.5:
            return self.there, 0.0
        rate = ledger.foresight.bandwidth
        moving = missing / rate
        hop = ledger.foresight.latency
        begin = self.there + hop if self.there > self.now + 2 * hop else self.now + 3 * hop
        if moving < hop:
            return begin + moving, moving
        at = node.down_at if node.down_at > begin else begin
        nodes = ledger.nodes
        for nbytes, home, others, _ in self.parts:
            if home == peer or peer in others:
                continue
            source = nodes.get(home)
            if source is not None and source.up_at > at:
                at = source.up_at
            at += nbytes / rate
            missing -= nbytes
        if missing > 0.5:
            at += missing / rate
        return at, moving


def inputs_of(ledger: Ledger, run: Run, task: int, now: float) -> Inputs:
    """Look at them."""
    found = Inputs(now)
    state, where, copies = run.state, run.node, run.copies
    bytes_on, parts = found.bytes_on, found.parts
    there = total = 0.0
    for each in run.inputs[run.starts[task] : run.starts[task + 1]]:
        if state[each] == DONE:
            size = run.nbytes[each] + 1.0
        else:
            size = ledger.foresight.nbytes(run, each) + 1.0
            ends = run.started[each] + run.submitted
            there = max(there, ends)
        total += size
        home = where[each]
        bytes_on[home] = bytes_on.get(home, 0.0) + size
        others: tuple[int, ...] = ()
        if copies and each in copies:
            others = tuple(copies[each])
            for peer in others:
                bytes_on[peer] = bytes_on.get(peer, 0.0) + size
        parts.append((size, home, others, each))
    if len(parts) > INPUTS_MAX:
        parts.sort(reverse=True)
        del parts[INPUTS_MAX:]
    found.there, found.total = there if there > now else now, total
    return found


def fetch(ledger: Ledger, node: Node, inputs: Inputs, now: float) -> None:
    """They are to be moved there: the links are busy with them from now on."""
    peer = node.peer
    rate = ledger.foresight.bandwidth
    if (inputs.total - inputs.bytes_on.get(peer, 0.0)) / rate < ledger.foresight.latency:
        return
    at = max(node.down_at, inputs.there, now)
    for nbytes, home, others, _ in inputs.parts:
        if home == peer or peer in others:
            continue
        source = ledger.nodes.get(home)
        seconds = nbytes / rate
        if source is not None:
            at = max(at, source.up_at) + seconds
            source.up_at = at
        else:
            at += seconds
    node.down_at = at
