"""Replays seeds: `scripts/simulate SEED [--profile NAME] [--count N]`."""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter

from sim.options import PROFILES
from sim.world import Sim, SimulationFailed


def main() -> int:
    """Run the seeds; print what failed, and how fast it went."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description="Simulates a whole cluster, with faults, from a seed.")
    parser.add_argument("seed", type=int, help="the first seed")
    parser.add_argument("--profile", choices=list(PROFILES), help="which faults strike; else the seed decides")
    parser.add_argument("--count", type=int, default=1, help="how many seeds")
    parser.add_argument("--brief", action="store_true", help="one line a failure, instead of its story")
    parser.add_argument("--whole", action="store_true", help="tell all that happened, not only the last of it")
    parser.add_argument("--faster", action="store_true", help="without the brains' own invariants after every turn")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    failures, simulated, happened, executions, repeated = 0, 0.0, 0, 0, 0
    kinds: Counter[str] = Counter()
    began = time.perf_counter()
    for seed in range(options.seed, options.seed + options.count):
        sim = Sim(seed, options.profile, checks=not options.faster, whole=options.whole)
        try:
            sim.run()
        except SimulationFailed as error:
            failures += 1
            first = str(error).splitlines()[0]
            kinds[first[:60]] += 1
            print(f"{seed} {sim.options.profile}: {first[:400]}" if options.brief else f"{error}\n", flush=True)
        simulated += sim.clock.now
        happened += sim.clock.happened
        executions += sim.oracles.executions
        repeated += sim.oracles.repeated
    seconds = time.perf_counter() - began
    print(
        f"{options.count} seeds, {failures} failed; {simulated:.0f} s in {seconds:.1f} s ({simulated / seconds:.0f} x real time), "
        f"{1000 * seconds / options.count:.1f} ms a seed, {happened / seconds:.0f} happenings a second; "
        f"{executions} executions, {repeated} repeated"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
