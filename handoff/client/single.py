"""One call as a program: what the graph of a single function becomes, without making the graph where an equal call was lowered before."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import fields
from functools import partial
from inspect import signature
from types import BuiltinFunctionType, FunctionType
from typing import Any

from handoff.client.code import is_async
from handoff.client.columns import SHARED_BYTES
from handoff.client.lower import Lowered, lower
from handoff.columns import Blobs, ints
from handoff.graph.bound import BOUND, Sharing
from handoff.graph.dag import DAG, check_keywords
from handoff.graph.elsewhere import OPTIONS
from handoff.graph.options import options_of
from handoff.graph.references import may_hold, references_in
from handoff.program import Program
from handoff.wire.values import pack, pack_named

TEMPLATES_MAX = 256                  # code that travels by value is new each time it captures something new
_LITERALS = [each.name for each in fields(Program)].index("literals")
_OPTIONS = frozenset(signature(DAG.call).parameters) - {"self", "fn", "args", "kwargs"}
_program: Callable[..., Program] = Program
_NAMED = frozenset({FunctionType, BuiltinFunctionType})  # callables that are nothing but their code and name
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


class _Template:
    """A lowered call, to be filled with other arguments."""

    __slots__ = ("after", "before", "lowered", "options")

    def __init__(self, lowered: Lowered, options: Mapping[str, Any]) -> None:
        columns = [getattr(lowered.program, each.name) for each in fields(Program)]
        self.before, self.after = columns[:_LITERALS], columns[_LITERALS + 1 :]
        self.lowered = lowered
        self.options = deepcopy(options)     # what was bound to the function then; it may be bound anew, or changed in place

    def filled(self, literal: bytes) -> Lowered:
        """The same call with these arguments."""
        program: Program = _program(*self.before, Blobs(ints((len(literal),)), literal), *self.after)
        like = self.lowered
        return Lowered(program, like.body, like.ids, like.number, like.outputs, like.objects, like.hidden, like.beside)


class SingleCalls:
    """Lowers single calls. What it remembers is named by the code's bytes, those of this moment: nothing is ever stale."""

    def __init__(self) -> None:
        self._templates: dict[tuple[bytes, str, str, bool, type], _Template] = {}
        self._sharing = Sharing()

    def lower(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Lowered]:
        """The name and the program of `function(*args, **kwargs)`; options among the keywords. Raises what `lower` raises."""
        title, code, known, given = getattr(function, "__name__", "call"), function, function, kwargs
        if type(function) is partial or (type(function) is FunctionType and (function.__closure__ or function.__defaults__)):
            if len(self._sharing) >= TEMPLATES_MAX:
                self._sharing = Sharing()
            bound = self._sharing.of(function)
            if bound is not None:
                code, known, kwargs = bound.shared, bound.shared.func, {**kwargs, BOUND: bound.values}
        if kwargs and not OPTIONS.keys().isdisjoint(kwargs):
            check_keywords(function, given.keys() - _OPTIONS, title)
        literal = _literal(args, kwargs) if type(known) in _NAMED and _OPTIONS.isdisjoint(kwargs) else None
        if literal is None:
            return title, _as_graph(title, code, args, kwargs)
        try:
            key = (pack_named(known)[1], known.__name__, known.__qualname__, is_async(function), type(code))
        except Exception:
            return title, _as_graph(title, function, args, given)  # which explains what is wrong
        template, options = self._templates.get(key), options_of(function)
        if template is not None and template.options == options:
            return title, template.filled(literal)
        lowered = _as_graph(title, code, args, kwargs)
        if len(self._templates) >= TEMPLATES_MAX:
            self._templates.clear()
        self._templates[key] = _Template(lowered, options)
        return title, lowered


def _as_graph(title: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Lowered:
    dag = DAG(title)
    dag.call(function, *args, **{**kwargs, "inline": False})   # what is bound to it is for its place in a graph
    return lower(dag)


def _literal(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
    """The arguments as `lower` writes them; None when it would look at them closer: large ones, references, what can't be pickled."""
    if not kwargs:
        if not args:
            return b""
        if _PLAIN.issuperset(map(type, args)):
            data = pickle.dumps((args, {}), 5)
            return data if len(data) <= SHARED_BYTES else None
    values = (*args, *kwargs.values())
    try:
        if may_hold(values) and references_in(values):
            return None
        packed = pack((args, dict(kwargs)))
    except Exception:
        return None
    return packed.join() if packed.nbytes <= SHARED_BYTES else None
