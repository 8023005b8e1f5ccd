"""Second attempts beside first ones: the books of tasks that run twice at once, until one attempt has won.

The columns of a run tell of the first attempt, `Run.twins` of the second. Where the second one wins, or is all that is left, it takes the
place of the first in the columns. The loser is told `Abandon`; what it has made nevertheless is released with the other copies.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from handoff.ids import PeerId
from handoff.scheduler import relays
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import AHEAD, HELD, Run

if TYPE_CHECKING:
    from handoff.scheduler.ledger import Ledger


def begin(ledger: Ledger, now: float, run: Run, task: int, node: Node, alternative: int) -> None:
    """Give the task to this node, too, at this one of its costs."""
    shape = run.shapes[run.kind[task]]
    attempt = run.doubled[task] = run.attempt[task] + 1
    run.twins[task] = (node.peer, attempt)
    node.take(shape, 1, True, alternative)
    seconds, function = ledger.foresight.seconds(run, task, shape), shape.functions[alternative]
    if alternative != run.choices.get(task, 0) and function.count:
        seconds = function.seconds
    if alternative:
        run.twin_choices[task] = alternative
    node.holding[run.run, task] = (now, shape, seconds / node.speed, shape.needs[alternative], False)
    for each in run.inputs_of(task):
        run.note_copy(each, node.peer)
    ledger.out.twin(node, run, task, attempt, alternative)


def first_wins(ledger: Ledger, now: float, run: Run, peer: PeerId, tasks: Sequence[int], attempts: Sequence[int]) -> None:
    """Before this report is believed: of the tasks that have two attempts, it decides which counts."""
    for task, attempt in zip(tasks, attempts, strict=False):
        if task not in run.twins:
            continue
        if run.twins[task] == (peer, attempt):
            _note_vain(ledger, now, run, task, run.node[task], run.attempt[task])
            promote(ledger, run, task)
        elif run.is_current(peer, task, attempt):
            _note_vain(ledger, now, run, task, *run.twins[task])
            drop(ledger, run, task)


def _note_vain(ledger: Ledger, now: float, run: Run, task: int, peer: int, attempt: int) -> None:
    """That attempt is beaten."""
    node = ledger.nodes.get(peer)
    if node is not None:
        held = node.holding.get((run.run, task))
        run.note_vain(task, peer, held[0] if held else run.fronts.get((task, attempt), now), now)


def ended(ledger: Ledger, run: Run, peer: PeerId, task: int, attempt: int) -> bool:
    """An attempt failed, or was given back. True when another one of the same task goes on: then nothing follows from it."""
    if run.twins.get(task) == (peer, attempt):
        _book_off(ledger, run, task)
        del run.twins[task]
        return True
    if task in run.twins and run.is_current(peer, task, attempt):
        promote(ledger, run, task, is_over=True)
        return True
    return False


def promote(ledger: Ledger, run: Run, task: int, is_over: bool = False) -> None:
    """The second attempt takes the place of the first, which is abandoned unless it is over already."""
    peer, tried = run.node[task], run.attempt[task]
    held = run.state[task] == HELD
    node = ledger.nodes.get(peer)
    alternative = run.choices.pop(task, 0)
    if task in run.twin_choices:
        run.choices[task] = run.twin_choices.pop(task)
    if node is not None:
        node.give(run.shapes[run.kind[task]], 1, held, alternative)
        if held:
            del node.holding[run.run, task]
        else:
            node.unqueue(run, task)
    home, run.attempt[task] = run.twins.pop(task)
    run.node[task] = home
    run.state[task] = HELD
    if run.trees:
        relays.left(ledger, run, task, peer)
        relays.planned(run, task, home)
    if node is not None and not is_over:
        run.note_copy(task, peer)
        ledger.out.abandon(peer, run, task, tried)
    ledger.nodes[home].note_sent(run, array("I", (task,)))   # it may have been swept out while the columns told of the first one
    if home in run.copies.get(task, ()):
        run.copies[task].remove(home)
    for consumer in run.consumers_of(task):
        if AHEAD <= run.state[consumer] <= HELD:
            relays.send_on(ledger, run, task, consumer)
            if consumer in run.twins:
                ledger.out.redirect(run.twins[consumer][0], run.run, task, home)


def drop(ledger: Ledger, run: Run, task: int) -> None:
    """The second attempt is of no use any more."""
    _book_off(ledger, run, task)
    peer, attempt = run.twins.pop(task)
    if peer in ledger.nodes:
        run.note_copy(task, peer)
        ledger.out.abandon(peer, run, task, attempt)


def give_up(ledger: Ledger, run: Run, asker: int, tasks: Sequence[int]) -> None:
    """That node can't have these inputs: second attempts that take them are not worth a detour."""
    for task in tasks if asker in {peer for peer, _ in run.twins.values()} else ():
        for consumer in run.consumers_of(task) if task < run.total else ():
            if run.twins.get(consumer, (None, 0))[0] == asker:
                drop(ledger, run, consumer)


def lose(ledger: Ledger, run: Run, peer: int) -> None:
    """A node is gone, and is not in the ledger any more: of tasks with two attempts the other one goes on."""
    for task, (home, _) in list(run.twins.items()):
        if home == peer:
            del run.twins[task]
            run.twin_choices.pop(task, None)
        elif run.node[task] == peer:
            promote(ledger, run, task, is_over=True)


def forget(ledger: Ledger, run: Run) -> None:
    """The run is over; its nodes hear of it anyway."""
    for task in run.twins:
        _book_off(ledger, run, task)
    run.twins.clear()


def _book_off(ledger: Ledger, run: Run, task: int) -> None:
    node, alternative = ledger.nodes.get(run.twins[task][0]), run.twin_choices.pop(task, 0)
    if node is not None:
        node.give(run.shapes[run.kind[task]], 1, True, alternative)
        del node.holding[run.run, task]
