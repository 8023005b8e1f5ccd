"""`@handoff.function(cost=...)`: what a function needs, written beside the function instead of at every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, overload

from handoff.errors import InvalidCall
from handoff.graph.bound import SharedPartial
from handoff.graph.elsewhere import instead_of
from handoff.graph.function import Collocated, Cost, Near
from handoff.quoting import quoted

Code = TypeVar("Code", bound=Callable[..., Any])

_ATTRIBUTE = "__handoff__"           # a plain dict: code that travels by value must not drag anything along
_NOTHING: Mapping[str, Any] = {}
OPTIONS = frozenset({
    "cost", "node", "max_retries", "timeout", "priority", "inline", "where", "spread", "speculate", "expected_seconds", "expected_bytes",
})


@overload
def function(code: Code, /) -> Code: ...
@overload
def function(
    *,
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
) -> Callable[[Code], Code]: ...
def function(code: Any = None, /, **options: Any) -> Any:
    """Bind defaults for `DAG.call`, `client.submit` and `client.map` to a function, which stays what it is and can be called as ever.

        @handoff.function(cost={"cpu": 2, "memory": "1 GiB"}, max_retries=1)
        def train(data): ...
    """
    if code is None:
        unknown = options.keys() - OPTIONS
        if unknown:
            raise InvalidCall(f"@handoff.function does not know {', '.join(sorted(unknown))}{instead_of(unknown)}; its options are "
                              f"{', '.join(sorted(OPTIONS))}")
        return lambda code: _bound(code, options)
    return _bound(code, options)


def _bound(code: Any, options: dict[str, Any]) -> Any:
    if not callable(code):
        raise InvalidCall(f"@handoff.function takes a callable, not {quoted(code)}")
    try:
        setattr(code, _ATTRIBUTE, {**options_of(code), **{name: value for name, value in options.items() if value is not None}})
    except AttributeError:
        raise InvalidCall(f"{quoted(code)} can't carry options; wrap it in a function of your own, or give them to dag.call") from None
    return code


def options_of(code: Any) -> Mapping[str, Any]:
    """The options bound to a callable, also when it is wrapped in partials; empty when there are none."""
    while type(code) is partial or type(code) is SharedPartial:
        code = code.func
    found = getattr(code, _ATTRIBUTE, _NOTHING)
    return found if type(found) is dict else _NOTHING
