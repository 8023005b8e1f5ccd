"""The inside of a worker, driven over a socket pair by hand, in this process."""

from __future__ import annotations

import asyncio
import builtins
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from handoff.graph.calls import Call, Slot
from handoff.node import child_outbox, child_run, current
from handoff.node.child_batch import LargeInput
from handoff.node.child_serve import Worker
from handoff.node.current import current_task
from handoff.node.phrases import (
    BATCH,
    BROKE,
    CANCEL,
    CODE,
    FORGET_CODE,
    HANDED_BACK,
    MAP,
    MARKER_BYTES,
    PACKING,
    RESULTS,
    SCATTERED,
    SETUP,
    STARTED,
    UNMAP,
)
from handoff.node.pipe import ANSWER_BYTES_MAX, FrameReader, frame, send_descriptors
from handoff.node.process import WorkerProcess, ended, worker_environment
from handoff.node.shared_memory import AHEAD_BYTES, SMALL_BYTES, adopt, write_shared
from handoff.wire.values import pack, pack_code, unpack

VARIADIC, AS_LIST, TREE = 0, 1, 2


class Bench:
    """A worker that serves in a thread, and the other end of its socket."""

    def __init__(self) -> None:
        self.left = threading.Event()
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(20)
        self.marker = memoryview(mmap.mmap(-1, MARKER_BYTES)).cast("Q")
        self.worker = Worker(theirs, self.marker, leave=self.left.set)
        self.reader = FrameReader(self.sock, ANSWER_BYTES_MAX)
        self.heard: list[tuple[list[Any], list[int]]] = []
        self.thread = threading.Thread(target=self.worker.serve)
        self.thread.start()
        self.theirs = theirs

    def say(self, *said: Any) -> None:
        self.sock.sendall(frame(list(said)))

    def batch(self, number: int, code: Any, *tasks: tuple[Any, tuple[int, ...]], form: int = VARIADIC, is_async: bool = False,
              given: tuple[Any, ...] = (), is_timed: bool = False, urgent: tuple[int, ...] = (), is_at_once: bool | None = None) -> None:
        """One kind; each task is (literal, references)."""
        digest = b"%d" % number
        self.say(CODE, digest, pack_code(code))
        count = len(tasks)
        self.say(
            BATCH, number, 7, "here", array("I", range(40, 40 + count)).tobytes(), array("I", [3] * count).tobytes(),
            [[[digest], form, is_async, "name", is_timed]], b"", [b"" if literal is None else pack(literal).join() for literal, _ in tasks],
            array("I", [len(references) for _, references in tasks]).tobytes(),
            array("I", [each for _, references in tasks for each in references]).tobytes(), given, {},
            [["cpu", 5000], ["gpu", 10000]], [], [1, 3], "1,GPU-3", array("I", urgent).tobytes(),
            is_async if is_at_once is None else is_at_once,
        )

    def hear(self) -> tuple[list[Any], list[int]]:
        while not self.heard:
            self.heard += self.reader.read()
        return self.heard.pop(0)

    def values(self, count: int) -> list[Any]:
        """The next results, in order."""
        found: list[Any] = []
        while len(found) < count:
            said, descriptors = self.hear()
            assert said[0] == RESULTS, said
            assert said[2] == len(found)
            found += [unpack(adopt(descriptors.pop(0), each).view() if type(each) is int else each) for each in said[3]]
        return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A worker in this process."""
    made = Bench()
    yield made
    made.sock.close()
    made.thread.join()
    assert not made.left.is_set()
    made.theirs.close()
    current._ask.clear()


def test_results_that_nobody_needs_yet_are_told_of_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame every three milliseconds, and one where somebody waits; each would else cost the node a turn."""
    clock = SimpleNamespace(now=0.0)
    for each in (child_run.Runner, child_outbox.Outbox):
        monkeypatch.setattr(each, "_clock", staticmethod(lambda: clock.now))
    monkeypatch.setattr(child_outbox.Outbox, "_call_helper", lambda self: None)

    def pass_time() -> None:
        clock.now += 1 / 1024

    monkeypatch.setattr(builtins, "pass_time", pass_time, raising=False)

    def step() -> None:
        import builtins

        builtins.pass_time()  # type: ignore[attr-defined]

    def told(urgent: tuple[int, ...]) -> list[int]:
        bench.batch(1 + len(urgent), lambda: step(), *[(((), {}), ())] * 9, urgent=urgent)
        found: list[int] = []
        while sum(found) < 9:
            found.append(len(bench.hear()[0][3]))
        return found

    assert told(()) == [4, 4, 1]
    assert told((0, 5)) == [1, 4, 1, 3]


@pytest.mark.parametrize(("seconds", "first"), [(1 / 4096, 2), (1 / 3072, 1), (1 / 256, 1)])
def test_a_result_that_somebody_waits_for_does_not_wait_for_the_next_if_that_is_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seconds: float, first: int,
) -> None:
    """Half a millisecond is the longest that it is kept, as far as the last task tells how long the next one takes."""
    clock = SimpleNamespace(now=0.0)
    for each in (child_run.Runner, child_outbox.Outbox):
        monkeypatch.setattr(each, "_clock", staticmethod(lambda: clock.now))
    monkeypatch.setattr(child_outbox.Outbox, "_call_helper", lambda self: None)

    def pass_time() -> None:
        clock.now += seconds

    monkeypatch.setattr(builtins, "pass_time", pass_time, raising=False)

    def step() -> None:
        import builtins

        builtins.pass_time()  # type: ignore[attr-defined]

    bench.batch(1, lambda: step(), *[(((), {}), ())] * 4, urgent=(0,))

    told: list[int] = []
    while sum(told) < 4:
        told.append(len(bench.hear()[0][3]))
    assert told[0] == first


@pytest.mark.parametrize("literal", [None, ((), {})])
def test_when_the_call_of_a_timed_task_began_is_written_down(bench: Bench, monkeypatch: pytest.MonkeyPatch, literal: Any) -> None:
    """In the marker, for each task of a batch anew, once its code and arguments are loaded; of others it never is."""
    seen: list[list[int]] = []
    monkeypatch.setattr(builtins, "look", lambda: seen.append(list(bench.marker)), raising=False)

    def look() -> int:
        import builtins
        import time

        builtins.look()  # type: ignore[attr-defined]
        return time.monotonic_ns()

    def loads() -> tuple[Any, ...]:
        import builtins

        builtins.look()  # type: ignore[attr-defined]
        return ()

    class Loads:
        def __reduce__(self) -> Any:
            return loads, ()

    before = time.monotonic_ns()
    bench.batch(1, look, (literal, ()), (literal, ()), is_timed=True)
    first, second = bench.values(2)
    bench.batch(2, lambda *_: None, (((Loads(),), {}), ()), (((Loads(),), {}), ()), is_timed=True)
    bench.values(2)
    bench.batch(3, look, (literal, ()))
    bench.values(1)

    assert [each[:2] for each in seen] == [[1, 0], [1, 1], [2, 0], [2, 1], [3, 0]]
    assert before <= seen[0][3] <= first <= seen[1][3] <= second
    assert [each[3] for each in seen[2:]] == [0, 0, 0]


def test_a_timed_coroutine_says_when_its_call_begins(bench: Bench) -> None:
    """After its code is loaded, and before the result."""
    async def give() -> int:
        return 6

    bench.batch(2, give, (None, ()), is_timed=True, is_async=True)
    assert bench.hear()[0] == [STARTED, 2, 0]
    assert bench.hear()[0][0] == SCATTERED


def test_a_batch_is_answered_in_order(bench: Bench) -> None:
    """Results come with their first index, durations and ends; inputs come from `given` and from the batch."""
    bench.batch(1, lambda *xs: sum(xs), (((1, 2), {}), ()), (None, (0, 3)), (((5,), {}), (0, 1)), given=(pack(10).join(),))
    assert bench.values(3) == [3, 13, 21]


def test_a_large_result_travels_as_memory(bench: Bench) -> None:
    """What is over the limit of SETUP is a size and a descriptor; later tasks of the batch read the same memory."""
    bench.say(SETUP, 100, 1 << 20)
    bench.batch(1, lambda *xs: b"y" * 50 if xs else b"x" * 200, (None, ()), (None, (0,)))
    said, descriptors = bench.hear()
    assert said[:3] == [RESULTS, 1, 0]
    assert type(said[3][0]) is int
    assert len(descriptors) == 1
    bench.heard.insert(0, (said, descriptors))
    assert bench.values(2) == [b"x" * 200, b"y" * 50]


def test_a_small_shared_input_is_mapped_when_it_is_taken_again() -> None:
    """A copy for the first who takes it; the others look at one mapping, which costs no memory of the worker's own."""
    packed = pack(b"v" * 5000).join()
    value = LargeInput(write_shared([packed], len(packed)))
    first, second, third = value.look(), value.look(), value.look()

    assert type(first) is bytes
    assert type(second) is memoryview
    assert third is second
    assert unpack(first) == unpack(second) == b"v" * 5000


def test_a_large_shared_input_is_never_copied() -> None:
    """It is mapped at once, and its descriptor is given back for that of the mapping."""
    packed = pack(b"v" * SMALL_BYTES).join()
    held = write_shared([packed], len(packed))
    fd = held.fd
    value = LargeInput(held)
    del held
    view = value.look()

    assert type(view) is memoryview
    assert unpack(view) == b"v" * SMALL_BYTES
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_mapped_values_are_used_until_they_are_unmapped(bench: Bench) -> None:
    """MAP brings a value, a serial in `given` names it, UNMAP ends that."""
    packed = pack("large").join()
    value = write_shared([packed], len(packed))
    send_descriptors(bench.sock, frame([MAP, [5], [value.nbytes]], 1), [value.fd])
    bench.batch(1, lambda xs: xs, (None, (1,)), form=AS_LIST, given=(5,))
    assert bench.values(1) == [["large"]]
    bench.say(UNMAP, [5, 6])
    bench.batch(2, lambda xs: xs, (None, (1,)), form=AS_LIST, given=(5,))
    said, _ = bench.hear()
    assert said[:4] == [BROKE, 2, 0, "unloadable"]


def test_failures_interrupt_the_row_of_results(bench: Bench) -> None:
    """A failed task has its own answer; the indices of those behind it are right; those that need it are skipped."""
    def divide(*xs: int) -> float:
        return 1 / xs[-1]

    bench.batch(1, divide, (((1,), {}), ()), (((0,), {}), ()), (None, (1,)), (((2,), {}), ()))
    heard = [bench.hear()[0] for _ in range(4)]
    assert [said[:4] for said in heard[1:3]] == [[BROKE, 1, 1, "exception"], [BROKE, 1, 2, "skipped"]]
    assert heard[1][4].endswith("ZeroDivisionError") and heard[1][8]
    assert [(said[2], unpack(said[3][0])) for said in (heard[0], heard[3])] == [(0, 1.0), (3, 0.5)]


def test_forgotten_code_is_not_called(bench: Bench) -> None:
    """After FORGET_CODE, a task that needs it says so."""
    bench.batch(1, lambda: 1, (None, ()))
    assert bench.values(1) == [1]
    bench.say(FORGET_CODE, [b"1", b"unknown"])
    one = array("I", [1]).tobytes()
    bench.say(BATCH, 2, 7, "here", one, one, [[[b"1"], 0, False, "name", False]], b"", [], b"", b"", [], {}, [], [], [], "", b"", False)
    said, _ = bench.hear()
    assert (said[3], said[5]) == ("unloadable", "the code of name is not on node here")


def test_a_worker_without_a_node_leaves() -> None:
    """When there is nobody to answer, the process ends."""
    bench = Bench()
    bench.batch(1, lambda: bytes(30_000), (None, ()), (None, ()))
    bench.hear()
    bench.sock.close()
    bench.thread.join()
    bench.worker._outbox.say([BROKE])
    assert bench.left.is_set()
    bench.theirs.close()
    current._ask.clear()


def test_coroutines_answer_in_any_order(bench: Bench) -> None:
    """Coroutines end when they end; one that is cancelled says that it was; trees are awaited from the inside."""
    async def wait(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    bench.batch(1, wait, (((1000.0,), {}), ()), (((0.0,), {}), ()), is_async=True)
    said, _ = bench.hear()
    assert (said[:3], unpack(said[3][0])) == ([SCATTERED, 1, array("I", [1]).tobytes()], 0.0)
    bench.say(CANCEL, 1, [0, 1])
    assert bench.hear()[0][:4] == [BROKE, 1, 0, "cancelled"]
    bench.batch(2, wait, (Call(0, (Call(0, (Slot(0),)),)), (1,)), form=TREE, is_async=True, given=(pack(0.0).join(),))
    assert unpack(bench.hear()[0][3][0]) == 0.0


def test_a_coroutine_can_fail_or_be_large(bench: Bench) -> None:
    """Exceptions and large values of coroutines are answered one by one."""
    async def give(size: int) -> bytes:
        return bytes(size) if size >= 0 else bytes([size])

    bench.batch(1, give, (((-1,), {}), ()), is_async=True)
    assert bench.hear()[0][:4] == [BROKE, 1, 0, "exception"]
    for number, size in enumerate((20_000, 100_000), 2):
        bench.batch(number, give, (((size,), {}), ()), is_async=True)
        said, descriptors = bench.hear()
        value = unpack(adopt(descriptors.pop(), said[3][0]).view() if descriptors else said[3][0])
        assert (said[0], len(value)) == (SCATTERED, size)


@pytest.mark.parametrize("is_async", [False, True])
def test_the_size_of_a_large_result_is_said_before_it_is_written(bench: Bench, is_async: bool) -> None:
    """Of functions and coroutines; not of a smaller one."""
    def give(size: int) -> bytes:
        return bytes(size)

    async def give_later(size: int) -> bytes:
        return bytes(size)

    bench.batch(3, give_later if is_async else give, (((AHEAD_BYTES // 2,), {}), ()), (((AHEAD_BYTES,), {}), ()), is_async=is_async)
    heard = [bench.hear()[0] for _ in range(3)]
    large = next(said for said in heard if said[0] in (RESULTS, SCATTERED) and said[3][0] >= AHEAD_BYTES)
    announced = [PACKING, 3, 1, large[3][0]]
    assert [said for said in heard if said[0] == PACKING] == [announced] and heard.index(announced) < heard.index(large)


def test_user_code_knows_its_task(bench: Bench) -> None:
    """`current_task` says all about run, task and what was granted, in functions and in coroutines; elsewhere it is None."""
    assert current_task() is None

    async def ask() -> Any:
        from handoff.node.current import current_task

        return tuple(current_task() or ())

    def ask_plainly() -> Any:
        from handoff.node.current import current_task

        return tuple(current_task() or ())

    bench.batch(1, ask_plainly, (None, ()), (None, ()))
    granted = ((1, 3), {"cpu": 0.5, "gpu": 1.0})
    assert bench.values(2) == [(7, 40, 3, "name", "here", *granted), (7, 41, 3, "name", "here", *granted)]
    bench.batch(2, ask, (None, ()), is_async=True)
    assert unpack(bench.hear()[0][3][0]) == (7, 40, 3, "name", "here", *granted)


def test_the_marker_says_what_executes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a task runs, batch and index are in the shared memory; afterwards it says that the worker is idle."""
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(builtins, "look", lambda: seen.append((bench.marker[0], bench.marker[1])), raising=False)

    def look() -> None:
        import builtins

        builtins.look()  # type: ignore[attr-defined]

    bench.batch(9, look, (None, ()), (None, ()))
    bench.values(2)
    assert seen == [(9, 0), (9, 1)]
    bench.batch(10, lambda: None, (None, ()))
    bench.values(1)
    bench.sock.shutdown(socket.SHUT_WR)
    bench.thread.join()
    assert bench.marker[0] == 0


def test_a_worker_begins_nothing_of_what_is_taken_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node writes a number into the common memory while a task runs: what comes behind it, up to that batch, is handed back."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait()

    monkeypatch.setattr(builtins, "wait", wait, raising=False)

    def hang() -> int:
        import builtins

        builtins.wait()  # type: ignore[attr-defined]
        return 5

    bench.batch(1, hang, (None, ()), (None, ()), (None, ()))
    bench.batch(2, lambda: 6, (None, ()), (None, ()))
    bench.batch(3, lambda: 7, (None, ()))
    begun.wait(20)
    assert (bench.marker[0], bench.marker[1]) == (1, 0)
    bench.marker[2] = 2
    go_on.set()
    said = [bench.hear()[0] for _ in range(4)]
    assert [each[:3] if each[0] == RESULTS else each for each in said] == [
        [RESULTS, 1, 0], [HANDED_BACK, 1, 1], [HANDED_BACK, 2, 0], [RESULTS, 3, 0]]
    assert [unpack(value) for each in said if each[0] == RESULTS for value in each[3]] == [5, 7]


def test_a_worker_that_moves_on_while_it_is_looked_at_is_not_seen_further_back_than_it_is() -> None:
    """What it has begun of its batch would be taken for not begun."""
    class Marker(list[int]):
        """Of a worker that goes to its next batch as soon as anything is read."""

        def __getitem__(self, at: Any) -> Any:
            read = super().__getitem__(at)
            self[:] = [2, 0, 0]
            return read

    process: Any = SimpleNamespace(_marker=Marker([1, 7, 0]))
    assert WorkerProcess.executing(process) == (2, 7)


def test_the_end_of_a_process_is_explained() -> None:
    """Statuses and signals have names; a kill that nobody ordered is probably for want of memory."""
    assert [ended(status) for status in (0, 3, -11, -9, -64)] == [
        "exited with status 0", "exited with status 3", "killed by SIGSEGV",
        "killed by SIGKILL (out of memory, if nobody killed it by hand)",
        "killed by SIGRTMAX",
    ]
    assert ended(-63) == "killed by signal 63"


def test_workers_see_no_secret() -> None:
    """Secrets and where they are kept are not passed on; everything else is."""
    environment = {"HANDOFF_SECRET": "a", "HANDOFF_SECRET_FILE": "b", "CREDENTIALS_DIRECTORY": "c", "HANDOFF_SYS_PATH": "d", "HOME": "e"}
    assert {name: value for name, value in worker_environment(environment).items() if name != "PYTHONPATH"} == {
        "HANDOFF_SYS_PATH": "d", "HOME": "e",
    }


def test_a_worker_takes_no_core_from_the_node_that_wakes_it() -> None:
    """It runs as what computes does; one that was given a policy by whoever started the node keeps that."""
    said = "import os, sys; from handoff.node.child_serve import protect; os.sched_setscheduler(0, int(sys.argv[1]), os.sched_param(0)); "
    code = said + "protect(); print(os.sched_getscheduler(0))"
    for given, found in ((os.SCHED_OTHER, os.SCHED_BATCH), (os.SCHED_IDLE, os.SCHED_IDLE)):
        assert int(subprocess.run([sys.executable, "-c", code, str(given)], capture_output=True, check=True).stdout) == found


def test_what_can_be_awaited_is_so_where_a_coroutine_function_gave_it(bench: Bench) -> None:
    """What a plain function returns stays as it is, whatever goes with it in one message."""

    bench.worker._runner._make_loop = lambda: SimpleNamespace(result_of=lambda value, current: "awaited")

    def ticket() -> Any:
        class Ticket:
            number = 5

            def __await__(self) -> Any:
                yield

        return Ticket()

    bench.say(CODE, b"ticket", pack_code(ticket))
    bench.say(
        BATCH, 1, 7, "here", array("I", [40, 41]).tobytes(), array("I", [3, 3]).tobytes(),
        [[[b"ticket"], VARIADIC, False, "plain", False], [[b"ticket"], VARIADIC, True, "coroutine", False]], array("I", [0, 1]).tobytes(),
        [], b"", b"", (), {}, [["cpu", 10000]], [], [], "", b"", False,
    )
    plain, awaited = bench.values(2)
    assert (plain.number, awaited) == (5, "awaited")
