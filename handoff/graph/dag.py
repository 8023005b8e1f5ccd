"""The graph: functions by id, added one by one or written down as calls."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Set
from itertools import count
from os import PathLike
from types import MappingProxyType
from typing import Any

from handoff.errors import DuplicateFunction, InvalidFunction
from handoff.graph.elsewhere import OPTIONS, refused
from handoff.graph.function import Collocated, Cost, Function, Near, name_of
from handoff.graph.options import options_of
from handoff.graph.references import Reference, may_hold, own_references_in
from handoff.quoting import quoted, shown

_numbers = count(1)


class DAG:
    """A graph of functions.

        dag = DAG("images")
        dag.add(Function(id="load", code=load, extra_args=[paths]))
        dag.add(Function(id="small", args=["load"], code=resize, extra_args=[800, 600]))

    The same, by calling: what `call` returns stands for the result in later calls.

        photo = dag.call(load, paths)
        small = dag.call(resize, photo, 800, 600, id="small")
    """

    __slots__ = ("__weakref__", "_counts", "_functions", "id")

    def __init__(self, id: str | None = None) -> None:
        if isinstance(id, (list, tuple, set, dict, Function)):
            raise InvalidFunction(f"DAG() takes a name, not {type(id).__name__}: make it first, then dag.add(function) for each one")
        self.id = f"dag-{next(_numbers)}" if id is None else shown(id, str)
        self._functions: dict[Hashable, Function] = {}
        self._counts: dict[str, int] = {}  # per name: how many ids were made of it

    @property
    def functions(self) -> Mapping[Hashable, Function]:
        """All functions by their ids, in the order in which they were added."""
        return MappingProxyType(self._functions)

    def add(self, function: Function) -> DAG:
        """Add a function and return the graph. What it depends on may be added later."""
        if not isinstance(function, Function):
            raise InvalidFunction(f"add() takes a Function, not {quoted(function)}; to add a call, use dag.call(fn, ...)")
        id = function.id
        if id is None:
            raise InvalidFunction("None is no id for a function: nothing could be told of it; use a string, a number or a tuple of such")
        try:
            if id in self._functions:
                raise DuplicateFunction(f"there are two functions with the id {quoted(id)} in {self}; ids are unique in a "
                                        "graph", function=id)
        except TypeError:
            raise InvalidFunction(f"the id {quoted(id)} is not hashable; use a string, a number or a tuple of such") from None
        self._functions[id] = function
        return self

    def call(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        id: Hashable = None,
        cost: Cost | None = None,
        node: str | Collocated | Near | None = None,
        max_retries: int | None = None,
        timeout: float | None = None,
        priority: int | None = None,
        inline: bool | None = None,
        where: Mapping[str, str] | None = None,
        spread: str | None = None,
        speculate: bool | None = None,
        expected_seconds: float | None = None,
        expected_bytes: float | None = None,
        **kwargs: Any,
    ) -> Reference:
        """Add `fn(*args, **kwargs)` and return a reference to its result, which may stand anywhere in later arguments.

        References are found in lists, tuples and dicts, at any depth. Without an id the call is named after its function. For a function
        that has parameters called `id`, `cost` and so on, use `dag.add(Function(..., extra_kwargs={"cost": value}))` instead.
        """
        bound = options_of(fn)
        if bound:
            cost = bound.get("cost") if cost is None else cost
            node = bound.get("node") if node is None else node
            max_retries = bound.get("max_retries") if max_retries is None else max_retries
            timeout = bound.get("timeout") if timeout is None else timeout
            priority = bound.get("priority") if priority is None else priority
            inline = bound.get("inline") if inline is None else inline
            where = bound.get("where") if where is None else where
            spread = bound.get("spread") if spread is None else spread
            speculate = bound.get("speculate") if speculate is None else speculate
            expected_seconds = bound.get("expected_seconds") if expected_seconds is None else expected_seconds
            expected_bytes = bound.get("expected_bytes") if expected_bytes is None else expected_bytes
        if id is None:
            id = self._fresh_id(fn)
        if inline is not None and not isinstance(inline, bool):
            raise InvalidFunction(f"{quoted(id)}: inline={quoted(inline)} is neither True nor False", function=id)
        if kwargs and not OPTIONS.keys().isdisjoint(kwargs):
            check_keywords(fn, kwargs.keys(), id)
        first = 0
        if args and type(args[0]) is Reference:  # results that come first need no search for holes later
            while first < len(args) and type(args[first]) is Reference:
                first += 1
        if may_hold(args) or (kwargs and may_hold(kwargs.values())):
            own_references_in((args, kwargs), id, self)
        self.add(Function(
            id, [reference.id for reference in args[:first]], fn, args[first:], kwargs, cost, node,
            "inline" if inline else "regular", "variadic", max_retries, timeout, 0 if priority is None else priority, where, spread,
            False if speculate is None else speculate, expected_seconds, expected_bytes,
        ))
        return Reference(id, self)

    def validate(self) -> None:
        """Raise the `InvalidDAG` error that describes what is wrong; `execute` does so too."""
        from handoff.graph.validate import check

        check(self)

    # ── looked at, and exchanged with others ────────────────────────────────

    def to_mermaid(self, *, by_function: bool = False) -> str:
        """The graph as a Mermaid flowchart; with `by_function`, one box for each function's calls. Also of a graph that is not right.

        Mermaid draws 500 arrows and 50,000 letters, unless whoever shows it says otherwise (`maxEdges`, `maxTextSize`).
        """
        from handoff.graph import draw, picture

        made = picture.picture_of(self)
        return draw.mermaid(picture.by_function(made) if by_function else made)

    def to_dot(self, *, by_function: bool = False) -> str:
        """The same in the language of Graphviz."""
        from handoff.graph import draw, picture

        made = picture.picture_of(self)
        return draw.dot(picture.by_function(made) if by_function else made)

    def _repr_html_(self) -> str:
        """A drawing, for notebooks; more than a few hundred functions are summed up by name."""
        from handoff.graph import draw, picture

        return f'<div style="overflow:auto;max-height:640px">{draw.svg(picture.picture_of(self))}</div>'

    def to_networkx(self) -> Any:
        """The graph as a `networkx.DiGraph`: nodes are function ids with the function's fields, edges lead to who takes the result.

        An edge has `position`, the place (or, where there are several, the tuple of places) of the result in the consumer's `args`, or
        `reference=True` where it stands inside other arguments. Raises an `InvalidDAG` error for a graph that is not right, and
        ModuleNotFoundError where networkx is not installed.
        """
        from handoff.graph.exchange import to_networkx

        return to_networkx(self)

    @classmethod
    def from_networkx(cls, graph: Any) -> DAG:
        """The DAG of a directed networkx graph whose nodes have `code`, a callable, and perhaps `cost` and other fields of `Function`.

        Results come in the order of the edges' `position`, or else of the edges. Raises `InvalidDAG` errors.
        """
        from handoff.graph.exchange import from_networkx

        return from_networkx(graph)

    @classmethod
    def from_wfformat(cls, path: str | PathLike[str], *, scale: float = 1.0, byte_scale: float = 1.0, spin: bool = False) -> DAG:
        """A recorded workflow as a DAG: each function is busy for the recorded runtime and makes as many bytes as others read of its task.

        The file is JSON of WfCommons (WfFormat 1.0 to 1.6), or of `scripts/examples/workflow`. `scale` and `byte_scale` multiply
        seconds and bytes; functions sleep, or with `spin` burn the processor. Raises FileError for a file that can't be
        read, and `InvalidDAG` that names the file and what is wrong with it.
        """
        from handoff.graph.wfformat import read

        return read(path, scale, byte_scale, spin)

    def _fresh_id(self, fn: Callable[..., Any]) -> str:
        name = getattr(fn, "__name__", None)
        name = "lambda" if name == "<lambda>" else name if isinstance(name, str) else name_of(fn)
        number = self._counts.get(name, 0) + 1
        id = name if number == 1 else f"{name}-{number}"
        while id in self._functions:
            number += 1
            id = f"{name}-{number}"
        self._counts[name] = number
        return id

    def __len__(self) -> int:
        return len(self._functions)

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def __contains__(self, id: object) -> bool:
        return id in self._functions

    def __bool__(self) -> bool:
        return True  # a graph without functions is still one

    def __repr__(self) -> str:
        return f"DAG({quoted(self.id)})"


def check_keywords(fn: Callable[..., Any], keywords: Set[str], id: Hashable) -> None:
    """Raise InvalidFunction for keywords that the function does not take, and that are options in other libraries."""
    if text := refused(fn, keywords):
        raise InvalidFunction(f"{quoted(id)}: {text}", function=id)
