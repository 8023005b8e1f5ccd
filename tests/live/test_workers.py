"""Real worker processes: every kind of code and every way to fail, through the pool as the daemon uses it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import io
import logging
import operator
import os
import pickle
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from handoff.graph.calls import Call, NodeName, Slot
from handoff.ids import NOBODY, PeerId, RunId, WorkerId
from handoff.node import given
from handoff.node.child_outbox import PATIENT_SECONDS
from handoff.node.events import Broke, CancelTask, Execute, Finished, HandedBack, WorkerGone, WorkerReady
from handoff.node.phrases import BROKE, HANDED_BACK, OUTPUT, RESULTS
from handoff.node.pool import WorkerPool
from handoff.node.shared_memory import SharedValue
from handoff.node.store import ResultStore
from handoff.program import Flag, Form, Kind
from handoff.settings import NodeSettings
from handoff.wire.values import digest, pack, pack_code, unpack, unpack_exception

RUN = RunId(7)


class House:
    """A store and a pool, and all that they say."""

    def __init__(self, **settings: Any) -> None:
        self.store = ResultStore()
        self.codes: dict[bytes, bytes] = {}
        self.events: list[Any] = []
        self.lines: list[tuple[int, str, str]] = []
        self.news = asyncio.Event()
        self.pool = WorkerPool(
            store=self.store, codes=self.codes, emit=self._happened, output=self._printed, name_of=lambda peer: f"node-{peer}",
            here="here", settings=NodeSettings(**settings), environment=os.environ | {"HANDOFF_SECRET": "hof1_secret"},
        )

    def _happened(self, event: Any) -> None:
        self.events.append(event)
        self.news.set()

    def _printed(self, run: RunId, tasks: list[int], streams: list[str], texts: list[str]) -> None:
        assert run == RUN
        self.lines += zip(tasks, streams, texts, strict=True)
        self.news.set()

    async def until(self, ready: Callable[[], Any], seconds: float = 20.0) -> Any:
        async with asyncio.timeout(seconds):
            while not (found := ready()):
                self.news.clear()
                await self.news.wait()
        return found

    async def event(self, kind: type[Any], count: int = 1) -> Any:
        """The count-th event of this kind."""
        return (await self.until(lambda: len(self.of(kind)) >= count and self.of(kind)))[count - 1]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def spawn(self, name: int = 1) -> WorkerId:
        self.pool.spawn(WorkerId(name))
        await self.until(lambda: any(event.worker == name for event in self.of(WorkerReady)))
        return WorkerId(name)

    def kind(self, code: Any, form: int = Form.VARIADIC, flags: int = 0, more: tuple[Any, ...] = ()) -> Kind:
        packed = [each if isinstance(each, bytes) else pack_code(each) for each in (code, *more)]
        self.codes.update((digest(each), each) for each in packed)
        return Kind(tuple(digest(each) for each in packed), getattr(code, "__qualname__", "code"), form, flags)

    def execute(
        self, *calls: tuple[Kind, Any, tuple[int, ...]], first: int = 0, worker: int = 1, attempt: int = 1, is_at_once: bool = False,
    ) -> None:
        """Give these (kind, literal, inputs) as tasks first, first + 1, ..."""
        count = len(calls)
        self.pool.execute(Execute(
            WorkerId(worker), RUN, tuple(range(first, first + count)), (attempt,) * count, tuple(kind for kind, _, _ in calls),
            tuple(literal if isinstance(literal, bytes) else cloudpickle.dumps(literal) for _, literal, _ in calls),
            tuple(inputs for _, _, inputs in calls), tuple(tuple(PeerId(each + 100) for each in inputs) for _, _, inputs in calls),
            (PeerId(5),) * count if any(kind.form == Form.TREE for kind, _, _ in calls) else (NOBODY,) * count,
            is_at_once=is_at_once,
        ))

    def call(self, code: Any, *args: Any, inputs: tuple[int, ...] = (), task: int = 0, **kwargs: Any) -> None:
        self.execute((self.kind(code), (args, kwargs), inputs), first=task)

    async def result(self, task: int = 0) -> Any:
        """The task's value; fails the test when it broke."""
        def settled() -> Any:
            broken = [event for event in self.of(Broke) if event.task == task]
            assert not broken, broken
            return self.store.get(RUN, task)

        value = await self.until(settled)
        return unpack(value.view() if isinstance(value, SharedValue) else value)

    async def broken(self, count: int = 1) -> Broke:
        found: Broke = await self.event(Broke, count)
        return found


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A pool with one worker."""
    made = House()
    await made.spawn()
    yield made
    pids = list(made.pool.pids.values())
    await made.pool.close()
    assert not [pid for pid in pids if alive(pid)]


def alive(pid: int) -> bool:
    """Whether it runs; one that ended and that nobody waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


class Adder:
    """A callable object with a method."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: int) -> int:
        return self.n + x

    def add(self, x: int) -> int:
        return self.n + x


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what is written in __main__


def mapped_values() -> int:
    """How many values a worker has mapped."""
    return Path("/proc/self/maps").read_text().count("handoff-value")


# ── code ────────────────────────────────────────────────────────────────────


async def test_very_many_small_inputs_are_in_no_message(house: House) -> None:
    """A frame with all of them could be larger than a worker reads, and it would end; what it maps instead it lets go of with the batch."""
    many = 40
    sent: list[int] = []
    process = next(iter(house.pool._workers.values())).process
    send = process.pipe.send
    process.pipe.send = lambda data, values=(): (sent.append(len(data)), send(data, values))   # type: ignore[method-assign]
    for task in range(many):
        house.store.put(RUN, task, pack(bytes([task]) * 500_000).join())

    def ends(*values: bytes) -> bytes:
        return bytes(each for value in values for each in (value[0], value[-1]))

    house.call(ends, inputs=tuple(range(many)), task=many)
    assert await house.result(many) == bytes(task for task in range(many) for _ in range(2))
    house.call(mapped_values, task=many + 1)
    assert await house.result(many + 1) == 0
    assert max(sent) < 10_000


async def test_a_function_is_told_how_often_it_was_tried(house: House) -> None:
    """Attempts that never began have numbers, too; those are for the coordinator."""
    def tried() -> int:
        from handoff import current_task

        task = current_task()
        assert task is not None
        return task.attempt

    kind = house.kind(tried)
    nothing: tuple[tuple[()], tuple[()]] = ((), ())
    house.pool.execute(Execute(
        WorkerId(1), RUN, (0, 1), (5, 5), (kind, kind), (b"", b""), nothing, nothing, (NOBODY, NOBODY), tries=(2, 5)))
    assert (await house.result(0), await house.result(1)) == (2, 5)
    assert [attempt for event in house.of(Finished) for attempt in event.attempts] == [5, 5]


@pytest.mark.parametrize(
    "code",
    [
        functools.partial(operator.add, 1), lambda x: x + 1, Adder(1), Adder(1).add, (1).__add__,
    ],
    ids=["partial", "lambda", "object", "method", "builtin method"],
)
async def test_any_callable_runs(house: House, code: Any) -> None:
    """Functions of any sort are called with their literal arguments."""
    house.call(code, 41)
    assert await house.result() == 42
    finished = house.of(Finished)[0]
    assert (finished.tasks, finished.attempts) == ((0,), (1,))
    assert finished.nbytes == (house.store.size(RUN, 0),)
    assert 0 <= finished.seconds[0] < 5
    assert abs(finished.ended[0] - time.monotonic()) < 60


async def test_a_function_may_be_called_anything(house: House) -> None:
    """Also after a file whose name is no text: it runs, and is told of when it fails."""
    def odd() -> None:
        raise ValueError("here")

    odd.__qualname__ = "reads \udcff<script>\n"
    house.call(odd)
    assert (await house.broken()).text == "here"


async def test_a_module_function_and_a_closure_run(house: House) -> None:
    """Functions of modules come by name, closures by value; keyword arguments arrive."""
    offset = 10
    house.execute((house.kind(operator.mul), ((6, 7), {}), ()), (house.kind(lambda x, *, y: x + y + offset), ((1,), {"y": 2}), ()))
    assert [await house.result(0), await house.result(1)] == [42, 13]


async def test_inputs_come_from_the_store_and_from_the_same_batch(house: House) -> None:
    """Inputs stand before the literal arguments; a list for AS_LIST."""
    house.store.put(RUN, 100, pack(5).join())
    add, total = house.kind(lambda *xs: sum(xs)), house.kind(lambda xs, scale: (xs, scale), Form.AS_LIST)
    house.execute((add, ((1,), {}), (100,)), (add, b"", (0, 0, 100)), (total, ((3,), {}), (0, 1, 100)), (total, ((0,), {}), (0,)))
    assert [await house.result(task) for task in range(4)] == [6, 17, ([6, 17, 5], 3), ([6], 0)]


async def test_a_tree_is_evaluated_with_names(house: House) -> None:
    """Calls with holes get inputs, folded calls and node names."""
    house.store.put(RUN, 100, pack([1]).join())
    kind = house.kind(lambda *args, **kwargs: (args, kwargs), Form.TREE, more=(lambda x: x * 2,))
    inner = Call(1, (Slot(0),))
    tree = Call(0, (inner, [inner, NodeName("here")]), {"target": NodeName("target"), "source": NodeName("source", 0)})
    house.execute((kind, tree, (100,)))
    assert await house.result() == (([1, 1], [[1, 1], "here"]), {"target": "node-5", "source": "node-200"})


async def test_no_task_can_change_what_another_gets(house: House) -> None:
    """Each consumer unpacks its input afresh."""
    make, change = house.kind(lambda: [1]), house.kind(lambda x: x.append(2) or x)
    house.execute((make, b"", ()), (change, b"", (0,)), (change, b"", (0,)))
    assert [await house.result(task) for task in range(3)] == [[1], [1, 2], [1, 2]]


async def test_code_is_sent_once(house: House) -> None:
    """The worker keeps code that it was given."""
    kind = house.kind(lambda: 1)
    house.execute((kind, b"", ()))
    await house.result(0)
    house.codes.clear()
    house.execute((kind, b"", ()), first=1)
    assert await house.result(1) == 1


async def test_code_that_the_node_lacks_is_named(house: House) -> None:
    """A task whose code is not on the node fails as unloadable."""
    kind = house.kind(lambda: 1)
    house.codes.clear()
    house.execute((kind, b"", ()))
    event = await house.broken()
    assert (event.cause, "is not on node here" in event.text) == ("unloadable", True)


# ── coroutines ──────────────────────────────────────────────────────────────


async def test_many_coroutines_run_at_once(house: House) -> None:
    """All tasks of a batch of coroutines are on the loop together: each waits for the last one to start."""
    async def meet(n: int) -> int:
        import builtins

        came = builtins.__dict__.setdefault("came", [])
        came.append(n)
        while len(came) < 100:  # they share a process, and nothing else
            await asyncio.sleep(0)
        return n

    kind = house.kind(meet, flags=Flag.ASYNC)
    house.execute(*[(kind, ((n,), {}), ()) for n in range(100)], is_at_once=True)
    assert [await house.result(task) for task in range(100)] == list(range(100))


async def test_a_coroutine_is_cancelled_alone(house: House) -> None:
    """CancelTask ends one coroutine, even one that has just been given; the others go on."""
    async def forever() -> None:
        await asyncio.Event().wait()

    async def soon() -> int:
        print("here")
        return 3

    house.execute((house.kind(forever, flags=Flag.ASYNC), b"", ()), (house.kind(soon, flags=Flag.ASYNC), b"", ()), is_at_once=True)
    house.pool.cancel(CancelTask(WorkerId(1), RUN, (0,)))
    event = await house.broken()
    assert (event.task, event.cause) == (0, "cancelled")
    assert await house.result(1) == 3
    assert await house.until(lambda: house.lines) == [(1, "stdout", "here")]


async def test_coroutines_fail_like_functions(house: House) -> None:
    """Exceptions, exits and cancellations of their own making are told; large values and trees work."""
    async def fail(error: Any) -> None:
        raise error

    async def spawn_exit() -> str:
        async def leave() -> None:
            sys.exit(1)

        task = asyncio.create_task(leave())
        await asyncio.wait([task])
        task.exception()
        return "still here"

    async def twice(x: int) -> int:
        return 2 * x

    kind = house.kind(fail, flags=Flag.ASYNC)
    for task, error in enumerate([ValueError("no"), SystemExit(3), asyncio.CancelledError("own")]):
        house.execute((kind, ((error,), {}), ()), first=task)
        event = await house.broken(task + 1)
        assert (event.task, event.cause, event.type.rpartition(".")[2]) == (task, "exception", type(error).__name__)
    house.execute((house.kind(spawn_exit, flags=Flag.ASYNC), b"", ()), first=10)
    assert await house.result(10) == "still here"
    tree = house.kind(twice, Form.TREE, Flag.ASYNC)
    house.execute((tree, Call(0, (Call(0, (4,)),)), ()), first=11)
    assert await house.result(11) == 16


async def test_a_plain_function_may_hand_on_a_coroutine(house: House) -> None:
    """What a lambda gets from a coroutine function is awaited for it."""
    async def inner() -> int:
        await asyncio.sleep(0)
        return 4

    house.call(functools.partial(inner))
    assert await house.result() == 4


async def test_coroutines_are_blamed_when_their_worker_dies(house: House) -> None:
    """All coroutines that had been given and had not ended were executing."""
    async def wait() -> None:
        await asyncio.Event().wait()

    async def die() -> None:
        os._exit(4)

    wait_kind, die_kind = house.kind(wait, flags=Flag.ASYNC), house.kind(die, flags=Flag.ASYNC)
    house.execute((wait_kind, b"", ()), (die_kind, b"", ()), is_at_once=True)
    assert await house.event(WorkerGone) == WorkerGone(WorkerId(1), "exited with status 4", ((RUN, 0), (RUN, 1)))


# ── failures ────────────────────────────────────────────────────────────────


class Odd(Exception):
    """Pickles, but does not come back."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__("odd")

    def __reduce__(self) -> Any:
        return Odd, (1,)


class Mute(Exception):
    """Can't even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("never")

    def __reduce__(self) -> Any:
        raise RuntimeError("never")


def deep(n: int) -> int:
    return deep(n + 1)


def fails(error: Any) -> Callable[[], None]:
    def function() -> None:
        raise error() if callable(error) else error

    return function


@pytest.mark.parametrize(
    ("error", "name", "travels"),
    [
        (ValueError("no"), "ValueError", True), (SystemExit(3), "SystemExit", True), (KeyboardInterrupt(), "KeyboardInterrupt", True),
        (lambda: deep(0), "RecursionError", True), (GeneratorExit(), "GeneratorExit", True), (lambda: Odd(1, 2), "Odd", False),
        (Mute, "Mute", False), (lambda: ValueError("\udc80"), "ValueError", True), (5, "TypeError", True),
        (lambda: OSError(threading.Lock()), "OSError", False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_exceptions_are_told_and_the_worker_lives(house: House, error: Any, name: str, travels: bool) -> None:
    """Whatever user code raises fails that task alone, with type, text and traceback, and as an object when it can travel."""
    good = house.kind(lambda: 1)
    house.execute((good, b"", ()), (house.kind(fails(error)), b"", ()), (good, b"", ()))
    event = await house.broken()
    assert (event.task, event.attempt, event.cause) == (1, 1, "exception")
    assert event.type.rpartition(".")[2] == name
    assert "function" in event.traceback and "child_run" not in event.traceback
    assert (type(unpack_exception(bytes(event.body))).__name__ == name) is travels
    assert [await house.result(0), await house.result(2)] == [1, 1]
    assert not house.of(WorkerGone)


async def test_what_can_not_be_loaded_is_explained(house: House) -> None:
    """A module that the node lacks is named, with what to do; for code, arguments and inputs."""
    gone = b"\x80\x05cno_such_module.part\nfunction\n."
    house.execute((house.kind(gone), b"", ()))
    house.execute((house.kind(print), gone, ()), first=1)
    house.store.put(RUN, 100, gone)
    house.execute((house.kind(print), b"", (100,)), first=2)
    for count, what in enumerate(["the code of", "an argument of", "an input of"], 1):
        event = await house.broken(count)
        assert event.cause == "unloadable"
        assert event.text.startswith(what)
        assert "needs the module 'no_such_module', which node here does not have: install it there" in event.text


async def test_an_unpicklable_result_is_explained(house: House) -> None:
    """The path to what can't be pickled is named."""
    house.call(lambda: {"model": [1, threading.Lock()]})
    event = await house.broken()
    assert event.cause == "unpicklable"
    assert "result['model'][1]" in event.text and "lock" in event.text


async def test_a_result_of_a_class_by_value_arrives(house: House) -> None:
    """Classes that only the client has defined travel in both directions."""
    house.call(lambda: Adder(3))
    value = await house.result()
    assert (type(value).__name__, value.n) == ("Adder", 3)


async def test_a_missing_input_is_nobodys_failure(house: House) -> None:
    """A task whose input failed in the same batch is skipped; one whose input left the store says so."""
    use = house.kind(lambda x: x)
    house.execute((house.kind(fails(ValueError())), b"", ()), (use, b"", (0,)), (use, b"", (99,)))
    assert [(await house.broken(count)).cause for count in (1, 2, 3)] == ["exception", "skipped", "unloadable"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (lambda: os._exit(3), "exited with status 3"), (lambda: ctypes.string_at(0), "killed by SIGSEGV"),
        (os.abort, "killed by SIGABRT"), (lambda: os.kill(os.getpid(), signal.SIGTERM), "killed by SIGTERM"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL (out of memory, if nobody killed it by hand)"),
    ],
    ids=["exit", "segfault", "abort", "term", "kill"],
)
async def test_who_killed_the_worker_is_known(house: House, code: Any, reason: str) -> None:
    """The third of four tasks ends its worker: it alone is blamed, and what was done before is not lost."""
    good = house.kind(lambda: (time.sleep(2 * PATIENT_SECONDS), 1)[1])
    house.execute((good, b"", ()), (good, b"", ()), (house.kind(code), b"", ()), (good, b"", ()))
    gone = await house.event(WorkerGone)
    assert gone == WorkerGone(WorkerId(1), reason, ((RUN, 2),))
    assert [await house.result(0), await house.result(1)] == [1, 1]
    assert house.store.get(RUN, 3) is None
    await house.spawn(2)
    house.execute((good, b"", ()), first=4, worker=2)
    assert await house.result(4) == 1


async def test_an_idle_worker_that_dies_blames_nobody(house: House) -> None:
    """After its batch a worker is at nothing."""
    house.call(lambda: 1)
    await house.result()
    os.kill(house.pool.pids[WorkerId(1)], signal.SIGKILL)
    assert (await house.event(WorkerGone)).running == ()


async def test_a_worker_is_killed_with_its_children(house: House) -> None:
    """Kill ends a worker in the middle of a task, and the processes that the task started."""
    def start() -> None:
        import subprocess

        print(subprocess.Popen(["sleep", "1000"]).pid, flush=True)
        time.sleep(1000)

    house.call(start)
    (_, _, text), = await house.until(lambda: house.lines)
    house.pool.kill(WorkerId(1), "timeout")
    assert await house.event(WorkerGone) == WorkerGone(WorkerId(1), "killed: timeout", ((RUN, 0),))
    for _ in range(200):
        if not alive(int(text)):
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the worker's child is still there")


async def test_work_for_a_worker_that_is_gone_is_ignored(house: House) -> None:
    """Effects that cross with a worker's end do nothing."""
    house.pool.execute(Execute(WorkerId(9), RUN, (0,), (1,), (house.kind(print),), (b"",), ((),), ((),), (NOBODY,)))
    house.pool.kill(WorkerId(9), "timeout")
    house.pool.cancel(CancelTask(WorkerId(9), RUN, 0))
    house.call(lambda: 1)
    assert await house.result() == 1


async def test_results_do_not_wait_for_a_long_task_behind_them(house: House) -> None:
    """What is done is told while the next task of the batch goes on."""
    house.execute((house.kind(lambda: 1), b"", ()), (house.kind(lambda: time.sleep(1000)), b"", ()))
    assert await house.result(0) == 1
    assert len(house.of(Finished)) == 1


# ── the process ─────────────────────────────────────────────────────────────


async def test_a_worker_has_no_secrets_and_ignores_interrupts(house: House) -> None:
    """The environment is scrubbed, Ctrl-C is not for workers, and the socket is not inherited by what they start."""
    def look() -> Any:
        import subprocess

        os.kill(os.getpid(), signal.SIGINT)
        inherited = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, check=True).stdout.split()
        secret = [name for name in os.environ if name.startswith("HANDOFF_SECRET")]
        return secret, len(inherited), os.getpgid(0) == os.getpid(), sys.modules["__main__"].__dict__.get("Worker")

    house.call(look)
    assert await house.result() == ([], 4, True, None)


async def test_a_forked_process_can_not_speak_for_the_worker(house: House) -> None:
    """User code may fork; the child's prints and its end are its own."""
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def stray() -> int:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return 1  # the child returns too

    house.call(fork)
    assert await house.result() == 7
    house.call(stray, task=1)
    assert await house.result(1) == 1
    house.call(lambda: 5, task=2)
    assert await house.result(2) == 5


async def test_what_is_taken_back_from_a_worker_does_not_run_there(house: House, tmp_path: Path) -> None:
    """Wherever it is just then, in short tasks or long ones: each task ends, or is handed back and was never begun."""
    diary = tmp_path / "diary"

    def short(number: int, seconds: float) -> None:
        with diary.open("a") as book:
            book.write(f"{number}\n")
        time.sleep(seconds)

    async def ended(count: int) -> None:
        await house.until(lambda: sum(len(event.tasks) for event in house.of(Finished)) >= count)

    async def over(count: int) -> None:
        await house.until(lambda: sum(len(event.tasks) for event in house.of(Finished) + house.of(HandedBack)) == count)

    kind, count = house.kind(short), 0
    for moment in range(40):
        before = sum(len(event.tasks) for event in house.of(Finished))
        for _ in range(3):
            house.execute(*[(kind, ((count + at, 0.03 * (at == moment % 9)), {}), ()) for at in range(10)], first=count)
            count += 10
        await ended(before + moment % 4)
        house.pool.hand_back(WorkerId(1))
        await over(count)
    done = [task for event in house.of(Finished) for task in event.tasks]
    back = [task for event in house.of(HandedBack) for task in event.tasks]
    assert sorted(done + back) == list(range(count))
    assert sorted(map(int, diary.read_text().split())) == sorted(done)
    assert len(done) > 40 and len(back) > 40
    house.call(operator.add, 1, 2, task=count)
    assert await house.result(count) == 3


@pytest.mark.parametrize(("mode", "found"), [(0o755, "mine"), (0o777, "No module named 'own_module'")])
async def test_the_working_directory_is_the_last_to_look_for_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, found: str,
) -> None:
    """A file there is never taken for a standard module; and where anybody may put files, as in /tmp, none is taken for any."""
    for name in ("socket", "types", "ctypes", "logging"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not the real one')")
    (tmp_path / "own_module.py").write_text("word = 'mine'")
    tmp_path.chmod(mode)
    monkeypatch.chdir(tmp_path)

    def look() -> str:
        try:
            return str(__import__("own_module").word)
        except ModuleNotFoundError as error:
            return str(error)

    house = House()
    await house.spawn()
    house.call(look)
    assert await house.result() == found
    await house.pool.close()


async def test_a_worker_that_can_not_start_is_reported() -> None:
    """A worker that ends before it is ready gives WorkerGone."""
    house = House()
    house.pool._environment["PYTHONHOME"] = "/nowhere"
    house.pool.spawn(WorkerId(1))
    gone = await house.event(WorkerGone)
    assert gone.reason.startswith("exited with status 1")
    await house.pool.close()


@pytest.mark.parametrize("said", [
    [RESULTS, 1, 0, [5], b"", b""],
    [RESULTS, 7, 0, [b"x"], b"", b""],
    [RESULTS, 1, 0, [b"x"], b"", b""],
    [BROKE, 1, 0, "exception", 5, "text", "traceback", 0.0, b""],
    [BROKE, 1, 0, "exception", "type", None, "traceback", 0.0, b""],
    [BROKE, 1, 0, "exception", "type", "text", "traceback", 0.0, "body"],
    [OUTPUT, [1], b"\0\0\0\0", ["stdout"], [b"bytes"]],
    [OUTPUT, [1, 1], b"\0\0\0\0", ["stdout"], ["text"]],
    [HANDED_BACK, 1, 0],
    [99],
    5,
], ids=repr)
async def test_a_worker_that_talks_nonsense_is_killed(house: House, said: Any) -> None:
    """A frame that no worker sends ends that worker, and nothing else: no task ends by it, and nobody else is told of it."""
    def nonsense(said: Any) -> None:
        from handoff.node.pipe import frame

        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(link.readlink()).startswith("socket:"):
                    os.write(int(link.name), frame(said))
        time.sleep(1000)

    house.call(nonsense, said)
    gone = await house.event(WorkerGone)
    assert "said what no worker says" in gone.reason and gone.is_garbled
    assert not house.of(Finished) and not house.of(Broke) and not house.of(HandedBack) and not house.lines


async def test_workers_die_with_their_node() -> None:
    """kill -9 of the process that owns the workers leaves none of them, even in the middle of a task."""
    program = (
        "import asyncio, sys\n"
        "from handoff.node.pool import WorkerPool\n"
        "from handoff.node.store import ResultStore\n"
        "from handoff.node.events import *\n"
        "from handoff.settings import NodeSettings\n"
        "from handoff.messages import Kind\n"
        "import pickle, time\n"
        "async def main():\n"
        "    codes = {b'sleep': pickle.dumps(time.sleep)}\n"
        "    pool = WorkerPool(store=ResultStore(), codes=codes, emit=lambda event: None, output=print,\n"
        "                      name_of=str, here='here', settings=NodeSettings(), environment=None)\n"
        "    pool.spawn(1); pool.spawn(2)\n"
        "    pool.execute(Execute(1, 1, (0,), (1,), (Kind((b'sleep',), 'sleep'),), (pickle.dumps(((1000,), {})),), ((),), ((),), (0,)))\n"
        "    await asyncio.sleep(0.5)\n"
        "    print(*pool.pids.values(), flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    assert len(pids) == 2 and all(map(alive, pids))
    process.kill()
    await process.wait()
    async with asyncio.timeout(5):
        while any(map(alive, pids)):  # they are not our children
            await asyncio.sleep(0.01)


# ── prints ──────────────────────────────────────────────────────────────────


async def test_prints_and_logs_are_told_with_their_task(house: House) -> None:
    """Lines of stdout, stderr and logging arrive with task and stream, begun lines at the end of the task, in order."""
    def speak(n: int) -> None:
        print("one", n)
        print("begun", end="")
        print("bad \udc80", file=sys.stderr)
        sys.stdout.buffer.write(b" bytes\n")
        logging.getLogger("mine").info("n is %d", n)
        logging.getLogger("mine").debug("not this")
        print("rest", end="")

    kind = house.kind(speak)
    house.execute((kind, ((1,), {}), ()), (kind, ((2,), {}), ()))
    await house.until(lambda: len(house.lines) == 10)
    assert house.lines == [
        line for n in (0, 1) for line in [
            (n, "stdout", f"one {n + 1}"), (n, "stderr", "bad \\udc80"), (n, "stdout", "begun bytes"),
            (n, "log", f"INFO mine: n is {n + 1}"), (n, "stdout", "rest"),
        ]
    ]


async def test_streams_that_a_task_put_elsewhere_are_back_for_the_next(house: House) -> None:
    """Whoever ran here before, and left a file of his own or nothing in the place of stdout, silences nobody."""
    def leave() -> None:
        sys.stdout = io.StringIO()
        sys.stderr = None  # type: ignore[assignment] # as users do

    def speak() -> None:
        print("out")
        print("err", file=sys.stderr)

    house.call(leave)
    await house.result(0)
    house.call(speak)
    await house.until(lambda: len(house.lines) == 2)
    assert [line[1:] for line in house.lines] == [("stdout", "out"), ("stderr", "err")]


async def test_what_a_task_changes_around_it_is_as_before_for_the_next(house: House, tmp_path: Path) -> None:
    """Working directory and umask."""
    def leave(path: str) -> None:
        os.chdir(path)
        os.umask(0o707)

    def look() -> Any:
        mask = os.umask(0)
        return Path.cwd(), mask

    found = []
    for task in (0, 2, 4):
        house.call(look, task=task)
        found.append(await house.result(task))
        house.call(leave, str(tmp_path), task=task + 1)
        await house.result(task + 1)
    assert found[0][0] == Path.cwd()
    assert found == found[:1] * 3


async def test_limits_that_a_task_lowers_are_not_for_the_next(house: House) -> None:
    """Soft ones are as before, those that were raised stay; where one can't be raised again, another worker has the next task."""
    def lower(how_much: int, is_final: bool = False) -> int:
        soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
        resource.setrlimit(resource.RLIMIT_STACK, (soft - how_much, hard))
        if is_final:
            def refused(*what: Any) -> None:
                raise ValueError("not allowed to raise maximum limit")

            resource.setrlimit = refused  # type: ignore[assignment]
        return os.getpid()

    def look() -> tuple[int, int]:
        return os.getpid(), resource.getrlimit(resource.RLIMIT_STACK)[0]

    house.call(look)
    pid, before = await house.result(0)
    house.call(lower, 10, task=1)
    assert await house.result(1) == pid
    house.call(look, task=2)
    assert await house.result(2) == (pid, before)
    house.call(lower, -1, task=3)
    await house.result(3)
    house.call(look, task=4)
    assert await house.result(4) == (pid, before + 1)
    house.call(lower, 10, True, task=5)
    assert await house.result(5) == pid
    gone = await house.event(WorkerGone)
    assert not gone.running


async def test_a_line_is_told_while_its_task_goes_on(house: House) -> None:
    """Nobody waits for the end of a task to see what it prints, from whichever thread."""
    def speak() -> None:
        threading.Thread(target=print, args=("from a thread",)).start()
        for n in range(3):
            print(n)
        time.sleep(1000)

    house.call(speak)
    await house.until(lambda: len(house.lines) == 4)
    assert sorted(house.lines) == [(0, "stdout", text) for text in ("0", "1", "2", "from a thread")]


async def test_a_flood_of_prints_is_cut(house: House) -> None:
    """A worker may write a mebibyte a second; what is left out is counted, and long lines are cut."""
    def flood() -> int:
        print("x" * 100_000)
        for _ in range(30):
            print("y" * 60_000)
        time.sleep(1.1)
        print("end")
        return 1

    house.call(flood)
    assert await house.result() == 1
    await house.until(lambda: house.lines[-1][2] == "end")
    texts = [text for _, _, text in house.lines]
    assert texts[0].endswith("… (34,464 more characters)")
    assert sum(map(len, texts)) <= 1024 * 1024 + 1000
    assert "lines were left out" in texts[-2]


# ── large values ────────────────────────────────────────────────────────────


async def test_large_values_are_shared_and_read_only(house: House) -> None:
    """An array over the limit lies in shared memory; consumers on any worker map it, read-only; dropping it unmaps it."""
    await house.spawn(2)
    make = house.kind(lambda: np.arange(1_000_000, dtype=np.int64))
    use = house.kind(lambda x: (int(x.sum()), x.flags.writeable, x.flags.owndata))
    house.execute((make, b"", ()), (use, b"", (0,)))
    expected = (499_999_500_000, False, False)
    assert await house.result(1) == expected
    value = house.store.get(RUN, 0)
    assert isinstance(value, SharedValue) and value.nbytes > 8_000_000
    assert house.of(Finished)[0].nbytes[0] == value.nbytes
    house.execute((use, b"", (0,)), (use, b"", (0,)), first=2, worker=2)
    house.execute((use, b"", (0,)), first=4, worker=2)
    assert [await house.result(task) for task in (2, 3, 4)] == [expected] * 3

    maps = house.kind(lambda: Path("/proc/self/maps").read_text().count("handoff-value"))
    house.execute((maps, b"", ()), first=5, worker=2)
    assert await house.result(5) == 1
    with pytest.raises(ValueError, match="read-only"):
        (await house.result(0))[0] = 1
    house.store.drop(RUN, [0])
    house.execute((maps, b"", ()), first=6, worker=2)
    assert await house.result(6) == 0


async def test_large_inputs_are_said_together_with_the_task_that_takes_them(house: House) -> None:
    """One write and one wake-up for the worker, as long as their descriptors go beside one message; and none of what it has."""
    make = house.kind(lambda n: bytes([n % 256]) * 70_000)
    house.execute(*[(make, ((n,), {}), ()) for n in range(150)])
    await house.until(lambda: house.store.get(RUN, 149))
    total = house.kind(lambda *xs: [x[0] for x in xs])
    pipe, sends = house.pool._workers[WorkerId(1)].process.pipe, []
    send = pipe.send
    pipe.send = lambda data, values=(): (sends.append(len(values)), send(data, values))[1]  # type: ignore[method-assign]
    for task, inputs in enumerate((range(20), range(20), range(150)), 1000):
        house.execute((total, b"", tuple(inputs)), first=task)
        assert await house.result(task) == list(inputs)
    assert sends == [20, 0, 100, 30]


async def test_very_many_inputs_arrive(house: House) -> None:
    """A task may have thousands of small inputs and hundreds of large ones."""
    for task in range(300):
        house.store.put(RUN, 1000 + task, pack(task).join())
    make = house.kind(lambda n: bytes([n % 256]) * 70_000)
    house.execute(*[(make, ((n,), {}), ()) for n in range(250)], first=2000)
    await house.until(lambda: house.store.get(RUN, 2249))
    total = house.kind(lambda xs: (sum(xs[:300]), [x[0] for x in xs[300:]]), Form.AS_LIST)
    house.execute((total, b"", (*range(1000, 1300), *range(2000, 2250))))
    assert await house.result() == (sum(range(300)), list(range(250)))


async def test_a_worker_is_not_asked_back_what_it_still_reads(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it takes seconds, each worker would be asked in the midst of it: nobody would ever begin it."""
    monkeypatch.setattr(given, "TOGETHER_BYTES", 1 << 30)     # what a worker maps takes it no time to read
    for task in range(1000):
        house.store.put(RUN, 1000 + task, pack(bytes(60_000)).join())
    house.execute((house.kind(lambda xs: sum(map(len, xs)), Form.AS_LIST), b"", tuple(range(1000, 2000))))
    house.pool.hand_back(WorkerId(1))
    assert await house.result() == 60_000_000 and not house.of(HandedBack)


async def test_a_large_input_keeps_its_value_after_a_drop(house: House) -> None:
    """What is being used stays valid when the store lets go of it."""
    house.call(lambda: np.ones(100_000))
    await house.result()
    value = house.store.get(RUN, 0)
    assert isinstance(value, SharedValue)
    view = value.view()
    del value
    house.store.drop_run(RUN)
    assert house.store.resident_bytes == 0
    assert unpack(view).sum() == 100_000
    assert pickle.loads(pickle.dumps(1)) == 1


async def test_a_worker_that_is_gone_leaves_no_descriptor(house: House) -> None:
    """Neither its pipe nor the memory where it told what it was at, whether or not the garbage collector comes by."""
    def open_files() -> list[str]:
        found = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the one of the directory itself
                found.append(str(entry.readlink()).split(":", maxsplit=1)[0])
        return sorted(found)

    house.call(lambda: 1)     # the first worker has come up: what it wrote before is let go of
    await house.result()
    before = open_files()
    gc.disable()
    try:
        for name in range(2, 6):
            await house.spawn(name)
            house.pool.kill(WorkerId(name), "test")
            await house.event(WorkerGone, name - 1)
        assert open_files() == before
    finally:
        gc.enable()
