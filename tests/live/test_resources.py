"""GPUs, labels, alternatives and licences on a real cluster: what functions are given, and that nobody else has it at the same time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import handoff
from handoff import DAG, errors

Seen = tuple[str, tuple[int, ...], dict[str, float], str | None]


@pytest.fixture(scope="module")
def client() -> Iterator[handoff.Client]:
    """Two GPUs of no kind in zone a, two a100 in zone b, and one licence for both."""
    nodes = [
        {"name": "one", "cpus": 2, "gpus": 2, "labels": {"zone": "a", "arch": "x86_64"}},
        {"name": "two", "cpus": 2, "resources": {"gpu:a100": 2, "gpu_memory": 80}, "labels": {"zone": "b"}},
    ]
    before = os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        with handoff.LocalCluster(nodes, shared={"license": 1}) as cluster, cluster.client() as made:
            yield made
    finally:
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def look(together: int, meeting: str, number: int) -> Seen:
    """What this function is given, seen while so many of its kind are at it at once."""
    import os
    import time
    from pathlib import Path

    from handoff import current_task

    Path(meeting, str(number)).touch()
    deadline = time.monotonic() + 30
    while len(os.listdir(meeting)) < together:
        assert time.monotonic() < deadline, f"only {os.listdir(meeting)} came"
        time.sleep(0.005)
    task = current_task()
    assert task is not None
    return task.node, task.gpus, dict(task.cost), os.environ.get("CUDA_VISIBLE_DEVICES")


def seen(client: handoff.Client, meeting: Path, count: int, **options: Any) -> list[Seen]:
    """What so many functions, all at once, are given.

    Each meeting has code of its own: of functions that are known to be short, several are given to one worker, one after the other.
    """
    meeting.mkdir()
    place = str(meeting)

    def meet(number: int) -> Seen:
        return look(count, place, number)

    dag = DAG()
    for number in range(count):
        dag.call(meet, number, timeout=40, **options)
    return list(client.execute(dag, timeout=60).results.values())


def test_whole_gpus_are_each_given_to_one(client: handoff.Client, tmp_path: Path) -> None:
    """Four at once are the four there are, and each process sees its own alone."""
    found = seen(client, tmp_path / "m", 4, cost={"gpu": 1})

    assert sorted((node, gpus) for node, gpus, *_ in found) == [("one", (0,)), ("one", (1,)), ("two", (0,)), ("two", (1,))]
    assert all(visible == str(gpus[0]) and cost == {"gpu": 1.0} for _, gpus, cost, visible in found)


def test_parts_share_a_gpu(client: handoff.Client, tmp_path: Path) -> None:
    """Six thirds fill two GPUs of the kind that is asked for, three on each."""
    found = seen(client, tmp_path / "m", 6, cost={"gpu:a100": 0.3})

    assert sorted((node, gpus) for node, gpus, *_ in found) == [("two", (0,))] * 3 + [("two", (1,))] * 3


def test_several_gpus_and_their_memory(client: handoff.Client, tmp_path: Path) -> None:
    """Both are listed for CUDA; memory is that of the GPU that is given."""
    both = seen(client, tmp_path / "both", 1, cost={"gpu": 2}, where={"zone": "b"})
    halves = seen(client, tmp_path / "halves", 2, cost={"gpu": 0.5, "gpu_memory": 30})

    assert both == [("two", (0, 1), {"gpu": 2.0}, "0,1")]
    assert sorted((node, gpus) for node, gpus, *_ in halves) == [("two", (0,)), ("two", (1,))]


def test_functions_without_gpus_see_what_the_node_sees(client: handoff.Client, tmp_path: Path) -> None:
    """Also after others had GPUs: nothing of that is left in their processes."""
    for turn in range(3):
        assert seen(client, tmp_path / f"g{turn}", 2, cost={"gpu": 1}, where={"zone": "a"})
        found = seen(client, tmp_path / f"c{turn}", 2, cost={"cpu": 1}, where={"zone": "a"})
        assert found == [("one", (), {"cpu": 1.0}, None)] * 2


def test_coroutines_have_gpus_of_their_own(client: handoff.Client, tmp_path: Path) -> None:
    """Two at once, each in a process that shows it one."""
    async def look_later(together: int, meeting: str, number: int) -> Seen:
        return look(together, meeting, number)

    (tmp_path / "m").mkdir()
    dag = DAG()
    for number in range(2):
        dag.call(look_later, 2, str(tmp_path / "m"), number, cost={"gpu": 1}, where={"zone": "a"})
    found = list(client.execute(dag, timeout=60).results.values())

    assert sorted((gpus, visible) for _, gpus, _, visible in found) == [((0,), "0"), ((1,), "1")]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_process_in_which_cuda_is_broken_is_replaced(client: handoff.Client, tmp_path: Path, is_async: bool) -> None:
    """What the driver would say there is put into its mouth: every later call in that process fails, so the next attempt needs another."""
    def assert_on_the_device(place: str) -> list[str]:
        from handoff.node import child_cuda

        pids = Path(place, "pids")
        with pids.open("a") as file:
            file.write(f"{os.getpid()}\n")
        found = pids.read_text().split()
        if len(found) == 1:
            child_cuda.context_status = lambda: 710
        if len(set(found)) == 1:
            print("about to break")
            raise RuntimeError("CUDA error: device-side assert triggered")
        return found

    async def assert_later(place: str) -> list[str]:
        return assert_on_the_device(place)

    lines: list[str] = []
    dag = DAG()
    code = assert_later if is_async else assert_on_the_device
    dag.call(code, str(tmp_path), id="it", cost={"gpu": 1}, where={"zone": "a"}, max_retries=2)
    run = client.start(dag, output=lambda _id, _node, _stream, text: lines.append(text))
    first, second = run.result(timeout=60).results["it"]

    assert first != second
    assert lines == ["about to break"]


def test_who_has_a_choice_is_told_what_it_got(client: handoff.Client, tmp_path: Path) -> None:
    """Three at once: two GPUs of the kind, and cores for the third."""
    found = seen(client, tmp_path / "m", 3, cost=[{"gpu:a100": 1}, {"cpu": 2}])

    assert sorted(map(str, (cost for _, _, cost, _ in found))) == ["{'cpu': 2.0}", "{'gpu:a100': 1.0}", "{'gpu:a100': 1.0}"]
    assert all(bool(gpus) == ("gpu:a100" in cost) and (visible is not None) == bool(gpus) for _, gpus, cost, visible in found)


def test_a_cost_that_only_its_second_choice_can_meet(client: handoff.Client, tmp_path: Path) -> None:
    """It runs, with that one."""
    (_, gpus, cost, _), = seen(client, tmp_path / "m", 1, cost=[{"gpu": 8}, {"cpu": 1}])

    assert (gpus, cost) == ((), {"cpu": 1.0})


def test_labels_choose_where_functions_run(client: handoff.Client) -> None:
    """In graphs, in submit and in map."""
    def where() -> str:
        from handoff import current_task

        task = current_task()
        return task.node if task is not None else ""

    @handoff.function(where={"zone": "b"})
    def bound(_: int) -> str:
        return where()

    dag = DAG()
    for _ in range(20):
        dag.call(where, where={"zone": "b"})
    assert set(client.execute(dag).allocations.values()) == {"two"}
    assert client.submit(where, where={"zone": "a", "arch": "x86_64"}).result(30) == "one"
    assert set(client.map(bound, range(20))) == {"two"}


def test_what_the_cluster_shares_is_had_by_one_at_a_time(client: handoff.Client, tmp_path: Path) -> None:
    """Over both nodes: eight functions with the one licence never overlap, and all come to their turn."""
    def alone(place: str) -> dict[str, float]:
        from pathlib import Path

        from handoff import current_task

        mark = Path(place, "here")
        mark.touch(exist_ok=False)    # fails where somebody else is
        sum(range(200_000))
        mark.unlink()
        task = current_task()
        return dict(task.cost) if task is not None else {}

    dag = DAG()
    for number in range(8):
        dag.call(alone, str(tmp_path), cost={"cpu": 1, "cluster:license": 1}, where={"zone": "ab"[number % 2]}, max_retries=0)
    result = client.execute(dag, timeout=60)

    assert set(result.allocations.values()) == {"one", "two"}
    assert all(cost == {"cpu": 1.0, "cluster:license": 1.0} for cost in result.results.values())


def test_what_can_never_run_is_refused_at_once(client: handoff.Client) -> None:
    """With the function's id, and what would be right."""
    for cost, where, text in (
        ({"cluster:license": 2}, None, "len needs cluster:license=2, but the whole cluster has cluster:license=1."),
        ({"gpu:h100": 1}, None, "no node has any gpu:h100 (did you mean gpu:a100?)"),
        ({"cpu": 1}, {"zone": "c"}, "no node has zone=c (there is a, b)"),
        ({"gpu": 0.5, "gpu_memory": 60}, None, "'two' (gpu_memory=40 on each GPU)"),
    ):
        dag = DAG()
        dag.call(len, "", id="x", cost=cost, where=where)
        with pytest.raises(errors.AllocationError) as caught:
            client.execute(dag)
        assert caught.value.function == "x" and text in str(caught.value)


def test_who_waits_for_a_node_says_so_and_runs_when_it_comes() -> None:
    """`status` names what is missing."""
    with handoff.LocalCluster(1, cpus=1, memory=100, gpus=0) as cluster, cluster.client() as client:
        dag = DAG()
        dag.call(len, "four", id="x", where={"zone": "west"})
        run = client.start(dag, wait_for_nodes=True)
        assert run.status().waits_for.startswith("len needs cpu=1 on a node where zone=west, which no node can ever offer")
        assert next(each for each in client.runs() if each.run == run.id).waits_for == run.status().waits_for
        late = cluster.add_node("late", cpus=1, memory=100, gpus=0, labels={"zone": "west"})
        result = run.result(timeout=30)
        assert (result.results, result.allocations) == ({"x": 4}, {"x": late})


TRACKER = """
class OneAtATime:
    def __init__(self, capacity):
        self.taken = 0

    def fits(self, cost):
        return not self.taken

    def take(self, cost, gpus):
        self.taken += 1

    def give_back(self, cost, gpus):
        self.taken -= 1


class Broken(OneAtATime):
    def fits(self, cost):
        raise LookupError("it is broken")
"""


@pytest.fixture
def trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own."""
    (tmp_path / "trackers_of_mine.py").write_text(TRACKER)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


@pytest.mark.usefixtures("trackers")
def test_a_tracker_of_one_s_own_decides_what_starts(tmp_path: Path) -> None:
    """There are four cores, but it lets only one function run at a time."""
    def alone(place: str) -> None:
        from pathlib import Path

        mark = Path(place, "here")
        mark.touch(exist_ok=False)
        sum(range(200_000))
        mark.unlink()

    options: dict[str, Any] = {"cpus": 4, "memory": 100, "gpus": 0, "tracker": "trackers_of_mine:OneAtATime"}
    with handoff.LocalCluster(1, **options) as cluster, cluster.client() as client:
        dag = DAG()
        for _ in range(8):
            dag.call(alone, str(tmp_path), max_retries=0)
        assert len(client.execute(dag, timeout=60).results) == 8


@pytest.mark.usefixtures("trackers")
def test_a_broken_tracker_is_told() -> None:
    """One that can't be had ends the node with the reason; one that raises later is left out, and functions run."""
    with pytest.raises(errors.ConnectionLost, match="--tracker 'trackers_of_mine:Nothing' is not MODULE:CLASS of a resource tracker"):
        handoff.LocalCluster(1, cpus=1, memory=100, gpus=0, tracker="trackers_of_mine:Nothing")
    with handoff.LocalCluster(1, cpus=1, memory=100, gpus=0, tracker="trackers_of_mine:Broken") as cluster, cluster.client() as client:
        assert client.submit(len, "four").result(30) == 4
        log = cluster._children["node-1"].tail()
        assert "tracker.failed" in log and "LookupError: it is broken" in log


def test_what_takes_no_core_is_shared_out_by_the_processes_that_nodes_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """One node has the memory for all of it, and two processes, as its setting says; the other one does not stand idle."""
    monkeypatch.setenv("HANDOFF_NODE__WORKERS_MAX_PER_CPU", "2")
    with handoff.LocalCluster(2, cpus=1, memory=500, gpus=0) as cluster, cluster.client() as client:
        dag = DAG()
        for number in range(8):
            dag.add(handoff.Function(id=number, code=time.sleep, extra_args=[0.2], cost={"memory": 1}, expected_seconds=5.0))
        run = client.start(dag)
        assert set(run.result(timeout=60).allocations.values()) == {"node-1", "node-2"}
        assert client.nodes()[0].capacity == {"cpu": 1.0, "memory": 500.0}
        assert all(set(node.free) == {"cpu", "memory"} for node in client.nodes())


def test_memory_that_no_gpu_of_a_node_has_is_refused_at_once() -> None:
    """Also where they are of two kinds: it was tried there four times."""
    resources = {"gpu:a100": 1, "gpu:t4": 1, "gpu_memory": 160}
    with handoff.LocalCluster(1, cpus=1, memory=100, resources=resources) as cluster, cluster.client() as client:
        with pytest.raises(errors.AllocationError, match="'node-1' \\(gpu_memory=80 on each GPU\\)"):
            client.submit(len, "four", cost={"gpu_memory": 81}).result(30)
        assert client.submit(len, "four", cost={"gpu_memory": 80}).result(30) == 4
