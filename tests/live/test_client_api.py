"""The blocking client against real processes: one cluster of two nodes for the whole file."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from witness import PATIENCE_SECONDS, await_file, step

import handoff
from handoff import errors


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """Two nodes of one core each."""
    with handoff.LocalCluster(nodes=2, cpus=1, memory=1000) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


def sleeper(seconds: float) -> float:
    """Takes time."""
    time.sleep(seconds)
    return seconds


def sleeps_on(seconds: float, path: Path) -> float:
    """Takes time, and goes on until that file is there; how long it took."""
    started = time.monotonic()
    time.sleep(seconds)
    await_file(path)
    return time.monotonic() - started


def pair(sleep: float) -> handoff.DAG:
    """A quick function and a slow one."""
    dag = handoff.DAG("pair")
    dag.call(sleeper, 0.0, id="quick")
    dag.call(sleeper, sleep, id="slow")
    return dag


def gated(gate: Path) -> handoff.DAG:
    """The same; the slow one ends when somebody makes the file."""
    dag = handoff.DAG("gated")
    dag.call(sleeper, 0.0, id="quick")
    dag.call(step, str(gate.with_name("diary")), "slow", id="slow", gate=str(gate))
    return dag


def test_results_allocations_and_ids(client: handoff.Client) -> None:
    """A result knows its graph, its run, its values and where they were made."""
    dag = handoff.DAG("sum")
    dag.add(handoff.Function("a", code=lambda: 2, node="node-2"))
    dag.add(handoff.Function("b", args=["a"], code=lambda a, b: a + b, extra_args=[3]))
    result = client.execute(dag)
    assert (result.dag_id, dict(result.results)) == ("sum", {"a": 2, "b": 5})
    assert result.allocations["a"] == "node-2"
    assert set(result.allocations) == {"a", "b"}
    assert result.run_id > 0
    assert "nope" not in result.results
    with pytest.raises(KeyError):
        result.results["nope"]


def test_only_what_is_asked_for_comes_back(client: handoff.Client) -> None:
    """`returns` names the results; allocations tell of all functions."""
    dag = handoff.DAG()
    a = dag.call(int, 4, id="a")
    dag.call(float, a, id="b")
    result = client.execute(dag, returns=["b"])
    assert dict(result.results) == {"b": 4.0}
    assert set(result.allocations) == {"a", "b"}


def test_inputs_are_given_at_execution(client: handoff.Client) -> None:
    """An input function's value comes with the call."""
    dag = handoff.DAG()
    dag.add(handoff.Function("x", type="input"))
    dag.add(handoff.Function("y", args=["x"], code=lambda x: x * 2))
    assert client.execute(dag, inputs={"x": 21}).results["y"] == 42
    with pytest.raises(errors.InvalidFunction, match="x"):
        client.execute(dag)


def test_a_failure_names_function_node_attempt_and_keeps_the_cause(client: handoff.Client) -> None:
    """The user's own exception is the cause, and the remote traceback is the cause of that."""

    def fails() -> None:
        raise ValueError("no good")

    dag = handoff.DAG()
    dag.add(handoff.Function("bad", code=fails, max_retries=0, node="node-1"))
    with pytest.raises(errors.FunctionFailed) as caught:
        client.execute(dag)
    error = caught.value
    assert (error.function, error.node, error.attempt, error.type) == ("bad", "node-1", 1, "ValueError")
    for word in ("function 'bad'", "node 'node-1'", "only attempt", "ValueError: no good"):
        assert word in str(error)
    assert type(error.__cause__) is ValueError
    assert "in fails" in str(error.__cause__.__cause__)


def test_a_cost_that_nobody_meets_is_refused_at_start(client: handoff.Client) -> None:
    """With the function's id, the resource, and the largest offer."""
    dag = handoff.DAG()
    dag.add(handoff.Function("huge", code=int, cost={"cpu": 64}))
    with pytest.raises(errors.AllocationError, match=r"'huge'.*cpu=64.*1") as caught:
        client.start(dag)
    assert caught.value.function == "huge"


def test_an_invalid_graph_is_refused_before_anything_is_sent(client: handoff.Client) -> None:
    """The client validates."""
    dag = handoff.DAG()
    dag.add(handoff.Function("a", args=["missing"], code=int))
    with pytest.raises(errors.MissingFunction):
        client.start(dag)


@pytest.mark.parametrize("options", [{"max_concurrency": 0}, {"timeout": 0}, {"timeout": -1}])
def test_options_that_make_no_sense_are_named(client: handoff.Client, options: dict[str, Any]) -> None:
    """ConfigError with the option's name."""
    with pytest.raises(errors.ConfigError, match=next(iter(options))):
        client.execute(pair(0), **options)


def test_as_completed_gives_the_quick_one_first(client: handoff.Client, tmp_path: Path) -> None:
    """Values come in the order of completion, before the run is over."""
    gate = tmp_path / "gate"
    run = client.start(gated(gate))
    seen = run.as_completed()
    assert next(seen) == ("quick", 0.0)
    assert not run.done()
    gate.touch()
    assert list(seen) == [("slow", "slow")]
    assert run.done()
    assert run.result().results["slow"] == "slow"


def test_patience_may_end_before_the_run(client: handoff.Client, tmp_path: Path) -> None:
    """ResultTimeout, which is a TimeoutError too, leaves the run going."""
    gate = tmp_path / "gate"
    run = client.start(gated(gate))
    with pytest.raises(TimeoutError, match="it goes on"):
        run.result(timeout=0.05)
    gate.touch()
    assert run.result(timeout=20).results["slow"] == "slow"


def test_a_run_that_takes_too_long_is_ended(client: handoff.Client) -> None:
    """`timeout` is the run's own."""
    with pytest.raises(errors.RunTimeout):
        client.execute(pair(30), timeout=0.2)


def test_cancel_ends_the_run(client: handoff.Client) -> None:
    """Whoever waits gets RunCancelled, soon."""
    run = client.start(pair(30))
    started = time.monotonic()
    run.cancel()
    with pytest.raises(errors.RunCancelled):
        run.result(timeout=10)
    assert time.monotonic() - started < 5
    assert run.status().state == "cancelled"
    assert "'pair' was cancelled" in str(run.report())
    assert {each.id for each in run.timeline()} <= {"quick"}
    told = str(run.explain("slow"))
    assert told.startswith("'slow' ") and "RunCancelled: the run was cancelled by its client" in told


def test_a_run_is_cancelled_by_its_number(client: handoff.Client, cluster: handoff.LocalCluster) -> None:
    """From any client."""
    run = client.start(pair(30))
    with cluster.client() as other:
        assert run.id in [each.run for each in other.runs()]
        other.cancel(run.id)
    with pytest.raises(errors.RunCancelled):
        run.result(timeout=10)


def test_who_cancels_a_run_that_is_not_there_is_told(client: handoff.Client) -> None:
    """A slip of the pen would leave the other run going, and nobody would know."""
    with pytest.raises(errors.ExecutionError, match="there is no run 987654"):
        client.cancel(987654)


def test_status_and_timeline(client: handoff.Client, tmp_path: Path) -> None:
    """While it runs and afterwards."""
    dag = handoff.DAG("pair")
    dag.call(sleeper, 0.0, id="quick")
    dag.call(sleeps_on, 0.3, tmp_path / "asked", id="slow")
    run = client.start(dag)
    assert next(run.as_completed())[0] == "quick"
    status = run.status()
    (tmp_path / "asked").touch()
    assert (status.state, status.total) == ("running", 2)
    slept = run.result(PATIENCE_SECONDS).results["slow"]
    assert (run.status().state, run.status().done) == ("done", 2)
    records = {record.function: record for record in run.timeline()}
    assert 0.3 <= slept <= records["slow"].seconds < slept + 5
    assert records["slow"].attempt == 1
    assert records["quick"].node in {"node-1", "node-2"}
    assert records["quick"].nbytes > 0


def test_submit_is_a_future(client: handoff.Client) -> None:
    """Results, exceptions and waiting are those of concurrent.futures."""
    future = client.submit(divmod, 7, 2)
    assert future.result(10) == (3, 1)
    futures = [client.submit(pow, 2, number) for number in range(20)]
    done, waiting = concurrent.futures.wait(futures, timeout=10)
    assert not waiting
    assert sorted(each.result() for each in done) == [2**number for number in range(20)]
    failed = client.submit(divmod, 1, 0, max_retries=0)
    assert isinstance(failed.exception(10), errors.FunctionFailed)
    assert isinstance(failed.exception().__cause__, ZeroDivisionError)


def test_a_submitted_function_can_be_cancelled_while_it_runs(client: handoff.Client) -> None:
    """Its node is free again soon."""
    future = client.submit(sleeper, 30, node="node-1")
    assert client.submit(sleeper, 0.01, node="node-2").result(10) == 0.01
    assert future.cancel()
    assert future.cancelled()
    assert client.submit(sleeper, 0.01, node="node-1").result(10) == 0.01
    over = client.submit(int)
    over.result(10)
    assert not over.cancel()


def test_map_keeps_the_order(client: handoff.Client) -> None:
    """Also over several windows and several iterables."""
    assert list(client.map(pow, range(5000), [2] * 5000)) == [number**2 for number in range(5000)]
    assert list(client.map(abs, [])) == []


def test_map_takes_arguments_of_any_size(client: handoff.Client) -> None:
    """Together they are more than one message may be, each is too small to travel on its own."""
    assert sum(client.map(len, [bytes(30_000)] * 2500)) == 30_000 * 2500


def test_what_map_gave_is_not_kept(client: handoff.Client) -> None:
    """Neither by it nor by the run behind it."""
    values = client.map(np.zeros, range(1, 4))
    first = weakref.ref(next(values))
    next(values)
    assert first() is None
    assert len(list(values)) == 1


def test_map_names_an_option_that_it_does_not_know(client: handoff.Client) -> None:
    """An option of a whole run, or a misspelt one, is told with those that there are."""
    with pytest.raises(TypeError, match=r"map does not know wait_for_nodes; that is an option of client\.start.*; its options are cost, "):
        list(client.map(abs, [1], wait_for_nodes=True))


def test_a_future_that_is_not_done_in_time_says_whose_it_is(client: handoff.Client) -> None:
    """As a run does; it is the TimeoutError that those who know futures wait for."""
    future = client.submit(time.sleep, 30)
    for wait in (future.result, future.exception):
        with pytest.raises(errors.ResultTimeout, match=r"'sleep' is not over after .* s; it goes on"):
            wait(0.01)
    assert issubclass(errors.ResultTimeout, TimeoutError) and not future.done()
    assert future.cancel()


def test_what_no_node_can_run_is_told_where_waiting_is_possible(client: handoff.Client) -> None:
    """Single calls have no `wait_for_nodes`: they are sent to what has."""
    for call in (lambda: client.submit(abs, -1, cost={"tape": 1}).result(), lambda: list(client.map(abs, [-1], cost={"tape": 1}))):
        with pytest.raises(errors.AllocationError, match="start a node that has it, or run it in a graph with wait_for_nodes=True"):
            call()


def test_map_raises_what_a_function_raises(client: handoff.Client) -> None:
    """In its place in the order; what is left is cancelled."""
    values = client.map(lambda x: 10 // x, [5, 0, 2], max_retries=0)
    with pytest.raises(errors.FunctionFailed):
        list(values)


def test_large_values_come_when_they_are_looked_at(client: handoff.Client) -> None:
    """As read-only arrays, once."""
    dag = handoff.DAG()
    dag.call(np.arange, 1_000_000, id="large")
    result = client.execute(dag)
    value = result.results["large"]
    assert value.sum() == 499999500000
    assert not value.flags.writeable
    assert value.flags.aligned
    assert result.results["large"] is value


def test_large_values_arrive_in_as_completed_and_submit(client: handoff.Client) -> None:
    """Both give the value itself."""
    dag = handoff.DAG()
    dag.call(np.ones, 500_000, id="ones")
    assert [(name, value.sum()) for name, value in client.start(dag).as_completed()] == [("ones", 500_000)]
    assert client.submit(np.ones, 500_000).result(20).sum() == 500_000


def test_large_arguments_are_uploaded(client: handoff.Client) -> None:
    """A literal over a mebibyte goes to a node once and is shared by its users."""
    data = np.arange(1_000_000)
    dag = handoff.DAG()
    dag.call(np.sum, data, id="sum")
    dag.call(len, data, id="len")
    assert dict(client.execute(dag).results) == {"sum": 499999500000, "len": 1_000_000}


def test_what_functions_print_appears_here(client: handoff.Client, capfd: pytest.CaptureFixture[str]) -> None:
    """Marked with function and node, on the stream that it was written to; or given to a callable; or dropped."""

    def talk() -> None:
        print("hello")
        print("oops", file=sys.stderr)

    dag = handoff.DAG()
    dag.add(handoff.Function("talk", code=talk, node="node-1"))
    client.execute(dag)
    wait_until(lambda: "oops" in _kept(capfd)[1] and "hello" in _kept(capfd)[0])
    assert "[talk @ node-1] hello\n" in _kept(capfd)[0]
    assert "[talk @ node-1] oops\n" in _kept(capfd)[1]
    lines: list[tuple[Any, ...]] = []
    client.execute(dag, output=lambda *line: lines.append(line))
    wait_until(lambda: len(lines) == 2)
    assert sorted(lines) == [("talk", "node-1", "stderr", "oops"), ("talk", "node-1", "stdout", "hello")]


_seen: dict[int, list[str]] = {}


def _kept(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """All that was captured so far in this test."""
    kept = _seen.setdefault(id(capfd), ["", ""])
    out, err = capfd.readouterr()
    kept[0] += out
    kept[1] += err
    return kept


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    """For what happens in other processes soon."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_nodes_and_their_room(client: handoff.Client) -> None:
    """What is there, and whether it has room; an unknown name is an error that lists the known ones."""
    nodes = {node.name: node for node in client.nodes()}
    assert set(nodes) == {"node-1", "node-2"}
    assert nodes["node-1"].capacity["cpu"] == 1
    assert nodes["node-1"].pid > 0
    wait_until(lambda: client.resources_available("node-1", {"cpu": 1}))
    assert not client.resources_available("node-1", {"cpu": 2})
    with pytest.raises(errors.ConfigError, match=r"'nope'.*node-1, node-2"):
        client.resources_available("nope", {"cpu": 1})


def test_a_detached_run_outlives_its_client_and_is_attached(client: handoff.Client, cluster: handoff.LocalCluster) -> None:
    """By number, from another client."""
    with cluster.client() as first:
        number = first.start(pair(0.5), detach=True).id
    run = client.attach(number)
    assert run.result(10).results["slow"] == 0.5
    with pytest.raises(errors.HandoffError):
        client.attach(987654)


def test_a_client_that_leaves_takes_its_runs_along(client: handoff.Client, cluster: handoff.LocalCluster) -> None:
    """Unless they are detached."""
    first = cluster.client()
    run = first.start(pair(30))
    first.close()
    with pytest.raises(errors.ConnectionLost, match="closed"):
        run.result()
    with pytest.raises(errors.ConnectionLost, match="closed"):
        first.nodes()
    wait_until(lambda: all(each.state != "running" for each in client.runs()))


def test_results_stay_usable_after_the_client_is_closed(cluster: handoff.LocalCluster) -> None:
    """Those that are here; a large one that was never looked at is gone, and says so."""
    dag = pair(0)
    dag.call(np.ones, 500_000, id="large")
    with cluster.client() as made:
        result = made.execute(dag)
    assert result.results["quick"] == 0.0
    with pytest.raises(errors.ResultLost, match="closed"):
        result.results["large"]


def test_runs_that_nobody_holds_are_forgotten(client: handoff.Client) -> None:
    """The coordinator is told when results are let go, and keeps no tables of the run."""
    result = client.execute(pair(0))
    number = result.run_id
    assert client._core.ask("timeline", number).result()["task"]
    del result
    gc.collect()
    with pytest.raises(errors.HandoffError, match=f"run {number} is over"):
        client._core.ask("timeline", number).result()


def test_futures_leave_nothing_behind(client: handoff.Client) -> None:
    """Neither small nor large results, failures nor cancelled calls are kept when they are over."""
    for code, arguments in ((abs, (1,)), (np.ones, (500_000,))):
        client.submit(code, *arguments).result(20)
    client.submit(divmod, 1, 0, max_retries=0).exception(20)
    client.submit(sleeper, 30).cancel()
    gc.collect()
    wait_until(lambda: not client._core.states)


def test_several_threads_share_a_client(client: handoff.Client) -> None:
    """Each gets its own results."""
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda number: client.submit(abs, -number).result(20), range(40))) == list(range(40))


def test_ctrl_c_cancels_the_run(client: handoff.Client) -> None:
    """The interrupt goes on after the cluster was told."""
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        client.execute(pair(30))
    timer.join()
    wait_until(lambda: all(run.state != "running" for run in client.runs()))


class Unloadable:
    """Can be pickled, and never be loaded again."""

    def __reduce__(self) -> Any:
        """Loading it divides by zero."""
        return (divmod, (1, 0))


def not_seventy(number: int) -> int:
    """Fails once."""
    if number == 70:
        raise ValueError("seventy")
    return number


def test_errors_of_a_map_name_the_item(client: handoff.Client) -> None:
    """Its number in the whole map, whatever runs the items were in."""
    with pytest.raises(errors.FunctionFailed, match="function 70: ") as caught:
        list(client.map(not_seventy, range(100), max_retries=0))
    assert caught.value.function == 70
    with pytest.raises(errors.ResultTimeout, match="the result of item 0 is not here in time; the map ends"):
        list(client.map(sleeper, [60.0, 60.0], timeout=0.2))


def test_a_result_that_can_not_be_loaded_is_named(client: handoff.Client) -> None:
    """Whichever way it is looked at; its own error is the cause."""
    dag = handoff.DAG()
    dag.call(Unloadable, id="broken")
    ways = [
        lambda: client.submit(Unloadable).result(), lambda: list(client.map(lambda _: Unloadable(), [1])),
        lambda: list(client.start(dag).as_completed()), lambda: client.execute(dag).results["broken"],
    ]
    for way, name in zip(ways, ("'Unloadable'", "0", "'broken'", "'broken'"), strict=True):
        with pytest.raises(errors.ExecutionError, match=f"the result of {name} is here, but can't be loaded: ZeroDivisionError") as caught:
            way()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
