"""What a worker gathers before it says it: small results and large ones in one frame, in the order of their tasks."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from handoff.node import child_outbox
from handoff.node.child_outbox import LARGE_BYTES, LARGE_MAX, Outbox
from handoff.node.phrases import BROKE, OUTPUT, RESULTS
from handoff.node.pipe import ANSWER_BYTES_MAX, FrameReader, send_descriptors
from handoff.node.shared_memory import SharedValue, adopt, empty_shared, write_shared


class Said:
    """An outbox, and what came out of it."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs = theirs
        self.outbox = Outbox(theirs, leave=lambda: None)
        self.reader = FrameReader(self.ours, ANSWER_BYTES_MAX)

    def add(self, value: bytes | SharedValue) -> bool:
        """One more result; whether a large one had better be sent now."""
        is_due = type(value) is SharedValue and self.outbox.is_due(value)
        self.outbox.values.append(value)
        self.outbox.seconds.append(0.5)
        self.outbox.ended.append(1.0)
        return is_due

    def close(self) -> None:
        """No more of it."""
        self.reader.close()
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def said() -> Iterator[Said]:
    """One of them."""
    with closing(Said()) as made:
        yield made


def shared(content: bytes) -> SharedValue:
    """A large value."""
    return write_shared([content], len(content))


def test_large_and_small_results_share_a_frame(said: Said) -> None:
    """Sizes stand where the large ones are, and their descriptors come in the same order."""
    said.outbox.begin(3, 4)
    for value in (shared(b"first"), b"small", shared(b"another"), b""):
        assert not said.add(value)
    said.outbox.flush()

    (((what, batch, first, values, *_), descriptors),) = said.reader.read()
    assert (what, batch, first, values) == (RESULTS, 3, 0, [5, b"small", 7, b""])
    found = [adopt(fd, size) for fd, size in zip(descriptors, [5, 7], strict=True)]
    assert [bytes(each.view()) for each in found] == [b"first", b"another"]


def test_what_is_said_later_comes_behind_large_results(said: Said) -> None:
    """A failure does not overtake them, and the row of indices goes on behind it."""
    said.outbox.begin(1, 3)
    said.add(shared(b"value"))
    said.outbox.skip()
    said.outbox.say([BROKE, 1, 1])
    said.add(shared(b"other"))
    said.outbox.end()

    frames = []
    while len(frames) < 3:
        frames += said.reader.read()
    assert [(each[0][0], each[0][2], len(each[1])) for each in frames] == [(RESULTS, 0, 1), (BROKE, 1, 0), (RESULTS, 2, 1)]
    for _, descriptors in frames:
        for descriptor in descriptors:
            adopt(descriptor, 5)


def test_large_results_are_not_gathered_for_ever(said: Said) -> None:
    """One of a megabyte is sent at once, and so are some dozens, since each holds a descriptor."""
    said.outbox.begin(1, 100)
    assert said.add(empty_shared(LARGE_BYTES))
    said.outbox._send = lambda *_: None  # type: ignore[method-assign]
    said.outbox.flush()
    assert [said.add(empty_shared(10)) for _ in range(LARGE_MAX)] == [False] * (LARGE_MAX - 1) + [True]
    said.outbox.flush()
    assert not said.add(empty_shared(10))


FAULTS = """
import resource, sys
from handoff.node.child_serve import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        arrays = [bytes([1]) * 100_000 for _ in range(32)]
        del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' C libraries keep memory by rules of their own")
def test_memory_that_tasks_free_is_used_again() -> None:
    """Arrays that come and go are made of the same pages; else each page of each of them is a fault (counted: 40,000, and none)."""
    faults = {how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
              for how in ("kept", "given back")}

    assert faults["kept"] <= max(1000, faults["given back"] / 10)


def test_a_worker_tries_again_while_too_many_descriptors_are_on_their_way(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node reads, and so do others of the same user."""
    refusals = [0, 0]
    monkeypatch.setattr(child_outbox, "send_descriptors", lambda *what: refusals.pop() if refusals else send_descriptors(*what))
    said.outbox.begin(3, 1)
    said.add(shared(b"large"))
    said.outbox.end()
    assert not refusals
    [(frame, descriptors)] = said.reader.read()
    assert adopt(descriptors[0], 5).look() == b"large" and frame[:2] == [RESULTS, 3]


def test_without_a_thread_things_are_said_when_the_task_is_over(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system lets it start no more: `print` raised in user code, and a worker died of being given two tasks."""

    def refused(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(child_outbox.threading.Thread, "start", refused)
    said.outbox.begin(1, 2)
    said.outbox.line(1, 2, "stdout", "first")
    said.outbox.line(1, 2, "stdout", "second")
    said.add(b"x")
    said.outbox.end()
    heard = [each for each, _ in said.reader.read()]
    assert [what for what, *_ in heard] == [OUTPUT, OUTPUT, RESULTS]
    assert [text for frame in heard[:2] for text in frame[4]] == ["first", "second"]


def test_a_clock_that_user_code_left_is_not_ours(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of a test that stops time: nothing would be due any more."""
    monkeypatch.setattr(child_outbox.time, "monotonic", lambda: -1e9)
    said.outbox.begin(1, 1)
    assert said.outbox.flushed > 0.0
