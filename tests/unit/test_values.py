"""Values become one block and come back without copies; code travels by name or by value; errors say which part does not travel."""

from __future__ import annotations

import collections
import functools
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.wire.values import (
    Packed,
    digest,
    explain_unpicklable,
    pack,
    pack_code,
    pack_named,
    pack_plain,
    pack_result,
    unpack,
    unpack_code,
)

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner), max_leaves=20)
array_shapes = st.lists(st.tuples(st.sampled_from(["u1", "i4", "f8", "c16"]), st.integers(0, 3000)), max_size=6)


def test_code_that_goes_by_value_keeps_its_file() -> None:
    """So do functions in it and bound to it, which may be of others; also code among values."""
    scope: dict[str, Any] = {}
    exec(compile("def helper(x):\n    return 1 / x", "/elsewhere/\udce9.py", "exec"), scope)
    helper = scope["helper"]

    def outer(x: float) -> Any:
        return (lambda: helper(x))

    found = unpack_code(pack_code(outer))
    inner = found(0)
    assert {found.__code__.co_filename, inner.__code__.co_filename} == {__file__}
    assert inner.__closure__[0].cell_contents.__code__.co_filename == "/elsewhere/\udce9.py"
    assert unpack(pack([outer]).join())[0].__code__.co_filename == __file__


def test_code_has_one_digest_wherever_it_lies() -> None:
    """As long as it is the same: each cell of a notebook is in another file in each session."""
    made = []
    for file, line in (("/a.py", "x"), ("/another.py", "x"), (f"/{300 * 'b'}.py", "x"), ("/a.py", "2 * x")):
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(f"def helper(x): return {line}", f"{file}.0", "exec"), scope)
        exec(compile("def f(x): return helper(x)", file, "exec"), scope)
        made.append(pack_named(scope["f"]))
    (first, one), (moved, same), (far, too), (_, other) = made
    assert len({first, moved, far}) == 3 and one == same == too != other
    assert pack_named(abs) == (pack_code(abs), digest(pack_code(abs)))


@pytest.mark.parametrize("text", [
    "def f(): return __file__", "def f(): return HERE", "def f(where=__file__): return where", "def f(): return '{file}'",
    "import functools\nf = functools.partial(str, __file__)",
])
@pytest.mark.parametrize("is_same", [False, True])
def test_code_that_reads_where_it_lies_has_a_digest_of_its_own(text: str, is_same: bool) -> None:
    """Copies of a script in two directories find what lies beside them: its name is a value there, whichever string holds it."""
    made = []
    for directory in ("one", "two"):
        file = f"/{directory}/main.py"
        named = file if is_same else "".join((file[:1], file[1:]))
        scope: dict[str, Any] = {"__name__": "__main__", "__file__": named, "HERE": named}
        exec(compile(text.format(file=file), file, "exec"), scope)
        made.append(pack_named(scope["f"]))
        assert unpack_code(made[-1][0])() == file
        idle: dict[str, Any] = {"__name__": "__main__", "__file__": named}
        exec(compile("def f(): return 1", file, "exec"), idle)
        made.append(pack_named(idle["f"]))
    assert made[0][1] != made[2][1] and made[1][1] == made[3][1]


@settings(max_examples=60, deadline=None)
@given(value=plain_values)
def test_plain_values_are_plain_pickles(value: Any) -> None:
    """They come back equal, and a block that starts with 0x80 is all there is."""
    for packed in (pack(value), pack_result(value)):
        block = packed.join()
        assert packed.nbytes == len(block)
        assert block[0] == 0x80
        assert unpack(block) == value
    assert unpack(pack_plain(value)) == value


@settings(max_examples=60, deadline=None)
@given(shapes=array_shapes, padding=st.integers(0, 3))
def test_arrays_come_back_equal_aligned_and_read_only(shapes: list[tuple[str, int]], padding: int) -> None:
    """Any number of arrays of any size; large ones start on a cache line of the block."""
    value = [np.arange(length).astype(kind) for kind, length in shapes] + ["x" * padding]
    packed = pack_result(value)
    block = packed.join()
    assert packed.nbytes == len(block)
    held = np.frombuffer(bytearray(-(-len(block) // 64) * 64 + 64), np.uint8)
    start = -held.ctypes.data % 64
    held[start : start + len(block)] = np.frombuffer(block, np.uint8)
    arrays = unpack(memoryview(held)[start : start + len(block)])
    for original, back in zip(value[:-1], arrays[:-1], strict=True):
        np.testing.assert_array_equal(original, back)
        assert original.dtype == back.dtype
        assert not back.flags.writeable
        assert back.nbytes < 4096 or back.ctypes.data % 64 == 0
        assert back.nbytes == 0 or np.shares_memory(back, held), "a view of the block, not a copy"


def test_packing_does_not_copy_large_buffers() -> None:
    """The parts of a packed array include the array's own memory."""
    array = np.zeros(100_000)
    for packed in (pack({"a": array}), pack_result({"a": array})):
        assert len(packed.parts) == 2
        assert np.shares_memory(np.frombuffer(packed.parts[1], np.uint8), array)
        assert packed.nbytes == sum(map(len, packed.parts))


def test_arrays_of_any_layout_come_back_equal() -> None:
    """Fortran order, views with gaps, empty, of objects, of no dimension."""
    for array in (np.asfortranarray(np.ones((30, 40))), np.arange(9000)[::3], np.zeros((0, 3)), np.array([None, "x"]), np.array(7)):
        for packed in (pack(array), pack_result(array)):
            back = unpack(packed.join())
            np.testing.assert_array_equal(array, back)
            assert (array.dtype, array.shape) == (back.dtype, back.shape)


def test_a_block_may_be_any_buffer() -> None:
    """bytes, bytearray and memoryview are read alike."""
    for value in (5, np.arange(5000)):
        block = pack(value).join()
        for buffer in (block, bytearray(block), memoryview(block), memoryview(bytearray(block))):
            np.testing.assert_array_equal(unpack(buffer), value)


def test_a_damaged_block_is_an_error() -> None:
    """A block that was cut, and one in a layout of the future, are refused."""
    block = pack(np.arange(5000)).join()
    with pytest.raises(ValueError, match="cut or damaged"):
        unpack(block[:-1])
    with pytest.raises(ValueError, match="written in layout 7"):
        unpack(block[:2] + b"\x07\x00" + block[4:])


def test_a_block_in_one_piece_is_not_copied() -> None:
    """Joining small values costs nothing."""
    packed = pack("x")
    assert packed.join() is packed.parts[0]
    assert Packed(4, (b"ab", b"cd")).join() == b"abcd"


@functools.cache
def remembered(x: int) -> int:
    """A function of a module."""
    return x


SCRIPT = """
import functools, sys
from handoff.wire.values import pack, pack_code, pack_result
factor = 3
class Scale:
    def __init__(self, by): self.by = by
    def __call__(self, x): return x * self.by
    def times(self, x): return x * self.by
class Count(int): pass
def scaled(x): return x * factor
async def later(x): return x
codes = [scaled, lambda x: x * factor, functools.partial(max, 2), Scale(4), Scale(5).times, len]
sys.stdout.buffer.write(b"\\n--\\n".join([*map(pack_code, codes), pack({"c": Count(7)}).join()]))
"""


def test_what_main_defines_travels_by_value() -> None:
    """Functions, lambdas, partials, callable objects, bound methods and instances of another process's `__main__` work here."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    *codes, count = done.stdout.split(b"\n--\n")
    assert [unpack_code(code)(argument) for code, argument in zip(codes, [1, 1, 1, 1, 1, "abcd"], strict=True)] == [3, 3, 2, 4, 5, 4]
    value = unpack(count)["c"]
    assert (value, type(value).__name__) == (7, "Count")
    again = unpack(pack_result(value).join())  # a worker sends back an instance of a class that it got by value
    assert again == 7
    assert type(again) is type(value)


ODD_SCRIPT = """
import functools, sys, typing
from handoff.wire.values import pack_code
@functools.cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
@functools.lru_cache(maxsize=5, typed=True)
def twice(x): return 2 * x
@functools.singledispatch
def kind(x): return "other"
@kind.register
def _(x: int): return "int"
Wide = typing.NewType("Wide", int)
P, T = typing.ParamSpec("P"), typing.TypeVar("T")
def around(f: typing.Callable[P, T]) -> typing.Callable[P, T]:
    def inner(*args: P.args, **options: P.kwargs) -> T: return f(*args, **options)
    return inner
class Circle:
    @functools.cached_property
    def area(self): return 3
    @functools.cache
    def times(self, n): return self.area * n
@around
def all_of(x):
    assert Circle().area == 3 and twice.cache_parameters() == {"maxsize": 5, "typed": True}
    return fib(60), twice(x), kind(x), kind(""), Wide(x), Circle().times(x), P.__name__
kind(3)
codes = [all_of, fib, twice, kind, Circle().times, functools.partial(Wide, 3), functools.cache(all_of.__closure__[0].cell_contents),
         functools.cache(functools.partial(twice, 4))]
sys.stdout.buffer.write(b"\\n--\\n".join(map(pack_code, codes)))
"""


def test_what_pickle_takes_for_a_name_in_the_script_travels_by_value() -> None:
    """Functions that remember their results or go by type, cached properties, types of one's own: each works where there is no script."""
    done = subprocess.run([sys.executable, "-c", ODD_SCRIPT], capture_output=True, check=True)
    every, fib, twice, kind, times, wide, remembers, eight = [unpack_code(code) for code in done.stdout.split(b"\n--\n")]
    assert every(1) == remembers(1) == (1548008755920, 2, "int", "other", 1, 3, "P")
    assert (fib(30), fib.cache_info().misses, fib.__wrapped__.__globals__["fib"] is fib, fib.__qualname__) == (832040, 31, True, "fib")
    assert (twice("a"), kind(True), times(2), wide(), eight()) == ("aa", "int", 6, 3, 8)


def test_the_script_goes_by_value_under_its_other_name(tmp_path: Path) -> None:
    """A process that multiprocessing started anew has it as `__mp_main__`, which no node has."""
    script = tmp_path / "script.py"
    script.write_text("""
import multiprocessing
from handoff.wire.values import pack, pack_code
class Pair(tuple): pass
def both(x): return Pair((x, x))
def packed(to): to.put((pack_code(both), pack(Pair("a")).join()))
if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.SimpleQueue()
    child = spawn.Process(target=packed, args=(queue,))
    child.start()
    print(*(each.hex() for each in queue.get()))
    child.join()
""", encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, check=True, text=True)
    code, value = (bytes.fromhex(each) for each in done.stdout.split())
    assert unpack_code(code)(1) == (1, 1)
    assert unpack(value) == ("a",)


def test_code_of_modules_travels_by_name() -> None:
    """What can be imported is not copied."""
    assert len(pack_code(collections.OrderedDict.fromkeys)) < 150
    assert unpack_code(pack_code(functools.reduce)) is functools.reduce
    assert unpack_code(pack_code(remembered)) is remembered


def test_equal_code_has_one_name() -> None:
    """Digests have 16 bytes and depend on the content alone."""
    assert digest(b"x") == digest(bytearray(b"x"))
    assert len(digest(b"x")) == 16
    assert digest(b"x") != digest(b"y")


# ── what does not travel ────────────────────────────────────────────────────

LOCK = threading.Lock()


class Model:
    """Holds what can't be pickled."""

    def __init__(self, lock: Any) -> None:
        self.name, self.lock = "m", lock

    def predict(self) -> Any:
        """Code."""


class Slotted:
    """The same, without a dict."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = LOCK


class Stubborn:
    """Refuses to be pickled."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no way")


def explained(value: Any, name: str = "result") -> str:
    """What a user is told about a value."""
    with pytest.raises(Exception) as caught:
        pack(value)
    return explain_unpicklable(value, caught.value, name)


REASON = "cannot pickle '_thread.lock' object"


@pytest.mark.parametrize(("value", "path"), [
    (LOCK, "result"),
    ({"model": Model(LOCK)}, "result['model'].lock"),
    ([1, (2, [LOCK])], "result[1][1][0]"),
    (Slotted(), "result.lock"),
    (collections.namedtuple("Point", "x y")(1, LOCK), "result.y"),
    (functools.partial(print, 1, LOCK), "result, argument 1 of the partial"),
    (functools.partial(print, end=[LOCK]), "result, keyword argument 'end' of the partial[0]"),
    (Model(LOCK).predict, "result.__self__.lock"),
])
def test_the_path_to_what_cannot_be_pickled(value: Any, path: str) -> None:
    """Through dicts, lists, attributes, slots, named tuples, partials, methods and functions."""
    assert explained(value) == f"{path}: {REASON}"


def test_variables_of_code_are_named() -> None:
    """Closure variables, defaults, and what they hold; globals of code that goes by value."""
    model = Model(LOCK)
    assert explained(lambda: model, "") == f"closure variable 'model'.lock: {REASON}"

    def with_default(x: Any = LOCK) -> Any:
        return x

    assert explained(with_default, "") == f"default value 0: {REASON}"
    namespace: dict[str, Any] = {"__name__": "__main__", "conn": [LOCK]}
    exec("def f():\n    return [conn for _ in range(2)]", namespace)
    assert explained(namespace["f"], "") == f"global 'conn'[0]: {REASON}"


def test_the_reason_is_the_users_own() -> None:
    """An object that refuses says why; one that can't even say that is named by its type."""
    assert explained({"x": [Stubborn()]}) == "result['x'][0]: no way"

    class Silent(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert explain_unpicklable(1, Silent()) == "result: Silent"


def test_a_wide_value_takes_bounded_effort() -> None:
    """The search gives up in time and says what it found so far."""
    probes: list[int] = []

    class Counting:
        def __reduce__(self) -> Any:
            probes.append(1)
            return int, ()

    value = [Counting() for _ in range(5000)] + [LOCK]
    assert explain_unpicklable(value, TypeError("bad")) == "result: bad"
    assert len(probes) <= 300


def test_an_endless_value_is_explained() -> None:
    """Rings and very deep nesting end the search, not the program."""
    ring: list[Any] = [LOCK]
    ring.insert(0, ring)
    assert explained(ring) == f"result[1]: {REASON}"
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deeply" in explained(deep)
    while deep != 1:  # so that it is taken apart without recursion
        deep = deep[0]


@pytest.mark.parametrize("size", [4096, 100_000])
def test_bytes_of_a_result_are_not_copied(size: int) -> None:
    """They stand in the block as they are, between what makes a pickle of them."""
    value = bytes(range(256)) * (size // 256) + b"end"
    packed = pack_result(value)

    assert any(part is value for part in packed.parts)
    assert packed.nbytes == sum(map(len, packed.parts))
    assert unpack(packed.join()) == value
    assert pickle.loads(packed.join()) == value
