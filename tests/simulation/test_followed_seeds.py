"""Simulated clusters in which runs follow plans that were drawn at random: whatever goes wrong, they end, and all promises hold."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from sim.options import PROFILES
from sim.workload import Job
from sim.world import Sim

from handoff.columns import floats, ints
from handoff.ids import NOBODY

SEEDS_PER_PROFILE = 6


class PlannedSim(Sim):
    """Each job comes with a plan for the nodes that are there just then, as bad as it may be."""

    followed = 0

    def _submit(self, job: Job) -> None:
        names = sorted(self.coordinator.brain.ledger.by_name)
        if not names and self.clock.now < 1.0:      # they are just starting
            self.clock.after(0.3, self._submit, job)
            return
        if names:
            lots = Random(f"{self.seed}/plans/{job.submit.token}/{job.client}")
            some = [NOBODY if lots.random() < 0.1 else lots.randrange(len(names)) for _ in job.seconds]
            starts = [0.0] * len(some)
            for task, inputs in enumerate(job.inputs):
                starts[task] = max((starts[each] for each in inputs), default=0.0) + lots.random()
            end = max(starts) + 1.0
            waits = job.submit.wait_for_nodes and not self.options.has_losses    # it may be refused for a node that left
            job.submit = replace(
                job.submit, wait_for_nodes=waits, follow=ints(some), follow_names=tuple(names),
                follow_ranks=floats(end - each for each in starts))
            self.followed += 1
        super()._submit(job)


@pytest.mark.parametrize("profile", PROFILES)
def test_runs_that_follow_any_plan_keep_every_promise(profile: str) -> None:
    """Right results, no waste, exact claims, true reasons for failures, and an end to every run."""
    followed = 0
    for seed in range(SEEDS_PER_PROFILE):
        sim = PlannedSim(seed, profile)
        sim.run()
        followed += sim.followed
    assert followed
