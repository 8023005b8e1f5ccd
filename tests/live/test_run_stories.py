"""What a run was like, asked of a real one: two nodes, a transfer, an uploaded value, a serializer; report, trace and page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trace_format import check_trace

import handoff
from handoff import DAG, Argument, Function, errors

NBYTES = 3_000_000


def make(seconds: float) -> bytes:
    """Some megabytes, in its own time."""
    time.sleep(seconds)
    return bytes(NBYTES)


def size(data: Any, seconds: float = 0.0) -> int:
    """How long it is, in its own time."""
    time.sleep(seconds)
    return len(data)


def packed(data: Any, source: str, target: str) -> Any:
    """A step beside the producer."""
    return data


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """Two nodes of one core each."""
    with handoff.LocalCluster(nodes=[{"name": "left", "cpus": 1}, {"name": "right", "cpus": 1}]) as made:
        yield made


@pytest.fixture
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client."""
    with cluster.client() as made:
        yield made


def across() -> DAG:
    """`made` on the left, `looked` on the right; `packed` goes there through a serializer, and a large value comes from the client."""
    dag = DAG("across")
    dag.add(Function("made", [], make, [0.3], node="left"))
    dag.add(Function("looked", ["made"], size, [0.2], node="right"))
    dag.add(Function("packed", [Argument("made", packed)], size, node="right"))
    dag.add(Function("brought", [], size, [bytes(2 * NBYTES)], node="left"))
    return dag


def test_a_timeline_names_workers_and_waiting(client: handoff.Client) -> None:
    """Each function has a worker of its node, was planned before it started, and waited behind what ran there before."""
    dag = DAG()
    for number in range(3):
        dag.add(Function(number, [], make, [0.15], node="left"))
    run = client.start(dag, returns=[])
    run.result(30)
    records = run.timeline()
    assert {record.node for record in records} == {"left"}
    assert all(record.worker >= 1 and 0 <= record.planned <= record.started + 0.05 for record in records)
    assert records[2].started - records[0].started >= 0.25
    assert all(0 <= record.waited <= record.started + 0.05 for record in records)


def test_a_run_with_a_transfer_is_told(client: handoff.Client, tmp_path: Path) -> None:
    """The path leads over both nodes, sums hold, arrows are where bytes moved, hidden tasks have their names."""
    run = client.start(across())
    run.result(30)
    report = run.report()
    assert report.is_over and report.functions == 4 and report.bytes_moved >= NBYTES
    assert [leg.name for leg in report.critical_path][-1] in ("looked", "packed")
    assert "made" in [leg.name for leg in report.critical_path]
    assert report.makespan >= 0.5
    assert sum(leg.running + leg.moving + leg.waiting for leg in report.critical_path) == pytest.approx(report.makespan)
    assert {use.node for use in report.nodes} == {"left", "right"}
    for use in report.nodes:
        assert use.running + use.waiting + use.moving + use.idle == pytest.approx(use.slots * report.makespan)
    left, right = report.nodes
    assert left.running >= 0.3 and right.running >= 0.2 and right.waiting + right.moving >= 0.25
    assert report.changes and all(0 < change.saved < report.makespan for change in report.changes)
    assert report.changes[0].what.endswith("twice as fast")
    assert "across" in str(report)

    run.trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    check_trace(trace)
    events = trace["traceEvents"]
    slices = {event["name"]: event for event in events if event["ph"] == "X"}
    hidden = {name for name in slices if name not in ("made", "looked", "packed", "brought")}
    assert {"the serialization of 'made' for 'packed'"} <= hidden
    assert any(name.startswith("an argument of 'brought'") for name in hidden)
    assert slices["made"]["dur"] >= 300_000 and slices["made"]["pid"] != slices["looked"]["pid"]
    flows = {event["id"]: event for event in events if event["ph"] == "s"}
    landed = [(flows[event["id"]]["pid"], event["pid"]) for event in events if event["ph"] == "f"]
    assert (slices["made"]["pid"], slices["looked"]["pid"]) in landed

    run.save(tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text()
    assert "Run " in page and "the serialization of" in page and "<svg" in page

    for tell, what in ((run.trace, "trace"), (run.save, "page")):
        with pytest.raises(handoff.errors.FileError, match=f"the {what} can't be written to .*/it: there is no folder .*absent; make it"):
            tell(tmp_path / "absent" / "it")


def test_a_run_can_be_told_while_it_goes(client: handoff.Client) -> None:
    """As far as it is."""
    dag = DAG().add(Function("first", [], make, [0.05], node="left")).add(Function("last", ["first"], size, [1.5], node="left"))
    run = client.start(dag)
    deadline = time.monotonic() + 20
    while not run.report().critical_path and time.monotonic() < deadline:
        time.sleep(0.02)
    report = run.report()
    assert (report.is_over, [leg.name for leg in report.critical_path]) == (False, ["first"])
    assert " so far: " in str(report)
    run.result(30)
    assert run.report().functions == 2


def test_the_same_awaited(cluster: handoff.LocalCluster, tmp_path: Path) -> None:
    """By the awaited client, which does not block its loop."""

    async def told() -> handoff.RunReport:
        async with handoff.aio.connect(cluster.address, secret=cluster.secret) as client:
            run = await client.start(across())
            await run.result(30)
            await run.trace(tmp_path / "trace.json")
            await run.save(tmp_path / "run.html")
            return await run.report()

    report = asyncio.run(told())
    assert report.functions == 4 and report.name == "across"
    assert json.loads((tmp_path / "trace.json").read_text())["otherData"]["graph"] == "across"
    assert (tmp_path / "run.html").stat().st_size > 10_000


def test_an_attached_run_is_told_with_its_graph(cluster: handoff.LocalCluster, client: handoff.Client) -> None:
    """Who did not write it asks the coordinator for what depends on what; hidden tasks have the names that they have for who did."""
    plan = client.plan(across())
    run = client.start(across(), detach=True)
    run.result(30)
    with cluster.client() as other:
        attached = other.attach(run.id)
        attached.result(30)
        hidden = {each.function for each in attached.timeline()} - {"made", "looked", "packed", "brought"}
        assert "the serialization of 'made' for 'packed'" in hidden and len(hidden) == 2
        assert hidden <= {each.function for each in run.timeline()}
        assert len(plan.compare(attached).pairs) == 4
        report = attached.report()
        assert "made" in [leg.name for leg in report.critical_path]
        assert len(report.critical_path) >= 2 and report.functions == 4


def flaky(path: str) -> None:
    """Fails the first time."""
    time.sleep(0.2)
    with Path(path).open("x" if not Path(path).exists() else "r") as file:
        if file.writable():
            raise ValueError("not yet")


def test_a_failed_attempt_is_no_idle_time(client: handoff.Client, tmp_path: Path) -> None:
    """Both attempts were running, one of them in vain."""
    run = client.start(DAG("flaky").add(Function("f", [], flaky, [str(tmp_path / "once")], node="left")), returns=[])
    run.result(30)
    left = run.report().nodes[0]
    assert left.running >= 0.4 and 0.2 <= left.in_vain <= left.running - 0.2


def test_a_run_that_is_forgotten_can_t_be_told(client: handoff.Client, tmp_path: Path) -> None:
    """One sentence that says so, and no file."""
    run = client.start(DAG("gone").add(Function("f", [], size, [b""])))
    run.result(30)
    client.cancel(run.id)       # it is over: this lets go of it
    for tell in (run.report, lambda: run.trace(tmp_path / "t"), lambda: run.save(tmp_path / "s")):
        with pytest.raises(errors.ExecutionError, match=r"there is nothing to tell: run \d+ of 'gone' is not known to the coordinator"):
            tell()
    assert list(tmp_path.iterdir()) == []


def breaks(data: Any) -> None:
    """It fails, after a while."""
    time.sleep(0.1)
    raise ValueError("no such luck")


def failing() -> DAG:
    """One is done, one fails, one waits for it."""
    dag = DAG("failing").add(Function("made", [], make, [0.1], node="left"))
    return dag.add(Function("broken", ["made"], breaks, node="left", max_retries=0)).add(Function("never", ["broken"], size, node="right"))


@pytest.mark.parametrize("detach", [False, True])
def test_a_run_that_failed_is_told(client: handoff.Client, tmp_path: Path, detach: bool) -> None:
    """Whoever waited for it for an hour wants to know what happened, most of all then: report, trace, page and timeline."""
    run = client.start(failing(), detach=detach)
    with pytest.raises(errors.FunctionFailed, match="no such luck"):
        run.result(30)

    report = run.report()
    assert report.ending is not None and report.ending.state == "failed" and "no such luck" in str(report)
    assert report.functions == 1 and [leg.name for leg in report.critical_path] == ["made"] and not report.changes
    assert [(cut.name, cut.node) for cut in report.cut] == [("broken: came to nothing", "left")]
    assert {left.function: (left.failed, left.waiting) for left in report.ending.left} == {"breaks": (1, 0), "size": (0, 1)}
    run.trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    check_trace(trace)
    assert trace["otherData"]["ended"] == "failed"
    run.save(tmp_path / "run.html")
    assert "no such luck" in (tmp_path / "run.html").read_text()
    assert [record.function for record in run.timeline()] == ["made"]
    made, broken, never = (run.explain(name) for name in ("made", "broken", "never"))
    assert made.text.startswith("'made' ran on 'left'") and broken.text.startswith("'broken' failed on 'left', and the run with it")
    assert "no such luck" in broken.reasons[-1] and never.reasons[0] == "it waited for 'broken' (failed)"


def test_a_run_that_was_cancelled_is_told(client: handoff.Client) -> None:
    """With what ran then."""
    run = client.start(DAG("long").add(Function("runs", [], make, [60.0], node="left")))
    deadline = time.monotonic() + 20
    while not run.report().nodes[0].running and time.monotonic() < deadline:
        time.sleep(0.02)
    run.cancel()
    with pytest.raises(errors.RunCancelled):
        run.result(30)
    report = run.report()
    assert "was cancelled after" in str(report) and [cut.name for cut in report.cut] == ["runs: still ran at the end"]
