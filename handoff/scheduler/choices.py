"""Tasks with a choice of costs: each goes where it would be done first, by the cost that it would be done first with.

What each cost comes to in time is learned apart, since that is why there is a choice: a GPU is quicker than eight cores.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import TYPE_CHECKING

from handoff.scheduler import following, starvation
from handoff.scheduler.groups import Group, Option
from handoff.scheduler.inputs import BETA, Inputs, fetch, inputs_of
from handoff.scheduler.needs import OURS
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import WAITING, Run
from handoff.scheduler.wishes import NEAR, able_nodes, wanted_near

if TYPE_CHECKING:
    from handoff.scheduler.allocator import Desk
    from handoff.scheduler.bookings import Bookings
    from handoff.scheduler.ledger import Ledger
    from handoff.scheduler.nodes import Node

PATIENCE = 64   # tasks that find no room before the rest is not looked at
EACH_OF = 16    # nodes that are alike, of which each is looked at
HOLDERS_MAX = 3 # nodes that hold inputs, likewise
EARLY_MAX = 64  # tasks on a node, beyond one a core: when the next has room there is worked out over all of them
EARLY_ROUND_TRIPS = 4.0   # before room opens, a task is bound at most: word of the room has come and gone when it does


def serve_choices(now: float, desk: Desk, shape: Shape, booked: Bookings) -> bool:
    """Place what has room, with its inputs there; the rest is offered again when something changes, or when this is True: after others."""
    ledger, bound = desk.ledger, desk.next_rank(shape)
    aside: list[int] = []
    placed, again = 0, False
    while len(aside) < PATIENCE and (head := desk.head(shape)) is not None:
        run, task = head
        if desk.is_full(run):
            break
        if placed and ((bound is not None and shape.head() >> 64 > bound) or desk.is_behind(shape)):
            again = True
            break
        if run.followed and following.stands_back(run, task):
            again = True
            break
        key = shape.pop()
        if run.linked and run.missing[task]:
            run.state[task] = WAITING   # it comes back when its inputs exist
            continue
        if run.followed and not following.is_in_turn(now, ledger, run, task):
            aside.append(key)
            continue
        inputs = inputs_of(ledger, run, task, now) if run.linked and run.fan_in[task] else None
        able = able_nodes(desk, run, task, shape, inputs) if desk.settle_consumer(run, task) else []
        near = wanted_near(desk, run, task) if run.near else set()
        best = _best(now, desk, run, task, shape, able, near, inputs, booked)
        if best is not None and _may_have_it(now, ledger, run, shape, *best[1:]):
            _, start, alternative, node = best
            if inputs is not None:
                fetch(ledger, node, inputs, now)
            ledger.plan(now, run, task, node, held=True, there=start, alternative=alternative)
            ledger.memory.note(run, task, node.peer, inputs)
            placed += 1
        elif run.attempt[task] and run.blocks_planned(task) and (late := _without_room(desk, shape, able)) is not None:
            # Planned tasks wait for it, maybe those that take up all the room: it must not wait for them.
            ledger.plan(now, run, task, late[0], held=False, alternative=late[1])
            placed += 1
        else:
            aside.append(key)
            if run.followed:
                following.wait(now, ledger, run, task)
            if best is not None:
                booked.add(best[3], best[0], shape.needs[best[2]])
            if able is None and inputs is None and not run.attempt[task] and not _has_room(desk, shape):
                break     # nor will the next one find any
    shape.put_back(aside)
    shape.is_tried |= placed > 0
    if not again and not len(shape):
        ledger.ready.run_out(shape)
    elif not placed and shape.crowd.is_mixed and _has_room(desk, shape):
        ledger.ready.pass_by(shape)
    starvation.watch(now, desk, shape, placed)
    return again


def _may_have_it(now: float, ledger: Ledger, run: Run, shape: Shape, start: float, alternative: int, node: Node) -> bool:
    """Whether it is bound to where it would be done first: when there is room, or so shortly before as its time at this cost is known.

    One that counts as soon as it is bound, for the run's own limit or for what the whole cluster shares, waits for the room.
    """
    if node.has_room(shape.needs[alternative]) or run.max_concurrency or shape.cluster:
        return start <= now and node.has_room(shape.needs[alternative])
    if len(node.holding) >= EARLY_MAX + len(node.lanes):
        return False
    reach = min(ledger.foresight.reach_of(shape.functions[alternative]), EARLY_ROUND_TRIPS * ledger.foresight.round_trip)
    return now < start <= now + reach     # what is overdue may take long yet


def _best(
    now: float, desk: Desk, run: Run, task: int, shape: Shape, able: list[Node] | None, near: Collection[int], inputs: Inputs | None,
    booked: Bookings,
) -> tuple[float, float, int, Node] | None:
    """(when it would be done, when it would start, with which cost, where) of the best; of equal ones the preferred cost.

    A cost that was never tried is taken to be as quick as the quickest that was (`seconds_at`): so each is tried when there is room for it.
    """
    ledger = desk.ledger
    is_known = any(function.count for function in shape.functions)
    best: tuple[float, float, int, Node] | None = None
    for alternative, need in enumerate(shape.needs):
        if ledger.cluster_room(shape, alternative) <= 0:
            continue
        usual = ledger.foresight.seconds_at(run, task, shape, alternative)
        for node in _looked_at(desk, shape, alternative, near, inputs) if able is None else able:
            if not node.can_hold(need):
                continue
            start = now if node.has_room(need) else booked.room_at(node, need, now)
            if (start > now and not is_known) or start == inf:
                continue        # nothing is known yet: what has room is taken
            arrival, moving = inputs.arrival(ledger, node) if inputs is not None else (now, 0.0)
            end = max(start, arrival) + usual / node.speed * (1.0 - NEAR * (node.peer in near)) + BETA * moving
            if best is None or end < best[0]:
                best = (end, start, alternative, node)
    return best


def _options(desk: Desk, shape: Shape, alternative: int) -> list[Option]:
    """The groups of nodes that may have it at this cost."""
    eligible = shape.eligible
    if eligible.choices_of != desk.ledger.open_version:
        able = dict.fromkeys(desk.able_for(shape))
        groups = [each for each in desk.ledger.groups if each.members[0] in able]
        if shape.node:
            groups = [Group([node], listed=False) for node in able]
        eligible.choices = [[Option(group, 1.0) for group in groups if group.members[0].can_hold(need)] for need in shape.needs]
        eligible.choices_of = desk.ledger.open_version
    return eligible.choices[alternative]


def _looked_at(desk: Desk, shape: Shape, alternative: int, near: Collection[int], inputs: Inputs | None) -> list[Node]:
    """Of small groups of nodes that are alike all, of large ones one with room and who is free first, or some; those with inputs."""
    nodes: dict[Node, None] = {}
    for option in _options(desk, shape, alternative):
        group = option.group
        if len(group.members) <= EACH_OF or not group.is_listed:
            nodes.update(dict.fromkeys(group.members))
            continue
        found = option.open_node(shape.needs[alternative], desk.reserved, shape)
        if found is not None:
            nodes[found] = None
        if all(name in ("cpu", "memory", *OURS) for name, _ in shape.needs[alternative]):
            nodes[group.least()] = None
        else:        # who is free first goes by cores
            nodes.update(dict.fromkeys(group.some(EACH_OF)))
    bytes_on = inputs.bytes_on if inputs is not None else {}
    for peer in (*sorted(bytes_on, key=lambda each: (-bytes_on[each], each))[:HOLDERS_MAX], *sorted(near)):
        node = desk.ledger.nodes.get(peer)
        if node is not None and node.state == "ready" and (not shape.node or node.name == shape.node) and node.can_run(shape):
            nodes[node] = None
    return [node for node in nodes if desk.reserved.get(node.peer, shape) is shape] if desk.reserved else list(nodes)


def _has_room(desk: Desk, shape: Shape) -> bool:
    """Whether any node has room for it at any of its costs."""
    return any(option.open_node(need, desk.reserved, shape) is not None
               for alternative, need in enumerate(shape.needs) for option in _options(desk, shape, alternative))


def _without_room(desk: Desk, shape: Shape, able: list[Node] | None) -> tuple[Node, int] | None:
    """A node that could ever have it, and at which cost."""
    for node in desk.nodes_for(shape) if able is None else able:
        alternative = desk.choice(shape, node, is_waiting=True)
        if alternative is not None:
            return node, alternative
    return None
