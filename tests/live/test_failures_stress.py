"""Many small runs, and random graphs while nodes die and join: all results are right, and nothing stays behind."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import psutil
import pytest
from witness import await_free, cluster_with, until, values_on

import handoff
from handoff import DAG, errors

STRESS_SECONDS = 10.0
KILL_SECONDS = 2.5                   # from one death to the next
SEED = 20


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_fifty_runs_leave_nothing_behind() -> None:
    """Workers, threads, descriptors and values are as many afterwards as before; failures and cancelled runs included."""
    with cluster_with(2, cpus=2, memory=1000) as cluster:
        with cluster.client() as client:
            _small_runs(client, 10)  # workers are started, code is known
            _hand_off_both_ways(client, *cluster.node_names)   # and all that nodes open for it once
            await_free(client)
            before = _census(cluster)
            _small_runs(client, 50)
            await_free(client)
            until(lambda: _census(cluster) == before, lambda: f"{before} -> {_census(cluster)}", seconds=5)
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("handoff-client")]
        assert len(names) == 1  # the cluster's own
        processes = [psutil.Process(pid) for pid in cluster.processes.values()]
        processes += [worker for process in processes for worker in process.children(recursive=True)]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("handoff")] == []
    assert psutil.wait_procs(processes, timeout=2)[1] == []


def _small_runs(client: handoff.Client, count: int) -> None:
    for number in range(count):
        dag = DAG(number)
        values = [dag.call(bytes, 100_000 + each) for each in range(3)]
        dag.call(lambda values: sum(map(len, values)), values, id="sum")
        match number % 5:
            case 0:
                dag.call(divmod, 1, 0, id="fails", max_retries=0)
                with pytest.raises(errors.FunctionFailed):
                    client.execute(dag)
            case 1:
                dag.call(time.sleep, 60, id="sleeps")
                run = client.start(dag)
                run.cancel()
                with pytest.raises(errors.RunCancelled):
                    run.result(timeout=20)
            case _:
                assert client.execute(dag, returns=["sum"])["sum"] == 300_003


def _hand_off_both_ways(client: handoff.Client, one: str, other: str) -> None:
    dag = DAG()
    for place, elsewhere in ((one, other), (other, one)):
        dag.call(len, dag.call(bytes, 100_000, node=place), node=elsewhere)
    assert set(client.execute(dag, returns=["len", "len-2"]).results.values()) == {100_000}


def _census(cluster: handoff.LocalCluster) -> dict[str, int]:
    """What a daemon may forget to let go of. Links between nodes stay, but were made in the first runs."""
    found = {}
    for name, pid in cluster.processes.items():
        found[f"values on {name}"] = values_on(pid)
        found[f"descriptors of {name}"] = descriptors(pid)
        found[f"threads of {name}"] = psutil.Process(pid).num_threads()
    return found


def work(number: int, seconds: float, padding: int, *inputs: tuple[int, bytes]) -> tuple[int, bytes]:
    """A value that shows whether all that came before was right."""
    time.sleep(seconds)
    return number + sum(value for value, _ in inputs) % 1_000_003, bytes(padding)


def random_graph(dice: random.Random) -> tuple[DAG, list[int]]:
    """A graph of some layers, and what each of its functions should give."""
    dag, expected = DAG(), []
    handles = []
    for number in range(dice.randrange(10, 40)):
        fan_in = min(number, dice.choice([0, 1, 1, 2, 3]))
        chosen = dice.sample(range(number), fan_in)
        seconds, padding = dice.choice([0.0, 0.0, 0.01, 0.05]), dice.choice([0, 10, 100_000, 2_000_000])
        handles.append(dag.call(work, number, seconds, padding, *(handles[each] for each in chosen), id=number, max_retries=3))
        expected.append(number + sum(expected[each] for each in chosen) % 1_000_003)
    return dag, expected


def test_random_graphs_while_nodes_die_and_join(tmp_path: Path) -> None:
    """Two clients at once; every result is right, and at the end all is free and no process of a killed node lives."""
    dice = random.Random(SEED)
    failures: list[BaseException] = []
    finished = [0, 0]
    settings = {"scheduler.lost_seconds": 3, "node.peer_lost_seconds": 2}
    with cluster_with(3, settings, cpus=2, memory=1000) as cluster:
        stop = time.monotonic() + STRESS_SECONDS

        def use(which: int) -> None:
            own = random.Random(SEED + which)
            try:
                with cluster.client() as client:
                    while time.monotonic() < stop:
                        dag, expected = random_graph(own)
                        results = client.start(dag).result(timeout=30).results
                        assert [results[number][0] for number in range(len(expected))] == expected
                        finished[which] += 1
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=use, args=(which,)) for which in range(2)]
        for thread in threads:
            thread.start()
        killed: list[psutil.Process] = []
        next_death = time.monotonic() + KILL_SECONDS / 2
        while time.monotonic() < stop and not failures:
            if time.monotonic() >= next_death:
                next_death = time.monotonic() + KILL_SECONDS
                name = dice.choice(cluster.node_names)
                process = psutil.Process(cluster.processes[name])
                killed += [process, *process.children(recursive=True)]
                cluster.kill_node(name)
                cluster.add_node(cpus=2, memory=1000)
            time.sleep(0.02)
        for thread in threads:
            thread.join(40)
            assert not thread.is_alive()
        if failures:
            raise failures[0]
        assert min(finished) >= 5
        assert len(killed) >= 4
        assert psutil.wait_procs(killed, timeout=2)[1] == []
        with cluster.client() as client:
            await_free(client)
            assert sorted(node.name for node in client.nodes()) == sorted(cluster.node_names)
        for name, pid in cluster.processes.items():
            until(lambda pid=pid: values_on(pid) == 0, f"{name} lets go of its values", seconds=5)  # type: ignore[misc]
