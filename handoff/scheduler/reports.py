"""Results come in: the busiest place of the scheduler. What is done counts down what waits for it, and frees what it was waited for."""

from __future__ import annotations

from itertools import repeat

from handoff.messages import Report
from handoff.scheduler import lifetimes, nearing, relays, twins
from handoff.scheduler.estimates import MET_MAX, Estimates, Function
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.nodes import Node
from handoff.scheduler.runs import AHEAD, DONE, GONE, HELD, WAITING, Run

EARLY_RECENT = 0.5     # how much the last report says of how much earlier than planned the tasks of a run end
LONG_SECONDS = 0.001   # all is learned of functions that take this long; of shorter ones, what costs little beside them:
SHORT_GRADED = 5       # nodes are compared by one report in so many (more than SAMPLES_KNOWN, or it could be the same one for ever)


def take_report(now: float, ledger: Ledger, node: Node, report: Report) -> Run | None:
    """Note what is done; the run, if the report means anything."""
    run = ledger.runs.get(report.run)
    if run is None:
        return None
    run.bytes_moved += report.fetched_bytes
    for task in report.tasks if run.ghosts else ():
        ledger.lay_ghost(run, node.peer, task)
    if run.twins:
        twins.first_wins(ledger, now, run, node.peer, report.tasks, report.attempts)
    done = _mark_done(now, ledger, run, node, report)
    if not done:
        return run
    run.done += len(done)
    run.planned -= len(done)
    if run.quota is not None:
        run.quota.remove(node.peer, len(done))
    if run.linked:
        _follow(now, ledger, run, done)
    elif not all(run.is_output):
        for task in done:
            if not run.is_output[run.kind[task]]:
                run.state[task] = GONE
                ledger.out.release(node.peer, run.run, task)
    _learn(ledger, run, node, done, report)
    if run.done >= run.rank_again:
        lifetimes.rank_again(ledger, run)
    return run


def _mark_done(now: float, ledger: Ledger, run: Run, node: Node, report: Report) -> list[int]:
    """The tasks that this report is right about, now marked as done and booked off their node."""
    state, attempt, where, kind, total = run.state, run.attempt, run.node, run.kind, run.total
    nbytes, seconds, started = run.nbytes, run.seconds, run.started
    worker, waited, workers, waits = run.worker, run.waited, report.workers or repeat(0), report.waited or repeat(0.0)
    peer, base, number = node.peer, now - run.submitted, run.run
    fan_in, early, told = run.fan_in if run.linked else None, 0.0, 0
    done: list[int] = []
    held: list[int] = []
    for task, tried, size, spent, age, who, wait in zip(
        report.tasks, report.attempts, report.nbytes, report.seconds, report.ages, workers, waits, strict=False   # repeat has no end
    ):
        if task >= total or attempt[task] != tried or where[task] != peer:
            continue
        was = state[task]
        if was == HELD:
            held.append(task)
        elif was != AHEAD:
            continue
        elif fan_in is not None and fan_in[task]:
            early += started[task] - base + age
            told += 1
        state[task] = DONE
        nbytes[task] = size
        seconds[task] = spent
        started[task] = base - age - spent
        worker[task] = who
        waited[task] = wait
        done.append(task)
    if not done:
        return done
    node.moved_at = now
    if told:
        run.early += EARLY_RECENT * (early / told - run.early)
    left, shapes = run.left, run.shapes
    if node.told:
        for task in done:
            node.unqueue(run, task)
    elif node.queue:
        for task in done:
            node.queue.pop((number, task), None)
    memory = ledger.memory
    if number in memory.promised or number in memory.freeing or max(report.nbytes) >= memory.large:
        for task in done:
            memory.settle(run, task, nbytes[task], True)
    if run.choices or run.is_counted:
        _give_back_choices(ledger, run, node, done, held)
    for task in held:
        del node.holding[number, task]
    if len(shapes) == 1:
        left[0] -= len(done)
        if shapes[0].eligible.scarce:
            ledger.ready.want(shapes[0], -len(done))
        if held:
            node.give(shapes[0], len(held), True)
        if len(held) < len(done):
            node.give(shapes[0], len(done) - len(held), False)
        return done
    counts: dict[int, int] = {}
    for task in done:
        of = kind[task]
        counts[of] = counts.get(of, 0) + 1
    held_counts: dict[int, int] = {}
    for task in held:
        of = kind[task]
        held_counts[of] = held_counts.get(of, 0) + 1
    for of, count in counts.items():
        left[of] -= count
        if shapes[of].eligible.scarce:
            ledger.ready.want(shapes[of], -count)
        from_room = held_counts.get(of, 0)
        if from_room:
            node.give(shapes[of], from_room, True)
        if from_room < count:
            node.give(shapes[of], count - from_room, False)
    return done


def _give_back_choices(ledger: Ledger, run: Run, node: Node, done: list[int], held: list[int]) -> None:
    """What the whole cluster shares is free again; and who took another alternative is from now on like those who took the first."""
    for task in held:
        alternative = run.choices.get(task, 0)
        if alternative:
            node.count_as_first(run.shapes[run.kind[task]], alternative)
    for task in done:
        shape, alternative = run.shapes[run.kind[task]], run.choices.pop(task, 0)
        if alternative:
            run.took[task] = alternative
        if shape.cluster:
            ledger.cluster.give(shape.cluster[alternative])


def _follow(now: float, ledger: Ledger, run: Run, done: list[int]) -> None:
    """Dependents come nearer; inputs that nobody needs any more are released."""
    state, missing, needed, kind, is_output, out = run.state, run.missing, run.needed, run.kind, run.is_output, ledger.out
    consumers, consumer_starts, inputs, starts = run.consumers, run.consumer_starts, run.inputs, run.starts
    where, copies, number = run.node, run.copies, run.run
    for task in done if run.trees else ():
        relays.took(run, task, where[task])
    for task in done:
        for each in consumers[consumer_starts[task] : consumer_starts[task + 1]]:
            was = state[each]
            if was >= DONE:
                continue    # it was made again for others
            left = missing[each] = missing[each] - 1
            if not left:
                if was == WAITING:
                    ledger.consider(run, each)
                elif was == HELD and run.nearly:
                    nearing.put_off(now, ledger, run, each)
        for each in inputs[starts[task] : starts[task + 1]]:
            left = needed[each] = needed[each] - 1
            if not left and state[each] == DONE:
                if not is_output[kind[each]]:
                    state[each] = GONE
                    out.release(where[each], number, each)
                if copies and each in copies:
                    run.trees.pop(each, None)
                    for peer in copies.pop(each):
                        if peer != where[each]:   # it was to fetch the result, and then made it itself
                            out.release(peer, number, each)
        if not needed[task] and not is_output[kind[task]]:
            state[task] = GONE
            ledger.release_all(run, task)


def _learn(ledger: Ledger, run: Run, node: Node, done: list[int], report: Report) -> None:
    """Take in how long it took and how large it became; objects and serializers of other people's data teach nothing about time."""
    estimates, ready, speed = ledger.estimates, ledger.ready, node.speed
    several: dict[tuple[int, int], list[int]] = {}
    if len(run.shapes) == 1 and not run.took:
        several = {(0, 0): done}
    else:
        took = run.took
        for task in done:
            several.setdefault((run.kind[task], took.get(task, 0) if took else 0), []).append(task)
    here = node.peer << 32
    workers = {here | worker for worker in set(report.workers)} if report.workers else (here,)
    for (of, alternative), tasks in several.items():
        if not run.plain and run.is_object(tasks[0]):
            continue
        function = run.shapes[of].functions[alternative]
        if not function.met.issuperset(workers) and len(function.met) < MET_MAX:
            tasks = _learn_first(estimates, function, run, node, tasks, report)
            if not tasks:
                if function in ready.mixed:
                    ready.learned(function)
                continue
        sample = estimates.sample(function, tasks) if len(tasks) > 1 else tasks
        seconds = [run.seconds[task] * speed for task in sample]
        is_long = function.seconds >= LONG_SECONDS
        mean = sum(seconds) / len(seconds) if len(tasks) > 1 else seconds[0]
        if mean > 0.0 and (is_long or function.warm % SHORT_GRADED == 0):
            away = function.grade(mean)
            if len(ledger.nodes) > 1 and function.graded > 1:
                node.learn_speed(away, len(sample))
        if is_long and (run.linked or run.literals.data):
            for task, spent in zip(sample, seconds, strict=True):
                function.observe_sized(spent, run.input_bytes(task))
        estimates.observe(function, seconds, [run.nbytes[task] for task in sample])
        if function in ready.mixed:
            ready.learned(function)


def _learn_first(estimates: Estimates, function: Function, run: Run, node: Node, tasks: list[int], report: Report) -> list[int]:
    """Take in those that were the first of this function on their worker (on their node, where it does not say); answer with the others."""
    met, here = function.met, node.peer << 32
    worker_of = dict(zip(report.tasks, report.workers, strict=False))
    others = []
    for task in tasks:
        worker = here | worker_of.get(task, 0)
        if worker in met:
            others.append(task)
        else:
            met.add(worker)
            estimates.observe_first(function, run.seconds[task] * node.speed, run.nbytes[task])
    return others
