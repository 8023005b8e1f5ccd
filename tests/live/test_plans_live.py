"""Plans on a real cluster: made without running anything, followed to the node, compared with what happened; and functions explained."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from witness import until

import handoff
from handoff import DAG, Function, errors
from handoff.cli.main import app


def slow(seconds: float, *data: Any) -> int:
    """In its own time."""
    time.sleep(seconds)
    return len(data)


def last(data: list[int], seconds: float) -> int:
    """The sum, in its own time."""
    time.sleep(seconds)
    return sum(data)


def held(path: str) -> bool:
    """Until the file is there."""
    while not Path(path).exists():
        time.sleep(0.005)
    return True


@pytest.fixture(scope="module")
def cluster() -> Iterator[handoff.LocalCluster]:
    """Two nodes of two cores each."""
    with handoff.LocalCluster(nodes=[{"name": "left", "cpus": 2}, {"name": "right", "cpus": 2}]) as made:
        yield made


@pytest.fixture
def client(cluster: handoff.LocalCluster) -> Iterator[handoff.Client]:
    """A client."""
    with cluster.client() as made:
        yield made


def fan(count: int = 8) -> DAG:
    """Functions beside each other, each of another length, and one that takes them all."""
    dag = DAG("fan")
    for number in range(count):
        seconds = 0.1 + 0.05 * (number % 3)
        dag.add(Function(number, [], slow, [seconds], expected_seconds=seconds, expected_bytes=10))
    return dag.add(Function("sum", list(range(count)), last, [0.1], argument_inclusion="as_list", expected_seconds=0.1))


def test_a_plan_runs_nothing(client: handoff.Client, tmp_path: Path) -> None:
    """No run is known to the coordinator for it, and no function was called."""
    dag = DAG("never").add(Function("touch", [], (tmp_path / "called").touch))
    before = len(client.runs())
    plan = client.plan(dag)
    assert plan.unknown and plan.makespan > 0.0
    assert len(client.runs()) == before and not (tmp_path / "called").exists()


def test_a_plan_is_followed_and_compared(client: handoff.Client) -> None:
    """Each function runs where it was planned, in about the time that was foretold."""
    dag = fan()
    plan = client.plan(dag)
    assert set(plan.allocations.values()) == {"left", "right"}
    result = client.execute(dag, plan=plan)
    assert dict(result.allocations) == dict(plan.allocations)
    assert list(result.corrections) == []
    found = plan.compare(result)
    assert found.in_place == 9 and found.elsewhere == {}
    assert found.makespan >= plan.makespan - 0.05
    assert "9 of 9 functions ran where planned" in str(found)


def test_a_plan_may_be_odd_and_is_followed_all_the_same(client: handoff.Client, tmp_path: Path) -> None:
    """All on one node, as the plan for that node alone says; kept in a file in between."""
    dag = fan(4)
    client.plan(dag).without("left").save(tmp_path / "plan.json")
    run = client.start(dag, plan=handoff.Plan.load(tmp_path / "plan.json"))
    assert set(run.result(30).allocations.values()) == {"right"}
    assert run.corrections() == []


def test_what_ran_before_is_foretold(client: handoff.Client) -> None:
    """Learned on the cluster, not said by the user."""
    def half() -> None:
        """Half a second."""
        time.sleep(0.5)

    def graph() -> DAG:
        dag = DAG("learned")
        for number in range(4):
            dag.add(Function(number, [], half))
        return dag

    assert client.plan(graph()).unknown == (half.__qualname__.rpartition("<locals>.")[2],)
    for _ in range(2):
        client.execute(graph())
    plan = client.plan(graph())
    assert plan.unknown == () and 0.45 <= plan.makespan <= 1.2


def test_a_lost_node_is_a_correction(tmp_path: Path) -> None:
    """What was planned there runs elsewhere, and the result says so."""
    with handoff.LocalCluster(nodes=[{"name": "stays", "cpus": 1}, {"name": "goes", "cpus": 1}]) as own, own.client() as client:
        gate = tmp_path / "gate"
        dag = DAG("lossy").add(Function("gate", [], held, [str(gate)], node="stays", expected_seconds=0.2))
        dag.add(Function("x", ["gate"], slow, [0.01], expected_seconds=5.0))
        dag.add(Function("y", ["gate"], slow, [0.01], expected_seconds=5.0))
        plan = client.plan(dag)
        away = next(name for name in ("x", "y") if plan.allocations[name] == "goes")
        run = client.start(dag, plan=plan)
        own.kill_node("goes")
        until(lambda: {node.name for node in client.nodes()} == {"stays"})
        gate.touch()
        result = run.result(30)
        assert [(each.function, each.planned, each.node) for each in result.corrections] == [(away, "goes", "stays")]
        assert result.corrections[0].why == "node 'goes' is gone"
        assert plan.compare(run).elsewhere == {away: ("goes", "stays")}
        with pytest.raises(errors.ConfigError, match="another graph: 'x' is not in the run"):
            plan.compare(client.execute(DAG("less").add(Function("gate", [], held, [str(gate)]))))
        with pytest.raises(errors.AllocationError, match="'goes', which is not there"):
            client.execute(dag, plan=plan)


def test_the_plan_of_another_graph_is_refused(client: handoff.Client) -> None:
    """Before anything runs."""
    before = len(client.runs())
    with pytest.raises(errors.ConfigError, match="for another graph"):
        client.execute(fan(5), plan=client.plan(fan(4)))
    assert len(client.runs()) == before


def test_functions_are_explained(client: handoff.Client, tmp_path: Path) -> None:
    """One that runs, one that waits for it, one that waits for room, and one that is done."""
    gate = tmp_path / "gate"
    dag = DAG("explained").add(Function("runs", [], held, [str(gate)], node="left", cost={"cpu": 2}))
    dag.add(Function("waits", ["runs"], slow, [0.0]))
    dag.add(Function("room", [], slow, [0.0], node="left", priority=-1))
    dag.add(Function("quick", [], slow, [0.0], node="right"))
    run = client.start(dag)
    quick = threading.Event()
    for name, _ in run.as_completed():
        if name == "quick":
            quick.set()
            break
    assert quick.is_set()
    done, runs, waits, room = (run.explain(name) for name in ("quick", "runs", "waits", "room"))
    assert done.state.startswith("done") and done.text.startswith("'quick' ran on 'right' from ")
    assert done.reasons == ["it is pinned to 'right'"]
    assert runs.node == "left" and runs.text.startswith("'runs' ")
    assert any("it waits for 'runs' (on left" in reason for reason in waits.reasons)
    assert room.node == "" and any(reason.startswith("it waits for room on left: cpu (1 needed, 0 free)") for reason in room.reasons)
    assert "The nodes, as of now" in str(room) and "it is pinned to 'left'" in str(room)
    assert "<table>" in room._repr_html_()
    gate.touch()
    run.result(30)
    with pytest.raises(errors.MissingFunction, match="'nothing' is no function"):
        run.explain("nothing")


def broken() -> None:
    """It fails."""
    raise ValueError("no such luck")


@pytest.mark.parametrize(("ended", "text"), [("failed", "when the run failed"), ("cancelled", "when the run was cancelled")])
def test_a_run_that_came_to_nothing_is_compared_as_far_as_it_came(client: handoff.Client, tmp_path: Path, ended: str, text: str) -> None:
    """It is not said to go on, nor to have moved nothing: that is not known."""
    dag = DAG("cut").add(Function("held", [], held, [str(tmp_path / "gate")], node="left"))
    if ended == "failed":
        dag.add(Function("broken", [], broken, node="right", max_retries=0))
    plan = client.plan(dag)
    run = client.start(dag)
    if ended == "cancelled":
        run.cancel()
    with pytest.raises(errors.ExecutionError):
        run.result(30)
    compared = plan.compare(run)
    assert (compared.ended, compared.bytes_moved) == (ended, None)
    assert f"0 of {len(dag)} function" in str(compared) and text in compared._repr_html_()


def test_the_same_awaited(cluster: handoff.LocalCluster) -> None:
    """Plan, run, corrections and explanation in asyncio."""
    async def play() -> None:
        async with handoff.aio.connect(cluster.address, secret=cluster.secret) as client:
            dag = fan(4)
            plan = await client.plan(dag)
            run = await client.start(dag, plan=plan)
            result = await run.result()
            assert dict(result.allocations) == dict(plan.allocations) and await run.corrections() == []
            assert (await run.explain("sum")).state.startswith("done")
            assert (await asyncio.to_thread(plan.compare, run)).in_place == 5

    asyncio.run(play())


def test_the_command_line_shows_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, as JSON, as a flowchart, and as a file; on a cluster of its own."""
    (tmp_path / "graphs.py").write_text(
        "import handoff\n\ndef one():\n    raise SystemExit('it ran')\n\ndag = handoff.DAG('seen')\n"
        "dag.add(handoff.Function('a', [], one, expected_seconds=2.0)).add(handoff.Function('b', ['a'], one, expected_seconds=1.0))\n")
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["plan", "graphs.py:dag", "--json", "--save", "plan.json"])
    assert shown.exit_code == 0, shown.output
    data = json.loads(shown.output)
    assert data["allocations"] == {"a": "node-1", "b": "node-1"} and 3.0 <= data["makespan"] < 3.2
    assert [leg["name"] for leg in data["critical_path"]] == ["a", "b"]
    plan = handoff.Plan.load(tmp_path / "plan.json")
    assert str(plan).startswith("Plan of 'seen': 3.0")
