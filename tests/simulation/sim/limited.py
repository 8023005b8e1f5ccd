"""Runs of many short tasks of which only a few may execute at once, so that nodes have shares of the limit, and more planned than that."""

from __future__ import annotations

from random import Random

from handoff.program import Flag, Kind
from handoff.resources import SCALE, Amounts
from sim.workload import Job, Offer, assembled, code_name

TASKS = (40, 160)
SECONDS = (0.0005, 0.004)     # so short that streams of them are planned ahead
LONG = 100.0                  # times as long, of some: what waits behind them is taken back


def draw_limited(lots: Random, number: int, offers: list[Offer], *, client: int, at: float, trouble: float) -> Job:
    """Tasks of one code at one or two costs, mostly without inputs; a few take what others make."""
    costs: tuple[Amounts, ...] = ((("cpu", SCALE),), (("cpu", SCALE),), (("cpu", SCALE // 2),), ())
    kinds = [
        Kind(
            codes=(code_name(b"short %d" % (number % 2)),), name=f"short {index}", cost=lots.choice(costs),
            flags=int(Flag.OUTPUT) | (int(Flag.ASYNC) if lots.random() < 0.15 else 0), max_retries=lots.choice((3, 3, 0)),
            timeout=lots.choice((0.0, 0.0, 2.0)), priority=lots.choice((0, 0, 1)),
        )
        for index in range(lots.choice((1, 1, 2)))
    ]
    total, linked = lots.randint(*TASKS), lots.choice((0.0, 0.0, 0.1))
    edges: list[tuple[int, ...]] = []
    chosen: list[int] = []
    for task in range(total):
        is_linked = task > 0 and lots.random() < linked
        edges.append(tuple(sorted(lots.sample(range(task), min(task, lots.randint(1, 3))))) if is_linked else ())
        chosen.append(lots.randrange(len(kinds)) if lots.random() < 0.3 else 0)
    job = assembled(lots, number, offers, trouble, (edges, chosen, kinds), max_concurrency=lots.choice((1, 2, 3, 6, 9)))
    job.client, job.at = client, at
    pace, some = lots.uniform(*SECONDS), lots.choice((0.0, 0.0, 0.02))
    for task in range(total):
        job.seconds[task] = pace * lots.uniform(0.8, 1.2) * (LONG if lots.random() < some else 1.0)
    return job
