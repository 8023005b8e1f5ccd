"""The queue of tasks that wait: whatever is done to it, keys come up as they would from one sorted list."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.ids import RunId
from handoff.scheduler.queue import CHUNK, LOW, ROW_MIN, Queue


def key(rank: int, run: int, task: int) -> int:
    """As the scheduler makes them."""
    return rank << 64 | run << 32 | task


ROWS = st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(0, 50), st.sampled_from([1, 2, 7]),
                 st.sampled_from([1, CHUNK, ROW_MIN - 1, ROW_MIN, ROW_MIN + CHUNK + 3]))
STEPS = st.one_of(
    st.tuples(st.just("extend"), ROWS),
    st.tuples(st.just("push"), ROWS),
    st.tuples(st.sampled_from(["pop", "last", "many", "back"]), st.integers(1, 3 * CHUNK)),
    st.tuples(st.sampled_from(["drop", "rekey"]), st.integers(1, 3)),
    st.tuples(st.just("settle"), st.just(0)),
)


@settings(deadline=None, derandomize=True)
@given(st.lists(STEPS, max_size=14))
def test_keys_come_up_in_order(steps: list[tuple[str, object]]) -> None:
    """Rows, single keys, some taken and put back, runs that go, runs whose ranks change."""
    queue, model = Queue(), []
    for what, how in steps:
        if isinstance(how, tuple):
            rank, run, first, step, count = how
            keys = range(key(rank, run, first), key(rank, run, first) + step * count, step)
            if what == "extend":
                queue.extend(keys if step == 1 else list(keys))
                model.extend(keys)
            else:
                for each in keys[:CHUNK]:
                    queue.heap.append(each)
                queue.heap.sort()
                model.extend(keys[:CHUNK])
        elif what == "pop" and model:
            assert queue.pop() == model.pop(0)
        elif what == "last" and model:
            model.remove(queue.pop_last())
        elif what == "many":
            assert queue.pop_many(how) == model[:how]
            del model[:how]
        elif what == "back" and model:
            taken = [queue.pop() for _ in range(min(how, len(model)))]
            assert taken == model[: len(taken)]
            queue.put_back(taken[1:])
            del model[0]
        elif what == "drop":
            queue.drop({RunId(how): None})
            model = [each for each in model if each >> 32 & LOW != how]
        elif what == "rekey":
            queue.rekey(RunId(how), lambda task, run=how: key(1 + task % 2, run, task))
            model = [key(1 + (each & LOW) % 2, how, each & LOW) if each >> 32 & LOW == how else each for each in model]
        elif what == "settle":
            queue.settle()
        model.sort()
        assert len(queue) == len(model)
        assert sorted(queue.all_keys()) == model
        if model:
            assert queue.head() == model[0]
    assert [queue.pop() for _ in range(len(queue))] == model


def test_very_many_in_a_row_take_no_room() -> None:
    """Of a million tasks of one function a thousand keys are made, and as many as are asked for."""
    queue = Queue()
    queue.extend(range(key(5, 1, 0), key(5, 1, 1_000_000)))
    assert len(queue) == 1_000_000
    assert len(queue.stack) == CHUNK
    assert queue.pop_many(3000)[-1] == key(5, 1, 2999)
    assert len(queue) == 997_000
    assert len(queue.stack) <= 3000


def test_keys_that_came_one_by_one_are_laid_in_a_row() -> None:
    """So come the consumers of one task."""
    queue = Queue()
    for task in range(2 * ROW_MIN):
        queue.heap.append(key(5, 1, 3 * task))
    queue.settle()
    assert len(queue) == 2 * ROW_MIN
    assert len(queue.stack) + len(queue.heap) == CHUNK


def test_a_row_is_of_one_run() -> None:
    """Single calls come in equal steps, too: each is of another run, and goes with it."""
    queue = Queue()
    queue.extend([key(5, run, 0) for run in range(1, 2 * ROW_MIN)])
    queue.drop({RunId(ROW_MIN + 1): None})
    assert key(5, ROW_MIN + 1, 0) not in list(queue.all_keys())
    assert len(queue) == 2 * ROW_MIN - 2
