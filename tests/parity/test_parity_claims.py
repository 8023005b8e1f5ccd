"""Resources are claimed and released, and values kept and cleared, as the original library's are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from witness import Diary, step, until, values_on

import handoff
from handoff import DAG, Function, errors
from handoff.trust.secret import create_file


@pytest.fixture
def client(daemons: Any) -> Iterator[handoff.Client]:
    """Of the nodes that are processes of their own; afterwards nothing is claimed."""
    yield daemons.client
    nodes = daemons.client.nodes
    until(lambda: all(dict(node.free) == dict(node.capacity) for node in nodes()), lambda: f"{nodes()} is free")


def free(client: handoff.Client, resource: str) -> float:
    """How much of it the third node has free."""
    return next(node for node in client.nodes() if node.name == "node-3").free.get(resource, 0.0)


def test_several_claims_are_apart(client: handoff.Client, tmp_path: Path) -> None:
    """Two hold a license each, the third waits; what one gives back, the third gets."""
    diary = Diary(tmp_path / "diary")
    futures = [
        client.submit(step, diary.path, str(number), gate=str(tmp_path / f"gate {number}"), cost={"license": 1}) for number in range(3)
    ]
    diary.wait_for("0", "1")
    until(lambda: free(client, "license") == 0, lambda: f"{client.nodes()} shows two claims")
    assert not client.resources_available("node-3", {"license": 1})
    assert diary.counts() == {"0": 1, "1": 1}
    (tmp_path / "gate 0").touch()
    diary.wait_for("2")
    futures[1].cancel()
    until(lambda: free(client, "license") == 1, lambda: f"{client.nodes()} shows one claim")
    (tmp_path / "gate 2").touch()
    assert [futures[0].result(20), futures[2].result(20)] == ["0", "2"]


def test_a_claimant_that_dies_releases_what_it_held(client: handoff.Client) -> None:
    """The worker process kills itself in the middle of its function."""
    with pytest.raises(errors.FunctionFailed, match="SIGKILL"):
        client.submit(lambda: os.kill(os.getpid(), signal.SIGKILL), cost={"gpu": 1, "license": 2}, max_retries=0).result(30)
    until(lambda: client.resources_available("node-3", {"gpu": 1, "license": 2}), "the room of the dead worker")


CALLER = """
import sys, handoff
sys.path.insert(0, sys.argv[4])
from witness import step
handoff.connect(sys.argv[1]).submit(step, sys.argv[2], "held", gate=sys.argv[3], cost={"gpu": 1}).result()
"""


def test_what_a_dead_caller_held_is_released(daemons: Any, client: handoff.Client, tmp_path: Path) -> None:
    """A program is killed while a function of its holds the GPU; another gets it."""
    create_file(tmp_path / "secret", daemons.cluster.secret)
    diary = Diary(tmp_path / "diary")
    environment = {**os.environ, "HANDOFF_SECRET_FILE": str(tmp_path / "secret")}
    arguments = [daemons.cluster.address, diary.path, str(tmp_path / "gate"), str(Path(__file__).parents[1])]
    with subprocess.Popen([sys.executable, "-c", CALLER, *arguments], env=environment) as program:
        diary.wait_for("held")
        program.kill()
    assert client.submit(abs, -1, cost={"gpu": 1}).result(30) == 1
    assert not (tmp_path / "gate").exists()


def test_many_claims_at_once_are_never_more_than_there_is(client: handoff.Client, tmp_path: Path) -> None:
    """Memory for ten on the large node and two on each of the others: never more than fourteen at once, from several callers."""
    running = tmp_path / "running"
    running.mkdir()

    def counted(folder: str, name: str) -> tuple[str, int]:
        import os
        import time
        from pathlib import Path

        mine = Path(folder) / f"{os.getppid()} {name}"
        mine.touch()
        time.sleep(0.02)
        seen = sum(each.name.startswith(f"{os.getppid()} ") for each in Path(folder).iterdir())
        mine.unlink()
        return str(os.getppid()), seen

    seen: list[Any] = []

    def caller(number: int) -> None:
        dag = DAG()
        for each in range(20):
            dag.add(Function(each, code=counted, extra_args=[str(running), f"{number} {each}"], cost={"cpu": 0.1, "memory": 400}))
        seen.extend(client.execute(dag).results.values())

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    most = {pid: max(count for of, count in seen if of == pid) for pid in dict(seen)}
    assert len(seen) == 60
    *small, large = sorted(most.values())
    assert len(small) == 2 and max(small) <= 2 < large <= 10, most


def test_a_run_s_values_are_cleared_on_all_nodes(daemons: Any, client: handoff.Client) -> None:
    """When nobody holds its results any more; those of another run stay."""
    pids = [daemons.cluster.processes[name] for name in daemons.nodes]
    before = [values_on(pid) for pid in pids]

    def large() -> handoff.RunResult:
        dag = DAG("same")
        for name in daemons.nodes:
            dag.add(Function(name, code=bytes, extra_args=[2_000_000], node=name))
        return client.execute(dag)

    kept, dropped = large(), large()
    assert [values_on(pid) for pid in pids] == [count + 2 for count in before]
    del dropped
    until(lambda: [values_on(pid) for pid in pids] == [count + 1 for count in before], "one value on each node is cleared")
    assert all(len(value) == 2_000_000 for value in kept.results.values())


def test_a_value_is_fetched_once_and_kept_where_it_was_needed(client: handoff.Client) -> None:
    """Five functions of a node take a value of another: it moves once."""
    dag = DAG()
    dag.add(Function("made", code=bytes, extra_args=[2_000_000], node="node-1"))
    for number in range(5):
        dag.add(Function(number, ["made"], len, node="node-2"))
    result = client.execute(dag, returns=range(5))
    assert set(result.results.values()) == {2_000_000}
    assert 2_000_000 <= result.bytes_moved < 3_000_000
