"""What must always be true of a node's brain; checked after every event in tests and in the simulator."""

from __future__ import annotations

from handoff.errors import InvariantViolation
from handoff.node.crew import Crew
from handoff.node.state import State
from handoff.node.tables import ATTEMPT, HANDLING, INPUTS, Mode, Table
from handoff.resources import SCALE, is_gpu


def check(state: State, crew: Crew) -> None:
    """Raise InvariantViolation that says what is wrong."""
    _check_claims(state, crew)
    ready: dict[object, int] = {}
    for table in state.runs.values():
        _check_tasks(table)
        for task in table.ready:
            lane = table.plans[task][HANDLING].lane
            ready[lane] = ready.get(lane, 0) + 1
            _demand(lane in state.lanes.active, f"run {table.run}: task {task} is ready in a lane that nobody looks at")
    for lane in state.lanes.active:
        _demand(lane.count == ready.get(lane, 0), f"lane {lane.cost}: counts {lane.count} tasks, has {ready.get(lane, 0)}")


def _check_claims(state: State, crew: Crew) -> None:
    taken: dict[str, int] = {}
    whole: dict[int, int] = {}
    executing: dict[object, int] = {}
    small = 0
    for worker in crew.workers.values():
        if worker.is_asyncio:
            claims = [batch.lane for batch in worker.batches]
        else:
            claims = [worker.claim] if worker.claim is not None else []
            _demand((worker.claim is not None) == bool(worker.batches), f"worker {worker.id}: a claim without work, or the reverse")
            _demand(all(batch.lane is worker.claim for batch in worker.batches), f"worker {worker.id}: batches of different costs")
            is_fed = worker.claim is not None and worker.id in worker.claim.hungry
            _demand(not (worker.is_stalled and is_fed), f"worker {worker.id}: stands still, and is to be given more")
            is_idle = worker.is_ready and not (worker.is_killed or worker.is_deaf) and worker.claim is None
            _demand(is_idle == (worker.id in crew.idle), f"worker {worker.id}: idle and not known as such, or the reverse")
        for lane in claims:
            given = worker.gpus or ()
            executing[lane.limit] = executing.get(lane.limit, 0) + 1
            small += lane.is_small
            for name, amount in state.claims.charges(lane.cost, given):
                taken[name] = taken.get(name, 0) + amount
            for index in given:
                share = max((min(SCALE, steps) for name, steps in lane.cost if is_gpu(name)), default=0)
                whole[index] = whole.get(index, 0) + share
    _demand(small == crew.small <= crew.most, f"counts {crew.small} that share {crew.most} processes; there are {small}")
    for table in state.runs.values():
        if table.limit is not None:
            counted, found = table.limit.running, executing.get(table.limit, 0)
            _demand(counted == found, f"run {table.run}: counts {counted} that execute, of so many as may; there are {found}")
    for index, left in enumerate(state.claims.gpus.free):
        _demand(left == SCALE - whole.get(index, 0) >= 0, f"GPU {index}: {left} free, though {whole.get(index, 0)} are claimed")
    for name, capacity in state.claims.capacity.items():
        free = state.claims.free[name]
        _demand(free >= 0 or not state.claims.is_exact, f"{name!r}: {free} free")
        _demand(free == capacity - taken.get(name, 0), f"{name!r}: {free} free of {capacity}, though {taken.get(name, 0)} are claimed")


def _check_tasks(table: Table) -> None:
    for task, entry in table.plans.items():
        here = f"run {table.run} task {task} attempt {entry[ATTEMPT]}"
        batch = table.given.get(task)
        lacking = len(dict.fromkeys(each for each in entry[INPUTS] if task in table.waiters.get(each, ())))
        _demand(table.missing.get(task, 0) == lacking, f"{here}: misses {table.missing.get(task, 0)} inputs, waits for {lacking}")
        waits = batch is None and lacking > 0
        places = [batch is not None, task in table.ready, task in table.objects, waits]
        _demand(sum(places) == 1, f"{here}: given, ready, object, waiting: {places}")
        if batch is not None:
            _demand(batch in batch.worker.batches and task in batch.tasks, f"{here}: its worker does not have it")
            _demand(not batch.worker.is_killed, f"{here}: in the hands of a dead worker")
        if task in table.objects:
            _demand(entry[HANDLING].mode is Mode.OBJECT, f"{here}: waits for an upload, but is no object")
    for column in (table.given, table.ready, table.missing, table.objects):
        for task in column:
            _demand(task in table.plans, f"run {table.run}: task {task} is not planned, but is in a queue")
    for task in table.tailored:
        _demand(task in table.size, f"run {table.run}: task {task} was made for one node, and is not here")
    for task, peer in table.asked.items():
        is_of_use = task in table.size and task not in table.tailored
        _demand(not is_of_use, f"run {table.run}: task {task} is here and still asked of {peer}")


def _demand(truth: bool, otherwise: str) -> None:
    if not truth:
        raise InvariantViolation(otherwise)
