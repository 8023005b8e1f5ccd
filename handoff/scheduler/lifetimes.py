"""The life of a run in the tables: it begins, its ranks change as more is learned, tasks of it are set apart, it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from heapq import heapify

from handoff.errors import ProtocolError
from handoff.ids import NOBODY, PeerId, RunId
from handoff.messages import WEIGHT_MAX, WEIGHT_MIN, EndRun, Refused, Submit
from handoff.program import Flag
from handoff.scheduler import following, twins
from handoff.scheduler.apart import shun
from handoff.scheduler.feasible import obstacle
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.needs import KINDS_KNOWN
from handoff.scheduler.nodes import FAULT
from handoff.scheduler.programs import check_program
from handoff.scheduler.ranks import work_out_ranks
from handoff.scheduler.ready import Shape
from handoff.scheduler.runs import AHEAD, HELD, READY, WAITING, Run

RANK_GROWTH = 1.5            # ranks are worked out anew when so many times as many tasks are done, ...
RANK_OFTEN_MAX = 20_000      # in runs of at most so many tasks; in larger ones at every fourfold


def judged(
    ledger: Ledger, now: float, number: RunId, peer: PeerId, submit: Submit, *, are_coming: bool = False
) -> tuple[Run, bool] | Refused:
    """The run that a submission asks for, its code kept, and whether the nodes have all that it needs; or why there is none.

    What they lack is waited for where more nodes `are_coming`, as after a restart of the coordinator.
    """
    program, most = submit.program, ledger.settings.tasks_max
    total = len(program.kind)
    if ledger.tasks + total > most:
        tasks = f"{total} task{'s are' if total != 1 else ' is'}"
        text = f"{tasks} too many: {ledger.tasks} are in unfinished runs, and at most {most} may be (tasks_max)"
        return Refused("ExecutionError", text, submit.token)
    if not WEIGHT_MIN <= submit.weight <= WEIGHT_MAX:
        return Refused("ProtocolError", f"a run's weight is from {WEIGHT_MIN:g} to {WEIGHT_MAX:g}, not {submit.weight}", submit.token)
    try:
        check_program(program)
        run = Run(number, submit, peer, now)
        ledger.codes.add(program.codes, submit.body)
    except ProtocolError as wrong:
        return Refused("ProtocolError", str(wrong), submit.token)
    nodes = [node for node in ledger.nodes.values() if not node.leaves]
    found = None if _is_known_to_run(ledger, run) else obstacle(
        program, [index for index, left in enumerate(run.left) if left], nodes, ledger.cluster,
        [node for node in ledger.nodes.values() if node.leaves and not node.fault] if ledger.leaving else ())
    may_wait = submit.wait_for_nodes or not nodes or are_coming
    if found is not None and (found.is_final or not (found.is_absence or may_wait)):
        ledger.codes.release(program.codes)
        return Refused(found.code, found.text, submit.token, program.kind.index(found.kind))
    refused = following.refusal(ledger, submit) if submit.follow else None
    if refused is not None:
        ledger.codes.release(program.codes)
        return refused
    return run, found is None and not may_wait and not any(map(FAULT, nodes))


def _is_known_to_run(ledger: Ledger, run: Run) -> bool:
    """Whether the node is still there that ran the last run of this one kind: such calls come again and again.

    The kind is the same object then (`wire/codec.py`), and what a node offers does not change.
    """
    if len(run.kinds) != 1 or run.groups:
        return False
    kind, peer = ledger.ran.get(id(run.kinds[0]), (None, NOBODY))
    node = ledger.nodes.get(peer)
    return kind is run.kinds[0] and node is not None and not node.leaves


def _note_where_it_ran(ledger: Ledger, run: Run) -> None:
    if len(ledger.ran) >= KINDS_KNOWN:
        ledger.ran.clear()
    ledger.ran[id(run.kinds[0])] = run.kinds[0], run.ran.get(0, run.node[0])


def add_run(ledger: Ledger, run: Run, plan: following.Columns | None = None) -> None:
    """A run begins: its first tasks become ready. It follows a plan, if there is one."""
    ledger.runs[run.run] = run
    ledger.tasks += run.total
    run.shapes = [ledger.ready.shape(kind, run) for kind in run.kinds]
    for shape, left in zip(run.shapes, run.left, strict=True):
        run.is_counted |= bool(shape.cluster)
        if shape.eligible.scarce:
            ledger.ready.want(shape, left)
    for group in run.groups:
        # What a task changes to later, to be alone or to follow a plan, needs and is pinned to the same.
        kinds = dict.fromkeys([run.kind[task] for task in group])
        run.group_pins.append(next((run.kinds[kind].node for kind in kinds if run.kinds[kind].node), ""))
        run.group_shapes.append(tuple(dict.fromkeys([run.shapes[kind] for kind in kinds])))
    if plan is not None:
        following.begin(ledger, run, plan)
    work_out_ranks(run, ledger.estimates, 1.0 / ledger.links.default if run.linked else 0.0)
    state, kind, shapes, fan_in = run.state, run.kind, run.shapes, run.fan_in
    if not run.rank and len(shapes) == 1:
        base = run.key(0) if run.total else 0
        state[:] = bytes((READY,)) * run.total
        ledger.ready.extend(shapes[0], range(base, base + run.total))
    else:
        keys: dict[Shape, list[int]] = {}
        for task in range(run.total):
            if not fan_in[task]:
                if ledger.apart:
                    shun(ledger, run, task)
                state[task] = READY
                keys.setdefault(shapes[kind[task]], []).append(run.key(task))
        for shape, several in keys.items():
            ledger.ready.extend(shape, several)


def rank_again(ledger: Ledger, run: Run) -> None:
    """Work out the ranks anew when what was learned since changed them much."""
    run.rank_again = 1 + int(max(run.done, run.rank_again) * (RANK_GROWTH if run.total <= RANK_OFTEN_MAX else 4))
    if len(run.shapes) < 2:
        return    # one kind of task: the order is the same whatever it takes
    now = [ledger.estimates.seconds(shape.function) for shape in run.shapes]
    if all(0.9 * old <= new <= 1.1 * old for old, new in zip(run.rank_seconds, now, strict=True)):
        return
    work_out_ranks(run, ledger.estimates, 1.0 / ledger.links.default)
    for shape in dict.fromkeys(run.shapes):
        shape.rekey(run.run, run.key)


def make_alone(ledger: Ledger, run: Run, task: int) -> None:
    """It killed workers: from now on it gets one of its own."""
    index = run.kind[task]
    kind = run.kinds[index]
    if kind.flags & Flag.ALONE:
        return
    if index not in run.alone:
        run.alone[index] = len(run.kinds)
        run.kinds.append(replace(kind, flags=kind.flags | Flag.ALONE))
        run.shapes.append(ledger.ready.shape(run.kinds[-1], run))
        run.is_output.append(run.is_output[index])
        run.left.append(0)
        run.rank_seconds.append(run.rank_seconds[index])
    run.change_kind(task, run.alone[index])


def end_run(ledger: Ledger, run: Run) -> None:
    """Nothing of it is left anywhere: its nodes forget it, its queues and code go."""
    if run.twins:
        twins.forget(ledger, run)
    for peer in run.nodes:
        node = ledger.nodes.get(peer)
        if node is None:
            continue
        for task in node.tasks_of(run):
            ledger.book_off(run, task, run.state[task] == HELD)
            run.state[task] = WAITING
        node.sent.pop(run.run, None)
        node.kinds.pop(run.run, None)
    for peer, task in list(run.ghosts):
        ledger.lay_ghost(run, peer, task)
    for task in list(run.tasks_in(AHEAD, HELD)) if run.is_counted else ():   # on a node that was lost, and the run with it
        ledger.book_off(run, task, run.state[task] == HELD)
    ledger.memory.forget_run(run.run)
    ledger.out.forget_run(run.run)
    for peer in run.nodes:
        if peer in ledger.nodes:
            ledger.out.send(peer, EndRun(run.run))
    for shape, left in zip(run.shapes, run.left, strict=True):
        if left and shape.eligible.scarce:
            ledger.ready.want(shape, -left)
    for shape, uses in Counter(run.shapes).items() if len(run.shapes) != 1 else ((run.shapes[0], 1),):
        shape.runs -= uses - 1
        ledger.ready.release(shape, run.run, run.total - run.done)
    if run.is_over and len(run.kinds) == 1 and run.total:
        _note_where_it_ran(ledger, run)
    dropped = ledger.codes.release(run.codes)
    for node in ledger.nodes.values() if dropped else ():
        ledger.out.drop_code(node, dropped)
    del ledger.runs[run.run]
    ledger.following.pop(run.run, None)
    if not run.is_over:
        ledger.tasks -= run.total
    if run.client is not None and run.client in ledger.clients:
        ledger.clients[run.client].runs.pop(run.run, None)
    if len(ledger.timers) > ledger.sweep_at:
        _sweep_timers(ledger)


def _sweep_timers(ledger: Ledger) -> None:
    """Forget those of what is over: long limits on short runs would pile up until they are due."""
    about: dict[str, Collection[int]] = {"client": ledger.clients, "drained": ledger.leaving, "apart": ledger.apart}
    ledger.timers[:] = [timer for timer in ledger.timers if timer[2] in ("again", "late") or timer[3] in about.get(timer[2], ledger.runs)]
    heapify(ledger.timers)
    ledger.sweep_at = 2 * len(ledger.timers) + 64
