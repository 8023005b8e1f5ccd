"""Runs that are cancelled, left, detached, limited or urgent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from witness import Diary, await_free, cluster_with, mark, nap, step, until

import handoff
from handoff import DAG, errors
from handoff.trust.secret import create_file

GRACE_SECONDS = 0.5                  # a client that is gone may come back so long


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """Two nodes of two cores."""
    with cluster_with(2, {"scheduler.client_grace_seconds": GRACE_SECONDS}, cpus=2, memory=1000) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client of it that stays."""
    with cluster.client() as made:
        yield made


def endless(diary: Diary) -> DAG:
    """A function that sleeps, a coroutine that sleeps, and one that waits for the first."""
    dag = DAG("endless")
    first = dag.call(step, diary.path, "function", id="function", seconds=60)
    dag.call(nap, diary.path, "coroutine", 60, id="coroutine")
    dag.call(step, diary.path, "never", first, id="never")
    return dag


def test_cancel_frees_everything(client: handoff.Client, diary: Diary) -> None:
    """At once: whoever waits hears of it, functions and coroutines are ended."""
    run = client.start(endless(diary))
    diary.wait_for("function", "coroutine began")
    run.cancel()
    with pytest.raises(errors.RunCancelled):
        run.result(timeout=5)
    await_free(client, seconds=2)
    diary.wait_for("coroutine cancelled")
    assert diary.counts() == {"function": 1, "coroutine began": 1, "coroutine cancelled": 1}
    run.cancel()  # twice is harmless
    assert {info.run: info.state for info in client.runs()}[run.id] == "cancelled"


def test_a_closed_client_takes_its_runs_along(cluster: handoff.LocalCluster, client: handoff.Client, diary: Diary) -> None:
    """Without a grace: it said goodbye."""
    with cluster.client() as leaving:
        run = leaving.start(endless(diary))
        diary.wait_for("function", "coroutine began")
    with pytest.raises(errors.ConnectionLost):
        run.result(timeout=5)
    await_free(client, seconds=2)
    assert "never" not in diary.lines()


def leaving_program(cluster: handoff.LocalCluster, diary: Diary, tmp_path: Path, options: str) -> int:
    """A client in a process of its own, killed as soon as its run is under way; the run's number."""
    create_file(tmp_path / "secret", cluster.secret)
    program = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        import handoff, witness

        diary = witness.Diary({diary.path!r})
        client = handoff.connect({cluster.address!r}, secret={str(tmp_path / "secret")!r})
        dag = handoff.DAG("left")
        first = dag.call(witness.step, diary.path, "first", id="first", gate={str(tmp_path / "gate")!r})
        dag.call(witness.step, diary.path, "second", first, id="second")
        run = client.start(dag{options})
        diary.wait_for("first")
        print(run.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return int(done.stdout)


def test_a_killed_client_takes_its_runs_along(
    cluster: handoff.LocalCluster, client: handoff.Client, diary: Diary, tmp_path: Path
) -> None:
    """After the grace in which it might have come back."""
    number = leaving_program(cluster, diary, tmp_path, "")
    await_free(client, seconds=GRACE_SECONDS + 3)
    assert diary.counts() == {"first": 1}
    with pytest.raises(errors.ExecutionError, match=f"run {number} is over"):
        client.attach(number)


def test_a_detached_run_outlives_its_client(
    cluster: handoff.LocalCluster, client: handoff.Client, diary: Diary, tmp_path: Path
) -> None:
    """Anybody attaches to it by its number, while it runs or afterwards, and gets the results under their ids."""
    number = leaving_program(cluster, diary, tmp_path, ", detach=True")
    time.sleep(GRACE_SECONDS + 0.3)  # the grace is over: a run that is not detached would be gone
    attached = client.attach(number)
    assert not attached.done()
    (tmp_path / "gate").touch()
    assert dict(attached.result(timeout=10).results) == {"first": "first", "second": "secondfirst"}
    assert diary.counts() == {"first": 1, "second": 1}


def test_a_detached_run_is_kept_until_somebody_took_its_results(cluster: handoff.LocalCluster, client: handoff.Client) -> None:
    """Who was given them and leaves lets go of them, though its variables outlive the client: else they stay for ever."""
    dag = DAG("kept")
    dag.call(abs, -42, id="value")
    with cluster.client() as first:
        begun = first.start(dag, detach=True)
    with cluster.client() as second:
        seen = second.attach(begun.id)
        until(seen.done, lambda: f"{seen} is done")
    with cluster.client() as third:    # the second one took nothing
        taken = third.attach(begun.id).result(timeout=10)
    assert taken["value"] == 42
    with pytest.raises(errors.ExecutionError, match=f"run {begun.id} is over"):
        client.attach(begun.id)


def test_a_detached_run_that_ended_alone_is_kept(cluster: handoff.LocalCluster, diary: Diary) -> None:
    """Its results wait on the nodes for whoever asks."""
    with cluster.client() as first:
        dag = DAG("alone")
        dag.call(step, diary.path, "done", id="done", seconds=0.2)
        dag.call(bytes, 3_000_000, id="large")
        number = first.start(dag, detach=True).id
    with cluster.client() as second:
        until(lambda: {info.run: info.state for info in second.runs()}.get(number) == "done", lambda: str(second.runs()))
        result = second.attach(number).result(timeout=10)
        assert result["done"] == "done"
        assert result["large"] == bytes(3_000_000)
    assert diary.counts() == {"done": 1}


def test_a_run_is_not_taken_from_its_client(cluster: handoff.LocalCluster, client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """One that is not detached is refused to others; of a detached one, the former client hears that it is another's now."""
    gate = tmp_path / "gate"
    with cluster.client() as other:
        for detach in (False, True):
            dag = DAG()
            dag.call(step, diary.path, "ran", id="it", gate=str(gate))
            run = client.start(dag, detach=detach)
            if not detach:
                with pytest.raises(errors.ExecutionError, match="not detached"):
                    other.attach(run.id)
                gate.touch()
                assert run.result(timeout=10)["it"] == "ran"
                gate.unlink()
                continue
            taken = other.attach(run.id)
            with pytest.raises(errors.ExecutionError, match="taken over"):
                run.result(timeout=10)
            gate.touch()
            assert taken.result(timeout=10)["it"] == "ran"


def test_no_more_at_once_than_asked_for(client: handoff.Client, tmp_path: Path) -> None:
    """`max_concurrency` holds over all nodes; without it, every core is used."""

    def crowd(directory: str) -> int:
        mine = Path(directory) / f"{os.getpid()}-{time.monotonic_ns()}"
        mine.touch()
        time.sleep(0.03)
        count = len(list(Path(directory).iterdir()))
        mine.unlink()
        return count

    def run(limit: int | None) -> int:
        place = tmp_path / str(limit)
        place.mkdir()
        dag = DAG()
        for number in range(16):
            dag.call(crowd, str(place), id=number)
        return max(client.execute(dag, max_concurrency=limit).results.values())

    assert run(1) == 1
    assert run(2) == 2
    assert run(3) <= 3
    assert run(None) == 4


def test_the_urgent_goes_first(client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """`priority` decides among those that wait for room. (Functions known to be short are planned ahead, and wait on their nodes.)"""
    gate = tmp_path / "gate"

    def long_step(*args: object, **options: object) -> object:
        return step(*args, **options)  # type: ignore[arg-type]

    client.submit(long_step, str(tmp_path / "before"), "known from now on", seconds=0.05).result(timeout=20)
    blockers = DAG()
    for number in range(2):
        blockers.call(step, diary.path, f"blocker {number}", id=number, gate=str(gate), cost={"cpu": 2})
    blocking = client.start(blockers)
    diary.wait_for("blocker 0", "blocker 1")
    dag = DAG()
    for number in range(12):
        dag.call(long_step, diary.path, f"{number % 3}", id=number, priority=number % 3, seconds=0.05, cost={"cpu": 2})
    run = client.start(dag)
    gate.touch()
    run.result(timeout=20)
    blocking.result(timeout=20)
    order = [int(word) for word in diary.lines()[2:]]
    assert sorted(order[:4]) == [2, 2, 2, 2]
    assert sorted(order[8:]) == [0, 0, 0, 0]


def test_results_come_in_the_order_of_completion(client: handoff.Client, tmp_path: Path) -> None:
    """Not in that of the graph; and each once."""
    dag, names = DAG(), ["quick", "middle", "slow"]
    for name in reversed(names):
        dag.call(step, str(tmp_path / "diary"), name, id=name, gate=str(tmp_path / name))
    (tmp_path / "quick").touch()
    seen = []
    for name, _ in client.start(dag).as_completed():
        seen.append(name)
        if seen != names:
            (tmp_path / names[len(seen)]).touch()      # now the next may end
    assert seen == names


def test_one_run_may_fail_beside_another(client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """What ends with the one is not the other's, though they share workers."""
    gate = tmp_path / "gate"

    def held(*args: object, **options: object) -> object:   # of a function known to be short, two may be given to one worker together
        return step(*args, **options)  # type: ignore[arg-type]

    def fail(path: str) -> None:
        mark(path, "failed")
        raise ValueError("no")

    good, bad = DAG(), DAG()
    for number in range(3):
        good.call(held, diary.path, f"good {number}", id=number, gate=str(gate))
    bad.call(fail, diary.path, id="bad", max_retries=0)
    running = client.start(good)
    diary.wait_for("good 0", "good 1", "good 2")
    with pytest.raises(errors.FunctionFailed, match="'bad'"):
        client.execute(bad)
    gate.touch()
    running.result(timeout=20)
    assert diary.counts() == {"failed": 1, "good 0": 1, "good 1": 1, "good 2": 1}
    await_free(client)


def test_who_attaches_to_a_run_of_their_own_takes_it_from_nobody(client: handoff.Client, diary: Diary, tmp_path: Path) -> None:
    """Both have it, whoever looks first and whoever lets go first; what a future or a map waits for stays theirs."""
    for number, detach in enumerate((False, True)):
        gate = tmp_path / f"gate{number}"
        dag = DAG()
        dag.call(step, diary.path, "ran", id="it", gate=str(gate))
        dag.call(bytes, 3_000_000, id="large")
        run = client.start(dag, detach=detach)
        attached = client.attach(run.id)
        gate.touch()
        assert attached.result(timeout=10)["it"] == "ran"
        del attached
        assert run.result(timeout=10)["large"] == bytes(3_000_000)
    future = client.submit(step, diary.path, "late", gate=str(tmp_path / "late"))
    until(lambda: future.run_id)
    with pytest.raises(errors.ExecutionError, match=f"run {future.run_id} can't be attached: this client waits for it"):
        client.attach(future.run_id)
    (tmp_path / "late").touch()
    assert future.result(timeout=10) == "late"
