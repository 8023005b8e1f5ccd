"""Taking up a run that goes on without its client: one that was detached, from here or from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handoff.client.core import Core
from handoff.client.options import run_number
from handoff.client.state import Graph, Lease, RunState
from handoff.errors import ExecutionError
from handoff.wire.values import Packed, as_here, is_plain, unpack


def begin_attach(core: Core, run_id: int) -> Lease:
    """Ask for a detached run, unless it is held here: what comes for it goes to one place."""
    run_id = run_number(run_id)
    objects: Mapping[int, Packed] = {}
    with core.attaching:
        for held in tuple(core.states.values()):
            if held.run == run_id and held.failure is None and not held.is_former:
                if held.lease is None:
                    raise ExecutionError(f"run {run_id} can't be attached: this client waits for it, by the future or map that it is")
                if (lease := held.lease()) is not None:
                    return lease
                objects = held.graph.objects   # it was let go here, where it was begun: what is still to be uploaded comes from here
                core.states.pop(held.token, None)
        state = RunState(core, core.token(), Graph("", (), (), {}, objects), detached=True)
        state.run = run_id
        core.attach(state, run_id)
        return Lease(state)


def finish_attach(state: RunState) -> None:
    """Fill in what the coordinator knows of an attached run; raises what makes it refuse."""
    if state.answer is None:
        state.raise_if_failed()
        return
    answer: Any = state.answer
    ids, hidden = unpack(answer["ids"]) if answer.get("ids") else (list(range(int(answer["total"]))), {})
    ids = [each if is_plain(each) else as_here(each) for each in ids]   # enums, say, of the script that began it: this one has its own
    number = {name: task for task, name in enumerate(ids) if name is not None}
    state.graph = Graph(answer.get("name", ""), ids, [int(task) for task in answer["outputs"]], number, state.graph.objects, hidden)
