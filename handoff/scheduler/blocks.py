"""Many equal tasks that take nothing, or all the same small results: placed in blocks, so that nodes are done at about the same time."""

from __future__ import annotations

from handoff.resources import Amounts
from handoff.scheduler.allocator import Desk
from handoff.scheduler.foresight import AHEAD_PER_RUN, WELL_KNOWN
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import OVERHEAD_SECONDS, Node
from handoff.scheduler.queue import LOW
from handoff.scheduler.quota import Quota
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import DONE, READY, Run
from handoff.scheduler.shares import share_out
from handoff.scheduler.wishes import wishes_nothing

UNKNOWN_AHEAD = 2        # tasks of a function never seen that a node gets beyond its room, when work is short in general
TURN = 16                # tasks of a block that may be less urgent than others that wait
BLOCK_MIN = 8            # fewer are better looked at one by one
SHARED_PER_NODE = 4      # results that exist, and that so many tasks for each node take, may as well lie on all nodes
INPUTS_MAX = 16          # what takes more is looked at by itself
NODES_PER_TASK = 12      # so many nodes are looked at for a block in the time in which one task is placed by itself


def is_worth_it(ledger: Ledger, shape: Shape, bound: int | None) -> bool:
    """Whether tasks of this shape are so short, or so unknown, that looking at each by itself would cost more than it brings."""
    function = shape.function
    count = function.count
    if count and function.seconds > ledger.foresight.short:
        return False    # what is long is not short, whatever its spread: most that are looked at one by one
    size, stack = len(shape), shape.stack
    if bound is not None and size > TURN and len(stack) > TURN and stack[-TURN - 1] >> 64 > bound:
        size = TURN     # then others are more urgent
    if size * NODES_PER_TASK < len(ledger.open_nodes):
        return False    # a block looks at every node, a task by itself at groups of them
    if not count:
        return len(shape) >= BLOCK_MIN
    if shape.function.nbytes >= ledger.memory.large:
        return False    # memory has a say in where each goes
    if count < WELL_KNOWN and shape.ahead > AHEAD_PER_RUN * count:
        return False
    return ledger.foresight.is_short(shape) and ledger.foresight.reach_of(shape.function) > 0.0


def takes_what_all_take(ledger: Ledger, run: Run, task: int, shape: Shape) -> bool:
    """Whether it takes nothing, or little that many take: to which node it goes makes no difference then.

    Of a function that ran seldom, what it takes is placed one by one, as early as it can be: a block waits for what is known of it.
    """
    if not run.fan_in[task]:
        return True
    if shape.function.count < WELL_KNOWN or run.fan_in[task] > INPUTS_MAX:
        return False
    takers, total = SHARED_PER_NODE * len(ledger.open_nodes), 0
    starts = run.consumer_starts
    for each in run.inputs[run.starts[task] : run.starts[task + 1]]:
        if run.state[each] != DONE or starts[each + 1] - starts[each] < takers:
            return False
        total += run.nbytes[each]
    return total < ledger.rates.small


def may_queue(ledger: Ledger, run: Run, task: int, shape: Shape, bound: int | None) -> bool:
    """Whether it may be planned, though no more of its run may execute now: behind those that do, where the node keeps to its share."""
    return (
        run.quota is not None and not shape.cluster and wishes_nothing(run, shape) and ledger.foresight.is_short(shape)
        and takes_what_all_take(ledger, run, task, shape) and is_worth_it(ledger, shape, bound)
    )


def spread(desk: Desk, run: Run, shape: Shape, bound: int | None) -> int:
    """Share the head of the queue out over the nodes; how many were placed."""
    now, ledger, need = desk.now, desk.ledger, shape.need
    function = shape.function
    is_short = ledger.foresight.is_short(shape)
    nodes = desk.nodes_with_room(shape, desk.nodes_for(shape))
    levels, units, rooms, slots, more = [], [], [], [], None
    if is_short:
        reach = ledger.foresight.reach_of(function)
        low = ledger.foresight.mark(now, run, shape, reach)
        idles: list[int] = []
        each = function.seconds + OVERHEAD_SECONDS
        for node in nodes:
            share = node.share(need)
            unit = each * share / node.speed
            level = max(node.backlog, node.lanes[0] - now)
            idle = min(node.slots(need), int(1.0 / share)) - (node.planned - len(node.holding))   # so many could start at once
            idles.append(idle)
            levels.append(level)
            units.append(unit)
            rooms.append(max(int((reach - level) / unit) + 1 if level < reach else 0, idle))
        if run.quota is not None and not shape.cluster:
            more = _keep_to_shares(run.quota, nodes, need, each, reach, levels, units, rooms, idles)
        if not any(idle > 0 or (room and level < low) for idle, room, level in zip(idles, rooms, levels, strict=True)):
            return 0
    else:
        all_short = ledger.estimates.all.count and ledger.estimates.all.seconds <= ledger.foresight.short
        extra = UNKNOWN_AHEAD if not function.count and all_short else 0
        for node in nodes:
            fit = node.slots(need)
            slots.append(fit)
            load = max((
                (node.committed[name] + (node.results if name == "memory" else 0)) / node.capacity[name] for name, _ in need), default=0.0)
            levels.append(load + node.backlog / ledger.foresight.horizon + desk.penalty_of(shape, node) - node.speed)
            units.append(node.share(need))
            rooms.append(max(0, fit + extra - node.ahead.get(shape, 0)))
    wanted = min(len(shape), sum(rooms))
    if is_short and function.count < WELL_KNOWN:
        wanted = min(wanted, 1 + AHEAD_PER_RUN * function.count - shape.ahead)
    if more is None and run.quota is not None:
        wanted = min(wanted, run.room())
    if shape.cluster:
        wanted = min(wanted, ledger.cluster_room(shape))
    if wanted <= 0:
        return 0
    tasks = _take_block(run, shape, wanted, bound)
    counts = share_out(len(tasks), levels, units, rooms)
    at = 0
    for index, count in enumerate(counts):
        if not count:
            continue
        part = tasks[at : at + count]
        at += count
        if is_short:
            ledger.plan_block(now, run, part, nodes[index], held=False, more=more[index] if more is not None else None)
            continue
        here = min(count, slots[index])
        if here:
            ledger.plan_block(now, run, part[:here], nodes[index], held=True)
        if here < count:
            ledger.plan_block(now, run, part[here:], nodes[index], held=False)
    return len(tasks)


def _keep_to_shares(
    quota: Quota, nodes: list[Node], need: Amounts, each: float, reach: float, levels: list[float], units: list[float], rooms: list[int],
    idles: list[int],
) -> list[int]:
    """How many more each node may run at once; what can be planned there lasts longer where these are fewer than it has places."""
    more = quota.deal([node.peer for node in nodes], [max(1, int(1.0 / node.share(need))) for node in nodes], levels)
    for index, node in enumerate(nodes):
        share = quota.running(node.peer) + more[index]
        idles[index] = min(idles[index], more[index])
        if not share:
            rooms[index] = 0
            continue
        units[index] = unit = max(units[index], each / node.speed / share)
        levels[index] = level = max(levels[index], quota.on.get(node.peer, 0) * unit)
        rooms[index] = min(rooms[index], max(int((reach - level) / unit) + 1 if level < reach else 0, idles[index]))
    return more


def _take_block(run: Run, shape: Shape, wanted: int, bound: int | None) -> list[int]:
    """The next tasks of this run in this shape, all ready and with the same inputs, or none; at least the one at the head."""
    keys = shape.pop_many(wanted)
    state, number = run.state, run.run
    last = keys[-1]
    if not run.linked and not run.avoid and last - keys[0] == len(keys) - 1 and (bound is None or last >> 64 <= bound):
        first = keys[0] & LOW
        if last >> 32 == keys[0] >> 32 and state[first : first + len(keys)] == bytes((READY,)) * len(keys) and len(run.shapes) == 1:
            return list(range(first, first + len(keys)))   # the usual case of many: one piece of the table, nothing stale
    tasks: list[int] = []
    before, head = -1, keys[0] & LOW
    fan_in, inputs, starts = run.fan_in, run.inputs, run.starts
    taken = inputs[starts[head] : starts[head + 1]] if run.linked else ()
    for place, key in enumerate(keys):
        task = key & LOW
        if key >> 32 & LOW != number or (bound is not None and place >= TURN and key >> 64 > bound):
            shape.put_back(keys[place:])
            break
        if state[task] != READY or key == before or run.shapes[run.kind[task]] is not shape:
            continue
        if fan_in[task] != len(taken) or task in run.avoid or (taken and inputs[starts[task] : starts[task + 1]] != taken):
            shape.put_back(keys[place:])
            break
        before = key
        tasks.append(task)
    return tasks
