"""Programs as clients send them: what would break the tables is refused before there is a run."""

from __future__ import annotations

from handoff.errors import ProtocolError
from handoff.program import BYTES_MAX, HIDDEN, SECONDS_MAX, Flag, Kind, Program
from handoff.resources import contradiction
from handoff.scheduler.needs import KINDS_KNOWN, OURS

FAMILY_BYTES_MAX = 64

# Kinds that were looked at, by identity: those of a function that is called again and again are one object (`wire/codec.py`).
_right: dict[int, Kind] = {}


def check_program(program: Program) -> None:
    """Refuse what would break the tables; ProtocolError says what is wrong. Indexes of inputs are checked while the table is built."""
    total = len(program.kind)
    if len(program.fan_in) != total or len(program.literals.sizes) != total:
        lengths = (total, len(program.literals), len(program.fan_in))
        raise ProtocolError(f"the columns kind, literals and fan_in of a program differ in length: {lengths}")
    if total and max(program.kind) >= len(program.kinds):
        raise ProtocolError(f"a task is of kind {max(program.kind)}, but the program has {len(program.kinds)} kinds")
    if sum(program.fan_in) != len(program.inputs):
        raise ProtocolError(f"the tasks have {sum(program.fan_in)} inputs together, but {len(program.inputs)} are listed")
    if sum(program.literals.sizes) != len(program.literals.data):
        raise ProtocolError("the sizes of the literals do not add up to their bytes")
    if len(program.near) % 2 or (program.near and max(program.near) >= total):
        raise ProtocolError(f"near lists {len(program.near)} tasks in pairs, the last being {max(program.near, default=0)}, of {total}")
    if {len(program.seconds), len(program.nbytes)} - {0, total}:
        raise ProtocolError(f"the columns seconds and nbytes have {len(program.seconds)} and {len(program.nbytes)} entries, not {total}")
    for name, told, most in (("seconds", program.seconds, SECONDS_MAX), ("nbytes", program.nbytes, BYTES_MAX)):
        if told and any(not each <= most for each in told):   # NaN is none of these either
            raise ProtocolError(f"the column {name} of a program has an entry above {most:.0e}, or one that is no number")
    digests, every = dict(program.codes).keys(), 0
    for kind in program.kinds:
        every |= kind.flags
        if not digests >= set(kind.codes):
            raise ProtocolError(f"kind {kind.name!r} calls code that the program does not have")
        if _right.get(id(kind)) is not kind:
            _check_kind(kind)
    grouped: set[int] = set()
    for group in program.groups:
        for task in group:
            if task >= total or task in grouped:
                raise ProtocolError(f"task {task} is in two groups, or does not exist")
            grouped.add(task)
    if every & HIDDEN:
        flags = [kind.flags for kind in program.kinds]
        for task, index in enumerate(program.kind):
            wanted = 1 if flags[index] & Flag.SERIALIZER else 0 if flags[index] & Flag.OBJECT else None
            if wanted is not None and program.fan_in[task] != wanted:
                raise ProtocolError(f"task {task} is a serializer or an object, but has {program.fan_in[task]} inputs")


def _check_kind(kind: Kind) -> None:
    if len(kind.family) > FAMILY_BYTES_MAX:
        raise ProtocolError(f"the family of kind {kind.name!r} is {len(kind.family)} bytes long")
    if any(name in OURS or amount <= 0 for cost in (kind.cost, *kind.alternatives) for name, amount in cost):
        raise ProtocolError(f"kind {kind.name!r} has a cost without a name or amount: {kind.cost!r}")
    for cost in (kind.cost, *kind.alternatives):
        if wrong := contradiction(cost):    # a node would give away what it has not, or never start it
            raise ProtocolError(f"kind {kind.name!r} has a cost that no node can grant: {wrong}")
    if len(_right) >= KINDS_KNOWN:
        _right.clear()
    _right[id(kind)] = kind
