"""What must always be true of the scheduler's tables; checked after every event in tests, never in production."""

from __future__ import annotations

from typing import NoReturn

from handoff.errors import InvariantViolation
from handoff.ids import NOBODY
from handoff.scheduler.fairness import Stake
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.queue import LOW
from handoff.scheduler.ready import Shape
from handoff.scheduler.relays import CHILDREN
from handoff.scheduler.runs import AHEAD, DELAYED, DONE, GONE, HELD, READY, STATES, WAITING, Run


def check(ledger: Ledger) -> None:
    """Raise InvariantViolation when something contradicts itself."""
    queued: set[tuple[int, int, int]] = set()
    for shape in ledger.ready.shapes.values():
        for key in shape.all_keys():
            queued.add((shape.number, key >> 32 & LOW, key & LOW))
    ahead: dict[tuple[int, Shape], int] = {}
    held: dict[tuple[int, Shape], int] = {}
    for run in ledger.runs.values():
        _check_run(ledger, run, queued, ahead, held)
        _check_twins(ledger, run, held)
        _check_trees(ledger, run)
    for node in ledger.nodes.values():
        for mine, counted, word in ((node.ahead, ahead, "ahead"), (node.held, held, "held")):
            expected = {shape: count for (peer, shape), count in counted.items() if peer == node.peer}
            if mine != expected:
                _wrong(f"{node} counts {mine} tasks {word}, the runs say {expected}")
        if node.planned != sum(node.ahead.values()) + sum(node.held.values()):
            _wrong(f"{node} counts {node.planned} planned tasks, {node.ahead} ahead and {node.held} held")
        told: dict[tuple[int, int], int] = {}
        for (number, task), (*_, run) in node.queue.items():
            if run.told and run.told[task] >= 0.0:
                told[number, run.kind[task]] = told.get((number, run.kind[task]), 0) + 1
        if told != {key: count for key, (count, *_) in node.told.items()}:
            _wrong(f"{node} counts {node.told} tasks ahead whose time is told, its queue has {told}")
        if len(node.holding) != sum(node.held.values()):
            _wrong(f"{node} lists {len(node.holding)} held tasks, but holds {node.held}")
        for name, used in node.committed.items():
            expected_use = sum(amount for _, _, _, need, _ in node.holding.values() for of, amount in need if of == name)
            if used != expected_use:
                _wrong(f"{node} has committed {used} of {name!r}, its tasks take {expected_use}")
            early = sum(amount for _, _, _, need, is_early in node.holding.values() if is_early for of, amount in need if of == name)
            if not 0 <= used <= node.capacity.get(name, 0) + early:
                _wrong(f"{node} has committed {used} of {name!r} and offers {node.capacity.get(name, 0)}")
    for shape in ledger.ready.shapes.values():
        counts = tuple(sum(count for (_, of), count in counted.items() if of is shape) for counted in (ahead, held))
        if (shape.ahead, shape.held) != counts:
            _wrong(f"{shape} counts {shape.ahead} tasks ahead and {shape.held} held, the runs say {counts}")
    stakes: dict[Stake, int] = {}
    for shape in ledger.ready.shapes.values():
        stakes[shape.stake] = stakes.get(shape.stake, 0) + shape.ahead + shape.held
    for account in ledger.ready.accounts.open.values():
        for needs, stake in account.stakes.items():
            if stake.planned != stakes.get(stake):
                _wrong(f"account {account.key} counts {stake.planned} planned tasks that need {needs}, its shapes {stakes.get(stake)}")
    _check_crowds(ledger)
    wanted: dict[str, int] = {}
    for run in ledger.runs.values():
        for shape, left in zip(run.shapes, run.left, strict=True):
            for name in shape.eligible.scarce if left else ():
                wanted[name] = wanted.get(name, 0) + left
    if ledger.ready.wanted != wanted:
        _wrong(f"unfinished tasks need {wanted}, but {ledger.ready.wanted} is counted")
    _check_groups(ledger)
    _check_cluster(ledger)
    _check_memory(ledger)
    total = sum(run.total for run in ledger.runs.values() if not run.is_over)
    if ledger.tasks != total:
        _wrong(f"{ledger.tasks} unfinished tasks are counted, the runs have {total}")
    late = sum(timer[2] == "late" for timer in ledger.timers)
    if late != ledger.is_watching_late:
        _wrong(f"{late} timers are set to look for late tasks, and that one is: {ledger.is_watching_late}")
    in_use = [shape for shape in ledger.ready.shapes.values() if shape.runs]
    if not ledger.runs and (in_use or ledger.codes.uses):
        _wrong(f"no run is left, but shapes {in_use} or code {list(ledger.codes.uses)} are")
    for shape in ledger.ready.shapes.values():
        if not shape.runs and (len(shape) or shape.ahead or shape.held):
            _wrong(f"no run uses {shape}, but {shape.ahead} tasks are ahead and {shape.held} held")


def _check_crowds(ledger: Ledger) -> None:
    for shape in ledger.ready.shapes.values():
        if shape not in shape.crowd.members:
            _wrong(f"{shape} is not in its crowd")
        if len(shape) and not ledger.ready.may_come_up(shape):
            _wrong(f"{shape} has tasks, and no pass will look at it")


def _check_groups(ledger: Ledger) -> None:
    if ledger.is_regrouped:
        return
    ready = [node for node in ledger.nodes.values() if node.state == "ready"]
    grouped = {node.peer: group for group in ledger.groups for node in group.members}
    if ledger.open_nodes != ready or set(grouped) != {node.peer for node in ready}:
        _wrong(f"open nodes are {ledger.open_nodes}, grouped ones {sorted(grouped)}, but {ready} take work")
    for node in ready:
        group = grouped[node.peer]
        if node.group is not group or (node.is_stale and node not in group.stale):
            _wrong(f"{node} is in another group, or its backlog is not going to be worked out")
        if not group.is_apart and node.step != group.members[0].step:
            _wrong(f"{node} is faster or slower than the others of its group")


def _check_twins(ledger: Ledger, run: Run, held: dict[tuple[int, Shape], int]) -> None:
    if not run.twin_choices.keys() <= run.twins.keys():
        _wrong(f"{run} remembers chosen costs {run.twin_choices} of second attempts that are not there")
    for task, (peer, attempt) in run.twins.items():
        where = f"task {task} of {run} is {STATES[run.state[task]]}, and a second attempt of it"
        shape = run.shapes[run.kind[task]]
        held[peer, shape] = held.get((peer, shape), 0) + 1
        if not run.is_planned(task):
            _wrong(f"{where} is planned on peer {peer}")
        if peer not in ledger.nodes or peer == run.node[task]:
            _wrong(f"{where} is planned on peer {peer}, which is not there or has the first one")
        if attempt != run.doubled.get(task) or attempt <= run.attempt[task]:
            _wrong(f"{where} has the number {attempt}, the first one {run.attempt[task]}")
        if (run.run, task) not in ledger.nodes[peer].holding:
            _wrong(f"{where} is not held by {ledger.nodes[peer]}")
        if run.linked and run.missing[task]:
            _wrong(f"{where} lacks inputs")


def _check_trees(ledger: Ledger, run: Run) -> None:
    """Nobody waits for a node that will not have the value, nor, in a circle, for itself."""
    for value, tree in run.trees.items():
        where = f"the result of task {value} of {run} spreads from peer {tree.home}"
        if run.node[value] != tree.home or not AHEAD <= run.state[value] <= DONE or tree.home not in ledger.nodes:
            _wrong(f"{where}, but is {STATES[run.state[value]]} on peer {run.node[value]}")
        for peer, holder in tree.holders.items():
            active = sum(each.parent == peer and not each.is_sure for each in tree.holders.values())
            if holder.active != active:
                _wrong(f"{where}: peer {peer} is said to serve {holder.active} nodes, and serves {active}")
            could = (tree.sure if holder.is_sure or peer == tree.home else tree.likely) if active < CHILDREN else {}
            if [each for each in (tree.sure, tree.likely) if peer in each] != ([could] if could else []):
                _wrong(f"{where}: peer {peer} serves {active} nodes, and is not listed so")
            if peer == tree.home:
                continue
            planned = sum(run.node[each] == peer and run.is_planned(each) for each in dict.fromkeys(run.consumers_of(value)))
            if holder.planned != planned or not (planned or holder.is_sure):
                _wrong(f"{where}: {holder.planned} tasks on peer {peer} are said to take it, {planned} do")
            if peer not in ledger.nodes or peer not in run.copies.get(value, ()):
                _wrong(f"{where} to peer {peer}, which is not there or not known to hold it")
            seen, at = {peer}, holder.parent
            while at != tree.home:
                if at in seen or at not in tree.holders:
                    _wrong(f"{where}: peer {peer} waits for peer {at}, which waits for it, or will not have it")
                seen.add(at)
                at = tree.holders[at].parent


def _check_cluster(ledger: Ledger) -> None:
    """What the whole cluster shares is with the tasks that are planned, or that may still run where they were taken back."""
    taken: dict[str, int] = {}
    for run in ledger.runs.values():
        counted = list(run.ghosts.values())
        for task in run.tasks_in(AHEAD, HELD):
            shape = run.shapes[run.kind[task]]
            if shape.cluster:
                counted.append(shape.cluster[run.choices.get(task, 0)])
        for name, amount in [each for need in counted for each in need]:
            taken[name] = taken.get(name, 0) + amount
        if run.choices and not all(run.is_planned(task) for task in run.choices):
            _wrong(f"{run} remembers chosen costs {run.choices} of tasks that are not planned")
        if run.took and not all(run.state[task] >= DONE for task in run.took):
            _wrong(f"{run} remembers the costs {run.took} that tasks took which are not done")
    for name, declared in ledger.cluster.declared.items():
        free = ledger.cluster.free[name]
        if free != declared - taken.get(name, 0) or free < 0:
            _wrong(f"{free} of {declared} of the cluster's {name!r} are free, though {taken.get(name, 0)} are taken")


def _check_run(
    ledger: Ledger, run: Run, queued: set[tuple[int, int, int]], ahead: dict[tuple[int, Shape], int], held: dict[tuple[int, Shape], int],
) -> None:
    done = planned = 0
    left = [0] * len(run.kinds)
    for task in range(run.total):
        state, peer, shape = run.state[task], run.node[task], run.shapes[run.kind[task]]
        where = f"task {task} of {run} is {STATES[state]}"
        if state in (DONE, GONE):
            done += 1
        else:
            left[run.kind[task]] += 1
        if state in (AHEAD, HELD):
            planned += 1
            if peer not in ledger.nodes:
                _wrong(f"{where} on peer {peer}, which is not there")
            counted = ahead if state == AHEAD else held
            counted[peer, shape] = counted.get((peer, shape), 0) + 1
            if task not in ledger.nodes[peer].sent.get(run.run, ()):
                _wrong(f"{where} on {ledger.nodes[peer]}, which does not list it")
        elif state in (WAITING, READY, DELAYED) and peer != NOBODY:
            _wrong(f"{where}, but has node {peer}")
        elif state == DONE and peer not in ledger.nodes:
            _wrong(f"{where} on peer {peer}, which is not there")
        if state == READY and (shape.number, run.run, task) not in queued:
            _wrong(f"{where}, but lies in no queue")
        if not run.linked:
            continue
        inputs = run.inputs_of(task)
        missing = sum(run.state[each] != DONE for each in inputs)
        unplanned = sum(run.state[each] not in (AHEAD, HELD, DONE) for each in inputs)
        if state < DONE and (run.missing[task], run.unplanned[task]) != (missing, unplanned):
            counts = (run.missing[task], run.unplanned[task])
            _wrong(f"{where} and counts {counts} missing and unplanned inputs; it has {missing} and {unplanned}")
        if state == WAITING and not missing:
            _wrong(f"{where}, but all its inputs exist")
        if state == READY and unplanned:
            _wrong(f"{where}, but {unplanned} of its inputs are not even planned")
        needed = sum(run.state[each] < DONE for each in run.consumers_of(task))
        if run.needed[task] != needed:
            _wrong(f"{where} and counts {run.needed[task]} unfinished consumers; it has {needed}")
        if state == GONE and needed:
            _wrong(f"{where}, but {needed} tasks still need it")
        if AHEAD <= state <= DONE:
            for each in run.consumers_of(task):
                at = run.node[each]
                if run.is_planned(each) and at not in (peer, run.ran.get(task)) and at not in run.copies.get(task, ()):
                    _wrong(f"{where} on peer {peer}, and nobody knows that peer {at} takes a copy for task {each}")
    _check_quota(run)
    if (done, planned) != (run.done, run.planned):
        _wrong(f"{run} has {done} done and {planned} planned tasks")
    if left != run.left:
        _wrong(f"{run} counts {run.left} unfinished tasks per kind; it has {left}")


def _check_quota(run: Run) -> None:
    """Of a run that may have only so many at once, what lies on each node is counted, and the shares come to no more."""
    quota = run.quota
    if quota is None:
        return
    on: dict[int, int] = {}
    for peer in [peer for peer, _ in run.ghosts] + [run.node[task] for task in run.tasks_in(AHEAD, HELD)]:
        on[peer] = on.get(peer, 0) + 1
    if quota.on != on:
        _wrong(f"{run} counts {quota.on} tasks on its nodes; there are {on}")
    used = sum(min(count, quota.share[peer]) for peer, count in on.items())
    if quota.used != used or used > quota.most:
        _wrong(f"{run} may have {quota.most} at once, and counts {quota.used}; the shares {quota.share} of {on} let {used} run")


def _wrong(text: str) -> NoReturn:
    raise InvariantViolation(text)


def _check_memory(ledger: Ledger) -> None:
    memory = ledger.memory
    held, taken, stays = dict.fromkeys(ledger.nodes, 0.0), dict.fromkeys(ledger.nodes, 0.0), dict.fromkeys(ledger.nodes, 0.0)
    for promised in memory.promised.values():
        for peer, nbytes, beside in promised.values():
            held[peer] += nbytes
            taken[peer] += beside
    for kept in memory.kept.values():
        for (_, peer), (nbytes, stay) in kept.items():
            held[peer] += nbytes
            taken[peer] += nbytes
            stays[peer] += stay
    for book, expected, word in ((memory.held, held, "held"), (memory.taken, taken, "taken"), (memory.stays, stays, "to stay")):
        for peer, nbytes in expected.items():
            if abs(book.get(peer, 0.0) - nbytes) > 1.0:
                _wrong(f"of the memory of {ledger.nodes[peer]} {book.get(peer, 0.0)} bytes are {word}, its results come to {nbytes}")
