"""Whether the parts of a message fit together: columns of one length, sizes that add up to the body, times and sizes that can be.

Brains walk over columns side by side and trust that none is shorter. A peer that says otherwise is broken, and is told so at its link,
before a brain, a store or a task of this process has believed half of it.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from handoff.errors import ProtocolError
from handoff.ids import NOBODY
from handoff.messages import (
    Abandon,
    Alive,
    Announce,
    Ask,
    Chunk,
    Coming,
    Hello,
    Message,
    Output,
    Peers,
    Plan,
    Recall,
    Recalled,
    Redirect,
    Report,
    Results,
    Upload,
)
from handoff.program import BYTES_MAX, SECONDS_MAX
from handoff.resources import STEPS_MAX, impossible

PORT_MAX = 65535

# Fields with one entry for each of the same things.
_COLUMNS: dict[type, tuple[str, ...]] = {
    Peers: ("peers", "names", "addresses"),
    Upload: ("tasks", "nodes"),
    Output: ("tasks", "streams", "texts"),
    Plan: ("tasks", "attempts", "kind", "literals", "fan_in", "urgencies"),
    Recall: ("tasks", "attempts"),
    Abandon: ("tasks", "attempts"),
    Redirect: ("tasks", "nodes"),
    Report: ("tasks", "attempts", "nbytes", "seconds", "ages"),
    Recalled: ("tasks", "attempts"),
    Results: ("tasks", "sizes"),
    Announce: ("tasks", "sizes"),
    Alive: ("sources", "moved_bytes", "moved_seconds"),
    Ask: ("codes", "names"),
}
_PICKS: dict[type, Callable[[Any], tuple[Any, ...]]] = {kind: attrgetter(*names) for kind, names in _COLUMNS.items()}
CHECKED: frozenset[type] = frozenset((*_COLUMNS, Chunk, Coming, Hello))     # with nothing else anything can be wrong


def check_fit(message: Message, body_bytes: int) -> None:
    """Raise ProtocolError when the message contradicts itself, or the size of its body, which may still be on its way.

    A Submit is judged by the scheduler, which can answer it.
    """
    kind = type(message)
    if kind not in CHECKED:
        return
    if kind is Results and len(message.tasks) == len(message.sizes) and sum(message.sizes) == body_bytes:  # type: ignore[union-attr]
        return   # of what comes most there is nothing more to know
    pick = _PICKS.get(kind)
    if pick is not None:
        lengths = [len(column) for column in pick(message)]
        if lengths.count(lengths[0]) != len(lengths):
            said = ", ".join(f"{length} {name}" for name, length in zip(_COLUMNS[kind], lengths, strict=True))
            raise ProtocolError(f"{kind.__name__} has columns of different lengths: {said}")
    match message:
        case Results(_, _, sizes):
            _adds_up("Results", sum(sizes), body_bytes)
        case Report():
            for name, column in (("workers", message.workers), ("waited", message.waited)):
                if column and len(column) != len(message.tasks):
                    raise ProtocolError(f"Report has {len(message.tasks)} tasks and {len(column)} {name}")
            count = len(message.tasks)      # sums alone are looked at: they tell NaN and nonsense, and this is paid for each task
            for name, times in (("seconds", message.seconds), ("ages", message.ages)):
                if not 0.0 <= sum(times) <= SECONDS_MAX * count:
                    raise ProtocolError(f"Report has {name} below 0, above {SECONDS_MAX:.0e}, or that are no number")
            if not 0 <= message.fetched_bytes <= BYTES_MAX or sum(message.nbytes) > BYTES_MAX * count:
                raise ProtocolError(f"Report has results, or what was fetched, of fewer bytes than 0, or more than {BYTES_MAX:.0e}")
        case Chunk(_, task, offset, total):
            if not 0 <= task < NOBODY:     # elsewhere tasks travel in columns, which hold no others
                raise ProtocolError(f"Chunk is of task {task}, which there can't be")
            if not 0 <= offset <= offset + body_bytes <= total:
                raise ProtocolError(f"Chunk has {body_bytes} bytes from {offset} of a value of {total}")
        case Coming(_, task, attempt, nbytes):
            if not 0 <= task < NOBODY or not 0 <= attempt < NOBODY or not 0 <= nbytes <= BYTES_MAX:
                raise ProtocolError(f"Coming is of task {task}, attempt {attempt} and {nbytes} bytes, which there can't be")
        case Hello():
            if wrong := impossible(message.capacity):
                raise ProtocolError(f"Hello offers what no node has: {wrong}")
            if not all(0 <= each <= STEPS_MAX for each in (message.processes, *(memory for _, memory in message.gpus))):
                raise ProtocolError("Hello has processes, or GPUs with memory, below 0 or more than there can be")
            if not 0 <= message.address[1] <= PORT_MAX:
                raise ProtocolError(f"Hello has port {message.address[1]}, which there can't be")
        case Plan():
            if sum(message.fan_in) != len(message.inputs) or len(message.sources) != len(message.inputs) or len(message.targets) % 2:
                raise ProtocolError(
                    f"Plan has {len(message.inputs)} inputs of {sum(message.fan_in)}, {len(message.sources)} sources of them, and"
                    f" {len(message.targets)} numbers in pairs of targets"
                )
            if len(message.choices) % 2:
                raise ProtocolError(f"Plan has {len(message.choices)} numbers in pairs of choices")
            if len(message.relays) % 2:
                raise ProtocolError(f"Plan has {len(message.relays)} numbers in pairs of relays")
            if len(message.unbegun) % 2:
                raise ProtocolError(f"Plan has {len(message.unbegun)} numbers in pairs of attempts that never began")
            literals = message.literals.data       # those that came behind the code were counted when they were read
            beside = len(literals) if type(literals) is memoryview else 0
            _adds_up("Plan", sum(max(0, size) for _, size in message.codes), body_bytes - beside)
        case _:
            pass


def _adds_up(name: str, said: int, came: int) -> None:
    if said != came:
        raise ProtocolError(f"{name} announces {said} bytes and has {came}")
