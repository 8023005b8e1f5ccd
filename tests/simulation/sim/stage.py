"""What all simulated processes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.clock import Clock, Lots
from sim.letters import Letters
from sim.options import Options
from sim.trace import Trace

if TYPE_CHECKING:
    from sim.network import Network
    from sim.oracles import Oracles


@dataclass(slots=True)
class Stage:
    """One world's clock, network, chance and watchers."""

    options: Options
    clock: Clock
    lots: Lots
    network: Network
    letters: Letters
    oracles: Oracles
    trace: Trace
    boots: int = 0

    def boot(self) -> bytes:
        """Sixteen bytes that no other process has."""
        self.boots += 1
        return b"%16d" % self.boots
