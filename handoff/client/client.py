"""The client: the blocking Python API of a cluster. Several threads may use one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, overload

from handoff.client.attaching import begin_attach, finish_attach
from handoff.client.core import Core
from handoff.client.futures import CallFuture
from handoff.client.lower import Lowered, lower
from handoff.client.mapping import Begun, Mapped, cores_of
from handoff.client.nodes import NodeInfo, RunInfo, has_room, node_info, run_info
from handoff.client.options import check_concurrency, check_output, check_run, patience, run_number, warn_of_speculation
from handoff.client.result import RunResult
from handoff.client.run import Run, wait_over
from handoff.client.single import SingleCalls
from handoff.client.source import source_of
from handoff.client.state import Graph, Lease, OutputTaker, RunState
from handoff.client.waiting import T, check_may_wait
from handoff.errors import ExecutionError, InvalidCall, ResultTimeout
from handoff.graph.dag import DAG
from handoff.graph.elsewhere import instead_of, no_attribute
from handoff.graph.function import Function
from handoff.graph.options import OPTIONS, options_of
from handoff.ids import RunId
from handoff.messages import Submit
from handoff.quoting import quoted
from handoff.wire.values import pack

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from handoff.client.planning.plan import Plan
    from handoff.scheduler.allocator import Allocator

_single = SingleCalls()

CANCEL_WAIT_SECONDS = 2.0            # after Ctrl-C: how long the cluster gets to end the run before the interrupt goes on


class Client:
    """A connection to a cluster; `handoff.connect` makes one. Closing it ends its runs, except detached ones."""

    def __init__(self, core: Core) -> None:
        self._core = checked_core(core)

    def __repr__(self) -> str:
        host, port = self._core.address
        return f"<Client of {host}:{port}{', closed' if self._core.is_closed else ''}>"

    def __reduce__(self) -> NoReturn:
        raise not_copied()

    if not TYPE_CHECKING:   # where any name would do
        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, "a Client", name)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster. Results that are here stay usable; large ones that were never looked at do not."""
        self._core.close()

    # ── graphs ───────────────────────────────────────────────────────────────

    def execute(
        self,
        dag: DAG,
        *,
        returns: Iterable[Hashable] | None = None,
        inputs: Mapping[Hashable, Any] | None = None,
        max_retries: int = 3,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        detach: bool = False,
        wait_for_nodes: bool = False,
        weight: float = 1.0,
        output: OutputTaker | bool | None = None,
        plan: Plan | None = None,
    ) -> RunResult:
        """Run a graph and wait for its results: those of `returns`, or of all functions. Ctrl-C cancels the run.

        `max_retries` is for functions without their own; `timeout` is for the whole run; of runs of equal priority each gets a share of
        the cluster in proportion to its `weight`. Lines that functions print appear here,
        marked, unless `output` is False or a callable (function id, node, stream, text) that takes them. A `plan` is followed: each
        function runs on its node, in its order, unless that node is lost, drains, or is far behind; `corrections` of the result tell of
        these. One that names a node which is not there is refused with AllocationError: plan again.

        Raises InvalidDAG and NotSerializable before anything is sent, AllocationError for a cost that no node can ever meet, FunctionFailed
        with the function's own exception as its cause, RunTimeout after `timeout` seconds, other ExecutionErrors, ConnectionLost.
        """
        check_may_wait(self._core, "a graph can't be executed here")
        state = begin(
            self._core, dag, returns=returns, inputs=inputs, max_retries=max_retries, max_concurrency=max_concurrency, timeout=timeout,
            detach=detach, wait_for_nodes=wait_for_nodes, weight=weight, output=output, plan=plan, is_waited_for=True,
        )
        run = Run(Lease(state))
        try:
            return run.result()
        except KeyboardInterrupt:
            run.cancel()
            with contextlib.suppress(ResultTimeout):
                wait_over(state, CANCEL_WAIT_SECONDS)
            raise

    def start(
        self,
        dag: DAG,
        *,
        returns: Iterable[Hashable] | None = None,
        inputs: Mapping[Hashable, Any] | None = None,
        max_retries: int = 3,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        detach: bool = False,
        wait_for_nodes: bool = False,
        weight: float = 1.0,
        output: OutputTaker | bool | None = None,
        plan: Plan | None = None,
    ) -> Run:
        """Start a graph and go on; the options are those of `execute`. Raises what makes the cluster refuse it."""
        check_may_wait(self._core, "a run can't be started here")
        state = begin(
            self._core, dag, returns=returns, inputs=inputs, max_retries=max_retries, max_concurrency=max_concurrency, timeout=timeout,
            detach=detach, wait_for_nodes=wait_for_nodes, weight=weight, output=output, plan=plan,
        )
        lease = Lease(state)
        try:
            state.accepted.result()
        except BaseException:   # interrupted: nobody has it
            self._core.cancel(state)
            raise
        if not state.run:
            state.raise_if_failed()
        return Run(lease)

    def plan(
        self,
        dag: DAG,
        *,
        returns: Iterable[Hashable] | None = None,
        inputs: Mapping[Hashable, Any] | None = None,
        max_retries: int = 3,
        max_concurrency: int | None = None,
        allocator: str | Callable[[], Allocator] | None = None,
    ) -> Plan:
        """Where and when each function of a graph would run, without running anything: worked out here, as the coordinator would.

        It is for an idle cluster of the nodes that are there. `allocator` is "greedy", "first-fit", "round-robin", "heft" or a class
        of one's own; None: the cluster's. Raises what would make the cluster refuse the graph.
        """
        lowered, outlook = begin_plan(self._core, dag, returns, inputs, max_retries)
        return end_plan(dag, lowered, outlook.result(), allocator, max_concurrency)

    def attach(self, run_id: int) -> Run:
        """Take over a detached run, perhaps of a client that is gone."""
        check_may_wait(self._core, "a run can't be attached here")
        lease = begin_attach(self._core, run_id)
        lease.state.accepted.result()
        finish_attach(lease.state)
        return Run(lease)

    # ── single functions ─────────────────────────────────────────────────────

    @overload
    def submit(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> CallFuture[T]: ...
    @overload
    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> CallFuture[T]: ...
    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> CallFuture[Any]:
        """Run `function(*args, **kwargs)` somewhere; options such as `cost` are those of `DAG.call`.

        Returns at once, with a `concurrent.futures.Future`: its `result()` raises what `execute` raises. Cancelling it ends the function.
        """
        name, lowered = _single.lower(function, args, kwargs)
        state = new_state(self._core, name, lowered, None, False)
        future: CallFuture[Any] = CallFuture(state)
        self._core.submit(state, Submit(state.token, name, lowered.program, values_only=True, body=lowered.body), forget=True)
        return future

    @overload
    def map(
        self, function: Callable[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], timeout: float | None = None, **options: Any
    ) -> Iterator[T]: ...
    @overload
    def map(
        self, function: Callable[..., T], /, *iterables: Iterable[Any], timeout: float | None = None, **options: Any
    ) -> Iterator[T]: ...
    def map(
        self, function: Callable[..., Any], /, *iterables: Iterable[Any], timeout: float | None = None, **options: Any
    ) -> Iterator[Any]:
        """`function` over the items, in parallel; values in the order of the items. Options such as `cost` are those of `Function`.

        Items are taken only some way ahead of what was read: as many as keep the cluster busy, and as the memory for their values allows.
        An iterable that is no list, tuple, range, dict, set or string is read in a thread of its own. So each value is there as soon as it
        exists, however long the next item takes; what the iterable raises comes when the values before it were read.

        Items are tried again as other functions are. When one has failed for good, that ends the map at once: values come up to the first
        that does not exist by then, and after them the error, which names the item that failed. Earlier items may not have ended.
        """
        return begin_map(self._core, function, iterables, timeout, options).values()

    # ── the cluster ──────────────────────────────────────────────────────────

    def nodes(self) -> list[NodeInfo]:
        """The nodes that are there."""
        return [node_info(each) for each in self._core.ask("nodes").result()]

    def runs(self) -> list[RunInfo]:
        """The runs that the coordinator knows, of all clients."""
        return [run_info(each) for each in self._core.ask("runs").result()]

    def resources_available(self, node: str, cost: Mapping[str, float | int | str]) -> bool:
        """Whether that node has as much free now."""
        return has_room(self.nodes(), node, cost)

    def cancel(self, run_id: int) -> None:
        """End any run, by its number; of one that is over, let its results go. Raises ExecutionError when there is no such run."""
        check_may_wait(self._core, "a run can't be cancelled by its number here")
        check_known(run_number(run_id), self._core.ask("runs").result())
        self._core.cancel_other(run_id, "cancelled by another client")
        self.runs()  # the answer comes after the cancel was heard

    def drain(self, node: str, seconds: float | None = None) -> None:
        """Have a node leave the cluster in order: it gets no new work, ends what it has begun, and goes when nobody needs its results.

        Returns at once; `nodes()` shows it as "draining" until it is gone. Results on it are needed until their run is forgotten: one that
        is over and that somebody holds, or that goes on detached, keeps it. After `seconds` (None: as the coordinator's setting
        `scheduler.drain_seconds` says) it goes anyway, and what is left on it runs elsewhere: results that are asked for later are made
        again, and of functions that are pinned to it, they raise NodeTimeout. Raises ConfigError for a node that is not there.
        """
        check_may_wait(self._core, "a node can't be drained here")
        self._core.drain(node, seconds).result()


# ── shared with handoff.aio ─────────────────────────────────────────────────


def check_known(run: RunId, rows: Iterable[Any]) -> None:
    """Raise ExecutionError for the number of a run that the coordinator, which answered so, does not have."""
    if all(run_info(each).run != run for each in rows):
        raise ExecutionError(f"there is no run {run}; client.runs() tells which there are")


def checked_core(core: object) -> Core:
    """It; InvalidCall for what somebody took for the parameter of a client."""
    if not isinstance(core, Core):
        raise InvalidCall(f'a client is not made of {quoted(core)}: handoff.connect("host:port") and LocalCluster(...).client() make one')
    return core


def not_copied() -> TypeError:
    """The error of those who send a client somewhere, perhaps as a variable that a function uses."""
    return TypeError("a client can't be copied or pickled: it is this process's connection to the cluster; where another one is needed, "
                     "handoff.connect makes it")


def begin(
    core: Core,
    dag: DAG,
    *,
    returns: Iterable[Hashable] | None,
    inputs: Mapping[Hashable, Any] | None,
    max_retries: int,
    max_concurrency: int | None,
    timeout: float | None,
    detach: bool,
    wait_for_nodes: bool,
    weight: float,
    output: OutputTaker | bool | None,
    plan: Plan | None = None,
    is_waited_for: bool = False,
) -> RunState:
    """Lower and submit a graph. `is_waited_for`: the caller does nothing else until it is over."""
    check_run(max_concurrency, timeout, weight, detach=detach, wait_for_nodes=wait_for_nodes)
    check_output(output)
    core.check_open("a run can't be started")
    lowered = lower(dag, returns=returns, max_retries=max_retries, inputs=inputs)
    if max_concurrency:
        warn_of_speculation(lowered.program.kinds)
    followed = followed_columns(plan, lowered) if plan is not None else {}
    state = new_state(core, dag.id, lowered, output, detach, is_waited_for=is_waited_for)
    state.is_planned = plan is not None
    ids = pack((lowered.ids, lowered.hidden)).join() if detach else b""
    core.submit(state, Submit(
        state.token, str(dag.id), lowered.program, int(max_concurrency or 0), float(timeout or 0.0), detach, wait_for_nodes, ids,
        float(weight), body=lowered.body,
        **followed,
    ))
    return state


def begin_plan(core: Core, dag: DAG, returns: Iterable[Hashable] | None, inputs: Mapping[Hashable, Any] | None,
               max_retries: int) -> tuple[Lowered, Future[Any]]:
    """Lower a graph, and ask for what the coordinator knows of its functions."""
    lowered = lower(dag, returns=returns, max_retries=max_retries, inputs=inputs)
    kinds = lowered.program.kinds
    if not any(kind.alternatives or kind.family for kind in kinds):
        return lowered, core.ask("outlook", kinds=kinds)
    from handoff.client.planning.basis import alternatives_of, families_of

    return lowered, core.ask("outlook", kinds=[*kinds, *(each for _, _, each in alternatives_of(kinds)), *families_of(kinds)])


def end_plan(dag: DAG, lowered: Lowered, outlook: Any, allocator: str | Callable[[], Allocator] | None,
             max_concurrency: int | None) -> Plan:
    """Work the plan out, which may take a while."""
    from handoff.client.planning.plan import make_plan

    check_concurrency(max_concurrency)
    return make_plan(lowered, str(dag.id), outlook, allocator, max_concurrency)


def followed_columns(plan: Any, lowered: Lowered) -> dict[str, Any]:
    """What a submission says of the plan that it follows."""
    from handoff.client.planning.followed import columns_of

    return columns_of(plan, lowered)


def new_state(
    core: Core, dag_id: str, lowered: Lowered, output: OutputTaker | bool | None, detach: bool, *, is_waited_for: bool = False,
) -> RunState:
    """The record of a run that is about to be submitted. Large arguments leave here later, and are those of this moment: unless the caller
    waits for the run, whoever fills an array anew for each call would change what was asked for.
    """
    program, objects = lowered.program, lowered.objects
    if objects and not is_waited_for:
        objects = {task: packed.kept() for task, packed in objects.items()}
    graph = Graph(dag_id, lowered.ids, lowered.outputs, lowered.number, objects, lowered.hidden,
                  program.kinds, program.kind, program.fan_in, program.inputs, lowered.beside)
    return RunState(core, core.token(), graph, output=output, detached=detach)


def begin_map(
    core: Core, function: Callable[..., Any], iterables: tuple[Iterable[Any], ...], timeout: float | None, options: Mapping[str, Any],
) -> Mapped:
    """Take the first items of a map, and start them."""
    seconds = patience(timeout)
    if not iterables:
        raise InvalidCall("map takes a function and one or more iterables of items, as the builtin map does; there is no iterable")

    def cores() -> Callable[[], int | None]:
        asked = core.ask("nodes")
        return lambda: cores_of(asked.result()) if asked.done() and asked.exception() is None else None

    def begin(window: list[tuple[Any, ...]], first: int) -> Begun:
        return begin_window(core, function, window, first, options)

    return Mapped(begin, source_of(iterables), seconds, cores)


def begin_window(core: Core, function: Callable[..., Any], window: list[tuple[Any, ...]], first: int, options: Mapping[str, Any]) -> Begun:
    """A run for some items of a map, of which the first has this number: errors name the item."""
    dag = DAG(getattr(function, "__name__", "map"))
    unknown = options.keys() - (OPTIONS - {"inline"})
    if unknown:
        raise InvalidCall(f"map does not know {', '.join(sorted(unknown))}{instead_of(unknown)}; its options are "
                          f"{', '.join(sorted(OPTIONS - {'inline'}))}")
    bound = {name: value for name, value in options_of(function).items() if name != "inline"}  # of no meaning for a single call
    options = {**bound, **options}
    for number, args in enumerate(window, first):
        dag.add(Function(number, code=function, extra_args=list(args), **options))
    lowered = lower(dag)
    state = new_state(core, dag.id, lowered, None, False)
    core.submit(state, Submit(state.token, str(dag.id), lowered.program, body=lowered.body))
    return Begun(state, len(lowered.program.literals.data) + sum(packed.nbytes for packed in lowered.objects.values()))
