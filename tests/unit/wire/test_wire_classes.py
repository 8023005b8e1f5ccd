"""Classes that go by value: what is here is not changed by copies that come back, and code finds the classes that came with it."""

from __future__ import annotations

import abc
import enum
import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest

from handoff.node.child_batch import Library
from handoff.wire.values import pack, pack_exception, pack_named, pack_result, unpack

SCRIPT = """
import abc, enum, sys
from handoff.wire.values import pack, pack_code
rate, options = 1, {"rate": 1}
class Model:
    rate, found = 1, None
    def of_globals(self): return rate, options["rate"]
    @classmethod
    def remembered(cls, value):
        cls.found = cls.found or value
        return cls.found
class Other:
    def fits(self): return isinstance(self, Model)
def seen(): return Model.rate, *Model().of_globals(), hasattr(Model, "extra")
def remembers(value): return Model.remembered(value)
def remembers_too(value): return Model.remembered(value)
def is_model(value): return isinstance(value, Model), Other().fits()
class Mine(Exception):
    counted = 0
def fails():
    Mine.counted += 1
    raise Mine(Model(), Mine.counted)
codes = [pack_code(seen)]
Model.rate = rate = options["rate"] = 2
codes.append(pack_code(seen))
Model.extra = True
codes.append(pack_code(seen))
del Model.extra
codes += [pack_code(seen), pack_code(remembers), pack_code(remembers_too), pack_code(is_model), pack(Model()).join(), pack_code(fails)]
sys.stdout.buffer.write(b"\\n--\\n".join(codes))
"""


@pytest.fixture(scope="module")
def sent() -> list[bytes]:
    """What another process sent."""
    return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True).stdout.split(b"\n--\n")


class Worker:
    """Calls code as a worker does, which keeps what it has loaded."""

    def __init__(self, codes: list[bytes]) -> None:
        self.library = Library()
        for place, code in enumerate(codes):
            self.library.keep_code(bytes([place]), code)

    def call(self, place: int, *args: Any) -> Any:
        """The result of the code at this place."""
        return self.library.function(bytes([place]), "a function", "here")(*args)


def test_a_copy_that_comes_back_leaves_the_class_as_it_is() -> None:
    """Its functions stay those that know this module's globals, and what was changed since it was sent stays changed."""
    class Model:
        rate = 1

        def of(self) -> int:
            return self.rate

    class Kind(enum.Enum):
        ONE = 1

        def word(self) -> str:
            return self.name

    class Shape(abc.ABC):  # noqa: B024 - as abstract as it needs to be
        @property
        def area(self) -> int:
            return 1

    kinds: list[type] = [Model, Kind, Shape]
    before = [dict(vars(kind)) for kind in kinds]
    packed = pack([Model(), Kind.ONE, Shape()]).join()
    Model.rate = 2
    model, kind, shape = unpack(packed)
    assert [type(each) for each in (model, kind, shape)] == kinds
    assert kind is Kind.ONE
    assert (Model.rate, model.of()) == (2, 2)
    assert [vars(kind)[name] is value for kind, held, name in zip(kinds, before, ["of", "word", "area"], strict=True)
            for value in [held[name]]] == [True] * 3


def test_to_look_at_a_result_makes_no_further_class() -> None:
    """A base that counts the classes that are derived from it counts none that was only read."""
    derived = []

    class Base:
        def __init_subclass__(cls) -> None:
            derived.append(cls)

    class Leaf(Base):
        pass

    assert isinstance(unpack(pack(Leaf()).join()), Leaf)
    assert derived == [Leaf]


def test_an_error_that_comes_back_leaves_its_class_as_it_is() -> None:
    """So do the exceptions that functions raise."""
    class Mine(Exception):
        level = 1

    packed = pack(Mine("x")).join()
    Mine.level = 2
    assert unpack(packed).level == Mine.level == 2


def test_code_finds_the_classes_that_came_with_it(sent: list[bytes]) -> None:
    """A class attribute, a global of a method, and a global changed in place: each call sees those of when its code was sent."""
    worker = Worker(sent)
    first, second, third = (1, 1, 1, False), (2, 2, 2, False), (2, 2, 2, True)
    assert [worker.call(place) for place in (0, 1, 0, 2, 1, 3, 2, 0)] == [first, second, first, third, second, second, third, first]


def test_what_tasks_leave_at_a_class_stays_for_code_that_came_with_the_same(sent: list[bytes]) -> None:
    """A model that is loaded once and kept at a class is not loaded again because two functions take turns."""
    worker = Worker(sent)
    worker.call(4, "loaded with the first")
    worker.call(5, "loaded with the second")
    found = worker.call(4, "a")
    assert [worker.call(place, "b") for place in (5, 4, 5)] == [found] * 3


def test_an_argument_is_of_the_class_that_code_means_whichever_state_that_has(sent: list[bytes]) -> None:
    """There is one class, with one state at a time."""
    worker = Worker(sent)
    worker.call(0)
    value = unpack(sent[7])
    assert worker.call(6, value) == (True, False)
    assert worker.call(0) == (1, 1, 1, False)
    again = unpack(pack_result(value).join())
    assert type(again) is type(value)


def test_classes_are_the_same_whichever_code_brought_their_names_here_first() -> None:
    """The interpreter has one object for a name in code, which is that of the first code: such a difference is none of a class."""
    script = """
import sys
from handoff.wire.values import pack_code
read_by_methods = {"read_by_methods": 1}
class Model:
    found = None
    def remembered(self, value):
        Model.found = self.found or value
        return Model.found, read_by_methods
def first(value): return Model().remembered(value)[0]
def second(value): return Model().remembered(value)[0]
sys.stdout.buffer.write(pack_code(first) + b"\\n--\\n" + pack_code(second))
"""
    worker = Worker(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.split(b"\n--\n"))
    worker.call(0, "with the first")
    assert [worker.call(place, f"call {number}") for number, place in enumerate((1, 0, 1, 0))] == ["call 0"] * 4


def test_to_write_an_instance_makes_no_other_class_of_its_class() -> None:
    """Python leaves a note at a class when one of its instances is written, which other processes have no use for."""
    class Model:
        pass

    def makes() -> Model:
        return Model()

    before = pack_named(makes)
    pack(Model())
    assert "__slotnames__" in vars(Model)
    assert pack_named(makes) == before


def test_what_tasks_leave_at_a_class_stays_when_one_of_them_fails(sent: list[bytes]) -> None:
    """To try whether an exception can be built again elsewhere is no reason to forget anything here."""
    worker = Worker(sent)
    counted, found = [], []
    for _ in range(3):
        with pytest.raises(Exception) as caught:
            worker.call(8)
        assert pack_exception(caught.value)
        counted.append(caught.value.args[1])
        found.append(worker.call(4, f"the model of {len(found)}"))
    assert (counted, found) == ([1, 2, 3], ["the model of 0"] * 3)


def test_classes_go_with_the_code_that_they_came_with() -> None:
    """A worker that is told to forget the code keeps nothing of it."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    worker = Worker(done.stdout.split(b"\n--\n"))
    worker.call(6, None)
    kind = weakref.ref(worker.library.function(bytes([6]), "a function", "here").__globals__["Model"])
    assert kind() is not None
    worker.library.forget_codes([bytes([6])])
    gc.collect()
    assert kind() is None


def test_what_cannot_be_written_again_can_be_read() -> None:
    """A class may hold what is made where it is read, and goes no further: it is like no other then."""
    script = """
import sys, threading
from handoff.wire.values import pack_code
class Lock:
    def __reduce__(self): return threading.Lock, ()
class Holder: lock = Lock()
def held(): return type(Holder.lock).__name__
sys.stdout.buffer.write(pack_code(held))
"""
    worker = Worker([subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout])
    assert [worker.call(0), worker.call(0)] == ["lock", "lock"]
