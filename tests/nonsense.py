"""Messages of every kind with absurd fields: what a peer with a bug may say, as far as its link lets it through."""

from __future__ import annotations

import random
from array import array
from dataclasses import fields, is_dataclass, replace
from functools import cache
from math import inf, nan
from typing import Any, get_args, get_origin, get_type_hints

from handoff import greetings, messages, program
from handoff.columns import Blobs, Body, ints
from handoff.errors import ProtocolError
from handoff.messages import Message
from handoff.roles import ALLOWED
from handoff.wire import codec
from handoff.wire.fit import check_fit

NUMBERS = (0, 1, 2, 3, 7, 30, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63, 2**64 - 1, -1, -2, -(2**31), -(2**63))
STEPS = (0, 1, 5000, 10_000, 30_000, 10**8, 2**53, -1, -10_000, 2**62, 2**64 - 1)
TIMES = (0.0, -0.0, 1.0, 1e-9, -1.0, 1e9, 1e10, 1e300, -1e300, inf, -inf, nan)
TEXTS = ("", "n1", "client", "\ud800", "\0", "x" * 300, "cpu", "gpu:", "memory", "cluster:", "stdout", "exception", "crash", "timeout",
         "unpicklable", "unloadable", "nodes", "runs", "run", "timeline", "graph", "attach", "explain", "corrections", "outlook")
BLOBS = (b"", b"a", b"out", b"x" * 100)
_COLUMNS = {"Ints": array("I"), "Longs": array("Q"), "Floats": array("d")}   # stand for their annotations, which are all plain arrays


def said(draw: random.Random, speaker: str, listener: str) -> Message:
    """Anything that this role may say to that one."""
    made: Message = _one(draw, draw.choice(ALLOWED[speaker, listener]))
    return made


def met(draw: random.Random, name: str) -> greetings.Hello | None:
    """A node of this name that says of itself what it likes, as far as it is let in; None: it is not."""
    offers = tuple((draw.choice(("cpu", "memory", "gpu", "gpu:a", "license")), draw.choice(STEPS)) for _ in range(draw.randrange(4)))
    hello = replace(
        _one(draw, greetings.Hello), role="node", name=name, capacity=offers, processes=draw.choice(STEPS),
        gpus=tuple((draw.choice(TEXTS), draw.choice(STEPS)) for _ in range(draw.randrange(3))),
        address=(draw.choice(TEXTS), draw.choice((0, 1, 65535, 65535, 65536))))
    try:
        came = codec.decode(codec.encode(hello)[0])
        check_fit(came, 0)
    except (ProtocolError, OverflowError):
        return None
    assert isinstance(came, greetings.Hello)
    return came


def of_run(draw: random.Random, message: Any, run: int, tasks: int) -> Any:
    """The same, most likely about this run and its tasks."""
    if hasattr(message, "run") and draw.random() < 0.8:
        message = replace(message, run=run)
    if isinstance(getattr(message, "tasks", None), array) and draw.random() < 0.7:
        message = replace(message, tasks=ints(draw.randrange(tasks) for _ in message.tasks))
    return message


def heard(message: Message, speaker: str, listener: str) -> Message | None:
    """What is left of it when it has come over a link; None: it ended the link."""
    try:
        header, body = codec.encode(message)
        whole = b"".join(bytes(each) for each in body)
        came = codec.decode(header, whole)
        check_fit(came, len(whole))
    except (ProtocolError, OverflowError, UnicodeError):
        return None
    return came if type(came) in ALLOWED[speaker, listener] else None


def _one(draw: random.Random, cls: type[Any]) -> Any:
    hints = _hints(cls)
    return cls(**{each.name: draw.choice(BLOBS) if each.name == "body" else _value(draw, hints[each.name]) for each in fields(cls)})


def _value(draw: random.Random, of: Any) -> Any:
    if isinstance(of, array):
        some = TIMES if of.typecode == "d" else [each for each in NUMBERS if 0 <= each < 2 ** (32 if of.typecode == "I" else 64)]
        return array(of.typecode, [draw.choice(some) for _ in range(draw.choice((0, 0, 1, 1, 2, 3)))])
    if of is Blobs:
        return Blobs.of(draw.choice(BLOBS) for _ in range(draw.choice((0, 1, 2))))
    if get_origin(of) is tuple:
        parts = get_args(of)
        return tuple(_value(draw, part) for part in (parts[:1] * draw.choice((0, 1, 1, 2)) if parts[-1] is Ellipsis else parts))
    if is_dataclass(of):
        return _one(draw, of)  # type: ignore[arg-type]
    of = getattr(of, "__supertype__", of)
    choices: dict[Any, tuple[Any, ...]] = {int: NUMBERS, float: TIMES, str: TEXTS, bytes: BLOBS, bool: (True, False)}
    return draw.choice(choices.get(of, (None,)))


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls, globalns={**vars(greetings), **vars(messages), **vars(program), **_COLUMNS, "Body": Body})
