"""What users may ask for beside a graph: other costs that would do, tasks apart or near each other, shares; what they expect of times."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from handoff.columns import floats, ints
from handoff.program import Flag, Kind
from handoff.resources import CLUSTER, SCALE, Amounts
from sim.workload import Job

NOBODY_HAS: Amounts = (("gpu", 100 * SCALE),)


def let_wish(lots: Random, job: Job) -> None:
    """Some of all that, right or far off the mark."""
    program = job.program
    if lots.random() < 0.5 and not (program.groups or job.impossible or job.absent_pin):
        program = replace(program, kinds=tuple(_wish(lots, kind) for kind in program.kinds))
    total = len(program.kind)
    if lots.random() < 0.4:
        program = replace(program, near=ints(lots.randrange(total) for _ in range(2 * lots.randint(1, total))))
    if lots.random() < 0.4:
        off = lots.choice((1.0, 1.0, 0.01, 100.0))
        program = replace(program, seconds=floats(each * off if lots.random() < 0.9 else -1.0 for each in job.seconds))
    if lots.random() < 0.4:
        off = lots.choice((1.0, 1.0, 1e6))
        program = replace(program, nbytes=floats(len(each) * off if lots.random() < 0.9 else -1.0 for each in job.values))
    job.submit = replace(job.submit, program=program, weight=lots.choice((1.0, 1.0, 0.1, 5.0)))


def _wish(lots: Random, kind: Kind) -> Kind:
    if kind.flags & (Flag.OBJECT | Flag.SERIALIZER):
        return kind
    if lots.random() < 0.3:
        kind = replace(kind, spread=lots.choice(("apart", kind.name)))
    if lots.random() < 0.2:
        kind = replace(kind, family=b"family")
    if not (kind.flags & Flag.ASYNC or kind.alternatives) and kind.cost and not kind.cost[0][0].startswith(CLUSTER):
        draw = lots.random()
        if draw < 0.2:
            kind = replace(kind, cost=NOBODY_HAS, alternatives=(kind.cost,))
        elif draw < 0.4:
            kind = replace(kind, alternatives=lots.choice(((NOBODY_HAS,), (kind.cost[:1],), (NOBODY_HAS, (("cpu", SCALE // 2),)))))
    return kind
