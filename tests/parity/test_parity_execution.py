"""Runs start, overlap, fail, retry and release as the original library's do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handoff
from handoff import DAG, Function, errors


def note(folder: str, name: str, seconds: float = 0.0) -> tuple[float, float]:
    """Leave a mark when it starts; tell when it ran."""
    (Path(folder) / name).touch()
    started = time.time()
    time.sleep(seconds)
    return started, time.time()


def meet(folder: str, name: str, other: str) -> tuple[float, float]:
    """The same; it ends when the other one has begun."""
    started, _ = note(folder, name)
    wait_until((Path(folder) / other).exists)
    return started, time.time()


def fails_until(folder: str, attempts: int) -> int:
    """Fails so often before it goes well; counts with files, which survive the worker."""
    count = len(list(Path(folder).iterdir())) + 1
    (Path(folder) / str(count)).touch()
    if count <= attempts:
        raise RuntimeError(f"attempt {count}")
    return count


def overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether two spans have a moment in common."""
    return first[0] < second[1] and second[0] < first[1]


@pytest.fixture
def client(daemons: Any) -> Iterator[handoff.Client]:
    """For what only the client's own methods show."""
    yield daemons.client


def all_free(client: handoff.Client) -> bool:
    """Whether nothing is claimed anywhere."""
    return all(dict(node.free) == dict(node.capacity) for node in client.nodes())


def wait_until(condition: Any) -> None:
    """For what happens soon in other processes."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_independent_functions_overlap_and_dependents_wait(daemons: Any, tmp_path: Path) -> None:
    """The middle of a diamond runs at once, after its input and before its dependent."""
    dag = DAG()
    dag.add(Function("top", code=note, extra_args=[str(tmp_path), "top"]))
    for side, other in (("left", "right"), ("right", "left")):
        dag.add(Function(side, ["top"], lambda top, *rest: meet(*rest), extra_args=[str(tmp_path), side, other]))
    dag.add(Function("bottom", ["left", "right"], lambda left, right, *rest: note(*rest), extra_args=[str(tmp_path), "bottom"]))
    results = daemons.execute(dag).results
    assert overlap(results["left"], results["right"])
    assert results["top"][1] <= min(results["left"][0], results["right"][0])
    assert results["bottom"][0] >= max(results["left"][1], results["right"][1])


def test_max_concurrency_bounds_how_many_run_at_once(daemons: Any, tmp_path: Path) -> None:
    """One at a time, though there is room for more."""
    dag = DAG()
    for number in range(4):
        dag.add(Function(number, code=note, extra_args=[str(tmp_path), str(number), 0.05]))
    spans = sorted(daemons.execute(dag, max_concurrency=1).results.values())
    assert not any(overlap(first, second) for first, second in pairwise(spans))


def test_runs_with_equal_ids_are_apart(place: Any) -> None:
    """Several at once, each with its own results."""
    results: dict[int, Any] = {}

    def one(number: int) -> None:
        dag = DAG("same")
        dag.add(Function("a", code=lambda: number))
        dag.add(Function("b", ["a"], lambda a: a * 10))
        results[number] = dict(place.execute(dag).results)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: {"a": number, "b": number * 10} for number in range(6)}


def test_a_function_is_tried_again(place: Any, tmp_path: Path) -> None:
    """Up to three more times unless told otherwise."""
    assert place.submit(fails_until, str(tmp_path), 3).result(30) == 4


@pytest.mark.parametrize(("own", "given", "attempts"), [(None, 1, 2), (0, 3, 1), (2, 0, 3)], ids=["the run's", "none", "its own wins"])
def test_tries_are_counted(place: Any, tmp_path: Path, own: int | None, given: int, attempts: int) -> None:
    """`max_retries` of the function, or else of the run; the failure names function and attempt."""
    dag = DAG()
    dag.add(Function("flaky", code=fails_until, extra_args=[str(tmp_path), 99], max_retries=own))
    with pytest.raises(errors.FunctionFailed) as caught:
        place.execute(dag, max_retries=given)
    assert (caught.value.function, caught.value.attempt) == ("flaky", attempts)
    assert len(list(tmp_path.iterdir())) == attempts
    assert type(caught.value.__cause__) is RuntimeError


def test_a_failure_cancels_siblings_and_dependents_never_start(daemons: Any, tmp_path: Path) -> None:
    """And everything that was claimed is released."""
    dag = DAG()
    dag.add(Function("bad", code=lambda: 1 / 0, max_retries=0))
    dag.add(Function("sibling", code=note, extra_args=[str(tmp_path), "sibling", 60]))
    dag.add(Function("dependent", ["bad"], lambda bad, *rest: note(*rest), extra_args=[str(tmp_path), "dependent"]))
    started = time.monotonic()
    with pytest.raises(errors.FunctionFailed) as caught:
        daemons.execute(dag)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert time.monotonic() - started < 20
    wait_until(lambda: all_free(daemons.client))
    assert not (tmp_path / "dependent").exists()


def test_a_run_that_succeeds_releases_everything(daemons: Any) -> None:
    """Nothing is claimed afterwards."""
    dag = DAG()
    for number in range(20):
        dag.add(Function(number, code=abs, extra_args=[number], cost={"cpu": 1, "memory": 100}))
    daemons.execute(dag)
    wait_until(lambda: all_free(daemons.client))


def test_a_function_that_takes_too_long_is_ended(place: Any) -> None:
    """`timeout` is for one attempt."""
    with pytest.raises(errors.FunctionFailed, match=r"0\.2"):
        place.submit(time.sleep, 60, timeout=0.2, max_retries=0).result(30)


def test_a_cost_that_can_not_be_met_fails_and_claims_nothing(place: Any) -> None:
    """An allocation error names the function and the resource."""
    dag = DAG()
    dag.add(Function("fine", code=int))
    dag.add(Function("huge", code=int, cost={"unobtainium": 1}))
    with pytest.raises(errors.AllocationError, match=r"'huge'.*unobtainium"):
        place.execute(dag)


# ── several nodes ────────────────────────────────────────────────────────────


def test_functions_go_where_their_resources_are(daemons: Any) -> None:
    """The GPU, the license and the memory are on one node."""
    dag = DAG()
    for name, cost in (("gpu", {"gpu": 1}), ("license", {"license": 2}), ("memory", {"memory": 3000})):
        dag.add(Function(name, code=abs, extra_args=[-1], cost=cost))
    assert set(daemons.execute(dag).allocations.values()) == {"node-3"}


def test_pinned_functions_run_where_they_are_pinned(daemons: Any) -> None:
    """And values go from node to node."""
    dag = DAG()
    dag.add(Function(0, code=lambda: [0]))
    for number in range(1, 7):
        dag.add(Function(number, [number - 1], lambda seen, own: [*seen, own], extra_args=[number], node=f"node-{number % 3 + 1}"))
    result = daemons.execute(dag)
    assert result.results[6] == list(range(7))
    assert [result.allocations[number] for number in range(1, 7)] == [f"node-{number % 3 + 1}" for number in range(1, 7)]


def test_collocated_functions_follow_their_target(daemons: Any) -> None:
    """Chains resolve to the root; so does a group around a pinned one."""
    dag = DAG()
    dag.add(Function("root", code=abs, extra_args=[-1], node="node-2"))
    dag.add(Function("near", code=abs, extra_args=[-2], node=handoff.collocated("root")))
    dag.add(Function("nearer", code=abs, extra_args=[-3], node=handoff.collocated("near")))
    for number in range(8):
        dag.add(Function(("free", number), code=abs, extra_args=[number]))
    assert {daemons.execute(dag).allocations[name] for name in ("root", "near", "nearer")} == {"node-2"}


def test_work_spills_to_other_nodes_when_one_is_full(daemons: Any, tmp_path: Path) -> None:
    """Eight cores are busy at once, on three nodes."""
    dag = DAG()
    for number in range(8):
        dag.add(Function(number, code=note, extra_args=[str(tmp_path), str(number), 0.5]))
    assert set(daemons.execute(dag).allocations.values()) == {"node-1", "node-2", "node-3"}


def test_large_values_are_fetched_from_where_they_were_made(daemons: Any) -> None:
    """Straight from node to node, and counted."""
    dag = DAG()
    dag.add(Function("made", code=np.arange, extra_args=[500_000], node="node-1"))
    dag.add(Function("used", ["made"], lambda data: (int(data.sum()), data.flags.writeable), node="node-2"))
    result = daemons.execute(dag, returns=["used"])
    assert result.results["used"] == (124999750000, False)
    assert result.bytes_moved >= 4_000_000


def test_availability_is_asked_of_the_cluster(client: handoff.Client) -> None:
    """Before, during and after a claim."""
    wait_until(lambda: client.resources_available("node-3", {"gpu": 1}))
    future = client.submit(time.sleep, 60, cost={"gpu": 1})
    wait_until(lambda: not client.resources_available("node-3", {"gpu": 1}))
    assert client.resources_available("node-3", {"cpu": 4})
    future.cancel()
    wait_until(lambda: client.resources_available("node-3", {"gpu": 1}))


# ── results ──────────────────────────────────────────────────────────────────


def test_unknown_results_are_not_found(place: Any) -> None:
    """Of this run; another run's are not seen."""
    dag = DAG()
    dag.add(Function("a", code=int))
    other = DAG()
    other.add(Function("b", code=int))
    result = place.execute(dag)
    place.execute(other)
    assert "b" not in result.results
    with pytest.raises(KeyError):
        result.results["b"]


def test_waiting_for_a_result_ends_in_time(client: handoff.Client) -> None:
    """With the value when it comes, with a timeout when it does not."""
    dag = DAG()
    dag.add(Function("late", code=time.sleep, extra_args=[0.3]))
    run = client.start(dag)
    with pytest.raises(errors.ResultTimeout):
        run.result(timeout=0.01)
    assert run.result(timeout=30).results["late"] is None


def test_results_are_immutable(place: Any) -> None:
    """What one function does to its input, another does not see."""
    dag = DAG()
    dag.add(Function("made", code=lambda: [1, 2, 3]))
    for number in range(6):
        dag.add(Function(number, ["made"], lambda data: (len(data), data.append(0))[0]))
    results = place.execute(dag).results
    assert [results[number] for number in range(6)] == [3] * 6
    assert results["made"] == [1, 2, 3]
