"""Runs a graph in this very process, one function after the other: for debugging, tests and small things. Needs no cluster."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from traceback import walk_tb
from types import CoroutineType
from typing import Any

from handoff.client.code import is_async
from handoff.client.result import RunResult
from handoff.errors import FunctionFailed
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function, name_of
from handoff.graph.links import Links
from handoff.graph.references import ById, Reference, replaced
from handoff.graph.validate import check, given_inputs, nested_too_deeply, refuse_streaming, step
from handoff.node.current import TASK, CurrentTask
from handoff.quoting import quoted
from handoff.resources import DEFAULT_COST, SCALE, costs

NODE = "local"                       # what functions are told about where they run
RETRIES_MAX = 3                      # where a function says nothing itself
_OURS = frozenset({__file__, replaced.__code__.co_filename})


def execute_local(dag: DAG, inputs: Mapping[Hashable, Any] | None = None) -> RunResult:
    """Run a graph here and now, ignoring costs, placement and timeouts. Values are handed over as they are, without a copy.
    `current_task` says node "local", no GPUs, and the first of the costs, as if it had been granted.

    Fails as `execute` does: an `InvalidDAG` before anything ran, or `FunctionFailed` with the function's own exception as its cause.
    """
    links = check(dag)
    refuse_streaming(links)
    run = _LocalRun(links, given_inputs(links, inputs))
    try:
        results = {links.functions[place].id: run.task(place) for place in links.order if links.functions[place].type == "regular"}
    finally:
        run.close()
    wanted = [function.id for function in links.functions if function.type == "regular"]
    return RunResult(dag.id, 0, ById({id: results[id] for id in wanted}), ById.fromkeys(wanted, NODE))


class _LocalRun:
    """The values of one run so far."""

    def __init__(self, links: Links, inputs: Mapping[Hashable, Any]) -> None:
        self._links, self._inputs = links, inputs
        self._values: dict[int, Any] = {}              # per task, by position
        self._loop: asyncio.Runner | None = None       # from the first coroutine on

    def close(self) -> None:
        """End the event loop, if there was one."""
        if self._loop is not None:
            _off_the_loop(self._loop.close)

    def task(self, place: int) -> Any:
        """Run a task, again if it fails, and keep its value."""
        function = self._links.functions[place]
        attempts = 1 + (RETRIES_MAX if function.max_retries is None else function.max_retries)
        cost = {name: steps / SCALE for name, steps in (DEFAULT_COST if function.cost is None else costs(function.cost)[0])}
        for attempt in range(1, attempts + 1):
            told = TASK.set(CurrentTask(0, place, attempt, name_of(function.code), NODE, cost=cost))
            try:
                value = self._values[place] = self._call(place, {})
                return value
            except (Exception, SystemExit) as error:
                if isinstance(error, RecursionError) and _is_from_nesting(error):
                    raise nested_too_deeply(function) from None
                if attempt == attempts:
                    raise FunctionFailed(
                        f"{quoted(function.id)} failed on {quoted(NODE)} in attempt {attempt}: {type(error).__name__}: {error}",
                        function=function.id, node=NODE, attempt=attempt, type=type(error).__qualname__) from error
            finally:
                TASK.reset(told)
        raise AssertionError("there is at least one attempt")

    def _call(self, place: int, folded: dict[int, Any]) -> Any:
        """The function's value; `folded` holds those of inline functions that this task has evaluated already."""
        function = self._links.functions[place]
        args = [self._taken(argument, producer, folded)
                for argument, producer in zip(function.args, self._links.arguments[place], strict=True)]
        if function.argument_inclusion == "as_list":
            args = [args]
        args += [self._filled(each, folded) for each in function.extra_args]
        kwargs = {name: self._filled(each, folded) for name, each in function.extra_kwargs.items()}
        assert function.code is not None
        return self._done(function.code, *args, **kwargs)

    def _filled(self, part: Any, folded: dict[int, Any]) -> Any:
        def result(reference: Reference) -> Any:
            return self._result(self._links.position[reference.id], folded)

        return replaced(part, result, lambda value: value)

    def _result(self, place: int, folded: dict[int, Any]) -> Any:
        function: Function = self._links.functions[place]
        if function.type == "input":
            return self._inputs[function.id]
        if function.type == "regular":
            return self._values[place]
        if place not in folded:
            folded[place] = self._call(place, folded)
        return folded[place]

    def _taken(self, argument: Hashable | Argument, producer: int, folded: dict[int, Any]) -> Any:
        """A dependency's value, after the steps of its Argument."""
        value = self._result(producer, folded)
        if isinstance(argument, Argument):
            for given in (argument.serialization_fn, argument.deserialization_fn):
                if given is not None:
                    code, static = step(given)
                    value = self._done(code, value, NODE, NODE, *static)
        return value

    def _done(self, code: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The value of a call, awaited where it has to be."""
        value = code(*args, **kwargs)
        if type(value) is not CoroutineType and not (is_async(code) and inspect.isawaitable(value)):   # as workers see it
            return value
        loop = self._loop = self._loop or asyncio.Runner()

        async def awaited() -> Any:
            return await value

        context = copy_context()       # in which `current_task` knows the task
        return _off_the_loop(lambda: loop.run(awaited(), context=context))


def _is_from_nesting(error: RecursionError) -> bool:
    """Whether the stack was filled by functions inside functions, not by the code of one of them."""
    frames = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    return sum(file in _OURS for file in frames) > len(frames) / 2


def _off_the_loop(work: Callable[[], Any]) -> Any:
    """The value of some work; done in another thread where this one has an event loop that runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return future.result()
