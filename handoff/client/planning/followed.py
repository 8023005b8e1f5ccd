"""What a submission says of the plan that the run is to follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handoff.client.planning.plan import Plan
from handoff.columns import floats, ints
from handoff.errors import ConfigError
from handoff.ids import NOBODY
from handoff.quoting import quoted

if TYPE_CHECKING:
    from handoff.client.lower import Lowered


def columns_of(plan: Any, lowered: Lowered) -> dict[str, Any]:
    """The fields of Submit. Raises ConfigError for what is no plan, and for the plan of another graph."""
    if not isinstance(plan, Plan):
        raise ConfigError(f"plan={quoted(plan)} is no plan; client.plan(dag) makes one, and Plan.load reads one")
    number = {id: task for task, id in enumerate(plan.basis.ids) if id is not None}
    missing = [id for id in lowered.number if id not in number]
    extra = [id for id in number if id not in lowered.number]
    if missing or extra:
        which = f"{quoted(missing[0])} is not in the plan" if missing else f"{quoted(extra[0])} is not in the graph"
        raise ConfigError(f"the plan of {quoted(plan.name)} is for another graph: {which}; plan this one")
    told = plan.foretold
    places = {node: place for place, node in enumerate(dict.fromkeys(told.nodes))}
    is_same = list(lowered.ids) == list(plan.basis.ids) and dict(lowered.hidden) == dict(plan.basis.hidden)
    of = [number[id] if id is not None else task if is_same else None for task, id in enumerate(lowered.ids)]
    end = max(told.makespan, *told.started, 0.0)
    return {
        "follow": ints(NOBODY if task is None else places[told.nodes[task]] for task in of),
        "follow_names": tuple(places),
        "follow_ranks": floats(end if task is None else end - told.started[task] for task in of),
    }
