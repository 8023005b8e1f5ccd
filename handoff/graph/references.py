"""References: what `DAG.call` returns, and how they are found and replaced inside the arguments of later calls."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NoReturn

from handoff.errors import InvalidFunction
from handoff.quoting import quoted

RETURNS = object()     # stands for the id of a function, where it is not one that names another
_CONTAINERS = (list, tuple, dict)


class Reference:
    """What `DAG.call` returns: stands for the result of a function that has not run yet, anywhere inside the arguments of a later call.

    When it has run, `result[reference]` is its value, `result.allocations[reference]` its node.
    """

    __slots__ = ("dag", "id")

    def __init__(self, id: Hashable, dag: object = None) -> None:
        self.id, self.dag = id, dag

    def __repr__(self) -> str:
        return f"Reference({quoted(self.id)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the reference to {quoted(self.id)} stands where Handoff does not look for references: "
            "it looks into lists, tuples and dicts, not into sets, objects, partials or closures"
        )


def id_of(said: Any) -> Any:
    """The id of the function that is meant: a reference names its own."""
    return said.id if type(said) is Reference else said


class ById(dict[Hashable, Any]):
    """Something for each function, by id or reference."""

    def __missing__(self, said: Hashable) -> Any:
        if type(said) is Reference:
            return self[said.id]
        raise KeyError(said)

    def __contains__(self, said: object) -> bool:
        return super().__contains__(id_of(said))

    def get(self, said: Hashable, default: Any = None) -> Any:
        """Likewise."""
        return super().get(id_of(said), default)


_INTERESTING = frozenset({Reference, *_CONTAINERS})


def may_hold(parts: Any) -> bool:
    """Whether any of these could be or hold a reference; at the speed of C, for the many arguments that are numbers."""
    return not _INTERESTING.isdisjoint(map(type, parts))


def references_in(part: Any) -> list[Reference]:
    """The references in a part, in order, as often as they stand there."""
    found: list[Reference] = []
    _collect((part,), found, {})
    return found


def _collect(parts: Iterable[Any], found: list[Reference], seen: dict[int, Sequence[Reference]]) -> None:
    for part in parts:
        kind = type(part)
        if kind is Reference:
            found.append(part)
        elif kind in _CONTAINERS:
            known = seen.get(id(part))
            if known is not None:  # one container in several places, or (as yet without any) inside itself
                found.extend(known)
                continue
            seen[id(part)] = ()
            inside: list[Reference] = []
            if kind is dict and may_hold(part.values()):
                _collect(part.values(), inside, seen)
            if may_hold(part):
                _collect(part, inside, seen)
            seen[id(part)] = inside
            found.extend(inside)


def own_references_in(part: Any, id: Hashable, dag: object) -> list[Reference]:
    """The same of an argument of this function of the graph; InvalidFunction for one of another graph, or where it is too deep to look."""
    try:
        found = references_in(part)
    except RecursionError:
        text = f"{quoted(id)}: an argument is nested too deeply to be sent; hand over what it is made from"
        raise InvalidFunction(text, function=id) from None
    for reference in found:
        if reference.dag is not dag:
            check_origin(reference, dag, id)
    return found


def check_origin(reference: Reference, dag: object, id: Hashable) -> None:
    """Raise InvalidFunction for the reference to a function of another graph that this function of the graph takes, or `returns` names."""
    if reference.dag is not dag and reference.dag is not None:
        who = "returns names" if id is RETURNS else f"{quoted(id)} takes"
        raise InvalidFunction(
            f"{who} the reference to {quoted(reference.id)} from {reference.dag}; a reference stands only in its own graph, {dag}",
            function=None if id is RETURNS else id)


def replaced(part: Any, reference: Callable[[Reference], Any], value: Callable[[Any], Any]) -> Any:
    """The part with `reference(it)` in the place of each reference and `value(it)` in the place of each largest part without any.

    A container that holds a reference must not hold itself: raises RecursionError.
    """
    kind = type(part)
    if kind is Reference:
        return reference(part)
    if kind not in _CONTAINERS or not references_in(part):
        return value(part)
    if kind is dict:
        return {replaced(key, reference, value): replaced(each, reference, value) for key, each in part.items()}
    return kind(replaced(each, reference, value) for each in part)
