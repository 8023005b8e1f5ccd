"""Runs in which long tasks hand over to short ones on other nodes: what is cut off from its consumers runs twice, and tells of it twice."""

from __future__ import annotations

from random import Random

from handoff.program import Flag, Kind
from handoff.resources import SCALE
from sim.workload import Job, Offer, assembled, code_name

MAKER_SECONDS = (5.0, 40.0)   # longer than it takes to give up a node that can't be reached
QUICK_SECONDS = 0.001         # so short that tasks of this code are planned before what they take exists


def draw_relay(lots: Random, number: int, offers: list[Offer], *, client: int, at: float, trouble: float) -> Job:
    """Long makers anywhere, each with short takers here and there; the takers' code is known from a few tasks that run first."""
    quick, long = code_name(b"quick %d" % number), code_name(b"long %d" % number)
    kinds = [
        Kind(codes=(quick,), name="quick", flags=int(Flag.OUTPUT), cost=()),
        Kind(codes=(long,), name="maker", flags=lots.choice((0, int(Flag.OUTPUT))), cost=(("cpu", SCALE),), max_retries=lots.randint(1, 3)),
        Kind(codes=(quick,), name="free taker", flags=int(Flag.OUTPUT), cost=()),
        *(Kind(codes=(quick,), name="taker", flags=int(Flag.OUTPUT), cost=(), node=offer.name) for offer in offers),
    ]
    edges: list[tuple[int, ...]] = [() for _ in range(4)]
    chosen = [0] * 4
    for _ in range(lots.randint(1, 5)):
        maker = len(edges)
        edges.append((0, 1, 2, 3))   # so that the takers' code is known when it is planned
        chosen.append(1)
        for _ in range(lots.randint(1, 3)):
            edges.append((maker,))
            chosen.append(lots.randrange(2, len(kinds)))
    job = assembled(lots, number, offers, trouble, (edges, chosen, kinds), max_concurrency=0)
    job.client, job.at, job.is_fickle = client, at, True
    for task, kind in enumerate(chosen):
        job.seconds[task] = lots.uniform(*MAKER_SECONDS) if kind == 1 else QUICK_SECONDS * lots.uniform(0.5, 2.0)
    return job
