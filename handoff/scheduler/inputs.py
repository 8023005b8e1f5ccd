"""The inputs of one task, as an allocator looks at them: where they are or will be, how large, and when they could be elsewhere."""

from __future__ import annotations

from collections.abc import Collection

from handoff.scheduler import relays
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import DONE, Run

BETA = 2.0               # what a transfer costs the others on the same links, in transfers
INPUTS_MAX = 16          # inputs whose links are looked at one by one, the largest; of more, only the bytes


Part = tuple[float, int, tuple[int, ...], int]   # of one input: bytes, its home, other holders, which task's result


class Inputs:
    """What `inputs_of` found."""

    __slots__ = ("begin", "bytes_on", "now", "parts", "run", "there", "total")

    def __init__(
        self, run: Run, now: float, there: float, begin: float, total: float, bytes_on: dict[int, float], parts: list[Part],
    ) -> None:
        self.run, self.now = run, now
        self.there = there          # when the last of them will exist, ...
        self.begin = begin          # ... and when they could begin to move
        self.total = total          # bytes of all
        self.bytes_on = bytes_on    # per node: bytes that are, or will be, on it
        self.parts = parts

    def most_on(self, count: int) -> Collection[int]:
        """So many of the nodes that hold them, by their peers: those with most bytes, of equal ones the first."""
        bytes_on = self.bytes_on
        if len(bytes_on) < 2:
            return bytes_on
        if len(bytes_on) == 2 and count > 1:
            (one, held), (other, more) = bytes_on.items()
            return (other, one) if more > held or (more == held and other < one) else (one, other)
        if count > 1:
            return [peer for _, peer in sorted([(-held, peer) for peer, held in bytes_on.items()])[:count]]
        home, most = 0, -1.0
        for peer, held in bytes_on.items():
            if held > most or (held == most and peer < home):
                home, most = peer, held
        return (home,)

    def is_all_on(self, node: Node) -> bool:
        """Whether nothing must be moved there."""
        return self.total - self.bytes_on.get(node.peer, 0.0) < 0.5

    def when(self, ledger: Ledger, node: Node) -> float:
        """When all of them could be there."""
        return self.arrival(ledger, node)[0]

    def go_along(self, peer: int) -> None:
        """A task that takes them was planned there: so all of them will be."""
        self.bytes_on[peer] = self.total
        self.parts = [part if part[1] == peer or peer in part[2] else (part[0], part[1], (*part[2], peer), part[3]) for part in self.parts]

    def finish(self, ledger: Ledger, node: Node, start: float, spent: float) -> float:
        """When a task that starts then, or when they are there, would be done there, the cost of its transfers for others included."""
        missing = self.total - self.bytes_on.get(node.peer, 0.0)
        if missing < 0.5:
            return (self.there if self.there > start else start) + spent
        arrival, moving = self._moved(ledger, node, missing)
        return (arrival if arrival > start else start) + spent + BETA * moving

    def arrival(self, ledger: Ledger, node: Node) -> tuple[float, float]:
        """When all of them could be on that node, by what its links have promised already; and the seconds that moving alone takes."""
        missing = self.total - self.bytes_on.get(node.peer, 0.0)
        return self._moved(ledger, node, missing) if missing >= 0.5 else (self.there, 0.0)

    def _moved(self, ledger: Ledger, node: Node, missing: float) -> tuple[float, float]:
        """The same, where so many bytes are not there."""
        peer, rates, begin = node.peer, ledger.rates, self.begin
        if missing < rates.small:
            moving = missing / rates.usual
            return begin + moving, moving
        at = node.down_at if node.down_at > begin else begin
        moving, hop = 0.0, ledger.foresight.latency
        nodes, trees = ledger.nodes, self.run.trees
        if rates.is_uniform and not trees:
            moving = missing / rates.usual
            if moving < hop:
                return begin + moving, moving
            for _, home, others, _ in self.parts:
                if home != peer and peer not in others:
                    source = nodes.get(home)
                    if source is not None and source.up_at > at:
                        at = source.up_at
            return at + moving, moving
        for nbytes, home, others, value in self.parts:
            if home == peer or peer in others:
                continue
            origin = home
            if trees and value in trees:
                origin, ready = trees[value].source(ledger, peer, nbytes, self.now)
                at = max(at, ready)
            else:
                source = nodes.get(home)
                if source is not None and source.up_at > at:
                    at = source.up_at
            seconds = nbytes / rates.of(origin, peer)
            at += seconds
            moving += seconds
            missing -= nbytes
        if missing > 0.5:
            at += missing / rates.usual
            moving += missing / rates.usual
        return (at, moving) if moving >= hop else (begin + moving, moving)


def inputs_of(ledger: Ledger, run: Run, task: int, now: float) -> Inputs:
    """Look at them."""
    if ledger.rates.version != ledger.links.version:
        ledger.rates.refresh()
    state, where, copies, nbytes, start = run.state, run.node, run.copies, run.nbytes, run.starts[task]
    bytes_on: dict[int, float] = {}
    parts: list[Part] = []
    there = total = 0.0
    for each in run.inputs[start : start + run.fan_in[task]]:
        if state[each] == DONE:
            size = nbytes[each] + 1.0
        else:
            size = ledger.foresight.nbytes(run, each) + 1.0
            there = max(there, run.ends_at(each) + run.submitted)
        total += size
        home = where[each]
        bytes_on[home] = bytes_on[home] + size if home in bytes_on else size
        if each in copies:
            others = tuple(copies[each])
            for peer in others:
                bytes_on[peer] = bytes_on[peer] + size if peer in bytes_on else size
            parts.append((size, home, others, each))
        else:
            parts.append((size, home, (), each))
    if len(parts) > INPUTS_MAX:
        parts.sort(reverse=True)
        del parts[INPUTS_MAX:]
    hop = ledger.foresight.latency
    begin = there + hop if there > now + 2 * hop else now + 3 * hop
    return Inputs(run, now, there if there > now else now, begin, total, bytes_on, parts)


def fetch(ledger: Ledger, node: Node, inputs: Inputs, now: float) -> None:
    """They are to be moved there: whom each comes from is settled, and the links are busy with them from now on."""
    peer, rates = node.peer, ledger.rates
    if inputs.total - inputs.bytes_on.get(peer, 0.0) < rates.small:
        return
    at = max(node.down_at, inputs.there, now)
    for nbytes, home, others, value in inputs.parts:
        if home == peer or peer in others:
            continue
        place = relays.join(ledger, inputs.run, value, peer, nbytes, now) if nbytes > rates.large else None
        origin = home if place is None else place.parent
        source = ledger.nodes.get(origin)
        seconds = nbytes / (rates.usual if rates.is_uniform else rates.of(origin, peer))
        if source is not None and source.up_at > at:
            at = source.up_at
        if place is None:
            at += seconds
        else:
            at = place.there = max(at + seconds, place.there)
        if source is not None:
            source.up_at = at
    node.down_at = at
