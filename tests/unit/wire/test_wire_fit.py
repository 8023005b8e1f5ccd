"""Messages that contradict themselves are told apart from those that do not."""

from __future__ import annotations

from math import inf, nan

import pytest

from handoff.columns import Blobs, floats, ints, longs
from handoff.errors import ProtocolError
from handoff.ids import RunId
from handoff.messages import (
    Abandon,
    Alive,
    Announce,
    Ask,
    Chunk,
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
from handoff.wire.fit import check_fit

RUN, TWO, ONE = RunId(1), ints([1, 2]), ints([1])


def plan(**changes: object) -> Plan:
    """Two tasks, the second of which takes the result of the first."""
    fields = {
        "tasks": TWO, "attempts": TWO, "kind": TWO, "literals": Blobs.of([b"a", b""]), "fan_in": ints([0, 1]), "inputs": ONE,
        "sources": ONE, "urgencies": floats([1, 2]), **changes,
    }
    return Plan(RUN, **fields)  # type: ignore[arg-type]


def hello(**changes: object) -> Hello:
    """A node that says of itself what it likes."""
    return Hello(1, "0", "3", "node", "n", b"b" * 16, **changes)  # type: ignore[arg-type]


def test_what_fits_is_let_through() -> None:
    """Columns of one length, bodies of the announced size, and messages that have neither."""
    for message, body_bytes in (
        (plan(codes=((b"d" * 16, 3),)), 3), (plan(targets=TWO, choices=TWO), 0), (Results(RUN, TWO, longs([2, 3])), 5),
        (Chunk(RUN, 1, 2, 5), 3),
        (Report(RUN, ONE, ONE, longs([1]), floats([1]), floats([0])), 0), (Recall(RUN, ONE, ONE), 0), (Announce(RUN, ints(), longs()), 0),
        (hello(capacity=(("cpu", 10**8), ("gpu:a", 0), ("license", 2**53)), processes=3, gpus=(("", 0),), address=("", 65535)), 0),
    ):
        check_fit(message, body_bytes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("message", "body_bytes", "says"), [
    (Peers(TWO, ("a",), (("", 1), ("", 2))), 0, "Peers has columns of different lengths: 2 peers, 1 names, 2 addresses"),
    (Upload(RUN, TWO, ONE), 0, "2 tasks, 1 nodes"),
    (Output(RUN, TWO, ("stdout", "stdout"), ("x",)), 0, "2 tasks, 2 streams, 1 texts"),
    (Recall(RUN, ONE, TWO), 0, "1 tasks, 2 attempts"),
    (Abandon(RUN, TWO, ONE), 0, "2 tasks, 1 attempts"),
    (Recalled(RUN, ONE, TWO), 0, "1 tasks, 2 attempts"),
    (Redirect(RUN, ONE, TWO), 0, "1 tasks, 2 nodes"),
    (Report(RUN, ONE, ONE, longs([1, 2]), floats([1]), floats([0])), 0, "1 tasks, 1 attempts, 2 nbytes, 1 seconds, 1 ages"),
    (Report(RUN, ONE, ONE, longs([1]), floats([1]), floats([0]), 0, TWO, floats([0])), 0, "Report has 1 tasks and 2 workers"),
    (Report(RUN, ONE, ONE, longs([1]), floats([1]), floats([0]), 0, ONE, floats([0, 0])), 0, "Report has 1 tasks and 2 waited"),
    (Report(RUN, ONE, ONE, longs([1]), floats([nan]), floats([0])), 0, "Report has seconds below 0, above 1e"),
    (Report(RUN, TWO, TWO, longs([1, 1]), floats([1, nan]), floats([0, 0])), 0, "Report has seconds"),
    (Report(RUN, ONE, ONE, longs([1]), floats([inf]), floats([0])), 0, "Report has seconds"),
    (Report(RUN, ONE, ONE, longs([1]), floats([1e300]), floats([0])), 0, "Report has seconds"),
    (Report(RUN, ONE, ONE, longs([1]), floats([-1]), floats([0])), 0, "Report has seconds"),
    (Report(RUN, ONE, ONE, longs([1]), floats([1]), floats([nan])), 0, "Report has ages"),
    (Report(RUN, ONE, ONE, longs([1 << 63]), floats([1]), floats([0])), 0, "Report has results, or what was fetched, of fewer bytes"),
    (Report(RUN, ONE, ONE, longs([1]), floats([1]), floats([0]), -1), 0, "Report has results, or what was fetched"),
    (Report(RUN, ONE, ONE, longs([1]), floats([1]), floats([0]), 1 << 63), 0, "Report has results, or what was fetched"),
    (Announce(RUN, ONE, longs([1, 2])), 0, "1 tasks, 2 sizes"),
    (Alive(sources=ONE, moved_bytes=longs([1, 2]), moved_seconds=floats([1])), 0, "1 sources, 2 moved_bytes, 1 moved_seconds"),
    (Ask(1, "outlook", codes=((b"a",), (b"b",)), names=("a",)), 0, "2 codes, 1 names"),
    (Results(RUN, TWO, longs([1])), 1, "2 tasks, 1 sizes"),
    (Results(RUN, TWO, longs([1, 2])), 2, "Results announces 3 bytes and has 2"),
    (Results(RUN, TWO, longs([1, 2])), 4, "Results announces 3 bytes and has 4"),
    (Chunk(RUN, 1, -1, 5), 1, "Chunk has 1 bytes from -1 of a value of 5"),
    (Chunk(RUN, 1, 3, 5), 3, "Chunk has 3 bytes from 3 of a value of 5"),
    (Chunk(RUN, -1, 0, 5), 5, "Chunk is of task -1, which there can't be"),
    (Chunk(RUN, 1 << 32, 0, 5), 5, "Chunk is of task 4294967296"),
    (plan(kind=ONE), 0, "Plan has columns of different lengths"),
    (plan(literals=Blobs.of([b"a"])), 0, "1 literals"),
    (plan(fan_in=TWO), 0, "1 inputs of 3"),
    (plan(sources=TWO), 0, "2 sources"),
    (plan(targets=ONE), 0, "1 numbers in pairs of targets"),
    (plan(choices=ONE), 0, "1 numbers in pairs of choices"),
    (plan(relays=ONE), 0, "1 numbers in pairs of relays"),
    (plan(unbegun=ONE), 0, "1 numbers in pairs of attempts that never began"),
    (hello(capacity=(("cpu", 1), ("cpu", 2))), 0, "Hello offers what no node has: something twice"),
    (hello(capacity=(("memory", -1),)), 0, "Hello offers what no node has: 'memory': -0.0001"),
    (hello(capacity=(("gpu", 10**12),)), 0, r"Hello offers what no node has: 'gpu': 1e\+08"),
    (hello(capacity=(("cpu", 10**8 + 1),)), 0, "Hello offers what no node has: 'cpu': 10000"),
    (hello(capacity=(("license", 2**53 + 1),)), 0, "Hello offers what no node has: 'license'"),
    (hello(capacity=(("", 1),)), 0, "Hello offers what no node has: ''"),
    (hello(capacity=(("\0", 1),)), 0, r"Hello offers what no node has: '\\x00'"),
    (hello(processes=-1), 0, "Hello has processes, or GPUs"),
    (hello(gpus=(("a100", 2**60),)), 0, "Hello has processes, or GPUs"),
    (hello(address=("", 65536)), 0, "Hello has port 65536, which there can't be"),
    (plan(codes=((b"d" * 16, 3), (b"e" * 16, -3))), 0, "Plan announces 3 bytes and has 0"),
])
def test_what_does_not_fit_is_named(message: Message, body_bytes: int, says: str) -> None:
    """A brain or a store would have believed a part of it."""
    with pytest.raises(ProtocolError, match=says):
        check_fit(message, body_bytes)
