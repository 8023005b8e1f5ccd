"""Chains of short tasks, several links at a time: each stays where the one before is, since to move it would take longer than it runs.

Looked at by itself, every link comes to the same node: it could start there before its input could be anywhere else.
"""

from __future__ import annotations

from handoff.scheduler import homes
from handoff.scheduler.allocator import Desk
from handoff.scheduler.foresight import WELL_KNOWN
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import OVERHEAD_SECONDS, Node
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import AHEAD, DONE, WAITING, Run

LINKS_MAX = 256    # links that are placed together
TURN = 16          # of them, where others that wait are more urgent than the last may be


def place(desk: Desk, run: Run, task: int, shape: Shape, bound: int | None) -> int:
    """Place the task at the head and the links that follow it; how many, 0 where it had better be looked at otherwise."""
    ledger, now = desk.ledger, desk.now
    function, foresight = shape.function, ledger.foresight
    before = run.inputs[run.starts[task]]
    peer = run.node[before]
    node = ledger.nodes.get(peer)
    if node is None or (shape.node and node.name != shape.node) or function.count < WELL_KNOWN or not run.is_next_link(task):
        return 0
    if run.attempt[task] or before in run.copies or run.nbytes[before] >= ledger.rates.small or not homes.is_worth_it(ledger, run, shape):
        return 0
    if peer not in homes.able(desk, shape, [peer]):
        return 0
    seconds = (ledger.estimates.seconds(function) + OVERHEAD_SECONDS) / node.speed
    there = now if run.state[before] == DONE else max(now, run.ends_at(before) + run.submitted)
    start = max(there, node.ahead_at(shape, now, ledger.estimates))
    until = now + foresight.mark(now, run, shape, foresight.horizon)
    if start + seconds > there + foresight.latency or start > until:
        return 0        # elsewhere it could be done as soon, or it is too early to say
    shape.pop()
    links = _links(run, task, min(LINKS_MAX if bound is None else TURN, 1 + int((until - start) / seconds)))
    _plan(ledger, now, run, links, node, seconds, there)
    return len(links)


def _links(run: Run, task: int, most: int) -> list[int]:
    """This one and those of its kind that take nothing but the one before, and nothing else does."""
    links, kind, state, fan_in, attempt = [task], run.kind, run.state, run.fan_in, run.attempt
    consumers, starts = run.consumers, run.consumer_starts
    while len(links) < most:
        at = starts[task]
        if starts[task + 1] - at != 1:
            break
        after = consumers[at]
        if fan_in[after] != 1 or kind[after] != kind[task] or state[after] != WAITING or attempt[after]:
            break
        links.append(after)
        task = after
    return links


def _plan(ledger: Ledger, now: float, run: Run, links: list[int], node: Node, seconds: float, there: float) -> None:
    """Give them to the node, one after the other: as `Ledger.plan` does it with each."""
    shape, number, peer, count = run.shapes[run.kind[links[0]]], run.run, node.peer, len(links)
    share = node.width(shape.need)
    if not node.planned:
        node.moved_at = now
    node.take(shape, count, held=False)
    node.backlog += count * node.unit(shape, ledger.estimates)
    end = node.book(seconds * count, share, there) - seconds * (count - 1)
    run.planned += count
    if run.quota is not None:
        run.quota.add(peer, count, 1)     # each takes what the one before it makes
    run.topped_up = now
    state, attempt, where, given_at, started, unplanned = run.state, run.attempt, run.node, run.given_at, run.started, run.unplanned
    given, later, queue = now - run.submitted, run.early - run.submitted, node.queue
    for task in links:
        state[task] = AHEAD
        attempt[task] += 1
        where[task] = peer
        given_at[task] = given
        started[task] = end + later
        unplanned[task] = 0
        queue[number, task] = (seconds, share, there + run.early if there > now else 0.0, end - seconds, run)
        there = end
        end += seconds
    for each in run.consumers_of(links[-1]):
        if state[each] < DONE:
            unplanned[each] -= 1
            if not unplanned[each] and state[each] == WAITING:
                ledger.consider(run, each)
    ledger.out.plan(node, run, links)
