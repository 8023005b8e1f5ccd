"""What the pool has given to each worker process and not heard the end of: batches; and what it keeps there: code, large values."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeAlias

from handoff.node.events import Execute
from handoff.node.phrases import CODE, FORGET_CODE
from handoff.node.pipe import frame
from handoff.node.process import WorkerProcess
from handoff.node.shared_memory import SharedValue, write_shared
from handoff.node.store import Value
from handoff.program import Flag, Form, Kind

CODES_MAX = 1024                       # kept by one worker, and
CODE_BYTES_MAX = 64 * 1024 * 1024      # their bytes; the least recently used are forgotten
KINDS_MAX = 1024                       # of which it is remembered how to say them
TOGETHER_BYTES = 16 * 1024 * 1024      # small inputs of one batch that come to more lie in memory of their own, and not in a frame
ALIGNED = 64                           # each of them there, as what is in a value may be aligned by this

Given: TypeAlias = bytes | int | list[int] | None     # an input as a batch says it: see phrases.BATCH

_ASYNC = int(Flag.ASYNC)               # arithmetic with flags as such is slow


class GivenBatch:
    """What was given to a worker and is not finished."""

    __slots__ = ("attempts", "left", "nbytes", "open", "run", "tasks")

    def __init__(self, work: Execute) -> None:
        self.run, self.tasks, self.attempts = work.run, work.tasks, work.attempts
        self.left = len(work.tasks)
        self.nbytes = 0                  # of what was said for it: code, small inputs
        self.open = bytearray(b"\2" if work.is_at_once else b"\1") * self.left  # 0: finished; 2: not finished, and all of them execute

    def take_back(self, first: int) -> tuple[int, ...]:
        """The tasks from this index on that are open still, but for those that execute: they are no longer its worker's."""
        states = self.open[first:]
        self.open[first:] = states.replace(b"\1", b"\0")
        return tuple(task for task, state in zip(self.tasks[first:], states, strict=True) if state == 1)


class GivenWorker:
    """A worker process and what it was given: batches, code, large values."""

    __slots__ = ("batches", "code_bytes", "codes", "last_batch", "mapped", "process", "wanted_back")

    def __init__(self) -> None:
        self.process: WorkerProcess
        self.batches: dict[int, GivenBatch] = {}
        self.last_batch = 0
        self.wanted_back = 0             # of batches up to this one it begins nothing more
        self.codes: OrderedDict[bytes, int] = OrderedDict()      # digest -> size
        self.code_bytes = 0
        self.mapped: OrderedDict[int, None] = OrderedDict()      # serials

    def settle(self, number: int, batch: GivenBatch, count: int) -> None:
        """So many tasks of the batch are no longer its business."""
        batch.left -= count
        if not batch.left:
            del self.batches[number]

    def code_frames(self, kinds: list[SaidKind], known: Mapping[bytes, bytes]) -> list[bytes]:
        """Frames with the code that the worker lacks, and with what it shall forget for that."""
        frames: list[bytes] = []
        codes = self.codes
        for kind in kinds:
            for digest in kind.codes:
                if digest in codes:
                    codes.move_to_end(digest)
                elif digest in known:  # else the worker says that the code is not here
                    data = known[digest]
                    codes[digest] = len(data)
                    self.code_bytes += len(data)
                    frames.append(frame([CODE, digest, data]))
        needed = len(frames)
        forgotten = []
        while len(codes) > max(CODES_MAX, needed) or (self.code_bytes > CODE_BYTES_MAX and len(codes) > needed + 64):
            digest, size = codes.popitem(last=False)
            self.code_bytes -= size
            forgotten.append(digest)
        if forgotten:
            frames.insert(0, frame([FORGET_CODE, forgotten]))
        return frames


def said_inputs(values: list[Value | None]) -> tuple[list[Given], dict[int, SharedValue], int]:
    """How inputs are said to a worker, what it has to map for that, by serial, and which of these goes with the batch; 0: none does."""
    said: list[Given] = []
    mapped: dict[int, SharedValue] = {}
    small = 0
    for value in values:
        if isinstance(value, SharedValue):
            said.append(value.serial)
            mapped[value.serial] = value
        else:
            said.append(value)
            small += len(value) if value is not None else 0
    if small <= TOGETHER_BYTES:
        return said, mapped, 0
    try:
        together = _together(said)
    except OSError:     # no descriptor is left, or no memory: then as they are
        return said, mapped, 0
    mapped[together.serial] = together
    return said, mapped, together.serial


def _together(said: list[Given]) -> SharedValue:
    """The small ones, one behind the other in shared memory; where each is, is said in its place."""
    parts: list[bytes] = []
    places: list[tuple[int, int, int]] = []     # index, start, bytes
    end = 0
    for index, value in enumerate(said):
        if isinstance(value, bytes):
            places.append((index, end, len(value)))
            parts += (value, bytes(-len(value) % ALIGNED))
            end += len(value) + len(parts[-1])
    together = write_shared(parts, end)
    for index, start, nbytes in places:
        said[index] = [together.serial, start, nbytes]
    return together


def is_async(kind: Kind) -> bool:
    """Whether its tasks are coroutines."""
    return int(kind.flags) & _ASYNC != 0


class SaidKind:
    """What is said of a kind to workers, and what is looked at for that, worked out once."""

    __slots__ = ("codes", "is_tree", "kind", "said")

    def __init__(self, kind: Kind) -> None:
        self.kind, self.codes = kind, kind.codes
        self.is_tree = kind.form == Form.TREE
        self.said = [kind.codes, int(kind.form), is_async(kind), kind.name, kind.timeout > 0]    # see phrases.BATCH


class SaidKinds:
    """Those that came so far. What equals one that came before is nearly always the same object: the codec sees to it."""

    def __init__(self) -> None:
        self._known: dict[int, SaidKind] = {}    # by the id of the kind, which stays alive here

    def of(self, kinds: tuple[Kind, ...]) -> tuple[list[SaidKind], bytes]:
        """The kinds of a batch, each once, and the index of each task's; b"" when all tasks are of one."""
        different = dict(zip(map(id, kinds), kinds, strict=True))
        found = []
        for name, kind in different.items():
            said = self._known.get(name)
            if said is None:
                if len(self._known) >= KINDS_MAX:
                    self._known.clear()
                said = self._known[name] = SaidKind(kind)
            found.append(said)
        if len(found) == 1:
            return found, b""
        index = {each: at for at, each in enumerate(different)}
        return found, array("I", [index[id(kind)] for kind in kinds]).tobytes()
