"""Large values: shared on a node, moved once per node, never by way of the coordinator, and gone when nobody needs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from witness import await_free, cluster_with, until, values_on

import handoff
from handoff import DAG

LARGE = 64 << 20
SLACK = 1 << 20                      # what small results and the packing add


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """A node that makes, and one that reads with eight workers."""
    nodes = [{"name": "maker", "cpus": 1}, {"name": "reader", "cpus": 8}]
    with cluster_with(nodes, memory=2000) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it."""
    with cluster.client() as made:
        yield made


def make(nbytes: int) -> Any:
    """An array that is not all zeros."""
    return np.arange(nbytes // 8, dtype=np.int64)


def read(array: Any, directory: str, count: int) -> dict[str, Any]:
    """Looks at the array while all the others do, and tells how it lies in memory."""
    import time

    (Path(directory) / f"{os.getpid()}").touch()
    deadline = time.monotonic() + 20
    while len(list(Path(directory).iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    total = int(array.sum())
    written = "written"
    try:
        array[0] = 1
    except ValueError as error:
        written = str(error)
    address = array.__array_interface__["data"][0]
    mapping, inode = "", 0
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123
        for line in maps:
            low, high = (int(part, 16) for part in line.split()[0].split("-"))
            if low <= address < high:
                mapping, inode = line.split()[1] + " " + line.split(maxsplit=5)[5].strip(), int(line.split()[4])
    return {"pid": os.getpid(), "sum": total, "written": written, "mapping": mapping, "inode": inode}


def test_eight_functions_read_one_array_without_copies(cluster: handoff.LocalCluster, client: handoff.Client, tmp_path: Path) -> None:
    """Eight workers map the same memory, read-only; it came to the node once, and not through the coordinator."""
    coordinator = psutil.Process(cluster.processes["coordinator"])
    before = coordinator.memory_info().rss
    dag = DAG()
    dag.add(handoff.Function("array", code=make, extra_args=[LARGE], node="maker"))
    for number in range(8):
        dag.add(handoff.Function(number, args=["array"], code=read, extra_args=[str(tmp_path), 8], node="reader"))
    run = client.start(dag, returns=list(range(8)))
    results = run.result(timeout=40).results
    seen = [results[number] for number in range(8)]
    assert len({each["pid"] for each in seen}) == 8
    assert {each["sum"] for each in seen} == {sum(range(LARGE // 8))}
    assert {each["written"] for each in seen} == {"assignment destination is read-only"}
    assert {each["mapping"].split()[0] for each in seen} == {"r--s"}
    assert all("handoff-value" in each["mapping"] for each in seen)
    assert len({each["inode"] for each in seen}) == 1
    assert LARGE <= run.bytes_moved < LARGE + SLACK
    assert coordinator.memory_info().rss < before + 16 * SLACK
    assert values_on(coordinator.pid) == 0
    await_free(client)
    del run, results
    for name in ("maker", "reader"):
        until(lambda name=name: values_on(cluster.processes[name]) == 0, f"{name} lets go")  # type: ignore[misc]


def test_what_stays_on_its_node_is_not_moved(client: handoff.Client) -> None:
    """bytes_moved is about nodes, not about functions."""
    dag = DAG()
    dag.add(handoff.Function("array", code=make, extra_args=[LARGE], node="reader"))
    dag.add(handoff.Function("sum", args=["array"], code=lambda array: int(array.sum()), node="reader"))
    run = client.start(dag, returns=["sum"])
    assert run.result(timeout=20)["sum"] == sum(range(LARGE // 8))
    assert run.bytes_moved == 0


def test_a_value_that_passes_between_nodes_is_counted_each_way(client: handoff.Client) -> None:
    """Out and back: what is made of it is another value."""
    dag = DAG()
    dag.add(handoff.Function("one", code=make, extra_args=[LARGE // 4], node="maker"))
    dag.add(handoff.Function("two", args=["one"], code=lambda array: array + 1, node="reader"))
    dag.add(handoff.Function("three", args=["two"], code=lambda array: int(array[-1]), node="maker"))
    run = client.start(dag, returns=["three"])
    assert run.result(timeout=20)["three"] == LARGE // 32
    assert LARGE // 2 <= run.bytes_moved < LARGE // 2 + SLACK


def test_results_that_are_read_here_stay_when_all_else_is_gone() -> None:
    """A large result that was looked at outlives its cluster, and can't be written either."""
    with cluster_with(1, cpus=1, memory=500) as cluster, cluster.client() as client:
        result = client.submit(make, 4 << 20).result(20)
        assert result.nbytes == 4 << 20
    assert int(result[-1]) == (4 << 20) // 8 - 1
    with pytest.raises(ValueError, match="read-only"):
        result[0] = 1
