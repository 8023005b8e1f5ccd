"""A few hundred simulated clusters, each with its own faults: whatever happens, what must be true is true."""

from __future__ import annotations

import pytest
from sim.options import PROFILES
from sim.world import Sim

SEEDS_PER_PROFILE = 24
CHECKED_EVERY = 3  # in every third seed the brains check their own tables after each turn, which takes most of the time


@pytest.mark.parametrize("profile", PROFILES)
def test_every_promise_holds_whatever_goes_wrong(profile: str) -> None:
    """Right results, no waste, exact claims, true reasons for failures, and an end to every run, under the faults of a profile."""
    for seed in range(SEEDS_PER_PROFILE):
        Sim(seed, profile, checks=seed % CHECKED_EVERY == 0).run()


def test_nothing_is_executed_twice_because_of_slow_or_broken_connections() -> None:
    """Delays and connection resets cost no execution: each task ends well exactly once."""
    sims = [Sim(seed, "resets", checks=False).run() for seed in range(1000, 1020)]

    assert sum(sim.oracles.executions for sim in sims) > 200
    assert sum(sim.oracles.repeated for sim in sims) == 0
