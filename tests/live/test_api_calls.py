"""Single functions, many of them, several clients, and what functions print, as a program sees it."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import numpy as np
import pytest
from witness import until

import handoff
from handoff import DAG, Function, errors


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """Two nodes, one with a GPU."""
    with handoff.LocalCluster([{"cpus": 2}, {"cpus": 1, "gpus": 1}], memory=1000) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


# ── single functions ─────────────────────────────────────────────────────────


def test_an_array_that_is_filled_anew_for_each_call_is_sent_as_it_was(client: handoff.Client) -> None:
    """A large argument leaves here when a node asks for it, which is after the call was submitted: also of a graph that was started."""
    numbers, futures, runs = np.zeros(50_000), [], []
    for value in range(4):
        numbers[:] = value
        futures.append(client.submit(np.max, numbers))
        dag = DAG()
        dag.call(np.max, numbers, id="max")
        runs.append(client.start(dag))
    numbers[:] = -1.0
    assert [future.result() for future in futures] == [run.result()["max"] for run in runs] == [0, 1, 2, 3]


def test_each_call_finds_its_class_as_it_was_when_it_was_submitted(client: handoff.Client) -> None:
    """On one worker, which keeps the code of each; and no result changes the class here."""
    class Model:
        rate = 1

        def of(self) -> int:
            return self.rate

    def made(rate: int) -> tuple[int, Model]:
        assert rate > 0
        return Model().of(), Model()

    method, seen = Model.of, []
    for rate in (1, 2, 1, 2):
        Model.rate = rate
        seen.append(client.submit(made, rate, node="node-2"))
    Model.rate = 3
    assert [future.result()[0] for future in seen] == [1, 2, 1, 2]
    assert {type(future.result()[1]) for future in seen} == {Model}
    assert (Model.rate, Model.of) == (3, method)


def test_map_ends_with_the_shortest_of_its_iterables(client: handoff.Client) -> None:
    """As the builtin does; and it reads no more of a long one than it works ahead."""
    assert list(client.map(lambda *each: each, [1, 2, 3], "ab", range(9))) == [(1, "a", 0), (2, "b", 1)]
    with pytest.raises(TypeError, match="there is no iterable"):
        client.map(abs)
    endless = client.map(abs, itertools.count())
    assert list(itertools.islice(endless, 3)) == [0, 1, 2]
    endless.close()  # type: ignore[attr-defined]  # ends what was started


def test_closures_of_a_loop_are_called_with_what_each_encloses(client: handoff.Client) -> None:
    """Though they share their code; one that fails is named as what the user wrote, with the line that did."""
    dag = DAG()
    for number in range(50):
        dag.add(Function(number, code=lambda number=number: 10 // (number + 1)))
    assert client.execute(dag).results == {number: 10 // (number + 1) for number in range(50)}
    for number in range(2):
        dag.add(Function(("fails", number), code=functools.partial(_quotient, 10, 1 - number)))
    with pytest.raises(errors.FunctionFailed, match=r"_quotient failed on node '.*ZeroDivisionError") as failure:
        client.execute(dag, returns=[("fails", 1)], max_retries=0)
    told = "".join(traceback.format_exception(failure.value))
    assert "in _quotient" in told
    assert "graph/bound" not in told


def _quotient(one: int, other: int) -> int:
    return one // other


def test_bound_options_hold_for_submit_and_map(client: handoff.Client) -> None:
    """What `@handoff.function` says about a function, unless the call says otherwise; `inline` is about graphs only."""

    @handoff.function(cost={"unobtainium": 1}, inline=True)
    def costly(x: int) -> int:
        return -x

    with pytest.raises(errors.AllocationError, match="unobtainium"):
        client.submit(costly, 1).result(20)
    with pytest.raises(errors.AllocationError, match="unobtainium"):
        list(client.map(costly, [1]))
    assert client.submit(costly, 1, cost={}).result(20) == -1
    assert list(client.map(costly, [1, 2], cost={})) == [-1, -2]


def test_a_failure_says_what_where_and_how_often(client: handoff.Client) -> None:
    """function, node, attempt and type as attributes; the user's exception, with its own cause, and the remote traceback behind it."""

    def broken() -> None:
        try:
            {}["key"]
        except KeyError as error:
            raise ValueError("outer") from error

    dag = DAG().add(Function(("any", "id"), code=broken, node="node-2", max_retries=1))
    with pytest.raises(errors.FunctionFailed) as caught:
        client.execute(dag)
    failed = caught.value
    assert (failed.function, failed.node, failed.attempt, failed.type) == (("any", "id"), "node-2", 2, "ValueError")
    assert type(failed.__cause__) is ValueError and failed.__cause__.args == ("outer",)
    remote = str(failed.__cause__.__cause__)
    assert type(failed.__cause__.__cause__) is errors.RemoteTraceback
    assert "KeyError: 'key'" in remote and "ValueError: outer" in remote
    line = broken.__code__.co_firstlineno + 2
    assert f'  File "{__file__}", line {line}, in broken\n    {{}}["key"]\n' in remote     # by value: the node has no such file


# ── results ──────────────────────────────────────────────────────────────────


def test_results_can_not_be_changed(client: handoff.Client) -> None:
    """Neither the result, nor its mappings, nor arrays in it, large or small, nested or not, here or in a dependent."""
    dag = DAG()
    for name, length in (("small", 10), ("middle", 20_000), ("large", 500_000)):
        dag.add(Function(name, code=lambda length: {"data": np.arange(length)}, extra_args=[length]))
        dag.add(Function(f"{name} seen", [name], lambda value: value["data"].flags.writeable))
    result = client.execute(dag)
    for name in ("small", "middle", "large"):
        assert not result.results[f"{name} seen"]
        with pytest.raises(ValueError, match="read-only"):
            result.results[name]["data"][0] = 1
    with pytest.raises(TypeError):
        result.results["small"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        result.allocations["small"] = "elsewhere"  # type: ignore[index]
    with pytest.raises(AttributeError):
        result.results = {}  # type: ignore[misc]


def test_an_attached_run_is_whole(client: handoff.Client, cluster: handoff.LocalCluster) -> None:
    """Name, ids of any kind, results, allocations, timeline."""
    dag = DAG("mine")
    dag.add(Function(("a", 1), code=abs, extra_args=[-1], node="node-2"))
    dag.add(Function("b", [("a", 1)], lambda a: a + 1))
    with cluster.client() as first:
        number = first.start(dag, returns=["b", ("a", 1)], detach=True).id
    run = client.attach(number)
    result = run.result(timeout=20)
    assert (result.dag_id, result.run_id, dict(result.results)) == ("mine", number, {"b": 2, ("a", 1): 1})
    assert result.allocations["a", 1] == "node-2"
    assert [record.function for record in run.timeline()] == [("a", 1), "b"]


def test_several_clients_at_once(cluster: handoff.LocalCluster) -> None:
    """Each has its runs, its results and its lines to itself, under equal ids."""
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        lines: list[str] = []
        with cluster.client() as mine:
            dag = DAG("same")
            dag.add(Function("say", code=lambda: print(f"said by {number}") or number))
            dag.add(Function("sum", ["say"], lambda own, *rest: own + sum(rest), extra_args=list(range(number))))
            results = mine.execute(dag, output=lambda *line: lines.append(line[-1])).results
            until(lambda: lines, "its line")
            found[number] = results["sum"], list(mine.map(abs, range(-number, 0))), lines

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {
        number: (number + sum(range(number)), list(range(number, 0, -1)), [f"said by {number}"]) for number in range(5)
    }


# ── output ───────────────────────────────────────────────────────────────────


def chatty() -> DAG:
    """A function and a coroutine that print and log."""
    def talk() -> None:
        print("printed")
        print("complained", file=sys.stderr)
        logging.getLogger("theirs.module").warning("logged %d", 7)

    async def murmur() -> None:
        print("before")
        await asyncio.sleep(0.01)
        print("after")

    return DAG().add(Function("talk", code=talk, node="node-1")).add(Function("murmur", code=murmur, node="node-2"))


def test_prints_and_logs_are_handed_to_a_callable(client: handoff.Client) -> None:
    """With function, node and stream, those of coroutines too."""
    lines: set[tuple[Any, ...]] = set()
    client.execute(chatty(), output=lambda *line: lines.add(line))
    expected = {
        ("talk", "node-1", "stdout", "printed"), ("talk", "node-1", "stderr", "complained"),
        ("talk", "node-1", "log", "WARNING theirs.module: logged 7"),
        ("murmur", "node-2", "stdout", "before"), ("murmur", "node-2", "stdout", "after"),
    }
    until(lambda: lines == expected, lambda: f"{lines} is {expected}")


def test_output_appears_marked_or_not_at_all(client: handoff.Client, capfd: pytest.CaptureFixture[str]) -> None:
    """What is printed on stdout, the rest on stderr; with output=False nothing, though the next run's lines come."""
    client.execute(chatty(), output=False)
    client.execute(DAG().add(Function("last", code=lambda: print("end"), node="node-1")))
    client.execute(DAG().add(Function("last", code=lambda: print("end"), node="node-2")))
    out = error = ""

    def seen(*wanted: str) -> bool:
        nonlocal out, error
        more = capfd.readouterr()
        out, error = out + more.out, error + more.err
        return all(line in out + error for line in wanted)

    until(lambda: seen("[last @ node-1] end\n", "[last @ node-2] end\n"), lambda: f"the last lines in {out!r}")
    assert "talk" not in out + error and "murmur" not in out + error

    client.execute(chatty())
    until(lambda: seen("[murmur @ node-2] after\n", "logged 7\n", "complained\n", "printed\n"), lambda: f"all lines in {out!r} {error!r}")
    assert "[talk @ node-1] printed\n" in out
    assert "[talk @ node-1] complained\n" in error and "[talk @ node-1] WARNING theirs.module: logged 7\n" in error


def test_lines_are_shown_where_the_program_is_now(cluster: handoff.LocalCluster) -> None:
    """A notebook knows by a context variable which cell is printing: that in which a client was made is over when the lines come."""
    cell: ContextVar[str] = ContextVar("cell")
    found: list[str] = []

    def in_cell(name: str, act: Callable[[], Any]) -> Any:
        cell.set(name)
        return act()

    with copy_context().run(in_cell, "makes it", cluster.client) as mine:
        taking: Any = {"output": lambda *line: found.append(cell.get("the one that runs now"))}
        copy_context().run(in_cell, "asks it", lambda: mine.execute(chatty(), **taking))
        until(lambda: len(found) == 5, "its lines")
    assert set(found) == {"the one that runs now"}


def test_what_a_call_printed_is_shown_though_its_client_closes_at_once(
    cluster: handoff.LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values come straight from their node, lines by way of the coordinator: these are waited for. Without that, every fourth was lost."""
    for number in range(20):
        with cluster.client() as brief:
            assert brief.submit(print, number).result() is None
            assert list(brief.map(print, [number])) == [None]
    shown = [line.split("] ")[1] for line in capsys.readouterr().out.splitlines()]
    assert shown == [str(number) for number in range(20) for _ in range(2)]


def test_a_reference_names_what_its_function_gave(client: handoff.Client) -> None:
    """In results, allocations and explanations, as its id does."""
    dag = handoff.DAG()
    one = dag.call(abs, -1)
    two = dag.call(max, one, 2)
    run = client.start(dag)
    result = run.result()
    assert (result[two], result.results[one], one in result.results) == (2, 1, True)
    assert result.allocations[one] == result.allocations["abs"]
    assert run.explain(two).function == "max"
    with pytest.raises(KeyError):
        _ = result[handoff.DAG().call(min, 1, 2)]
