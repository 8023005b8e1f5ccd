"""Runs in which a few large values are taken by many tasks on all nodes, so that they spread from node to node."""

from __future__ import annotations

from random import Random

from handoff.program import Flag, Form, Kind
from handoff.resources import SCALE
from sim.workload import Job, Offer, assembled, code_name, value_of

BYTES = (800, 3000)     # of a large value: several chunks, and more than travels in a message


def draw_broadcast(lots: Random, number: int, offers: list[Offer], *, client: int, at: float, trouble: float) -> Job:
    """Makers, one behind the other or side by side, each with takers pinned here and there or free; some values are uploaded."""
    kinds = [
        Kind(codes=(code_name(b"maker %d" % number),), name="maker", cost=(("cpu", SCALE),), flags=lots.choice((0, int(Flag.OUTPUT)))),
        Kind(codes=(), name="object", flags=int(Flag.OBJECT), cost=()),
        Kind(codes=(code_name(b"taker"),), name="free taker", cost=(("cpu", SCALE),), form=lots.choice((Form.VARIADIC, Form.TREE))),
        Kind(codes=(code_name(b"taker"),), name="small taker", cost=(), flags=int(Flag.OUTPUT)),
        *(Kind(codes=(code_name(b"taker"),), name="taker", cost=(), node=offer.name, max_retries=lots.choice((3, 1)))
          for offer in offers if offer.stays),
    ]
    edges: list[tuple[int, ...]] = []
    chosen: list[int] = []
    large: list[int] = []
    for _ in range(lots.randint(1, 3)):
        maker = len(edges)
        edges.append(tuple(lots.sample(range(maker), min(maker, lots.choice((0, 1, 2))))))
        chosen.append(1 if not edges[-1] and lots.random() < 0.3 else 0)
        large.append(maker)
        for _ in range(lots.randint(3, 12)):
            others = lots.sample(large, min(len(large), lots.choice((0, 0, 1))))
            edges.append(tuple(dict.fromkeys((maker, *others))))
            chosen.append(lots.randrange(2, len(kinds)))
    job = assembled(lots, number, offers, trouble, (edges, chosen, kinds), max_concurrency=lots.choice((0, 0, 0, 3)))
    job.client, job.at = client, at
    sizes = {task: lots.randint(*BYTES) for task in large}
    for task, inputs in enumerate(edges):   # what follows from a value follows from its new size
        parts = (b"%d/%d" % (number, task), job.program.literals[task], *(job.values[source] for source in inputs))
        job.values[task] = value_of(parts, sizes.get(task, len(job.values[task])))
    for place, task in enumerate(job.program.object_tasks):
        job.program.object_sizes[place] = len(job.values[task])
    return job
