"""What is left when all is over: brains hold nothing of runs that ended, nodes have given back all claims, the cluster what it shares.

The simulation counts its runs from so high a number that no other number is near: whatever lies near it in a brain speaks of a run.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Container, Iterator
from functools import cache
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from handoff.scheduler.fairness import Account
from handoff.scheduler.nodes import Node
from handoff.scheduler.ready import Shape
from sim.node import Node as SimNode
from sim.options import RUNS_AT_ONCE

PLAIN = (str, bytes, float, bool, bytearray, memoryview, type(None), type, FunctionType, MethodType, BuiltinFunctionType, ModuleType)
RESTING = (Shape, Account)    # keys of what is over lie in queues until they come up, and some shapes stay for the next run
KEPT = (                      # by purpose, each with a limit of its own
    "._state._ended",         # a node answers who asks late that the run is over
    ".ledger.past",           # a coordinator answers who asks later
    ".ledger.timers",         # those of what is over are swept out when they are many
    ".ledger.ready.shapes",   # the names of such shapes
    ".ledger.ready._crowds", ".ledger.ready.accounts.open",   # ... and their crowds and accounts
    "._next_run",
    "._forgets",              # a client says it with its next message
    "._missed",               # until a run is accepted that has a higher number
)


def traces(brain: Any, first: int, expected: Container[int]) -> list[str]:
    """Where in a brain runs are spoken of that are none of the expected ones. Lost nodes stay in lists of the last pass, as they were."""
    found: list[str] = []
    seen: set[int] = set()
    left: deque[tuple[str, Any]] = deque([("", brain)])
    while left:
        path, thing = left.popleft()
        if path.endswith(KEPT) or (isinstance(thing, Node) and path != ".ledger.nodes[]"):
            continue
        if isinstance(thing, int):
            if first <= thing < first + RUNS_AT_ONCE and thing not in expected:
                found.append(f"{path} {thing}")
        elif id(thing) not in seen:
            seen.add(id(thing))
            left.extend((path + step, each) for step, each in parts(thing) if not isinstance(each, PLAIN))
    return found


def parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """What it is made of."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield "{}", key
            yield "[]", value
    elif isinstance(thing, (list, tuple, set, frozenset, deque, array)):
        for each in thing:
            yield "()", each
    elif not isinstance(thing, (*PLAIN, *RESTING)):
        for name in slots_of(type(thing)):
            if hasattr(thing, name):
                yield f".{name}", getattr(thing, name)
        yield from ((f".{name}", value) for name, value in getattr(thing, "__dict__", {}).items())


@cache
def slots_of(kind: type) -> tuple[str, ...]:
    """The names of all its slots."""
    slots = [vars(each).get("__slots__", ()) for each in kind.__mro__]
    return tuple(name for each in slots for name in ((each,) if isinstance(each, str) else each) if not name.startswith("__"))


def not_given_back(node: SimNode) -> list[str]:
    """What a node has given away, though nothing runs there."""
    claims = node.brain._claims
    taken = {name: amount - claims.free[name] for name, amount in claims.capacity.items() if claims.free[name] != amount}
    return [f"{node.host} has given away {taken}"] if taken else []
