"""The result store: the first value wins, sizes add up, and what is in use stays valid."""

from __future__ import annotations

import fcntl
import gc
import os
import resource

import pytest

from handoff.errors import ProtocolError
from handoff.ids import RunId
from handoff.node.ahead import VALUES_MAX
from handoff.node.shared_memory import SharedValue, adopt, empty_shared, map_readonly, map_writable, write_shared
from handoff.node.store import ResultStore

RUN, OTHER = RunId(1), RunId(2)


def test_the_first_value_of_a_task_wins() -> None:
    """A second value is ignored, alone or in a batch, and not counted."""
    store = ResultStore()
    store.put(RUN, 1, b"one")
    store.put(RUN, 1, b"other")
    store.put_many(RUN, [1, 2], [b"another", b"two!"])
    assert (store.get(RUN, 1), store.get(RUN, 2), store.size(RUN, 2)) == (b"one", b"two!", 4)
    assert store.resident_bytes == 7


def test_what_is_not_here_is_none() -> None:
    """Unknown runs and tasks have no value; asking for their size is an error."""
    store = ResultStore()
    assert store.get(RUN, 1) is None
    with pytest.raises(KeyError):
        store.size(RUN, 1)


def test_dropping_frees() -> None:
    """Dropped values are gone, those of other tasks and runs stay, dropping twice is harmless."""
    store = ResultStore()
    store.put_many(RUN, [1, 2], [b"one", b"two!"])
    store.put(OTHER, 1, b"other")
    store.drop(RUN, [1, 1, 9])
    assert (store.get(RUN, 1), store.get(RUN, 2), store.resident_bytes) == (None, b"two!", 9)
    store.drop_run(RUN)
    store.drop_run(RUN)
    assert (store.get(RUN, 2), store.get(OTHER, 1), store.resident_bytes) == (None, b"other", 5)


def filled(value: SharedValue) -> bool:
    """Whether no page of it is still to be had."""
    return os.fstat(value.fd).st_blocks * 512 >= value.nbytes


def test_memory_for_a_value_that_is_to_come_is_used_for_it() -> None:
    """All of it is there; for a value of another size it is not used. What is not complete counts as here only once it comes."""
    store = ResultStore()
    for task, size in ((1, 20_000_000), (2, 20_000_001)):
        room = store.prepare(RUN, task, 20_000_000)
        assert room is not None and store.prepare(RUN, task, 20_000_000) is None
        room.take()
        assert filled(room.value) and store.resident_bytes == (task - 1) * 20_000_000 and store.get(RUN, task) is None
        value = store.allot(RUN, task, size)
        assert (value is room.value, filled(value), value.nbytes) == (task == 1, task == 1, size)
        assert room.is_due
        assert store.received(RUN, task)


def test_memory_for_a_value_is_let_go_of_when_that_will_not_come() -> None:
    """Or is here already, however it came; a thread that takes it stops."""
    store = ResultStore()
    rooms = [store.prepare(RUN, task, 20_000_000) for task in range(5)]
    store.drop(RUN, [0])
    store.put(RUN, 1, b"small")
    store.put_many(RUN, [2], [b"small"])
    store.unprepare(RUN, 3)
    assert [room.is_due for room in rooms if room is not None] == [True, True, True, True, False]
    store.drop_run(RUN)
    for room in rooms:
        assert room is not None and room.is_due
        room.take()
        assert not filled(room.value)
    store.put(OTHER, 1, b"here")
    assert store.prepare(OTHER, 1, 20_000_000) is None


def test_memory_is_prepared_for_a_few_values_at_once() -> None:
    """What is announced in a hurry takes no more than that; a size that changes takes the place of the former one."""
    store = ResultStore()
    assert [store.prepare(RUN, task, 5_000_000) is not None for task in range(VALUES_MAX + 2)] == [True] * VALUES_MAX + [False] * 2
    changed = store.prepare(RUN, 0, 6_000_000)
    assert changed is not None and store.allot(RUN, 0, 6_000_000) is changed.value
    assert store.prepare(RUN, VALUES_MAX, 5_000_000) is not None


def test_memory_that_may_never_be_needed_is_bounded() -> None:
    """Of one value that is larger than that, the beginning is taken; then nothing for others, until it has come.

    By what the node has, which its control group, or who started it, may have made far less than its machine.
    """
    store = ResultStore(memory_bytes=160_000_000)
    room = store.prepare(RUN, 1, 50_000_000)
    assert room is not None
    room.take()
    assert 20_000_000 <= os.fstat(room.value.fd).st_blocks * 512 < 21_000_000 and room.value.nbytes == 50_000_000
    assert store.prepare(RUN, 2, 5_000_000) is None
    assert store.allot(RUN, 1, 50_000_000) is room.value and store.prepare(RUN, 2, 5_000_000) is not None


def test_memory_that_is_taken_ahead_is_there() -> None:
    """All of it, before a byte is written; else page by page, as it is."""
    store = ResultStore()
    for is_taken in (False, True):
        value = store.allot(RUN, 1, 1_000_000, is_taken)
        found = os.fstat(value.fd)
        assert found.st_size == 1_000_000
        assert (found.st_blocks * 512 >= 1_000_000) is is_taken
    store.abort(RUN, 1)
    assert store.resident_bytes == 0


def test_a_received_value_becomes_visible_when_complete() -> None:
    """What arrives in pieces is counted at once and seen at the end, sealed against growing and shrinking."""
    store = ResultStore()
    memory = store.receive(RUN, 1, 6)
    memory[:3] = b"abc"
    assert (store.get(RUN, 1), store.resident_bytes) == (None, 6)
    memory[3:] = b"def"
    assert store.received(RUN, 1)
    value = store.get(RUN, 1)
    assert isinstance(value, SharedValue)
    assert (bytes(value.view()), len(value), store.resident_bytes) == (b"abcdef", 6, 6)
    with pytest.raises(PermissionError):
        os.ftruncate(value.fd, 1)


def test_receiving_can_start_over_and_be_given_up() -> None:
    """Asking again gives new memory; aborting, or dropping the task or run, frees it, and then it does not become visible."""
    store = ResultStore()
    first = store.receive(RUN, 1, 6)
    store.receive(RUN, 1, 4)
    first[:] = b"nobody"
    assert store.resident_bytes == 4
    store.abort(RUN, 1)
    store.receive(RUN, 1, 4)
    store.drop(RUN, [1])
    assert not store.received(RUN, 1)
    store.receive(RUN, 1, 4)
    store.drop_run(RUN)
    assert not store.received(RUN, 1)
    assert (store.get(RUN, 1), store.resident_bytes) == (None, 0)


def test_a_received_value_that_is_here_already_is_let_go() -> None:
    """When the task's value came another way meanwhile, the first one stays, counted once."""
    store = ResultStore()
    store.receive(RUN, 1, 6)
    store.put(RUN, 1, b"one")
    assert store.received(RUN, 1)
    assert (store.get(RUN, 1), store.resident_bytes) == (b"one", 3)


def test_an_absurd_size_is_refused() -> None:
    """A size that no memory holds is one clear error, and is not counted."""
    store = ResultStore()
    with pytest.raises(MemoryError, match="no room for a value of"):
        store.receive(RUN, 1, 1 << 62)
    assert store.resident_bytes == 0


def test_without_descriptors_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files is the same error as too little memory, and is not counted either."""
    def exhausted(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", exhausted)
    store = ResultStore()
    with pytest.raises(MemoryError, match="Too many open files"):
        store.receive(RUN, 1, 100)
    assert store.resident_bytes == 0


def test_values_give_up_their_descriptors_when_those_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the limit a large value is copied into plain memory, however it came; one that is too large for that stays as it is."""
    store, small, huge = ResultStore(), write_shared([b"x" * 100], 100), SharedValue(os.memfd_create("huge"), 65 * 1024 * 1024)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (small.fd + 1, small.fd + 1))
    store.put(RUN, 1, small)
    store.put_many(RUN, [2, 3], [b"y", write_shared([b"z" * 50], 50)])
    store.put(RUN, 4, huge)
    store.receive(RUN, 5, 3)[:] = b"abc"
    assert store.received(RUN, 5)
    assert [store.get(RUN, task) for task in range(1, 6)] == [b"x" * 100, b"y", b"z" * 50, huge, b"abc"]
    assert store.resident_bytes == 154 + huge.nbytes
    store.drop_run(RUN)
    assert store.resident_bytes == 0


def test_a_value_that_nobody_looks_at_costs_one_descriptor() -> None:
    """Its mapping, which has one of its own, goes with the last look."""
    value = write_shared([b"x" * 100], 100)
    gc.collect()    # what other tests have left in circles would be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    view = value.view()
    assert value.view() is view and len(os.listdir("/proc/self/fd")) == before + 1
    part = view[:10]
    del view
    assert part == b"x" * 10
    del part
    assert len(os.listdir("/proc/self/fd")) == before and value.view() == b"x" * 100


def test_a_view_outlives_its_value() -> None:
    """What is being streamed stays valid after the drop; whoever has large values mapped is told."""
    store, dropped = ResultStore(), []
    store.on_drop = dropped.append
    value = write_shared([b"abc", b"", b"def"], 6)
    store.put(RUN, 1, value)
    store.put(RUN, 2, b"small")
    view, serial, fd = value.view(), value.serial, value.fd
    del value
    store.drop_run(RUN)
    assert (bytes(view), dropped) == (b"abcdef", [[serial]])
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_written_value_can_not_be_changed() -> None:
    """Neither written to, nor mapped for writing, nor resized."""
    value = write_shared([b"x" * 1000] * 1500, 1_500_000)
    assert bytes(value.view()) == b"x" * 1_500_000
    assert value.view().readonly
    with pytest.raises(PermissionError):
        os.pwrite(value.fd, b"y", 0)


def test_memory_from_a_worker_is_checked() -> None:
    """A descriptor of another size, or one that its sender could still shorten, is refused."""
    good = write_shared([b"abc"], 3)
    assert bytes(adopt(os.dup(good.fd), 3).view()) == b"abc"
    with pytest.raises(ProtocolError):
        adopt(os.dup(good.fd), 4)
    unsealed = empty_shared(3)
    map_writable(unsealed).release()
    assert fcntl.fcntl(unsealed.fd, 1034) & 2 == 0
    with pytest.raises(ProtocolError):
        adopt(os.dup(unsealed.fd), 3)


def test_an_empty_file_maps_to_nothing() -> None:
    """No bytes are no mapping."""
    assert bytes(map_readonly(-1, 0)) == b""


def test_nothing_stays_of_a_run_whose_values_are_gone() -> None:
    """Not even its number: what comes late of a run that is over is dropped again, and a node sees thousands of runs a day."""
    store = ResultStore()
    store.put(RUN, 1, b"late")
    store.receive(RUN, 2, 10)
    store.drop(RUN, [1, 2])
    store.receive(RUN, 3, 10)
    store.abort(RUN, 3)
    store.receive(RUN, 4, 10)
    assert store.received(RUN, 4)
    store.drop(RUN, [4])
    assert (store._runs, store._receiving, store.resident_bytes) == ({}, {}, 0)
