"""A seed is a story: told again, in any process, it is the same story."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sim.world import Sim

HERE = Path(__file__).parent
PROGRAM = """
from sim.world import Sim
print(" ".join(Sim(seed, profile, hashed=True, checks=False).run().trace.digest for seed, profile in ((3, "everything"), (4, "kills"))))
"""


def test_the_same_seed_gives_the_same_trace() -> None:
    """Everything that brains hear and say is the same when a seed is run again, and different for another seed."""
    first, again, other = (Sim(seed, "everything", hashed=True, checks=False).run().trace.digest for seed in (5, 5, 6))

    assert first == again != other


def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    """No decision hangs on the order of a set of strings, or on an address in memory."""
    def told(hash_seed: int) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
        return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True).stdout

    stories = {told(hash_seed) for hash_seed in (0, 1, 2)}

    assert len(stories) == 1 and stories.pop().strip()
