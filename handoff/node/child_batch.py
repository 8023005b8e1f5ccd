"""A batch of tasks inside a worker, and how the call of each is put together: code, inputs, literal arguments."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from handoff.node.current import CurrentTask
from handoff.node.shared_memory import SMALL_BYTES, SharedValue
from handoff.wire.values import put_back, unpack, unpack_code_and_classes

SCALE = 10_000                    # steps in one of anything, as in handoff.resources
VARIADIC, AS_LIST, TREE = 0, 1, 2  # the numbers of program.Form, which a worker does without to start sooner

Call = tuple[Callable[..., Any], Any, dict[str, Any]]  # function, positional and keyword arguments
_NO_KEYWORDS: dict[str, Any] = {}


class NotLoadable(Exception):
    """Code or an argument can't be had in this process; the cause says why."""


class InputMissing(Exception):
    """The earlier task of the batch that should have made an input failed; nothing is wrong with this one."""


class Kind(NamedTuple):
    """What equal tasks of a batch share."""

    digests: list[bytes]
    form: int
    is_async: bool
    name: str
    is_timed: bool


class LargeInput:
    """A value in shared memory that tasks take: mapped, or copied, which is cheaper, where it is small and taken once."""

    __slots__ = ("_value", "_view", "_was_copied")

    def __init__(self, value: SharedValue) -> None:
        self._value: SharedValue | None = value      # until it is mapped
        self._view: memoryview | None = None
        self._was_copied = False

    def look(self) -> bytes | memoryview:
        """Its bytes. Several threads may ask at once."""
        value = self._value
        if self._view is None and value is not None:
            if value.nbytes <= SMALL_BYTES and not self._was_copied:
                self._was_copied = True
                return value.look()
            self._view = value.view()
            self._value = None
        assert self._view is not None
        return self._view

    def part(self, start: int, nbytes: int) -> memoryview:
        """So many of its bytes."""
        if self._view is None:
            assert self._value is not None
            self._view = self._value.view()
        return self._view[start : start + nbytes]


class Library:
    """Code and mapped values that the node gave to this worker. The node keeps count, and says what to forget."""

    def __init__(self) -> None:
        self._codes: dict[bytes, bytes] = {}
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._classes: dict[bytes, Any] = {}           # that came with code, of the code that has any
        self._large: dict[int, LargeInput] = {}

    def keep_code(self, digest: bytes, data: bytes) -> None:
        """Keep it; it is loaded when it is first called."""
        self._codes[digest] = data

    def forget_codes(self, digests: list[bytes]) -> None:
        """They will be sent again if they are needed again."""
        for digest in digests:
            self._codes.pop(digest, None)
            self._functions.pop(digest, None)
            self._classes.pop(digest, None)

    def map(self, serial: int, nbytes: int, fd: int) -> None:
        """Keep a large value of the node, whose descriptor is ours from now on."""
        self._large[serial] = LargeInput(SharedValue(fd, nbytes))

    def unmap(self, serials: list[int]) -> None:
        """Forget these; the memory stays as long as something in this process still uses it."""
        for serial in serials:
            self._large.pop(serial, None)

    def values(self, given: list[bytes | int | list[int] | None]) -> list[bytes | memoryview | LargeInput | None]:
        """The packed values that the node gave, or named."""
        found: list[bytes | memoryview | LargeInput | None] = []
        for each in given:
            if isinstance(each, list):
                serial, start, nbytes = each
                found.append(self._large[serial].part(start, nbytes))
            else:
                found.append(self._large.get(each) if isinstance(each, int) else each)
        return found

    def function(self, digest: bytes, name: str, here: str) -> Callable[..., Any]:
        """The callable of this code, which is about to be called; NotLoadable when that fails."""
        found = self._functions.get(digest)
        if found is None:
            data = self._codes.get(digest)
            if data is None:
                raise NotLoadable(f"the code of {name} is not on node {here}")
            try:
                found, classes = unpack_code_and_classes(data)
            except BaseException as error:
                raise NotLoadable(why_not(f"the code of {name}", error, here)) from error
            self._functions[digest] = found
            if classes:
                self._classes[digest] = classes
        elif digest in self._classes:
            put_back(self._classes[digest])
        return found


def why_not(what: str, error: BaseException, here: str) -> str:
    """A sentence for somebody whose code or argument does not load on a node."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        return (
            f"{what} needs the module {error.name!r}, which node {here} does not have: install it there, or send its functions by value "
            f"with cloudpickle.register_pickle_by_value({top}) in the client"
        )
    return f"{what} can't be loaded on node {here}: {type(error).__name__}: {error}"


class Batch:
    """Tasks given in one message. `made` holds the packed results that later tasks of the batch take as inputs."""

    __slots__ = (
        "_fan_in", "_given", "_kind_of", "_kinds", "_library", "_names", "_references", "_starts",
        "attempts", "consumed", "cost", "costs", "count", "devices", "gpus", "has_coroutines", "here", "is_at_once", "is_timed",
        "literals", "made", "number", "plain", "run", "tasks", "urgent",
    )

    def __init__(self, library: Library, said: list[Any]) -> None:
        (_, self.number, self.run, self.here, tasks, attempts, kinds, kind_of, literals, fan_in, references, given, names,
         self.cost, self.costs, gpus, self.devices, urgent, self.is_at_once) = said
        self.gpus: tuple[int, ...] = tuple(gpus)
        self.tasks, self.attempts = array("I", tasks), array("I", attempts)
        self.count = len(self.tasks)
        self._library = library
        self._kinds: list[Kind] = []
        self.has_coroutines = self.is_timed = False
        for described in kinds:
            kind = Kind(*described)
            self._kinds.append(kind)
            self.has_coroutines |= kind.is_async
            self.is_timed |= kind.is_timed
        self._kind_of = array("I", kind_of) if kind_of else None
        self.literals: list[bytes] = literals or [b""] * self.count
        self._given = library.values(given)  # now: the node may say UNMAP before a coroutine gets to it
        self._names: Mapping[int, tuple[str, list[str]]] = names
        self.made: dict[int, bytes | memoryview] = {}
        self.consumed: dict[int, None] = {}
        self.urgent = frozenset(array("I", urgent))
        # Tasks of one kind without inputs need nothing but their literals.
        self.plain = not fan_in and self._kind_of is None and self._kinds[0].form == VARIADIC
        if fan_in:
            self._fan_in, self._references = array("I", fan_in), array("I", references)
            self._starts = array("I", accumulate(self._fan_in, initial=0))
            if self.count > 1:
                self.consumed = dict.fromkeys(each for each in self._references if each < self.count)
        else:
            self._fan_in = self._references = self._starts = array("I")

    def kind(self, index: int) -> Kind:
        """What the task is."""
        return self._kinds[self._kind_of[index] if self._kind_of is not None else 0]

    def current(self, index: int) -> CurrentTask:
        """What user code is told about the task that it is."""
        cost = {name: steps / SCALE for name, steps in (self.costs[index] if self.costs else self.cost)}
        return CurrentTask(self.run, self.tasks[index], self.attempts[index], self.kind(index).name, self.here, self.gpus, cost)

    def keep(self, index: int, value: bytes | SharedValue) -> None:
        """Remember a result for later tasks of this batch. They unpack it afresh, so that none can change what another gets."""
        self.made[index] = value if isinstance(value, bytes) else value.view()

    def release(self) -> None:
        """Its tasks are done: let go of their values."""
        self.made.clear()
        self._given.clear()
        self.literals.clear()

    def call(self, index: int) -> Call:
        """The call of a task. Raises NotLoadable or InputMissing."""
        kind = self._kinds[0] if self._kind_of is None else self._kinds[self._kind_of[index]]
        inputs = self._inputs(index, kind) if self._fan_in else []
        literal = self.literals[index]
        if kind.form == TREE:
            frame, call = self._tree(index, kind, inputs)
            return frame.call_async if kind.is_async else frame.call, (call,), _NO_KEYWORDS
        function = self._library.function(kind.digests[0], kind.name, self.here)
        args: Any = (inputs,) if kind.form == AS_LIST else inputs
        if not literal:
            return function, args, _NO_KEYWORDS
        more, keywords = self._literal(literal, kind)
        return function, (*args, *more) if args else more, keywords

    def _tree(self, index: int, kind: Kind, inputs: list[Any]) -> Any:
        from handoff.graph.calls import Frame

        codes = [self._library.function(digest, kind.name, self.here) for digest in kind.digests]
        target, sources = self._names.get(index, ("", []))
        return Frame(codes, inputs, self.here, target, sources), self._literal(self.literals[index], kind)

    def _literal(self, literal: bytes, kind: Kind) -> Any:
        try:
            return unpack(literal)
        except BaseException as error:
            raise NotLoadable(why_not(f"an argument of {kind.name}", error, self.here)) from error

    def _inputs(self, index: int, kind: Kind) -> list[Any]:
        inputs = []
        start = self._starts[index]
        for reference in self._references[start : start + self._fan_in[index]]:
            own = reference < self.count
            packed = self.made.get(reference) if own else self._given[reference - self.count]
            if type(packed) is LargeInput:
                packed = packed.look()
            if packed is None and own:
                raise InputMissing(f"an input of {kind.name} is not there: task {self.tasks[reference]} of this batch failed")
            if packed is None:
                raise NotLoadable(f"an input of {kind.name} is not on node {self.here} any more")
            try:
                inputs.append(unpack(packed))
            except BaseException as error:
                raise NotLoadable(why_not(f"an input of {kind.name}", error, self.here)) from error
        return inputs
