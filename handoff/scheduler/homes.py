"""Short tasks with small inputs, looked at together: each runs where its inputs are, as long as that keeps the nodes about even.

One after the other, each where it would be done first, they scatter: to the second of two tasks, the node that the first was given to
looks busier than one that will soon have as much to do. And what is handed on between nodes costs both of them more than a short task
takes. So the whole front of a run is looked at: only what would leave its node far behind is placed by itself.
"""

from __future__ import annotations

from math import inf

from handoff.scheduler.allocator import Desk
from handoff.scheduler.foresight import AHEAD_PER_RUN, WELL_KNOWN
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.queue import LOW
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import AHEAD, DONE, Run

FRONT_MAX = 64     # tasks that are looked at together
TURN = 16          # of them, so many may be less urgent than others that wait
NODES_MAX = 64     # of more, only those that hold inputs are looked at
INPUTS_MAX = 16    # what takes more is looked at by itself


class Front:
    """Tasks that may be placed now, the most urgent first, with the node that most of their inputs are on."""

    __slots__ = ("counts", "homes", "keys", "on", "there")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.homes: list[int] = []       # the node, by its peer
        self.on: list[dict[int, int]] = []   # how many inputs are on each node
        self.counts: list[int] = []      # how many there are
        self.there: list[float] = []     # when the last input will exist, seconds after submission; 0: all do


def is_worth_it(ledger: Ledger, run: Run, shape: Shape) -> bool:
    """Whether tasks of this shape are so short and so well known that they may be bound early, and their results are small."""
    function, foresight = shape.function, ledger.foresight
    if not function.count or run.told or run.told_bytes or run.max_concurrency or shape.cluster or function.nbytes >= ledger.rates.small:
        return False
    if function.count < WELL_KNOWN and shape.ahead > AHEAD_PER_RUN * function.count:
        return False
    return foresight.is_short(shape) and foresight.reach_of(function) > 0.0


def fare_alike(run: Run, shape: Shape) -> bool:
    """Whether all of a shape wait where one finds that every node has enough to do: not what others may wait for that fill these nodes."""
    return shape.function.count >= WELL_KNOWN and not (run.told or run.failures or run.has_remade)


def place(desk: Desk, run: Run, shape: Shape, bound: int | None) -> tuple[int, int, list[int]]:
    """Look at the front: how many were placed, how many come next that are better looked at one by one, and what has to wait.

    What has to wait (as keys, no longer in the queue) has a home that has enough to do for now.
    """
    now, ledger = desk.now, desk.ledger
    foresight, is_few = ledger.foresight, len(desk.nodes) <= NODES_MAX
    far_low = now + foresight.mark(now, run, shape, foresight.horizon)
    head = desk.head(shape)
    if is_few and head is not None and not run.attempt[head[1]] and fare_alike(run, shape) and all(
        node.ahead_at(shape, now, ledger.estimates) > far_low for node in desk.able_for(shape)
    ):
        return 0, 0, [shape.pop()]
    front = _front(desk, run, shape, bound)
    if not front.keys:
        return 0, 1, []
    nodes = able(desk, shape, front.homes)
    if is_few:
        nodes.update((node.peer, node) for node in desk.nodes_for(shape))
    levels = {peer: node.ahead_at(shape, now, ledger.estimates) for peer, node in nodes.items()}
    units = {peer: node.unit(shape, ledger.estimates) for peer, node in nodes.items()}
    if len(nodes) > 1:
        # What a core waits for is not what it has to do: of short tasks alone, only their time counts.
        work = {peer: levels[peer] if node.holding else node.works_until(now) for peer, node in nodes.items()}
        even_out(desk, front, work, units)
    idle = inf if is_few else _least(desk, shape)
    latency, submitted = foresight.latency, run.submitted
    reach, horizon = foresight.reach_of(shape.function), foresight.horizon
    low = now + foresight.mark(now, run, shape, reach)
    looked_at: list[tuple[int, int, float, float]] = []
    placed, alone, wait, is_low = 0, [], [], False
    for key, home, there, on, count in zip(front.keys, front.homes, front.there, front.on, front.counts, strict=True):
        soon = there + submitted + latency if there else now + latency
        if on.get(home, 0) < count:
            soon += latency
        is_tied = there and len(on) == 1      # it can only run where all its inputs are made: to know that early costs nothing
        looked_at.append((key, home, soon, now + (horizon if is_tied else reach)))
        is_low |= home in nodes and max(levels[home], soon) <= (far_low if is_tied else low)
    for key, home, soon, until in looked_at:
        node = nodes.get(home)
        if node is None or levels[home] > idle + latency + units[home]:
            alone.append(key)
            continue
        if not is_low or levels[home] > until or soon > until:
            wait.append(key)
            continue
        ledger.plan(now, run, key & LOW, node, held=False, there=soon)
        levels[home] = max(levels[home] + units[home], soon)
        placed += 1
    shape.put_back(alone)
    return placed, len(alone), wait


def _front(desk: Desk, run: Run, shape: Shape, bound: int | None) -> Front:
    """The next tasks that can be looked at together, taken from the queue."""
    front = Front()
    small, number = desk.ledger.rates.small, run.run
    state, where, copies, nbytes, started = run.state, run.node, run.copies, run.nbytes, run.started
    early = run.early
    while len(front.keys) < FRONT_MAX and (head := desk.head(shape)) is not None:
        of, task = head
        if front.keys and shape.head() == front.keys[-1]:   # it was queued twice
            shape.pop()
            continue
        if of.run != number:      # its task numbers mean nothing in the tables of this one
            break
        count = run.fan_in[task]
        if not 0 < count <= INPUTS_MAX or run.attempt[task]:
            break
        if bound is not None and len(front.keys) >= TURN and shape.head() >> 64 > bound:
            break
        on: dict[int, int] = {}
        there = size = 0.0
        for each in run.inputs[run.starts[task] : run.starts[task] + count]:
            if state[each] == DONE:
                size += nbytes[each]
            elif (ends := started[each] - (early if state[each] == AHEAD else 0.0)) > there:
                there = ends
            home = where[each]
            on[home] = on.get(home, 0) + 1
            if each in copies:
                for peer in copies[each]:
                    on[peer] = on.get(peer, 0) + 1
        if size >= small:
            break
        most = max(on.values())
        front.keys.append(shape.pop())
        front.homes.append(next(iter(on)) if len(on) == 1 else min([peer for peer, held in on.items() if held == most]))
        front.on.append(on)
        front.counts.append(count)
        front.there.append(there)
    return front


def able(desk: Desk, shape: Shape, homes: list[int]) -> dict[int, Node]:
    """Those of these nodes that may have such tasks."""
    option_of, found = desk.option_of(shape), {}
    for peer in dict.fromkeys(homes):
        node = desk.ledger.nodes.get(peer)
        if node is not None and node.state == "ready" and node.group in option_of and desk.reserved.get(peer, shape) is shape and (
            not shape.node or node.name == shape.node
        ):
            found[peer] = node
    return found


def _least(desk: Desk, shape: Shape) -> float:
    """When the node with the least to do is free."""
    nodes = [option.group.least() for option in desk.options_for(shape)]
    return min([node.ahead_at(shape, desk.now, desk.ledger.estimates) for node in nodes], default=inf)


def even_out(desk: Desk, front: Front, levels: dict[int, float], units: dict[int, float]) -> None:
    """Tasks leave the node that would have most to do for the one that would have least: first those that take something from there.

    To move these costs nothing: whatever they take from elsewhere, they take from there. So borders between nodes wander until both
    sides have as much to do. Others move only when it brings more than a message takes.
    """
    after = dict(levels)
    for peer in front.homes:
        if peer in after:
            after[peer] += units[peer]
    for _ in front.keys:
        most = max([home for home in front.homes if home in after], key=after.__getitem__, default=-1)
        least = min(after, key=after.__getitem__)
        if most < 0:
            return
        over = after[most] - after[least] - units[most] - units[least]
        if over < 0.0:
            return
        best, held = -1, 0 if over > desk.ledger.foresight.latency else 1
        for number, home in enumerate(front.homes):
            if home == most and (here := front.on[number].get(least, 0)) >= held:
                best, held = number, here
        if best < 0:
            return
        front.homes[best] = least
        after[most] -= units[most]
        after[least] += units[least]
