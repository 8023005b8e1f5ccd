"""Functions that are called again and again: their pickle is remembered as long as nothing that goes into it has changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
from counted import calls_in

from handoff.client.code import is_async
from handoff.wire import by_value
from handoff.wire.values import pack_named, unpack_code


def made(text: str, **around: Any) -> Any:
    """The function `f` of a script."""
    scope: dict[str, Any] = {"__name__": "__main__", "__file__": "/a/main.py", "__package__": None, **around}
    exec(compile(text, "/a/main.py", "exec"), scope)
    return scope["f"]


def anew(function: Any) -> tuple[bytes, bytes]:
    """Its pickle and name, as if it was never seen before."""
    by_value._known_code.clear()
    return pack_named(function)


def set_(name: str, value: Any) -> Callable[[Any], None]:
    """Change an attribute of a function."""
    return lambda function: setattr(function, name, value)


def define(name: str, value: Any) -> Callable[[Any], None]:
    """Change a global of a function."""
    return lambda function: function.__globals__.__setitem__(name, value)


CHANGES: list[Callable[[Any], None]] = [
    set_("__name__", "g"), set_("__qualname__", "A.f"), set_("__doc__", "Says."), set_("__doc__", ["Says"]), set_("__defaults__", (2,)),
    set_("__defaults__", ()), set_("__kwdefaults__", {}), set_("__annotations__", {"x": int}), set_("__annotations__", {"x": "int"}),
    set_("__annotations__", {"x": [int]}), set_("label", 1), set_("__code__", (lambda x: 3 * x).__code__), set_("__module__", None),
    define("len", lambda x: 7), define("inner", 7), define("__file__", "/b/main.py"), define("__package__", "p"), define("__name__", "m"),
    define("__path__", ["/a"]), define("unrelated", 7), lambda function: function.__globals__.pop("__package__"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_remembered_is_what_would_be_made_anew(change: Callable[[Any], None]) -> None:
    """Whatever of a function is changed after it was pickled; and again, if that changes in its turn."""
    function = made("def f(x=None):\n    def within(): return inner\n    return len([x])", f=None)
    function.__defaults__ = None
    for step in (lambda _: None, change, set_("__name__", "h"), define("inner", 8)):
        pack_named(function)
        step(function)
        remembered = pack_named(function)
        assert remembered == anew(function)


def test_what_a_function_binds_or_reads_may_change_in_place() -> None:
    """A list that is a default, an attribute, a variable or a global: what it holds now goes, whatever it held."""
    for text in ("def f(x, y=[1]): return y", "def f(x): return y\ny = [1]", "def g(y):\n    def f(x): return y\n    return f\nf = g([1])",
                 "def f(x):\n    def h(): return y\n    return h()\ny = [1]", "def f(x): return (lambda: 0, *f.y)[1:]\nf.y = [1]"):
        function = made(text)
        first = pack_named(function)
        held = (*(function.__defaults__ or ()), *(each.cell_contents for each in function.__closure__ or ()), function.__globals__.get("y"),
                getattr(function, "y", None))
        next(each for each in held if isinstance(each, list)).append(2)
        assert pack_named(function)[1] != first[1]
        assert list(unpack_code(pack_named(function)[0])(0)) == [1, 2]


def test_a_function_that_comes_again_is_not_pickled_again() -> None:
    """It takes fewer calls; and of very many functions some are remembered."""
    functions = [made(f"def f(x: int, y: 'str' = {number}) -> None: return x + {number}") for number in range(2 * by_value.CODE_KNOWN_MAX)]
    for function in functions:
        function.__defaults__ = None
        pack_named(function)
    assert 0 < len(by_value._known_code) <= by_value.CODE_KNOWN_MAX
    assert calls_in(lambda: pack_named(functions[-1])) < calls_in(lambda: anew(functions[-1]))
    assert [unpack_code(pack_named(each)[0])(1, None) for each in functions] == [1 + number for number in range(len(functions))]


def module_function(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One that goes by its name, since a module has it."""
    function = made("def f(x): return x + 1")
    module = ModuleType("library")
    module.f = function  # type: ignore[attr-defined]
    function.__module__ = "library"
    monkeypatch.setitem(sys.modules, "library", module)
    return function


@pytest.mark.parametrize("others", [False, True])
def test_a_function_that_goes_by_its_name_is_not_pickled_again(monkeypatch: pytest.MonkeyPatch, others: bool) -> None:
    """It takes fewer calls; also where modules are registered to go by value, but not its own."""
    function = module_function(monkeypatch)
    first: list[Any] = []
    monkeypatch.setattr(cloudpickle, "list_registry_pickle_by_value", lambda: {"libraryish"} if others else set())

    assert calls_in(lambda: first.append(pack_named(function))) > calls_in(lambda: first.append(pack_named(function)))
    assert first[0] == first[1] and b"library" in first[0][0] and len(first[0][0]) < 60


@pytest.mark.parametrize("change", [
    lambda module, _: setattr(module, "f", len), lambda _, function: setattr(function, "__qualname__", "g"),
    lambda _, function: setattr(function, "__module__", "__main__"), lambda module, _: cloudpickle.register_pickle_by_value(module),
    lambda *_: sys.modules.__delitem__("library"),
])
def test_a_function_that_goes_by_its_name_no_more_goes_by_value(monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any]) -> None:
    """Whatever has changed since it was pickled."""
    function = module_function(monkeypatch)
    module = sys.modules["library"]
    pack_named(function)
    change(module, function)
    try:
        assert unpack_code(pack_named(function)[0])(1) == 2 and len(pack_named(function)[0]) > 60
    finally:
        if "library" in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.unregister_pickle_by_value(module)


def test_a_function_is_asynchronous_when_its_code_is() -> None:
    """Or when it is marked so; that of a partial counts, too."""
    async def later() -> None:
        pass

    def now() -> None:
        pass

    assert is_async(later) and not is_async(now)
    later.label, now.label = 1, 2  # type: ignore[attr-defined]
    assert is_async(later) and not is_async(now)
