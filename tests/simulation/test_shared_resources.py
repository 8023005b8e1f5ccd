"""Simulated clusters whose functions need what the whole cluster shares, and have a choice of costs: never too many at once, no stall."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from sim import coordinator, oracles, workload
from sim.options import PROFILES
from sim.world import Sim, SimulationFailed

from handoff.program import Flag, Kind
from handoff.resources import SCALE, Amounts
from handoff.scheduler.scheduler import Scheduler
from handoff.scheduler.semaphores import PLENTY, Semaphores

LICENSES = 2
LICENSE: Amounts = (("cluster:license", SCALE),)
NOBODY_HAS: Amounts = (("gpu", 100 * SCALE),)


def licensed(kind: Kind) -> bool:
    """Whether it needs one."""
    return any(LICENSE[0] in cost for cost in (kind.cost, *kind.alternatives))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sim]]:
    """Makes worlds in which half of the kinds need one of two licences, some of them as their second choice."""
    schedulers: list[Scheduler] = []
    original_kinds, original_began = workload._kinds, oracles.Oracles.began

    def kinds(lots: Random, *rest: Any) -> list[Kind]:
        found = []
        for kind in original_kinds(lots, *rest):
            draw = lots.random()
            cost = tuple(sorted((*kind.cost, *LICENSE)))
            if draw < 0.3:
                kind = replace(kind, cost=cost)
            elif draw < 0.5 and not kind.flags & Flag.ASYNC:
                kind = replace(kind, cost=NOBODY_HAS, alternatives=(cost,))
            found.append(kind)
        return found

    def began(self: oracles.Oracles, node: Any, worker: Any, work: Any, *rest: Any) -> Any:
        answer = original_began(self, node, worker, work, *rest)
        if licensed(work.kind) and node.me not in self.lost:
            now = sum(
                licensed(self.watches[run].job.kind(task))
                for other, workers in self.claims._hands.items() if other.alive and other.me not in self.lost
                for hands in workers.values() if not hands.is_dying
                for run, task, _ in hands.executing if run in schedulers[-1].ledger.runs)   # what ended is free before its nodes hear of it
            oracles.sure(now <= LICENSES, f"{now} functions with a licence run at once, of which there are {LICENSES}")
        return answer

    original_change = workload._change_a_kind
    monkeypatch.setattr(workload, "_change_a_kind", lambda job, **fields: original_change(job, alternatives=(), **fields))
    monkeypatch.setattr(workload, "_kinds", kinds)
    monkeypatch.setattr(oracles.Oracles, "began", began)
    def scheduler(*given: Any) -> Scheduler:
        schedulers.append(Scheduler(*given, cluster=(("license", LICENSES * SCALE),)))
        return schedulers[-1]

    monkeypatch.setattr(coordinator, "Scheduler", scheduler)
    return Sim


@pytest.mark.parametrize("profile", PROFILES)
def test_licences_are_kept_whatever_goes_wrong(shared: Callable[..., Sim], profile: str) -> None:
    """Every run ends, and never do more functions run than there are licences for."""
    for seed in range(8):
        sim = shared(seed, profile, checks=seed % 2 == 0).run()
        ledger = sim.coordinator.brain.ledger
        assert ledger.runs or ledger.cluster.free == ledger.cluster.declared


def test_the_oracle_sees_licences_that_nobody_counts(shared: Callable[..., Sim], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the count put out of action, more run at once than may."""
    monkeypatch.setattr(Semaphores, "room", lambda *_: PLENTY)
    with pytest.raises(SimulationFailed, match="functions with a licence run at once"):
        for seed in range(40):
            shared(seed, "calm", checks=False).run()
