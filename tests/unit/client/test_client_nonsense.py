"""Whatever nodes say, a client goes on, and its tables do not contradict themselves."""

from __future__ import annotations

import random

import pytest
from nonsense import heard, of_run, said
from test_client_brain import ONE, RUN, TWO, Bench

from handoff.ids import COORDINATOR, PeerId
from handoff.machine import Lost
from handoff.messages import Accepted, NodeGone, Progress, RunDone


@pytest.mark.parametrize("seed", range(8))
def test_whatever_nodes_say_the_client_goes_on(seed: int) -> None:
    """About its run and others, of its outputs and of tasks that are none; links break, nodes go."""
    draw = random.Random(seed)
    bench = Bench().running([True, False, True, True])
    for _ in range(60):
        what = draw.random()
        if what < 0.1:
            bench.tell(Lost(draw.choice((ONE, TWO)), "broken"))
        elif what < 0.15:
            bench.hear(COORDINATOR, NodeGone(RUN, draw.choice((ONE, TWO))))
        elif what < 0.2:
            bench.wait(draw.choice((0.1, 1.0)))
        else:
            came = heard(of_run(draw, said(draw, "node", "client"), RUN, 6), "node", "client")
            if came is not None and not isinstance(came, Accepted):   # of whose run it is, a node is believed
                bench.hear(draw.choice((ONE, TWO, PeerId(77))), came)
    bench.hear(COORDINATOR, Progress(RUN, 1, 1, 4))
    bench.hear(COORDINATOR, RunDone(RUN, bench.brain._runs[RUN].missing_tasks()))
