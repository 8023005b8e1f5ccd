"""Is the graph right? Every rule about single functions and about how they are placed together, each with its own clear error."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from handoff.errors import InvalidFunction
from handoff.graph.function import Argument, ArgumentInclusion, Collocated, Function, FunctionType, Near
from handoff.graph.links import Links, in_order, near
from handoff.ids import NODE_NAME_MAX, is_node_name
from handoff.program import BYTES_MAX, SECONDS_MAX
from handoff.quoting import quoted
from handoff.resources import costs

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from handoff.graph.dag import DAG

FLOAT_MAX = 2**1023               # larger integers have no float
RETRIES_MOST = 2**31 - 1          # what a program has room for

_TYPES = tuple(map(str, FunctionType))
_INCLUSIONS = tuple(map(str, ArgumentInclusion))


def check(dag: DAG) -> Links:
    """The graph with its dependencies resolved; raises an `InvalidDAG` when anything is wrong."""
    links = Links(dag)
    for function in links.examples:
        _check_fields(function)
    if any(function.type == "input" for function in links.examples):
        _check_inputs(links)
    if any(isinstance(function.node, Collocated) for function in links.examples):
        _check_groups(links, roots(links))
    for place in links.near:
        _check_near(links, links.functions[place])
    for place in links.expected:
        _check_expected(links.functions[place])
    for function, arguments in zip(links.functions, links.arguments, strict=True):
        if arguments:
            _check_steps(function)
    return links


def refuse_streaming(links: Links) -> None:
    """Fields that only mean something in a stream are an error in a run."""
    for function in links.examples:
        for name, value, default in (("init", function.init, None), ("parallelism", function.parallelism, 1),
                                     ("batch_size", function.batch_size, None), ("batch_timeout", function.batch_timeout, None)):
            if value != default:
                raise _wrong(function, f"{name}={quoted(value)} is for streaming only; execute runs each function once, so leave it out")


def given_inputs(links: Links, inputs: Mapping[Hashable, Any] | None) -> Mapping[Hashable, Any]:
    """The values of the graph's input functions, after a check that none is missing and none is too many."""
    inputs = {} if inputs is None else inputs
    if not isinstance(inputs, Mapping):
        raise InvalidFunction(f'inputs is a dict from ids to values, such as inputs={{"x": 1}}, not {quoted(inputs)}')
    if inputs or any(function.type == "input" for function in links.examples):
        expected = {function.id: function for function in links.functions if function.type == "input"}
        for id in inputs:   # first: where it is misspelt, this names both
            if id not in expected:
                what = 'is not of type "input"' if id in links.position else f"is not in the graph{near(id, expected)}"
                raise InvalidFunction(f"inputs has a value for {quoted(id)}, which {what}", function=id)
        for id in expected:
            if id not in inputs:
                raise InvalidFunction(f"the input {quoted(id)} has no value; give it with execute(dag, "
                                      f"inputs={{{quoted(id)}: value}})", function=id)
    return inputs


def nested_too_deeply(function: Function) -> InvalidFunction:
    """The error of a function for whose call Python's stack is too small."""
    return _wrong(function, "inline functions are nested too deeply in it, or one of its arguments holds a reference and itself; "
                            "in a long chain of inline functions, let one in a hundred be a regular one")


def roots(links: Links) -> dict[int, int]:
    """Per collocated function, the function that it follows in the end, along chains."""
    target: dict[int, int] = {}
    functions = links.functions
    for place, function in enumerate(functions):
        node = function.node
        if isinstance(node, Collocated):
            followed = functions[links.find(node.id, function, "is collocated with")]
            if followed.type != "regular":
                raise _wrong(function, f"it is collocated with {quoted(followed.id)}, which runs on no node of its own: "
                                       f"its type is {followed.type!s}")
            target[place] = links.position[followed.id]
    in_order([(target[place],) if place in target else () for place in range(len(functions))], functions,
             "functions are collocated with each other in a circle")
    found: dict[int, int] = {}
    for place in target:
        path = [place]
        while path[-1] in target and path[-1] not in found:
            path.append(target[path[-1]])
        root = found.get(path[-1], path[-1])
        found.update((each, root) for each in path if each in target)
    return found


def _check_groups(links: Links, root: Mapping[int, int]) -> None:
    """What shares a node can't ask for two different ones."""
    labels: dict[int, dict[str, tuple[str, Function]]] = {}   # per root: what each label has to be, and who says so
    apart: dict[tuple[int, str], Function] = {}               # per root and group that is to be spread: who is of it
    for place in {**dict.fromkeys(root.values()), **root}:
        function = links.functions[place]
        said = labels.setdefault(root.get(place, place), {})
        for label, value in (function.where or {}).items():
            before, other = said.setdefault(label, (value, function))
            if before != value:
                raise _wrong(function, f"it runs on the node of {quoted(other.id)}, but asks for {label}={quoted(value)} where that "
                                       f"one asks for {label}={quoted(before)}; no node has both")
        other = function if function.spread is None else apart.setdefault((root.get(place, place), function.spread), function)
        if other is not function:
            raise _wrong(function, f"it runs on the node of {quoted(other.id)}, but both are to be spread over different nodes "
                                   f"(spread={quoted(function.spread)}); leave out one of these")


def _check_near(links: Links, function: Function) -> None:
    assert isinstance(function.node, Near)
    target = links.functions[links.find(function.node.id, function, "is to run near")]
    if target.type != "regular":
        raise _wrong(function, f"it is to run near {quoted(target.id)}, which runs on no node of its own: its type is {target.type!s}")


def _check_expected(function: Function) -> None:
    for name, value, most in (("expected_seconds", function.expected_seconds, SECONDS_MAX),
                              ("expected_bytes", function.expected_bytes, BYTES_MAX)):
        if value is not None and not (_number(value) and 0 <= value < inf):
            raise _wrong(function, f"{name}={quoted(value)} is not a finite number from 0 on; leave it out where nothing is known")
        if value is not None and value > most:
            raise _wrong(function, f"{name}={value:.3g} is absurd; at most {most:.0e} can be expected")


def _wrong(function: Function, text: str) -> InvalidFunction:
    return InvalidFunction(f"{quoted(function.id)}: {text}", function=function.id)


def _check_fields(function: Function) -> None:
    kind, code = function.type, function.code
    if not isinstance(kind, str) or kind not in _TYPES:
        raise _wrong(function, f"type={quoted(kind)} is not one of {_listed(_TYPES)}")
    if not isinstance(function.argument_inclusion, str) or function.argument_inclusion not in _INCLUSIONS:
        raise _wrong(function, f"argument_inclusion={quoted(function.argument_inclusion)} is not one of {_listed(_INCLUSIONS)}")
    if kind == "input":
        _refuse(function, 'a function of type "input" stands for a value and does not run; leave out',
                "code", "cost", "init", "node", "where", "spread", "expected_seconds", "expected_bytes")
    elif code is None:
        raise _wrong(function, "it has no code; give it a callable")
    elif not callable(code):
        raise _wrong(function, f"its code is not callable: {quoted(code)}")
    if kind == "inline":
        _refuse(function, "an inline function runs wherever its dependents run; leave out",
                "node", "where", "spread", "init", "batch_size", "batch_timeout")
        if function.parallelism != 1:
            raise _wrong(function, "an inline function runs wherever its dependents run; leave out parallelism")
    node = function.node
    if node is not None and not isinstance(node, (Collocated, Near)) and not (isinstance(node, str) and node):
        raise _wrong(function, f"node={quoted(node)} is neither the name of a node nor collocated(id) nor near(id)")
    if isinstance(node, str) and not is_node_name(node):
        raise _wrong(function, f"node={quoted(node)} can't be the name of a node, which has 1 to {NODE_NAME_MAX} printable characters; "
                               "client.nodes() tells those that are there")
    _check_choice_of_node(function)
    if function.cost is not None:
        try:
            costs(function.cost)
        except ValueError as error:
            raise _wrong(function, f"its cost is wrong: {error}") from None
    _check_numbers(function)


def _check_choice_of_node(function: Function) -> None:
    where, spread, speculate = function.where, function.spread, function.speculate
    is_right = isinstance(where, Mapping) and all(_text(key) and isinstance(value, str) for key, value in where.items())
    if where is not None and not is_right:
        raise _wrong(function, f'where={quoted(where)} is not a dict from labels to their values, both strings, such as {{"zone": "a"}}')
    if spread is not None and not _text(spread):
        raise _wrong(function, f"spread={quoted(spread)} is not the name of a group, a string that is not empty")
    if not isinstance(speculate, bool):
        raise _wrong(function, f"speculate={quoted(speculate)} is neither True nor False")
    if speculate and function.type != "regular":
        raise _wrong(function, f'a function of type "{function.type!s}" has no attempts of its own; leave out speculate')


def _check_numbers(function: Function) -> None:
    retries, timeout, priority = function.max_retries, function.timeout, function.priority
    if retries is not None and not is_number_of_retries(retries):
        raise _wrong(function, f"max_retries={quoted(retries)} is not a whole number from 0 to {RETRIES_MOST}")
    if timeout is not None and not (_number(timeout) and 0 < timeout < inf):
        raise _wrong(function, f"timeout={quoted(timeout)} is not a number of seconds above 0; for no limit leave it out")
    if not (_whole(priority) and abs(priority) < 2**31):
        raise _wrong(function, f"priority={quoted(priority)} is not a whole number from {1 - 2**31} to {2**31 - 1}")
    if not (_whole(function.parallelism) and function.parallelism >= 1):
        raise _wrong(function, f"parallelism={quoted(function.parallelism)} is not a whole number from 1 on")
    size, wait = function.batch_size, function.batch_timeout
    if size is not None and not (_whole(size) and size >= 1):
        raise _wrong(function, f"batch_size={quoted(size)} is not a whole number from 1 on")
    if wait is not None and not (_number(wait) and 0 < wait < inf):
        raise _wrong(function, f"batch_timeout={quoted(wait)} is not a number of seconds above 0")
    if function.init is not None and not callable(function.init):
        raise _wrong(function, f"its init is not callable: {quoted(function.init)}")


def _check_inputs(links: Links) -> None:
    for function, arguments, references in zip(links.functions, links.arguments, links.references, strict=True):
        if function.type == "input" and (arguments or references or function.extra_args or function.extra_kwargs):
            raise _wrong(function, 'a function of type "input" stands for a value and takes no arguments')


def _check_steps(function: Function) -> None:
    for argument in function.args:
        if type(argument) is Argument:
            for name, given in (("serialization_fn", argument.serialization_fn), ("deserialization_fn", argument.deserialization_fn)):
                if given is not None:
                    try:
                        step(given)
                    except ValueError:
                        raise _wrong(function, f"{name}={quoted(given)} of the argument {quoted(argument.id)} is neither a callable nor "
                                               "(callable, [static arguments])") from None


def step(given: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """One side of an Argument as its code and static arguments; ValueError when it is neither form."""
    if type(given) in (tuple, list):
        if len(given) == 2 and callable(given[0]) and type(given[1]) in (tuple, list):
            return given[0], tuple(given[1])
    elif callable(given):
        return given, ()
    raise ValueError(given)


def _refuse(function: Function, why: str, *names: str) -> None:
    for name in names:
        if getattr(function, name) is not None:
            raise _wrong(function, f"{why} {name}")


def is_number_of_retries(value: Any) -> bool:
    """Whether a function, or a run, can have so many."""
    return _whole(value) and 0 <= value <= RETRIES_MOST


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)   # also numpy's


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not (isinstance(value, Integral) and abs(int(value)) > FLOAT_MAX)


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f'"{value}"' for value in values)
