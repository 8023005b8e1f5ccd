"""Random graphs to run: every shape, cost and flag that a program may have, with the values that a right run gives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeAlias

from handoff.columns import Blobs, Ints, ints, longs
from handoff.messages import Submit
from handoff.program import Flag, Form, Kind, Program
from handoff.resources import SCALE, Amounts

SHAPES = ("chain", "tree", "diamonds", "layers", "wide", "random")
MARK = b"~~"        # what follows it in a value is different in every execution


@dataclass(frozen=True, slots=True)
class Offer:
    """A node as the workload sees it."""

    name: str
    capacity: Amounts
    stays: bool     # it is there in the end, whatever happens in between


@dataclass(slots=True)
class Job:
    """One run to be: what is submitted, what it does, and what it has to give."""

    client: int
    at: float
    submit: Submit
    seconds: list[float]                     # per task: how long it takes
    values: list[bytes]                      # per task: what it gives (a serializer: without the target)
    mishaps: dict[int, list[str]]            # per task: how its first executions end; "exception", "unpicklable", "crash", "hang"
    inputs: list[tuple[int, ...]]
    consumers: list[list[int]]
    cancel_after: float | None = None
    forget_after: float | None = None        # its user lets go of it, whether or not it is over; it goes on
    impossible: bool = False                 # asks for what nobody has
    absent_pin: bool = False                 # asks for a node that is not there
    doomed: tuple[int, ...] = ()             # tasks that fail more often than they may
    straggler_seconds: tuple[float, float] = (0.0, 0.0)   # how much longer what straggles may take
    is_fickle: bool = False                  # each execution of a task gives something else, though as good
    run: int = 0                             # the id, once accepted
    outputs: list[int] = field(default_factory=list)

    @property
    def program(self) -> Program:
        """What is run."""
        return self.submit.program

    def kind(self, task: int) -> Kind:
        """The task's kind."""
        return self.program.kinds[self.program.kind[task]]

    def bare(self, value: bytes) -> bytes:
        """A value without what differs from one execution to the next."""
        return value.rpartition(MARK)[0] if self.is_fickle and MARK in value else value

    @property
    def work(self) -> float:
        """Seconds of all tasks, one after the other, mishaps included."""
        again = sum(self.seconds[task] * (1 + len(self.mishaps.get(task, ()))) for task in range(len(self.seconds)))
        return again + len(self.seconds) * self.straggler_seconds[1]


def value_of(parts: tuple[bytes, ...], size: int) -> bytes:
    """A value that depends on all of these."""
    digest = hashlib.blake2b(b"|".join(parts), digest_size=8).digest()
    return digest if size <= 8 else (digest * (size // 8 + 1))[:size]


def draw_job(lots: Random, number: int, offers: list[Offer], *, client: int, at: float, trouble: float, tasks: int) -> Job:
    """One random run. `trouble`: the chance that a task has mishaps."""
    shape = lots.choice(SHAPES)
    edges = _edges(lots, shape, tasks)
    kinds = _kinds(lots, number, offers)
    chosen = [lots.randrange(len(kinds)) for _ in range(tasks)]
    if lots.random() < 0.5:  # mostly one kind, as in real programs
        usual = lots.randrange(len(kinds))
        chosen = [usual if lots.random() < 0.8 else kind for kind in chosen]
    plain = len(kinds)
    kinds.append(Kind(codes=(), name="object", flags=int(Flag.OBJECT), cost=()))
    kinds.append(Kind(codes=(code_name(b"serialize"),), name="serialize", form=Form.TREE, flags=int(Flag.SERIALIZER), cost=()))
    for task in range(tasks):
        if not edges[task] and lots.random() < 0.08:
            chosen[task] = plain
    edges, chosen = _with_serializers(lots, edges, chosen, plain, plain + 1)
    job = assembled(lots, number, offers, trouble, graph=(edges, chosen, kinds))
    job.client, job.at = client, at
    draw = lots.random()
    if draw < 0.03:
        _ask_for_too_much(job, offers)
    elif draw < 0.06:
        _pin_to_nowhere(job)
    elif draw < 0.12:
        job.submit = replace(job.submit, timeout=lots.uniform(0.05, 4.0))
    return job


def let_straggle(lots: Random, job: Job) -> None:
    """Its functions call the same code, most of them may run twice at once, and some executions take far too long."""
    code = next((kind.codes for kind in job.program.kinds if not kind.flags & (Flag.OBJECT | Flag.SERIALIZER)), ())
    kinds = [
        kind if kind.flags & (Flag.OBJECT | Flag.SERIALIZER)
        else replace(kind, codes=code, timeout=0.0, flags=kind.flags | (Flag.IDEMPOTENT if lots.random() < 0.8 else 0))
        for kind in job.program.kinds
    ]
    job.submit = replace(job.submit, program=replace(job.program, kinds=tuple(kinds)))
    for task, mishaps in job.mishaps.items():   # without a timeout nothing would end what hangs
        job.mishaps[task] = ["exception" if mishap == "hang" else mishap for mishap in mishaps]
    job.straggler_seconds, job.is_fickle = lots.choice(((0.1, 1.0), (1.0, 20.0))), True


def _change_a_kind(job: Job, **fields: Any) -> None:
    """One kind that is used, and no group, becomes another."""
    program = job.program
    index = next(index for index in program.kind if not program.kinds[index].flags & (Flag.OBJECT | Flag.SERIALIZER))
    kinds = list(program.kinds)
    kinds[index] = replace(kinds[index], **fields)
    job.submit = replace(job.submit, program=replace(program, kinds=tuple(kinds), groups=()), wait_for_nodes=False)


def _ask_for_too_much(job: Job, offers: list[Offer]) -> None:
    """More memory than anybody has."""
    if any(not kind.flags & (Flag.OBJECT | Flag.SERIALIZER) for kind in map(job.kind, range(len(job.seconds)))):
        most = max(dict(offer.capacity)["memory"] for offer in offers)
        _change_a_kind(job, cost=(("cpu", SCALE), ("memory", most + 10_000 * SCALE)), node="")
        job.impossible = True


def _pin_to_nowhere(job: Job) -> None:
    """A node that does not come."""
    if any(not kind.flags & (Flag.OBJECT | Flag.SERIALIZER) for kind in map(job.kind, range(len(job.seconds)))):
        _change_a_kind(job, node="nowhere")
        job.absent_pin = True


def code_name(name: bytes) -> bytes:
    """The name of some code."""
    return hashlib.blake2b(name, digest_size=16).digest()


def code_of(digest: bytes) -> bytes:
    """The code bytes of this name."""
    return b"code " + digest


def _edges(lots: Random, shape: str, tasks: int) -> list[tuple[int, ...]]:
    """Per task, its inputs: tasks with lower numbers."""
    edges: list[tuple[int, ...]] = []
    width = lots.randint(2, 6)
    for task in range(tasks):
        match shape:
            case "chain":
                inputs = [task - 1] if task else []
            case "tree":
                inputs = [(task - 1) // 2] if task else []
            case "diamonds":
                place = task % 4
                inputs = [] if task == 0 else {0: [task - 1], 1: [task - 1], 2: [task - 2], 3: [task - 2, task - 1]}[place]
            case "layers":
                layer = task // width
                before = range((layer - 1) * width, layer * width)
                inputs = sorted(lots.sample(before, lots.randint(1, min(3, width)))) if layer else []
            case "wide":
                inputs = list(range(task)) if task == tasks - 1 and lots.random() < 0.5 else []
            case _:
                inputs = sorted(lots.sample(range(task), min(task, lots.choice((0, 1, 1, 2, 3)))))
        edges.append(tuple(inputs))
    return edges


def _kinds(lots: Random, number: int, offers: list[Offer]) -> list[Kind]:
    """A few kinds, each of which some staying node can run."""
    staying = [offer for offer in offers if offer.stays]
    kinds = []
    for index in range(lots.randint(1, 4)):
        host = lots.choice(staying)
        flags = Flag.OUTPUT if lots.random() < 0.4 else Flag(0)
        cost: Amounts = _cost(lots, host.capacity)
        if lots.random() < 0.1:
            flags |= Flag.ASYNC
            cost = () if lots.random() < 0.8 else cost
        kinds.append(Kind(
            codes=(code_name(b"code %d" % lots.randrange(6)),),
            name=f"kind_{number}_{index}",
            form=lots.choice((Form.VARIADIC, Form.VARIADIC, Form.AS_LIST, Form.TREE)),
            flags=int(flags),
            cost=cost,
            max_retries=lots.choice((3, 3, 3, 1, 2, 0)),
            timeout=lots.choice((0.0, 0.0, 0.0, 2.0)),
            priority=lots.choice((0, 0, 0, 1, 5)),
            node=host.name if lots.random() < 0.12 else "",
        ))
    return kinds


def _cost(lots: Random, capacity: Amounts) -> Amounts:
    have = dict(capacity)
    draw = lots.random()
    if draw < 0.5:
        return (("cpu", SCALE),)
    if draw < 0.6:
        return ()
    if draw < 0.7:
        return (("cpu", SCALE // lots.choice((2, 4, 10))),)
    cost = {"cpu": lots.randint(1, have["cpu"] // SCALE) * SCALE}
    if lots.random() < 0.5:
        cost["memory"] = lots.randint(1, have["memory"])
    if "gpu" in have and lots.random() < 0.7:
        cost["gpu"] = lots.choice((SCALE, SCALE // 2, have["gpu"]))
    return tuple(sorted(cost.items()))


def _with_serializers(
    lots: Random, edges: list[tuple[int, ...]], chosen: list[int], plain: int, serializer: int
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Put a serializer on a few edges, and number all tasks anew."""
    if lots.random() < 0.7:
        return edges, chosen
    new_edges: list[tuple[int, ...]] = []
    new_chosen: list[int] = []
    renamed: list[int] = []
    for task, inputs in enumerate(edges):
        taken = []
        for source in inputs:
            if lots.random() < 0.2:
                new_edges.append((renamed[source],))
                new_chosen.append(serializer)
                taken.append(len(new_edges) - 1)
            else:
                taken.append(renamed[source])
        renamed.append(len(new_edges))
        new_edges.append(tuple(taken))
        new_chosen.append(chosen[task])
    return new_edges, new_chosen


Graph: TypeAlias = tuple[list[tuple[int, ...]], list[int], list[Kind]]  # per task: inputs, index of its kind; then the kinds


def assembled(
    lots: Random, number: int, offers: list[Offer], trouble: float, graph: Graph, max_concurrency: int | None = None
) -> Job:
    """The job of this graph: how long its tasks take, what they give, how they fail."""
    edges, chosen, kinds = graph
    tasks = len(edges)
    consumers: list[list[int]] = [[] for _ in range(tasks)]
    for task, inputs in enumerate(edges):
        for source in inputs:
            consumers[source].append(task)
    # what nobody consumes is an output, or nobody would ask for it
    as_output: dict[int, int] = {}
    for task in range(tasks):
        kind = kinds[chosen[task]]
        if not consumers[task] and not kind.flags & Flag.OUTPUT:
            if chosen[task] not in as_output:
                as_output[chosen[task]] = len(kinds)
                kinds.append(Kind(**{name: getattr(kind, name) for name in kind.__slots__} | {"flags": kind.flags | Flag.OUTPUT}))
            chosen[task] = as_output[chosen[task]]
    pace = lots.choice((0.0002, 0.002, 0.02, 0.2, 1.0))
    steady = lots.random() < 0.5
    seconds: list[float] = []
    values: list[bytes] = []
    literals: list[bytes] = []
    mishaps: dict[int, list[str]] = {}
    big = lots.choice((0.0, 0.1, 0.5))
    doomed: list[int] = []
    doom = lots.random() < 0.15
    for task in range(tasks):
        kind = kinds[chosen[task]]
        is_object = bool(kind.flags & Flag.OBJECT)
        literal = b"" if is_object or lots.random() < 0.5 else b"literal %d" % task
        literals.append(literal)
        spread = 1.0 if steady else lots.choice((0.2, 1.0, 1.0, 5.0))
        took = pace * spread * lots.uniform(0.8, 1.2)
        seconds.append(min(took, kind.timeout / 4) if kind.timeout else took)
        size = lots.randint(100, 1500) if lots.random() < big else 8
        values.append(value_of((b"%d/%d" % (number, task), literal, *(values[source] for source in edges[task])), size))
        if not is_object and not kind.flags & Flag.SERIALIZER and lots.random() < trouble:
            allowed = kind.max_retries
            if doom and not doomed:
                doomed.append(task)
                mishaps[task] = ["unpicklable"] if lots.random() < 0.2 else ["exception"] * (allowed + 1)
                if not allowed and lots.random() < 0.7:   # with those beside it in its worker
                    mishaps[task] = ["hang" if kind.timeout and lots.random() < 0.5 else "crash"]
            elif allowed:
                count = lots.randint(1, allowed)
                choices = ["exception", "exception", "crash"] + (["hang"] if kind.timeout else [])
                some = [lots.choice(choices) for _ in range(count)]
                mishaps[task] = some if some.count("crash") < 3 else ["exception"] * count
    groups = _groups(lots, kinds, chosen, offers)
    digests = list(dict.fromkeys(digest for kind in kinds for digest in kind.codes))
    object_tasks = [task for task in range(tasks) if kinds[chosen[task]].flags & Flag.OBJECT]
    program = Program(
        codes=tuple((digest, len(code_of(digest))) for digest in digests),
        kinds=tuple(kinds),
        kind=ints(chosen),
        literals=Blobs.of(literals),
        fan_in=ints(map(len, edges)),
        inputs=ints(source for inputs in edges for source in inputs),
        groups=groups,
        object_tasks=ints(object_tasks),
        object_sizes=longs(len(values[task]) for task in object_tasks),
    )
    submit = Submit(
        token=number,
        name=f"job-{number}",
        program=program,
        max_concurrency=lots.choice((0, 0, 0, 1, 3)) if max_concurrency is None else max_concurrency,
        wait_for_nodes=True,
        detach=lots.random() < 0.1,
        ids=b"ids",
        values_only=number % 3 == 0,
        body=b"".join(map(code_of, digests)),
    )
    outputs = [task for task in range(tasks) if kinds[chosen[task]].flags & Flag.OUTPUT]
    return Job(0, 0.0, submit, seconds, values, mishaps, edges, consumers, doomed=tuple(doomed), outputs=outputs)


def _groups(lots: Random, kinds: list[Kind], chosen: list[int], offers: list[Offer]) -> tuple[Ints, ...]:
    """Sometimes, tasks that must share a node: such that one staying node can hold each of them."""
    if lots.random() < 0.75:
        return ()
    host = lots.choice([offer for offer in offers if offer.stays])
    have = dict(host.capacity)

    def fits(kind: Kind) -> bool:
        return kind.node in ("", host.name) and all(have.get(name, 0) >= steps for name, steps in kind.cost)

    able = [task for task, index in enumerate(chosen) if fits(kinds[index]) and not kinds[index].flags & (Flag.SERIALIZER | Flag.OBJECT)]
    lots.shuffle(able)
    groups: list[Ints] = []
    while len(able) >= 2 and len(groups) < 2:
        size = lots.randint(2, min(4, len(able)))
        groups.append(ints(sorted(able[:size])))
        able = able[size:]
    return tuple(groups)
