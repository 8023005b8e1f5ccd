"""What follows when a node, or a result on it, can't be had any more: as little as possible is done again."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable

from handoff.ids import NOBODY
from handoff.messages import NodeGone, Redirect, RunFailed, Unreachable
from handoff.scheduler import relays, twins
from handoff.scheduler.apart import cut_off, forget_node, is_once, note
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import AHEAD, DONE, GONE, HELD, READY, WAITING, Run
from handoff.scheduler.waiting import see_what_is_unmet


def lose_node(ledger: Ledger, now: float, node: Node, reason: str) -> list[tuple[Run, RunFailed]]:
    """The node is gone for good. Answers with the runs that can't go on without it."""
    del ledger.nodes[node.peer]
    node.let_go()
    if ledger.by_name.get(node.name) is node:
        del ledger.by_name[node.name]
    ledger.past.went(node.peer, now, [run.came() for run in ledger.runs.values()])
    ledger.memory.forget_node(node.peer)
    forget_node(ledger, node.peer)
    ledger.out.forget_node(node.peer)
    failed = []
    for run in list(ledger.runs.values()):
        if node.peer in run.nodes or node.peer in run.promised.values() or node.peer in run.group_node.values():
            over = _lose_for(ledger, now, run, node, reason)
            if over is not None:
                failed.append((run, over))
    return failed


def _lose_for(ledger: Ledger, now: float, run: Run, node: Node, reason: str) -> RunFailed | None:
    peer = node.peer
    run.nodes.pop(peer, None)
    for _, task in [ghost for ghost in run.ghosts if ghost[0] == peer]:
        ledger.lay_ghost(run, peer, task)
    if run.trees:
        relays.lose(ledger, run, peer)
    if run.twins:
        twins.lose(ledger, run, peer)
    planned = node.tasks_of(run)
    for task in planned:
        if run.state[task] == HELD and not (run.linked and run.missing[task]):
            since, *_, is_early = node.holding[run.run, task]
            run.note_vain(task, peer, now if is_early else since, now)
        kind = run.kinds[run.kind[task]]
        if kind.max_retries == 0 and not run.is_object(task):
            text = f"node {node.name!r} was lost ({reason}) with {kind.name} on it, which may not run again (max_retries=0)"
            return RunFailed(run.run, "NodeLost", text, task, node.name, run.tried(task))
    for group in [group for group, where in run.group_node.items() if where == peer]:
        del run.group_node[group]
    moved = [consumer for consumer, where in run.promised.items() if where == peer]
    for consumer in moved:
        del run.promised[consumer]
    for task in planned:
        ledger.unplan(run, task)
    # Results: one that is needed is taken from another node that surely has it, else made again.
    remake = []
    for task in _results_on(run, peer):
        needed = run.linked and run.needed[task] > 0
        other = _sure_holder(ledger, run, task, peer)
        if other is not None:
            _move(ledger, run, task, other)
            continue
        run.state[task] = GONE
        if needed or (run.is_output[run.kind[task]] and run.client is None):
            remake.append(task)
    if remake:
        run.note_idle(now)
        make_again(ledger, run, remake)
    for consumer in moved:
        redo_serializers(ledger, run, consumer)
    for task in planned:
        ledger.consider(run, task)
    if peer in run.placed:
        run.placed.discard(peer)
        ledger.out.send(run.client, NodeGone(run.run, node.peer))
    return None


def _results_on(run: Run, peer: int) -> list[int]:
    """The results that lie on this node; found with the speed of a search for bytes where there are none."""
    found: list[int] = []
    where, state = run.node, run.state
    if peer not in where:
        return found
    for task, at in enumerate(where):
        if at == peer and state[task] == DONE:
            found.append(task)
    return found


def _sure_holder(ledger: Ledger, run: Run, task: int, lost: int) -> int | None:
    """Another living node that surely has the result: one that finished a task which takes it."""
    if run.has_remade:
        return None   # that one may have dropped it since, when it was released to be made again, and only wait for it as others do
    for consumer in run.consumers_of(task):
        peer = run.ran.get(consumer, run.node[consumer])
        if run.state[consumer] in (DONE, GONE) and peer != lost and peer in ledger.nodes and peer in run.copies.get(task, ()):
            return peer
    return None


def _move(ledger: Ledger, run: Run, task: int, peer: int) -> None:
    """The result is there from now on; whoever waits for it is told."""
    old = run.node[task]
    run.ran.setdefault(task, old)
    run.trees.pop(task, None)
    run.node[task] = peer
    others = run.copies.get(task, [])
    if peer in others:
        others.remove(peer)
    # The maker of an output keeps it until the run is forgotten: the client may still be about to take it there, and is told nothing.
    if old in ledger.nodes and old not in others and not run.is_output[run.kind[task]]:
        run.copies.setdefault(task, []).append(old)
    redirect_consumers(ledger, run, task)


def redirect_consumers(ledger: Ledger, run: Run, task: int) -> None:
    """Tell every node with a planned dependent where the result is or will be."""
    for consumer in run.consumers_of(task):
        if AHEAD <= run.state[consumer] <= HELD:
            ledger.out.redirect(run.node[consumer], run.run, task, run.node[task])
            if consumer in run.twins:
                ledger.out.redirect(run.twins[consumer][0], run.run, task, run.node[task])


def redo_serializers(ledger: Ledger, run: Run, consumer: int) -> None:
    """The consumer has to move: what its serializers did was for another node."""
    if run.state[consumer] >= DONE:
        return
    done = []
    for task in dict.fromkeys(run.inputs_of(consumer)):
        if not run.is_serializer(task):
            continue
        if AHEAD <= run.state[task] <= HELD:
            ledger.take_back(run, task)
            ledger.consider(run, task)
        elif run.state[task] == DONE:
            done.append(task)
    if done:
        make_again(ledger, run, done)


def unreachable(ledger: Ledger, now: float, asker: Node, message: Unreachable) -> RunFailed | None:
    """These results can't be had from that node, says one that needs them: they come from elsewhere. An error where that can't be."""
    run = ledger.runs.get(message.run)
    if run is None:
        return None
    if run.twins:
        twins.give_up(ledger, run, asker.peer, message.tasks)
    gone: list[int] = []
    left = 0
    for task in message.tasks:
        if task >= run.total or not any(run.node[each] == asker.peer and run.is_planned(each) for each in run.consumers_of(task)):
            continue   # late news: nobody there waits for it
        if run.node[task] != message.node:
            relays.goes_home(run, task, asker.peer)
            if run.state[task] == DONE or run.is_planned(task):
                ledger.out.redirect(asker.peer, run.run, task, run.node[task])   # it has moved already
            continue
        failed = cut_off(ledger, now, run, task, message.node, asker, message.is_absent)
        if failed is not None:
            return failed
        if not message.is_absent:
            note(ledger, now, message.node, asker.peer)
        left += 1
        _leave(ledger, run, task, message.node, asker, gone)
    if left and message.node in ledger.nodes:
        name, (host, port) = ledger.out.names[message.node]
        what = "results.absent" if message.is_absent else "node.cut_off"      # it was reached, and said so; or it was not
        ledger.out.note("warning", what, node=asker.name, source=name, address=f"{host}:{port}", run=run.run, results=left)
    if gone:
        make_again(ledger, run, gone)
    return None


def _leave(ledger: Ledger, run: Run, task: int, peer: int, asker: Node, gone: list[int]) -> None:
    """Have this result made, or taken, elsewhere than on that node; one that was made is put with those that are `gone`."""
    other = _sure_holder(ledger, run, task, peer) if run.state[task] == DONE else None
    if other is not None:
        _move(ledger, run, task, other)
        return
    pinned = run.kinds[run.kind[task]].node
    if pinned or task in run.group or run.is_serializer(task) or is_once(run, task):
        _move_consumers(ledger, run, task, asker)   # it can't go elsewhere, but those who need it there perhaps can
        return
    run.avoid.setdefault(task, set()).add(peer)
    run.copies.setdefault(task, []).append(peer)     # whatever it makes there late is dropped with the rest
    if run.is_planned(task):
        ledger.take_back(run, task)
        ledger.consider(run, task)
    elif run.state[task] == DONE:
        run.state[task] = GONE
        gone.append(task)


def _move_consumers(ledger: Ledger, run: Run, task: int, asker: Node) -> None:
    stays = False
    for consumer in dict.fromkeys(run.consumers_of(task)):
        if run.node[consumer] != asker.peer or not run.is_planned(consumer):
            continue
        if run.kinds[run.kind[consumer]].node or consumer in run.group:
            stays = True
            continue
        run.avoid.setdefault(consumer, set()).add(asker.peer)
        ledger.take_back(run, consumer)
        if run.promised.pop(consumer, NOBODY) != NOBODY:
            redo_serializers(ledger, run, consumer)
        ledger.consider(run, consumer)
    if stays:
        ledger.out.redirect(asker.peer, run.run, task, run.node[task])   # nothing to choose: it is to ask again


def missing_outputs(ledger: Ledger, now: float, run: Run, tasks: list[int]) -> None:
    """The client did not get these, and their node is gone: make them again, or say who has a copy."""
    tell_where_moved(ledger, run, tasks)
    if gone := [task for task in tasks if run.state[task] == GONE and run.is_output[run.kind[task]]]:
        run.note_idle(now)
        make_again(ledger, run, gone)
    see_what_is_unmet(ledger, now, run)    # the node that is gone may be the only one that could make them


def tell_where_moved(ledger: Ledger, run: Run, tasks: Iterable[int]) -> None:
    """Outputs of lost nodes that another node has a copy of: that one does not push them to the client, which must ask."""
    moved = [task for task in tasks if run.state[task] == DONE and task in run.ran and run.is_output[run.kind[task]]]
    if moved and run.client is not None:
        nodes = array("I", [run.node[task] for task in moved])
        ledger.out.introduce_to_client(run.client, nodes)
        ledger.out.send(run.client, Redirect(run.run, array("I", moved), nodes))


def make_again(ledger: Ledger, run: Run, tasks: Collection[int]) -> None:
    """Results that are needed are nowhere any more: make them again, with ancestors that are gone; who takes many is counted once.

    Where one of these may not run again, nothing is done, and the run fails when all that happened is noted.
    """
    if run.run in ledger.lost:
        return
    if (failed := _may_not(run, tasks)) is not None:
        ledger.lost[run.run] = failed
        return
    run.has_remade = True
    again, wanted = dict[int, None](), [*tasks]
    while wanted:
        each = wanted.pop()
        if each in again or run.state[each] not in (DONE, GONE):
            continue
        again[each] = None
        if run.state[each] == DONE:     # it may have been kept for others; a copy too many is dropped
            ledger.release_all(run, each)
        run.unmake(each)
        ledger.ready.want(run.shapes[run.kind[each]], 1)
        for source in run.inputs_of(each):
            run.needed[source] += 1
            if run.state[source] == GONE:
                wanted.append(source)
    if run.is_over:
        run.is_over = False
        ledger.tasks += run.total
        run.wake(ledger.estimates, 1.0 / ledger.links.default)
    if run.may_double and not run.is_watched:     # it was done
        run.is_watched = True
        ledger.remind(0.0, "stragglers", run.run)
    touched = dict(again)
    for each in again:
        for consumer in run.consumers_of(each):
            state = run.state[consumer]
            if state >= DONE or consumer in touched:
                continue
            touched[consumer] = None
            if consumer in run.twins:
                twins.drop(ledger, run, consumer)
            if AHEAD <= state <= HELD:
                ledger.stranded[run.run, consumer] = None
            if state == HELD or (state == AHEAD and (run.max_concurrency or run.is_counted)):
                ledger.out.recall(run.node[consumer], run, (consumer,))   # or it keeps the room that what it waits for needs
    for each in touched:
        run.recount(each)
        if run.state[each] == READY and run.unplanned[each]:
            run.state[each] = WAITING
    for each in sorted(touched):
        ledger.consider(run, each)


def _may_not(run: Run, tasks: Iterable[int]) -> RunFailed | None:
    """The first of these, and of their ancestors that are gone, which may not run again, as an error."""
    if all(kind.max_retries for kind in run.kinds):
        return None
    seen, wanted = set[int](), [*tasks]
    while wanted:
        each = wanted.pop()
        if each in seen or run.state[each] not in (DONE, GONE):
            continue
        seen.add(each)
        if is_once(run, each):
            name = run.kinds[run.kind[each]].name
            text = f"the result of {name} is needed again, and no node has it any more; {name} may not run again (max_retries=0)"
            return RunFailed(run.run, "NodeLost", text, each, attempt=run.tried(each))
        wanted += [source for source in run.inputs_of(each) if run.state[source] == GONE]
    return None
