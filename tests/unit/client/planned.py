"""A small stage for tests of plans: a cluster that only exists as the coordinator's outlook on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from handoff import DAG
from handoff.client.lower import lower
from handoff.client.planning.basis import alternatives_of
from handoff.client.planning.plan import Plan, make_plan
from handoff.ids import PeerId
from handoff.machine import Joined
from handoff.messages import Hello
from handoff.resources import amounts
from handoff.scheduler.outlook import outlook
from handoff.scheduler.scheduler import Scheduler
from handoff.settings import SchedulerSettings

Capacity = Mapping[str, float | int | str]


class Outlook:
    """Nodes by name with what they have, and what was learned."""

    def __init__(self, round_trip: float = 0.0002, cluster: Capacity | None = None, processes: int = 0, **nodes: Capacity) -> None:
        settings = SchedulerSettings(round_trip_seconds=round_trip, bandwidth_bytes_per_second=100e6)
        self.scheduler = Scheduler(settings, cluster=amounts(cluster or {}))
        for number, (name, capacity) in enumerate(nodes.items(), 1):
            hello = Hello(1, "0", "3.11", "node", name, bytes([number]) * 16, address=(name, 1), capacity=amounts(capacity),
                          processes=processes)
            self.scheduler.handle(0.0, Joined(PeerId(number), hello))

    def learned(self, dag: DAG, seconds: Mapping[str, Sequence[float]], nbytes: int = 100) -> Outlook:
        """Functions of this graph ran, each so often and so long."""
        estimates = self.scheduler.ledger.estimates
        for kind in lower(dag).program.kinds:
            if kind.name in seconds:
                several = seconds[kind.name]
                estimates.observe(estimates.of(kind.codes, kind.name), several, [nbytes] * len(several))
        return self

    def plan(self, dag: DAG, allocator: str | Callable[[], Any] | None = None, *, returns: Iterable[Any] | None = None,
             max_concurrency: int | None = None) -> Plan:
        """The plan of a graph on it."""
        lowered = lower(dag, returns=returns)
        kinds = [*lowered.program.kinds, *(kind for _, _, kind in alternatives_of(lowered.program.kinds))]
        said = outlook(self.scheduler.ledger, [kind.codes for kind in kinds], [kind.name for kind in kinds])
        return make_plan(lowered, str(dag.id), said, allocator, max_concurrency)
